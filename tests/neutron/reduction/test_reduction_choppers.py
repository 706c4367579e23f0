"""Choppers: against neutrons that are flown through them one by one, and against scippneutron's cascade."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventide.apps.neutron.reduction.choppers import Chopper, Passed, passed
from eventide.apps.neutron.reduction.constants import WAVELENGTH
from eventide.apps.neutron.reduction.lookup import AMBIGUOUS, FORBIDDEN, looked_up, table_of
from eventide.errors import ConfigError, UsageError
from eventide.kernel.compiled import have_compiler

PERIOD, LENGTH = 1e6 / 14, 2860.0
BAND = (0.6, 14.0)

LONG = (  # like a diffractometer at a long pulse: a band of wavelengths, made by two slow discs
    Chopper("band", 6.5, 14.0, openings=((0.0, 40.0),), phase=20.0),
    Chopper("overlap", 11.0, 14.0, openings=((0.0, 70.0),), phase=28.0),
)
SUBFRAMES = (  # like wavelength frame multiplication: discs with several openings
    Chopper("wfm1", 6.6, 56.0, openings=((10.0, 55.0), (95.0, 140.0), (190.0, 250.0), (290.0, 350.0)), phase=30.0),
    Chopper("wfm2", 7.1, 56.0, openings=((10.0, 55.0), (95.0, 140.0), (190.0, 250.0), (290.0, 350.0)), phase=75.0),
    Chopper("band", 9.0, 14.0, openings=((0.0, 90.0),), phase=30.0),
)
SKIPPING = (Chopper("half", 8.0, 7.0, openings=((0.0, 60.0),), phase=20.0),)
CASES = {"long": LONG, "subframes": SUBFRAMES, "skipping": SKIPPING}


def flown(choppers, sent, wavelength, pulse=0):
    """Whether neutrons pass: the angle of each disc when they are there, with nothing but a remainder."""
    through = np.ones(sent.shape, np.bool_)
    for c in choppers:
        when = pulse * PERIOD + sent + c.distance * wavelength / WAVELENGTH
        if c.times:
            at = [np.mod(when - a / 1000, 1e6 / c.frequency) <= (b - a) / 1000 for a, b in c.times]
        else:
            angle = 360.0 * c.frequency * when / 1e6 - c.phase
            at = [np.mod(angle - a, 360.0) <= b - a for a, b in c.openings]
        through &= np.any(at, axis=0)
    return through


def inside(part, sent, wavelength):
    """Whether points are in a polygon, on the left of all its sides."""
    slow, ends = wavelength / WAVELENGTH, np.roll(part.corners, -1, axis=0)
    out = np.ones(sent.shape, np.bool_)
    for (x, y), (u, v) in zip(part.corners, ends, strict=True):
        out &= (u - x) * (slow - y) - (v - y) * (sent - x) >= 0
    return out


def rays(count, seed, band=BAND, length=LENGTH):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, length, count), rng.uniform(*band, count)


@st.composite
def discs(draw):
    turns = draw(st.sampled_from([14.0, 28.0, 70.0, 7.0]))
    ends = sorted(draw(st.lists(st.integers(0, 359), min_size=2, max_size=6, unique=True)))
    pairs = tuple(
        (float(a), float(b)) for a, b in zip(ends[::2], ends[1::2], strict=len(ends) % 2 == 0)
    )  # an odd one is left over
    where = draw(st.floats(5.0, 40.0))
    if draw(st.booleans()):
        return Chopper("d", where, turns, openings=pairs, phase=draw(st.floats(-400, 400)))
    unit = 1e9 / turns / 360
    return Chopper("d", where, turns, times=tuple((a * unit, b * unit) for a, b in pairs))


@given(choppers=st.lists(discs(), max_size=3), seed=st.integers(0, 1000))
@example([Chopper("d", 5.0, 14.0, times=((2380952.380952381, 2976190.4761904767),))] * 2, 0)
def test_exactly_what_passes_is_in_one_polygon(choppers, seed):
    sent, wavelength = rays(300, seed)
    parts = passed(choppers, length=LENGTH, wavelengths=BAND, period=PERIOD)
    count = np.zeros(sent.size, np.int64)
    pulses = 2 if any(c.frequency == 7.0 for c in choppers) else 1
    for part in parts:
        count += inside(part, sent, wavelength)
    expected = sum(flown(choppers, sent, wavelength, pulse).astype(np.int64) for pulse in range(pulses))
    # A ray on the border within rounding would be on either side; random ones are not.
    assert np.array_equal(count, expected)


@pytest.mark.parametrize("name", CASES)
def test_the_table_says_what_flew(name):
    """Rays of all pulses at random distances: kinds are those that came there, and slowness is right to the pulse's length."""
    choppers = CASES[name]
    parts = passed(choppers, length=LENGTH, wavelengths=BAND, period=PERIOD)
    table = table_of(parts, 25.0, 27.0, period=PERIOD)
    rng = np.random.default_rng(7)
    pulses = 2 if name == "skipping" else 1
    sent, wavelength = rays(200_000, 8)
    pulse = rng.integers(0, pulses, sent.size)
    through = np.where(pulse == 0, flown(choppers, sent, wavelength), flown(choppers, sent, wavelength, 1))
    sent, wavelength = sent[through], wavelength[through]
    distance = rng.uniform(25.0, 27.0, sent.size)
    arrival = sent + wavelength / WAVELENGTH * distance
    found = table.times(distance, np.mod(arrival, PERIOD))
    cell, row = np.floor(np.mod(arrival, PERIOD) / PERIOD * 8192).astype(int), np.round((distance - 25.0) / table.step)
    kind = table.kinds[row.astype(int), cell]
    assert found.size > 5000
    # None is forbidden but those within a cell, and a row, of the border of a polygon.
    border = PERIOD / 8192 + 0.5 * table.step * BAND[1] / WAVELENGTH
    first, last = np.array([[t.ravel() for t in part.arrivals(distance)] for part in parts]).transpose(1, 0, 2)
    near = (np.abs(arrival - first).min(axis=0) < border) | (np.abs(arrival - last).min(axis=0) < border)
    assert not (kind == FORBIDDEN)[~near].any()
    assert (kind == FORBIDDEN).mean() < 0.01
    # By the rays themselves: those of one place and time that differ by more than a pulse explains are ambiguous.
    known = np.isfinite(found)
    lam = WAVELENGTH * found[known] / distance[known]
    possible = LENGTH * WAVELENGTH / distance[known]
    assert (np.abs(lam - wavelength[known]) <= 0.5 * possible + 0.01).all()
    assert known.mean() > (0.5 if name == "subframes" else 0.9)
    assert np.array_equal(known, table.kinds[row.astype(int), cell] > 0) or (known != (kind > 0)).mean() < 0.001
    # In the middle, and not beside it: over all rays of a kind of cells errors have no sign.
    error = (lam - wavelength[known]) / possible
    assert abs(error.mean()) < 0.01


