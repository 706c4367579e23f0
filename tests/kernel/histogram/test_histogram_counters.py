"""Counts are exact for any number of axes, in any cut into batches, in either kernel, over snapshots and promotion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import CheckpointError, SchemaError, UsageError
from eventide.kernel.compiled import have_compiler
from eventide.kernel.histogram import counters as counters_module
from eventide.kernel.histogram import place as place_module
from eventide.kernel.histogram.axes import edges, integers, logarithmic, pixels, rows, uniform
from eventide.kernel.histogram.codes import CLASSES, HEAD
from eventide.kernel.histogram.counters import Counters
from eventide.kernel.histogram.histograms import Filler, Histograms
from eventide.kernel.histogram.products import checked, product


@pytest.fixture(params=["compiled", "numpy"])
def kernel(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(place_module, "have_compiler", lambda: False)
    elif not have_compiler():
        pytest.skip("numba is not installed")
    return request.param


@pytest.fixture(params=["direct", "parted"])
def parted(request, monkeypatch):
    """Partition small counters too, with little room to wait."""
    if request.param == "parted":
        monkeypatch.setattr(counters_module, "_SPREAD", 10)
        monkeypatch.setattr(counters_module, "_PARTED", 11)
        monkeypatch.setattr(counters_module, "BLOCK", 4)
        monkeypatch.setattr(counters_module, "_ROOM", 3)
    return request.param


TOF = uniform("tof", 0, 10, 5)
FINE = edges("tof", [0, 1, 1.5, 4, 9, 9.5])
QUIET = logarithmic("w", 0.1, 100, 7)
IMAGE = pixels("pixel", 1, 6)
REGION = rows("pixel", [0, -1, 1, 1, 2, -1, 0, 0])
PERIOD = integers("period", 0, 3)
PRODUCTS = {
    "tof": TOF,
    "image": IMAGE,
    "both": product(IMAGE, TOF),
    "fine": product(FINE, REGION),
    "cube": product(PERIOD, REGION, QUIET),
    "alone": product(REGION),
}

EVENTS = st.lists(
    st.tuples(
        st.floats(-2, 12) | st.sampled_from([0.0, 10.0, 9.5, float("nan"), float("inf")]),
        st.integers(-2, 9),
        st.integers(-1, 4),
        st.floats(0.05, 200) | st.just(float("nan")),
    ),
    max_size=60,
)


def columns_of(events):
    tof, pixel, period, w = (list(c) for c in zip(*events, strict=True)) if events else ([], [], [], [])
    return {
        "tof": np.array(tof, np.float64),
        "pixel": np.array(pixel, np.int32),
        "period": np.array(period, np.int64),
        "w": np.array(w, np.float64),
    }


def expected(made, columns):
    """Return counts by numpy's own histogram; its closed last bin is opened, and what has no bin is left out before."""
    table = np.array([0, -1, 1, 1, 2, -1, 0, 0])
    values, bounds, inside = [], [], np.ones(columns["tof"].size, bool)
    for axis in made.axes:
        v = columns[axis.value.name].astype(np.float64)
        if axis is REGION:
            known = (v >= 0) & (v < table.size)
            v = np.where(known, table[np.where(known, v, 0).astype(int)], -1).astype(np.float64)
        e = axis.edges if hasattr(axis, "edges") else np.arange(axis.bins + 1) + getattr(axis, "first", 0)
        e = np.arange(axis.bins + 1) if axis is REGION else e
        inside &= (v >= e[0]) & (v < e[-1])
        values.append(v)
        bounds.append(e)
    return np.histogramdd(np.array([v[inside] for v in values]).T.reshape(-1, len(values)), bins=bounds)[0].astype(int)


def fill(products, columns, cuts=()):
    made = Histograms(Filler(checked(products)))
    bounds = [0, *sorted(cuts), columns["tof"].size]
    for a, b in itertools.pairwise(bounds):
        made.add({n: c[a:b] for n, c in columns.items()})
    return made


