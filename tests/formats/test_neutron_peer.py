"""What we write is read by ess-streaming-data-types with equal values, and the other way round, for every schema that it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventide import registry
from eventide.errors import SchemaError
from eventide.formats import ad00, an44, da00, ev42, ev44, f142, f144, hs00, hs01, pl72, x5f2

peer = pytest.importorskip("streaming_data_types", reason="ess-streaming-data-types is not in this environment")
area = pytest.importorskip("streaming_data_types.area_detector_ad00")
arrays = pytest.importorskip("streaming_data_types.dataarray_da00")
an44_peer = pytest.importorskip("streaming_data_types.eventdata_an44")

NOW = 1_700_000_000_123_456_789
END = registry.resolve("format", "6s4t")


def events(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 71_000_000, count).astype(np.int32), rng.integers(0, 1_000_000, count).astype(np.int32)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 794, 100_001])
@pytest.mark.parametrize("source", ["", "a", "bank", "größer", "x" * 61])
def test_ev44(count: int, source: str) -> None:
    flights, pixels = events(count)
    times, first = np.array([NOW, NOW + 71_428_571, NOW + 5]), np.array([0, count // 2, count])
    ours = ev44.write(ev44.EventMessage(source, -3, times, first, flights, pixels))
    got = peer.deserialise_ev44(ours)
    assert (got.source_name, got.message_id) == (source, -3)
    for found, given in zip(got[2:], (times, first, flights, pixels), strict=True):
        np.testing.assert_array_equal(found, given)
    theirs = peer.serialise_ev44(source, -3, times, first, flights, pixels)
    again = ev44.read(theirs)
    assert (again.source, again.message_id) == (source, -3)
    np.testing.assert_array_equal(again.reference_time, times)
    np.testing.assert_array_equal(again.reference_time_index, first)
    np.testing.assert_array_equal(again.time_of_flight, flights)
    np.testing.assert_array_equal(again.pixel_id if count else pixels, pixels)
    assert abs(len(ours) - len(theirs)) < 64
    one, two = (ev44.decode(m).batch for m in (ours, theirs))
    assert one.equals(two)
    assert one.num_rows == count


def test_ev44_without_pixels() -> None:
    """The peer gives the number 0 for a vector that is not there; it reads all else of our message."""
    flights, _ = events(9)
    ours = ev44.write(ev44.EventMessage("monitor", 1, np.array([NOW]), np.array([0]), flights, None))
    np.testing.assert_array_equal(peer.deserialise_ev44(ours).time_of_flight, flights)
    for data in (ours, peer.serialise_ev44("monitor", 1, [NOW], [0], flights, [])):
        assert ev44.read(data).pixel_id is None
        assert ev44.decode(data).batch["pixel_id"].null_count == 9


def test_an44() -> None:
    flights, pixels = events(77)
    weights = np.arange(77).astype(np.int16) - 30
    given = ("bank", 8, np.array([NOW]), np.array([0]), flights, pixels, weights)
    got = an44_peer.deserialise_an44(an44.write(an44.EventMessage(*given)))
    again = an44.read(an44_peer.serialise_an44(*given))
    for name in ("reference_time", "reference_time_index", "time_of_flight", "pixel_id", "weight"):
        np.testing.assert_array_equal(getattr(got, name), getattr(again, name))
    assert got.source_name == again.source == "bank"
    assert an44.decode(an44.write(again)).batch["weight"].to_pylist() == weights.tolist()


@pytest.mark.parametrize(
    "facility", [None, ev42.Facility(3, True, 0.0011053680209442973), ev42.Facility(0, False, 0.0)]
)
@pytest.mark.parametrize("count", [0, 1, 794])
def test_ev42(count: int, facility: ev42.Facility | None) -> None:
    flights, pixels = events(count)
    isis = facility and {
        "period_number": facility.period,
        "run_state": int(facility.running),
        "proton_charge": facility.proton_charge,
    }
    ours = ev42.write(
        ev42.EventMessage("SANS2D", 12, np.array([NOW]), np.array([0]), flights, pixels, facility=facility)
    )
    theirs = peer.serialise_ev42("SANS2D", 12, NOW, flights, pixels, isis)
    one, two = peer.deserialise_ev42(ours), peer.deserialise_ev42(theirs)
    assert one[:3] == two[:3]
    assert one.specific_data == two.specific_data
    np.testing.assert_array_equal(one.time_of_flight, two.time_of_flight)
    np.testing.assert_array_equal(one.detector_id, two.detector_id)
    back = ev42.read(theirs)
    assert back.facility == (
        facility and ev42.Facility(facility.period, facility.running, np.float32(facility.proton_charge))
    )
    np.testing.assert_array_equal(back.time_of_flight, flights)
    assert ev42.decode(ours).batch.equals(ev42.decode(theirs).batch)


@pytest.fixture
def old_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer writes f142 with names that numpy 2 no longer has."""
    monkeypatch.setattr(np, "unicode_", np.str_, raising=False)
    monkeypatch.setattr(np, "string_", np.bytes_, raising=False)


