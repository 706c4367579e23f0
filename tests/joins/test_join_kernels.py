from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from join_scripts import LEFT, RIGHT, join, run_script, scripts

from eventide.errors import SchemaError, UsageError
from eventide.kernel.compiled import have_compiler
from eventide.kernel.joins import ids, order, pairs
from eventide.kernel.joins.build import join_machine
from eventide.kernel.joins.panes import grid_of
from eventide.model.graph import AsofJoin, IntervalJoin, WindowJoin
from eventide.model.join_schema import join_schema
from eventide.model.machine import Step
from eventide.model.time import EVENT_TIME, MAX_TIME
from eventide.model.window import Session, Sliding, Tumbling

needs_compiler = pytest.mark.skipif(not have_compiler(), reason="numba is not installed, or switched off")
far = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 1000, 2**40, 2**63 - 1])
near = st.integers(-3, 3)


@needs_compiler
@given(st.lists(st.one_of(near, far)), st.lists(st.one_of(near, far)), st.booleans(), st.data())
def test_compiled_pairs_equal_numpy_pairs(left, right, keep, data):
    windows = data.draw(st.lists(st.tuples(*[st.integers(0, len(s)) for s in (left, left, right, right)]), max_size=4))
    bounds = np.array([(*sorted(w[:2]), *sorted(w[2:])) for w in windows], np.int64).reshape(-1, 4)
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=len(left), max_size=len(left))), np.bool_)
    if data.draw(st.booleans()):
        valid = np.empty(0, np.bool_)
    one, other = np.array(left, np.int64), np.array(right, np.int64)
    fast = pairs.Pairs(*pairs._compiled_loop()(one, other, valid, bounds, keep))
    slow = pairs.numpy_pairs(one, other, valid, bounds=bounds, keep=keep)
    for a, b in zip(fast, slow, strict=True):
        assert a.dtype == b.dtype
        assert a.tolist() == b.tolist()


@needs_compiler
def test_compiled_pairs_grow_their_output():
    ids_ = np.zeros(300, np.int64)
    bounds = np.array([[0, 300, 0, 300]])
    fast = pairs.Pairs(*pairs._compiled_loop()(ids_, ids_, np.empty(0, np.bool_), bounds, False))
    slow = pairs.numpy_pairs(ids_, ids_, np.empty(0, np.bool_), bounds=bounds, keep=False)
    assert len(fast.left) == 90_000
    assert (fast.left == slow.left).all() and (fast.right == slow.right).all()


@needs_compiler
@given(st.integers(0, 2**32), st.integers(0, 300), st.sampled_from([3, 2**20, 2**62]))
def test_compiled_order_equals_numpy_order(seed, count, span):
    rng = np.random.default_rng(seed)
    slots = rng.integers(0, 9, count, np.int32)
    times = rng.integers(-span, span, count)
    expected = np.lexsort((times, slots))
    assert order.sort_order(slots, times).tolist() == expected.tolist()
    slots, times = slots[expected], times[expected]
    of = rng.integers(-1, 10, 50, np.int32), rng.integers(-span, span, 50)
    for asked in (of, tuple(a[np.lexsort(of[::-1])] for a in of)):
        for right in (False, True):
            fast = order._compiled_positions()(slots, times, *asked, right)
            assert fast.tolist() == order.numpy_positions(slots, times, of=asked, right=right).tolist()


@given(
    scripts(max_rows=12),
    st.sampled_from([WindowJoin(Sliding(10, 4)), IntervalJoin(-3, 6), AsofJoin(5, "nearest")]),
    st.sampled_from([1, 2]),
)
def test_colliding_hashes_do_not_pair(script, spec, keys):
    node = join(spec, "left")
    expected = run_script(node, script, keys=keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "key_hashes", lambda batch, keys: np.zeros(batch.num_rows, np.uint64))
        assert run_script(node, script, keys=keys) == expected


@given(
    scripts(max_rows=20),
    st.sampled_from([WindowJoin(Sliding(10, 4)), IntervalJoin(-3, 6), AsofJoin(0), AsofJoin(9, "nearest")]),
    st.sampled_from(["inner", "left"]),
)
def test_machines_give_the_same_bits_without_compiled_loops(script, spec, how):
    expected = run_script(join(spec, how), script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "have_compiler", lambda: False)
        patch.setattr(order, "have_compiler", lambda: False)
        assert run_script(join(spec, how), script) == expected


