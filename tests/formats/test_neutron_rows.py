"""The formats of which a message is a row: any values, both dialects of hs00, and bytes that must not be believed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide import registry
from eventide.errors import DataError, SchemaError, UsageError
from eventide.formats import ad00, da00, df12, f142, f144, hs00, hs01, pl72, x5f2
from eventide.formats._arrays import array_of
from eventide.formats._flatbuffers import BrokenMessageError
from eventide.formats._flatbuffers_write import Node, message
from eventide.kernel.recycled import Recycled
from eventide.model.time import EVENT_TIME
from eventide.testing._hostile import corpus, lying_lengths, survives
from fuzz.neutron_samples import samples

NOW = 1_700_000_000_123_456_789
END = registry.resolve("format", "6s4t")
KINDS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
TEXT = st.text(max_size=5)
TIME = st.integers(-(2**63) + 1, 2**63 - 1)


@st.composite
def numbers(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, *, shape: tuple[int, ...] | None = None) -> np.ndarray:
    kind = np.dtype(draw(st.sampled_from(kinds)))
    if shape is None:
        shape = draw(st.sampled_from([(), (0,), (1,), (5,)]))
    if kind.kind == "f":
        values: Any = st.floats(width=kind.itemsize * 8, allow_nan=False)
    else:  # what a float64 holds: others are asked for by type
        limits = np.iinfo(kind)
        values = st.integers(max(limits.min, -(2**53)), min(limits.max, 2**53))
    count = int(np.prod(shape, dtype=int))
    return np.array(draw(st.lists(values, min_size=count, max_size=count)), kind).reshape(shape)


# -- values


@given(numbers(), TEXT, TIME)
def test_values(value: np.ndarray, source: str, time: int) -> None:
    one = f144.LogValue(source, value if value.ndim else value[()], time)
    for data in (f144.write(one), f144.encode(f144.decode(f144.write(one)).batch)):
        got = f144.read(data)
        assert (got.source, got.timestamp, np.asarray(got.value).dtype) == (source, time, value.dtype)
        np.testing.assert_array_equal(got.value, value)


@given(
    numbers() | TEXT | st.lists(TEXT, min_size=1, max_size=3), TEXT, st.integers(0, 2**63 - 1), st.integers(0, 65535)
)
def test_values_with_alarms(value: Any, source: str, time: int, alarm: int) -> None:
    given_ = value[()] if isinstance(value, np.ndarray) and not value.ndim else value
    one = f142.LogValue(source, given_, time, alarm, alarm // 3)
    for data in (f142.write(one), f142.encode(f142.decode(f142.write(one)).batch)):
        got = f142.read(data)
        assert (got.source, got.timestamp, got.status, got.severity) == (source, time, alarm, alarm // 3)
        assert type(got.value) is type(given_)
        assert np.array_equal(got.value, value)


def test_values_of_many_types_in_one_topic() -> None:
    given_ = [np.int8(3), np.float32(0.5), np.arange(3), np.uint64(2**53), np.int64(2**53 + 1), np.float64(np.nan)]
    made = [f144.write(f144.LogValue("a", v, i)) for i, v in enumerate(given_)]
    got = f144.decode_many(made, where="topic")
    assert str(got.batch["value"].to_pylist()) == "[3.0, 0.5, None, 9007199254740992.0, nan]"
    assert got.batch["type"].to_pylist() == ["int8", "float32", "int64[]", "uint64", "float64"]
    assert got.batch["values"].to_pylist()[2] == [0, 1, 2]
    assert [b.position for b in got.bad] == ["topic: message 4"]
    assert "does not fit double" in got.bad[0].reason
    whole = f144.decode_many(made, schema=pa.schema([("event_time", EVENT_TIME), ("value", pa.int64())]))
    assert whole.batch["value"].to_pylist() == [3, None, 2**53, 2**53 + 1]
    assert len(whole.bad) == 2
    for none in (pa.array([None], pa.binary()), pa.chunked_array([[None]], pa.large_binary()), [None]):
        assert f144.decode_many(none).bad[0].reason == "0 bytes are no message"
    with pytest.raises(SchemaError, match="no column 'valu'"):
        f144.decode(made[0], schema=pa.schema([("valu", pa.int64())]))
    with pytest.raises(SchemaError, match="cannot be read as string"):
        f144.decode(made[0], schema=pa.schema([("value", pa.string())]))


def test_real_values(data_dir: Path) -> None:
    table = pq.read_table(data_dir / "neutron/sans2d/sans2d_stream.parquet")
    logs = f144.decode_many(table.filter(pc.equal(table["topic"], "SANS2D_sampleEnv"))["value"])
    assert (logs.batch.num_rows, logs.bad) == (26, ())
    assert "Guide_Pressure" in logs.batch["source"].to_pylist()
    runs = table.filter(pc.equal(table["topic"], "SANS2D_runInfo"))["value"]
    first, last = pl72.decode_many(runs), END.decode_many(runs)
    assert (first.batch.num_rows, last.batch.num_rows) == (1, 1)
    assert [b.reason for b in first.bad] == ["the message is of the schema '6s4t', not 'pl72'"]
    one = hs00.read_histogram((data_dir / "neutron/messages/example_hs00_fb.dat").read_bytes())
    assert (one.data.shape, one.axes[0].length, one.info, one.timestamp) == ((50,), 50, "hello", 987654321)
    assert one.axes[0].edges is not None
    assert np.array_equal(one.axes[0].edges, np.arange(51) * 2e6)


# -- runs


@given(
    st.lists(TEXT, min_size=9, max_size=9), st.integers(0, 2**40), st.integers(0, 2**40), st.none() | st.integers(0, 5)
)
def test_runs(texts: list[str], start: int, stop: int, spectra: int | None) -> None:
    names = ("run_name", "instrument_name", "nexus_structure", "job_id", "broker", "service_id", "filename", "metadata", "control_topic")  # fmt: skip
    given_: dict[str, Any] = dict(zip(names, texts, strict=True))
    table = None if spectra is None else pl72.SpectrumMap(np.arange(spectra), np.arange(spectra) * 3, spectra)
    one = pl72.RunStart(start_time=start, stop_time=stop, n_periods=3, detector_spectrum_map=table, **given_)
    for data in (pl72.write(one), pl72.encode(pl72.decode(pl72.write(one)).batch)):
        got = pl72.read(data)
        assert all(getattr(got, n) == v for n, v in given_.items())
        assert (got.start_time, got.stop_time, got.n_periods) == (start, stop, 3)
        assert (got.detector_spectrum_map is None) == (table is None)
        if table is not None and got.detector_spectrum_map is not None:
            assert np.array_equal(got.detector_spectrum_map.detector_id, table.detector_id)
    end = END.RunStop(stop_time=stop, run_name=texts[0], job_id=texts[1], service_id=texts[2], command_id=texts[3])
    assert END.read(END.write(end)) == end
    assert END.read(END.encode(END.decode(END.write(end)).batch)) == end


def test_times_of_runs() -> None:
    row = pl72.decode(pl72.write(pl72.RunStart(start_time=1_700_000_000_001))).batch
    assert row["event_time"].cast(pa.int64()).to_pylist() == [1_700_000_000_001_000_000]
    assert row["stop_time"].to_pylist() == [None]
    assert END.decode(END.write(END.RunStop())).batch["event_time"].to_pylist() == [None]
    late = END.decode(END.write(END.RunStop(stop_time=2**60)))
    assert "is no time between 1677 and 2262" in late.bad[0].reason
    between = pa.record_batch({"event_time": pa.array([1_500_000], EVENT_TIME)})
    with pytest.raises(DataError, match="not a whole number of ms"):
        END.encode(between)


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**31 - 1)), max_size=6))
def test_maps(pairs: list[tuple[int, int]]) -> None:
    spectrum, detector = np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.int32)
    one = df12.SpectrumMap(spectrum, detector, 17)
    got = df12.read(df12.write(one))
    assert np.array_equal(got.spectrum, spectrum)
    assert np.array_equal(got.detector_id, detector)
    batch = df12.decode(df12.write(one)).batch
    assert batch.num_rows == len(pairs)
    assert df12.decode(df12.encode(batch)).batch.equals(batch)


def test_maps_that_are_none() -> None:
    data = message("df12", Node({0: np.arange(3, dtype="<i4"), 1: np.arange(2, dtype="<i4"), 2: ("i", 1)}))
    assert "maps 2 detectors to 3 spectra" in df12.decode(data).bad[0].reason
    with pytest.raises(SchemaError, match="one number for the whole map"):
        df12.encode(pa.record_batch({"spectrum": [1, 2], "detector_id": [3, 4], "n_spectra": [5, 6]}))
    with pytest.raises(DataError, match="do not fit an int32"):
        df12.encode(pa.record_batch({"spectrum": [1, 2], "detector_id": [3, 2**31]}))


@given(st.lists(TEXT, min_size=5, max_size=5), st.integers(0, 2**32 - 1))
def test_heartbeats(texts: list[str], number: int) -> None:
    names = ("software_name", "software_version", "service_id", "host_name", "status_json")
    one = x5f2.Heartbeat(process_id=number, update_interval=number, **dict(zip(names, texts, strict=True)))  # type: ignore[arg-type]
    assert x5f2.read(x5f2.write(one)) == one
    assert x5f2.read(x5f2.encode(x5f2.decode(x5f2.write(one)).batch)) == one
    with pytest.raises(DataError, match="cannot be written as a number"):
        x5f2.write(x5f2.Heartbeat(process_id=2**32))


# -- histograms


@st.composite
def histograms(draw: st.DrawFn, kinds: tuple[str, ...], *, whole: bool = False) -> hs01.Histogram:
    shape = tuple(draw(st.lists(st.integers(0 if not whole else 1, 3), min_size=0 if not whole else 1, max_size=3)))
    offset = tuple(draw(st.integers(0, 4)) for _ in shape) if not whole and draw(st.booleans()) else ()
    axes = []
    for i, n in enumerate(shape):
        length = n + (offset[i] if offset else 0) + (0 if whole else draw(st.integers(0, 2)))
        edges = draw(st.sampled_from(["none", "<f8", "<f4"] if whole or draw(st.booleans()) else ["none"]))
        axes.append(
            hs01.Axis(f"axis {i}", draw(TEXT), None if edges == "none" else np.arange(length + 1).astype(edges), length)
        )
    return hs01.Histogram(
        draw(numbers(kinds, shape=shape)), tuple(axes), draw(TEXT), draw(st.integers(0, 2**63 - 1)),
        draw(st.none() | numbers(("float64",), shape=shape)), offset, draw(TEXT),
    )  # fmt: skip


def same(one: hs01.Histogram, two: hs01.Histogram) -> None:
    for name in ("source", "timestamp", "offset", "info"):
        assert getattr(one, name) == getattr(two, name)
    assert one.data.dtype == two.data.dtype
    np.testing.assert_array_equal(one.data, two.data)
    np.testing.assert_array_equal(one.errors, two.errors)  # type: ignore[arg-type]
    for a, b in zip(one.axes, two.axes, strict=True):
        assert (a.name, a.unit, a.length) == (b.name, b.unit, b.length)
        assert (a.edges is None) == (b.edges is None)
        assert a.edges is None or b.edges is None or np.array_equal(a.edges, b.edges)


@given(histograms(("uint32", "uint64", "float32", "float64")), histograms(("int32", "int64", "float32", "float64")))
def test_histograms(unsigned: hs01.Histogram, signed: hs01.Histogram) -> None:
    for module, one in ((hs00, unsigned), (hs01, signed)):
        data = module.encode_histogram(one)
        same(module.read_histogram(data), one)
        same(module.read_histogram(module.encode(module.decode(data).batch)), one)


@given(histograms(KINDS, whole=True))
def test_histograms_as_arrays(one: da00.Histogram) -> None:
    got = da00.read_histogram(da00.encode_histogram(one))
    assert [(a.name, a.unit) for a in got.axes if a.edges is not None] == [
        (a.name, a.unit) for a in one.axes if a.edges is not None
    ]
    bare = [hs01.Axis(a.name, "" if a.edges is None else a.unit, a.edges, a.length) for a in one.axes]
    same(got, da00.Histogram(one.data, tuple(bare), one.source, one.timestamp, one.errors, (), one.info))


def test_arrays_are_views_of_the_message() -> None:
    axes = (hs01.Axis("x", edges=np.arange(1001.0)),)
    data = np.arange(1000)
    for module in (hs01, da00):
        wire = module.encode_histogram(hs01.Histogram(data, axes))
        got = module.read_histogram(wire).data
        assert got.flags.aligned
        assert not got.flags.owndata
        assert np.shares_memory(got, np.frombuffer(wire, np.uint8))


@given(histograms(("i4", "i8", "f8", "f4"), whole=True), st.integers(0, 3000))
def test_histograms_in_memory_that_is_used_again(one: hs01.Histogram, more: int) -> None:
    """The bytes of a new message, none of which changes while it is held."""
    memory = Recycled()
    large = hs01.Histogram(np.arange(more), (hs01.Axis("x", length=more),), "large")
    for module in (hs01, da00):
        held = [(module.encode_histogram_in(memory, h), module.encode_histogram(h)) for h in (large, one, large)]
        where = [np.frombuffer(view, np.uint8).ctypes.data for view, _ in held]
        assert len(set(where)) == 3
        assert all(view.readonly and view == wire for view, wire in held)
        del held
        assert bytes(module.encode_histogram_in(memory, large)) == module.encode_histogram(large)
    data = one.data.astype(np.float64)
    bare = hs00.Histogram(data, tuple(hs00.Axis(f"a{i}", length=n) for i, n in enumerate(data.shape)))
    assert hs00.encode_histogram_in(memory, bare) == hs00.encode_histogram(bare)


def test_slices_make_the_whole() -> None:
    rng = np.random.default_rng(1)
    data = rng.integers(0, 100, (11, 3, 2)).astype(np.int32)
    axes = tuple(hs01.Axis(n, edges=np.arange(k + 1.0)) for n, k in zip("zyx", data.shape, strict=True))
    whole = hs01.Histogram(data, axes, "bank", NOW, np.sqrt(data))
    for most in (1, 6, 7, 12, 65, 66, 10_000):
        found, errors = np.full(data.shape, -1), np.zeros(data.shape)
        for part in whole.slices(most):
            got = hs01.read_histogram(hs01.encode_histogram(part))
            at = tuple(slice(o, o + n) for o, n in zip(got.offset or (0, 0, 0), got.data.shape, strict=True))
            assert (found[at] == -1).all()
            assert got.data.size <= max(most, 6)
            found[at], errors[at] = got.data, got.errors
        assert np.array_equal(found, data)
        assert np.array_equal(errors, np.sqrt(data))


def read_as_mantid(data: bytes) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Mantid's rule for hs00 in our words: doubles; bins are one less than the first number of the shape, spectra the
    second; the edges are those of the first dimension, which and whose second must be there with their units; spectrum
    i has the counts from i * bins on."""
    from eventide.formats._flatbuffers import root

    table = root(data, "hs00")
    shape = table.vector(4, "<u4")
    first, second = table.tables(2)
    assert table.number(6, "B") == 3
    assert first.number(3, "B") == 3
    part, edges = table.table(7), first.table(4)
    assert part is not None
    assert edges is not None
    assert shape is not None
    counts, bounds = part.vector(0, "<f8"), edges.vector(0, "<f8")
    assert counts is not None
    assert bounds is not None
    bins, spectra = int(shape[0]) - 1, int(shape[1])
    assert bounds.size == bins + 1
    rows = [counts[i * bins : (i + 1) * bins] for i in range(spectra)]
    unit, y_unit = first.text(1), second.text(1)
    assert unit is not None
    assert y_unit is not None
    return np.array(rows), bounds, unit, y_unit