NUMBERS = [
    *(np.array(v, k) for k in ("i1", "i2", "i4", "i8") for v in (-3, 0)),
    *(np.array(v, k) for k in ("u1", "u2", "u4", "u8") for v in (200, 0)),
    *(np.array(v, k) for k in ("f4", "f8") for v in (1.5, -0.0, np.inf)),
    *(np.arange(n).astype(k) for k in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8") for n in (0, 1, 5)),
]  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS, ids=lambda v: f"{v.dtype}-{v.shape}-{v.sum()}")
@pytest.mark.usefixtures("old_names")
def test_f144_and_f142(value: np.ndarray) -> None:
    given = value if value.ndim else value[()]
    for module, write, read in (
        (f144, peer.serialise_f144, peer.deserialise_f144),
        (f142, peer.serialise_f142, peer.deserialise_f142),
    ):
        ours = module.write(module.LogValue("T1", given, NOW))
        theirs = write(value=given, source_name="T1", timestamp_unix_ns=NOW)
        got = read(ours)
        assert got.source_name == "T1"
        assert got.timestamp_unix_ns == NOW
        np.testing.assert_array_equal(got.value, value)
        back = module.read(theirs)
        assert (back.source, back.timestamp, back.value.dtype) == ("T1", NOW, value.dtype)
        np.testing.assert_array_equal(back.value, value)
        assert module.decode(ours).batch.equals(module.decode(theirs).batch)


@pytest.mark.parametrize("value", ["", "text ü", ["a", "", "bc"]])
@pytest.mark.usefixtures("old_names")
def test_f142_text(value: Any) -> None:
    ours = f142.write(f142.LogValue("name", value, NOW, status=3, severity=1))
    got = peer.deserialise_f142(ours)
    assert (got.alarm_status, got.alarm_severity) == (3, 1)
    assert np.array_equal(got.value, value)
    for data in (ours, peer.serialise_f142(value, "name", NOW, 3, 1)):
        assert f142.read(data).value == value
    row = f142.decode(ours).batch.select(["text", "texts"]).to_pylist()[0]
    assert (row["text"], row["texts"]) == ((value, None) if isinstance(value, str) else (None, value))


def test_run_start() -> None:
    table = peer.run_start_pl72.DetectorSpectrumMap(np.array([4, 5, 6]), np.array([1, 1, 2]), 2)
    theirs = peer.serialise_pl72(
        job_id="job", filename="f.nxs", start_time=1_700_000_000_000, stop_time=1_700_000_009_000, run_name="7",
        nexus_structure="{}", service_id="s", instrument_name="LOKI", broker="b:9092", metadata="{1}",
        detector_spectrum_map=table, control_topic="c",
    )  # fmt: skip
    one = pl72.read(theirs)
    ours = pl72.write(one)
    a, b = peer.deserialise_pl72(theirs), peer.deserialise_pl72(ours)
    assert a._replace(detector_spectrum_map=None) == b._replace(detector_spectrum_map=None)
    for x, y in zip(a.detector_spectrum_map, b.detector_spectrum_map, strict=True):
        np.testing.assert_array_equal(x, y)
    assert pl72.decode(theirs).batch.equals(pl72.decode(ours).batch)
    assert peer.deserialise_pl72(pl72.encode(pl72.decode(theirs).batch)).start_time == 1_700_000_000_000


def test_run_stop_and_heartbeat() -> None:
    theirs = peer.serialise_6s4t(job_id="j", run_name="7", service_id="s", command_id="c", stop_time=1_700_000_000_000)
    assert peer.deserialise_6s4t(END.write(END.read(theirs))) == peer.deserialise_6s4t(theirs)
    assert peer.deserialise_6s4t(END.encode(END.decode(theirs).batch)) == peer.deserialise_6s4t(theirs)
    theirs = peer.serialise_x5f2("eventide", "1", "id", "host", 4242, 1000, '{"a": 1}')
    assert peer.deserialise_x5f2(x5f2.write(x5f2.read(theirs))) == peer.deserialise_x5f2(theirs)
    assert peer.deserialise_x5f2(x5f2.encode(x5f2.decode(theirs).batch)) == peer.deserialise_x5f2(theirs)


def as_dict(one: hs01.Histogram) -> dict[str, Any]:
    found = {
        "source": one.source,
        "timestamp": one.timestamp,
        "current_shape": list(one.data.shape),
        "dim_metadata": [
            {"length": a.length, "unit": a.unit, "label": a.name, "bin_boundaries": a.edges} for a in one.axes
        ],
        "data": one.data,
        "info": one.info,
        "last_metadata_timestamp": one.metadata_time,
    }
    return found if one.errors is None else found | {"errors": one.errors}


