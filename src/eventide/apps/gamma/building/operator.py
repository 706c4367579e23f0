"""Build array events from the triggers of single telescopes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pyarrow as pa

from eventide.apps.gamma.building.machine import ARRAY, ARRAY_PORT, ORPHANS, Building
from eventide.errors import PipelineError, UsageError
from eventide.kernel.keyed.node import same
from eventide.model.graph import Process, Ref
from eventide.model.machine import DUPLICATES, MAIN
from eventide.model.stream import Stream, origin
from eventide.model.time import duration, signed_duration

__all__ = ["array_events"]

_HOUR = 3_600_000_000_000


def array_events(
    stream: Stream,
    *,
    window: str | timedelta = "1us",
    min_tels: int = 2,
    telescope: str = "tel_id",
    offsets: Mapping[int, str | timedelta] | None = None,
) -> Stream:
    """Put triggers (or images) of single telescopes together into array events, by event time.

    The first trigger opens an event, which has all triggers up to `window` after it; the next trigger opens the next
    one. An event has one trigger of each telescope. Every trigger leaves by exactly one port: the main output has those
    of events of at least `min_tels` telescopes, ``orphans`` those of smaller ones (and those without a telescope),
    ``duplicates`` further triggers of a telescope within an event (a repeated message is one), ``late`` those that came
    behind the watermark. What goes where does not depend on order, batches or partitions within the lateness.

    Parameters
    ----------
    stream
        Triggers with event time, without keys: the telescope's clock, and whatever else they bring (an image).
    window
        How far after the first trigger of an event the others may be; zero for equal times.
    min_tels
        How many telescopes an event must have.
    telescope
        The column that says which telescope.
    offsets
        By telescope, how far its clock is ahead of the array's, such as ``{3: "250ns", 7: "-1us"}``; others are right.

    Returns
    -------
    Stream
        The triggers of built events, event after event in order of time, in each by telescope; the columns of the
        input, then ``event_time`` (the event time: the first trigger of the event on the array's clock), ``event_id``
        (the same in nanoseconds, so that it is the same in every run) and ``n_tels``. The rows of an event lie in one
        batch. The side output ``array`` has one row an event: ``event_time``, ``event_id``, ``n_tels``, ``tels``,
        ``span``.

    Raises
    ------
    PipelineError
        The stream has no event time, or has keys.
    UsageError
        `min_tels` is not one or more, or a clock is off by more than an hour.
    SchemaError
        (when the pipeline is checked) The column of telescopes is missing or holds no whole numbers.

    Examples
    --------
    >>> import eventide as ev
    >>> import pyarrow as pa
    >>> times = pa.array([1_000, 1_300, 9_000, 1_200], pa.timestamp("ns", "UTC"))
    >>> triggers = ev.from_table({"time": times, "tel_id": [4, 2, 4, 1]}).event_time("time", lateness="1ms")
    >>> events = array_events(triggers, window="500ns", offsets={2: "100ns"})
    >>> ev.fetch(events).select(["event_id", "tel_id", "n_tels"]).to_pylist()[0]
    {'event_id': 1000, 'tel_id': 1, 'n_tels': 3}
    >>> ev.fetch(events.side("orphans"))["tel_id"].to_pylist()
    [4]
    """
    if not stream.time or stream.keys:
        msg = f"array_events() takes a stream with event time and without keys ({origin()})"
        raise PipelineError(msg, hint="call .event_time('time', lateness='1s') before it, and key_by after it")
    if isinstance(min_tels, bool) or not isinstance(min_tels, int) or min_tels < 1:
        msg = f"array_events() min_tels must be a whole number of at least 1, not {min_tels!r}"
        raise UsageError(msg, hint="2 for stereo events, 1 to keep all")
    ahead = {int(t): signed_duration(v, what=f"clock of telescope {t}") for t, v in (offsets or {}).items()}
    far = [t for t, ns in ahead.items() if abs(ns) > _HOUR]
    if far:
        msg = f"array_events(): the clock of telescope {far[0]} is off by more than an hour"
        raise UsageError(msg, hint="correct such times before: .with_columns(time=pl.col('time') - ...)")
    length = duration(window, what="window", zero=True)
    plan = Building(length, min_tels, telescope, tuple(sorted(ahead.items())))

    def main(source: pa.Schema) -> pa.Schema:
        return plan.schema(source)

    schemas = {MAIN: main, ARRAY_PORT: ARRAY, ORPHANS: same, DUPLICATES: same}
    node = Process(stream.ref, plan, schemas, "arrival", "event_time", "", origin())
    return Stream(Ref(node), (), "event_time")