def test_the_dialect_of_mantid() -> None:
    axes = (hs00.Axis("spectrum", "Counts", None, 5), hs00.Axis("tof", "TOF", np.linspace(0, 1e5, 11)))
    one = hs00.Histogram(np.arange(50.0).reshape(5, 10), axes, "Mantid", NOW)
    wire = hs00.encode_histogram(one, dialect="mantid")
    rows, bounds, unit, y_unit = read_as_mantid(wire)
    assert np.array_equal(rows, one.data)
    assert np.array_equal(bounds, axes[1].edges)  # type: ignore[arg-type]
    assert (unit, y_unit) == ("TOF", "Counts")
    for dialect in (None, "mantid"):
        same(hs00.read_histogram(wire, dialect=dialect), one)
    with pytest.raises(BrokenMessageError, match="50 numbers for a histogram of the shape"):
        hs00.read_histogram(wire, dialect="ess")
    with pytest.raises(BrokenMessageError, match="not the dialect of Mantid"):
        hs00.read_histogram(hs00.encode_histogram(one), dialect="mantid")
    same(hs00.read_histogram(hs00.encode(hs00.decode(wire).batch, dialect="mantid"), dialect="mantid"), one)
    with pytest.raises(UsageError, match="no dialect 'mantis'"):
        hs00.decode(wire, dialect="mantis")
    for wrong in (
        hs00.Histogram(one.data.astype("f4"), axes),
        hs00.Histogram(one.data, axes, errors=one.data),
        hs00.Histogram(one.data[0], axes[1:]),
    ):
        with pytest.raises(SchemaError, match="dialect of Mantid"):
            hs00.encode_histogram(wrong, dialect="mantid")


