"""GADF runs in FITS files, light curves, maps and alert packets."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import sys
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.gamma.dl3.export import export_runs, header_of, runs_of
from eventide.apps.gamma.dl3.gadf import DL3_EVENTS, Run, read_run, write_run
from eventide.apps.gamma.dl3.tables import FitsTable, opened, write_fits
from eventide.apps.gamma.dl3.times import from_utc, moments, to_utc
from eventide.apps.gamma.pipeline import Analysis, analyse
from eventide.apps.gamma.science.alerts import example_alert
from eventide.apps.gamma.science.crab import CRAB, fact_runs, merged
from eventide.apps.gamma.science.gcn import gcn_notices
from eventide.apps.gamma.science.light_curve import light_curve, overlap
from eventide.apps.gamma.science.regions import OnOff, add_regions, separation
from eventide.apps.gamma.science.sky_map import plane, ring_map, sky_map
from eventide.apps.gamma.science.voevent import voevents
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.simulate.night import CRAB as SOURCE
from eventide.apps.gamma.site import made
from eventide.errors import DataError, EventideError, MissingDependencyError, SchemaError, UsageError
from eventide.model.time import EVENT_TIME, instant

fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed")

START = instant("2026-01-01")


def small(**more):
    """Return a run of seven events, without any file."""
    values = {
        "time": pa.array(START + np.arange(7) * 10**9).cast(EVENT_TIME),
        "event_id": pa.array(np.arange(7) + 2**40),
        "obs_id": pa.array(np.full(7, 3)),
        **{n: pa.array(np.linspace(1.0, 80.0, 7)) for n in ("ra", "dec", "energy")},
        **{n: pa.array(np.full(7, 22.5)) for n in ("ra_pnt", "dec_pnt")},
        "gammaness": pa.array(np.linspace(0, 1, 7, dtype=np.float32)),
        "multiplicity": pa.array(np.arange(7, dtype=np.uint16)),
    }
    header = {"TELESCOP": "it's", "OBJECT": "", **more}
    return Run(pa.RecordBatch.from_pydict(values), START + np.array([[0, 10**10]]), 0.98, header)


def same(one, two, *, within=60):
    """Return if events are equal, and times to what a float64 holds so long after the reference, ns."""
    a, b = (r.events["time"].cast(pa.int64()).to_numpy() for r in (one, two))
    near = max(np.abs(a - b).max(), np.abs(one.gti - two.gti).max()) <= within
    return near and one.events.drop_columns("time").equals(two.events.drop_columns("time"))


def test_round_trip():
    data = write_run(small())
    back = read_run(data)
    assert same(back, small())
    assert (back.obs_id, back.deadtime, back.header["TELESCOP"], back.header["OBJECT"]) == (3, 0.98, "it's", "")
    assert write_run(small()) == data
    assert read_run(gzip.compress(data)).events.equals(back.events)


def test_empty_run():
    none = Run(small().events.slice(0, 0), np.zeros((0, 2), np.int64))
    assert read_run(write_run(none)).events.num_rows == 0


@given(st.binary(max_size=200), st.integers(0, 16_000), st.integers(0, 170), st.booleans())
@settings(max_examples=60, deadline=None)
def test_damaged_fits_ends_in_an_error_or_in_a_run(noise, at, cut, packed):
    good = write_run(small())
    for bad in (good[:at] + noise + good[at + len(noise) :], good[: len(good) - cut * 100], noise):
        try:
            run = read_run(gzip.compress(bad, 1) if packed else bad)
        except DataError as error:
            assert error.hint and "these bytes" in error.message
        else:
            assert run.events.num_rows < 10_000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"NAXIS2  =                    7", b"NAXIS2  =           7000000000"),
        (b"NAXIS2  =                    7", b"NAXIS2  =                   -7"),
        (b"NAXIS2  =                    7", b"NAXIS2  =                    T"),
        (b"NAXIS   =                    2", b"NAXIS   =         200000000000"),
        (b"PCOUNT  =                    0", b"PCOUNT  =              -999999"),
        (b"GCOUNT  =                    1", b"GCOUNT  =                   -1"),
        (b"TFIELDS =                    7", b"TFIELDS =              9999999"),
        (b"TFIELDS =                    7", b"TFIELDS =                   -7"),
        (b"TFORM3  = 'D       '", b"TFORM3  = '99999D  '"),
        (b"TFORM3  = 'D       '", b"TFORM3  = '1PD(3) '"),
        (b"TFORM3  = 'D       '", b"TFORM3  = '8A      '"),
        (b"TFORM3  = 'D       '", b"TFORM3  = '2E      '"),
        (b"BITPIX  =                    8", b"BITPIX  =                    9"),
        (b"OBS_ID  =                    3", b"OBS_ID  =" + b"9" * 21),
        (b"MJDREFI =                51910", b"MJDREFI =" + b"9" * 21),
        (b"TIMESYS = 'TT      '", b"TIMESYS = 'tea     '"),
    ],
)
def test_headers_that_lie_are_refused(old, new, tmp_path):
    good = write_run(small())
    at = good.index(old, good.index(b"XTENSION"))
    path = tmp_path / "lies.fits"
    path.write_bytes(good[:at] + new + good[at + len(old) :])
    with pytest.raises(DataError, match=r"lies\.fits") as caught:
        read_run(path)
    assert caught.value.hint


def test_first_header_that_lies_is_refused():
    good = write_run(small())
    for axes in (b"2000000000", b"        -1", b"         2", b"         T"):
        with pytest.raises(DataError):
            read_run(good.replace(b"NAXIS   =                    0", b"NAXIS   =           " + axes, 1))


def test_files_that_are_no_gadf_say_so(tmp_path):
    path = tmp_path / "nothing.fits"
    with pytest.raises(DataError, match=r"nothing.*opened"):
        read_run(path)
    for data in (b"", b"PK\x03\x04" + b"0" * 99, b"\x1f\x8b" + b"0" * 99, gzip.compress(b"SIMPLE"), write_fits([])):
        path.write_bytes(data)
        with pytest.raises(DataError, match="nothing"):
            read_run(path)
    with pytest.raises(DataError, match="END"):
        read_run(
            b"SIMPLE  =                    T".ljust(80) + b"COMMENT of a header without an end".ljust(80) * 100_000
        )
    one = fits.PrimaryHDU(np.zeros(3)).header.tostring().encode() + b"\0" * 2880
    with pytest.raises(DataError, match="more than"):
        read_run(one + fits.ImageHDU().header.tostring().encode() * 1100)


def test_what_unpacks_to_too_much_is_refused(monkeypatch):
    monkeypatch.setattr("eventide.apps.gamma.dl3.tables._LIMIT", 10_000)
    with pytest.raises(DataError, match="unpacked"):
        read_run(gzip.compress(write_run(small())))


def test_other_tables_do_not_matter():
    """A table with columns of many lengths, images, a card that cannot be read: none is looked into."""
    lists = fits.Column("A", "PD()", array=[np.zeros(2), np.zeros(3)])
    out = io.BytesIO()
    with fits.open(io.BytesIO(write_run(small()))) as hdus:
        hdus.insert(1, fits.BinTableHDU.from_columns([lists], name="AEFF"))
        hdus.insert(1, fits.ImageHDU(np.zeros((3, 3)), name="PICTURE"))
        hdus.writeto(out)
    data = out.getvalue().replace(b"EQUINOX =               2000.0", b"EQUINOX = nothing 'like' this ")
    assert same(read_run(data), small())


def test_what_fits_cannot_hold_is_refused():
    for table in [
        FitsTable("T", {"A": np.array([object()])}),
        FitsTable("T", {"A": np.zeros(2), "B": np.zeros(3)}),
        FitsTable("T", {"A": np.zeros(2)}, {"NAN": np.nan}),
        FitsTable("T", {"A": np.zeros(2)}, {"LINE": "two\nlines"}),
        FitsTable("T", {"A": np.zeros(2)}, {"a keyword too long": 1}),
    ]:
        with pytest.raises(DataError):
            write_fits([table])
    with pytest.raises(DataError, match="EVENTS"):
        write_run(small(OBJECT="\N{GREEK SMALL LETTER ALPHA}"))


def test_without_astropy_it_is_said(monkeypatch):
    data = write_run(small())
    monkeypatch.setitem(sys.modules, "astropy.utils", None)
    with pytest.raises(MissingDependencyError, match="FITS") as caught:
        read_run(data)
    assert caught.value.hint == "pip install eventide[gamma]"


@given(
    st.lists(st.integers(instant("1975-01-01"), instant("2035-01-01")), min_size=1),
    st.sampled_from(["utc", "tai", "TT", "tdb", "tcb"]),
)
@settings(deadline=None)
def test_times_come_back(times, scale):
    given_ = np.array(times, np.int64)
    back = to_utc(from_utc(given_, mjd=51_910, scale=scale), mjd=51_910, scale=scale)
    assert np.abs(back - given_).max() <= 256


def test_known_times():
    # 2017-01-01T00:00:00 UTC is 37 s behind TAI: MJD 57754.
    assert to_utc([37.0], mjd=57_754, scale="tai").tolist() == [instant("2017-01-01")]
    assert to_utc([69.184], mjd=57_754, scale="tt").tolist() == [instant("2017-01-01")]
    # The day before ends in a leap second: 86,401 s after its begin it is over, and the leap second counts as what
    # comes after it.
    assert to_utc([86_399.5, 86_400.5, 86_401.5], mjd=57_753).tolist() == [
        instant("2016-12-31T23:59:59.5"),
        instant("2017-01-01T00:00:00.5"),
        instant("2017-01-01T00:00:00.5"),
    ]
    assert from_utc(np.array([instant("2017-01-01")]), mjd=57_753).tolist() == [86_401.0]
    for bad in ([np.nan], [1e300], [np.inf]):
        with pytest.raises(DataError):
            to_utc(bad, mjd=51_910)
    with pytest.raises(DataError, match="scale"):
        to_utc([0.0], mjd=51_910, scale="local")


@given(st.lists(st.integers(0, 2**33), min_size=1, max_size=20), st.integers(0, 999_999_999))
@settings(deadline=None)
def test_conversion_is_exact(seconds, rest):
    """What float64 can hold comes out to the ns: days of 86,400 s in TAI, which has no leap seconds."""
    given_ = np.array(seconds, np.float64) % 4e8
    whole = to_utc(given_, mjd=58_000, scale="tai")
    assert np.array_equal(np.diff(whole), np.diff(given_).astype(np.int64) * 10**9)
    small_ = to_utc([rest / 1e9], mjd=58_000, scale="tai") - to_utc([0.0], mjd=58_000, scale="tai")
    assert small_.tolist() == [rest]


def test_moments_keep_nanoseconds():
    times = START + np.array([0, 1, 43_200 * 10**9 + 7, 86_399_999_999_999])
    since = (moments(times) - moments(times[:1])).to_value("sec", subfmt="long") * 1e9
    assert np.rint(since).astype(np.int64).tolist() == (times - START).tolist()


def test_times_are_those_of_the_header(data_dir):
    """DATE-OBS and TIME-OBS, which are in whole seconds, say when TSTART is in UTC."""
    for run in fact_runs(data_dir / "gamma" / "fact_dl3"):
        first = instant(f"{run.header['DATE-OBS']}T{run.header['TIME-OBS']}")
        assert 0 <= run.gti[0, 0] - first < 10**9 or abs(run.gti[0, 0] - first) < 1000


@pytest.fixture(scope="module")
def run(data_dir):
    return fact_runs(data_dir / "gamma" / "fact_dl3")[0]


def test_a_real_run_is_written_and_read_again(run):
    data = write_run(run)
    back = read_run(data)
    assert write_run(run) == data
    assert same(back, run)
    assert (back.obs_id, back.deadtime, back.header["TELESCOP"]) == (20131103103, run.deadtime, "FACT")


def test_what_is_written_is_standard(run, tmp_path):
    path = tmp_path / "run.fits"
    path.write_bytes(write_run(run))
    with fits.open(path) as file:
        file.verify("exception")
        assert np.array_equal(file["EVENTS"].data["RA"], run.events["ra"].to_numpy())
        assert file["EVENTS"].header["OBS_ID"] == run.obs_id


def test_gammapy_counts_the_same(run, tmp_path):
    data = pytest.importorskip("gammapy.data", reason="gammapy is not installed")
    regions = pytest.importorskip("regions")
    coordinates = pytest.importorskip("astropy.coordinates")
    path = tmp_path / "run.fits"
    path.write_bytes(write_run(run))
    events = data.EventList.read(path)
    gti = data.GTI.read(path)
    assert len(events.table) == run.events.num_rows
    assert float(gti.time_sum.to_value("s")) == pytest.approx(run.ontime, abs=1e-5)
    center = coordinates.SkyCoord(CRAB.ra, CRAB.dec, unit="deg")
    inside = regions.CircleSkyRegion(center, CRAB.radius * coordinates.Angle("1d"))
    ours = CRAB.regions(
        *(run.events[n].to_numpy() for n in ("ra", "dec")),
        ra_pnt=run.events["ra_pnt"].to_numpy(),
        dec_pnt=run.events["dec_pnt"].to_numpy(),
    )
    assert len(events.select_region(inside).table) == int((ours == 0).sum())
    first = events.time[0].utc.unix
    assert first == pytest.approx(run.events["time"].cast(pa.int64())[0].as_py() / 1e9, abs=1e-5)


def test_gammapy_counts_the_same_of_a_simulated_night(tmp_path):
    """Images through the whole pipeline to a folder of files, opened as an observation."""
    data = pytest.importorskip("gammapy.data", reason="gammapy is not installed")
    regions = pytest.importorskip("regions")
    coordinates = pytest.importorskip("astropy.coordinates")
    position = OnOff(*SOURCE, radius=0.17)
    night = Night(made(5), seed=4, hadrons=10.0, gammas=10.0)
    gammas = ev.fetch(analyse(ev.from_table(night.table(10)), Analysis(made(5), position)).gammas)
    (path,) = export_runs(runs_of(gammas, {}, header=header_of(made(5), OBS_MODE="POINTING")), tmp_path)
    seen = data.Observation.read(path)
    assert len(seen.events.table) == gammas.num_rows > 20
    center = coordinates.SkyCoord(*SOURCE, unit="deg", frame="icrs")
    inside = regions.CircleSkyRegion(center, position.radius * coordinates.Angle("1d"))
    ours = separation(gammas["ra"].to_numpy(), gammas["dec"].to_numpy(), ra0=SOURCE[0], dec0=SOURCE[1])
    assert len(seen.events.select_region(inside).table) == int((ours < position.radius).sum()) > 5
    assert seen.pointing.fixed_icrs.separation(center).deg == pytest.approx(0.5, abs=1e-6)


def test_gadf_needs_its_columns(run):
    events = run.events
    with pytest.raises(SchemaError, match="energy"):
        write_run(Run(events.drop_columns("energy"), run.gti))
    two = pa.record_batch(
        [events.column(i) for i in range(6)] + [pa.array(np.arange(events.num_rows) * 1.0), events.column(7)],
        schema=DL3_EVENTS,
    )
    with pytest.raises(SchemaError, match="ra_pnt"):
        write_run(Run(two, run.gti))
    with opened(write_run(run), "EVENTS", "GTI") as (events, gti):
        columns = {n: events.column(n, "fi") for n in events.names}
        edges = FitsTable("GTI", {n: gti.column(n, "f") for n in gti.names}, gti.header)
        header = dict(events.header)
    with pytest.raises(DataError, match="GTI"):
        read_run(write_fits([FitsTable("EVENTS", columns, header)]))
    for lost in ("MJDREFI", "RA_PNT"):
        less = {k: v for k, v in header.items() if k != lost}
        with pytest.raises(DataError, match=lost):
            read_run(write_fits([FitsTable("EVENTS", columns, less), edges]))
    for lost in ("TIME", "ENERGY"):
        less = {k: v for k, v in columns.items() if k != lost}
        with pytest.raises(DataError, match=lost):
            read_run(write_fits([FitsTable("EVENTS", less, header), edges]))


def test_more_columns_are_written(run):
    more = run.events.append_column("gammaness", pa.array(np.linspace(0, 1, run.events.num_rows)))
    back = read_run(write_run(Run(more, run.gti)))
    assert back.events["gammaness"].equals(more["gammaness"])


def test_parquet_keeps_all(run, tmp_path):
    path = tmp_path / "dl3.parquet"
    ev.run(ev.from_table(run.events).write(f"file://{path}"))
    back = ev.fetch(ev.read(f"file://{path}"))
    assert back.combine_chunks().to_batches()[0].select(DL3_EVENTS.names).equals(run.events.select(DL3_EVENTS.names))


def test_light_curve_adds_up(data_dir):
    runs = fact_runs(data_dir / "gamma" / "fact_dl3")
    gti = np.concatenate([r.gti for r in runs])
    stream = add_regions(ev.from_table(merged(runs)).event_time("time"), CRAB)
    curve = ev.fetch(light_curve(stream, CRAB, every="5m", gti=gti))
    assert (sum(curve["n_on"].to_pylist()), sum(curve["n_off"].to_pylist())) == (691, 1351)
    assert sum(curve["seconds"].to_pylist()) == pytest.approx(sum(r.ontime for r in runs), abs=60)
    rate = sum(curve["excess"].to_pylist()) / sum(curve["seconds"].to_pylist())
    assert rate == pytest.approx(420.8 / 37_175, rel=2e-3)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6),
    st.lists(st.integers(0, 60), min_size=2, max_size=8),
)
def test_overlap_counts_every_instant_once(spans, edges):
    intervals = np.array([sorted(s) for s in spans], np.int64).reshape(-1, 2)
    start = np.sort(np.array(edges, np.int64))
    covered = [any(a <= t < b for a, b in intervals) for t in range(61)]
    wanted = [sum(covered[a:b]) for a, b in itertools.pairwise(start)]
    assert overlap(start[:-1], start[1:], intervals).tolist() == wanted


def test_the_crab_is_where_it_should_be_on_the_map(data_dir):
    events = merged(fact_runs(data_dir / "gamma" / "fact_dl3"))
    stream = ev.from_table(events).event_time("time")
    maps = ev.fetch(sky_map(stream, ra=CRAB.ra, dec=CRAB.dec, size=2.0, bins=40))
    counts = np.array(maps["counts"][0].as_py()).reshape(40, 40)
    x, y = plane(events["ra"].to_numpy(), events["dec"].to_numpy(), ra0=CRAB.ra, dec0=CRAB.dec)
    assert counts.sum() == int(((np.abs(x) < 1) & (np.abs(y) < 1)).sum())
    found = ring_map(counts, radius=3.0, ring=(7.0, 10.0))
    row, col = np.unravel_index(np.nanargmax(found), found.shape)
    assert np.hypot((row - 19.5) * 0.05, (col - 19.5) * 0.05) < 0.1
    assert found[row, col] > 15
    with pytest.raises(UsageError):
        ring_map(counts, radius=8.0, ring=(7.0, 10.0))


def test_packets_say_what_the_alert_says():
    alert = example_alert()
    (packet,) = voevents(alert, stream="example/gamma", role="observation")
    root = ElementTree.fromstring(packet)
    assert root.tag == "{http://www.ivoa.net/xml/VOEvent/v2.0}VOEvent"
    assert [c.tag for c in root] == ["Who", "What", "WhereWhen", "Why"]
    params = {p.get("name"): p.get("value") for p in root.iter("Param")}
    assert params["n_on"] == "20" and params["obs_ids"] == "7 8" and params["scale"] == "60.0"
    assert root.findtext(".//ISOTime") == "2026-01-01T00:01:00"
    (notice,) = gcn_notices(alert, mission="Example", role="observation")
    found = json.loads(notice)
    assert json.loads(found["additional_info"])["inputs"] == [7, 8]
    assert (found["alert_tense"], found["rate_snr"], found["id"]) == ("current", 7.9, ["Crab-1m-0123456789ab"])
    for encode in (
        lambda: voevents(alert, stream="a/b", role="no"),
        lambda: gcn_notices(alert.drop_columns("ra"), mission="x"),
    ):
        with pytest.raises(EventideError):
            encode()


def test_names_cannot_break_a_packet():
    odd = example_alert().to_pylist()[0] | {"source": "<a>&\x00\"'", "id": "x<y"}
    odd["time"] = odd["start"] = 0
    odd["scale"] = 1
    alert = pa.RecordBatch.from_pylist([odd], schema=example_alert().schema)
    root = ElementTree.fromstring(voevents(alert, stream="a/b")[0])
    assert root.findtext(".//Name") == "<a>&\"'"
    assert json.loads(gcn_notices(alert, mission="x")[0])["event_name"] == [odd["source"]]


def test_streamed_events_become_a_file_a_run(data_dir, tmp_path):
    runs = fact_runs(data_dir / "gamma" / "fact_dl3")[:4]
    events = ev.fetch(ev.from_table(merged(runs)).event_time("time"))
    made = export_runs(runs_of(events, {r.obs_id: r.gti for r in runs}, header={"TELESCOP": "FACT"}), tmp_path / "out")
    assert [p.name for p in made] == [f"run_{r.obs_id}.fits" for r in sorted(runs, key=lambda r: r.obs_id)]
    for path in made:
        back = read_run(path)
        (run,) = [r for r in runs if r.obs_id == back.obs_id]
        assert back.events.num_rows == run.events.num_rows
        assert back.ontime == pytest.approx(run.ontime, abs=1e-6)
    with pytest.raises(SchemaError):
        runs_of(events.drop_columns("ra"), {})


def test_a_run_has_the_mean_of_pointings_that_track():
    rng = np.random.default_rng(3)
    rows = {n: np.full(50, 359.99 if n == "ra_pnt" else 22.0) for n in DL3_EVENTS.names[3:]}
    rows |= {n: np.arange(50) for n in ("time", "event_id")} | {"obs_id": np.full(50, 7)}
    moved = rows["ra_pnt"] + rng.normal(0, 0.01, 50)
    events = pa.table({n: pa.array(rows[n]).cast(DL3_EVENTS.field(n).type) for n in DL3_EVENTS.names})
    events = events.set_column(6, "ra_pnt", pa.array(moved % 360.0))
    events = events.set_column(5, "energy", pa.nulls(50, pa.float64()))
    (run,) = runs_of(events, {})
    (ra,) = set(run.events["ra_pnt"].to_pylist())
    assert (ra + 180) % 360 - 180 == pytest.approx(moved.mean() - 360, abs=1e-4)
    back = read_run(write_run(run))
    assert np.isnan(back.events["energy"].to_numpy()).all()
    with pytest.raises(SchemaError, match=r"run 7 .* 0\.\d+ degrees"):
        runs_of(events.set_column(6, "ra_pnt", pa.array(np.linspace(10, 10.5, 50))), {})


def test_packets_are_valid():
    voeventparse = pytest.importorskip("voeventparse", reason="voevent-parse is not installed")
    (packet,) = voevents(example_alert(), stream="example/gamma")
    voeventparse.assert_valid_as_v2_0(voeventparse.loads(packet))
