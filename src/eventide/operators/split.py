"""Send each event one of several ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventide.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from eventide.model.stream import Stream

__all__ = ["REST", "split"]

REST = "rest"
"""Name of the stream of events for which no condition holds."""


def split(stream: Stream, **conditions: pl.Expr) -> dict[str, Stream]:
    """Return one stream per condition, and ``"rest"``: every event goes to exactly one of them.

    An event goes to the first condition that is true for it; null counts as false.

    Parameters
    ----------
    stream
        Any stream.
    **conditions
        ``name=`` a Polars expression, row by row.

    Raises
    ------
    UsageError
        No condition is given, one is not a Polars expression or is named ``rest``.

    Examples
    --------
    >>> import eventide as ev, polars as pl
    >>> ways = ev.op.split(ev.from_table({"v": [1, 20, 300]}), low=pl.col("v") < 10, high=pl.col("v") > 100)
    >>> {name: ev.fetch(way)["v"].to_pylist() for name, way in ways.items()}
    {'low': [1], 'high': [300], 'rest': [20]}
    """
    if not conditions or REST in conditions:
        msg = "split() needs conditions by name" if not conditions else f"split() keeps the name {REST!r} for itself"
        raise UsageError(msg, hint="for example split(bright=pl.col('magnitude') < 18)")
    for name, condition in conditions.items():
        if not hasattr(condition, "meta"):
            msg = f"split() takes Polars expressions, not {name}={condition!r}"
            raise UsageError(msg, hint=f"for example {name}=pl.col('value') > 0, with import polars as pl")
    out: dict[str, Stream] = {}
    left: pl.Expr | None = None
    for name, condition in conditions.items():
        true = condition.fill_null(value=False)
        out[name] = stream.filter(true if left is None else left & true)
        left = ~true if left is None else left & ~true
    assert left is not None
    out[REST] = stream.filter(left)
    return out
