"""Statistics of the last while, or of the last few events, at every event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError, UsageError, near_names
from eventide.kernel.keyed.node import field_of, process_node, with_fields
from eventide.kernel.keyed.segments import Segments, distinct, search, segments
from eventide.kernel.keyed.sliding import sliding_count, sliding_extreme, sliding_spread, sliding_sum
from eventide.model.aggregate import Aggregate
from eventide.model.graph import ProcessContext
from eventide.model.keyed import Context, Events, StateSpec, Timers, TimerState, list_state
from eventide.model.time import duration

if TYPE_CHECKING:
    from eventide.model.stream import Stream

__all__ = ["Rolling", "rolling"]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_KINDS = ("count", "sum", "mean", "std", "var", "min", "max")
_TIME = "_time"
_WINDOW = "window"


@dataclass(frozen=True, slots=True)
class _Column:
    """Values of a column in segment order, null as not valid; integers as int64, floats as float64."""

    values: npt.NDArray[Any]
    valid: BoolArray


@dataclass(frozen=True, slots=True)
class Rolling:
    """The process behind `rolling`; `over` in ns, or `rows`, the other 0."""

    over: int
    rows: int
    aggregates: tuple[tuple[str, Aggregate], ...]
    types: tuple[tuple[str, pa.DataType], ...] = ()

    def bind(self, context: ProcessContext) -> Rolling:
        """Return the process for the columns of an input."""
        names = dict.fromkeys(c for _, a in self.aggregates for c in a.columns)
        types = tuple((n, _kept_as(field_of(context.schemas[0], n, what="rolling()"))) for n in names)
        return Rolling(self.over, self.rows, self.aggregates, types)

    @property
    def kept(self) -> pa.Schema:
        """What is remembered of an event."""
        return pa.schema([(_TIME, pa.int64()), *self.types])

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """The events that later ones still look back at."""
        state: dict[str, StateSpec] = {_WINDOW: list_state(self.kept)}
        return state | ({"over": TimerState(after=self.over)} if self.over else {})

    def fields(self, source: pa.Schema) -> list[pa.Field]:
        """Return the columns that are added to those of an input."""
        return [pa.field(n, _result_type(a, source)) for n, a in self.aggregates]

    def on_events(self, context: Context, events: Events) -> pa.RecordBatch:
        """Compute the aggregates of each event's window."""
        batch = events.batch
        taken = [pa.array(events.times), *(batch.column(n).cast(t) for n, t in self.types)]
        new = pa.RecordBatch.from_arrays(taken, schema=self.kept)
        keys = distinct(events.slots)
        owner, old = context.rows(_WINDOW, keys)
        both = pa.concat_tables([old, pa.Table.from_batches([new])]).combine_chunks()
        parts = segments(np.concatenate((owner, events.slots)))
        both = both.take(pa.array(parts.order))
        times = both.column(_TIME).to_numpy()
        place = np.flatnonzero(parts.order >= len(owner))
        starts, stops = self._windows(times, parts, place)
        self._remember(context, both, parts)
        columns = {n: _column(both.column(n)) for n, _ in self.types}
        back = parts.order[place] - len(owner)
        for field, (_, aggregate) in zip(self.fields(batch.schema), self.aggregates, strict=True):
            column = columns[aggregate.columns[0]] if aggregate.columns else None
            values, valid = _compute(aggregate, column, (starts, stops))
            out, ok = np.empty_like(values), np.ones(values.size, np.bool_)
            out[back], ok[back] = values, valid
            batch = batch.append_column(field, pa.array(out, mask=~ok).cast(field.type))
        return batch

    def on_timers(self, context: Context, timers: Timers) -> None:
        """No later event looks back as far as this key's last one."""
        context.forget(timers.slots)

    def _windows(self, times: Int64Array, parts: Segments, place: Int64Array) -> tuple[Int64Array, Int64Array]:
        key = parts.of_row[place]
        first = parts.starts[key]
        if self.rows:
            return np.maximum(first, place - self.rows + 1), place + 1
        here = times[place]
        starts = search(times, first, stops=place, targets=here - self.over + 1)
        return starts, search(times, place, stops=parts.stops[key], targets=here + 1)

    def _remember(self, context: Context, both: pa.Table, parts: Segments) -> None:
        last = parts.stops - 1
        number = parts.of_row
        if self.rows:
            keep = np.arange(number.size) > (last - self.rows + 1)[number]
        else:
            times = both.column(_TIME).to_numpy()
            keep = times > (times[last] - self.over)[number]
            context.set_timer("over", parts.keys.astype(np.int32), times[last] + self.over)
        context.clear(_WINDOW, parts.keys.astype(np.int32))
        kept = both.filter(pa.array(keep)).combine_chunks().to_batches()
        if kept:
            context.append(_WINDOW, parts.keys[number[keep]].astype(np.int32), kept[0])


