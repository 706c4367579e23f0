"""Every built-in sink passes the suite that ships with eventide."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sqlite3
import sys

import pyarrow as pa
import pyarrow.compute
import pytest

from eventide.connectors import file, log, memory, sqlite, stdio
from eventide.errors import UnknownNameError
from eventide.formats import csv, json, parquet
from eventide.log import Log
from eventide.model.batch import empty
from eventide.testing.sinks import SinkSuite
from eventide.testing.strategies import SCALARS, TYPES

TEXT = tuple(SCALARS)
NESTED = tuple(t for t in TYPES if t != "dictionary")


class TestMemory(SinkSuite):
    plugin = "memory"
    delivery = "exactly_once"
    publishes = hasattr(memory.MemorySink, "publish")
    types = tuple(TYPES)

    def make(self, folder):
        return memory.sink(f"memory://{folder}", {})

    def read(self, folder, schema):
        return memory.sink(f"memory://{folder}", {}).table().select(schema.names)


class Folder(SinkSuite):
    plugin = "file"
    delivery = "exactly_once"
    form = ""
    reading: dict[str, object] = {}

    def make(self, folder):
        return file.sink(f"file://{folder / 'out'}/", {"format": self.form})

    def read(self, folder, schema):
        if not list((folder / "out").glob("part-*")):
            return pa.Table.from_batches([], schema)
        source = file.source(f"file://{folder / 'out'}", {"format": self.form, "schema": schema, **self.reading})
        reader = source.open({})
        found = []
        while not reader.finished:
            for chunk in reader.read(max_rows=100_000, timeout=0):
                assert not chunk.bad
                found.append(chunk.batch)
        reader.close()
        return pa.Table.from_batches(found, schema)


class TestArrowFolder(Folder):
    form = "arrow"
    types = NESTED


class TestParquetFolder(Folder):
    form = "parquet"
    types = NESTED


class TestJsonFolder(Folder):
    form = "json"
    types = NESTED


class TestCsvFolder(Folder):
    form = "csv"
    reading = {"multiline": True}


class TestOneCsvFile(SinkSuite):
    plugin = "file"
    delivery = "exactly_once"
    shows = "close"

    def make(self, folder):
        return file.sink(f"file://{folder / 'out.csv'}", {})

    def read(self, folder, schema):
        path = folder / "out.csv"
        if not path.exists():
            return pa.Table.from_batches([], schema)
        decoded = csv.decode(path.read_bytes(), schema=schema, multiline=True)
        assert not decoded.bad
        return pa.Table.from_batches([decoded.batch])


class TestOneParquetFile(SinkSuite):
    plugin = "file"
    delivery = "exactly_once"
    shows = "close"
    types = NESTED

    def make(self, folder):
        return file.sink(f"file://{folder / 'out.parquet'}", {})

    def read(self, folder, schema):
        path = folder / "out.parquet"
        if not path.exists():
            return pa.Table.from_batches([], schema)
        return pa.Table.from_batches([parquet.decode(path.read_bytes(), schema=schema).batch])


class TestLog(SinkSuite):
    plugin = "log"
    delivery = "exactly_once"
    types = NESTED
    publishes = True
    options: dict[str, object] = {}

    def make(self, folder):
        return log.sink("log://t", {"log": str(folder / "log"), "fsync": "os", "name": "suite", **self.options})

    def read(self, folder, schema):
        try:
            with Log(folder / "log") as opened:
                opened.topic("t")
        except UnknownNameError:
            return pa.Table.from_batches([], schema)
        reader = log.source("log://t", {"log": str(folder / "log"), "follow": True}).open({})
        found = []
        while chunks := reader.read(max_rows=100_000, timeout=0):
            found += [c.batch for c in chunks]
        reader.close()
        return pa.Table.from_batches(found or [empty(schema)])

    def crash(self, sink):
        if sink._log is not None:
            sink._log.close()
            sink._log = sink._transaction = None


class TestLogAtOnce(TestLog):
    delivery = "at_least_once"
    options = {"visible": "at once"}


class TestSqlite(SinkSuite):
    plugin = "sqlite"
    delivery = "exactly_once"
    types = tuple(t for t in SCALARS if t != "uint64")
    options: dict[str, object] = {}
    gaps = {"test_column_names_that_differ_in_case": "names of columns in SQLite have no case"}

    def make(self, folder):
        options = {"table": "t", "nan": "text", "synchronous": "off", "name": "suite", **self.options}
        return sqlite.sink(f"sqlite://{folder}/out.db", options)

    def crash(self, sink):
        sink._db.close()

    def holdable(self, batch):
        """SQLite has one zero."""
        for number, field in enumerate(batch.schema):
            if pa.types.is_floating(field.type):
                column = pa.compute.add(batch.column(number), pa.scalar(0.0, field.type))
                batch = batch.set_column(number, field, column)
        return batch

    def read(self, folder, schema):
        if not (folder / "out.db").exists():
            return schema.empty_table()
        with contextlib.closing(sqlite3.connect(folder / "out.db")) as connection:
            try:
                rows = connection.execute("SELECT * FROM t").fetchall()
            except sqlite3.OperationalError:
                return schema.empty_table()
        return from_rows(rows, schema)


class TestSqliteByKey(TestSqlite):
    delivery = "exactly_once"
    options = {"key": "n"}


class TestSqliteAtOnce(TestSqlite):
    delivery = "at_least_once"
    options = {"visible": "at once"}


class TestSqliteByKeyAtOnce(TestSqlite):
    delivery = "idempotent"
    share = 0.05
    options = {"key": "n", "visible": "at once"}


class TestPostgresql(SinkSuite):
    plugin = "postgresql"
    delivery = "exactly_once"
    share = 0.05
    types = tuple(t for t in SCALARS if t != "event_time")
    options: dict[str, object] = {}

    @pytest.fixture(autouse=True)
    def _server(self, postgresql, monkeypatch):
        from servers.postgresql import PASSWORD

        monkeypatch.setenv("SUITE_PASSWORD", PASSWORD)
        self.server = postgresql

    def table(self, folder):
        return "t" + hashlib.sha256(str(folder).encode()).hexdigest()[:20]

    def make(self, folder):
        from eventide.connectors import postgresql

        options = {"table": self.table(folder), "times": "ns", "password": "env:SUITE_PASSWORD", "name": str(folder)}
        return postgresql.sink(self.server.uri, {**options, **self.options})

    def crash(self, sink):
        sink._db.close()

    def holdable(self, batch):
        """Text in PostgreSQL has no character NUL; the sink refuses it."""
        for number, field in enumerate(batch.schema):
            if pa.types.is_string(field.type):
                batch = batch.set_column(number, field, pa.compute.replace_substring(batch.column(number), "\0", "?"))
        return batch

    def read(self, folder, schema):
        if not self.server.query(f"SELECT 1 FROM pg_tables WHERE tablename = '{self.table(folder)}'"):
            return schema.empty_table()
        return from_rows(self.server.query(f"SELECT * FROM {self.table(folder)}"), schema)


class TestPostgresqlByKeyAtOnce(TestPostgresql):
    delivery = "idempotent"
    options = {"key": "n", "visible": "at once"}


class TestKafka(SinkSuite):
    plugin = "kafka"
    delivery = "exactly_once"
    publishes = True
    share = 0.03
    types = NESTED
    options: dict[str, object] = {"format": "arrow", "partitions": 2}

    @pytest.fixture(autouse=True)
    def _broker(self, kafka):
        self.broker = kafka

    def topic(self, folder):
        return "t" + hashlib.sha256(str(folder).encode()).hexdigest()[:20]

    def make(self, folder):
        from eventide.connectors import kafka

        return kafka.sink(f"kafka://{self.broker.address}/{self.topic(folder)}", self.options)

    def read(self, folder, schema):
        from confluent_kafka.admin import AdminClient

        from servers.kafka import consume

        known = AdminClient({"bootstrap.servers": self.broker.address}).list_topics(timeout=30).topics
        values = [m.value() for m in consume(self.broker, self.topic(folder))] if self.topic(folder) in known else []
        return self.table(values, schema)

    def table(self, values, schema):
        found = [b for v in values for b in pa.ipc.open_stream(v)]
        return pa.Table.from_batches(found, schema if not found else None)


class TestKafkaByKey(TestKafka):
    options = {"format": "json", "key": "n", "name": "by-key"}
    types = ("int64", "float64", "string", "bool", "event_time")

    def table(self, values, schema):
        decoded = json.decode(b"\n".join(values), schema=schema)
        assert not decoded.bad
        return pa.Table.from_batches([decoded.batch])


class TestKafkaAtOnce(TestKafka):
    delivery = "at_least_once"
    options = {"format": "arrow", "rows_per_message": 3, "visible": "at once"}


def from_rows(rows, schema):
    """Rows of a database in the types that were written."""
    columns = []
    for number, field in enumerate(schema):
        values = [row[number] for row in rows]
        if pa.types.is_floating(field.type):
            values = [None if v is None else float(v) for v in values]
        elif pa.types.is_boolean(field.type):
            values = [None if v is None else bool(v) for v in values]
        elif pa.types.is_unsigned_integer(field.type):
            values = [None if v is None else int(v) for v in values]
        elif pa.types.is_temporal(field.type) and values and isinstance(next(filter(None, values), 0), str):
            columns.append(pa.array(values, pa.string()).cast(field.type))
            continue
        elif pa.types.is_timestamp(field.type):  # whole nanoseconds
            scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[field.type.unit]
            values = [None if v is None else v // scale for v in values]
        columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


class TestStdio(SinkSuite):
    plugin = "stdio"
    delivery = "at_least_once"
    types = NESTED

    @pytest.fixture(autouse=True)
    def _stdout(self, monkeypatch):
        self.out = {}
        with contextlib.redirect_stdout(sys.stdout):
            self.monkeypatch = monkeypatch
            yield

    def make(self, folder):
        raw = self.out.setdefault(folder, io.BytesIO())
        self.monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))
        return stdio.sink("stdio://", {"format": "json"})

    def read(self, folder, schema):
        decoded = json.decode(self.out[folder].getvalue(), schema=schema)
        assert not decoded.bad
        return pa.Table.from_batches([decoded.batch])
