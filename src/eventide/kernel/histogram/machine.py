"""The machine of `histogram`: counts events by key, and publishes when the watermark reaches the end of an interval.

The watermark says which interval is open: events before its end are counted at once, for none of those can belong to
a publication that is still to come before; later ones wait, as rows, until their interval is open or over. So what a
publication holds does not depend on how events came or were cut into batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import CheckpointError
from eventide.kernel.hashing import key_groups, key_hashes
from eventide.kernel.histogram.columns import (
    EventColumns,
    event_columns,
    events_of_rows,
    is_list,
    row_columns,
    rows_where,
)
from eventide.kernel.histogram.histograms import Filler, Histograms
from eventide.kernel.histogram.products import Product, fingerprint
from eventide.kernel.histogram.publication import LEDGER, Publisher, publication_schema
from eventide.kernel.keys import KeyIndex
from eventide.kernel.ordering import late_rows
from eventide.model.batch import Int64Array, concat, empty, event_times, visible
from eventide.model.graph import ProcessContext
from eventide.model.machine import LATE, MAIN, Emit, Step
from eventide.model.state import ALL_GROUPS, GROUP_COLUMN, State, group_array, select_groups
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["HistogramMachine", "HistogramPlan"]

_TOGETHER = 1 << 16
"""Events that are gathered from small batches before they are counted."""

_AT_ONCE = 1 << 20
"""Counts up to which several keys are published in one batch."""

_NOTHING = (MAX_TIME, MIN_TIME)
_SPARES = 2


@dataclass(frozen=True, slots=True, eq=False)
class HistogramPlan:
    """What is asked of a machine, and the factory that makes it.

    Parameters
    ----------
    products
        By name.
    every
        Length of the intervals, ns; 0: one publication at the end.
    window
        After how long counting begins anew, ns, a multiple of `every`; 0: never.
    vetoed
        A boolean column of events that are not to be binned, or "".
    track
        Integer columns whose least and greatest values a publication tells.
    sparse
        Whether only bins with events are published.
    """

    products: dict[str, Product]
    every: int = 0
    window: int = 0
    vetoed: str = ""
    track: tuple[str, ...] = ()
    sparse: bool = False

    def schema(self, source: pa.Schema, keys: tuple[str, ...]) -> pa.Schema:
        """Return the schema of the publications of an input."""
        fields = [source.field(k) for k in keys]
        return publication_schema(self.products, fields, sparse=self.sparse, track=self.track)

    def __call__(self, context: ProcessContext) -> HistogramMachine:
        """Return a machine."""
        return HistogramMachine(self, context)


@dataclass(slots=True)
class _Key:
    """What is held of one key."""

    id: str
    group: int
    order: int
    window: int
    histograms: Histograms
    vetoed: int = 0
    first: int = MAX_TIME
    last: int = MIN_TIME
    sequence: int = 0
    fresh: bool = False
    tracked: list[tuple[int, int]] = field(default_factory=list)
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    events: int = 0


class HistogramMachine:
    """Counts events and publishes histograms; see the module.

    Parameters
    ----------
    plan
        What to do.
    context
        Schema, keys, event time and key groups.
    """

    def __init__(self, plan: HistogramPlan, context: ProcessContext) -> None:
        self._plan = plan
        self._groups = context.groups
        self._keys = context.keys
        self._time = context.event_time
        self._schema = visible(context.schemas[0])
        self._filler = Filler(plan.products)
        extra = [plan.vetoed] if plan.vetoed else []
        self._columns = tuple(dict.fromkeys([*self._filler.columns, *extra, *plan.track]))
        self._lists = [n for n in self._columns if is_list(self._schema.field(n).type)]
        # What a row says of all its events need not be repeated for each of them.
        whole = [n for n in [*extra, *plan.track] if self._lists and n not in self._lists]
        self._by_row = tuple(dict.fromkeys(whole))
        self._by_event = tuple(n for n in self._columns if n in self._filler.columns or n not in whole)
        self._publisher = Publisher(plan.schema(self._schema, self._keys))
        self._spares: list[Histograms] = []
        self.taken = 0
        self._clear()

    def _clear(self) -> None:
        self._index = KeyIndex(self._schema, self._keys, self._groups)
        self._held: dict[int, _Key] = {}
        self._later: dict[int, list[pa.RecordBatch]] = {}
        self._input = MIN_TIME
        self._ended = False

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return self._input if self._plan.every or self._ended else MIN_TIME

    # -- rows

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        late = None
        if step.batch is not None and step.batch.num_rows:
            late = self._arrive(step.batch)
        self._ended |= step.end
        watermark = MAX_TIME if step.end else step.watermark
        if watermark > self._input:
            self._advance(watermark)
        out = [Emit(MAIN, batch) for batch in self._publisher.batches()]
        if late is not None:
            out.append(Emit(LATE, late))
        return out

    def _arrive(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        if self._groups != ALL_GROUPS:
            groups = key_groups(key_hashes(batch, self._keys))
            batch = batch.filter(pa.array((groups >= self._groups.start) & (groups < self._groups.stop)))
            if not batch.num_rows:
                return None
        times = event_times(batch, self._time)
        behind = late_rows(batch, times, self._input)
        rows, late = batch.select(self._schema.names), None
        if behind is not None:
            late = rows.filter(pa.array(behind))
            rows, times = rows.filter(pa.array(~behind)), times[~behind]
        self.taken += rows.num_rows
        if rows.num_rows:
            self._sort_in(rows, times)
        return late

    def _sort_in(self, rows: pa.RecordBatch, times: Int64Array) -> None:
        """Count rows of the open interval, and let those of later ones wait."""
        if not self._plan.every:
            self._count(rows, 0)
            return
        for number, part in _by_interval(rows, times, self._plan.every):
            if number == self._open:
                self._count(part, number)
            else:
                self._later.setdefault(number, []).append(part)

    @property
    def _open(self) -> int:
        """Number of the interval that the watermark is in."""
        return self._input // self._plan.every if self._plan.every else 0

    def _count(self, rows: pa.RecordBatch, interval: int) -> None:
        """Count rows of one interval, sooner or later."""
        for slot, part in self._by_key(rows):
            key = self._held.get(slot) or self._new_key(slot, self._window_of(interval))
            key.fresh = True
            events = self._events(part)
            if events >= _TOGETHER:  # by itself: to put it with others would be a copy
                self._drain(key)
                self._take(key, part)
                continue
            key.waiting.append(part)
            key.events += events
            if key.events >= _TOGETHER:
                self._drain(key)

    def _events(self, rows: pa.RecordBatch) -> int:
        """Return about how many events rows stand for."""
        if not self._lists or not rows.num_rows:
            return int(rows.num_rows)
        offsets = rows.column(self._lists[0]).offsets
        first: int = offsets[0].as_py()
        last: int = offsets[-1].as_py()
        return last - first

    def _window_of(self, interval: int) -> int:
        plan = self._plan
        return interval * plan.every // plan.window if plan.window else 0

    def _by_key(self, rows: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        slots = self._index.slots(rows)
        if not self._keys or bool((slots == slots[0]).all()):
            yield int(slots[0]), rows
            return
        order = np.argsort(slots, kind="stable")
        starts = np.flatnonzero(np.diff(slots[order], prepend=-1))
        rows = rows.take(pa.array(order))
        for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), order.size], strict=True):
            yield int(slots[order[begin]]), rows.slice(begin, end - begin)

    def _new_key(self, slot: int, window: int) -> _Key:
        hash_ = int(self._index.hashes_of(np.array([slot], np.int32))[0])
        group = int(self._index.groups_of(np.array([slot], np.int32))[0])
        # Keys of one hash, which nearly never are, need names of their own in the state.
        taken = {key.id for key in self._held.values() if key.order == hash_}
        name = next(n for n in (f"{hash_:016x}.{k}" for k in range(len(taken) + 1)) if n not in taken)
        histograms = self._spares.pop() if self._spares else Histograms(self._filler)
        key = _Key(name, group, hash_, window, histograms, tracked=[_NOTHING] * len(self._plan.track))
        self._held[slot] = key
        return key

    def _drain(self, key: _Key) -> None:
        """Count the rows of a key that wait."""
        if not key.waiting:
            return
        rows = concat(key.waiting)
        key.waiting, key.events = [], 0
        self._take(key, rows)

    def _take(self, key: _Key, rows: pa.RecordBatch) -> None:
        """Count rows; what a row says of all its events is looked at once."""
        vetoes = self._plan.vetoed
        times = event_times(rows, self._time)
        key.first, key.last = min(key.first, int(times.min())), max(key.last, int(times.max()))
        lengths = events_of_rows(rows, self._columns)
        if lengths is not None and self._by_row:
            told = row_columns(rows, self._by_row)
            self._follow(key, told, filled=lengths > 0)
            vetoed = told.values[vetoes].astype(np.bool_) if vetoes in told.values else np.zeros(0, np.bool_)
            if vetoed.any():
                key.vetoed += int(lengths[vetoed].sum())
                self._follow(key, event_columns(rows, [n for n in self._plan.track if n in self._lists]))
                rows = rows_where(rows, ~vetoed)
        made = event_columns(rows, self._by_event)
        self._follow(key, made)
        values, nulls = made.values, made.nulls
        if vetoes in values and vetoes not in self._by_row:
            vetoed = values[vetoes].astype(np.bool_)
            if vetoed.any():
                key.vetoed += int(np.count_nonzero(vetoed))
                values = {n: v[~vetoed] for n, v in values.items()}
                nulls = {n: v[~vetoed] for n, v in nulls.items()}
        key.histograms.add(values, nulls=nulls)

    def _follow(self, key: _Key, columns: EventColumns, *, filled: npt.NDArray[np.bool_] | None = None) -> None:
        """Look at the tracked columns among these; `filled` are the rows that have events."""
        for at, name in enumerate(self._plan.track):
            if name not in columns.values or (filled is None and name in self._by_row):
                continue
            values = columns.values[name]
            known = ~columns.nulls[name] if name in columns.nulls else None
            if filled is not None:
                known = filled if known is None else known & filled
            values = values if known is None else values[known]
            if values.size:
                low, high = key.tracked[at]
                key.tracked[at] = (min(low, int(values.min())), max(high, int(values.max())))

    # -- results

    def _advance(self, watermark: int) -> None:
        """Publish the intervals that are over, in order, then count what has waited for the one that is open now."""
        every, before = self._plan.every, self._open
        self._input = watermark
        if not every:
            if self._ended:
                self._publish(None)
            return
        after = self._open if watermark < MAX_TIME else MAX_TIME
        for number in sorted({before, *self._later}):
            if number > after or (number == after and number == before):
                break
            self._forget(self._window_of(number))
            for rows in self._later.pop(number, []):
                self._count(rows, number)
            if number < after:
                self._publish(number)
        self._forget(self._window_of(self._open))

    def _publish(self, interval: int | None) -> None:
        """Publish the keys that have got events."""
        plan = self._plan
        fresh = [(key.order, key.id, slot) for slot, key in self._held.items() if key.fresh]
        for _, _, slot in sorted(fresh):
            key = self._held[slot]
            self._drain(key)
            key.fresh = False
            # The first full microsecond after the last event: Python's own times have no nanoseconds.
            until = (key.last // 1000 + 1) * 1000 if interval is None else (interval + 1) * plan.every
            until = min(until, MAX_TIME - 1)
            since = key.window * plan.window if plan.window else None
            columns = self._index.key_columns(np.array([slot], np.int32))
            for name in plan.products:
                ledger = key.histograms.ledger(name)
                ledger["events"] += key.vetoed
                row: dict[str, Any] = {
                    "until": until,
                    "since": since,
                    "first": key.first,
                    "last": key.last,
                    "product": name,
                    "sequence": key.sequence,
                    **{n: ledger.get(n, key.vetoed) for n in LEDGER},
                    **self._tracked(key),
                    **self._lists_of(key.histograms, name, keys=len(fresh)),
                }
                self._publisher.add(columns, row)
            key.sequence += 1
            if plan.window and interval is not None and self._window_of(interval + 1) != key.window:
                self._release([slot])

    def _lists_of(self, histograms: Histograms, name: str, *, keys: int) -> dict[str, npt.NDArray[Any] | None]:
        """Return the lists of a row, in the publisher's memory."""
        each, plan = self._plan.products[name], self._plan
        weights = ("sums", "squares") if each.weights else ()
        if plan.sparse:
            out = self._publisher.room(dict.fromkeys(("bins", "counts", *weights), histograms.filled(name)))
            histograms.write_sparse(name, out["bins"], out["counts"])
            for n, values in zip(weights, histograms.weights(name) if weights else (), strict=True):
                out[n][:] = values.reshape(-1)[out["bins"]]
        else:
            bins = dict.fromkeys(("counts", *weights), each.bins)
            # All products of a key come into one batch, and as many keys as are few.
            whole = sum(p.bins for p in plan.products.values())
            out = self._publisher.room(bins, together=whole * max(1, min(keys, _AT_ONCE // whole)))
            histograms.write_counts(name, out["counts"])
            for n, values in zip(weights, histograms.weights(name) if weights else (), strict=True):
                out[n][:] = values.reshape(-1)
        return {"sums": None, "squares": None, **out}

    def _tracked(self, key: _Key) -> dict[str, int | None]:
        out: dict[str, int | None] = {}
        for name, (low, high) in zip(self._plan.track, key.tracked, strict=True):
            known = low <= high
            out |= {f"{name}_first": low if known else None, f"{name}_last": high if known else None}
        return out

    def _forget(self, window: int) -> None:
        """Let go of keys whose window is over."""
        if self._plan.window:
            self._release([slot for slot, key in self._held.items() if key.window < window])

    def _release(self, slots: list[int]) -> None:
        for slot in slots:
            histograms = self._held.pop(slot).histograms
            if len(self._spares) < _SPARES:
                histograms.reset()
                self._spares.append(histograms)
        if slots:
            self._index.release(np.array(slots, np.int32))

    # -- state

    @property
    def nbytes(self) -> int:
        """Bytes of counters."""
        return sum(key.histograms.nbytes for key in self._held.values())

    def snapshot(self) -> State:
        """Return the state: a table of the keys, blocks of counters, and the rows that wait."""
        keys = sorted(self._held.items(), key=lambda item: item[1].id)
        state: State = {}
        for _, key in keys:
            self._drain(key)
            state |= {f"counts/{key.id}/{name}": table for name, table in key.histograms.snapshot(key.group)}
        held = [key for _, key in keys]
        slots = np.array([slot for slot, _ in keys], np.int32)
        columns = {
            GROUP_COLUMN: pa.array([k.group for k in held], pa.int32()),
            "id": pa.array([k.id for k in held], pa.string()),
            "events": pa.array([k.histograms.events for k in held], pa.int64()),
            "fresh": pa.array([k.fresh for k in held], pa.bool_()),
        }
        columns |= {n: pa.array([getattr(k, n) for k in held], pa.int64()) for n in _NUMBERS}
        for at, name in enumerate(self._plan.track):
            columns |= {f"low.{name}": pa.array([k.tracked[at][0] for k in held], pa.int64())}
            columns |= {f"high.{name}": pa.array([k.tracked[at][1] for k in held], pa.int64())}
        columns |= {f"key.{n}": a for n, a in self._index.snapshot(slots).items()}
        later = [rows for _, batches in sorted(self._later.items()) for rows in batches]
        rows = concat(later) if later else empty(self._schema)
        groups = group_array(key_groups(key_hashes(rows, self._keys)))
        return {
            **state,
            "keys": pa.table(columns),
            "later": pa.Table.from_batches([rows]).append_column(GROUP_COLUMN, groups),
            "products": self._fingerprints(),
            "progress": pa.table({"input": pa.array([self._input], pa.int64()), "ended": [self._ended]}),
        }

    def _fingerprints(self) -> pa.Table:
        plan = self._plan
        found = {name: fingerprint(each) for name, each in plan.products.items()}
        found |= {"": f"every {plan.every} ns, reset {plan.window} ns, track {', '.join(plan.track)}"}
        return pa.table({"name": list(found), "fingerprint": list(found.values())})

    def _check(self, saved: pa.Table) -> None:
        then = {row["name"]: row["fingerprint"] for row in saved.to_pylist()}
        now = {row["name"]: row["fingerprint"] for row in self._fingerprints().to_pylist()}
        other = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        if other:
            what = f"histogram {other[-1]!r} with other axes" if other[-1] else f"histograms with {then.get('')}"
            msg = f"the state is of the {what}, which counts cannot be added to"
            raise CheckpointError(msg, hint="begin anew with --fresh, or name the changed pipeline anew")

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns.

        Raises
        ------
        CheckpointError
            It is of other histograms.
        """
        self._clear()
        self._check(state["products"])
        mine = select_groups(state, self._groups)
        self._input = mine["progress"].column("input")[0].as_py()
        self._ended = mine["progress"].column("ended")[0].as_py()
        tables: dict[str, dict[str, pa.Table]] = {}
        for name, table in mine.items():
            if name.startswith("counts/") and table.num_rows:
                _, key_id, rest = name.split("/", 2)
                tables.setdefault(key_id, {})[rest] = table
        keys = mine["keys"].combine_chunks()
        columns = {k: keys.column(f"key.{k}") for k in self._keys}
        slots = self._index.restore(columns, keys.num_rows)
        for slot, row in zip(slots.tolist(), keys.to_pylist(), strict=True):
            histograms = Histograms(self._filler)
            histograms.restore(tables.get(row["id"], {}), row["events"])
            tracked = [(row[f"low.{n}"], row[f"high.{n}"]) for n in self._plan.track]
            numbers = {n: row[n] for n in _NUMBERS}
            key = _Key(
                row["id"],
                row[GROUP_COLUMN],
                int(row["id"][:16], 16),
                histograms=histograms,
                fresh=row["fresh"],
                tracked=tracked,
                **numbers,
            )
            self._held[slot] = key
        for batch in mine["later"].select(self._schema.names).cast(self._schema).combine_chunks().to_batches():
            if batch.num_rows:
                self._sort_in(batch, event_times(batch, self._time))


_NUMBERS = ("window", "vetoed", "first", "last", "sequence")


def _by_interval(rows: pa.RecordBatch, times: Int64Array, every: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Return the rows of each interval, in order; those of one in the order that they have."""
    low, high = int(times.min()) // every, int(times.max()) // every
    if low == high:
        yield low, rows
        return
    numbers = times // every
    steps = np.diff(numbers)
    if (steps < 0).any():
        order = np.argsort(numbers, kind="stable")
        rows, numbers = rows.take(pa.array(order)), numbers[order]
        steps = np.diff(numbers)
    starts: deque[int] = deque([0, *(np.flatnonzero(steps) + 1).tolist(), numbers.size])
    while len(starts) > 1:
        begin = starts.popleft()
        yield int(numbers[begin]), rows.slice(begin, starts[0] - begin)
