"""What every table as a sink must do; `test_sqlite.py` and `test_postgresql.py` run it against their databases."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st

import eventide as ev
from eventide.connectors import _sql_sink
from eventide.connectors._sql_table import quoted
from eventide.errors import CheckpointError, DataError, RunError, SchemaError, UsageError

SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.string())])
HOSTILE = ['a "b"', "x; DROP TABLE t; --", "ünï cödé ☄", "select", "per%cent ?", "it's", "a.b", " space ", "\\", "{0}"]

Rows = list[tuple[int, str]]


def batch(rows: Rows) -> pa.RecordBatch:
    return pa.record_batch([[r[0] for r in rows], [r[1] for r in rows]], schema=SCHEMA)


Script = list[tuple[str, Rows]]


def scripts() -> st.SearchStrategy[Script]:
    """Draw rounds of checkpoints that get some way, with rows written in between, and then may crash."""
    row = st.tuples(st.integers(0, 4), st.text(alphabet="abc", max_size=3))
    rows = st.lists(row, max_size=4)
    path = ["prepare", "save", "commit", "repeat"]
    rounds = st.tuples(
        st.lists(rows, min_size=5, max_size=5),
        st.sampled_from([0, 1, 2, 3, 3, 3, 4]),
        st.sampled_from(["", "", "crash", "abandon"]),
    )

    def flat(drawn: list[Any]) -> Script:
        script: Script = []
        for written, far, end in drawn:
            for rows, name in zip(written, ["", *path[:far]], strict=False):
                script += [(name, [])] if name else []
                script += [("write", rows)] if rows else []
            script += [(end, [])] if end else []
        return script

    return st.lists(rounds, min_size=1, max_size=8).map(flat)


class Model:
    """What the table must hold, and an engine that crashes: prepare, save the checkpoint, commit."""

    def __init__(self, suite: SqlSinkSuite, options: dict[str, Any]) -> None:
        self.suite, self.options = suite, options
        self.table = suite.fresh()
        self.upsert = "key" in options
        self.visible: Rows = []
        self.pending: Rows = []
        self.prepared: tuple[int, Any, Rows] | None = None
        self.saved: tuple[int, Any, Rows] | None = None
        self.done = True
        self.number = 0
        self.open_sinks: list[Any] = []
        self.open(None)

    def open(self, state: Any) -> None:
        self.sink = self.suite.sink(self.table, **self.options)
        self.open_sinks.append(self.sink)
        self.sink.open(SCHEMA, state)

    def step(self, name: str, rows: Rows) -> None:
        getattr(self, name)(rows) if name == "write" else getattr(self, name)()
        self.check()

    def write(self, rows: Rows) -> None:
        self.sink.write(batch(rows))
        self.pending += rows

    def prepare(self) -> None:
        if self.prepared is None:
            self.number += 1
            self.prepared = (self.number, self.sink.prepare(self.number), self.pending)
            self.pending = []

    def save(self) -> None:
        if self.prepared is not None and self.prepared is not self.saved:
            self.saved, self.done = self.prepared, False

    def commit(self) -> None:
        if self.saved is not None and not self.done:
            self.sink.commit(*self.saved[:2])
            self.visible += self.saved[2]
            self.prepared, self.done = None, True

    def repeat(self) -> None:
        if self.saved is not None and self.done:
            self.sink.commit(*self.saved[:2])

    def crash(self) -> None:
        self.sink.close()
        self.abandon()

    def abandon(self) -> None:
        """Go on with another object; the old one stays connected, as a process that hangs would."""
        self.open(self.saved[1] if self.saved else None)
        self.pending, self.prepared = [], None
        if self.saved is not None:
            self.number = self.saved[0]
            self.sink.commit(*self.saved[:2])
            if not self.done:
                self.visible += self.saved[2]
                self.done = True

    def check(self) -> None:
        got = self.suite.query(f"SELECT k, v FROM {quoted(self.table)}")
        if self.upsert:
            assert dict(got) == dict(self.visible) and len(got) == len(dict(got))
        else:
            assert Counter(got) == Counter(self.visible)

    def close(self) -> None:
        for sink in self.open_sinks:
            sink.close()


class SqlSinkSuite:
    """Subclasses say how to make a sink and how to ask the database."""

    numbers = itertools.count()

    def sink(self, table: str, **options: Any) -> Any:
        raise NotImplementedError

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def address(self, table: str) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def fresh(self) -> str:
        return f"t{next(self.numbers)}"

    def staged(self, table: str) -> int:
        sinks = f"SELECT sink FROM _eventide_commits WHERE target = '{table}'"
        return int(self.query(f"SELECT count(*) FROM _eventide_staged WHERE sink IN ({sinks})")[0][0])

    def filled(self, table: str, rows: Rows, **options: Any) -> Any:
        sink = self.sink(table, **options)
        sink.open(SCHEMA, None)
        sink.write(batch(rows))
        return sink

    # -- exactly once

    def any_sequence_equals_the_model(self, script: Script, *, upsert: bool, part: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_sql_sink, "_PART_BYTES", part)
            patch.setattr(_sql_sink, "_HELD_BYTES", 150)
            model = Model(self, {"key": "k"} if upsert else {})
            try:
                for name, rows in script:
                    model.step(name, rows)
                for name in ("prepare", "save", "commit", "prepare", "save", "commit"):
                    model.step(name, [])
                if model.saved is not None and model.saved[2]:
                    assert model.done
            finally:
                model.close()

    def test_nothing_shows_before_the_commit_and_staging_is_emptied(self) -> None:
        table = self.fresh()
        sink = self.filled(table, [(1, "a"), (2, "b")])
        state = sink.prepare(1)
        sink.write(batch([(3, "c")]))  # of the next checkpoint already
        assert self.query(f"SELECT * FROM {table}") == [] and self.staged(table) == 1
        sink.commit(1, state)
        assert self.query(f"SELECT * FROM {table}") == [(1, "a"), (2, "b")] and self.staged(table) == 0
        sink.close()

    def test_a_process_believed_dead_can_write_nothing_more(self) -> None:
        table = self.fresh()
        old = self.filled(table, [(1, "a")])
        state = old.prepare(1)
        old.write(batch([(2, "lost")]))
        new = self.sink(table)
        new.open(SCHEMA, state)
        for call in (lambda: old.prepare(2), lambda: old.commit(1, state), old.publish):
            with pytest.raises(RunError, match="another run writes"):
                call()
        new.commit(1, state)
        assert self.query(f"SELECT * FROM {table}") == [(1, "a")]
        old.close()
        new.close()

    def test_two_pipelines_on_one_table_leave_each_other_alone(self) -> None:
        table = self.fresh()
        first = self.filled(table, [(1, "first")])
        state = first.prepare(1)
        first.close()  # a crash between the checkpoint and the commit
        second = self.filled(table, [(2, "second")])
        second.commit(1, second.prepare(1))
        again = self.sink(table)
        again.open(SCHEMA, state)
        again.commit(1, state)
        assert sorted(self.query(f"SELECT * FROM {table}")) == [(1, "first"), (2, "second")]
        again.close()
        second.close()

    def test_a_fresh_run_of_a_name_drops_what_earlier_ones_left(self) -> None:
        table = self.fresh()
        other = self.filled(table, [(1, "other")], name="other")
        kept = other.prepare(1)
        dropped = self.filled(table, [(2, "a")], name="mine")
        state = dropped.prepare(1)
        dropped.close()
        assert self.staged(table) == 2
        fresh = self.filled(table, [(3, "b")], name="mine")
        assert self.staged(table) == 1
        back = self.sink(table, name="mine")
        back.open(SCHEMA, state)
        with pytest.raises(CheckpointError, match="0 of the 1 rows"):  # said, not skipped
            back.commit(1, state)
        other.commit(1, kept)
        assert self.query(f"SELECT * FROM {table}") == [(1, "other")]
        for sink in (other, fresh, back):
            sink.close()

    def test_back_to_an_older_checkpoint(self) -> None:
        for key in (None, "k"):
            table = self.fresh()
            sink = self.filled(table, [(1, "a")], **({"key": key} if key else {}))
            first = sink.prepare(1)
            sink.commit(1, first)
            sink.write(batch([(1, "b"), (2, "c")]))
            sink.commit(2, sink.prepare(2))
            sink.close()
            if key is None:
                with pytest.raises(CheckpointError, match="rows of later checkpoints"):
                    sink.open(SCHEMA, first)
            else:
                sink.open(SCHEMA, first)
                sink.commit(1, first)
                sink.write(batch([(1, "b")]))
                sink.commit(2, sink.prepare(2))
                sink.write(batch([(2, "c")]))
                sink.commit(3, sink.prepare(3))
                assert sorted(self.query(f"SELECT * FROM {table}")) == [(1, "b"), (2, "c")]
            sink.close()

    def test_another_database_is_found_out(self) -> None:
        table = self.fresh()
        sink = self.filled(table, [(1, "a")])
        state = dict(sink.prepare(1))
        sink.close()
        with pytest.raises(CheckpointError, match="knows nothing of the sink"):
            sink.open(SCHEMA, state | {"sink": "0" * 32})

    def test_publish_without_checkpoints(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_sql_sink, "_PART_BYTES", 40)
            table = self.fresh()
            sink = self.filled(table, [(1, "a"), (2, "b"), (3, "c")])  # staged already, being large
            sink.publish()
            patch.setattr(_sql_sink, "_PART_BYTES", 1000)
            sink.write(batch([(4, "d")]))
            sink.publish()
            sink.publish()
            assert [k for k, _ in self.query(f"SELECT * FROM {table} ORDER BY k")] == [1, 2, 3, 4]
            sink.write(batch([(5, "e")]))
            sink.commit(1, sink.prepare(1))
            assert len(self.query(f"SELECT * FROM {table}")) == 5
            sink.close()

    def test_at_once(self) -> None:
        table = self.fresh()
        sink = self.filled(table, [(1, "a"), (1, "b")], visible="at once", key=["k"])
        assert sink.delivery == "idempotent"
        assert self.query(f"SELECT * FROM {table}") == [(1, "b")]
        assert sink.prepare(1) == {}
        sink.commit(1, {})
        sink.close()
        sink.open(SCHEMA, {})
        sink.write(batch([(1, "b")]))
        assert self.query(f"SELECT * FROM {table}") == [(1, "b")]
        sink.close()
        assert self.sink(table, visible="at once").delivery == "at_least_once"
        assert self.sink(table).delivery == self.sink(table, key="k").delivery == "exactly_once"

    # -- types and tables

    def test_every_type_comes_back(self) -> None:
        kinds: dict[str, Any] = {
            "b": pa.array([True, None, False]),
            **{t: pa.array([0, None, 100], getattr(pa, t)()) for t in ("int8", "int16", "int32", "int64")},
            **{t: pa.array([0, None, 200], getattr(pa, t)()) for t in ("uint8", "uint16", "uint32", "uint64")},
            "f2": pa.array([0.5, None, -2.0], pa.float32()).cast(pa.float16()),
            "f4": pa.array([0.1, None, 1e30], pa.float32()),
            "f8": pa.array([0.1, None, 5e-324]),
            "s": pa.array(["", None, 'a,"b"\n\\.\n\t\'\\x ☄']),
            "d": pa.array(["x", None, "x"]).dictionary_encode(),
            "y": pa.array([b"", None, b"\x00\xff\\x"]),
            "y4": pa.array([b"abcd", None, b"\x00\x01\x02\x03"], pa.binary(4)),
            "u": pa.array([1, None, 2], pa.duration("ms")),
        }
        table, sink = self.written(kinds)
        sink.close()
        columns = ", ".join(map(quoted, kinds))
        got = [list(c) for c in zip(*self.query(f"SELECT {columns} FROM {table}"), strict=True)]
        for (name, array), values in zip(kinds.items(), got, strict=True):
            want = array.to_pylist() if name != "u" else [1_000_000, None, 2_000_000]
            if name == "f4":  # PostgreSQL says the shortest number that is the same in 32 bits
                values = pa.array(values, pa.float32()).to_pylist()
            assert [bytes(v) if isinstance(v, memoryview) else v for v in values] == [
                float(w) if name == "f2" and w is not None else w for w in want
            ], name

    def written(self, columns: dict[str, Any], **options: Any) -> tuple[str, Any]:
        table = self.fresh()
        rows = pa.record_batch(columns)
        sink = self.sink(table, **options)
        try:
            sink.open(rows.schema, None)
            sink.write(rows)
            sink.commit(1, sink.prepare(1))
        except BaseException:
            sink.close()
            raise
        return table, sink

    def test_one_column_of_nulls(self) -> None:
        table, sink = self.written({"a": pa.array([None, "", None], pa.string())})
        assert sorted(map(str, self.query(f"SELECT a FROM {table}"))) == ["('',)", "(None,)", "(None,)"]
        sink.close()

    def test_infinity(self) -> None:
        table, sink = self.written({"a": pa.array([math.inf, -math.inf, None])})
        assert [a for (a,) in self.query(f"SELECT a FROM {table}")] == [math.inf, -math.inf, None]
        sink.close()

    @pytest.mark.parametrize("name", HOSTILE)
    @pytest.mark.parametrize("key", [False, True])
    def test_hostile_names(self, name: str, key: bool) -> None:
        table = f"{name}_{key}"
        sink = self.sink(table, **({"key": [name]} if key else {}))
        schema = pa.schema([(name, pa.int64()), (name + "2", pa.string())])
        for _ in range(2):  # made, then found
            sink.open(schema, None)
            sink.write(pa.record_batch([[1, 2], ["a", "b"]], schema=schema))
            sink.commit(1, sink.prepare(1))
        got = self.query(f"SELECT {quoted(name)}, {quoted(name + '2')} FROM {quoted(table)}")
        assert sorted(got) == sorted([(1, "a"), (2, "b")] * (1 if key else 2))
        sink.close()

    def test_a_table_that_does_not_fit(self) -> None:
        table = self.fresh()
        self.query(f"CREATE TABLE {table} (k text, v text, more integer NOT NULL)")
        sink = self.sink(table)
        with pytest.raises(SchemaError, match=r"column 'k' is int64 here and (?i:text) there"):
            sink.open(SCHEMA, None)
        with pytest.raises(SchemaError, match="has no column 'w'") as told:
            sink.open(pa.schema([("w", pa.string())]), None)
        assert "known: k, more, v" in told.value.hint
        with pytest.raises(SchemaError, match="needs a value for column 'more'"):
            sink.open(pa.schema([("k", pa.string())]), None)
        with pytest.raises(SchemaError, match="no unique index"):
            self.sink(table, key="k").open(pa.schema([("k", pa.string()), ("more", pa.int32())]), None)
        with pytest.raises(SchemaError, match="has no place in a table"):
            self.sink(self.fresh()).open(pa.schema([("l", pa.list_(pa.int8()))]), None)
        with pytest.raises(SchemaError, match="there is no column 'kk' for the key") as told:
            self.sink(self.fresh(), key="kk").open(SCHEMA, None)
        assert told.value.hint == "did you mean 'k'?"

    def test_a_table_that_fits(self) -> None:
        table = self.fresh()
        self.query(f"CREATE TABLE {table} (v varchar(9), more integer DEFAULT 7, k bigint NOT NULL)")
        self.query(f"CREATE UNIQUE INDEX {table}_k ON {table} (k)")
        sink = self.filled(table, [(1, "a"), (1, "b")], key="k")
        sink.commit(1, sink.prepare(1))
        assert self.query(f"SELECT k, v, more FROM {table}") == [(1, "b", 7)]
        with pytest.raises(DataError, match="column 'k' is part of the key and has no value in 1 rows"):
            sink.write(pa.record_batch([[None], ["x"]], schema=SCHEMA))
        sink.close()

    def test_a_row_that_the_table_refuses_stays_staged(self) -> None:
        table = self.fresh()
        self.query(f"CREATE TABLE {table} (k bigint CHECK (k < 5), v text)")
        sink = self.filled(table, [(1, "a"), (9, "b")])
        state = sink.prepare(1)
        with pytest.raises(DataError, match="refuses a row"):
            sink.commit(1, state)
        assert self.query(f"SELECT * FROM {table}") == [] and self.staged(table) == 1
        sink.close()

    def test_options(self) -> None:
        for options, match in [
            ({"key": "k,k"}, "option key="),
            ({"mode": "upsert"}, "without a key"),
            ({"mode": "append", "key": "k"}, "with a key"),
            ({"visible": "now"}, "visible='now'"),
            ({"keys": "k"}, "no option 'keys'"),
            ({"table": "_eventide_commits"}, "eventide's own"),
            ({"table": ""}, "names no table"),
            ({"table": True}, "not the name of a table"),
        ]:
            with pytest.raises(UsageError, match=match):
                self.sink(**{"table": "t", **options})

    # -- with the engine

    @pytest.mark.parametrize("key", ["", "key,window_start"])
    def test_a_pipeline_with_checkpoints(self, tmp_path: Any, key: str) -> None:
        uri, options = self.address(table := self.fresh())
        events = ev.read("generator://e", rows=5000, keys=3, seed=1).event_time("timestamp")
        windows = events.key_by("key").window(ev.tumbling("100ms")).aggregate(n=ev.count(), mean=ev.mean("value"))
        out = windows.write(uri, **options, **({"key": key} if key else {}))
        ev.run(out, checkpoint=tmp_path / "c", checkpoint_interval="0s", batch_rows=300)
        want = ev.fetch(windows)
        got = self.query(f"SELECT key, n, mean FROM {table}")
        assert sorted(got) == sorted(zip(*(want[c].to_pylist() for c in ("key", "n", "mean")), strict=True))
        assert self.staged(table) == 0
