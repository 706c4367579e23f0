"""Pairs of events of two streams that lie within an interval of each other."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from eventide.errors import UsageError
from eventide.model.graph import IntervalJoin
from eventide.model.time import signed_duration

if TYPE_CHECKING:
    from eventide.model.stream import Stream

__all__ = ["interval_join"]


def interval_join(
    stream: Stream,
    right: Stream,
    *,
    lower: str | timedelta,
    upper: str | timedelta,
    how: Literal["inner", "left"] = "inner",
    suffix: str = "_right",
) -> Stream:
    """Return the pairs with equal keys whose times differ by between `lower` and `upper`.

    ``stream.join(right, ev.interval(lower, upper))`` by another name.

    Parameters
    ----------
    stream, right
        Streams with event time, keyed by as many columns.
    lower, upper
        Bounds of right time minus left time, both included.
    how
        ``"left"`` keeps left events without a partner.
    suffix
        Added to right columns whose name the left has too.

    Raises
    ------
    UsageError
        The interval is empty.

    Examples
    --------
    >>> import eventide as ev
    >>> a = ev.from_table({"t": ["2026-01-01T00:00:05"], "k": [1]}).event_time("t").key_by("k")
    >>> b = ev.from_table({"u": ["2026-01-01T00:00:03"], "k": [1]}).event_time("u").key_by("k")
    >>> ev.fetch(a.pipe(ev.op.interval_join, b, lower="-5s", upper="0")).num_rows
    1
    """
    low, high = signed_duration(lower, what="lower bound"), signed_duration(upper, what="upper bound")
    if low > high:
        msg = f"the interval [{lower}, {upper}] is empty"
        raise UsageError(msg, hint="the lower bound comes first: lower='-5s', upper='5s'")
    return stream.join(right, IntervalJoin(low, high), how=how, suffix=suffix)