def test_cells_that_several_can_reach_are_ambiguous():
    """Every cell, by the definition: who can be there, of any pulse, found by trying slownesses one by one."""
    parts = passed(SUBFRAMES, length=LENGTH, wavelengths=BAND, period=PERIOD)
    table = table_of(parts, 26.0, 26.0, period=PERIOD, cells=150)
    slow = np.linspace(BAND[0], BAND[1], 40_001) / WAVELENGTH
    for cell in range(150):
        came = (cell + 0.5) * PERIOD / 150
        kinds, where = set(), []
        for number, part in enumerate(parts):
            for pulse in range(4):
                sent = came + pulse * PERIOD - slow * 26.0
                here = inside(part, sent, slow * WAVELENGTH)
                if np.count_nonzero(here) > 2:
                    kinds.add((number, pulse))
                    where += slow[here].tolist()
        kind = table.kinds[0, cell]
        if len(kinds) == 1:
            assert kind > 0 and table.times(26.0, came) == pytest.approx(np.mean(where) * 26.0, abs=2.0)
        elif kinds:
            assert kind == AMBIGUOUS
        else:
            assert kind == FORBIDDEN or np.ptp(passed_range(parts, kind, came)) < 2e-3 * 26


def passed_range(parts, kind, came):
    """Slownesses of a kind that is there so briefly that no try has met it."""
    found = [
        [float(t) for t in part.slowness(26.0, came + pulse * PERIOD)]
        for part in parts for pulse in range(4) if part.slowness(26.0, came + pulse * PERIOD)[0]
        <= part.slowness(26.0, came + pulse * PERIOD)[1]
    ]  # fmt: skip
    assert len(found) == 1
    return found[0]


