"""What a keyed process sees while it runs: its declared state, its timers, the keys behind the slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import CheckpointError, UsageError, near_names
from eventide.kernel.keyed.segments import distinct
from eventide.kernel.keyed.state import ArrayStore, ListStore, MapStore, Store, make_store
from eventide.kernel.keyed.timers import TimerSet
from eventide.kernel.keys import KeyIndex
from eventide.model.graph import ProcessContext
from eventide.model.keyed import StateSpec, TimerState
from eventide.model.state import GROUP_COLUMN, State, group_array
from eventide.model.time import MAX_TIME, MIN_TIME, format_duration, format_time

__all__ = ["KeyedContext"]

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
S = TypeVar("S", ArrayStore, ListStore, MapStore)

_SLOT = "_slot"
_KINDS = {ArrayStore: "value or buffer", ListStore: "list", MapStore: "map"}


class KeyedContext:
    """The state of a keyed process, over slots; a `Context`.

    Parameters
    ----------
    specs
        The declared state and timers.
    context
        What the process is built for.
    """

    def __init__(self, specs: Mapping[str, StateSpec], context: ProcessContext) -> None:
        self.watermark = MIN_TIME
        self.clock = MIN_TIME
        self._index = KeyIndex(context.schemas[0], context.keys, context.groups)
        self._stores = {n: make_store(s) for n, s in specs.items() if not isinstance(s, TimerState)}
        self._timers = {n: s for n, s in specs.items() if isinstance(s, TimerState)}
        self.event_timers = TimerSet(tuple(n for n, s in self._timers.items() if not s.clock))
        self.clock_timers = TimerSet(tuple(n for n, s in self._timers.items() if s.clock))
        self._hold = np.zeros(0, np.int64)
        self._holding = False
        self._live = np.zeros(0, np.bool_)
        self._sweep: list[Int32Array] = []
        # Slots (ascending) and, for each, the time before which no timer may be set just now.
        self._floor: tuple[Int32Array, Int64Array] | None = None
        self._firing = False

    # -- for the process -----------------------------------------------------------------------------

    def value(self, name: str) -> npt.NDArray[Any]:
        """Return the array of a declared value or buffer state over slots."""
        return self._store(name, ArrayStore).array

    def rows(self, name: str, slots: Int32Array) -> tuple[Int32Array, pa.Table]:
        """Return the rows of a declared list state of some keys, and the slot of each."""
        return self._store(name, ListStore).rows(slots)

    def append(self, name: str, slots: Int32Array, rows: pa.RecordBatch) -> None:
        """Add rows to a declared list state."""
        self._store(name, ListStore).append(slots, rows)

    def get(self, name: str, slots: Int32Array, keys: pa.Array) -> pa.Array:
        """Return map values (null where there is none)."""
        return self._store(name, MapStore).get(slots, keys)

    def put(self, name: str, slots: Int32Array, *, keys: pa.Array, values: pa.Array) -> None:
        """Set map values."""
        self._store(name, MapStore).put(slots, keys=keys, values=values)

    def clear(self, name: str, slots: Int32Array) -> None:
        """Forget a state of some keys."""
        if name not in self._stores:
            raise _unknown(name, self._stores, what="state")
        self._stores[name].clear(slots)

    def keys(self, slots: Int32Array) -> list[pa.Array]:
        """Return the key columns of some slots."""
        return self._index.key_columns(np.asarray(slots, np.int32))

    def set_timer(self, name: str, slots: Int32Array, times: Int64Array) -> None:
        """Wake up when the watermark (or the clock) reaches a time, ns."""
        spec = self._timer(name)
        times = np.broadcast_to(np.asarray(times, np.int64), len(slots))
        if spec.clock:
            self.clock_timers.set(name, slots, times)
            return
        self._check_floor(name, np.asarray(slots), times)
        self.event_timers.set(name, slots, times)

    def cancel_timer(self, name: str, slots: Int32Array) -> None:
        """Take back timers."""
        (self.clock_timers if self._timer(name).clock else self.event_timers).cancel(name, slots)

    def hold(self, slots: Int32Array, times: Int64Array) -> None:
        """Hold the watermark of the output back at a time per key, ns."""
        if not self._holding:
            self._hold = np.full(self._live.size, MAX_TIME, np.int64)
            self._holding = True
        self._hold[slots] = times

    def forget(self, slots: Int32Array) -> None:
        """Drop all state and timers of some keys."""
        slots = distinct(slots)
        self._reset(slots)
        # The slots are given away only after the step: rows of these keys may still follow in it.
        self._sweep.append(slots)

    # -- for the machine -----------------------------------------------------------------------------

    def slots(self, batch: pa.RecordBatch) -> Int32Array:
        """Return the slots of rows, all of key groups owned, making room for new keys."""
        out: Int32Array = self._index.slots(batch)
        self._grow()
        self._live[out] = True
        return out

    def hashes(self, slots: Int32Array) -> npt.NDArray[np.uint64]:
        """Return the hashes of keys."""
        return self._index.hashes_of(slots)

    def sweep(self) -> None:
        """Give away the slots of keys that were forgotten and have kept nothing since."""
        if not self._sweep:
            return
        slots = distinct(np.concatenate(self._sweep))
        self._sweep = []
        blank = (self.event_timers.first(slots) == MAX_TIME) & (self.clock_timers.first(slots) == MAX_TIME)
        if self._holding:
            blank &= self._hold[slots] == MAX_TIME
        for store in self._stores.values():
            blank &= store.blank(slots)
        self._live[slots[blank]] = False
        self._index.release(slots[blank])

    def floor(self, slots: Int32Array, times: Int64Array, *, firing: bool) -> None:
        """Say before (when firing: up to) which time the timers of keys may not be set now."""
        self._floor = (slots, times)
        self._firing = firing

    @property
    def after(self) -> int:
        """The shortest time between an event and an event-time timer that it sets, ns."""
        return min((s.after for s in self._timers.values() if not s.clock), default=0)

    @property
    def lowest_hold(self) -> int:
        """The earliest time that a key holds the output's watermark at, ns."""
        return int(self._hold.min(initial=MAX_TIME)) if self._holding else MAX_TIME

    @property
    def size(self) -> int:
        """Number of keys with state."""
        return self._index.size

    def snapshot(self) -> State:
        """Return keys, state and timers."""
        slots = np.flatnonzero(self._live).astype(np.int32)
        groups = np.zeros(self._live.size, np.int32)
        groups[slots] = self._index.groups_of(slots)
        columns: dict[str, pa.Array] = {GROUP_COLUMN: group_array(groups[slots]), _SLOT: pa.array(slots)}
        columns |= {f"key.{k}": v for k, v in self._index.snapshot(slots).items()}
        out: State = {}
        for name, store in self._stores.items():
            if isinstance(store, ArrayStore):
                columns[f"value.{name}"] = store.save(slots)
                continue
            owner, table = store.save(slots)
            table = table.append_column(_SLOT, pa.array(owner, pa.int32()))
            out[f"rows.{name}"] = table.append_column(GROUP_COLUMN, group_array(groups[owner]))
        for timers in (self.event_timers, self.clock_timers):
            columns |= {f"timer.{n}": pa.array(timers.times[i, slots]) for i, n in enumerate(timers.names)}
        columns["hold"] = pa.array(self._hold[slots] if self._holding else np.full(slots.size, MAX_TIME, np.int64))
        out["keys"] = pa.table(columns)
        return out

    def restore(self, state: State) -> None:
        """Take over a snapshot, of the key groups owned only.

        Raises
        ------
        CheckpointError
            The process declares other state than it did then.
        """
        keys = state["keys"].combine_chunks()
        self._check_names(set(keys.column_names) | set(state))
        columns = {k: keys.column(f"key.{k}") for k in self._index.keys}
        slots = self._index.load(columns, keys.num_rows)
        self._grow()
        self._live[slots] = True
        # Slot numbers of several workers may be equal, but not within one key group.
        rows = any(not isinstance(store, ArrayStore) for store in self._stores.values())
        old = _pair(keys) if rows else np.empty(0, np.int64)
        by = np.argsort(old)
        for name, store in self._stores.items():
            if isinstance(store, ArrayStore):
                store.load(slots, keys.column(f"value.{name}").combine_chunks())
                continue
            table = state[f"rows.{name}"]
            owner = slots[by[np.searchsorted(old, _pair(table), sorter=by)]] if table.num_rows else slots[:0]
            store.load(owner, table.drop_columns([GROUP_COLUMN, _SLOT]))
        for timers in (self.event_timers, self.clock_timers):
            for name in timers.names:
                timers.set(name, slots, keys.column(f"timer.{name}").to_numpy())
            timers.recent()
        hold = keys.column("hold").to_numpy()
        if (hold < MAX_TIME).any():
            self.hold(slots, hold)

    # -- inner ---------------------------------------------------------------------------------------

    def _check_names(self, saved: set[str]) -> None:
        want = {f"{'value' if isinstance(s, ArrayStore) else 'rows'}.{n}" for n, s in self._stores.items()}
        want |= {f"timer.{n}" for n in self._timers}
        have = {n for n in saved if n.startswith(("value.", "rows.", "timer."))}
        if want != have:
            change = sorted(n.partition(".")[2] for n in want ^ have)
            msg = f"the state of the process has changed since the checkpoint: {', '.join(change)}"
            raise CheckpointError(msg, hint="start without the checkpoint, or run the code that wrote it")

    def _grow(self) -> None:
        capacity = self._index.capacity
        more = capacity - self._live.size
        if more <= 0:
            return
        self._live = np.pad(self._live, (0, more))
        if self._holding:
            self._hold = np.pad(self._hold, (0, more), constant_values=MAX_TIME)
        for store in self._stores.values():
            store.grow(capacity)
        self.event_timers.grow(capacity)
        self.clock_timers.grow(capacity)

    def _reset(self, slots: Int32Array) -> None:
        if not slots.size:
            return
        for store in self._stores.values():
            store.clear(slots)
        self.event_timers.clear(slots)
        self.clock_timers.clear(slots)
        if self._holding:
            self._hold[slots] = MAX_TIME

    def _store(self, name: str, kind: type[S]) -> S:
        store: Store | None = self._stores.get(name)
        if store is None:
            raise _unknown(name, self._stores, what="state")
        if not isinstance(store, kind):
            msg = f"state {name!r} is declared as a {_KINDS[type(store)]} state, not as a {_KINDS[kind]} state"
            raise UsageError(msg, hint="value() is for value and buffer states, rows() for lists, get() for maps")
        return store

    def _timer(self, name: str) -> TimerState:
        if name not in self._timers:
            raise _unknown(name, self._timers, what="timer")
        return self._timers[name]

    def _check_floor(self, name: str, slots: Int32Array, times: Int64Array) -> None:
        if self._floor is None:
            return
        keys, least = self._floor
        place = np.minimum(np.searchsorted(keys, slots), max(keys.size - 1, 0))
        here = (keys[place] == slots) if keys.size else np.zeros(len(slots), np.bool_)
        limit = least[place] if keys.size else times
        bad = here & ((times <= limit) if self._firing else (times < limit))
        if not bad.any():
            return
        at = int(np.flatnonzero(bad)[0])
        if self._firing:
            msg = f"timer {name!r} was set for {format_time(int(times[at]))}, no later than the one that is firing"
            raise UsageError(msg, hint="it would fire for ever: set it for a later time")
        msg = f"timer {name!r} was set for {format_time(int(times[at]))}, before {format_time(int(limit[at]))}"
        longest = format_duration(self.after)
        raise UsageError(msg, hint=f"the process declares event_timer(after={longest!r}); declare a shorter one")


def _unknown(name: str, known: Mapping[str, Any], *, what: str) -> UsageError:
    msg = f"the process declares no {what} {name!r}"
    how = "event_timer()" if what == "timer" else "value_state('float64')"
    return UsageError(msg, hint=f"{near_names(name, known)}; or declare it: state = {{{name!r}: {how}}}")


def _pair(table: pa.Table) -> Int64Array:
    group = table.column(GROUP_COLUMN).to_numpy().astype(np.int64)
    pair: Int64Array = (group << 32) | table.column(_SLOT).to_numpy()
    return pair
