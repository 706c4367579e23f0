"""Bring the events of each key onto a regular grid of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError, UsageError, near_names
from eventide.kernel.keyed.node import field_of, process_node
from eventide.kernel.keyed.segments import previous, ranges, segments
from eventide.model.graph import ProcessContext
from eventide.model.keyed import Context, Events, StateSpec, Timers, TimerState, buffer_state, value_state
from eventide.model.time import EVENT_TIME, MIN_TIME, duration, format_duration

if TYPE_CHECKING:
    from eventide.model.stream import Stream

__all__ = ["Resample", "resample"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
Method = Literal["previous", "linear", "mean"]
_METHODS = ("previous", "linear", "mean")
_MOST = 10_000_000
"""So many grid points a value may stand for."""


class _Points(NamedTuple):
    """Grid points: the key, the time and the values of each."""

    slots: Int32Array
    times: Int64Array
    values: Float64Array


@dataclass(frozen=True, slots=True)
class Resample:
    """The process behind `resample`; `every` and `max_gap` in ns."""

    every: int
    method: Method
    max_gap: int
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    time: str
    schema: pa.Schema | None = None

    def bind(self, context: ProcessContext) -> Resample:
        """Return the process for the columns of an input."""
        return replace(self, schema=self.output(context.schemas[0]))

    def output(self, source: pa.Schema) -> pa.Schema:
        """Return the schema of the result: the keys, the time, the columns as float64."""
        names = self.columns or [f.name for f in source if f.name not in self.keys and _number(f.type)]
        for name in names:
            kind = field_of(source, name, what="resample()").type
            if not _number(kind):
                msg = f"resample() cannot compute with column {name!r} of {kind}"
                raise SchemaError(msg, hint="name columns of numbers: columns=['value']")
        if not names:
            msg = "resample() finds no column of numbers"
            raise SchemaError(msg, hint=f"the columns are {', '.join(source.names)}")
        keys = [source.field(k) for k in self.keys]
        return pa.schema([*keys, (self.time, EVENT_TIME), *((n, pa.float64()) for n in names)])

    @property
    def values(self) -> list[str]:
        """Names of the value columns."""
        assert self.schema is not None
        return list(self.schema.names[len(self.keys) + 1 :])

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """The newest event of a key; of a mean, the sums and counts of its newest bin."""
        width = len(self.values)
        state: dict[str, StateSpec] = {
            "time": value_state("int64", MIN_TIME),
            "value": buffer_state("float64", width, default=float("nan")),
            "over": TimerState(after=self.max_gap + 1 if self.method != "mean" else self.every),
        }
        return state | ({"count": buffer_state("int64", width)} if self.method == "mean" else {})

    def on_events(self, context: Context, events: Events) -> pa.RecordBatch | None:
        """Give the grid points that the events decide."""
        if self.method == "mean":
            return self._mean(context, events)
        parts = segments(events.slots)
        slots, times = events.slots[parts.order], events.times[parts.order]
        values = self._matrix(events.batch)[parts.order]
        # Of events of one time the last counts.
        last = np.append((slots[1:] != slots[:-1]) | (times[1:] != times[:-1]), True)
        slots, times, values, rows = slots[last], times[last], values[last], parts.order[last]
        begins = np.flatnonzero(np.append(True, slots[1:] != slots[:-1]))
        keys = slots[begins]
        before = previous(times, begins, context.value("time")[keys])
        old = np.empty_like(values)
        old[1:] = values[:-1]
        old[begins] = context.value("value")[keys]
        out = self._between(rows, slots, before=(before, old), after=(times, values))
        ends = np.append(begins[1:], slots.size) - 1
        context.value("time")[keys] = times[ends]
        context.value("value")[keys] = values[ends]
        context.set_timer("over", keys, times[ends] + self.max_gap + 1)
        context.hold(keys, self._floor(times[ends]) + self.every)
        return self._batch(context, out)

    def _between(self, rows: Int64Array, slots: Int32Array, *, before: Any, after: Any) -> _Points:
        """Return the grid points after one event up to the next, in order."""
        (old_time, old), (time, value) = before, after
        known = old_time > MIN_TIME
        first = np.where(known, self._floor(np.where(known, old_time, 0)) + self.every, -self._floor(-time))
        steps = np.maximum(self._floor(time) - first, -self.every) // self.every + 1
        which = np.repeat(np.arange(time.size), steps)
        grid = first[which] + ranges(np.zeros(time.size, np.int64), steps) * self.every
        exact = grid == time[which]
        if self.method == "previous":
            found = np.where(exact[:, None], value[which], old[which])
        else:
            share = (grid - old_time[which]) / np.maximum(time - old_time, 1)[which]
            with np.errstate(invalid="ignore"):
                line = old[which] + (value - old)[which] * share[:, None]
            found = np.where(exact[:, None], value[which], line)
        by = np.lexsort((rows[which], grid))
        return _Points(slots[which][by], grid[by], found[by])

    def _mean(self, context: Context, events: Events) -> pa.RecordBatch | None:
        parts = segments(events.slots)
        slots, times = events.slots[parts.order], events.times[parts.order]
        bins, values = -self._floor(-times), self._matrix(events.batch)[parts.order]
        time, total, count = context.value("time"), context.value("value"), context.value("count")
        closed = parts.keys[(time[parts.keys] > MIN_TIME) & (time[parts.keys] < bins[parts.starts])]
        done = [(closed, time[closed], total[closed], count[closed])]
        fresh = parts.keys[time[parts.keys] != bins[parts.starts]]
        total[fresh], count[fresh] = 0.0, 0
        begins = np.append(True, (slots[1:] != slots[:-1]) | (bins[1:] != bins[:-1]))
        run = np.cumsum(begins) - 1
        heads, owner = np.flatnonzero(begins), slots[begins]
        sums, counts = np.zeros((heads.size, values.shape[1])), np.zeros((heads.size, values.shape[1]), np.int64)
        opening = np.searchsorted(heads, parts.starts)
        sums[opening], counts[opening] = total[parts.keys], count[parts.keys]
        there = ~np.isnan(values)
        # One addition after the other in event order: the bits do not depend on the batches.
        np.add.at(sums, run, np.where(there, values, 0.0))
        np.add.at(counts, run, there)
        ends = np.append(opening[1:], heads.size) - 1
        inner = np.ones(heads.size, np.bool_)
        inner[ends] = False
        done.append((owner[inner], bins[heads][inner], sums[inner], counts[inner]))
        keys = parts.keys.astype(np.int32)
        time[keys], total[keys], count[keys] = bins[heads][ends], sums[ends], counts[ends]
        context.set_timer("over", keys, times[parts.stops - 1] + self.every)
        context.hold(keys, time[keys])
        return self._means(context, tuple(np.concatenate(c) for c in zip(*done, strict=True)))

    def _means(self, context: Context, bins: tuple[npt.NDArray[Any], ...]) -> pa.RecordBatch | None:
        slots, times, total, count = bins
        by = np.argsort(times, kind="stable")
        with np.errstate(invalid="ignore"):
            return self._batch(context, _Points(slots[by], times[by], (total / count)[by]))

    def on_timers(self, context: Context, timers: Timers) -> pa.RecordBatch | None:
        """No event came for long enough: give what is left of a key and forget it."""
        slots, out = timers.slots, None
        time, value = context.value("time")[slots], context.value("value")[slots]
        if self.method == "mean":
            out = self._means(context, (slots, time, value, context.value("count")[slots]))
        elif self.method == "previous":
            first = self._floor(time) + self.every
            steps = np.maximum(self._floor(time + self.max_gap) - first, -self.every) // self.every + 1
            which = np.repeat(np.arange(slots.size), steps)
            grid = first[which] + ranges(np.zeros(slots.size, np.int64), steps) * self.every
            by = np.argsort(grid, kind="stable")
            out = self._batch(context, _Points(slots[which][by], grid[by], value[which][by]))
        context.forget(slots)
        return out

    def _floor(self, times: Int64Array) -> Int64Array:
        out: Int64Array = times // self.every * self.every
        return out

    def _matrix(self, batch: pa.RecordBatch) -> Float64Array:
        columns = [batch.column(n).cast(pa.float64()) for n in self.values]
        return np.stack([c.to_numpy(zero_copy_only=False) for c in columns], axis=1)

    def _batch(self, context: Context, points: _Points) -> pa.RecordBatch | None:
        if not len(points.slots):
            return None
        columns = [*context.keys(points.slots.astype(np.int32)), pa.array(points.times, pa.int64()).cast(EVENT_TIME)]
        columns += [pa.array(c, mask=np.isnan(c)) for c in np.ascontiguousarray(points.values.T)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def resample(
    stream: Stream,
    *,
    every: str | timedelta,
    method: Method = "previous",
    max_gap: str | timedelta | None = None,
    columns: Sequence[str] = (),
) -> Stream:
    """Return one row per key and grid point: the whole multiples of `every` since 1970-01-01 UTC.

    The result has the keys, the event-time column (the grid point) and the columns as float64. A null or NaN
    counts as unknown, and where it would be needed the result is null. Of events of one key at the same
    time the last in the order of their columns counts (in a mean all do).

    Parameters
    ----------
    stream
        A stream with event time; keyed, or all events are of one key.
    every
        Distance of the grid points.
    method
        ``"previous"``: the newest value at or before the grid point, at most `max_gap` old. ``"linear"``: on
        the straight line between the events before and after it, which are at most `max_gap` apart.
        ``"mean"``: the mean of the events after the grid point before and up to this one, ``(g - every, g]``,
        added up in event-time order.
    max_gap
        Needed for ``"previous"`` and ``"linear"``; a key that has been silent for so long is forgotten.
    columns
        Which columns; left out, all those of numbers that are not keys.

    Raises
    ------
    UsageError
        The method is unknown, or `max_gap` is missing, shorter than `every` or out of proportion to it.
    SchemaError
        (when checked) A column is missing or not a number.

    Examples
    --------
    >>> import eventide as ev
    >>> times = ["2026-01-01T00:00:00", "2026-01-01T00:00:30", "2026-01-01T00:01:30"]
    >>> readings = ev.from_table({"t": times, "v": [0.0, 3.0, 9.0]}).event_time("t")
    >>> grid = readings.pipe(ev.op.resample, every="20s", method="linear", max_gap="5m")
    >>> ev.fetch(grid)["v"].to_pylist()
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    if method not in _METHODS:
        msg = f"resample method {method!r} is not known"
        raise UsageError(msg, hint=near_names(str(method), _METHODS))
    step = duration(every, what="every")
    if method != "mean" and max_gap is None:
        msg = f"resample() by {method!r} needs max_gap: how long a value stays good"
        raise UsageError(msg, hint=f"for example max_gap={format_duration(10 * step)!r}")
    gap = 0 if max_gap is None else duration(max_gap, what="max_gap")
    if method != "mean" and gap < step:
        msg = f"max_gap {format_duration(gap)} is shorter than the grid of {format_duration(step)}"
        raise UsageError(msg, hint="make max_gap at least every")
    if gap // step > _MOST:
        msg = f"resample() every {format_duration(step)} up to {format_duration(gap)}: one silence would make"
        msg += f" {gap // step} rows"
        raise UsageError(msg, hint="make max_gap the longest silence that values should bridge")
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    process = Resample(step, method, gap, names, stream.keys, stream.time)
    return process_node(stream, process, ports={"main": process.output}, name="resample")
