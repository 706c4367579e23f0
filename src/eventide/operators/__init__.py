"""Operators: functions from streams to streams, composed of graph nodes, one a file, named as the file.

``ev.op.dedup`` is the function ``dedup`` of ``operators/dedup.py``, or of a package that declares the entry
point ``dedup`` in the group ``eventide.operators``. It is applied with ``stream.pipe(ev.op.dedup, ...)``.
"""

from __future__ import annotations

from typing import Any

from eventide import registry


def __getattr__(name: str) -> Any:
    """Return the operator of that name; its file is imported at first use."""
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(registry.resolve("operator", name), name)


def __dir__() -> list[str]:
    return sorted(registry.names("operator"))
