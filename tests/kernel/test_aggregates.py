"""Accumulators against plain Python: any order, any split, any merge, compiled or not, the same bits."""

from __future__ import annotations

import contextlib
import math
import statistics
from fractions import Fraction

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import EventideError, SchemaError, UnknownNameError
from eventide.kernel.aggregates import Accumulators, accumulator
from eventide.kernel.aggregates.sketch import buckets_of, value_of
from eventide.kernel.compiled import have_compiler
from eventide.model import aggregate as ag
from eventide.model.time import EVENT_TIME

SCHEMA = pa.schema(
    [
        ("t", EVENT_TIME),
        ("f", pa.float64()),
        ("g", pa.float32()),
        ("i", pa.int64()),
        ("u", pa.uint64()),
        ("b", pa.bool_()),
        ("s", pa.string()),
        ("w", pa.timestamp("us")),
    ]
)
MODULES = (
    "keys",
    "hashing",
    "keys_pack",
    "aggregates.binned",
    "aggregates.counts",
    "aggregates.extremes",
    "aggregates.columns",
)

floats = st.one_of(
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7e308, -1.7e308, 1e200, 1e-200]),
    st.floats(),
    st.floats(-100, 100),
    st.sampled_from([0.1, 0.2, 1e16, -1e16, 1.0]),
)
VALUES = {
    "f": floats,
    "g": st.floats(width=32),
    "i": st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    "u": st.integers(0, 2**64 - 1),
    "b": st.booleans(),
    "s": st.sampled_from(["", "a", "ab", "é", "z"]),
    "w": st.integers(-5, 5).map(lambda n: n * 1_000_000),
}
ALL = [
    ("n", ag.count()),
    ("ns", ag.count("s")),
    *((f"{kind.__name__}_{c}", kind(c)) for kind in (ag.sum_, ag.mean, ag.var, ag.std) for c in "fgiub"),
    ("pop", ag.var("f", ddof=0)),
    *((f"{kind.__name__}_{c}", kind(c)) for kind in (ag.min_, ag.max_) for c in "fgiubsw"),
    *((f"{kind.__name__}_{c}", kind(c)) for kind in (ag.first, ag.last, ag.n_unique, ag.collect) for c in "fgiubsw"),
    ("q", ag.quantile("f", 0.3)),
    ("qs", ag.quantile("f", 0.7, method="sketch")),
    ("top", ag.top_k("f", 2)),
    ("tops", ag.top_k("s", 2)),
    ("fit", ag.linear_fit("w", "i")),
    ("expr", ag.expression(pl.col("f").max() + pl.col("i").count())),
    ("len", ag.expression(pl.len())),
]


@contextlib.contextmanager
def kernels(compiled: bool):
    """Run with compiled kernels or without."""
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            for module in MODULES:
                patch.setattr(f"eventide.kernel.{module}.have_compiler", lambda: False)
        yield


@st.composite
def rows(draw):
    n = draw(st.integers(0, 20))
    columns = {"t": pa.array(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), pa.int64()).cast(EVENT_TIME)}
    for name, values in VALUES.items():
        drawn = draw(st.lists(st.none() | values, min_size=n, max_size=n))
        kind = SCHEMA.field(name).type
        columns[name] = pa.array(drawn, pa.int64()).cast(kind) if name == "w" else pa.array(drawn, kind)
    slots = np.array(draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)), np.int32)
    return pa.record_batch(columns, schema=SCHEMA), slots


def put(acc, batch, slots, at):
    part = batch.take(pa.array(at, pa.int64()))
    acc.update(slots[at], part, part["t"].view(pa.int64()).to_numpy())


def bits(arrays):
    """What an aggregate gave, NaN and zeros by their bits."""

    def one(value):
        if isinstance(value, float):
            return ("nan",) if math.isnan(value) else (value.hex(),)
        if isinstance(value, list):
            return [one(v) for v in value]
        return {k: one(v) for k, v in value.items()} if isinstance(value, dict) else value

    return [[one(v) for v in a.to_pylist()] for a in arrays]


EVERY = np.arange(3, dtype=np.int32)


@given(rows(), st.randoms(use_true_random=False))
def test_any_order_split_and_merge_gives_the_same_bits(case, random):
    batch, slots = case
    n = batch.num_rows
    results, states = [], []
    for compiled in {have_compiler(), False}:
        with kernels(compiled):
            for trial in range(3):
                order = list(range(n))
                random.shuffle(order)
                a, b = random.randint(0, n), random.randint(0, n)
                left, right = (Accumulators(ALL, SCHEMA, "t") for _ in range(2))
                left.resize(3)
                right.resize(6)
                put(left, batch, slots, order[: min(a, b)])
                shifted = np.where(slots < 0, -1, slots + 3).astype(np.int32)
                put(right, batch, shifted, order[min(a, b) : max(a, b)])
                if trial == 0:
                    # Merged within one state, as sessions are.
                    put(right, batch, slots, order[max(a, b) :])
                    right.merge(EVERY, right, EVERY + 3)
                    right.reset(EVERY + 3)
                    right.merge(EVERY, left, EVERY)
                    whole = right
                else:
                    put(left, batch, slots, order[max(a, b) :])
                    left.merge(EVERY, right, EVERY + 3)
                    whole = left
                if trial == 2:
                    kept = whole.snapshot(EVERY)
                    whole = Accumulators(ALL, SCHEMA, "t")
                    whole.resize(9)
                    moved = np.array([4, -1, 8], np.int32)
                    whole.restore(moved, {k: pa.chunked_array([v]) for k, v in kept.items()})
                    whole.restore(np.array([-1, 0, -1], np.int32), kept)
                    results.append(bits(whole.finish(np.array([4, 0, 8], np.int32))))
                else:
                    results.append(bits(whole.finish(EVERY)))
                    states.append({k: repr(v.to_pylist()) for k, v in whole.snapshot(EVERY).items()})
                assert whole.types == [a.type for a in whole.finish(EVERY)]
    for other in results[1:]:
        for (name, _), got, expected in zip(ALL, other, results[0], strict=True):
            assert got == expected, name
    assert all(s == states[0] for s in states)


