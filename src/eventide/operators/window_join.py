"""Pairs of events of two streams that lie in the same window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from eventide.model.stream import Stream
    from eventide.model.window import WindowSpec

__all__ = ["window_join"]


def window_join(
    stream: Stream,
    right: Stream,
    *,
    window: WindowSpec,
    how: Literal["inner", "left"] = "inner",
    suffix: str = "_right",
) -> Stream:
    """Return the pairs with equal keys in the same tumbling or sliding window.

    ``stream.join(right, window)`` by another name.

    Parameters
    ----------
    stream, right
        Streams with event time, keyed by as many columns.
    window
        `ev.tumbling` or `ev.sliding`.
    how
        ``"left"`` keeps left events without a partner.
    suffix
        Added to right columns whose name the left has too.

    Raises
    ------
    UsageError
        The window is of another kind.

    Examples
    --------
    >>> import eventide as ev
    >>> a = ev.from_table({"t": ["2026-01-01T00:00:05"], "k": [1]}).event_time("t").key_by("k")
    >>> b = ev.from_table({"u": ["2026-01-01T00:00:03"], "k": [1]}).event_time("u").key_by("k")
    >>> ev.fetch(a.pipe(ev.op.window_join, b, window=ev.tumbling("10s"))).num_rows
    1
    """
    return stream.join(right, window, how=how, suffix=suffix)
