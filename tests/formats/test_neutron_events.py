"""Events of ev42, ev44 and an44: real messages, any messages, and those that must not be believed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide import registry
from eventide.errors import DataError, SchemaError
from eventide.formats import _events_decode, an44, ev42, ev44
from eventide.formats._flatbuffers_write import Node, message
from eventide.model.time import EVENT_TIME

NOW = 1_700_000_000_000_000_000
MODULES = {"ev42": ev42, "ev44": ev44, "an44": an44}


@pytest.fixture(params=["compiled", "plain"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test of this runs with compiled loops and without."""
    if request.param == "plain":
        monkeypatch.setattr(_events_decode, "have_compiler", lambda: False)
    elif not _events_decode.have_compiler():
        pytest.skip("numba is not in this environment")
    return request.param


def both_ways(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> tuple[Any, Any]:
    one = run()
    with monkeypatch.context() as patch:
        patch.setattr(_events_decode, "have_compiler", lambda: False)
        return one, run()


# -- real messages


@pytest.fixture(scope="module")
def stream(data_dir: Path) -> pa.Table:
    return pq.read_table(data_dir / "neutron/sans2d/sans2d_stream.parquet")


TOPICS = [("SANS2D_events_ev42", ev42), ("SANS2D_events_ev44", ev44), ("SANS2D_events_ev44_10pulses", ev44)]


@pytest.mark.parametrize(("topic", "module"), TOPICS, ids=[t for t, _ in TOPICS])
def test_a_real_run_is_what_it_was(stream: pa.Table, data_dir: Path, topic: str, module: Any, either_way: str) -> None:
    golden = np.load(data_dir / "neutron/sans2d/golden.npz")
    column = stream.filter(pc.equal(stream["topic"], topic))["value"]
    for messages in (column, column.to_pylist(), [memoryview(m) for m in column.to_pylist()]):
        got = module.decode_many(messages, where="run")
        assert got.bad == ()
        assert got.batch.num_rows == 237_078
        got.batch.validate(full=True)
        flights = got.batch["time_of_flight"].to_numpy()
        assert np.array_equal(np.bincount(flights // 1_000_000, minlength=100), golden["tof_100bins_1ms"])
        pixels = got.batch["pixel_id"].to_numpy()
        assert np.array_equal(np.bincount(pixels, minlength=122_889), golden["pixel_counts"])
        assert np.array_equal(got.pulses["events"].to_numpy(), golden["per_pulse"])
        times = got.pulses["event_time"].cast(pa.int64()).to_numpy()
        assert np.array_equal(times, golden["pulse_time_ns"])
        each = got.batch["event_time"].cast(pa.int64()).to_numpy()
        assert np.array_equal(each, np.repeat(golden["pulse_time_ns"], golden["per_pulse"]))
        assert got.messages["message_id"].to_pylist() == list(range(len(column)))
        assert got.batch["source"].unique().to_pylist() == ["SANS2D"]


def test_one_message_at_a_time_is_the_same(stream: pa.Table, either_way: str) -> None:
    column = stream.filter(pc.equal(stream["topic"], "SANS2D_events_ev44_10pulses"))["value"].slice(3, 4)
    many = ev44.decode_many(column).batch
    each = [ev44.decode(m.as_buffer()).batch for m in column]
    assert pa.Table.from_batches(each).combine_chunks().to_batches()[0].equals(many)
    again = ev44.encode_many(many)
    assert ev44.decode_many(again).batch.equals(many)
    assert len(again) == 4


def test_what_isis_adds(stream: pa.Table, either_way: str) -> None:
    column = stream.filter(pc.equal(stream["topic"], "SANS2D_events_ev42"))["value"]
    got = ev42.decode_many(column, schema=pa.schema([("proton_charge", pa.float32()), ("running", pa.bool_())]))
    assert got.batch.num_rows == 237_078
    assert got.messages["period"].to_pylist() == [0] * 300
    assert got.messages["proton_charge"][0].as_py() == pytest.approx(0.0011053680)
    assert got.batch["running"].to_pylist()[:3] == [True] * 3
    first = got.messages["events"][0].as_py()
    assert got.batch["proton_charge"][first] == got.messages["proton_charge"][1]


def test_recorded_messages(data_dir: Path) -> None:
    folder = data_dir / "neutron/messages"
    one = ev42.read((folder / "example_ev42_fb.dat").read_bytes())
    assert (one.message_id, one.reference_time.tolist(), len(one.time_of_flight)) == (300, [1542876129940000057], 794)
    assert one.facility is not None
    assert one.facility.proton_charge == pytest.approx(0.0011053680)
    two = ev44.read((folder / "example_ev44_fb.dat").read_bytes())
    assert (two.source, two.reference_time.tolist()) == ("grace", [1673942576096540000])
    assert two.pixel_id is not None
    assert np.array_equal(two.pixel_id, two.time_of_flight)
    assert (len(two.pixel_id), two.pixel_id.min(), two.pixel_id.max()) == (1577, 83, 306934)


# -- any messages

INT32 = st.integers(-(2**31), 2**31 - 1)
TIMES = st.integers(-(2**63) + 1, 2**63 - 1)


@st.composite
def event_messages(draw: st.DrawFn, name: str) -> ev44.EventMessage:
    counts = draw(st.lists(st.integers(0, 5), min_size=1 if name == "ev42" else 0, max_size=1 if name == "ev42" else 4))
    total = sum(counts)
    numbers = st.integers(0, 2**31 - 1) if name == "ev42" else INT32
    some = st.lists(numbers, min_size=total, max_size=total).map(lambda v: np.array(v, np.int32))
    weights = st.lists(st.integers(-(2**15), 2**15 - 1), min_size=total, max_size=total)
    times = st.integers(0, 2**63 - 1) if name == "ev42" else TIMES
    facility = st.builds(ev42.Facility, st.integers(0, 2**32 - 1), st.booleans(), st.floats(0, 1, width=32))
    return ev44.EventMessage(
        draw(st.text(max_size=4)),
        draw(st.integers(0 if name == "ev42" else -(2**63), 2**63 - 1)),
        np.array(draw(st.lists(times, min_size=len(counts), max_size=len(counts))), np.int64),
        (np.cumsum(counts) - counts).astype(np.int64),
        draw(some),
        draw(st.none() | some) if total else None,
        np.array(draw(weights), np.int16) if name == "an44" and total and draw(st.booleans()) else None,
        draw(st.none() | facility) if name == "ev42" else None,
    )


def same(one: ev44.EventMessage, two: ev44.EventMessage) -> None:
    assert (one.source, one.message_id, one.facility) == (two.source, two.message_id, two.facility)
    for field in ("reference_time", "reference_time_index", "time_of_flight", "pixel_id", "weight"):
        a, b = getattr(one, field), getattr(two, field)
        assert (a is None) == (b is None), field
        assert a is None or np.array_equal(a, b), field


@pytest.mark.parametrize("name", MODULES)
@given(data=st.data())
def test_round_trips(name: str, data: st.DataObject) -> None:
    module = MODULES[name]
    given_ = data.draw(st.lists(event_messages(name), max_size=5))
    wires = [module.write(m) for m in given_]
    for one, wire in zip(given_, wires, strict=True):
        same(module.read(wire), one)
        assert aligned(wire)
    with pytest.MonkeyPatch.context() as patch:
        columns = module.decode_many([]).batch.schema
        if name == "ev42":
            columns = pa.schema([*columns, *_events_decode.FACILITY])
        pad = data.draw(st.binary(max_size=3))  # messages in one stretch of bytes stand anywhere
        arrow = pa.array([pad, *wires], pa.binary()).slice(1)
        got, plain = both_ways(patch, lambda: module.decode_many(arrow, schema=columns))
    for part in ("batch", "messages", "pulses"):
        assert getattr(got, part).equals(getattr(plain, part)), part
    assert got.bad == plain.bad == ()
    expect(got, given_)
    if all(m.time_of_flight.size for m in given_) and len({(m.source, m.message_id) for m in given_}) == len(given_):
        again = module.decode_many(module.encode_many(got.batch), schema=columns)
        assert again.batch.drop_columns(["pulse"]).equals(got.batch.drop_columns(["pulse"]))


def expect(got: Any, messages: list[ev44.EventMessage]) -> None:
    """The events by a loop over messages and events."""
    rows = []
    for m in messages:
        for k, pulse in enumerate(m.pulse_of_event().tolist()):
            pixel = None if m.pixel_id is None else int(m.pixel_id[k])
            rows.append((int(m.reference_time[pulse]), int(m.time_of_flight[k]), pixel, m.source, m.message_id, pulse))
    names = ["event_time", "time_of_flight", "pixel_id", "source", "message_id", "pulse"]
    columns = [got.batch[n].cast(pa.int64()) if n == "event_time" else got.batch[n] for n in names]
    assert list(zip(*(c.to_pylist() for c in columns), strict=True)) == rows
    assert got.messages["events"].to_pylist() == [m.time_of_flight.size for m in messages]
    assert got.messages["pulses"].to_pylist() == [m.reference_time.size for m in messages]
    assert got.pulses["event_time"].cast(pa.int64()).to_pylist() == [
        t for m in messages for t in m.reference_time.tolist()
    ]


def aligned(wire: bytes) -> bool:
    """Whether vectors of a message stand at multiples of the size of their elements, and scalars of 8 bytes too."""
    table = struct.unpack_from("<I", wire)[0]
    vtable = table - struct.unpack_from("<i", wire, table)[0]
    fields = struct.unpack_from(f"<{(struct.unpack_from('<H', wire, vtable)[0] - 4) // 2}H", wire, vtable + 4)
    wide = {b"ev42": {1: 8, 2: 8, 3: 4, 4: 4}}.get(wire[4:8], {1: 8, 2: 8, 3: 4, 4: 4, 5: 4, 6: 2})
    scalars = {1, 2} if wire[4:8] == b"ev42" else {1}
    for slot, size in wide.items():
        if slot >= len(fields) or not fields[slot]:
            continue
        at = table + fields[slot]
        if slot not in scalars:
            at += struct.unpack_from("<I", wire, at)[0] + 4
        if at % size:
            return False
    return table % 4 == 0


# -- columns


def test_columns_are_chosen(either_way: str) -> None:
    wire = ev44.write(ev44.EventMessage("a", 1, np.array([NOW]), np.array([0]), np.array([5]), np.array([7])))
    wide = pa.schema([("pixel_id", pa.int64()), ("source", pa.string())])
    assert ev44.decode(wire, schema=wide).batch.to_pylist() == [{"pixel_id": 7, "source": "a"}]
    with pytest.raises(SchemaError, match="no column 'pixel'"):
        ev44.decode(wire, schema=pa.schema([("pixel", pa.int32())]))
    with pytest.raises(SchemaError, match="int32, not int16"):
        ev44.decode(wire, schema=pa.schema([("pixel_id", pa.int16())]))
    with pytest.raises(SchemaError, match="no column 'weight'"):
        ev44.decode(wire, schema=pa.schema([("weight", pa.int16())]))
    assert ev44.decode(wire).batch.schema.equals(ev44.infer(b""))


def test_nothing(either_way: str) -> None:
    for none in ([], pa.array([], pa.binary()), pa.chunked_array([], pa.binary())):
        got = ev44.decode_many(none)
        assert (got.batch.num_rows, got.messages.num_rows, got.pulses.num_rows, got.bad) == (0, 0, 0, ())
    got = ev44.decode_many(pa.array([None, b""]))
    assert [b.position for b in got.bad] == ["message 0", "message 1"]
    assert ev44.decode_many([None]).bad[0].reason == "0 bytes are no message"
    wire = raw([NOW], [0], [5])
    under = pa.Array.from_buffers(
        pa.binary(),
        2,
        [pa.py_buffer(b"\x02"), pa.py_buffer(np.array([0, 1, 2], np.int32) * len(wire)), pa.py_buffer(wire * 2)],
    )
    got = ev44.decode_many(under)
    assert (got.messages["number"].to_pylist(), len(got.bad)) == ([1], 1)


def test_lost_and_repeated_messages_are_seen(either_way: str) -> None:
    """What numbers a source sent is known also where a message holds no event."""
    none = np.empty(0, np.int32)
    made = [
        ev44.write(ev44.EventMessage(source, number, np.array([NOW]), np.array([0]), none, none))
        for source, number in (("a", 1), ("b", 7), ("a", 2), ("a", 2), ("b", 9))
    ]
    got = ev44.decode_many(made)
    pairs = list(zip(got.messages["source"].to_pylist(), got.messages["message_id"].to_pylist(), strict=True))
    assert pairs == [("a", 1), ("b", 7), ("a", 2), ("a", 2), ("b", 9)]
    assert got.batch.num_rows == 0
    assert got.pulses.num_rows == 5


def test_many_sources(either_way: str) -> None:
    names = [f"source {i % 701}" for i in range(3000)]
    made = [
        ev44.write(ev44.EventMessage(n, i, np.array([NOW]), np.array([0]), np.array([i]))) for i, n in enumerate(names)
    ]
    assert ev44.decode_many(made).batch["source"].to_pylist() == names


def test_memory_is_not_used_again_while_somebody_looks() -> None:
    def one(value: int) -> pa.Array:
        wire = ev44.write(
            ev44.EventMessage("a", 1, np.array([NOW]), np.array([0]), np.full(5000, value), np.full(5000, value))
        )
        return ev44.decode_many([wire, wire]).batch["pixel_id"].slice(17, 9000)

    kept = [one(value) for value in range(30)]
    for value, column in enumerate(kept):
        assert column.unique().to_pylist() == [value]


# -- messages that must not be believed


def raw(times: Any, first: Any, flights: Any, pixels: Any = None, **more: Any) -> bytes:
    """A message of ev44 with whatever is given."""
    kinds = ("<i8", "<i4", "<i4", "<i4")
    arrays = [
        None if v is None else np.array(v, k) for v, k in zip((times, first, flights, pixels), kinds, strict=True)
    ]
    fields = {0: "bank", 1: ("q", 4), 2: arrays[0], 3: arrays[1], 4: arrays[2], 5: arrays[3]}
    return message(more.get("name", "ev44"), Node(fields | more.get("fields", {})))


REFUSED = {
    "first pulse not at 0": (raw([NOW], [1], [5, 6], [1, 2]), "begins at event 1"),
    "index goes back": (raw([1, 2, 3], [0, 2, 1], [5, 6], [1, 2]), "goes backwards"),
    "index beyond": (raw([1, 2], [0, 3], [5, 6], [1, 2]), "begins at event 3 of 2"),
    "index negative": (raw([1, 2], [0, -1], [5, 6], [1, 2]), "begins at event -1 of 2"),
    "fewer indices": (raw([1, 2], [0], [5, 6], [1, 2]), "2 reference times but 1 indices"),
    "more indices": (raw([1], [0, 1], [5, 6], [1, 2]), "1 reference times but 2 indices"),
    "fewer pixels": (raw([NOW], [0], [5, 6], [1]), "2 times of flight but 1 pixel ids"),
    "pixels without flights": (raw([NOW], [0], None, [1]), "0 times of flight but 1 pixel ids"),
    "events without a pulse": (raw([], [], [5, 6], [1, 2]), "2 events but no reference time"),
    "no time": (raw([-(2**63)], [0], [5], [1]), "which is no time"),
    "no reference_time": (raw(None, [0], [5], [1]), "no reference_time"),
    "no index": (raw([NOW], None, [5], [1]), "no reference_time_index"),
    "no source": (raw([NOW], [0], [5], [1], fields={0: None}), "no source_name"),
    "another schema": (raw([NOW], [0], [5], [1], name="hs01"), "schema 'hs01', not 'ev44'"),
    "nothing": (b"", "0 bytes are no message"),
    "short": (b"\x08\0\0\0ev44", "not inside the message"),
    "table behind the end": (b"\xff\xff\xff\x7fev44" + bytes(40), "not inside the message"),
    "table at a negative place": (b"\xff\xff\xff\xffev44" + bytes(40), "not inside the message"),
    "source not UTF-8": (raw([NOW], [0], [5], [1]).replace(b"bank", b"b\xff\xfek"), "not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_a_reason(what: str, either_way: str) -> None:
    data, reason = REFUSED[what]
    good = raw([NOW], [0], [5, 6], [1, 2])
    got = ev44.decode_many([good, data, good], where="topic 0")
    assert got.batch.num_rows == 4
    assert got.messages["number"].to_pylist() == [0, 2]
    assert [(b.data, b.position) for b in got.bad] == [(data, "topic 0: message 1")]
    assert reason in got.bad[0].reason


@pytest.mark.parametrize("place", [4, 6, 8])
def test_a_name_written_over_the_vtable(place: int, either_way: str) -> None:
    """The first writers in Python finished without a name and put it over bytes 4 to 8, where the vtable may begin."""
    table = place + 16
    data = bytearray(struct.pack("<I", table) + bytes(place - 4))
    data += struct.pack("<8H", 16, 32, 4, 24, 8, 12, 16, 20) + struct.pack("<i5Iq", 16, 0, 0, 0, 0, 0, 77)
    parts = [b"bank", struct.pack("<q", NOW), bytes(4), struct.pack("<2i", 5, 6), struct.pack("<2i", 1, 2)]
    for slot, (part, count) in enumerate(zip(parts, (4, 1, 1, 2, 2), strict=True)):
        struct.pack_into("<I", data, table + 4 + 4 * slot, len(data) - table - 4 - 4 * slot)
        data += struct.pack("<I", count) + part
    data[4:8] = b"ev44"
    got = ev44.decode(bytes(data))
    assert got.bad == ()
    assert got.batch["pixel_id"].to_pylist() == [1, 2]
    assert got.batch["message_id"].to_pylist() == [77, 77]


def test_negative_soffset_and_vtables_elsewhere(either_way: str) -> None:
    """A vtable may stand anywhere inside the message, before the table or behind it, and nowhere else."""
    good = bytearray(raw([NOW], [0], [5, 6], [1, 2]))
    table = struct.unpack_from("<I", good)[0]
    vtable = table - struct.unpack_from("<i", good, table)[0]
    size = struct.unpack_from("<H", good, vtable)[0]
    behind = good + good[vtable : vtable + size]
    struct.pack_into("<i", behind, table, table - len(good))
    assert ev44.decode(bytes(behind)).batch.equals(ev44.decode(bytes(good)).batch)
    for back in (table + 1, -len(good), -(2**31), 2**31 - 1, -len(good) + table + 3):
        struct.pack_into("<i", behind, table, back)
        assert ev44.decode(bytes(behind)).bad, back


@pytest.mark.parametrize("length", [3, 0x3FFFFFFF, 0x40000001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_vectors_longer_than_the_message(length: int, either_way: str) -> None:
    good = raw([NOW], [0], [5, 6], [1, 2])
    for place in range(8, len(good) - 4, 4):
        if struct.unpack_from("<I", good, place)[0] == 2:
            ev44.decode(good[:place] + struct.pack("<I", length) + good[place + 4 :]).batch.validate(full=True)
    last = good.rindex(struct.pack("<I", 2), 0, len(good) - 8)
    got = ev44.decode(good[:last] + struct.pack("<I", length) + good[last + 4 :])
    assert got.bad
    assert "reaches beyond" in got.bad[0].reason or "but 3" in got.bad[0].reason


def test_a_buffer_may_be_longer_than_what_is_in_it(either_way: str) -> None:
    """The event formation unit sends its whole buffer, with only the lengths of the vectors set right."""
    full = bytearray(raw([NOW], [0], list(range(100)), list(range(100))))
    for place in range(8, len(full) - 4, 4):
        if struct.unpack_from("<I", full, place)[0] == 100 and place > 60:
            struct.pack_into("<I", full, place, 7)
    got = ev44.decode_many([bytes(full) + bytes(5000), bytes(full)])
    assert got.bad == ()
    assert got.batch["pixel_id"].to_pylist() == list(range(7)) * 2


def test_monitors_beside_detectors(either_way: str) -> None:
    """No vector of pixels, one without elements, and one with: null or not, event by event."""
    made = [raw([NOW], [0], [5, 6]), raw([NOW], [0], [7], [3]), raw([NOW], [0], [8, 9], [])]
    got = ev44.decode_many(made).batch
    assert got["pixel_id"].to_pylist() == [None, None, 3, None, None]
    assert got["pixel_id"].null_count == 4


def test_times_are_not_wrapped(either_way: str) -> None:
    """A pulse time of an unsigned type beyond 2^63 (one is in a real file) is refused, as are ids beyond 2^31."""
    one = np.zeros(1, "<u4")

    def wire(number: int, time: int, flight: int = 0, pixel: int = 0) -> bytes:
        fields = {0: "a", 1: ("Q", number), 2: ("Q", time), 3: one + np.uint32(flight), 4: one + np.uint32(pixel)}
        return message("ev42", Node(fields))

    made = [
        wire(1, 2**63 - 1), wire(1, 15957411269133089792), wire(2**63, 5), wire(2, 5, flight=2**31),
        wire(3, 5, pixel=2**32 - 1), wire(4, 6, 2**31 - 1, 2**31 - 1),
    ]  # fmt: skip
    got = ev42.decode_many(made)
    assert got.messages["number"].to_pylist() == [0, 5]
    assert got.batch["event_time"].cast(pa.int64()).to_pylist() == [2**63 - 1, 6]
    reasons = [b.reason for b in got.bad]
    assert "pulse_time 15957411269133089792 does not fit" in reasons[0]
    assert "message_id 9223372036854775808 does not fit" in reasons[1]
    assert "time_of_flight of 2147483648" in reasons[2]
    assert "pixel_id of 4294967295" in reasons[3]


def test_a_facility_part_that_is_not_there(either_way: str) -> None:
    none = np.empty(0, "<u4")
    base = {0: "a", 1: ("Q", 1), 2: ("Q", NOW), 3: none, 4: none}
    got = ev42.decode_many(
        [
            message("ev42", Node(base | more))
            for more in ({5: ("B", 1)}, {5: ("B", 2), 6: Node({})}, {5: ("B", 1), 6: Node({})})
        ]
    )
    assert "facility part" in got.bad[0].reason
    assert got.messages["period"].to_pylist() == [None, 0]


# -- writing


def test_what_cannot_be_written() -> None:
    one = np.array([1])
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (ev44, ev44.EventMessage("a", 1, one, np.array([0, 1]), one, one), SchemaError, "1 reference times have 2"),
        (ev44, ev44.EventMessage("a", 1, one, one, one, one), SchemaError, "begins at event 1"),
        (ev44, ev44.EventMessage("a", 1, one, one - 1, one, np.array([1, 2])), SchemaError, "1 times of flight but 2"),
        (ev44, ev44.EventMessage("a", 1, one, one - 1, np.array([2**31]), one), DataError, "do not fit int32"),
        (ev44, ev44.EventMessage("a", 2**63, one, one - 1, one, one), DataError, "cannot be written as a number"),
        (ev44, ev44.EventMessage("a", 1, one, one - 1, one, one, one), SchemaError, "no weights"),
        (ev44, ev44.EventMessage("a", 1, one, one - 1, np.array([1.5]), one), SchemaError, "float64"),
        (ev42, ev42.EventMessage("a", 1, np.array([1, 2]), np.array([0, 1]), one, one), SchemaError, "one pulse"),
        (ev42, ev42.EventMessage("a", -1, one, one - 1, one, one), DataError, "cannot be written as a number"),
    ]
    for module, given_, error, text in wrong:
        with pytest.raises(error, match=text):
            module.write(given_)


def test_a_batch_that_is_several_messages() -> None:
    batch = pa.record_batch(
        {
            "event_time": pa.array([1, 1, 2, 5], EVENT_TIME),
            "time_of_flight": [1, 2, 3, 4],
            "pixel_id": pa.array([None, None, 3, 4], pa.int32()),
            "source": ["a", "a", "a", "b"],
            "message_id": [1, 1, 2, 2],
        }
    )
    with pytest.raises(SchemaError, match="4 rows are 3 messages"):
        ev44.encode(batch)
    got = [ev44.read(m.as_buffer()) for m in ev44.encode_many(batch)]
    assert [(m.source, m.message_id, m.pixel_id is None) for m in got] == [
        ("a", 1, True),
        ("a", 2, False),
        ("b", 2, False),
    ]
    mixed = batch.set_column(4, "message_id", pa.array([1, 1, 1, 2]))
    with pytest.raises(SchemaError, match="events with pixel_id and events without"):
        ev44.encode_many(mixed)
    with pytest.raises(SchemaError, match="no column 'time_of_flight'"):
        ev44.encode(batch.select(["event_time"]))
    bare = batch.select(["event_time", "time_of_flight"])
    pulses = [ev42.read(m.as_buffer()) for m in ev42.encode_many(bare, source="x", message_id=7)]
    assert [(m.source, m.message_id, len(m.time_of_flight)) for m in pulses] == [("x", 7, 2), ("x", 8, 1), ("x", 9, 1)]
    assert ev44.read(ev44.encode(bare)).reference_time.tolist() == [1, 2, 5]
    assert ev44.read(ev44.encode(bare.slice(0, 0))).time_of_flight.size == 0


def test_they_are_found_by_name() -> None:
    for name in (*MODULES, "6s4t", "hs00", "da00"):
        module = registry.resolve("format", name)
        assert (f".{name}",) == module.SUFFIXES
        assert name in registry.names("format")


# -- two hundred thousand mutations


def mutations(wire: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Messages with one to three words of 1, 2, 4 or 8 bytes replaced, and some cut."""
    rng = np.random.default_rng(seed)
    words = [struct.pack("<q", v)[:n] for n in (1, 2, 4, 8) for v in (0, 1, 2, 7, 255, 2**15, 2**31 - 1, -1, -4, 2**40)]
    places = rng.integers(0, len(wire), (count, 3))
    chosen = rng.integers(0, len(words), (count, 3))
    many = rng.integers(1, 4, count)
    cut = rng.random(count) < 0.05
    for i in range(count):
        made = bytearray(wire)
        for at, which in zip(places[i, : many[i]].tolist(), chosen[i, : many[i]].tolist(), strict=True):
            word = words[which]
            made[at : at + len(word)] = word
        yield bytes(made[: places[i, 0]] if cut[i] else made[: len(wire)])


@pytest.mark.parametrize(("name", "count"), [("ev44", 200_000), ("ev42", 30_000), ("an44", 30_000)])
def test_mutations_never_lead_out_of_a_message(name: str, count: int) -> None:
    """Between messages stand guards: an event that is one of them was read out of bounds."""
    module = MODULES[name]
    guard = 0x5A5A5A5A
    extra = {"an44": {"weight": np.array([1, 2, 3], np.int16)}}.get(name, {})
    times, first = (np.array([NOW]), np.array([0])) if name == "ev42" else (np.array([NOW, NOW + 1]), np.array([0, 2]))
    facility = ev42.Facility(1, True, 0.5) if name == "ev42" else None
    wire = module.write(
        ev44.EventMessage("bank", 3, times, first, np.array([5, 6, 7]), np.array([1, 2, 3]), facility=facility, **extra)
    )
    fence = struct.pack("<I", guard) * 64
    good = bad = 0
    batch: list[bytes] = []

    def run() -> None:
        nonlocal good, bad
        data = fence + b"".join(m + fence for m in batch)
        ends = np.cumsum([len(fence), *(k for m in batch for k in (len(m), len(fence)))])
        whole = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), 2 * len(batch) + 1, [None, pa.py_buffer(np.append(0, ends)), pa.py_buffer(data)]
        )
        got = module.decode_many(whole.take(pa.array(np.arange(len(batch)) * 2 + 1)))
        direct = module.decode_many(whole)  # here the fences are neighbours in memory
        assert len(direct.bad) == len(got.bad) + len(batch) + 1
        assert direct.batch.equals(got.batch)
        got.batch.validate(full=True)
        for column in ("time_of_flight", "pixel_id"):
            assert not (direct.batch[column].fill_null(0).to_numpy() == guard).any()
        good, bad = good + got.messages.num_rows, bad + len(got.bad)
        if len(batch) and good % 3 == 0:
            for item in got.bad[:20]:
                with pytest.raises(ValueError):
                    module.read(item.data)

    for made in mutations(wire, count, seed=4):
        batch.append(made)
        if len(batch) == 5000:
            run()
            batch.clear()
    run()
    assert good + bad == count
    assert min(good, bad) > count // 20


@pytest.mark.parametrize("name", MODULES)
def test_compiled_and_plain_agree_on_what_is_broken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not _events_decode.have_compiler():
        pytest.skip("numba is not in this environment")
    module = MODULES[name]
    times, first = (np.array([NOW]), np.array([0])) if name == "ev42" else (np.array([NOW, NOW + 1]), np.array([0, 2]))
    facility = ev42.Facility(1, True, 0.5) if name == "ev42" else None
    wire = module.write(
        ev44.EventMessage("b", 3, times, first, np.array([5, 6, 7]), np.array([1, 2, 3]), facility=facility)
    )
    made = list(mutations(wire, 8000, seed=9))
    one, two = both_ways(monkeypatch, lambda: module.decode_many(made))
    for part in ("messages", "batch", "pulses"):
        a, b = getattr(one, part), getattr(two, part)
        assert a.schema.equals(b.schema)
        for i, field in enumerate(a.schema):
            if pa.types.is_floating(field.type):  # NaN is not NaN to Arrow
                assert str(a.column(i).to_pylist()) == str(b.column(i).to_pylist())
            else:
                assert a.column(i).equals(b.column(i)), field.name
    assert one.bad == two.bad