def test_histograms_that_cannot_be_written() -> None:
    axis = hs01.Axis("x", edges=np.arange(4.0))
    three = np.arange(3)
    wrong: list[tuple[Any, hs01.Histogram, str]] = [
        (hs01, hs01.Histogram(three, ()), "1 dimensions has 0 axes"),
        (hs01, hs01.Histogram(three, (axis,), errors=np.arange(4)), "errors are of the shape"),
        (hs01, hs01.Histogram(three, (axis,), offset=(1,)), "3 bins from 1 on are not inside the 3"),
        (hs01, hs01.Histogram(three, (axis,), offset=(0, 0)), "2 numbers for 1 dimensions"),
        (hs01, hs01.Histogram(three, (hs01.Axis("x", edges=np.arange(3), length=3),)), "3 edges for 3 bins"),
        (hs01, hs01.Histogram(three.astype("u4"), (axis,)), "uint32 cannot be written as hs01"),
        (hs01, hs01.Histogram(three > 1, (axis,)), "bool cannot be written as hs01"),
        (hs00, hs00.Histogram(three, (axis,)), "int64 cannot be written as hs00"),
        (hs01, hs01.Histogram(three, (axis,), errors=three.astype("u8")), "errors of the type uint64"),
        (da00, da00.Histogram(three[:2], (axis,), offset=(1,)), "part of a larger one"),
        (da00, da00.Histogram(three, (da00.Axis("", edges=np.arange(4)),)), "not all different"),
    ]
    for module, one, text in wrong:
        with pytest.raises(SchemaError, match=text):
            module.encode_histogram(one)
    with pytest.raises(SchemaError, match="2 rows are not one message"):
        hs01.encode(hs01.decode_many([hs01.encode_histogram(hs01.Histogram(three, (axis,)))] * 2).batch)
    with pytest.raises(SchemaError, match="no place for the column"):
        hs01.encode(pa.record_batch({"x": [1]}))