@pytest.mark.usefixtures("kernel", "parted")
class TestHistograms:
    @given(EVENTS, st.lists(st.integers(0, 60), max_size=4))
    def test_equals_numpy_for_any_cuts(self, events, cuts):
        columns = columns_of(events)
        made = fill(PRODUCTS, columns, [min(c, len(events)) for c in cuts])
        for name, each in checked(PRODUCTS).items():
            counts = made.counts(name)
            assert np.array_equal(counts, expected(each, columns)), name
            ledger = made.ledger(name)
            assert ledger["events"] == len(events)
            assert ledger["binned"] == counts.sum()
            assert ledger["events"] == ledger["binned"] + sum(ledger[n] for n in CLASSES)
            places, values = made.sparse(name)
            assert np.array_equal(places, np.flatnonzero(counts))
            assert np.array_equal(values, counts.reshape(-1)[places])

    @given(EVENTS, EVENTS, st.booleans())
    def test_snapshot_and_reset(self, before, after, forget):
        one = fill(PRODUCTS, columns_of(before))
        if forget:
            one.reset()
        state, events = dict(one.snapshot(7)), one.events
        assert dict(one.snapshot(7)) == state
        assert all(a is b for a, b in zip(dict(one.snapshot(7)).values(), state.values(), strict=True))
        one.add(columns_of(after))
        two = Histograms(one._filler)
        two.add(columns_of(after))  # what is held gives way
        two.restore(state, events)
        same = fill(PRODUCTS, columns_of([] if forget else before))
        assert all(np.array_equal(two.counts(n), same.counts(n)) for n in PRODUCTS)
        two.add(columns_of(after))
        for name in PRODUCTS:
            assert np.array_equal(one.counts(name), two.counts(name))
            assert one.ledger(name) == two.ledger(name)
        assert {k: t.to_pylist() for k, t in two.snapshot(7)} == {k: t.to_pylist() for k, t in one.snapshot(7)}

    @given(st.lists(st.tuples(st.floats(-1, 11), st.floats(-5, 5) | st.just(float("nan"))), max_size=40))
    def test_weights(self, events):
        columns = {"tof": np.array([e[0] for e in events]), "w": np.array([e[1] for e in events])}
        made = Histograms(Filler(checked({"p": product(TOF, weights="w")})))
        made.add(columns)
        sums, squares, counts = np.zeros(5), np.zeros(5), np.zeros(5, int)
        for t, w in events:
            if w == w and 0 <= t < 10:
                sums[int(t // 2)] += w
                squares[int(t // 2)] += w * w
                counts[int(t // 2)] += 1
        assert np.array_equal(made.weights("p")[0], sums)
        assert np.array_equal(made.weights("p")[1], squares)
        assert np.array_equal(made.counts("p"), counts)
        other = Histograms(made._filler)
        other.restore(dict(made.snapshot(0)), made.events)
        assert np.array_equal(other.weights("p")[0], sums)
        assert made.ledger("p") == other.ledger("p")

    @pytest.mark.parametrize("spread", [1, 2048])
    def test_counters_are_added_up_before_they_overflow(self, spread, monkeypatch):
        monkeypatch.setattr(counters_module, "_SPREAD", spread)
        monkeypatch.setattr(counters_module, "_FULL", 20)
        made = Counters(5)
        total, classes = np.zeros(5, int), 0
        random = np.random.default_rng(3)
        for turn in range(80):
            codes = random.integers(-5, 5, turn % 7).astype(np.int32)
            made.add(codes)
            total += np.bincount(codes[codes >= 0], minlength=5)
            classes += int((codes < 0).sum())
            if turn == 17:
                other = Counters(5)
                other.restore(dict(made.snapshot(0)))
                made = other
        assert made.counts().tolist() == total.tolist()
        assert total.max() > 20
        assert sum(made.classes().values()) == classes
        assert made._base is not None
        made.reset()
        assert made.counts().tolist() == [0] * 5

    def test_classes_of_more_events_than_a_counter_holds(self, monkeypatch):
        monkeypatch.setattr(counters_module, "_FULL", 20)
        made = Counters(5)
        for _ in range(20):
            made.add(np.full(10, -3, np.int32))
        assert made.classes()["masked"] == 200
        other = Counters(5)
        other.restore(dict(made.snapshot(0)))
        assert other.classes()["masked"] == 200

    def test_nulls_count_as_nan(self):
        made = Histograms(Filler(checked({"tof": TOF, "image": IMAGE})))
        columns = {"tof": np.array([1.0, 2.0, 3.0]), "pixel": np.array([1, 2, 3])}
        made.add(columns, nulls={"tof": np.array([False, True, False])})
        assert made.ledger("tof")["nan"] == 1
        assert made.ledger("image")["nan"] == 0

    def test_many_blocks(self):
        made = Histograms(Filler(checked({"p": product(pixels("pixel", 0, 9000), uniform("tof", 0, 1, 500))})))
        random = np.random.default_rng(4)
        columns = {"pixel": random.integers(0, 9000, 100_000), "tof": random.random(100_000)}
        made.add(columns)
        flat = columns["pixel"] * 500 + np.floor(columns["tof"] * 500).astype(int)
        bad = np.abs(columns["tof"] * 500 - np.round(columns["tof"] * 500)) < 1e-9
        assert not bad.any()
        assert np.array_equal(made.counts("p").reshape(-1), np.bincount(flat, minlength=4_500_000))
        state = dict(made.snapshot(0))
        made.add({"pixel": np.array([8999]), "tof": np.array([0.5])})
        after = dict(made.snapshot(0))
        last = f"p/{(8999 * 500 + 250 + HEAD) >> made._counters['p']._layout.shift}"
        assert [k for k in after if after[k] is not state.get(k)] == [last]


def test_state_of_other_bins_is_refused():
    made = Counters(2000)
    made.add(np.array([1999], np.int32))
    with pytest.raises(CheckpointError, match="1000 bins"):
        Counters(1000).restore(dict(made.snapshot(0)))


def test_columns_must_fit():
    made = Histograms(Filler(checked({"both": product(IMAGE, TOF)})))
    with pytest.raises(SchemaError, match="no column 'tof'"):
        made.add({"pixel": np.array([1])})
    with pytest.raises(SchemaError, match="values"):
        made.add({"pixel": np.array([1]), "tof": np.array([1.0, 2.0])})


def test_what_cannot_be_a_product():
    with pytest.raises(UsageError, match="needs an axis"):
        product()
    with pytest.raises(UsageError, match="not an axis"):
        product("tof")
    with pytest.raises(UsageError, match="bins"):
        product(pixels("p", 0, 2**20), uniform("t", 0, 1, 2**12))
    with pytest.raises(UsageError, match="no histogram"):
        checked({})
    with pytest.raises(UsageError, match="name"):
        checked({"a/b": TOF})
