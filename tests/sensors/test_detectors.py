"""Detectors: any batch split, any stop and resume, compiled or not: the same bits; and what each must find."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.sensors import detector as detector_module
from eventide.apps.sensors.detector import Verdict, detector_names, make_detector
from eventide.apps.sensors.slots import KeySlots, SlotState, rounds
from eventide.errors import CheckpointError, ConfigError, UnknownNameError
from eventide.kernel.compiled import have_compiler

# Small memories, so that short examples leave the warm-up, wrap every ring and finish the training.
CASES = {
    "textbook": ("band", {"band": "textbook", "window": 4}),
    "notebook17": ("band", {"window": 3, "warmup": 4}),
    "cusum": ("cusum", {"memory": 4, "limit": 2.0}),
    "difference_z": ("difference_z", {"memory": 4, "k": 2.0}),
    "gaussian_tail": ("gaussian_tail", {"memory": 4, "tail": 0.05}),
    "holt_winters": ("holt_winters", {"period": "8s", "bins": 4, "memory": 4, "warmup": 2, "k": 2.0}),
    "robust_z": ("robust_z", {"window": 5, "k": 2.0}),
    "short_long": ("short_long", {"short": 2, "long": 5, "k": 1.0}),
}
NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0, 1.0, 2.5, -3.0, 1e9, 1e-9, float("nan"), float("inf")]),
    st.floats(-1e6, 1e6),
)


def run(
    name: str, data: tuple[np.ndarray, np.ndarray, np.ndarray], cuts: list[int], *, resume: bool = False
) -> Verdict:
    kind, options = CASES[name]
    detector = make_detector(kind, **options)
    parts = []
    edges = [0, *sorted(cuts), len(data[0])]
    for start, stop in itertools.pairwise(edges):
        if resume:
            table = detector.snapshot()
            detector = make_detector(kind, **options)
            detector.restore(table)
        parts.append(detector.update(*(column[start:stop] for column in data)))
    return Verdict(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def assert_same_bits(one: Verdict, two: Verdict) -> None:
    for name, a, b in zip(Verdict._fields, one, two, strict=True):
        assert a.tobytes() == b.tobytes(), name


@st.composite
def streams(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = draw(st.lists(NUMBERS, min_size=0, max_size=60))
    slots = draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    steps = draw(st.lists(st.integers(0, 3_000_000_000), min_size=len(values), max_size=len(values)))
    return np.array(slots, np.int64), np.cumsum(np.array(steps, np.int64)), np.array(values, np.float64)


def test_every_detector_has_a_case():
    assert {kind for kind, _ in CASES.values()} == set(detector_names())


@pytest.mark.parametrize("name", CASES)
@given(data=streams(), cuts=st.lists(st.integers(0, 60), max_size=5), resume=st.booleans())
def test_any_split_and_any_resume_give_the_same_bits(name, data, cuts, resume):
    cuts = [min(cut, len(data[0])) for cut in cuts]
    assert_same_bits(run(name, data, cuts, resume=resume), run(name, data, []))


@pytest.mark.skipif(not have_compiler(), reason="numba is not installed")
@pytest.mark.parametrize("name", CASES)
@given(data=streams(), cuts=st.lists(st.integers(0, 60), max_size=3))
def test_numpy_gives_the_bits_of_the_compiled_loop(name, data, cuts):
    cuts = [min(cut, len(data[0])) for cut in cuts]
    compiled = run(name, data, [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_module, "have_compiler", lambda: False)
        plain = run(name, data, cuts, resume=bool(cuts))
    assert_same_bits(compiled, plain)


@pytest.mark.skipif(not have_compiler(), reason="numba is not installed")
@pytest.mark.parametrize("name", CASES)
def test_snapshots_of_both_ways_are_equal(name):
    rng = np.random.default_rng(3)
    data = (rng.integers(0, 5, 400), np.arange(400) * 10**9, np.round(rng.normal(size=400), 1))
    kind, options = CASES[name]
    tables = []
    for compiled in (True, False):
        detector = make_detector(kind, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(detector_module, "have_compiler", lambda answer=compiled: answer)
            detector.update(*data)
        tables.append(detector.snapshot())
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("name", CASES)
def test_a_key_does_not_see_the_others(name):
    rng = np.random.default_rng(4)
    slots, times, values = rng.integers(0, 3, 300), np.arange(300) * 10**9, rng.normal(size=300)
    together = run(name, (slots, times, values), [])
    for slot in range(3):
        mine = slots == slot
        alone = run(name, (np.zeros(mine.sum(), np.int64), times[mine], values[mine]), [])
        assert_same_bits(Verdict(*(column[mine] for column in together)), alone)


@pytest.mark.parametrize("name", CASES)
def test_a_constant_stream_is_never_flagged_and_a_leap_out_of_it_is(name):
    values = np.full(200, 20.1)
    values[-1] = 25.0
    verdict = run(name, (np.zeros(200, np.int64), np.arange(200) * 10**9, values), [])
    assert np.flatnonzero(verdict.flag).tolist() == [199]


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_a_number_is_not_judged_and_leaves_no_trace(name):
    rng = np.random.default_rng(5)
    values = rng.normal(size=100)
    holes = np.insert(values, [30, 60], [np.nan, np.inf])
    verdict = run(name, (np.zeros(102, np.int64), np.arange(102) * 10**6, holes), [])
    at = [30, 61]
    assert np.isnan(verdict.score[at]).all()
    assert not verdict.flag[at].any()
    if name != "holt_winters":  # it looks at times, which the holes shift here
        clean = run(name, (np.zeros(100, np.int64), np.arange(100) * 10**6, values), [])
        assert_same_bits(Verdict(*(np.delete(column, at) for column in verdict)), clean)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("band", {"k": 2.5, "warmup": 500}),
        ("band", {"band": "textbook", "k": 6.0, "warmup": 500, "window": 400}),
        ("gaussian_tail", {}),
        ("difference_z", {}),
        ("robust_z", {}),
        ("short_long", {"long": 500, "short": 1, "k": 5.0}),
        ("holt_winters", {"period": "10m", "bins": 60}),
        ("cusum", {}),
    ],
)
def test_a_spike_in_noise_is_found_and_noise_is_not(name, options):
    rng = np.random.default_rng(6)
    values = 20 + 0.5 * rng.normal(size=2000)
    values[1500] += 12
    verdict = make_detector(name, **options).update(np.zeros(2000, np.int64), np.arange(2000) * 10**9, values)
    assert verdict.flag[1500]
    assert verdict.flag[:1500].sum() == 0
    assert verdict.score[1500] > 1
    assert verdict.flag[1600:].sum() == 0


def test_cusum_finds_a_small_lasting_shift_that_a_tail_test_does_not():
    rng = np.random.default_rng(7)
    values = rng.normal(size=1200)
    values[800:] += 1.5
    at = (np.zeros(1200, np.int64), np.arange(1200))
    first = np.flatnonzero(make_detector("cusum").update(*at, values).flag)[0]
    assert 800 <= first < 830
    assert not make_detector("gaussian_tail").update(*at, values).flag[800:830].any()


def test_textbook_band_is_the_printed_formula():
    rng = np.random.default_rng(8)
    values = np.round(500 + 20 * rng.normal(size=300), 1)
    verdict = make_detector("band", band="textbook").update(np.zeros(300, np.int64), np.arange(300), values)
    smoothed, expected = values[0], []
    for i, x in enumerate(values):
        smoothed = 0.04 * x + 0.96 * smoothed
        sigma = np.std(values[max(0, i - 19) : i + 1])
        expected.append(abs(x - smoothed) > 1.3 * sigma)
    assert verdict.flag[1:].tolist() == expected[1:]
    assert verdict.prediction[-1] == pytest.approx(smoothed, rel=1e-12)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(UnknownNameError, match=r"(?s)no detector 'bend'.*did you mean 'band'"):
        make_detector("bend")
    with pytest.raises(ConfigError, match=r"(?s)no option 'windw'.*did you mean 'window'"):
        make_detector("band", windw=20)
    with pytest.raises(ConfigError, match="no variant 'notebook'"):
        make_detector("band", band="notebook")
    with pytest.raises(ConfigError, match=r"(?s)cannot use alpha=2.*between 0 and 1"):
        make_detector("band", alpha=2)


def test_a_snapshot_of_another_detector_is_refused():
    small = make_detector("robust_z", window=4)
    with pytest.raises(CheckpointError, match="this detector keeps"):
        small.restore(make_detector("cusum").snapshot())
    with pytest.raises(CheckpointError, match="'recent'"):
        small.restore(make_detector("robust_z", window=5).snapshot())


def test_slots_follow_first_sight_and_survive_a_snapshot():
    keys = KeySlots()
    assert keys.slots(pa.array(["x", "y", "x"])).tolist() == [0, 1, 0]
    other = KeySlots()
    other.restore(keys.snapshot())
    assert other.slots(pa.array(["z", "y"])).tolist() == [2, 1]
    assert other.slots(pa.array([], pa.string())).tolist() == []


def test_state_keeps_its_rows_when_it_grows():
    state = SlotState({"n": (np.int64, 0), "ring": (np.float64, 2)})
    state.reserve(1)
    state["ring"][0] = [1.0, 2.0]
    state.reserve(100)
    assert state["ring"][0].tolist() == [1.0, 2.0]
    assert state.snapshot().num_rows == 100


@given(st.lists(st.integers(0, 4), max_size=30))
def test_rounds_hold_every_row_once_and_keep_the_order_of_a_slot(slots):
    array = np.array(slots, np.int64)
    parts = list(rounds(array))
    assert sorted(np.concatenate(parts).tolist() if parts else []) == list(range(len(slots)))
    for part in parts:
        assert len(set(array[part])) == len(part)
    for slot in set(slots):
        rows = [r for part in parts for r in part if array[r] == slot]
        assert rows == sorted(rows)