def test_types_of_counts_are_asked_for() -> None:
    axis = hs01.Axis("x", edges=np.arange(4.0))
    wire = hs01.encode_histogram(hs01.Histogram(np.array([1, 2**60 + 1, 3]), (axis,), "a", NOW))
    assert "does not fit double" in hs01.decode(wire).bad[0].reason
    whole = pa.schema([("data", pa.large_list(pa.int64()))])
    assert hs01.decode(wire, schema=whole).batch["data"].to_pylist() == [[1, 2**60 + 1, 3]]
    small = hs01.decode(wire, schema=pa.schema([("data", pa.list_(pa.int32()))]))
    assert "does not fit int32" in small.bad[0].reason


# -- arrays and images


@given(
    st.lists(st.tuples(TEXT, numbers() | TEXT, st.none() | TEXT), min_size=1, max_size=4),
    TEXT,
    st.integers(0, 2**63 - 1),
)
def test_arrays(parts: list[tuple[str, Any, str | None]], source: str, time: int) -> None:
    variables = tuple(da00.Variable(n, v, () if isinstance(v, str) else tuple("x" * v.ndim), u) for n, v, u in parts)
    one = da00.DataArray(source, time, variables)
    for data in (da00.write(one), da00.encode(da00.decode(da00.write(one)).batch)):
        got = da00.read(data)
        assert (got.source, got.timestamp) == (source, time)
        for a, b in zip(got.variables, variables, strict=True):
            assert (a.name, a.unit, a.axes) == (b.name, b.unit, b.axes)
            assert np.array_equal(a.data, b.data)
            assert isinstance(b.data, str) or np.asarray(a.data).dtype == b.data.dtype