def test_the_same_table_whatever_the_order_of_choppers():
    tables = [
        table_of(passed(c, length=LENGTH, wavelengths=BAND, period=PERIOD), 25.0, 25.5, period=PERIOD)
        for c in (SUBFRAMES, SUBFRAMES[::-1])
    ]
    assert np.array_equal(tables[0].kinds, tables[1].kinds)
    np.testing.assert_array_equal(tables[0].sent, tables[1].sent)
    assert sum(tables[0].shares()) == pytest.approx(1.0)


def test_a_short_pulse_gives_the_wavelength_itself():
    parts = passed(LONG, length=1.0, wavelengths=BAND, period=PERIOD)
    sent, wavelength = rays(20_000, 3, length=1.0)
    through = flown(LONG, sent, wavelength)
    table = table_of(parts, 30.0, 30.2, period=PERIOD)
    distance = np.random.default_rng(4).uniform(30.0, 30.2, sent.size)
    lam = WAVELENGTH * table.times(distance, np.mod(sent + wavelength / WAVELENGTH * distance, PERIOD)) / distance
    assert through.sum() > 500 and np.isfinite(lam[through]).mean() > 0.9
    good = through & np.isfinite(lam)
    # The time at which it was sent is known to 1 us; cells decide alone whether it can be there.
    assert np.abs(lam[good] - wavelength[good]).max() < 2e-4


@pytest.mark.skipif(not have_compiler(), reason="there is no compiler")
@given(seed=st.integers(0, 10_000), rows=st.integers(0, 3))
def test_compiled_and_plain_give_the_same_bits(seed, rows):
    table = table_of(
        passed(SUBFRAMES, length=LENGTH, wavelengths=BAND, period=PERIOD), 25.0, 25.0 + rows / 100, period=PERIOD
    )
    rng = np.random.default_rng(seed)
    distance, time = rng.uniform(24.98, 25.05, 400), rng.uniform(-PERIOD, 3 * PERIOD, 400)
    odd = rng.integers(0, 400, 40)
    time[odd[:20]] = rng.choice([0.0, PERIOD, np.nan, np.inf, -1e-9, PERIOD - 1e-9], 20)
    distance[odd[20:]] = rng.choice([25.0, 25.01, np.nan, np.inf, 24.995], 20)
    found, plain = table.times(distance, time), table._plain(distance, time)
    assert found.tobytes() == np.where(np.isnan(plain), np.nan, plain).tobytes()
    assert np.isfinite(found).any()


