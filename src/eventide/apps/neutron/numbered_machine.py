"""The machine of `numbered`: passes pulses that are new at once, and tells gaps when the watermark has passed them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.numbers import Numbers
from eventide.kernel.ordering import late_rows
from eventide.model.batch import WATERMARK_COLUMN, Int64Array, column, event_times, visible
from eventide.model.graph import ProcessContext
from eventide.model.machine import DUPLICATES, LATE, MAIN, Emit, Step
from eventide.model.state import GROUP_COLUMN, State, group_array, select_groups
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME

__all__ = ["GAPS", "LEFT_OUT", "NumberedMachine"]

GAPS: Final = pa.schema(
    [
        pa.field("event_time", EVENT_TIME, metadata={"meaning": "when it was certain: `within` later than `after`"}),
        pa.field("source", pa.string()),
        pa.field("first_missing", pa.int64()),
        pa.field("last_missing", pa.int64()),
        pa.field("missing", pa.int64(), metadata={"meaning": "how many messages"}),
        pa.field("before", EVENT_TIME, metadata={"meaning": "pulse of the last message before the gap"}),
        pa.field("after", EVENT_TIME, metadata={"meaning": "pulse of the first message after it"}),
    ]
)
"""Messages that are missing, by their numbers."""

LEFT_OUT: Final = (
    pa.field("duplicate", pa.int64(), metadata={"meaning": "events that came before"}),
    pa.field("late", pa.int64(), metadata={"meaning": "events that came too late"}),
)
"""Columns of pulses without events that stand for others which were left out."""

_LISTS = ("time_of_flight", "pixel_id")
_MOST = 2**63 - 1


class NumberedMachine:
    """Takes duplicates out, and tells gaps; `within` in ns."""

    def __init__(self, within: int, context: ProcessContext) -> None:
        self._within, self._time, self._groups = within, context.event_time, context.groups
        self._schema = visible(context.schemas[0])
        self._out = pa.schema([*self._schema, *LEFT_OUT])
        self._sources: dict[str | None, Numbers] = {}
        self._input = MIN_TIME
        self.taken = 0

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return self._input

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        out: list[Emit] = []
        if step.batch is not None and step.batch.num_rows and 0 in self._groups:  # the group of what has no key
            out += self._arrive(step.batch)
        watermark = MAX_TIME if step.end else step.watermark
        if watermark > self._input:
            self._input = watermark
            gaps = list(self._gaps(watermark))
            if gaps:
                out.append(Emit("gaps", pa.RecordBatch.from_pylist(sorted(gaps, key=_place), GAPS)))
        return out

    def _arrive(self, batch: pa.RecordBatch) -> Iterator[Emit]:
        times = event_times(batch, self._time)
        behind = late_rows(batch, times, self._input)
        rows = batch.select(self._schema.names)
        again = self._again(rows, times)
        late = None if behind is None else behind & ~again
        self.taken += rows.num_rows - (0 if late is None else int(np.count_nonzero(late)))
        if behind is None and not again.any():
            yield Emit(MAIN, self._with_zeros(rows))
            return
        yield Emit(MAIN, self._with_zeros(rows.filter(pa.array(~again if behind is None else ~(again | behind)))))
        met = np.full(times.size, self._input, np.int64)
        if WATERMARK_COLUMN in batch.schema.names:
            met = np.maximum(met, batch.column(WATERMARK_COLUMN).to_numpy(zero_copy_only=False))
        for port, left in ((DUPLICATES, again), (LATE, late)):
            if left is not None and left.any():
                gone = rows.filter(pa.array(left))
                yield Emit(port, gone)
                yield Emit(MAIN, self._instead(gone, np.maximum(times, met)[left], port))

    def _again(self, rows: pa.RecordBatch, times: Int64Array) -> npt.NDArray[np.bool_]:
        """Return which pulses came before."""
        found = column(rows, "message_id", where="of pulses")
        numbers = found.fill_null(0).to_numpy().astype(np.int64)
        pulses = column(rows, "pulse", where="of pulses").fill_null(0).to_numpy().astype(np.int64)
        coded = column(rows, "source", where="of pulses").dictionary_encode()
        names = [*coded.dictionary.to_pylist(), None]
        codes = coded.indices.fill_null(len(names) - 1).to_numpy()
        again = np.zeros(times.size, np.bool_)
        known = np.asarray(found.is_valid())
        for code, name in enumerate(names):
            at = np.flatnonzero((codes == code) & known)
            if at.size:
                seen = self._sources.setdefault(name, Numbers(self._within))
                again[at] = seen.take(numbers[at], pulses[at], times[at])
        return again

    def _with_zeros(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        zeros = pa.array(np.zeros(rows.num_rows, np.int64))
        return pa.RecordBatch.from_arrays([*rows.columns, zeros, zeros], schema=self._out)

    def _instead(self, gone: pa.RecordBatch, stamps: Int64Array, port: str) -> pa.RecordBatch:
        """Return pulses without events in the place of others, not before the watermark that those met."""
        lengths = column(gone, "time_of_flight").value_lengths().fill_null(0).cast(pa.int64())
        zeros = pa.array(np.zeros(gone.num_rows, np.int64))
        columns = dict(zip(gone.schema.names, gone.columns, strict=True))
        for name in _LISTS:
            columns[name] = _emptied(columns[name])
        columns[self._time] = pa.array(stamps).cast(gone.schema.field(self._time).type)
        columns |= {"duplicate": zeros, "late": zeros}
        columns["duplicate" if port == DUPLICATES else "late"] = lengths
        return pa.RecordBatch.from_arrays([columns[n] for n in self._out.names], schema=self._out)

    def _gaps(self, watermark: int) -> Iterator[dict[str, Any]]:
        for name, seen in self._sources.items():
            for gap in seen.settle(watermark):
                yield {
                    "event_time": min(gap.after + self._within, MAX_TIME - 1),
                    "source": name,
                    "first_missing": gap.first,
                    "last_missing": gap.last,
                    "missing": min(gap.last - gap.first + 1, _MOST),
                    "before": gap.before,
                    "after": gap.after,
                }

    def snapshot(self) -> State:
        """Return what is remembered."""
        names = list(self._sources)
        seen = [self._sources[n].remembered() for n in names]
        sizes = [numbers.size for numbers, _, _ in seen]
        rows = {n: [a[at] for a in seen] for at, n in enumerate(("number", "pulse", "time"))}
        state = [self._sources[n] for n in names]
        return {
            "pulses": _grouped(
                {
                    "source": np.repeat(np.arange(len(names)), sizes),
                    **{n: np.concatenate([np.empty(0, np.int64), *parts]) for n, parts in rows.items()},
                }
            ),
            "sources": _grouped(
                {
                    "source": pa.array(names, pa.string()),
                    "expected": pa.array([s.expected for s in state], pa.int64()),
                    "before": pa.array([s.before for s in state], pa.int64()),
                    "filled": pa.array([sorted(s.filled) for s in state], pa.list_(pa.int64())),
                }
            ),
            "progress": pa.table({"input": pa.array([self._input], pa.int64())}),
        }

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns."""
        mine = select_groups(state, self._groups)
        self._sources, self._input = {}, state["progress"].column("input")[0].as_py()
        pulses = {n: mine["pulses"].column(n).to_numpy() for n in ("source", "number", "pulse", "time")}
        for number, row in enumerate(mine["sources"].to_pylist()):
            seen = Numbers(self._within, row["expected"], row["before"], set(row["filled"]))
            at = pulses["source"] == number
            if at.any():
                seen.take(pulses["number"][at], pulses["pulse"][at], pulses["time"][at])
            self._sources[row["source"]] = seen


def _grouped(columns: dict[str, Any]) -> pa.Table:
    table = pa.table(columns)
    return table.append_column(GROUP_COLUMN, group_array(np.zeros(table.num_rows, np.int32)))


def _emptied(lists: pa.Array) -> pa.Array:
    """Return as many lists without values, null where they are."""
    offsets = pa.array(np.zeros(len(lists) + 1, np.int32))
    return pa.ListArray.from_arrays(offsets, lists.values.slice(0, 0), type=lists.type, mask=lists.is_null())


def _place(gap: dict[str, Any]) -> tuple[int, str, int]:
    return gap["event_time"], gap["source"] or "", gap["first_missing"]