def plain_values(batch, slots, name, slot):
    return [v for v, s in zip(batch[name].to_pylist(), slots, strict=True) if s == slot and v is not None]


@given(rows())
def test_values_are_those_of_plain_python(case):
    batch, slots = case
    acc = Accumulators(ALL, SCHEMA, "t")
    acc.resize(3)
    put(acc, batch, slots, np.arange(batch.num_rows))
    got = dict(zip(acc.names, [a.to_pylist() for a in acc.finish(EVERY)], strict=True))
    times = batch["t"].view(pa.int64()).to_pylist()
    for slot in range(3):
        assert got["n"][slot] == got["len"][slot] or (got["n"][slot] == 0 and got["len"][slot] is None)
        assert got["n"][slot] == int((slots == slot).sum())
        assert got["ns"][slot] == len(plain_values(batch, slots, "s", slot))
        for name in ("i", "u", "b", "s", "w"):
            values = plain_values(batch, slots, name, slot)
            assert got[f"n_unique_{name}"][slot] == len(set(values))
            assert got[f"min__{name}"][slot] == min(values, default=None)
            assert got[f"max__{name}"][slot] == max(values, default=None)
            timed = sorted(
                (t, v)
                for t, v, s in zip(times, batch[name].to_pylist(), slots, strict=True)
                if s == slot and v is not None
            )
            assert got[f"collect_{name}"][slot] == [v for _, v in timed]
            assert got[f"first_{name}"][slot] == (timed[0][1] if timed else None)
            assert got[f"last_{name}"][slot] == (timed[-1][1] if timed else None)
        for name in "iub":
            total = sum(plain_values(batch, slots, name, slot))
            assert (got[f"sum__{name}"][slot] - total) % 2**64 == 0
        assert got["tops"][slot] == sorted(plain_values(batch, slots, "s", slot), reverse=True)[:2]
        values = plain_values(batch, slots, "f", slot)
        real = [v for v in values if not math.isnan(v)]
        assert got["top"][slot][: len(real)] == sorted(real, reverse=True)[:2]
        for kind, function in (("min_", min), ("max_", max)):
            expected = function(real) if real else (math.nan if values else None)
            found = got[f"{kind}_f"][slot]
            assert found == expected or (math.isnan(found) and math.isnan(expected))
        distinct = {v + 0.0 for v in real} | ({"nan"} if len(real) < len(values) else set())
        assert got["n_unique_f"][slot] == len(distinct)
        check_sums(got, values, slot)


def check_sums(got, values, slot):
    total, average = got["sum__f"][slot], got["mean_f"][slot]
    if not all(map(math.isfinite, values)):
        expected = sum(values)
        assert (math.isnan(total) and math.isnan(expected)) or total == expected
        assert len(values) < 2 or math.isnan(got["var_f"][slot])
        return
    exact = [Fraction(v) for v in values]
    slack = max(map(abs, exact), default=0) * Fraction(1, 2**85) + Fraction(1, 2**1050)
    if math.isfinite(total):
        assert abs(Fraction(total) - sum(exact)) <= abs(sum(exact)) * Fraction(1, 2**53) + slack
    if values:
        assert abs(Fraction(average) - sum(exact) / len(exact)) <= abs(sum(exact)) * Fraction(1, 2**52) + slack
    if len(values) > 1 and all(abs(v) < 1e150 for v in values) and all(v == 0 or abs(v) > 1e-150 for v in values):
        expected = statistics.variance(exact)
        found = Fraction(got["var_f"][slot])
        assert abs(found - expected) <= expected * Fraction(1, 2**50) + max(map(abs, exact)) ** 2 * Fraction(1, 2**100)


def test_constant_values_have_no_variance():
    batch = pa.record_batch({"v": [0.1] * 1000 + [1e15 + 0.3] * 7 + [-3.3e-9] * 3})
    acc = accumulator(ag.std("v"), batch.schema, "t")
    acc.resize(3)
    slots = np.repeat(EVERY, [1000, 7, 3])
    acc.update(slots, batch, np.zeros(1010, np.int64))
    assert acc.finish(EVERY).to_pylist() == [0.0, 0.0, 0.0]