@given(numbers(shape=(2, 3)), st.lists(st.tuples(TEXT, numbers(shape=(2,)) | TEXT), max_size=3), TEXT, TIME)
def test_images(pixels: np.ndarray, parts: list[tuple[str, Any]], source: str, time: int) -> None:
    attributes = tuple(ad00.Attribute(n, "d", "s", v) for n, v in parts)
    one = ad00.Image(source, -5, time, pixels, attributes)
    for data in (ad00.write(one), ad00.encode(ad00.decode(ad00.write(one)).batch)):
        got = ad00.read(data)
        assert (got.source, got.number, got.timestamp) == (source, -5, time)
        assert np.asarray(got.data).dtype == pixels.dtype
        assert np.array_equal(got.data, pixels)
        for a, b in zip(got.attributes, attributes, strict=True):
            assert (a.name, type(a.data)) == (b.name, type(b.data))
            assert np.array_equal(a.data, b.data)


# -- in a pipeline


@pytest.mark.parametrize("name", ["ev44", "f144", "hs01", "6s4t"])
def test_files_with_a_message_each(name: str, tmp_path: Path) -> None:
    for number, data in enumerate([*samples()[name], b"broken"]):
        (tmp_path / f"{number}.{name}").write_bytes(data)
    sink = ev.read(f"file://{tmp_path}/*.{name}", name="read").write("memory://found")
    result = ev.run(sink)
    want = registry.resolve("format", name).decode_many(samples()[name]).batch.num_rows
    assert (result.rows_in, result.rows_out, result.quarantined) == (want, want, 1)


