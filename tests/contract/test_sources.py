"""Every built-in source passes the suite that ships with eventide."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import sqlite3
import sys

import pyarrow as pa
import pytest

from eventide.connectors import file, generator, log, memory, sqlite, stdio
from eventide.formats import arrow, csv, json, parquet
from eventide.log import Log
from eventide.model.time import EVENT_TIME
from eventide.testing.sources import SourceSuite

ROWS = 300
TABLE = pa.table(
    {
        "t": pa.array([i * 10**9 for i in range(ROWS)], EVENT_TIME),
        "n": pa.array(range(ROWS), pa.int64()),
        "s": pa.array([None if i % 9 == 0 else f"row {i}" for i in range(ROWS)], pa.string()),
    }
)
SCHEMA = TABLE.schema


def pieces(rows: int) -> list[pa.RecordBatch]:
    return TABLE.combine_chunks().to_batches(max_chunksize=rows)


class TestMemory(SourceSuite):
    plugin = "memory"
    partitions = 1

    def make(self, folder):
        return memory.MemorySource(pieces(40), partitions=self.partitions)

    def expected(self):
        return TABLE


class TestMemoryInPartitions(TestMemory):
    partitions = 3


class TestGenerator(SourceSuite):
    plugin = "generator"

    def make(self, folder):
        return generator.source("generator://x", {"rows": 200, "partitions": 3, "disorder": "2s", "seed": 5})


class TestGeneratorAtAPace(SourceSuite):
    plugin = "generator"
    all_there = False

    def make(self, folder):
        return generator.source("generator://x", {"rows": 60, "rate": 1000, "pace": 100, "partitions": 2})


class TestJsonFiles(SourceSuite):
    plugin = "file"

    def make(self, folder):
        for number, batch in enumerate(pieces(70)):
            (folder / f"part-{number}.jsonl").write_bytes(json.encode(batch))
        return file.source(f"file://{folder}/*.jsonl", {"schema": SCHEMA})

    def expected(self):
        return TABLE

    def make_bad(self, folder):
        lines = json.encode(pieces(20)[0]).splitlines()
        lines[3:3] = [b"{", b'{"n": "three"}']
        lines.append(b"\xff\xfe")
        (folder / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        (folder / "b.jsonl").write_bytes(b"<html>\n" + json.encode(pieces(5)[0]))
        return file.source(f"file://{folder}", {"schema": SCHEMA}), 25, 4

    def make_unbounded(self, folder):
        numbers = itertools.count()

        def more():
            with (folder / "a.jsonl").open("ab") as out:
                out.write(json.encode(pieces(17)[next(numbers)]))
            return 17

        return file.source(f"file://{folder}/*.jsonl", {"schema": SCHEMA, "follow": True}), more


class TestCsvFile(SourceSuite):
    plugin = "file"

    def make(self, folder):
        (folder / "a.csv.gz").write_bytes(gzip.compress(csv.encode(TABLE.combine_chunks().to_batches()[0])))
        return file.source(f"file://{folder}/a.csv.gz", {"schema": SCHEMA})

    def expected(self):
        return TABLE

    def make_bad(self, folder):
        lines = csv.encode(pieces(30)[0]).splitlines()
        lines[9] = b"yesterday,1,x"
        lines[20] = b"only one cell"
        (folder / "a.csv").write_bytes(b"\n".join(lines) + b"\n")
        return file.source(f"file://{folder}/a.csv", {"schema": SCHEMA}), 28, 2


class TestParquetFiles(SourceSuite):
    plugin = "file"

    def make(self, folder):
        for number, batch in enumerate(pieces(120)):
            (folder / f"{number}.parquet").write_bytes(parquet.encode(batch))
        return file.source(f"file://{folder}", {"format": "parquet"})

    def expected(self):
        return TABLE

    def make_bad(self, folder):
        for number, batch in enumerate(pieces(120)):
            (folder / f"{number}.parquet").write_bytes(parquet.encode(batch))
        (folder / "1.parquet").write_bytes(b"PAR1 this is no Parquet file PAR1")
        return file.source(f"file://{folder}", {"format": "parquet"}), 180, 1


class TestLog(SourceSuite):
    plugin = "log"
    releases = True

    def make(self, folder):
        if not (folder / "log").exists():
            with Log(folder / "log") as made:
                made.create_topic("t", SCHEMA, event_time="t", partitions=3)
                for number, batch in enumerate(pieces(19)):
                    made.append("t", batch, partition=number % 3)
        return log.source("log://t", {"log": str(folder / "log"), "follow": False})

    def expected(self):
        return TABLE

    def make_unbounded(self, folder):
        with Log(folder / "log") as made:
            made.create_topic("t", SCHEMA, event_time="t")
        numbers = itertools.count()

        def more():
            with Log(folder / "log") as opened:
                opened.append("t", pieces(17)[next(numbers)])
            return 17

        return log.source("log://t", {"log": str(folder / "log"), "follow": True}), more


class TestSqlite(SourceSuite):
    plugin = "sqlite"

    def make(self, folder):
        if not (folder / "in.db").exists():
            self.fill(folder, TABLE)
        columns = {"t": "event_time", "n": "int64", "s": "string"}
        return sqlite.source(f"sqlite://{folder}/in.db", {"table": "t", "columns": columns})

    def fill(self, folder, table):
        out = sqlite.sink(f"sqlite://{folder}/in.db", {"table": "t", "times": "ns"})
        out.open(SCHEMA, None)
        for batch in table.to_batches():
            out.write(batch)
        out.commit(1, out.prepare(1))
        out.close()

    def expected(self):
        return TABLE

    def make_bad(self, folder):
        if not (folder / "in.db").exists():
            self.fill(folder, TABLE.slice(0, 30))
            with contextlib.closing(sqlite3.connect(folder / "in.db")) as connection:
                connection.execute("UPDATE t SET n = 'seven' WHERE n IN (7, 8)")
                connection.commit()
        return self.make(folder), 28, 2


class TestPostgresql(SourceSuite):
    plugin = "postgresql"

    @pytest.fixture(autouse=True)
    def _server(self, postgresql, monkeypatch):
        from servers.postgresql import PASSWORD

        monkeypatch.setenv("SUITE_PASSWORD", PASSWORD)
        self.server = postgresql

    def make(self, folder):
        from eventide.connectors import postgresql

        name = "s" + hashlib.sha256(str(folder).encode()).hexdigest()[:20]
        options = {"table": name, "password": "env:SUITE_PASSWORD"}
        if not self.server.query(f"SELECT 1 FROM pg_tables WHERE tablename = '{name}'"):
            out = postgresql.sink(self.server.uri, {**options, "key": "n"})
            out.open(SCHEMA, None)
            out.write(TABLE.combine_chunks().to_batches()[0])
            out.commit(1, out.prepare(1))
            out.close()
        columns = {"t": "event_time", "n": "int64", "s": "string"}
        return postgresql.source(self.server.uri, {**options, "columns": columns})

    def expected(self):
        return TABLE


class TestStdio(SourceSuite):
    plugin = "stdio"
    gaps = {
        "test_resume_after_any_chunk": "standard input cannot be read again",
        "test_resume_at_the_end": "standard input cannot be read again",
        "test_positions_of_one_partition_leave_the_others": "standard input cannot be read again",
        "test_bad_input_is_reported_once_across_stops": "standard input cannot be read again",
        "test_two_readers": "there is one standard input, and what was read is gone",
    }

    @pytest.fixture(autouse=True)
    def _stdin(self, monkeypatch):
        with contextlib.ExitStack() as files:
            self.put = lambda path: monkeypatch.setattr(sys, "stdin", files.enter_context(path.open("rb")))
            yield

    def make(self, folder):
        (folder / "in").write_bytes(json.encode(TABLE.combine_chunks().to_batches()[0]))
        self.put(folder / "in")
        return stdio.source("stdio://", {"schema": SCHEMA})

    def expected(self):
        return TABLE

    def make_bad(self, folder):
        (folder / "in").write_bytes(b"{\n" + json.encode(pieces(20)[0]) + b"[1]\n")
        self.put(folder / "in")
        return stdio.source("stdio://", {"schema": SCHEMA}), 20, 2


class TestKafka(SourceSuite):
    plugin = "kafka"
    releases = True
    share = 0.03
    partitions = 1
    options = {"format": "json"}

    @pytest.fixture(autouse=True)
    def _broker(self, kafka):
        self.broker = kafka

    def topic(self, folder):
        """A topic for each folder, filled once."""
        from servers.kafka import new_topic, produce

        name = "s" + hashlib.sha256(str(folder).encode()).hexdigest()[:20]
        if not (folder / "filled").exists():
            new_topic(self.broker, self.partitions, name=name)
            produce(self.broker, name, self.messages())
            (folder / "filled").touch()
        return name

    def messages(self):
        lines = json.encode(TABLE.combine_chunks().to_batches()[0]).splitlines()
        return [{"value": line, "partition": n % self.partitions} for n, line in enumerate(lines)]

    def source(self, topic, **options):
        from eventide.connectors import kafka

        base = {"schema": SCHEMA, "group": f"watch-{topic}", **self.options}
        return kafka.source(f"kafka://{self.broker.address}/{topic}", {**base, **options})

    def make(self, folder):
        return self.source(self.topic(folder), follow=False)

    def expected(self):
        return TABLE

    def make_bad(self, folder):
        from servers.kafka import produce

        topic = self.topic(folder)
        if not (folder / "spoilt").exists():
            produce(self.broker, topic, [b"{", {"value": None, "key": b"k"}, b"", b"[1]", b'{"n": "x"}', b"\xff"])
            (folder / "spoilt").touch()
        return self.source(topic, follow=False), ROWS, 6

    def make_unbounded(self, folder):
        from servers.kafka import produce

        topic = self.topic(folder)
        source = self.source(topic, start="latest")
        source.partitions()

        def more():
            produce(self.broker, topic, self.messages()[:40])
            return 40

        return source, more


class TestKafkaInPartitions(TestKafka):
    partitions = 3


class TestKafkaOfArrow(TestKafka):
    """Messages of several events, in transactions, some of which were aborted."""

    overshoot = 40  # how many events a message has is only guessed from those before
    partitions = 2
    options = {"format": "arrow"}

    def messages(self):
        return [{"value": arrow.encode(b), "partition": n % 2} for n, b in enumerate(pieces(20))]

    def topic(self, folder):
        from confluent_kafka import Producer

        from servers.kafka import new_topic

        name = "a" + hashlib.sha256(str(folder).encode()).hexdigest()[:20]
        if not (folder / "filled").exists():
            new_topic(self.broker, self.partitions, name=name)
            producer = Producer({"bootstrap.servers": self.broker.address, "transactional.id": name})
            producer.init_transactions(60)
            for message in self.messages():
                for end in (producer.abort_transaction, producer.commit_transaction):
                    producer.begin_transaction()
                    producer.produce(name, **message)
                    producer.flush(60)
                    end(60)
            producer.close()
            (folder / "filled").touch()
        return name

    def make_unbounded(self, folder):
        source, _ = super().make_unbounded(folder)
        from servers.kafka import produce

        def more():
            produce(self.broker, self.topic(folder), self.messages()[:2])
            return 40

        return source, more
