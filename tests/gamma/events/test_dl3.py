"""FITS tables, GADF runs, light curves, maps and alert packets."""

from __future__ import annotations

import itertools
import json
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.gamma.dl3.export import export_runs, runs_of
from eventide.apps.gamma.dl3.fits import FitsTable, read_fits, write_fits
from eventide.apps.gamma.dl3.gadf import DL3_EVENTS, Run, read_run, write_run
from eventide.apps.gamma.dl3.timescale import from_utc, to_utc
from eventide.apps.gamma.science.alerts import example_alert
from eventide.apps.gamma.science.crab import CRAB, fact_runs, merged
from eventide.apps.gamma.science.gcn import gcn_notices
from eventide.apps.gamma.science.light_curve import light_curve, overlap
from eventide.apps.gamma.science.regions import add_regions
from eventide.apps.gamma.science.sky_map import plane, ring_map, sky_map
from eventide.apps.gamma.science.voevent import voevents
from eventide.errors import DataError, EventideError, SchemaError, UsageError
from eventide.model.time import instant

KINDS = ["u1", "i2", "i4", "i8", "u2", "u4", "u8", "f4", "f8", "b1", "S5"]


def column(kind, rows, width):
    random = np.random.default_rng(rows + width)
    shape = (rows,) if width == 1 else (rows, width)
    raw = np.frombuffer(random.bytes(rows * width * np.dtype(kind).itemsize), np.uint8)
    if kind == "b1":
        return (raw % 2).astype(bool).reshape(shape)
    if kind == "S5":
        return np.frombuffer((raw % 26 + 97).tobytes(), "S5")[:rows]
    array = raw.view(kind)
    return np.nan_to_num(array).reshape(shape) if kind[0] == "f" else array.reshape(shape)


def full():
    columns = {f"C{n}": column(k, 7, 1) for n, k in enumerate(KINDS)} | {"WIDE": column("f4", 7, 3)}
    return FitsTable("EVENTS", columns, {"A": True, "B": -3, "C": 1.5e-10, "D": "it's", "E": ""}, {"C0": "deg"})


@pytest.mark.parametrize("rows", [0, 1, 500])
def test_fits_round_trip(rows):
    columns = {f"C{n}": column(k, rows, 1) for n, k in enumerate(KINDS)}
    table = FitsTable("T", columns | {"WIDE": column("f4", rows, 3)})
    (back,) = read_fits(write_fits([table]))
    assert list(back.columns) == list(table.columns)
    for name, array in table.columns.items():
        assert back.columns[name].dtype == array.dtype, name
        assert np.array_equal(back.columns[name], array), name
    assert write_fits([table]) == write_fits([back])


def test_headers_and_units_come_back():
    (back,) = read_fits(write_fits([full()], {"ORIGIN": "here"}))
    assert back.header == {"A": True, "B": -3, "C": 1.5e-10, "D": "it's", "E": ""}
    assert back.units == {"C0": "deg"}


@given(st.binary(max_size=200), st.integers(0, 6000), st.integers(0, 40))
@settings(max_examples=150)
def test_damaged_fits_ends_in_an_error_or_in_tables(noise, at, cut):
    good = write_fits([full()])
    for bad in (good[:at] + noise + good[at + len(noise) :], good[: len(good) - cut * 100], noise):
        try:
            tables = read_fits(bad)
        except DataError as error:
            assert error.hint
        else:
            assert all(len(c) < 10_000 for t in tables for c in t.columns.values())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"NAXIS2  =                    7", b"NAXIS2  =           7000000000"),
        (b"NAXIS2  =                    7", b"NAXIS2  =                   -7"),
        (b"TFIELDS =                   12", b"TFIELDS =              9999999"),
        (b"'3E      '", b"'999999E '"),
        (b"'3E      '", b"'1PE(3)  '"),
        (b"BITPIX  =                    8 ", b"BITPIX  =                    9 "),
    ],
)
def test_headers_that_lie_are_refused(old, new):
    good = write_fits([full()])
    at = good.rindex(old)
    with pytest.raises(DataError):
        read_fits(good[:at] + new + good[at + len(old) :])


def test_what_fits_cannot_hold_is_refused():
    for table in [
        FitsTable("T", {"A": np.zeros(2, np.complex128)}),
        FitsTable("T", {"A": np.zeros(2), "B": np.zeros(3)}),
        FitsTable("T", {"A": np.zeros(2)}, {"lower case": 1}),
        FitsTable("T", {"A": np.zeros(2)}, {"NAN": np.nan}),
        FitsTable("T", {"A": np.zeros(2)}, {"LONG": "x" * 100}),
    ]:
        with pytest.raises(DataError):
            write_fits([table])


@given(
    st.lists(st.integers(instant("1975-01-01"), instant("2035-01-01")), min_size=1),
    st.sampled_from(["utc", "tai", "TT"]),
)
def test_times_come_back(times, scale):
    given_ = np.array(times, np.int64)
    back = to_utc(from_utc(given_, mjd=51_910, scale=scale), mjd=51_910, scale=scale)
    assert np.abs(back - given_).max() <= 256


def test_known_time():
    # 2017-01-01T00:00:00 UTC is 37 s behind TAI: MJD 57754.
    assert to_utc([37.0], mjd=57_754, scale="tai").tolist() == [instant("2017-01-01")]
    assert to_utc([69.184], mjd=57_754, scale="tt").tolist() == [instant("2017-01-01")]
    for bad in ([np.nan], [1e300], [np.inf]):
        with pytest.raises(DataError):
            to_utc(bad, mjd=51_910)
    with pytest.raises(DataError, match="scale"):
        to_utc([0.0], mjd=51_910, scale="tcb")


@pytest.fixture(scope="module")
def run(data_dir):
    return fact_runs(data_dir / "gamma" / "fact_dl3")[0]


def test_a_real_run_is_written_and_read_again(run):
    data = write_run(run)
    back = read_run(data)
    assert write_run(run) == data
    assert back.events.drop_columns("time").equals(run.events.drop_columns("time"))
    for a, b in [
        (back.events["time"].cast(pa.int64()).to_numpy(), run.events["time"].cast(pa.int64()).to_numpy()),
        (back.gti, run.gti),
    ]:
        assert np.abs(a - b).max() <= 200
    assert (back.obs_id, back.deadtime, back.header["TELESCOP"]) == (20131103103, run.deadtime, "FACT")


def test_astropy_reads_what_is_written(run, tmp_path):
    fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed")
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
    tables = {t.name: t for t in read_fits(write_run(run))}
    with pytest.raises(DataError, match="GTI"):
        read_run(write_fits([tables["EVENTS"]]))
    with pytest.raises(DataError, match="MJDREFI"):
        header = {k: v for k, v in tables["EVENTS"].header.items() if k != "MJDREFI"}
        read_run(write_fits([FitsTable("EVENTS", tables["EVENTS"].columns, header), tables["GTI"]]))


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


def test_packets_are_valid():
    voeventparse = pytest.importorskip("voeventparse", reason="voevent-parse is not installed")
    (packet,) = voevents(example_alert(), stream="example/gamma")
    voeventparse.assert_valid_as_v2_0(voeventparse.loads(packet))
