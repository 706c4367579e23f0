"""Our Kafka source and sink beside confluent-kafka alone: the same broker, messages and transactions, taking turns.

``arrow`` is many events a message (some 256 KiB), ``json`` one. The bare client reads in blocks of 10,000 messages and
takes every value, without decoding it; it writes values that are encoded already, in transactions as large as our
checkpoints. Ours makes Arrow batches of what it reads, and encodes, stages and commits what it writes.

``through`` is from Kafka to Kafka, exactly once: ours a pipeline of the local engine that decodes every event and
encodes it again, with a checkpoint a second; the bare client hands the values on as they are, with its positions, in a
transaction a second. A longer run less a shorter one, as everywhere (`worker`): what starts and ends a job is not
in the rate.

``write`` has a folder for what waits for its commit, as the engine gives it one beside its checkpoints.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from benchmarks.ours.events import SCHEMA, batches
from benchmarks.ours.events import versions as common
from benchmarks.worker import Figures, Job, main_figures
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

import eventide as ev
from eventide.registry import open_sink, open_source, resolve
from eventide.services.kafka import VERSION, Broker

CHECKPOINT_ROWS = 250_000
JSON_SHARE = 4  # one event a message costs more: fewer of them
READ = 10_000
TIMES = {"arrow": 8, "json": 2}
"""The longer run from Kafka to Kafka reads all values so many times."""


def read_ours(address: str, topic: str, form: str, rows: int) -> float:
    """Seconds to read all events as batches."""
    source = open_source(f"kafka://{address}/{topic}", {"format": form, "schema": SCHEMA, "follow": False})
    started = time.perf_counter()
    reader = source.open({})
    found = 0
    while not reader.finished:
        found += sum(chunk.batch.num_rows for chunk in reader.read(max_rows=65_536, timeout=0.05))
    seconds = time.perf_counter() - started
    reader.close()
    _same(found, rows)
    return seconds


def read_bare(address: str, topic: str, messages: int) -> float:
    """Seconds to read all messages and take their values."""
    started = time.perf_counter()
    consumer = Consumer(_reading(address, "bare"))
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = size = 0
    while found < messages:
        for message in consumer.consume(READ, 0.05):
            if message.error() is None:
                size += len(message.value())
                found += 1
            elif message.error().code() != KafkaError._PARTITION_EOF:
                raise AssertionError(message.error())
    seconds = time.perf_counter() - started
    consumer.close()
    return seconds


def write_ours(address: str, topic: str, form: str, parts: list[pa.RecordBatch]) -> float:
    """Seconds to write all events, with a checkpoint now and then."""
    sink = open_sink(f"kafka://{address}/{topic}", {"format": form, "partitions": 1})
    with tempfile.TemporaryDirectory(prefix="bench-kafka-staged-") as folder:
        sink.beside(Path(folder))
        sink.open(SCHEMA, None)
        started = time.perf_counter()
        waiting = number = 0
        for part in parts:
            sink.write(part)
            waiting += part.num_rows
            if waiting >= CHECKPOINT_ROWS or part is parts[-1]:
                number, waiting = number + 1, 0
                sink.commit(number, sink.prepare(number))
        seconds = time.perf_counter() - started
        sink.close()
    return seconds


def write_bare(address: str, topic: str, values: list[bytes], *, transactions: int) -> float:
    """Seconds to write all values in so many transactions."""
    producer = Producer(_writing(address, f"bare-{topic}"))
    producer.init_transactions(60)
    size = -(-len(values) // transactions)
    started = time.perf_counter()
    for at in range(0, len(values), size):
        producer.begin_transaction()
        for start in range(at, min(at + size, len(values)), READ):
            block = [{"value": v} for v in values[start : min(start + READ, at + size)]]
            if producer.produce_batch(topic, block) != len(block):
                raise AssertionError(block)
            producer.poll(0)
        producer.commit_transaction(60)
    seconds = time.perf_counter() - started
    producer.close()
    return seconds


def through_ours(address: str, topic: str, form: str, rows: int) -> float:
    """Seconds of a pipeline that decodes all events and writes them to another topic."""
    folder = tempfile.mkdtemp(prefix="bench-kafka-checkpoints-")
    out = new_topic(address, f"{topic}-out-{time.monotonic_ns()}", form)
    events = ev.read(f"kafka://{address}/{topic}", format=form, schema=SCHEMA, follow=False)
    try:
        started = time.perf_counter()
        written = events.write(f"kafka://{address}/{out}", format=form)
        done = ev.run(written, checkpoint=folder, checkpoint_interval="1s")
        seconds = time.perf_counter() - started
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _same(done.rows_in, rows)
    return seconds


def through_bare(address: str, topic: str, form: str, messages: int) -> float:
    """Seconds to hand all messages on to another topic."""
    out = new_topic(address, f"{topic}-out-{time.monotonic_ns()}", form)
    started = time.perf_counter()
    consumer = Consumer({**_reading(address, "through"), "fetch.wait.max.ms": 50})
    producer = Producer({**_writing(address, f"bare-{out}")})
    producer.init_transactions(60)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found, begun = 0, 0.0
    while found < messages:
        taken = [m for m in consumer.consume(READ, 0.05) if m.error() is None]
        if not begun:
            producer.begin_transaction()
            begun = time.perf_counter()
        block = [{"value": m.value()} for m in taken]
        while block and (sent := producer.produce_batch(out, block)) < len(block):
            producer.poll(0.05)
            block = block[sent:]
        producer.poll(0)
        found += len(taken)
        if time.perf_counter() - begun > 1 or found >= messages:
            at = [TopicPartition(topic, 0, found)]
            producer.send_offsets_to_transaction(at, consumer.consumer_group_metadata(), 60)
            producer.commit_transaction(60)
            begun = 0.0
    seconds = time.perf_counter() - started
    consumer.close()
    producer.close()
    return seconds


def new_topic(address: str, topic: str, form: str) -> str:
    """Make a topic of one partition."""
    sink = open_sink(f"kafka://{address}/{topic}", {"format": form, "partitions": 1})
    sink.open(SCHEMA, None)
    sink.close()
    return topic


def _reading(address: str, group: str) -> dict[str, Any]:
    settings = {"bootstrap.servers": address, "group.id": group, "enable.auto.commit": False}
    return {**settings, "auto.offset.reset": "earliest", "isolation.level": "read_committed"}


def _writing(address: str, name: str) -> dict[str, Any]:
    settings = {"bootstrap.servers": address, "transactional.id": name, "linger.ms": 5}
    return {**settings, "queue.buffering.max.messages": 2_000_000}


def _same(found: int, wanted: int) -> None:
    if found != wanted:
        msg = f"{found} events were read, {wanted} were written"
        raise AssertionError(msg)


def values_of(form: str, parts: list[pa.RecordBatch], topic: str) -> list[bytes]:
    """The values that our sink writes for some events."""
    sink = open_sink(f"kafka://127.0.0.1:1/{topic}", {"format": form})
    sink._encoder.check(SCHEMA)
    return [value for part in parts for value in sink._encoder.encode(part).column(0).to_pylist()]


def measure_form(address: str, form: str, parts: list[pa.RecordBatch], prefix: str) -> Figures:
    """All figures of one format; ours and the bare client take turns, each on topics of its own."""
    rows = sum(p.num_rows for p in parts)
    values = values_of(form, parts, "values")
    new_topic(address, f"{prefix}-bare", form)
    transactions = -(-rows // CHECKPOINT_ROWS)
    ours = write_ours(address, f"{prefix}-ours", form, parts)
    bare = write_bare(address, f"{prefix}-bare", values, transactions=transactions)
    bare += write_bare(address, f"{prefix}-bare", values, transactions=transactions)
    ours += write_ours(address, f"{prefix}-ours", form, parts)
    read = read_ours(address, f"{prefix}-ours", form, 2 * rows)
    plain = read_bare(address, f"{prefix}-bare", 2 * len(values))
    plain += read_bare(address, f"{prefix}-ours", 2 * len(values))
    read += read_ours(address, f"{prefix}-bare", form, 2 * rows)
    through, copied = through_both(address, form, values, rows, prefix)
    more = (TIMES[form] - 1) * rows
    return {
        f"through_{form}_rate": more / through,
        f"through_{form}_bare_rate": more / copied,
        f"through_{form}_over_bare": copied / through,
        f"write_{form}_rate": 2 * rows / ours,
        f"write_{form}_bare_rate": 2 * rows / bare,
        f"write_{form}_over_bare": bare / ours,
        f"read_{form}_rate": 4 * rows / read,
        f"read_{form}_bare_rate": 4 * rows / plain,
        f"read_{form}_over_bare": plain / read,
    }


def through_both(address: str, form: str, values: list[bytes], rows: int, prefix: str) -> tuple[float, float]:
    """Seconds that all values but the first time take from Kafka to Kafka, ours and the bare client."""
    ours = bare = 0.0
    for times in (1, TIMES[form]):
        topic = new_topic(address, f"{prefix}-{times}-times", form)
        for _ in range(times):
            write_bare(address, topic, values, transactions=1)
        sign = 1 if times > 1 else -1
        ours += sign * through_ours(address, topic, form, times * rows)
        bare += sign * through_bare(address, topic, form, times * len(values))
        bare += sign * through_bare(address, topic, form, times * len(values))
        ours += sign * through_ours(address, topic, form, times * rows)
    return ours / 2, bare / 2


def prepare(job: Job) -> Callable[[], Figures]:
    """Make the batches; a short round warms up. Every measurement has a broker of its own, which it stops."""
    resolve("connector", "kafka")
    parts = list(batches(0, job.rows, keys=job.keys, rows=job.batch))

    def measure(share: int = 1) -> Figures:
        broker = Broker(Path(tempfile.mkdtemp(prefix="bench-kafka-")), heap="1g", bound=True)
        try:
            broker.start()
            some = parts[: len(parts) // share]
            measure_form(broker.address, "json", some[: max(1, len(some) // 20)], "warm")
            figures = measure_form(broker.address, "arrow", some, "arrow")
            figures |= measure_form(broker.address, "json", some[: max(1, len(some) // JSON_SHARE)], "json")
        finally:
            broker.stop(kill=True)
            shutil.rmtree(broker.folder, ignore_errors=True)
        return {"rate": figures["read_arrow_rate"], **figures}

    measure(share=10)
    return measure


def versions() -> dict[str, str]:
    """Those of our side, of the client and of the broker."""
    return {**common(), "confluent-kafka": version("confluent-kafka"), "kafka": VERSION}


if __name__ == "__main__":
    main_figures(prepare, versions=versions, jobs=("kafka",))
