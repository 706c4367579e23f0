"""Work per key in numpy against loops in Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.kernel.compiled import have_compiler
from eventide.kernel.keyed.rank import rank, rounds
from eventide.kernel.keyed.segments import (
    cumulative_max,
    cumulative_sum,
    distinct,
    forward_fill,
    previous,
    ranges,
    search,
    segments,
    stable_order,
)
from eventide.kernel.keyed.sliding import sliding_count, sliding_extreme, sliding_spread, sliding_sum

keys = st.lists(st.sampled_from([0, 1, 2, 70_000, 5_000_000]), max_size=40)
pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9), st.booleans()), max_size=40)


@given(keys)
def test_rank_and_rounds(slots):
    array = np.array(slots, np.int32)
    assert rank(array).tolist() == [slots[:i].count(s) for i, s in enumerate(slots)]
    turns = [r.tolist() for r in rounds(array)]
    assert sorted(i for r in turns for i in r) == list(range(len(slots)))
    for n, turn in enumerate(turns):
        assert all(slots[:i].count(slots[i]) == n for i in turn)
    assert distinct(array).tolist() == sorted(set(slots))
    assert stable_order(array).tolist() == sorted(range(len(slots)), key=lambda i: slots[i])


@given(pairs)
def test_operations_along_segments(rows):
    slots = np.array([r[0] for r in rows], np.int32)
    values = np.array([r[1] for r in rows], np.int64)
    valid = np.array([r[2] for r in rows], np.bool_)
    parts = segments(slots)
    v, ok = values[parts.order], valid[parts.order]
    total, high, before, filled = [], [], [], []
    for start, stop in zip(parts.starts.tolist(), parts.stops.tolist(), strict=True):
        part = v[start:stop].tolist()
        total += [sum(part[: i + 1]) for i in range(len(part))]
        high += [max(part[: i + 1]) for i in range(len(part))]
        before += [-99, *part[:-1]]
        filled += [max([j for j in range(start, i + 1) if ok[j]], default=-1) for i in range(start, stop)]
    assert cumulative_sum(v, parts.starts).tolist() == total
    assert cumulative_max(v, parts.starts).tolist() == high
    assert previous(v, parts.starts, np.full(parts.starts.size, -99)).tolist() == before
    assert forward_fill(ok, parts.starts).tolist() == filled
    assert parts.undo(v).tolist() == values.tolist()
    assert parts.keys[parts.of_row].tolist() == slots[parts.order].tolist()


@given(pairs, st.lists(st.integers(-10, 10), min_size=5, max_size=5))
def test_search_and_ranges(rows, targets):
    rows = sorted(rows)
    parts = segments(np.array([r[0] for r in rows], np.int32))
    times = np.array([r[1] for r in rows], np.int64)
    wanted = np.array([targets[k] for k in parts.keys.tolist()], np.int64)
    found = search(times, parts.starts, stops=parts.stops, targets=wanted)
    for start, stop, target, at in zip(parts.starts, parts.stops, wanted, found, strict=True):
        assert at == next((i for i in range(start, stop) if times[i] >= target), stop)
    assert ranges(parts.starts, found).tolist() == [
        i for a, b in zip(parts.starts, found, strict=True) for i in range(a, b)
    ]


floats = st.lists(
    st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.booleans()),
    min_size=1,
    max_size=20,
)


@given(floats, st.data())
def test_sliding_kernels_have_the_same_bits_in_numpy(rows, data):
    values, valid = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    windows = data.draw(st.lists(st.tuples(st.integers(0, len(rows)), st.integers(0, len(rows))), max_size=8))
    starts = np.array([min(w) for w in windows], np.int64)
    stops = np.array([max(w) for w in windows], np.int64)
    args = {"starts": starts, "stops": stops}
    results = []
    for switch in ("1", "0"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EVENTIDE_COMPILED", switch)
            have_compiler.cache_clear()
            results.append(
                [
                    sliding_sum(values, valid, **args),
                    sliding_spread(values, valid, **args, centre=np.full(starts.size, 0.25)),
                    sliding_extreme(values, valid, **args, largest=True),
                    sliding_extreme(values, valid, **args, largest=False),
                    sliding_count(valid, starts, stops),
                ]
            )
        have_compiler.cache_clear()
    for one, two in zip(*results, strict=True):
        assert [str(x) for x in one.tolist()] == [str(x) for x in two.tolist()]


def test_sliding_sums_are_rounded_once():
    values = np.array([1e16, 1.0, -1e16, 1e-3, 3.0])
    total = sliding_sum(values, np.ones(5, np.bool_), starts=np.array([0, 1]), stops=np.array([4, 5]))
    assert total.tolist() == [1.001, -1e16 + 4.001]
