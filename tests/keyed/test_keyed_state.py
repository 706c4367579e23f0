"""State in columns against dictionaries, through many merges and releases."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from eventide.kernel.keyed import state as module
from eventide.kernel.keyed.state import ArrayStore, ListStore, MapStore
from eventide.kernel.keyed.timers import TimerSet
from eventide.model.keyed import BufferState, ListState, MapState, ValueState

slot = st.integers(0, 5)
actions = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.lists(st.tuples(slot, st.integers(0, 3), st.none() | st.integers(0, 99)), max_size=6)
        ),
        st.tuples(st.just("clear"), st.lists(slot, max_size=3, unique=True)),
        st.tuples(st.just("save"), st.none()),
    ),
    max_size=25,
)
ALL = np.arange(6, dtype=np.int32)


@given(actions)
def test_list_state(script):
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    store, model = ListStore(ListState(schema)), {s: [] for s in range(6)}
    store.grow(6)
    small, module._SMALL = module._SMALL, 3
    try:
        for what, arg in script:
            if what == "add":
                rows = pa.record_batch([pa.array([r[i] for r in arg], pa.int64()) for i in (1, 2)], names=["a", "b"])
                store.append(np.array([r[0] for r in arg], np.int32), rows)
                for s, a, b in arg:
                    model[s].append((a, b))
            elif what == "clear":
                store.clear(np.array(arg, np.int32))
                model |= {s: [] for s in arg}
            else:
                saved = store.save(ALL)
                store = ListStore(ListState(schema))
                store.grow(6)
                store.load(*saved)
            wanted = np.array([4, 1], np.int32)
            owner, table = store.rows(wanted)
            found = list(zip(owner.tolist(), table["a"].to_pylist(), table["b"].to_pylist(), strict=True))
            assert found == [(s, *r) for s in (1, 4) for r in model[s]]
            assert store.blank(ALL).tolist() == [not model[s] for s in range(6)]
    finally:
        module._SMALL = small


@given(actions)
def test_map_state(script):
    spec = MapState(pa.int64(), pa.int64())
    store, model = MapStore(spec), {}
    small, module._SMALL = module._SMALL, 3
    try:
        for what, arg in script:
            if what == "add":
                store.put(
                    np.array([r[0] for r in arg], np.int32),
                    keys=pa.array([r[1] for r in arg], pa.int64()),
                    values=pa.array([r[2] for r in arg], pa.int64()),
                )
                model |= {(s, k): v for s, k, v in arg}
            elif what == "clear":
                store.clear(np.array(arg, np.int32))
                model = {key: v for key, v in model.items() if key[0] not in arg}
            else:
                saved = store.save(ALL)
                store = MapStore(spec)
                store.load(*saved)
            asked = [(s, k) for s in range(6) for k in range(4)]
            got = store.get(np.array([s for s, _ in asked], np.int32), pa.array([k for _, k in asked], pa.int64()))
            assert got.to_pylist() == [model.get(a) for a in asked]
            live = {s for (s, _), v in model.items() if v is not None}
            assert store.blank(ALL).tolist() == [s not in live for s in range(6)]
    finally:
        module._SMALL = small


def test_array_state_of_every_kind_survives():
    for spec, value in (
        (ValueState("bool", default=True), False),
        (ValueState("datetime64[ns]", "2020-01-01"), np.datetime64("2021-01-01", "ns")),
        (BufferState("float32", 3, float("nan")), [1.0, 2.0, 3.0]),
        (BufferState("timedelta64[s]", 2), np.array([3, 4], "timedelta64[s]")),
    ):
        store, again = ArrayStore(spec), ArrayStore(spec)
        store.grow(4)
        again.grow(4)
        store.array[2] = value
        assert store.blank(np.arange(4)).tolist() == [True, True, False, True]
        column = store.save(np.array([2, 3]))
        store.array[2] = store.default
        again.load(np.array([1, 0]), column)
        assert again.blank(np.arange(4)).tolist() == [True, False, True, True]
        assert again.array[1].tolist() == np.asarray(value, again.dtype).tolist()


def test_timers_last_one_wins():
    timers = TimerSet(("a", "b"))
    timers.grow(4)
    timers.set("a", np.array([1, 1, 2]), np.array([9, 5, 7]))
    timers.set("b", np.array([1]), np.array([5]))
    assert timers.due(4).tolist() == []
    assert timers.due(6).tolist() == [1]
    assert timers.recent().tolist() == [1, 2]
    position, name = timers.take(np.array([2, 1]), np.array([6, 5]))
    assert (position.tolist(), name.tolist()) == ([1, 1], [0, 1])
    timers.cancel("a", np.array([2]))
    assert timers.due(100).tolist() == []
