"""Tables of a real PostgreSQL as sinks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sql_sink_suite import SCHEMA, Script, SqlSinkSuite, batch, scripts

import eventide as ev
from eventide.errors import DataError, PipelineError, SchemaError, UnavailableError, UsageError, is_retriable

pytest.importorskip("psycopg", reason="pip install 'eventide[postgresql]'")

from eventide.connectors.postgresql import sink as make
from servers.postgresql import PASSWORD, Server, folder_with_server


class TestPostgresql(SqlSinkSuite):
    server: Server

    @pytest.fixture(autouse=True)
    def running(self, postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        type(self).server = postgresql
        monkeypatch.setenv("SKY_PASSWORD", PASSWORD)

    def sink(self, table: str, **options: Any) -> Any:
        return make(self.server.uri, {"table": table, "password": "env:SKY_PASSWORD", **options})

    def address(self, table: str) -> tuple[str, dict[str, Any]]:
        return f"{self.server.uri}?table={table}", {"password": "env:SKY_PASSWORD"}

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.query(statement)

    @settings(settings(), max_examples=max(20, settings().max_examples // 5))  # a step takes milliseconds here
    @given(script=scripts(), upsert=st.booleans(), part=st.sampled_from([1, 100, 10**6]))
    def test_any_sequence_equals_the_model(self, script: Script, upsert: bool, part: int) -> None:
        self.any_sequence_equals_the_model(script, upsert=upsert, part=part)

    # -- what PostgreSQL has of its own

    def test_instants(self) -> None:
        micro = pa.array([0, 1_500, None, -1_000], pa.timestamp("ns", "UTC"))
        with pytest.raises(DataError, match=r"column 't' .* does not fit") as told:
            self.written({"t": micro})
        assert "times='ns'" in told.value.hint
        table, sink = self.written({"t": micro, "u": pa.array([1, 2, 3, 4], pa.timestamp("us"))}, times="ns")
        assert self.query(f"SELECT t, u FROM {table}") == [(0, 1000), (1500, 2000), (None, 3000), (-1000, 4000)]
        sink.close()
        times = pa.array([0, 1_000, None, -1_000], pa.timestamp("ns", "UTC"))
        local = pa.array([1_700_000_000_000] * 4, pa.timestamp("ms", "Europe/Berlin"))
        naive = pa.array([-62_135_596_800, 0, None, 253_402_300_799], pa.timestamp("s"))
        table, sink = self.written({"t": times, "l": local, "p": naive, "d": pa.array([0, 1, None, 2], pa.date32())})
        sink.close()
        micros = "(extract(epoch from t) * 1000000)::bigint"
        assert self.query(f"SELECT {micros}, d::text FROM {table}") == [
            (0, "1970-01-01"), (1, "1970-01-02"), (None, None), (-1, "1970-01-03"),
        ]  # fmt: skip
        assert self.query(f"SELECT DISTINCT extract(epoch from l)::bigint FROM {table}") == [(1_700_000_000,)]
        assert self.query(f"SELECT p::text FROM {table} WHERE p IS NOT NULL ORDER BY p") == [
            ("0001-01-01 00:00:00",), ("1970-01-01 00:00:00",), ("9999-12-31 23:59:59",),
        ]  # fmt: skip
        coarse = self.fresh()
        self.query(f"CREATE TABLE {coarse} (t timestamptz(3))")
        with pytest.raises(SchemaError, match=r"timestamp\(3\) with time zone there"):
            self.sink(coarse).open(pa.schema([("t", pa.timestamp("us", "UTC"))]), None)

    def test_numbers(self) -> None:
        decimal = pa.array(["12345678901234567890.123"]).cast(pa.decimal128(30, 3))
        columns = {"a": pa.array([math.nan]), "b": pa.array([2**64 - 1], pa.uint64()), "c": decimal}
        table, sink = self.written(columns)
        ((a, b, c),) = self.query(f"SELECT a, b, c::text FROM {table}")
        assert math.isnan(a) and b == 2**64 - 1 and c == "12345678901234567890.123"
        sink.close()
        table = self.fresh()
        self.query(f"CREATE TABLE {table} (a double precision, b numeric(4,2))")
        sink = self.sink(table)
        sink.open(pa.schema([("a", pa.float32())]), None)
        sink.write(pa.record_batch({"a": pa.array([0.1], pa.float32())}))
        sink.commit(1, sink.prepare(1))
        assert self.query(f"SELECT a FROM {table}") == [(pa.scalar(0.1, pa.float32()).as_py(),)]
        with pytest.raises(SchemaError, match=r"numeric\(4,2\) there"):
            sink.open(pa.schema([("b", pa.int64())]), None)
        sink.close()

    def test_text_with_a_zero_character(self) -> None:
        with pytest.raises(DataError, match="zero character"):
            self.written({"a": pa.array(["fine", "a\0b"])})

    def test_json_and_uuid(self) -> None:
        table = self.fresh()
        self.query(f"CREATE TABLE {table} (j jsonb, u uuid)")
        sink = self.sink(table)
        schema = pa.schema([("j", pa.string()), ("u", pa.string())])
        sink.open(schema, None)
        sink.write(pa.record_batch([['{"a": 1}'], ["7e0ce2bb-0bd9-4b4d-8e5c-3ac1a2c0a0aa"]], schema=schema))
        sink.commit(1, sink.prepare(1))
        assert self.query(f"SELECT j->'a' FROM {table}") == [(1,)]
        sink.write(pa.record_batch([["{"], [None]], schema=schema))
        with pytest.raises(DataError, match="refuses a row: invalid input syntax for type json"):
            sink.commit(2, sink.prepare(2))
        sink.close()

    def test_schemas_and_long_names(self) -> None:
        self.query('CREATE SCHEMA IF NOT EXISTS "my ""results"')
        sink = self.sink("here", schema='my "results')
        sink.open(SCHEMA, None)
        sink.write(batch([(1, "a")]))
        sink.commit(1, sink.prepare(1))
        sink.close()
        assert self.query('SELECT * FROM "my ""results".here') == [(1, "a")]
        assert self.query('SELECT count(*) FROM "my ""results"._eventide_commits') == [(1,)]
        with pytest.raises(SchemaError, match="no schema 'nowhere'"):
            self.sink("here", schema="nowhere").open(SCHEMA, None)
        with pytest.raises(SchemaError, match="cannot be a name"):
            self.sink("☄" * 22).open(SCHEMA, None)

    def test_rights(self) -> None:
        table = self.fresh()
        self.query(f"CREATE TABLE {table} (k bigint, v text)")
        self.query("DROP ROLE IF EXISTS guest")
        self.query(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")
        guest = self.sink(table, user="guest", visible="at once")
        uri = self.server.uri.replace("observer@", "")
        guest = make(uri, {"table": table, "user": "guest", "password": "env:SKY_PASSWORD", "visible": "at once"})
        guest.open(SCHEMA, None)
        with pytest.raises(DataError, match="permission denied for table"):
            guest.write(batch([(1, "a")]))
        guest.close()

    # -- passwords

    def test_passwords_are_never_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        secret = "hunter2-and-more"
        told = []
        with pytest.raises(UsageError, match="has a password in it") as error:
            make(f"postgresql://me:{secret}@localhost/db", {"table": "t"})
        told.append(error.value)
        out = ev.read("generator://g", rows=1).write(f"postgresql://me:{secret}@localhost/db?table=t")
        with pytest.raises(UsageError, match=r"postgresql://me:\*\*\*@localhost") as error:
            ev.run(out)
        told.append(error.value)
        with pytest.raises(PipelineError, match="two sinks have the address") as twice:
            ev.pipeline(out, ev.read("generator://g").write(out.writes[0].uri))
        told.append(twice.value)
        assert secret not in str(out.describe())
        with pytest.raises(UsageError, match="must say where the password is") as error:
            make("postgresql://me@localhost/db", {"table": "t", "password": secret})
        told.append(error.value)
        (tmp_path / "secret").write_text(secret + "\n")
        wrong = make(self.server.uri, {"table": "t", "password": f"file:{tmp_path}/secret"})
        with pytest.raises(DataError, match="password authentication failed") as refused:
            wrong.open(SCHEMA, None)
        told.append(refused.value)
        for one in told:
            assert secret not in str(one) and secret not in repr(one.__cause__)
        assert not is_retriable(told[-1])

    def test_nobody_there(self) -> None:
        sink = make("postgresql://127.0.0.1:1/db", {"table": "t"})
        with pytest.raises(UnavailableError, match="cannot be reached") as told:
            sink.open(SCHEMA, None)
        assert is_retriable(told.value)
        with pytest.raises(DataError, match="does not exist"):
            make(self.server.uri + "x", {"table": "t", "password": "env:SKY_PASSWORD"}).open(SCHEMA, None)

    # -- a server that goes away

    def test_the_server_goes_away_and_comes_back(self) -> None:
        server = Server(folder_with_server())
        try:
            sink = make(server.uri, {"table": "t", "password": "env:SKY_PASSWORD"})
            sink.open(SCHEMA, None)
            sink.write(batch([(1, "a")]))
            saved = sink.prepare(1)
            sink.commit(1, saved)
            sink.write(batch([(2, "b")]))
            prepared = sink.prepare(2)
            server.stop()
            for call in (lambda: sink.commit(2, prepared), lambda: sink.prepare(3), lambda: sink.open(SCHEMA, saved)):
                sink._buffer = [batch([(9, "never")])]
                with pytest.raises(UnavailableError) as told:
                    call()
                assert is_retriable(told.value)
            server.start()
            sink.open(SCHEMA, prepared)  # as the engine does: from the last checkpoint, and its commit again
            sink.commit(2, prepared)
            sink.write(batch([(3, "c")]))
            sink.commit(3, sink.prepare(3))
            assert server.query("SELECT * FROM t ORDER BY k") == [(1, "a"), (2, "b"), (3, "c")]
            sink.close()
        finally:
            server.remove()

    def test_a_connection_that_is_cut(self) -> None:
        table = self.fresh()
        sink = self.filled(table, [(1, "a")])
        saved = sink.prepare(1)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'eventide'"
        self.query(cut)
        with pytest.raises(UnavailableError):
            sink.commit(1, saved)
        sink.open(SCHEMA, saved)
        sink.commit(1, saved)
        assert self.query(f"SELECT * FROM {table}") == [(1, "a")]
        sink.close()
