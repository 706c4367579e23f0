"""For each event of one stream the nearest one in time of another."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from eventide.errors import UsageError, near_names
from eventide.model.graph import AsofJoin
from eventide.model.time import duration

if TYPE_CHECKING:
    from eventide.model.stream import Stream

__all__ = ["asof_join"]

_DIRECTIONS = ("backward", "forward", "nearest")


def asof_join(
    stream: Stream,
    right: Stream,
    *,
    tolerance: str | timedelta = "0",
    direction: Literal["backward", "forward", "nearest"] = "backward",
    how: Literal["inner", "left"] = "left",
    suffix: str = "_right",
) -> Stream:
    """Return each event with the nearest right one of its key, as of its time.

    ``stream.join(right, ev.asof(tolerance))`` by another name, with ``how="left"`` unless told otherwise.

    Parameters
    ----------
    stream, right
        Streams with event time, keyed by as many columns.
    tolerance
        How far away the right event may be; "0" is any distance.
    direction
        ``"backward"`` looks for the newest at or before the event, ``"forward"`` for the first at or after it.
    how
        ``"inner"`` leaves events without a partner out.
    suffix
        Added to right columns whose name the left has too.

    Raises
    ------
    UsageError
        The direction is unknown.

    Examples
    --------
    >>> import eventide as ev
    >>> a = ev.from_table({"t": ["2026-01-01T00:00:05"], "k": [1]}).event_time("t").key_by("k")
    >>> b = ev.from_table({"u": ["2026-01-01T00:00:03"], "k": [1], "v": [7]}).event_time("u").key_by("k")
    >>> ev.fetch(a.pipe(ev.op.asof_join, b, tolerance="5s"))["v"].to_pylist()
    [7]
    """
    if direction not in _DIRECTIONS:
        msg = f"asof direction {direction!r} is not known"
        raise UsageError(msg, hint=near_names(str(direction), _DIRECTIONS))
    spec = AsofJoin(duration(tolerance, what="tolerance", zero=True), direction)
    return stream.join(right, spec, how=how, suffix=suffix)
