"""The simulator: the same seed, the same events; and physics that can be read off again."""

from __future__ import annotations

import numpy as np
import pytest

from eventide.apps.neutron.instruments import INSTRUMENTS, instrument
from eventide.apps.neutron.schema import PULSES
from eventide.apps.neutron.simulate import MUON_LIFETIME, Beam, simulate
from eventide.apps.neutron.spectra import DIAMOND, reflections
from eventide.errors import UsageError

SMALL = ["amor", "dream", "muons", "sans2d"]


def events(table, kind: str) -> np.ndarray:
    return table[kind].combine_chunks().flatten().to_numpy()


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed(name):
    one, again, other = (simulate(name, seconds=1.5, rate=20_000, seed=s) for s in (4, 4, 5))
    assert one == again != other
    assert one.schema == PULSES
    assert simulate(name, seconds=1, rate=20_000, seed=4) == one.slice(0, simulate(name, seconds=1, rate=1).num_rows)


@pytest.mark.parametrize("name", SMALL)
def test_events_are_of_their_banks(name):
    one = instrument(name)
    table = simulate(name, seconds=1, rate=30_000)
    geometry = one.geometry()
    rows = table.select(["source", "time_of_flight", "pixel_id"]).to_pylist()
    for row in rows[: 4 * len(one.banks)]:
        bank = next((b for b in one.banks if b.name == row["source"]), None)
        if bank is None:
            assert row["pixel_id"] is None
            continue
        pixels = np.array(row["pixel_id"], np.int64)
        assert pixels.size == len(row["time_of_flight"])
        assert ((pixels >= bank.first) & (pixels < bank.first + bank.pixels)).all()
        assert geometry.alive[pixels - one.first].all()
    total = events(table, "time_of_flight").size
    assert abs(total - 30_000) < 5 * np.sqrt(30_000)
    assert events(table, "time_of_flight").min() >= 0


def test_pulses_come_at_14_hz():
    table = simulate("amor", seconds=2, rate=100)
    times = np.unique(table["event_time"].cast("int64").to_numpy())
    assert times.size == 28
    assert set(np.diff(times)) == {71_428_571}
    assert table["message_id"].to_pylist() == [i // 2 for i in range(56)]


def test_muons_decay_in_their_lifetime():
    """The lifetime that fits best (maximum likelihood, in a window of 32 us) is right within three standard errors."""
    times = events(simulate("muons", seconds=2, rate=400_000), "time_of_flight") + 0.5  # whole ns, cut off
    window, tau = 32_000.0, 2000.0
    for _ in range(50):  # the mean of an exponential that is cut off: tau - window / (exp(window / tau) - 1)
        tau = times.mean() + window / np.expm1(window / tau)
    assert abs(tau - MUON_LIFETIME) < 3 * tau / np.sqrt(times.size)
    assert times.size > 700_000


def test_diamond_has_its_reflections():
    """Peaks of the d-spacing, from pixels and times alone, are where the lattice has them."""
    one = instrument("dream")
    table = simulate("dream", seconds=2, rate=500_000)
    table = table.filter(table["pixel_id"].is_valid())
    d = one.geometry().d_spacing()[events(table, "pixel_id") - one.first] * events(table, "time_of_flight")
    for spacing in reflections(shortest=0.8)[0]:
        assert spacing in DIAMOND / np.sqrt([3, 8, 11, 16, 19])
        inside = d[np.abs(d / spacing - 1) < 0.006]
        beside = d[np.abs(d / (spacing * 1.02) - 1) < 0.006]
        assert inside.size > 3 * beside.size
        q = 2 * np.pi / spacing
        assert abs(2 * np.pi / np.median(inside) - q) < 0.001 * q


def test_a_small_angle_curve_falls():
    one = instrument("sans2d")
    table = simulate("sans2d", seconds=1, rate=300_000)
    table = table.filter(table["pixel_id"].is_valid())
    q = one.geometry().momentum()[events(table, "pixel_id") - one.first] / events(table, "time_of_flight")
    counts, edges = np.histogram(q, np.geomspace(0.01, 0.15, 20))
    per_area = counts / (edges[1:] ** 2 - edges[:-1] ** 2)
    assert per_area[0] > 100 * per_area[-1]


def test_numbers_out_of_range():
    for wrong in ({"seconds": 0}, {"seconds": float("nan")}, {"rate": -1}, {"rate": float("nan")}):
        with pytest.raises(UsageError):
            simulate("amor", **wrong)
    nothing = simulate("amor", rate=0)
    assert nothing.num_rows == 28
    assert events(nothing, "time_of_flight").size == 0


def test_every_instrument_has_a_table():
    for name in INSTRUMENTS:
        assert Beam(instrument(name), rate=100, seed=1).second(3).num_rows
