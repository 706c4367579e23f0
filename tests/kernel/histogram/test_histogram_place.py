"""The bin of every value is that of the definition, for every double and every integer, whatever the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventide.errors import SchemaError, UsageError
from eventide.kernel.compiled import have_compiler
from eventide.kernel.histogram import place as place_module
from eventide.kernel.histogram.axes import edges, integers, logarithmic, pixels, rows, uniform
from eventide.kernel.histogram.codes import ABOVE, BELOW, MASKED, NAN, UNKNOWN
from eventide.kernel.histogram.place import Place, plain_column
from eventide.kernel.histogram.search import BITS, EVEN, LINEAR, MOST_STEPS, search_of
from eventide.kernel.histogram.values import calibrated, ratio, scaled

DOUBLES = st.floats(allow_nan=False, allow_infinity=False, width=64)
TINY = st.floats(-1e-300, 1e-300)
NEAR_ONE = st.integers(-50, 50).map(lambda k: 1.0 + k * 2.0**-52)
WHOLE = st.integers(-(2**62), 2**62).map(float)


def oracle(bounds, values):
    """Return bins by definition, one by one and without rounding: Python compares integers and floats exactly."""
    out = []
    for v in values.tolist():
        if v != v:
            out.append(NAN)
            continue
        bin_ = sum(v >= e for e in bounds.tolist()) - 1
        out.append(BELOW if bin_ < 0 else ABOVE if bin_ >= len(bounds) - 1 else bin_)
    return out


def around(bounds):
    """Return the edges, their neighbours, and what is far from all of them."""
    with np.errstate(all="ignore"):
        near = [bounds, np.nextafter(bounds, -np.inf), np.nextafter(bounds, np.inf), bounds[1:] / 2 + bounds[:-1] / 2]
    far = [0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, np.inf, -np.inf, np.nan]
    return np.concatenate([*near, far])


@st.composite
def any_edges(draw):
    kind = draw(st.sampled_from(["any", "tiny", "near one", "whole", "spread"]))
    source = {"any": DOUBLES, "tiny": TINY, "near one": NEAR_ONE, "whole": WHOLE}.get(kind)
    if source is None:
        return np.array(sorted({10.0 ** draw(st.floats(-300, 300)) for _ in range(draw(st.integers(2, 30)))} | {0.0}))
    return np.array(draw(st.lists(source, min_size=2, max_size=40, unique=True).map(sorted)))


def uneven(bounds):
    """Return edges without doubles that are equal, as are the two zeros."""
    kept = np.unique(bounds)
    return kept if kept.size > 1 else np.array([kept[0], np.nextafter(kept[0], np.inf)])


@pytest.fixture(params=["compiled", "numpy"])
def kernel(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(place_module, "have_compiler", lambda: False)
    elif not have_compiler():
        pytest.skip("numba is not installed")
    return request.param


def check(axis, values):
    __tracebackhide__ = True
    found = Place(axis).codes({axis.value.name: plain_column(values)})
    assert found.tolist() == oracle(axis.edges, values)


class TestEdges:
    @pytest.fixture(autouse=True)
    def _kernel(self, kernel):
        """Both kernels."""

    @given(any_edges(), st.lists(st.floats(width=64), max_size=20))
    @example(np.array([-1.7e308, 1.7e308]), [0.0])
    @example(np.array([0.0, 5e-324]), [0.0])
    @example(np.array([-5e-324, 0.0, 5e-324, 1e-323]), [0.0])
    @example(np.arange(4000) * np.float64(2.0**-1074), [])
    def test_any_double(self, bounds, values):
        axis = edges("x", uneven(bounds))
        check(axis, np.concatenate([around(axis.edges), np.array(values, np.float64)]))

    @given(any_edges())
    def test_single_precision(self, bounds):
        axis = edges("x", uneven(bounds))
        with np.errstate(over="ignore"):
            check(axis, around(axis.edges).astype(np.float32))

    @given(DOUBLES | TINY | NEAR_ONE, st.floats(0, 1e300), st.integers(1, 200))
    @example(0.0, 1e8, 100)
    @example(0.1, 0.2, 7)
    @example(1.0, 2.0**-45, 100)
    def test_equally_wide_bins(self, low, width, bins):
        try:
            axis = uniform("x", low, low + width, bins)
        except UsageError:
            return  # narrower than so many doubles, or beyond them
        check(axis, around(axis.edges))

    @given(st.floats(1e-300, 1e300), st.floats(1.0001, 1e9), st.integers(1, 200))
    def test_logarithmic_bins(self, low, factor, bins):
        try:
            axis = logarithmic("x", low, low * factor, bins)
        except UsageError:
            return
        check(axis, around(axis.edges))

    @given(any_edges(), st.sampled_from(["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"]), st.data())
    @example(np.array([-1e300, 2.0**53, 2.0**62, 2.0**63, 2.0**64, 1e300]), "uint64", None)
    @example(np.array([-(2.0**63), 2.0**53, 2.0**63]), "int64", None)
    def test_integers(self, bounds, dtype, data):
        axis = edges("x", uneven(bounds))
        info = np.iinfo(dtype)
        near = [int(e) + k for e in axis.edges.tolist() for k in (-1, 0, 1)]
        extremes = [info.min, info.min + 1, info.max - 1, info.max, 0, 2**53, 2**53 + 1]
        more = data.draw(st.lists(st.integers(info.min, info.max), max_size=20)) if data else []
        values = [v for v in near + extremes + more if info.min <= v <= info.max]
        check(axis, np.array(values, dtype))

    def test_dense_against_numpy(self):
        random = np.random.default_rng(1)
        for axis in (
            uniform("x", 0, 1e8, 100),
            uniform("x", 0.1, 0.7, 997),
            edges("x", np.sort(random.random(1001)) * 1e8),
            edges("x", np.linspace(0, 1e4, 1001) ** 2),
            logarithmic("x", 1e-3, 1e8, 1000),
            edges("x", np.concatenate([np.arange(50) * 1e-9, [1.0, 1e6, 1e9]])),
            integers("x", -5, 3000),
        ):
            spread = random.random(200_000) * (axis.edges[-1] - axis.edges[0]) * 1.1 + axis.edges[0]
            values = np.concatenate([spread, axis.edges, np.nextafter(axis.edges, -np.inf)])
            found = Place(axis).codes({"x": values})
            expected = np.searchsorted(axis.edges, values, side="right") - 1
            expected[expected >= axis.bins] = ABOVE
            assert np.array_equal(found, expected)


def test_each_kind_of_search_is_met():
    kinds = [search_of(e) for e in (np.linspace(0, 1, 11), np.array([0.0, 1.0, 1.5, 3.0]), np.geomspace(1, 1e12, 100))]
    assert [s.kind for s in kinds] == [EVEN, LINEAR, BITS]
    assert search_of(np.concatenate([1.0 + np.arange(100) * 2.0**-52, [1e300]])).steps > MOST_STEPS


class TestPixels:
    @pytest.fixture(autouse=True)
    def _kernel(self, kernel):
        """Both kernels."""

    @given(
        st.sampled_from(["int32", "int64", "uint64", "uint8"]),
        st.integers(-(2**62), 2**62) | st.integers(-3, 300),
        st.integers(1, 2**31 - 64) | st.integers(1, 9),
        st.data(),
    )
    def test_pixels(self, dtype, first, count, data):
        info = np.iinfo(dtype)
        near = [first + k for k in (-1, 0, 1)] + [first + count + k for k in (-2, -1, 0)] + [info.min, info.max]
        more = data.draw(st.lists(st.integers(info.min, info.max), max_size=10))
        values = [v for v in near + more if info.min <= v <= info.max]
        found = Place(pixels("p", first, count)).codes({"p": plain_column(np.array(values, dtype))})
        assert found.tolist() == [v - first if first <= v < first + count else UNKNOWN for v in values]

    @given(st.lists(st.integers(-2, 5), min_size=1, max_size=9), st.integers(-3, 3), st.lists(st.integers(-9, 20)))
    def test_rows(self, table, first, values):
        found = Place(rows("p", table, first=first)).codes({"p": np.array(values, np.int32)})
        expected = []
        for v in values:
            known = 0 <= v - first < len(table)
            expected.append(UNKNOWN if not known else MASKED if table[v - first] < 0 else table[v - first])
        assert found.tolist() == expected

    @given(st.lists(st.tuples(st.integers(-2, 6), st.integers(-3, 2000)), max_size=30), st.integers(-1, 1))
    def test_converted_times(self, events, first):
        constants = np.array([0.5, np.nan, 3.0, -1.0])
        pixel, time = (np.array([e[k] for e in events], np.int32) for k in (0, 1))
        with np.errstate(all="ignore"):
            for value, convert in (
                (scaled("p", "t", constants, first=first), lambda c, t: c * t),
                (ratio("p", "t", constants, first=first), lambda c, t: c / t),
                (ratio("p", "t", constants, first=first, squared=True), lambda c, t: (c / t) * (c / t)),
            ):
                axis = uniform(value, -1.0, 100.0, 101)
                found = Place(axis).codes({"p": pixel, "t": time})
                for p, t, code in zip(pixel.tolist(), time, found.tolist(), strict=True):
                    at = p - first
                    if not 0 <= at < 4:
                        assert code == UNKNOWN
                    elif np.isnan(constants[at]):
                        assert code == MASKED
                    else:
                        assert [code] == oracle(axis.edges, np.array([convert(constants[at], np.float64(t))]))

    def test_calibration(self):
        random = np.random.default_rng(2)
        difc, difa, tzero = random.random(50) * 1e4 + 100, random.random(50) * 40 - 20, random.random(50) * 20
        difa[::3] = 0.0
        pixel, d = random.integers(0, 50, 5000), random.random(5000) * 3 + 0.1
        time = difa[pixel] * d**2 + difc[pixel] * d + tzero[pixel]
        axis = uniform(calibrated("p", "t", difc=difc, difa=difa, tzero=tzero), 0, 4, 400)
        found = Place(axis).codes({"p": pixel, "t": time})
        middle = np.abs(d * 100 - np.round(d * 100)) > 1e-6  # not within rounding of an edge
        assert np.array_equal(found[middle], np.floor(d * 100)[middle])

    def test_inverse_of_a_calibration_is_the_momentum_transfer(self):
        random = np.random.default_rng(3)
        difc, difa, tzero = random.random(50) * 1e4 + 100, random.random(50) * 40 - 20, random.random(50) * 20
        pixel, q = random.integers(0, 50, 5000), random.random(5000) * 8 + 1
        d = 2 * np.pi / q
        time = difa[pixel] * d**2 + difc[pixel] * d + tzero[pixel]
        turn = 2 * np.pi
        one = calibrated("p", "t", difc=difc * turn, difa=difa * turn**2, tzero=tzero, inverse=True)
        found = Place(uniform(one, 0, 10, 400)).codes({"p": pixel, "t": time})
        middle = np.abs(q * 40 - np.round(q * 40)) > 1e-6
        assert np.array_equal(found[middle], np.floor(q * 40)[middle])
        at = Place(uniform(calibrated("p", "t", difc=[1.0, np.nan], inverse=True), 0, 4, 4))
        ends = {"p": np.array([0, 0, 0, 1, 2]), "t": np.array([0, -1, 1, 1, 1])}
        assert at.codes(ends).tolist() == [ABOVE, BELOW, 1, MASKED, UNKNOWN]

    def test_no_root_is_nan(self):
        axis = uniform(calibrated("p", "t", difc=[1.0], difa=[1.0]), 0, 4, 4)
        assert Place(axis).codes({"p": np.array([0, 0]), "t": np.array([-5.0, 2.0])}).tolist() == [NAN, 1]

    def test_pixels_are_whole_numbers(self):
        with pytest.raises(SchemaError, match="pixels"):
            Place(pixels("p", 0, 3)).codes({"p": np.array([0.5])})


@pytest.mark.parametrize(
    "make",
    [
        lambda: uniform("x", 1, 1, 1),
        lambda: uniform("x", 1, np.nan, 1),
        lambda: uniform("x", 0, 1, 0),
        lambda: uniform("x", 1.0, np.nextafter(1.0, 2), 2),
        lambda: uniform("x", -1.7e308, 1.7e308, 4),
        lambda: edges("x", [1]),
        lambda: edges("x", [0, 1, 1]),
        lambda: edges("x", [0, np.inf]),
        lambda: edges("x", ["a", "b"]),
        lambda: edges("x", [[0, 1]]),
        lambda: logarithmic("x", 0, 1, 3),
        lambda: integers("x", 2**53, 5),
        lambda: integers("x", 0.5, 5),
        lambda: pixels("x", 0, 0),
        lambda: pixels("x", 2**63, 1),
        lambda: rows("x", []),
        lambda: rows("x", [0.5]),
        lambda: rows("x", [0, 3], bins=2),
        lambda: scaled("p", "t", []),
        lambda: scaled("p", "t", ["x"]),
        lambda: calibrated("p", "t", difc=[1, 2], difa=[1]),
        lambda: uniform(3, 0, 1, 1),
    ],
)
def test_what_cannot_be_an_axis(make):
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.hint


def test_what_is_no_number():
    with pytest.raises(SchemaError):
        plain_column(np.array(["a"]))
