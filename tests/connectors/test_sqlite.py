"""Tables of SQLite as sinks."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sql_sink_suite import SCHEMA, Script, SqlSinkSuite, batch, scripts

from eventide import registry
from eventide.connectors.sqlite import sink as make
from eventide.errors import DataError, SchemaError, UnavailableError, UsageError, is_retriable


class TestSqlite(SqlSinkSuite):
    path: Path

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def database(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.path = tmp_path_factory.mktemp("sqlite") / "new folder" / "a.db"

    def sink(self, table: str, **options: Any) -> Any:
        # Durability is not what these tests are about, and syncs are what takes time.
        return make(f"sqlite://{self.path}", {"table": table, "synchronous": "off", **options})

    def address(self, table: str) -> tuple[str, dict[str, Any]]:
        return f"sqlite://{self.path}?table={table}", {"synchronous": "off"}

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        self.path.parent.mkdir(exist_ok=True)
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    @given(script=scripts(), upsert=st.booleans(), part=st.sampled_from([1, 100, 10**6]))
    def test_any_sequence_equals_the_model(self, script: Script, upsert: bool, part: int) -> None:
        self.any_sequence_equals_the_model(script, upsert=upsert, part=part)

    # -- what SQLite has of its own

    def test_instants(self) -> None:
        times = pa.array([0, 1, None, -1], pa.timestamp("ns", "UTC"))
        local = pa.array([1_700_000_000_000] * 4, pa.timestamp("ms", "Europe/Berlin"))
        plain = pa.array([-62_135_596_800, 0, None, 253_402_300_799], pa.timestamp("s"))
        table, sink = self.written({"t": times, "l": local, "p": plain, "d": pa.array([0, 1, None, 2], pa.date32())})
        sink.close()
        assert self.query(f"SELECT t, d FROM {table}") == [
            ("1970-01-01T00:00:00.000000000Z", "1970-01-01"),
            ("1970-01-01T00:00:00.000000001Z", "1970-01-02"),
            (None, None),
            ("1969-12-31T23:59:59.999999999Z", "1970-01-03"),
        ]
        assert self.query(f"SELECT DISTINCT l FROM {table}") == [("2023-11-14T22:13:20.000Z",)]
        assert self.query(f"SELECT p FROM {table} WHERE p IS NOT NULL ORDER BY p") == [
            ("0001-01-01T00:00:00",),
            ("1970-01-01T00:00:00",),
            ("9999-12-31T23:59:59",),
        ]
        assert self.query(f"SELECT date(max(t)) FROM {table}") == [("1970-01-01",)]
        table, sink = self.written({"t": times, "d": pa.array([1, 2, 3, 4], pa.duration("s"))}, times="ns")
        assert self.query(f"SELECT t FROM {table}") == [(0,), (1,), (None,), (-1,)]
        assert self.query(f"SELECT sum(d) FROM {table}") == [(10_000_000_000,)]
        with pytest.raises(DataError, match=r"sqlite://.* column 't' .* not in 0001-01-01 to 9999"):
            self.written({"t": pa.array([253_402_300_800], pa.timestamp("s"))})
        with pytest.raises(DataError, match="does not fit"):
            self.written({"t": pa.array([253_402_300_799], pa.timestamp("s"))}, times="ns")
        sink.close()

    @given(st.lists(st.integers(-(9 * 10**18), 9 * 10**18), min_size=1, max_size=20))
    def test_text_order_is_time_order(self, values: list[int]) -> None:
        from eventide.connectors._sql_columns import Column, as_text_times

        values.sort()
        array = pa.array(values, pa.timestamp("ns", "UTC"))
        texts = as_text_times(array, Column("t", "instant", array.type)).to_pylist()
        assert texts == sorted(texts) and len({len(t) for t in texts}) == 1
        assert (
            pa.array([t.replace("T", " ").rstrip("Z") for t in texts])
            .cast(pa.timestamp("ns"))
            .cast(pa.int64())
            .to_pylist()
            == values
        )

    def test_nan_has_no_place(self) -> None:
        values = pa.array([math.nan, 1.5, None])
        for nan, want in [("null", [None, 1.5, None]), ("text", ["NaN", 1.5, None])]:
            table, sink = self.written({"a": values, "b": pa.array([1.0, 2.0, 3.0])}, nan=nan)
            assert [a for (a,) in self.query(f"SELECT a FROM {table}")] == want
            sink.close()
        with pytest.raises(DataError, match="NaN, which SQLite does not have"):
            self.written({"a": values}, nan="refuse")
        with pytest.raises(DataError, match="NaN"):
            self.written({"a": pa.array([math.nan])}, key="a")

    def test_numbers_that_are_too_large(self) -> None:
        with pytest.raises(DataError, match="'a'"):
            self.written({"a": pa.array([2**64 - 1], pa.uint64())})
        table, sink = self.written({"a": pa.array(["12345678901234567890.123"]).cast(pa.decimal128(30, 3))})
        assert self.query(f"SELECT a FROM {table}") == [("12345678901234567890.123",)]
        sink.close()

    def test_a_text_column_of_numbers_stays_text(self) -> None:
        table = self.fresh()
        self.query(f"CREATE TABLE {table} (k INTEGER, v NUMERIC)")
        with pytest.raises(SchemaError, match="NUMERIC there"):  # 007 would become 7
            self.sink(table).open(SCHEMA, None)

    def test_a_numbered_table(self) -> None:
        table = self.fresh()
        self.query(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, k INT, v TEXT)")
        sink = self.filled(table, [(5, "a"), (6, "b")])
        sink.commit(1, sink.prepare(1))
        assert self.query(f"SELECT * FROM {table}") == [(1, 5, "a"), (2, 6, "b")]
        sink.close()

    def test_names_have_no_case(self) -> None:
        with pytest.raises(SchemaError, match="both columns 'a' and 'A'"):
            self.sink(self.fresh()).open(pa.schema([("a", pa.int8()), ("A", pa.int8())]), None)

    def test_locked_by_another_program(self) -> None:
        table = self.fresh()
        sink = self.filled(table, [(1, "a")], timeout="10ms")
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked by another program") as told:
            sink.prepare(1)
        assert is_retriable(told.value) and "timeout" in told.value.hint
        other.execute("ROLLBACK")
        other.close()
        sink.open(SCHEMA, None)
        sink.write(batch([(1, "a")]))
        sink.commit(1, sink.prepare(1))
        assert self.query(f"SELECT * FROM {table}") == [(1, "a")]
        sink.close()

    def test_files_that_are_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("hello, this is text, and no database, in a file that is long enough")
        with pytest.raises(DataError, match="not a database"):
            make(f"sqlite://{tmp_path}/a.txt", {"table": "t"}).open(SCHEMA, None)
        with pytest.raises(DataError, match="cannot be"):
            make(f"sqlite://{tmp_path}/a.txt/b.db", {"table": "t"}).open(SCHEMA, None)
        with pytest.raises(UsageError, match="names no file"):
            make("sqlite://", {"table": "t"})

    def test_a_full_disk_passes(self, tmp_path: Path) -> None:
        sink = make(f"sqlite://{tmp_path}/a.db", {"table": "t"})
        sink.open(SCHEMA, None)
        sink._db._connection.execute("PRAGMA max_page_count=12")
        sink.write(batch([(n, "x" * 1000) for n in range(2000)]))
        with pytest.raises(UnavailableError, match="disk is full"):
            for n in range(50):
                sink.commit(n, sink.prepare(n))
                sink.write(batch([(n, f"{n}" * 9000)]))
        sink.close()

    def test_settings_of_the_journal(self, tmp_path: Path) -> None:
        for level, number in [("full", 2), ("normal", 1), ("off", 0)]:
            sink = make(f"sqlite://{tmp_path}/a.db", {"table": "t", "synchronous": level})
            sink.open(SCHEMA, None)
            assert sink._db.execute("PRAGMA synchronous") == [(number,)]
            assert sink._db.execute("PRAGMA journal_mode") == [("wal",)]
            sink.close()

    def test_by_address(self, tmp_path: Path) -> None:
        sink = registry.open_sink(f"sqlite://{tmp_path}/a.db?table=t&key=k")
        sink.open(SCHEMA, None)
        sink.close()
        sink.close()
        assert (tmp_path / "a.db").exists()
