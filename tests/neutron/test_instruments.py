"""Instruments: numbers of pixels, and what geometry makes of a time of flight."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from eventide.apps.neutron.instruments import INSTRUMENTS, NS_PER_ANGSTROM_METRE, Bank, Instrument, instrument
from eventide.errors import UnknownNameError, UsageError


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_no_pixel_has_two_banks(name):
    one = instrument(name)
    spans = sorted((b.first, b.first + b.pixels) for b in one.banks)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    found = one.geometry()
    assert found.path.size == found.two_theta.size == found.alive.size == one.pixels
    assert np.isfinite(found.path[found.alive]).all()
    assert len({b.name for b in one.banks} | {m.name for m in one.monitors}) == len(one.banks) + len(one.monitors)


def test_loki_has_the_pixels_of_its_event_formation():
    assert sum(b.pixels for b in instrument("loki").banks) == 3_211_264


def test_numbers_between_banks_are_masked():
    one = instrument("dream")
    assert np.isnan(one.geometry().path).sum() == one.pixels - sum(b.pixels for b in one.banks) > 0
    assert np.isnan(one.geometry().d_spacing()[~one.geometry().alive]).all()


def test_gaps_move_pixels_apart():
    plain = Bank("b", 1, 1, 4, (0.0, 0.0, 1.0), (0.1, 0.1)).positions()[:, 0]
    apart = Bank("b", 1, 1, 4, (0.0, 0.0, 1.0), (0.1, 0.1), module=2, gap=0.2).positions()[:, 0]
    assert (apart - plain).round(12).tolist() == [-0.1, -0.1, 0.1, 0.1]


def test_bragg():
    """Wavelength, d-spacing and momentum transfer of one time of flight fit together, at right angles by hand."""
    bank = Bank("side", 5, 1, 1, (2.0, 0.0, 0.0), (0.1, 0.1))
    found = Instrument("x", "powder", 10**8, 10.0, (bank,)).geometry()
    tof = NS_PER_ANGSTROM_METRE * 12.0 * 1.5  # of 1.5 Angstrom
    assert found.wavelength()[0] * tof == pytest.approx(1.5, rel=1e-14)
    assert found.d_spacing()[0] * tof == pytest.approx(1.5 / np.sqrt(2), rel=1e-14)
    assert found.momentum()[0] / tof == pytest.approx(2 * np.pi / (1.5 / np.sqrt(2)), rel=1e-14)


def test_the_table_of_powgen(data_dir):
    """K of Q = K / tof of 43,120 pixels, from their angle and distance, with 60 m from the moderator to the sample.

    The table was made with 252.777 us per Angstrom and metre, which is m_n / h (252.77841) cut off.
    """
    path = next((data_dir / "neutron" / "powgen").glob("*.csv"))
    table = pl.read_csv(path, comment_prefix="#")
    _, l2, degrees, expected = (table[:, i].to_numpy() for i in range(4))
    made = 4 * np.pi * np.sin(np.radians(degrees) / 2) * (60.0 + l2) * NS_PER_ANGSTROM_METRE / 1000
    assert np.abs(made / expected * 252.777 / 252.77841 - 1).max() < 1e-6
    assert np.abs(made / expected - 1).max() < 6e-6


def test_unknown():
    with pytest.raises((UsageError, UnknownNameError), match="loky"):
        instrument("loky")
