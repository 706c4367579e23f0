"""Formats that take many messages at once give on Kafka what they give one by one; no broker is needed for that."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("confluent_kafka", reason="pip install 'eventide[kafka]'")

import eventide as ev
from eventide.connectors._file_form import Form
from eventide.connectors._kafka_decode import Decoder
from eventide.connectors._kafka_encode import Encoder
from eventide.formats import df12, ev44, f144
from eventide.model.time import EVENT_TIME
from eventide.testing._compare import rows_of, same_rows
from servers.kafka import consume, new_topic, produce

BESIDE = {"key": "k", "timestamp": "arrived", "partition": "p", "offset": "o"}
PULSE = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Sent:
    """A message as the client hands it over."""

    number: int
    body: bytes | None
    name: bytes | None

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 100 + 2 * self.number

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes | None:
        return self.body

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000 + self.number

    def headers(self) -> None:
        return None


def one_by_one(module: Any) -> Any:
    """Return a format without what makes many messages at once."""
    return SimpleNamespace(**{n: getattr(module, n) for n in ("decode", "encode", "infer", "SUFFIXES")})


def events(rng: np.random.Generator, number: int) -> bytes:
    pulses, count = int(rng.integers(1, 4)), int(rng.integers(0, 6))
    first = np.sort(np.append(0, rng.integers(0, count + 1, pulses - 1)))
    pixels = rng.integers(0, 9, count) if number % 3 else None
    times = PULSE + np.arange(pulses)
    return ev44.write(ev44.EventMessage(f"bank{number % 2}", number, times, first, rng.integers(0, 99, count), pixels))


def bodies(seed: int) -> list[bytes | None]:
    rng = np.random.default_rng(seed)
    made: list[bytes | None] = [events(rng, n) for n in range(40)]
    for at in rng.choice(40, 15, replace=False).tolist():
        whole = made[at]
        assert whole is not None
        made[at] = [None, b"", b"no message at all", whole[: len(whole) // 2], f144.write(f144.LogValue("T", 1.0, 1))][
            at % 5
        ]
    return made


def sent(found: list[bytes | None]) -> list[Sent]:
    return [Sent(i, b, b"\xff" if i % 11 == 5 else f"k{i % 4}".encode()) for i, b in enumerate(found)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("beside", [{}, BESIDE])
@pytest.mark.parametrize("empty", [True, False])
def test_events_are_those_of_one_by_one(seed, beside, empty):
    messages = sent(bodies(seed))
    got, expected = (
        Decoder(Form(module, {}, ev44.infer(b"")), beside, skip_empty=empty).decode(messages)
        for module in (ev44, one_by_one(ev44))
    )
    assert got.batch.schema == expected.batch.schema
    assert rows_of(got.batch) == rows_of(expected.batch)
    assert got.bad == expected.bad
    assert got.bad
    assert got.batch.num_rows


def test_messages_of_several_rows_and_of_none():
    """Where rows and messages are equal in number, they need not be the same."""
    two, none = (df12.write(df12.SpectrumMap(np.arange(n), np.arange(n), n)) for n in (2, 0))
    messages = sent([none, two, b"?", two])
    form = Form(df12, {}, df12.infer(b""))
    got = Decoder(form, {"offset": "o"}, skip_empty=False).decode(messages)
    assert got.batch["o"].to_pylist() == [102, 102, 106, 106]
    assert [b.position for b in got.bad] == ["events partition 3 offset 104"]


def test_a_batch_that_is_refused_is_read_one_by_one():
    form = Form(ev44, {}, pa.schema([("time_of_flight", pa.string())]))
    got = Decoder(form, {}, skip_empty=False).decode(sent(bodies(1)))
    assert got.batch.num_rows == 0
    assert len(got.bad) == 40


def rows() -> pa.RecordBatch:
    return pa.record_batch(
        {
            "event_time": pa.array([PULSE, PULSE, PULSE + 1, PULSE + 1, PULSE + 5], EVENT_TIME),
            "time_of_flight": pa.array([1, 2, 3, 4, 5], pa.int32()),
            "pixel_id": pa.array([1, 2, 3, 4, 5], pa.int32()),
            "source": ["b", "b", "b", "a", "a"],
            "message_id": [7, 7, 7, 8, 9],
        }
    )


def encoded(module: Any, batch: pa.RecordBatch, **beside: str) -> list[dict[str, Any]]:
    made = Encoder(module, {}, beside, rows_per_message=0, where="t").encode(batch)
    return made.to_pylist()


def test_the_format_cuts_messages():
    found = [ev44.read(m["value"]) for m in encoded(ev44, rows())]
    assert [(m.source, m.message_id, m.reference_time.size, m.time_of_flight.tolist()) for m in found] == [
        ("b", 7, 2, [1, 2, 3]),
        ("a", 8, 1, [4]),
        ("a", 9, 1, [5]),
    ]
    assert encoded(ev44, rows().slice(0, 0)) == []


def test_keys_go_with_their_messages():
    made = encoded(ev44, rows(), key="source")
    assert sorted((m["key"], ev44.read(m["value"]).message_id) for m in made) == [(b"a", 8), (b"a", 9), (b"b", 7)]


@pytest.mark.parametrize("size", [0, 1])
def test_rows_are_messages(size):
    values = [f144.write(f144.LogValue(f"T{i}", float(i), PULSE + i)) for i in range(5)]
    batch = f144.decode_many(values).batch
    beside = {"key": "source"}
    many, single = (
        Encoder(m, {}, beside, rows_per_message=n, where="t").encode(batch).to_pylist()
        for m, n in ((f144, size), (one_by_one(f144), 1))
    )
    assert sorted(many, key=lambda m: m["key"]) == single


def test_through_a_broker(kafka: Any) -> None:
    messages = bodies(3)
    topic, copy = new_topic(kafka), new_topic(kafka)
    produce(kafka, topic, [{"value": b, "key": f"k{i}".encode()} for i, b in enumerate(messages)])
    options = {"format": "ev44", "schema": ev44.infer(b""), "follow": False, "empty": "skip", "offset": "o"}
    read = ev.read(f"kafka://{kafka.address}/{topic}", **options)
    good = ev44.decode_many([m or b"" for m in messages])
    result = ev.run(read.select(*ev44.infer(b"").names).write(f"kafka://{kafka.address}/{copy}", format="ev44"))
    assert result.rows_out == good.batch.num_rows
    again = ev44.decode_many([m.value() for m in consume(kafka, copy)])
    same_rows(again.batch.drop_columns(["pulse"]), good.batch.drop_columns(["pulse"]), ordered=True)
