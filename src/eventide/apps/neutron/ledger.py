"""The ledger of histograms completed: events that were duplicates or late beside those that were counted.

With `numbered` before it, every publication says where all events are that came: ``events + duplicate + late``, and
``events = binned + below + above + unknown + masked + nan + vetoed``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.hashing import key_groups, key_hashes
from eventide.model.batch import Int64Array, column, event_times, visible
from eventide.model.graph import Process, ProcessContext, Ref
from eventide.model.keyed import PortSchema
from eventide.model.machine import LATE, MAIN, Emit, Machine, Step
from eventide.model.state import GROUP_COLUMN, State, group_array, select_groups
from eventide.model.stream import Stream

__all__ = ["LEDGER", "LedgerPlan", "with_ledger"]

LEDGER: Final = ("duplicate", "late")
"""Columns that publications have in addition: events left out before `until`, since the input began."""

_STATE = "left_out"


def with_ledger(publications: Stream) -> Stream:
    """Return the publications of `ev.op.histogram` with the columns `LEDGER`.

    Its input may have these columns, as `numbered` makes them: rows in which one is above 0 stand for events that were
    left out, and are not counted. Late rows of the histogram itself count as late too.

    Parameters
    ----------
    publications
        What `ev.op.histogram` returned.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.kernel.histogram.axes import uniform
    >>> rows = {"t": ["2026-01-01"] * 2, "tof": [[10, 20], []], "duplicate": [0, 5], "late": [0, 0]}
    >>> pulses = ev.from_table(rows).event_time("t")
    >>> made = with_ledger(pulses.pipe(ev.op.histogram, products={"tof": uniform("tof", 0, 100, 2)}))
    >>> ev.fetch(made).select(["events", "duplicate", "late"]).to_pylist()
    [{'events': 2, 'duplicate': 5, 'late': 0}]
    """
    node = cast("Process", publications.ref.node)
    inner = cast("Any", node.process)
    main = cast("Callable[[pa.Schema], pa.Schema]", node.schemas[MAIN])
    schemas: dict[str, PortSchema] = {**node.schemas, MAIN: lambda source: _added(main(source))}
    made = replace(node, process=LedgerPlan(inner), schemas=schemas)
    return Stream(Ref(made), publications.keys, publications.time)


def _added(schema: pa.Schema) -> pa.Schema:
    return pa.schema([*schema, *(pa.field(n, pa.int64()) for n in LEDGER)], metadata=schema.metadata)


@dataclass(frozen=True, slots=True)
class LedgerPlan:
    """The factory of the machine, around that of the histogram (`HistogramPlan`)."""

    plan: Any

    def __call__(self, context: ProcessContext) -> _Machine:
        """Return a machine."""
        source = visible(context.schemas[0])
        plain = pa.schema([f for f in source if f.name not in LEDGER])
        inner = self.plan(replace(context, schemas=(plain,)))
        return _Machine(inner, self.plan.every, context, marked=len(plain) < len(source))


class _Machine:
    def __init__(self, inner: Machine, every: int, context: ProcessContext, *, marked: bool) -> None:
        self._inner, self._every, self._marked = inner, every, marked
        self._time, self._keys, self._groups = context.event_time, context.keys, context.groups
        self._taken = 0
        self._clear()

    def _clear(self) -> None:
        # By key: its group, what was left out before its last publication, and since then by interval.
        self._group: dict[str, int] = {}
        self._told: dict[str, Int64Array] = {}
        self._later: dict[str, dict[int, Int64Array]] = {}

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return self._inner.watermark

    @property
    def taken(self) -> int:
        """How many rows were taken in."""
        return self._taken + int(getattr(self._inner, "taken", 0))

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        before = self._inner.watermark
        batch = step.batch
        if batch is not None and self._marked:
            batch = self._apart(batch)
        out = []
        for emit in self._inner.push(replace(step, batch=batch, span=None)):
            if emit.port == MAIN:
                out.append(Emit(MAIN, self._completed(emit.batch)))
                continue
            out.append(emit)
            if emit.port == LATE:
                zeros, events = np.zeros(emit.batch.num_rows, np.int64), _events(emit.batch)
                self._note(emit.batch, np.maximum(event_times(emit.batch, self._time), before), (zeros, events))
        return out

    def _apart(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Note what was left out; return the other rows."""
        counts = [column(batch, n).fill_null(0).to_numpy() for n in LEDGER]
        marks = (counts[0] > 0) | (counts[1] > 0)
        if marks.any():
            mine = marks & self._mine(batch)
            left = batch.filter(pa.array(mine))
            self._note(left, event_times(left, self._time), (counts[0][mine], counts[1][mine]))
            self._taken += left.num_rows
            batch = batch.filter(pa.array(~marks))
        plain = batch.select([n for n in batch.schema.names if n not in LEDGER])
        return plain if plain.num_rows else None

    def _mine(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        groups = key_groups(key_hashes(batch, self._keys))
        return np.asarray((groups >= self._groups.start) & (groups < self._groups.stop))

    def _note(self, rows: pa.RecordBatch, times: Int64Array, counts: tuple[Int64Array, Int64Array]) -> None:
        if not rows.num_rows:
            return
        intervals = (times // self._every if self._every else np.zeros(times.size, np.int64)).tolist()
        groups = key_groups(key_hashes(rows, self._keys)).tolist()
        for at, key in enumerate(self._names(rows)):
            self._group[key] = groups[at]
            total = self._later.setdefault(key, {}).setdefault(intervals[at], np.zeros(2, np.int64))
            total += [int(counts[0][at]), int(counts[1][at])]

    def _names(self, rows: pa.RecordBatch) -> list[str]:
        columns = [rows.column(k).to_pylist() for k in self._keys]
        return [repr(each) for each in zip(*columns, strict=True)] if columns else [""] * rows.num_rows

    def _completed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return publications with what was left out before the end of each."""
        untils = column(batch, "until").cast(pa.int64()).to_pylist()
        rows = np.zeros((batch.num_rows, 2), np.int64)
        for at, (key, until) in enumerate(zip(self._names(batch), untils, strict=True)):
            later = self._later.get(key, {})
            for interval in [i for i in later if not self._every or (i + 1) * self._every <= until]:
                self._told.setdefault(key, np.zeros(2, np.int64))[:] += later.pop(interval)
            rows[at] = self._told.get(key, 0)
        columns = [*batch.columns, *(pa.array(rows[:, n].copy()) for n in range(2))]
        return pa.RecordBatch.from_arrays(columns, schema=_added(batch.schema))

    def snapshot(self) -> State:
        """Return the state: that of the histograms, and what was left out."""
        rows: list[tuple[str, int | None, Int64Array]] = [(k, None, total) for k, total in self._told.items()]
        rows += [(k, i, total) for k, later in self._later.items() for i, total in later.items()]
        table = pa.table(
            {
                "key": pa.array([k for k, _, _ in rows], pa.string()),
                "interval": pa.array([i for _, i, _ in rows], pa.int64()),
                **{n: pa.array([int(t[at]) for _, _, t in rows], pa.int64()) for at, n in enumerate(LEDGER)},
            }
        )
        groups = group_array(np.array([self._group.get(k, 0) for k, _, _ in rows], np.int32))
        return {**self._inner.snapshot(), _STATE: table.append_column(GROUP_COLUMN, groups)}

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns."""
        self._clear()
        for row in select_groups({_STATE: state[_STATE]}, self._groups)[_STATE].to_pylist():
            total = np.array([row[n] for n in LEDGER], np.int64)
            self._group[row["key"]] = row[GROUP_COLUMN]
            if row["interval"] is None:
                self._told[row["key"]] = total
            else:
                self._later.setdefault(row["key"], {})[row["interval"]] = total
        self._inner.restore({n: t for n, t in state.items() if n != _STATE})


def _events(rows: pa.RecordBatch) -> Int64Array:
    """Return how many events rows stand for: as many as the first of their lists has, else one."""
    for field, array in zip(rows.schema, rows.columns, strict=True):
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            return np.asarray(array.value_lengths().fill_null(0)).astype(np.int64)
    return np.ones(rows.num_rows, np.int64)
