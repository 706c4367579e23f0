"""dedup, suppress, sessionize, rolling and resample against models that go event by event in Python.

Every case goes through a random permutation within the lateness, batch split, split of key groups, and restarts.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from machine_driver import EVENT_TIME, Scenario, drive, make, rows, scenarios

import eventide as ev
from eventide.kernel.hashing import combine, hash_words, key_hashes
from eventide.operators.dedup import dedup
from eventide.operators.resample import resample
from eventide.operators.rolling import rolling
from eventide.operators.sessionize import sessionize
from eventide.operators.suppress import suppress

SCHEMA = pa.schema([("k", pa.string()), ("t", EVENT_TIME), ("v", pa.float64()), ("n", pa.int32())])
NUMBERS = [None, 0.125, -2.5, 3.0, 1e16, float("nan")]
row = st.tuples(
    st.sampled_from(["a", "b", None]), st.integers(-5, 40), st.sampled_from(NUMBERS), st.sampled_from([None, -7, 0, 9])
)
lengths = st.integers(1, 12)


def order(r):
    v = r[2]
    return (
        r[1],
        (r[0] is not None, r[0] or ""),
        (v is not None, math.inf if v is not None and math.isnan(v) else v or 0.0),
        (r[3] is not None, r[3] or 0),
    )


def by_key(items):
    ordered = sorted(items, key=order)
    for key in dict.fromkeys(r[0] for r in ordered):
        yield key, [r for r in ordered if r[0] == key]


def stream():
    return ev.read("log://a").event_time("t", lateness="1h").key_by("k")


def check(built, scenario, *, time="t", **ports):
    found = drive(lambda groups: make(built, SCHEMA, groups), scenario, SCHEMA, out_time=time)
    for port, want in ports.items():
        assert found.pop(port, Counter()) == rows(want)
    assert not found


@given(scenarios(row), lengths)
def test_dedup(scenario, within):
    main, gone = [], []
    for _, events in by_key(scenario.items):
        last = -math.inf
        for r in events:
            if r[1] - last > within:
                last = r[1]
                main.append(r)
            else:
                gone.append(r)
    check(stream().pipe(dedup, by="k", within=ns(within)), scenario, main=main, duplicates=gone)


def ns(n):
    return f"{n}ns"


@given(scenarios(row), lengths, st.booleans())
def test_suppress(scenario, hold, some):
    main, gone = [], []
    for _, events in by_key(scenario.items):
        last, held = -math.inf, 0
        for r in events:
            if some and not (r[3] is not None and r[3] >= 0):
                main.append((*r, 0))
            elif r[1] - last >= hold:
                main.append((*r, held))
                last, held = r[1], 0
            else:
                gone.append(r)
                held += 1
    when = pl.col("n") >= 0 if some else None
    check(stream().pipe(suppress, hold=ns(hold), when=when), scenario, main=main, suppressed=gone)


@given(scenarios(row), lengths)
def test_sessionize(scenario, gap):
    main = []
    for key, events in by_key(scenario.items):
        last, start, n = -math.inf, 0, 0
        for r in events:
            if r[1] - last >= gap:
                start, n = r[1], 0
            batch = pa.record_batch({"k": pa.array([key], pa.string())})
            number = combine(key_hashes(batch, ["k"]), hash_words(pa.array([start]).to_numpy()))
            main.append((*r, int(number[0]), start, n))
            last, n = r[1], n + 1
    check(stream().pipe(sessionize, gap=ns(gap)), scenario, main=main)


def fold(values):
    return math.nan if any(math.isnan(v) for v in values) else math.fsum(values)


def extreme(values, pick):
    real = [v for v in values if not math.isnan(v)]
    return pick(real) if real else (math.nan if values else None)


def statistics(window, i):
    v = [r[2] for r in window if r[2] is not None]
    n = [r[3] for r in window if r[3] is not None]
    mean = fold(v) / len(v) if v else None
    var = fold([(x - mean) * (x - mean) for x in v]) / (len(v) - 1) if len(v) > 1 else None
    std = None if var is None else math.sqrt(var)
    return (len(window), len(n), fold(v), sum(n), mean, std, extreme(v, min), extreme(v, max), max(n, default=None))


AGGREGATES = {
    "all": ev.count(),
    "some": ev.count("n"),
    "sum": ev.sum("v"),
    "total": ev.sum("n"),
    "mean": ev.mean("v"),
    "std": ev.std("v"),
    "low": ev.min("v"),
    "high": ev.max("v"),
    "top": ev.max("n"),
}


@pytest.mark.parametrize("compiled", ["1", "0"])
@given(scenario=scenarios(row), over=lengths)
@example(
    scenario=Scenario([("a", 1, 3.0, 0), ("a", 1, None, None), ("a", 0, 3.0, 9)], 2, [0, 1, 3], [1, 2], {0}), over=1
)
def test_rolling_over_time(compiled, scenario, over):
    main = []
    for _, events in by_key(scenario.items):
        for r in events:
            window = [e for e in events if r[1] - over < e[1] <= r[1]]
            main.append((*r, *statistics(window, r)))
    with switched(compiled):
        check(stream().pipe(rolling, over=ns(over), **AGGREGATES), scenario, main=main)


def switched(value):
    from eventide.kernel.compiled import have_compiler

    patch = pytest.MonkeyPatch.context()

    class Switch:
        def __enter__(self):
            self.patch = patch.__enter__()
            self.patch.setenv("EVENTIDE_COMPILED", value)
            have_compiler.cache_clear()

        def __exit__(self, *args):
            patch.__exit__(*args)
            have_compiler.cache_clear()

    return Switch()


@given(scenarios(row), st.integers(1, 5))
def test_rolling_over_rows(scenario, count):
    main = []
    for _, events in by_key(scenario.items):
        for i, r in enumerate(events):
            main.append((*r, *statistics(events[max(0, i - count + 1) : i + 1], r)))
    check(stream().pipe(rolling, rows=count, **AGGREGATES), scenario, main=main)


def known(*values):
    return None if any(v is None or math.isnan(v) for v in values) else values[-1]


def collapsed(events):
    last = {r[1]: r for r in events}
    return [last[t] for t in sorted(last)]


def grid(lo, hi, every):
    """Whole multiples in (lo, hi]."""
    return range((lo // every + 1) * every, hi // every * every + 1, every)


@given(scenarios(row), lengths, st.integers(0, 15))
def test_resample_previous(scenario, every, more):
    gap, main = every + more, []
    for key, events in by_key(scenario.items):
        one = collapsed(events)
        for r, after in zip(one, [*one[1:], None], strict=True):
            until = r[1] + gap if after is None else min(r[1] + gap, after[1] - 1)
            main += [(key, g, known(r[2]), known(r[3])) for g in grid(r[1] - 1, until, every)]
    found = [(k, t, v, None if n is None else float(n)) for k, t, v, n in main]
    check(stream().pipe(resample, every=ns(every), max_gap=ns(gap)), scenario, main=found)


@given(scenarios(row), lengths, st.integers(0, 15))
def test_resample_linear(scenario, every, more):
    gap, main = every + more, []
    for key, events in by_key(scenario.items):
        one = collapsed(events)
        for before, r in zip([None, *one[:-1]], one, strict=True):
            if before is not None and r[1] - before[1] <= gap:
                for g in grid(before[1], r[1] - 1, every):
                    share = (g - before[1]) / (r[1] - before[1])
                    v = None
                    if known(before[2], r[2]) is not None:
                        v = before[2] + (r[2] - before[2]) * share
                    main.append((key, g, v))
            if r[1] % every == 0:
                main.append((key, r[1], known(r[2])))
    built = stream().pipe(resample, every=ns(every), method="linear", max_gap=ns(gap), columns=["v"])
    check(built, scenario, main=main)


@given(scenarios(row), lengths)
def test_resample_mean(scenario, every):
    main = []
    for key, events in by_key(scenario.items):
        for g, group in itertools.groupby(events, key=lambda r: -(-r[1] // every) * every):
            values = [r[2] for r in group if known(r[2]) is not None]
            total = 0.0
            for v in values:
                total += v
            main.append((key, g, total / len(values) if values else None))
    check(stream().pipe(resample, every=ns(every), method="mean", columns="v"), scenario, main=main)


def test_state_is_bounded():
    from machine_driver import as_batch

    from eventide.model.machine import Step
    from eventide.model.state import ALL_GROUPS

    s = stream()
    for built in (
        s.pipe(dedup, by="n", within="20ns"),
        s.pipe(suppress, hold="20ns"),
        s.pipe(sessionize, gap="20ns"),
        s.pipe(rolling, over="20ns", count=ev.count("v")),
        s.pipe(resample, every="5ns", max_gap="20ns"),
        s.pipe(resample, every="5ns", method="mean"),
    ):
        machine = make(built, SCHEMA, ALL_GROUPS)
        for i in range(50):
            items = [(f"{i}-{j}", 10 * i, 1.0, 100 * i + j) for j in range(5)]
            machine.push(Step(i, 0, as_batch(items, SCHEMA), 10 * i))
            assert machine.size <= 20
        assert machine.watermark >= 460
