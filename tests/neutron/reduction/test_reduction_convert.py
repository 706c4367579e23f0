"""Conversions, geometry and calibration: against the data of instruments, scippneutron, and at the edges."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.neutron.reduction import constants, convert
from eventide.apps.neutron.reduction.calibration import Calibration, d_of_time, time_of_d
from eventide.apps.neutron.reduction.calibration_file import read_calibration
from eventide.apps.neutron.reduction.geometry import Geometry, from_positions, from_table, read_table
from eventide.apps.neutron.reduction.masks import dead, hot, mask_of
from eventide.errors import DataError, EventideError, MissingDependencyError, UsageError
from eventide.kernel.histogram.axes import edges, uniform
from eventide.kernel.histogram.codes import ABOVE, MASKED, NAN, UNKNOWN
from eventide.kernel.histogram.place import Place

DIAMOND = 3.56712


def allowed_reflections(most: float) -> np.ndarray:
    """Q of diamond, 1/Angstrom: h, k, l all odd, or all even with a sum that four divides (space group Fd-3m)."""
    sums = set()
    for h in range(20):
        for k in range(h + 1):
            for m in range(k + 1):
                odd = {h % 2, k % 2, m % 2}
                if odd == {1} or (odd == {0} and (h + k + m) % 4 == 0 and h):
                    sums.add(h * h + k * k + m * m)
    q = 2 * np.pi * np.sqrt(np.array(sorted(sums))) / DIAMOND
    return q[q < most]


class TestInstruments:
    def test_diamond_through_the_calibration_of_nomad(self, data_dir):
        pytest.importorskip("h5py")
        nomad = read_calibration(next((data_dir / "neutron" / "nomad").glob("*.h5")))
        assert (nomad.difc.size, int((~nomad.use).sum())) == (101_376, 69_008)
        reflections = allowed_reflections(30.0)[:21]
        pixel = np.flatnonzero(nomad.usable)
        assert np.count_nonzero(nomad.difa[pixel]) > 1000
        for q in reflections:
            d = 2 * np.pi / q
            back = nomad.momentum_transfer(pixel, nomad.time(pixel, np.full(pixel.size, d)))
            assert np.isfinite(back).all()
            assert abs(np.mean(back - q)) < 1e-3  # the goal; the arithmetic does far better:
            assert np.abs(back / q - 1).max() < 1e-12

    def test_histogram_of_diamond_through_the_calibration(self, data_dir):
        pytest.importorskip("h5py")
        nomad = read_calibration(next((data_dir / "neutron" / "nomad").glob("*.h5")))
        reflections = allowed_reflections(15.0)
        random = np.random.default_rng(3)
        pixel = random.choice(np.flatnonzero(nomad.usable), 50_000)
        chosen = random.integers(0, reflections.size, pixel.size)
        # Times are what an instrument records: whole numbers of 100 ns.
        time = np.round(nomad.time(pixel, 2 * np.pi / reflections[chosen]) * 10).astype(np.int32)
        fine = edges(nomad.d_spacing(pixel="p", time="t", unit="100ns"), (2 * np.pi / np.arange(15.01, 1.0, -0.001)))
        found = Place(fine).codes({"p": pixel.astype(np.int32), "t": time})
        assert found.min() >= 0
        middles = 2 * np.pi / ((fine.edges[1:] + fine.edges[:-1]) / 2)
        for number, q in enumerate(reflections):
            assert abs(np.mean(middles[found[chosen == number]] - q)) < 1e-3
            assert np.mean(np.abs(middles[found[chosen == number]] - q)) < 1e-3

    def test_masked_pixels_of_nomad_have_no_bin(self, data_dir):
        pytest.importorskip("h5py")
        nomad = read_calibration(next((data_dir / "neutron" / "nomad").glob("*.h5")))
        axis = uniform(nomad.d_spacing(pixel="p", time="t", unit="us"), 0, 10, 10)
        pixel = np.arange(nomad.difc.size + 1, dtype=np.int32)
        found = Place(axis).codes({"p": pixel, "t": np.full(pixel.size, 1000.0)})
        assert np.array_equal(found[:-1] == MASKED, ~nomad.usable)
        assert found[-1] == UNKNOWN
        assert np.isnan(nomad.d(pixel, 1000.0)[found < 0]).all()

    def test_the_factor_of_powgen(self, data_dir):
        path = next((data_dir / "neutron" / "powgen").glob("*.csv"))
        geometry = read_table(path, l1=60.0)
        lines = path.read_text().splitlines()[1:]
        pixel, given = (
            np.array(c) for c in zip(*[(int(v[0]), float(v[3])) for v in (x.split(",") for x in lines)], strict=True)
        )
        assert len(lines) == 43_120
        at = pixel - geometry.first
        path_length, angle = geometry.path[at], geometry.two_theta[at]
        theirs = convert.q_factor(path_length, angle, constant=constants.MANTID_DIFC)
        assert np.abs(theirs / given - 1).max() < 1e-8
        # That table was made with a rounded constant: with that of CODATA all of it is larger by the same 5.6e-6.
        ours = convert.q_factor(path_length, angle)
        assert np.abs(ours / given - constants.DIFC / constants.MANTID_DIFC).max() < 1e-8
        assert np.nanmax(np.abs(geometry.momentum_transfer(unit="us").constants[at] / ours - 1)) < 1e-15


class TestScippneutron:
    """Agreement with scippneutron 26.7 to 1e-9; it takes the constants of the installed scipy (CODATA 2022 from 1.15)."""

    @pytest.fixture
    def peer(self):
        sc = pytest.importorskip("scipp")
        tof = pytest.importorskip("scippneutron.conversion.tof")
        return sc, tof

    def test_elastic(self, peer):
        sc, tof = peer
        random = np.random.default_rng(1)
        t, length, angle = random.uniform(100, 2e5, 1000), random.uniform(5, 170, 1000), random.uniform(0.01, 3.1, 1000)
        times, ways = sc.array(dims=["x"], values=t, unit="us"), sc.array(dims=["x"], values=length, unit="m")
        angles = sc.array(dims=["x"], values=angle, unit="rad")
        lam = tof.wavelength_from_tof(tof=times, Ltotal=ways)
        mev = tof.energy_from_tof(tof=times, Ltotal=ways)
        d = tof.dspacing_from_tof(tof=times, Ltotal=ways, two_theta=angles)
        q = tof.elastic_Q_from_wavelength(wavelength=lam, two_theta=angles)
        for theirs, ours in (
            (lam, convert.wavelength(t, length)),
            (mev, convert.energy(t, length)),
            (d, convert.d_spacing(t, length, angle)),
            (q, convert.momentum_transfer(t, length, angle)),
            (tof.energy_from_wavelength(wavelength=lam), convert.energy_of_wavelength(lam.values)),
            (tof.wavelength_from_energy(energy=mev), convert.wavelength_of_energy(mev.values)),
            (
                tof.tof_from_wavelength(wavelength=lam, Ltotal=ways).to(unit="us"),
                convert.time_of_flight(lam.values, length),
            ),
        ):
            assert np.abs(ours / theirs.values - 1).max() < 1e-9

    def test_inelastic(self, peer):
        sc, tof = peer
        random = np.random.default_rng(2)
        l1, l2, fixed = random.uniform(5, 150, 300), random.uniform(1, 5, 300), random.uniform(1, 100, 300)
        t = random.uniform(1.02, 3, 300) * convert.time_of_flight(convert.wavelength_of_energy(fixed), l1 + l2)
        arrays = {"tof": (t, "us"), "L1": (l1, "m"), "L2": (l2, "m")}
        given = {n: sc.array(dims=["x"], values=v, unit=u) for n, (v, u) in arrays.items()}
        known = sc.array(dims=["x"], values=fixed, unit="meV")
        direct = tof.energy_transfer_direct_from_tof(**given, incident_energy=known)
        indirect = tof.energy_transfer_indirect_from_tof(**given, final_energy=known)
        ours = convert.energy_transfer_direct(t, l1=l1, l2=l2, incident=fixed)
        assert np.abs(ours - direct.values).max() < 1e-9 * fixed.max()
        ours = convert.energy_transfer_indirect(t, l1=l1, l2=l2, final=fixed)
        assert np.abs(ours - indirect.values).max() < 1e-9 * fixed.max()


class TestEdges:
    def test_times_that_are_none(self):
        with np.errstate(all="raise"):
            assert convert.wavelength([0.0, -5.0, math.nan], 10.0).tolist()[0] == 0.0
            assert np.isnan(convert.wavelength(math.nan, 10.0))
            assert convert.momentum_transfer(0.0, 10.0, 1.0) == math.inf
            assert convert.energy(0.0, 10.0) == math.inf
            assert convert.wavelength(1.0, 0.0) == math.inf
            assert np.isnan(convert.energy_transfer_direct([1.0, -1.0, math.nan], l1=10.0, l2=2.0, incident=25.0)).all()
            assert np.isnan(convert.energy_transfer_indirect([1.0, 0.0], l1=10.0, l2=2.0, final=25.0)).all()
            assert np.isnan(convert.wavelength_of_energy(-1.0))

    def test_events_of_every_kind_in_an_axis(self):
        geometry = Geometry(np.array([10.0, 10.0, 0.0, np.nan, 10.0]), np.array([1.0, 0.0, 1.0, 1.0, 1.0]), first=3)
        geometry = geometry.masked(pixels=[7])
        pixel = np.array([3, 3, 3, 4, 5, 6, 7, 2, 8], np.int32)
        time = np.array([1e4, 0.0, np.nan, 1e4, 1e4, 1e4, 1e4, 1e4, 1e4])
        for value, low, zero, straight in (
            (geometry.wavelength(pixel="p", time="t", unit="us"), 3.9, 0, True),
            (geometry.d_spacing(pixel="p", time="t", unit="us"), 4.0, 0, False),
            (geometry.momentum_transfer(pixel="p", time="t", unit="us"), 1.0, ABOVE, False),
            (geometry.energy(pixel="p", time="t", unit="us"), 5.0, ABOVE, True),
        ):
            axis = edges(value, [0.0, low, 1e3])
            found = Place(axis).codes({"p": pixel, "t": time}).tolist()
            assert found[1:3] == [zero, NAN]
            assert found[0] >= 0
            assert found[3] == (found[0] if straight else MASKED)
            assert found[4:] == [MASKED, MASKED, MASKED, UNKNOWN, UNKNOWN]

    @given(st.floats(0.5, 3), st.floats(100, 20_000), st.floats(-5, 30), st.floats(-50, 50))
    def test_the_quadratic_gives_the_d_it_was_made_of(self, d, difc, difa, tzero):
        time = time_of_d(d, difc=difc, difa=difa, tzero=tzero)
        back = d_of_time(time, difc=difc, difa=difa, tzero=tzero)
        assert abs(back / d - 1) < 1e-10

    def test_the_quadratic_is_stable_for_small_difa(self):
        for difa in (1e-3, 1e-9, 1e-15, -1e-15, 0.0):
            found = float(d_of_time(1234.5, difc=1000.0, difa=difa))
            # the exact residual of the root that was found
            exact = Fraction(difa) * Fraction(found) ** 2 + Fraction(1000) * Fraction(found) - Fraction(1234.5)
            assert abs(exact / Fraction(1234.5)) < Fraction(4, 10**16)

    def test_no_root(self):
        assert np.isnan(d_of_time(1e9, difc=1.0, difa=-1.0))
        assert np.isnan(d_of_time(math.nan, difc=1.0))
        assert np.isnan(d_of_time(1.0, difc=math.nan))

    def test_positions(self):
        made = from_positions([[0, 1e-6, 5], [0, 0, -1]], source=(0, 0, -20))
        assert abs(made.two_theta[0] / 2e-7 - 1) < 1e-9  # where an arc cosine would give 0
        assert made.two_theta[1] == np.pi
        for bad in (
            lambda: from_positions([[0, 0]], source=(0, 0, -1)),
            lambda: from_positions([[0, 0, 1]], source=(0, 0, 0)),
            lambda: from_table([1, 1], l1=1.0, l2=[1.0, 1.0], two_theta=[1.0, 1.0]),
            lambda: from_table([0, 2**40], l1=1.0, l2=[1.0, 1.0], two_theta=[1.0, 1.0]),
            lambda: from_table([], l1=1.0, l2=[], two_theta=[]),
            lambda: Geometry(np.zeros(2), np.zeros(3)),
            lambda: Geometry(np.zeros(2), np.zeros(2)).masked(pixels=[2]),
            lambda: Geometry(np.zeros(2), np.zeros(2)).wavelength(unit="fortnight"),
            lambda: Calibration(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(3, bool)),
        ):
            with pytest.raises(UsageError):
                bad()

    def test_broken_tables(self, tmp_path):
        place = tmp_path / "pixels.csv"
        for text, what in (
            ("a,b\n1,2\n", "no column"),
            ("pixel id,L2 value,theta value\n1,x,2\n", "line 2"),
            ("pixel id,L2 value,theta value\n1\n", "line 2"),
            ("pixel id,L2 value,theta value\n", "no pixel"),
            ("", "no column"),
        ):
            place.write_text(text)
            with pytest.raises(DataError, match=what):
                read_table(place, l1=1.0)

    def test_broken_calibrations(self, tmp_path):
        place = tmp_path / "c.h5"
        place.write_bytes(b"no file of that kind")
        with pytest.raises((DataError, MissingDependencyError)):
            read_calibration(place)
        h5py = pytest.importorskip("h5py")
        one = np.ones(2)
        for columns in (
            {"difc": one},
            {"detid": one, "difc": one},
            {"detid": np.array([1, 1]), "difc": one},
            {"detid": np.array([0, 2**31 - 1]), "difc": one},
            {"detid": np.array([0, 1]), "difc": np.ones(3)},
            {"detid": np.zeros(0, int), "difc": np.zeros(0)},
            {"detid": np.array([0, 1]), "difc": np.array([b"a", b"b"])},
        ):
            with h5py.File(place, "w") as file:
                for name, values in columns.items():
                    file[f"calibration/{name}"] = values
            with pytest.raises(EventideError):
                read_calibration(place)
        with h5py.File(place, "w") as file:
            file["calibration/detid"], file["calibration/difc"] = np.array([7, 5]), np.array([70.0, 50.0])
        made = read_calibration(place)
        assert (made.first, made.usable.tolist()) == (5, [True, False, True])
        assert made.d([5, 6, 7, 8], [50.0, 1.0, 140.0, 1.0]).tolist()[::2] == [1.0, 2.0]

    def test_masks(self):
        assert mask_of(3, first=5).tolist() == [False] * 3
        assert dead([[0, 3]], least=2).tolist() == [[True, False]]
        assert hot([0, 0]).tolist() == [False, False]
        with pytest.raises(UsageError):
            mask_of(3, first=5, pixels=[4])


def test_a_pipeline_in_physical_units():
    bank = Geometry(np.array([10.0, 20.0]), np.array([1.0, 1.0]), first=1)
    times = pa.array([0, 1], pa.timestamp("ns", "UTC"))
    pulses = ev.from_table(
        {"t": times, "pixel_id": [[1, 2], [2, 9]], "time_of_flight": [[10_000_000, 20_000_000], [0, 1]]}
    ).event_time("t")
    made = ev.fetch(
        pulses.pipe(
            ev.op.histogram,
            products={
                "wavelength": uniform(bank.wavelength(), 0, 5, 5, unit="angstrom"),
                "energy": edges(bank.energy(), [0.0, 5.2, 5.3], unit="meV"),
            },
        )
    ).select(["product", "counts", "above", "unknown"])
    found = {row["product"]: row for row in made.to_pylist()}
    assert found["wavelength"]["counts"] == [1, 0, 0, 2, 0]
    assert found["energy"]["counts"] == [0, 2]
    assert (found["energy"]["above"], found["energy"]["unknown"]) == (1, 1)
