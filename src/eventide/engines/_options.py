"""What all engines check in their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from eventide.errors import ConfigError, near_names

__all__ = ["check_savepoint", "checked"]

T = TypeVar("T")


def checked(
    kind: type[T],
    values: Mapping[str, Any],
    *,
    engine: str,
    least: Mapping[str, int],
    refused: Mapping[str, str] | None = None,
) -> T:
    """Return options of a kind.

    Parameters
    ----------
    kind
        A dataclass.
    values
        What was given.
    engine
        The engine, in words.
    least
        The options that are whole numbers, and the least that each may be.
    refused
        Options that the engine knows and cannot take, and why.

    Raises
    ------
    ConfigError
        An option is unknown, out of range, or not for this engine.
    """
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            msg = f"{engine} has no option {name!r}"
            raise ConfigError(msg, hint=near_names(name, known))
    options = kind(**values)
    for name, why in (refused or {}).items():
        if getattr(options, name):
            msg = f"{engine} cannot take {name}={getattr(options, name)!r}: {why}"
            raise ConfigError(msg, hint="leave it out, or use another engine")
    for name, bound in least.items():
        value = getattr(options, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < bound:
            msg = f"{name}={value!r} is not a whole number of {bound} or more"
            raise ConfigError(msg, hint="leave it out for the default")
    return options


def check_savepoint(options: Any) -> None:
    """Refuse a savepoint to begin from that contradicts `resume`, or has no `checkpoint` beside it.

    Raises
    ------
    ConfigError
        It does.
    """
    if options.from_savepoint and not options.resume:
        msg = "from_savepoint and resume=False (--fresh) each say where to begin"
        raise ConfigError(msg, hint="leave one of them out")
    if options.from_savepoint and options.checkpoint is None:
        msg = "from_savepoint needs a folder for checkpoints"
        raise ConfigError(msg, hint="give checkpoint='folder' too: the run goes on writing checkpoints there")
