"""Operators: functions from streams to streams, composed of graph nodes, one a file, named as the file.

``ev.op.dedup`` is the function ``dedup`` of ``operators/dedup.py``, or of a package that declares the entry
point ``dedup`` in the group ``eventide.operators``. It is applied with ``stream.pipe(ev.op.dedup, ...)``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from eventide import registry


class _Operators(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a file of this folder would put the module where its function of the same name belongs.
        if isinstance(value, ModuleType) and value.__name__ == f"{__name__}.{name}":
            value = getattr(value, name, value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Operators


def __getattr__(name: str) -> Any:
    """Return the operator of that name; its file is imported at first use."""
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(registry.resolve("operator", name), name)


def __dir__() -> list[str]:
    return sorted(registry.names("operator"))