def _compute(aggregate: Aggregate, column: _Column | None, windows: tuple[Int64Array, Int64Array]) -> Any:
    starts, stops = windows
    if column is None:
        return stops - starts, np.ones(starts.size, np.bool_)
    values, valid, kind = column.values, column.valid, aggregate.kind
    count = sliding_count(valid, starts, stops)
    always = np.ones(starts.size, np.bool_)
    if kind == "count":
        return count, always
    if kind == "sum":
        return sliding_sum(values, valid, starts=starts, stops=stops), always
    if kind in ("min", "max"):
        return sliding_extreme(values, valid, starts=starts, stops=stops, largest=kind == "max"), count > 0
    floats = values.astype(np.float64)
    with np.errstate(all="ignore"):
        mean = sliding_sum(floats, valid, starts=starts, stops=stops) / np.maximum(count, 1)
        if kind == "mean":
            return mean, count > 0
        ddof = int(aggregate.params["ddof"])
        spread = sliding_spread(floats, valid, starts=starts, stops=stops, centre=mean)
        var = spread / np.maximum(count - ddof, 1)
    return np.sqrt(var) if kind == "std" else var, count > ddof


def _column(array: pa.ChunkedArray) -> _Column:
    valid = np.asarray(array.is_valid())
    return _Column(np.asarray(array.fill_null(0) if array.null_count else array), valid)


def _kept_as(field: pa.Field) -> pa.DataType:
    kind = field.type
    if pa.types.is_floating(kind):
        return pa.float64()
    if (pa.types.is_integer(kind) and kind != pa.uint64()) or pa.types.is_boolean(kind):
        return pa.int64()
    msg = f"rolling() cannot compute with column {field.name!r} of {kind}"
    raise SchemaError(msg, hint=f"convert it first: .with_columns(pl.col({field.name!r}).cast(pl.Float64))")


def _result_type(aggregate: Aggregate, source: pa.Schema) -> pa.DataType:
    types = [_kept_as(field_of(source, c, what=f"rolling {aggregate}")) for c in aggregate.columns]
    if aggregate.kind == "count":
        return pa.int64()
    if aggregate.kind in ("min", "max"):
        kind = source.field(aggregate.columns[0]).type
        return pa.int64() if pa.types.is_boolean(kind) else kind
    return types[0] if aggregate.kind == "sum" else pa.float64()


def rolling(
    stream: Stream, *, over: str | timedelta | None = None, rows: int | None = None, **aggregates: Aggregate
) -> Stream:
    """Add to every event statistics of its key's events in ``(t - over, t]``, or of the last `rows` of them.

    An event's own time is within its window, with all events of that time; with `rows` the window ends with
    the event itself (events of one time are in the order of their columns). Nulls are left out, NaN is a
    value, as in a window's aggregates; results have the same bits in whatever order events arrive.

    Parameters
    ----------
    stream
        A stream with event time; keyed, or all events are of one key.
    over
        Length of the window; a key that has been silent for so long is forgotten.
    rows
        Number of events of the window, instead of `over`; the last ``rows - 1`` are kept for every key.
    **aggregates
        ``column=ev.mean("value")``: `count`, `sum`, `mean`, `std`, `var`, `min` or `max` of a number column.

    Raises
    ------
    UsageError
        Neither or both of `over` and `rows` are given, or an aggregate is none of these.
    SchemaError
        (when checked) A column is missing, not a number, or there already.

    Examples
    --------
    >>> import eventide as ev
    >>> times = ["2026-01-01T00:00", "2026-01-01T00:04", "2026-01-01T00:12"]
    >>> readings = ev.from_table({"t": times, "v": [1.0, 3.0, 5.0]}).event_time("t")
    >>> smooth = readings.pipe(ev.op.rolling, over="10m", mean=ev.mean("v"), n=ev.count())
    >>> ev.fetch(smooth)["mean"].to_pylist()
    [1.0, 2.0, 4.0]
    """
    if (over is None) == (rows is None):
        msg = "rolling() needs either over= or rows="
        raise UsageError(msg, hint="for example over='10m' or rows=20")
    if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 1):
        msg = f"rolling() rows must be a whole number of at least 1, not {rows!r}"
        raise UsageError(msg, hint="for a length of time use over='10m'")
    if not aggregates:
        msg = "rolling() was asked to compute nothing"
        raise UsageError(msg, hint="for example rolling(over='10m', mean=ev.mean('value'))")
    for name, value in aggregates.items():
        kind = value.kind if isinstance(value, Aggregate) else repr(value)
        if kind not in _KINDS:
            msg = f"rolling() cannot compute {name}={kind}"
            raise UsageError(msg, hint=f"{near_names(kind, _KINDS)}; others: .window(ev.sliding(...)).aggregate(...)")
    length = 0 if over is None else duration(over, what="over")
    process = Rolling(length, rows or 0, tuple(aggregates.items()))

    def main(source: pa.Schema) -> pa.Schema:
        return with_fields(*process.fields(source), what="rolling()")(source)

    return process_node(stream, process, ports={"main": main}, name="rolling")