def same_histogram(one: hs01.Histogram, two: hs01.Histogram) -> None:
    for name in ("source", "timestamp", "offset", "info"):
        assert getattr(one, name) == getattr(two, name)
    assert one.data.dtype == two.data.dtype
    np.testing.assert_array_equal(one.data, two.data)
    assert (one.errors is None) == (two.errors is None)
    if one.errors is not None:
        np.testing.assert_array_equal(one.errors, two.errors)
    for a, b in zip(one.axes, two.axes, strict=True):
        assert (a.name, a.unit, a.length) == (b.name, b.unit, b.length)
        assert (a.edges is None) == (b.edges is None)
        if a.edges is not None:
            np.testing.assert_array_equal(a.edges, b.edges)


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4), (1, 1)])
@pytest.mark.parametrize(
    ("name", "kind"),
    [(n, k) for n, kinds in (("hs00", ("u4", "u8", "f4", "f8")), ("hs01", ("i4", "i8", "f4", "f8"))) for k in kinds],
)
def test_histograms(name: str, kind: str, shape: tuple[int, ...], errors: bool) -> None:
    module = {"hs00": hs00, "hs01": hs01}[name]
    write, read = getattr(peer, f"serialise_{name}"), getattr(peer, f"deserialise_{name}")
    data = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    axes = tuple(hs01.Axis(f"axis {i}", "us", np.linspace(0, 1, n + 1)) for i, n in enumerate(shape))
    one = hs01.Histogram(
        data, axes, "bank", NOW, np.sqrt(data.astype("f8")) if errors else None, info="hi", metadata_time=9
    )
    got = read(module.encode_histogram(one))
    theirs = module.read_histogram(write(as_dict(one)))
    same_histogram(theirs, one)
    assert got["current_shape"] == list(shape)
    assert got["data"].dtype == data.dtype
    np.testing.assert_array_equal(got["data"], data)
    np.testing.assert_array_equal(got["errors"], one.errors if errors else [])
    assert [d["label"] for d in got["dim_metadata"]] == [a.name for a in axes]
    for d, a in zip(got["dim_metadata"], axes, strict=True):
        np.testing.assert_array_equal(d["bin_boundaries"], a.edges)
        assert (d["length"], d["unit"]) == (a.length, a.unit)
    assert (got["source"], got["timestamp"], got["info"], got["last_metadata_timestamp"]) == ("bank", NOW, "hi", 9)
    same_histogram(module.read_histogram(module.encode(module.decode(module.encode_histogram(one)).batch)), one)


def test_a_slice_is_read_by_the_peer() -> None:
    axes = (hs01.Axis("y", edges=np.arange(11.0)), hs01.Axis("x", edges=np.arange(5.0)))
    whole = hs01.Histogram(np.arange(40, dtype=np.int32).reshape(10, 4), axes, "bank", NOW)
    parts = [hs01.encode_histogram(part) for part in whole.slices(12)]
    assert len(parts) == 4
    np.testing.assert_array_equal(np.concatenate([peer.deserialise_hs01(p)["data"] for p in parts]), whole.data)
    assert [hs01.read_histogram(p).offset for p in parts] == [(0, 0), (3, 0), (6, 0), (9, 0)]


@pytest.mark.parametrize("module", [hs00, hs01])
def test_dimensions_without_edges(module: Any) -> None:
    axes = (hs01.Axis("spectrum", length=4), hs01.Axis("tof", "us", np.arange(4.0)))
    one = hs01.Histogram(np.arange(12.0).reshape(4, 3), axes, "bank", NOW)
    wire = module.encode_histogram(one)
    got = (peer.deserialise_hs00 if module is hs00 else peer.deserialise_hs01)(wire)
    assert [len(d["bin_boundaries"]) for d in got["dim_metadata"]] == [0, 4]
    np.testing.assert_array_equal(got["data"], one.data)
    same_histogram(module.read_histogram(wire), one)


def test_no_silent_type() -> None:
    """The peer writes unsigned numbers as doubles, which are read as other numbers or not at all; here they are refused."""
    axes = (hs01.Axis("x", edges=np.arange(1001)),)
    one = hs01.Histogram(np.arange(1000, dtype=np.uint32), axes)
    try:
        found = peer.deserialise_hs01(peer.serialise_hs01(as_dict(one)))["data"].tolist()
    except ValueError:  # which of both depends on what stands behind them in the message
        found = []
    assert found != one.data.tolist()
    with pytest.raises(SchemaError, match="uint32 cannot be written as hs01"):
        hs01.encode_histogram(one)