# -- bytes that must not be believed


SAMPLES = {name: found[0] for name, found in samples().items() if name not in ("ev42", "ev44", "an44")}


@pytest.mark.parametrize("name", SAMPLES)
def test_broken_messages(name: str) -> None:
    """Cut, changed, with lengths that lie, or of another schema: a row or a reason, and nothing else is raised."""
    module, good = registry.resolve("format", name), SAMPLES[name]
    assert module.decode(good).bad == ()
    for data in (*corpus().values(), *(good[:n] for n in range(len(good))), *lying_lengths(good)):
        assert survives(module, data) == ""
    rng = np.random.default_rng(5)
    for _ in range(3000):
        made = bytearray(good)
        for at in rng.integers(0, len(made), rng.integers(1, 5)).tolist():
            word = struct.pack("<q", int(rng.choice([0, 1, 255, 2**31 - 1, -1, -8, 2**62])))[
                : int(rng.choice([1, 2, 4, 8]))
            ]
            made[at : at + len(word)] = word
        assert survives(module, bytes(made)) == ""
    for other, data in SAMPLES.items():
        if other != name:
            assert f"of the schema '{other}', not '{name}'" in module.decode(data).bad[0].reason


def test_shapes_that_lie() -> None:
    value = Node({0: np.arange(4, dtype="<i4")})

    def wire(shape: list[int], *, kind: int = 1, axes: int | None = None, held: Node = value) -> bytes:
        dims = [Node({0: ("i", 2)}) for _ in range(len(shape) if axes is None else axes)]
        return message("hs01", Node({2: dims, 4: np.array(shape, "<i4"), 6: ("B", kind), 7: held}))

    assert hs01.read_histogram(wire([2, 2])).data.tolist() == [[0, 1], [2, 3]]
    for data, reason in (
        (wire([2, 3]), "4 numbers for a histogram of the shape"),
        (wire([-2, -2]), "4 numbers for a histogram of the shape"),
        (wire([2**31 - 1] * 9), "4 numbers for a histogram"),
        (wire([1] * 40), "40 dimensions, more than 32"),
        (wire([2, 2], axes=1), "2 dimensions has 1 axes"),
        (wire([2, 2], kind=9), "of the type 9"),
        (wire([2, 2], kind=0), "it has no data"),
        (wire([2, 2], kind=2), ""),
        (wire([0] + [2**31 - 1] * 9, held=Node({0: np.empty(0, "<i4")})), "which no array can have"),
    ):
        (bad,) = hs01.decode(data).bad
        assert reason in bad.reason
    none = np.empty(0, np.uint8)
    for shape in ([0, 2**62, 2**62], [2**40, 0, 2**40]):
        with pytest.raises(BrokenMessageError, match="which no array can have"):
            array_of(none, 0, shape, what="it")
    assert array_of(none, 0, [3, 0], what="it").shape == (3, 0)


def test_the_same_bytes_named_ten_thousand_times() -> None:
    """Ten thousand offsets to one large text would cost a thousand times the message."""
    big = "x" * 100_000
    good = bytearray(
        da00.write(da00.DataArray("a", 1, tuple(da00.Variable(big if not i else "", "") for i in range(10_000))))
    )
    table = struct.unpack_from("<I", good)[0]
    vtable = table - struct.unpack_from("<i", good, table)[0]
    at = table + struct.unpack_from("<H", good, vtable + 4 + 2 * 2)[0]
    vector = at + struct.unpack_from("<I", good, at)[0]
    first = vector + 4 + struct.unpack_from("<I", good, vector + 4)[0]
    for place in range(vector + 4, vector + 4 + 40_000, 4):
        struct.pack_into("<I", good, place, first - place)
    (bad,) = da00.decode(bytes(good)).bad
    assert "again and again" in bad.reason
