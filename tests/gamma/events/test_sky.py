"""Altitude and azimuth at event times to positions on the sky, beside the exact transform."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.gamma import sky
from eventide.apps.gamma.sky import Place, add_radec
from eventide.apps.gamma.stereo.frames import theta2
from eventide.errors import DataError, PipelineError, UsageError
from eventide.model.time import EVENT_TIME, instant

coordinates = pytest.importorskip("astropy.coordinates", reason="astropy is not installed")

FACT = Place(28.761795, -17.890701, 2199.4)
ARCSEC = 1 / 3600


def directions(count, *, start="2013-11-04", days=1.0):
    random = np.random.default_rng(count)
    times = instant(start) + np.sort(random.integers(0, int(days * 86_400e9), count))
    return times, random.uniform(15, 90, count), random.uniform(0, 360, count)


def apart(one, two):
    """Return the largest angle between positions, arc seconds."""
    return float(np.sqrt(theta2(one[1], one[0], alt0=two[1], az0=two[0]).max())) / ARCSEC


@pytest.mark.parametrize(("step", "within"), [("1m", 1e-6), ("5m", 1e-6), ("1h", 1e-3)])
def test_interpolated_is_as_exact(step, within):
    for start, days in [("2013-11-04", 0.4), ("2020-02-28", 30.0), ("2016-12-31", 2.0)]:
        times, alt, az = directions(300, start=start, days=days)
        exact = FACT.to_sky_exact(times, alt, az, step="0s")
        assert apart(FACT.to_sky_exact(times, alt, az, step=step), exact) < within


def test_is_what_astropy_finds():
    times, alt, az = directions(50)
    seen = coordinates.SkyCoord(
        alt=alt,
        az=az,
        unit="deg",
        frame="altaz",
        obstime=times.astype("datetime64[ns]").astype(str),
        location=coordinates.EarthLocation.from_geodetic(FACT.longitude, FACT.latitude, FACT.height),
    ).icrs
    # Its table of the Earth's rotation, without a download, is another one.
    assert apart(FACT.to_sky_exact(times, alt, az), (seen.ra.deg, seen.dec.deg)) < 0.01


def test_a_star_stays_where_it_is():
    """The Crab, as the telescope sees it during a night, is one place on the sky."""
    times = instant("2013-11-04T01:00:00") + np.arange(0, 5 * 3600, 60) * 10**9
    place = coordinates.EarthLocation.from_geodetic(FACT.longitude, FACT.latitude, FACT.height)
    frame = coordinates.AltAz(
        obstime=coordinates.AltAz(obstime=times.astype("datetime64[ns]").astype(str)).obstime, location=place
    )
    seen = coordinates.SkyCoord(83.63308, 22.0145, unit="deg").transform_to(frame)
    assert np.ptp(seen.alt.deg) > 30
    found = FACT.to_sky_exact(times, seen.alt.deg, seen.az.deg)
    assert apart(found, (np.full(times.size, 83.63308), np.full(times.size, 22.0145))) < 0.01


def test_results_do_not_depend_on_batches():
    times, alt, az = directions(500)
    ra, dec = FACT.to_sky_exact(times, alt, az)
    for size in (1, 7, 499):
        parts = [slice(begin, begin + size) for begin in range(0, 60, size)]
        found = [FACT.to_sky_exact(times[p], alt[p], az[p]) for p in parts]
        count = sum(f[0].size for f in found)
        assert np.concatenate([f[0] for f in found]).tolist() == ra[:count].tolist()
        assert np.concatenate([f[1] for f in found]).tolist() == dec[:count].tolist()
    rows = pa.table([pa.array(times).cast(EVENT_TIME), pa.array(alt), pa.array(az)], names=["time", "alt", "az"])
    assert ev.fetch(add_radec(ev.from_table(rows).event_time("time"), FACT))["ra"].to_numpy().tolist() == ra.tolist()


def test_what_is_no_direction_is_null():
    odd = {"time": ["2013-11-04"] * 4, "up": [None, np.nan, 91.0, 45.0], "round": [0.0, 0.0, 0.0, -725.0]}
    stream = ev.from_table(odd).event_time("time")
    found = ev.fetch(add_radec(stream, FACT, names={"up": "ra_pnt", "round": "dec_pnt"}))
    assert [v is None for v in found["ra_pnt"].to_pylist()] == [True, True, True, False]
    assert found["dec_pnt"].null_count == 3


def test_times_without_a_known_rotation_are_refused():
    for when in ("1969-01-01", "2200-01-01"):
        with pytest.raises(DataError, match="turned") as caught:
            FACT.to_sky_exact(np.array([instant(when)]), [45.0], [0.0])
        assert "astropy-iers-data" in caught.value.hint
    with pytest.raises(UsageError):
        Place(0.0, 0.0, 1e6)
    with pytest.raises(PipelineError):
        add_radec(ev.from_table({"alt": [1.0], "az": [1.0]}), FACT)


def test_nothing_is_downloaded(monkeypatch):
    iers = pytest.importorskip("astropy.utils.iers")

    def refuse(*args, **options):
        pytest.fail("the network was used")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    sky._rotation.cache_clear()
    iers.IERS_A.close()
    times, alt, az = directions(5)
    assert np.isfinite(FACT.to_sky_exact(times, alt, az)).all()
    assert iers.conf.auto_download is False