@given(st.integers(1, 30), st.integers(0, 29), st.integers(-100, 100), st.sampled_from(["left", "right"]))
def test_windows_of_a_pane_are_those_that_hold_its_times(slide, more, time, closed):
    window = Sliding(slide + more, slide, 3 % slide, closed)
    grid = grid_of(window)
    [pane] = grid.panes(np.array([time])).tolist()
    found = range(grid.first_window(pane), grid.last_window(pane) + 1)
    shift = closed == "right"
    expected = [
        w
        for w in range(-300, 300)
        if window.offset + w * slide + shift <= time < window.offset + w * slide + window.size + shift
    ]
    assert list(found) == expected
    assert all(grid.span(w)[0] <= pane < grid.span(w)[1] for w in found)
    open_from = grid.open_from(time)
    assert (
        open_from == min(grid.start(w) for w in range(-300, 300) if grid.start(w) + window.size > time - shift) + shift
    )


KEYS = (("k",), ("rk",))


@pytest.mark.parametrize(
    ("spec", "keys", "schemas", "error", "says"),
    [
        (IntervalJoin(0, 1), (("kk",), ("rk",)), (LEFT, RIGHT), SchemaError, "did you mean 'k'"),
        (IntervalJoin(0, 1), (("k",), ("rs",)), (LEFT, RIGHT), SchemaError, "different types"),
        (IntervalJoin(0, 1), (("k", "s"), ("rk",)), (LEFT, RIGHT), UsageError, "as many keys"),
        (IntervalJoin(0, 1), ((), ()), (LEFT, RIGHT), UsageError, "at least one"),
        (WindowJoin(Session(5)), KEYS, (LEFT, RIGHT), UsageError, "session"),
        (
            WindowJoin(Tumbling(5)),
            KEYS,
            (LEFT.append(pa.field("window_end", EVENT_TIME)), RIGHT),
            SchemaError,
            "window_end",
        ),
        (IntervalJoin(0, 1), KEYS, (LEFT.append(pa.field("t_right", EVENT_TIME)), RIGHT), SchemaError, "t_right"),
    ],
)
def test_a_join_that_cannot_be_is_refused_with_a_reason(spec, keys, schemas, error, says):
    with pytest.raises(error, match=says):
        join_machine(join(spec), schemas=schemas, keys=keys, event_times=("t", "t"), groups=range(256))


def test_the_schema_of_a_join_leaves_out_right_keys_and_hidden_columns():
    left = LEFT.append(pa.field("_watermark", pa.int64()))
    names = join_schema(join(WindowJoin(Tumbling(5))), (left, RIGHT), KEYS).names
    assert names == ["k", "x", "t", "s", "t_right", "rs", "y", "z", "window_start", "window_end"]
    required = pa.schema([f.with_nullable(False) for f in RIGHT])
    kept = join_schema(join(IntervalJoin(0, 1), "left"), (LEFT, required), KEYS)
    assert kept.field("y").nullable
    assert not join_schema(join(IntervalJoin(0, 1)), (LEFT, required), KEYS).field("y").nullable


@pytest.mark.parametrize("spec", [WindowJoin(Tumbling(10)), IntervalJoin(0, 5), AsofJoin(0)])
@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint64(), pa.bool_(), EVENT_TIME, pa.date32(), pa.float64(), pa.large_string(), pa.binary()],
)
def test_keys_of_any_plain_type(spec, kind):
    values = {pa.large_string(): ["a", "b"], pa.binary(): [b"a", b"b"], pa.bool_(): [False, True]}.get(kind, [0, 1])
    schema = pa.schema([("t", EVENT_TIME), ("k", kind), ("n", pa.int64())])
    machine = join_machine(
        join(spec), schemas=(schema, schema), keys=(("k",), ("k",)), event_times=("t", "t"), groups=range(256)
    )
    batch = pa.record_batch([pa.array([1, 1], EVENT_TIME), pa.array(values, kind), pa.array([0, 1])], schema=schema)
    out = []
    for port in (1, 0):
        out += machine.push(Step(port, port, batch, 0))
    for port in (0, 1):
        out += machine.push(Step(2 + port, port, None, MAX_TIME, end=True))
    rows = [(row["n"], row["n_right"]) for e in out for row in e.batch.select(["n", "n_right"]).to_pylist()]
    assert sorted(rows) == [(0, 0), (1, 1)]