def test_distances_and_times_beyond():
    table = table_of(passed(LONG, length=LENGTH, wavelengths=BAND, period=PERIOD), 25.0, 26.0, period=PERIOD)
    assert np.isnan(table.times([24.0, 27.0, np.nan, 25.0], [3e4, 3e4, 3e4, np.nan])).all()
    at = float((np.flatnonzero(table.kinds[0] > 0)[50] + 0.5) * PERIOD / 8192)
    assert table.times(25.0, at) == pytest.approx(float(table.times(25.0, at + 3 * PERIOD)), abs=1e-6)
    parts = passed(LONG, length=LENGTH, wavelengths=BAND, period=PERIOD)
    made = looked_up(parts, np.array([25.0, np.nan, 26.0]), period=PERIOD, first=5, monitors={"m": (parts, 20.0)})
    assert np.isnan(made._of_pixels(np.array([4, 6, 8]), np.full(3, at))).all()
    assert np.isnan(made._of_source("other", np.array([at]))).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Chopper("c", 5.0, 14.0),
        lambda: Chopper("c", 5.0, 14.0, openings=((0, 10),), times=((0, 10),)),
        lambda: Chopper("c", 5.0, 14.0, times=((0, 10),), phase=3.0),
        lambda: Chopper("c", -5.0, 14.0, openings=((0, 10),)),
        lambda: Chopper("c", 5.0, 0.0, openings=((0, 10),)),
        lambda: Chopper("c", 5.0, 14.0, openings=((10, 0),)),
        lambda: Chopper("c", 5.0, 14.0, openings=((0, 20), (10, 30))),
        lambda: Chopper("c", 5.0, 14.0, openings=((0, 361),)),
        lambda: Chopper("c", 5.0, 14.0, openings=((0, float("nan")),)),
        lambda: Chopper("c", 5.0, 14.0, times=((0, 72_000_000),)),
        lambda: passed((), length=0.0, wavelengths=BAND, period=PERIOD),
        lambda: passed((), length=1.0, wavelengths=(2.0, 1.0), period=PERIOD),
        lambda: table_of((), 2.0, 1.0, period=PERIOD),
        lambda: table_of((), 1.0, 2.0, period=PERIOD, cells=0),
    ],
)
def test_what_is_no_chopper(make):
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.hint


def test_out_of_step_and_too_many():
    with pytest.raises(ConfigError, match="'c' is not in step"):
        passed([Chopper("c", 5.0, 15.3, openings=((0, 10),))], length=LENGTH, wavelengths=BAND, period=PERIOD)
    fast = Chopper("c", 30.0, 14.0 * 500, openings=tuple((float(a), a + 0.5) for a in range(0, 360, 2)))
    with pytest.raises(ConfigError, match="more than 1000 parts"):
        passed([fast], length=LENGTH, wavelengths=BAND, period=PERIOD)
    assert (
        passed([Chopper("c", 5.0, 14.0, times=((60e6, 61e6),))], length=LENGTH, wavelengths=(1, 2), period=PERIOD) == ()
    )
    assert isinstance(passed((), length=LENGTH, wavelengths=BAND, period=PERIOD)[0], Passed)


@pytest.mark.parametrize("name", ["long", "subframes"])
def test_the_cascade_of_scippneutron(name):
    """The same subframes: of each, first and last arrival and shortest and longest wavelength at 26 m."""
    sc = pytest.importorskip("scipp")
    cascade = pytest.importorskip("scippneutron.tof.chopper_cascade")
    low, high = (sc.scalar(w, unit="angstrom") for w in BAND)
    frames = cascade.FrameSequence.from_source_pulse(
        time_min=sc.scalar(0.0, unit="us"),
        time_max=sc.scalar(LENGTH, unit="us"),
        wavelength_min=low,
        wavelength_max=high,
    )
    made = []
    for c in CASES[name]:
        windows = np.array(list(c.windows(0.0, 4 * PERIOD)))
        made.append(
            cascade.Chopper(
                distance=sc.scalar(c.distance, unit="m"),
                time_open=sc.array(dims=["cutout"], values=windows[:, 0] / 1e6, unit="s"),
                time_close=sc.array(dims=["cutout"], values=windows[:, 1] / 1e6, unit="s"),
            )
        )
    last = frames.chop(made).propagate_to(sc.scalar(26.0, unit="m"))[-1]
    theirs = sorted(
        (
            float(s.time.min().to(unit="us").value), float(s.time.max().to(unit="us").value),
            float(s.wavelength.min().to(unit="angstrom").value), float(s.wavelength.max().to(unit="angstrom").value),
        )
        for s in last.subframes
    )  # fmt: skip
    parts = passed(CASES[name], length=LENGTH, wavelengths=BAND, period=PERIOD)
    ours = sorted((*(float(t) for t in part.arrivals(26.0)), *part.wavelengths) for part in parts)
    assert len(ours) == len(theirs) >= 1
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)