def test_a_small_spread_on_a_large_offset_is_exact():
    values = [1.0 + k * 2.0**-52 for k in (0, 1, 2, 5)]
    batch = pa.record_batch({"v": values})
    acc = accumulator(ag.var("v"), batch.schema, "t")
    acc.resize(1)
    acc.update(np.zeros(4, np.int32), batch, np.zeros(4, np.int64))
    assert acc.finish(np.zeros(1, np.int32)).to_pylist() == [float(statistics.variance([Fraction(v) for v in values]))]


def test_quantiles():
    values = [float(v) for v in np.random.default_rng(2).lognormal(3, 2, 2_000)]
    batch = pa.record_batch({"v": values + [-v for v in values]})
    slots = np.zeros(4_000, np.int32)
    for q in (0.0, 0.1, 0.5, 0.77, 1.0):
        exact = accumulator(ag.quantile("v", q), batch.schema, "t")
        sketch = accumulator(ag.quantile("v", q, method="sketch"), batch.schema, "t")
        for acc in (exact, sketch):
            acc.resize(1)
            acc.update(slots, batch, np.zeros(4_000, np.int64))
        assert exact.finish(slots[:1]).to_pylist() == pytest.approx([np.quantile(batch["v"].to_numpy(), q)], rel=1e-12)
        nearest = np.quantile(batch["v"].to_numpy(), q, method="lower")
        assert sketch.finish(slots[:1]).to_pylist() == pytest.approx([nearest], rel=0.0101)
        assert sketch.nbytes < 100_000


@given(st.floats(allow_nan=False, allow_subnormal=False))
def test_a_bucket_is_within_one_percent(value):
    with np.errstate(over="ignore"):
        found = float(value_of(buckets_of(np.array([value])))[0])
    assert found == pytest.approx(value, rel=0.01) or (math.isinf(found) and abs(value) > 1.7e308)


def test_linear_fit_counts_seconds_from_the_start():
    start = 1_700_000_000_000_000_000
    times = [start + k * 250_000_000 for k in range(5)]
    batch = pa.record_batch({"t": pa.array(times).cast(EVENT_TIME), "v": [3.0 + 0.5 * k for k in range(5)]})
    acc = accumulator(ag.linear_fit("t", "v"), batch.schema, "t")
    acc.resize(2)
    acc.update(np.array([0, 0, 0, 0, 1], np.int32), batch, np.array(times))
    fit = acc.finish(np.array([0, 1], np.int32), np.array([start - 10**9, start])).to_pylist()
    assert fit[1] is None
    assert fit[0] == pytest.approx({"slope": 2.0, "intercept": 1.0, "r2": 1.0})


def test_many_kept_rows_are_pruned_to_what_is_needed():
    rng = np.random.default_rng(1)
    acc = Accumulators(
        [("u", ag.n_unique("s")), ("k", ag.top_k("v", 3)), ("l", ag.last("s"))],
        pa.schema([("s", pa.string()), ("v", pa.int64())]),
        "t",
    )
    acc.resize(4)
    every, slots = [], rng.integers(0, 4, 40_000).astype(np.int32)
    for start in range(0, 40_000, 5_000):
        numbers = rng.integers(0, 50, 5_000)
        batch = pa.record_batch({"s": [f"s{n}" for n in numbers.tolist()], "v": numbers + start})
        acc.update(slots[start : start + 5_000], batch, np.arange(start, start + 5_000))
        every.extend(batch["v"].to_pylist())
    unique, top, last = acc.finish(np.arange(4, dtype=np.int32))
    assert unique.to_pylist() == [50] * 4
    numbers = np.array(every)
    assert top.to_pylist() == [sorted(numbers[slots == s].tolist(), reverse=True)[:3] for s in range(4)]
    final = [int(np.flatnonzero(slots == s)[-1]) for s in range(4)]
    assert last.to_pylist() == [f"s{every[f] - f // 5_000 * 5_000}" for f in final]
    assert acc.nbytes < 1_500_000
    acc.reset(np.arange(4, dtype=np.int32))
    assert acc.nbytes == 0
    assert acc.finish(np.arange(4, dtype=np.int32))[1].to_pylist() == [[], [], [], []]


def test_shared_state_is_held_once():
    named = [("m", ag.mean("f")), ("s", ag.std("f")), ("t", ag.sum_("f")), ("n", ag.count()), ("c", ag.count())]
    acc = Accumulators(named, SCHEMA, "t")
    acc.resize(100)
    assert acc.nbytes == 100 * 8 * 13  # the rows are counted by the moments


def test_what_cannot_be_computed_is_said():
    with pytest.raises(SchemaError, match="cannot be computed of string"):
        accumulator(ag.mean("s"), SCHEMA, "t")
    with pytest.raises(SchemaError, match="no column 'ff'"):
        accumulator(ag.mean("ff"), SCHEMA, "t")
    with pytest.raises(UnknownNameError, match="no aggregate 'meen'"):
        accumulator(ag.Aggregate("meen", ("f",)), SCHEMA, "t")
    assert issubclass(UnknownNameError, EventideError)