def test_every_schema_that_both_have_is_compared_here() -> None:
    """Of those that are read and written, the peer lacks df12, whose table it has inside pl72."""
    mine = {"ev42", "ev44", "an44", "f142", "f144", "pl72", "6s4t", "df12", "x5f2", "hs00", "hs01", "da00", "ad00"}
    assert mine - set(peer.DESERIALISERS) == mine - set(peer.SERIALISERS) == {"df12"}
    found = {
        n for n in (path.stem for path in Path(ev44.__file__).parent.glob("*.py")) if re.fullmatch("[a-z0-9]{4}", n)
    }
    assert {n for n in found if any(c.isdigit() for c in n)} == mine


KINDS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


@pytest.mark.parametrize("kind", KINDS)
def test_da00(kind: str) -> None:
    data = np.arange(12).reshape(3, 4).astype(kind)
    ours = da00.DataArray(
        "det",
        NOW,
        (
            da00.Variable("signal", data, ("y", "x"), "counts", "the signal", "PV"),
            da00.Variable("x", np.linspace(0, 1, 5), ("x",), unit="m"),
            da00.Variable("title", "größer"),
            da00.Variable("gain", np.array(2.5)),
            da00.Variable("number", np.array(7)),
        ),
    )
    got = peer.deserialise_da00(da00.write(ours))
    assert (got.source_name, got.timestamp_ns) == ("det", NOW)
    theirs = da00.read(
        arrays.serialise_da00("det", NOW, [
            arrays.Variable("signal", data, ["y", "x"], None, "counts", "the signal", "PV"),
            arrays.Variable("x", np.linspace(0, 1, 5), ["x"], unit="m"),
            arrays.Variable("title", "größer"),
            arrays.Variable("gain", 2.5),
            arrays.Variable("number", 7),
        ])
    )  # fmt: skip
    for found in (got.data, theirs.variables):
        for mine, other in zip(ours.variables, found, strict=True):
            assert (mine.name, list(mine.axes), mine.unit, mine.label, mine.source) == (
                other.name, list(other.axes), other.unit, other.label, other.source,
            )  # fmt: skip
            if isinstance(mine.data, str):
                assert mine.data == other.data
            else:
                np.testing.assert_array_equal(mine.data, other.data)
                assert mine.data.dtype == np.asarray(other.data).dtype
    again = da00.read(da00.encode(da00.decode(da00.write(ours)).batch))
    np.testing.assert_array_equal(again.variables[0].data, data)


def test_da00_histogram() -> None:
    axes = (da00.Axis("y", "m", np.arange(4.0)), da00.Axis("x", "us", np.arange(5) * 10))
    one = da00.Histogram(np.arange(12).reshape(3, 4), axes, "det", NOW, np.ones((3, 4)), info="run 7")
    got = {v.name: v for v in peer.deserialise_da00(da00.encode_histogram(one)).data}
    np.testing.assert_array_equal(got["signal"].data, one.data)
    np.testing.assert_array_equal(got["errors"].data, one.errors)
    np.testing.assert_array_equal(got["x"].data, axes[1].edges)
    assert got["x"].unit == "us"
    same_histogram(da00.read_histogram(da00.encode_histogram(one)), one)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 5), (7,), (2, 3, 3)])
def test_ad00(kind: str, shape: tuple[int, ...]) -> None:
    data = (np.arange(np.prod(shape)) % 100).reshape(shape).astype(kind)
    attributes = (
        ad00.Attribute("gain", "of it", "PV", np.array([2.5])),
        ad00.Attribute("name", "of it", "PV", "some ü"),
        ad00.Attribute("row", "of it", "PV", np.arange(3, dtype="u2")),
    )
    ours = ad00.write(ad00.Image("camera", 3, NOW, data, attributes))
    theirs = area.serialise_ad00(
        "camera", 3, NOW, data,
        [area.Attribute("gain", "of it", "PV", 2.5), area.Attribute("name", "of it", "PV", "some ü"), area.Attribute("row", "of it", "PV", np.arange(3, dtype="u2"))],
    )  # fmt: skip
    a, b = area.deserialise_ad00(ours), area.deserialise_ad00(theirs)
    assert a.source_name == b.source_name
    assert (a.unique_id, a.timestamp_ns, a.dimensions, a.attributes) == (
        b.unique_id,
        b.timestamp_ns,
        b.dimensions,
        b.attributes,
    )
    np.testing.assert_array_equal(a.data, b.data)
    np.testing.assert_array_equal(ad00.read(theirs).data, data)
    assert ad00.decode(ours).batch.equals(ad00.decode(theirs).batch)
    np.testing.assert_array_equal(area.deserialise_ad00(ad00.encode(ad00.decode(theirs).batch)).data, data)
