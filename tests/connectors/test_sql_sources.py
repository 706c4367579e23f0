"""Tables of SQLite and PostgreSQL as bounded sources."""

from __future__ import annotations

import math
import os
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide import registry
from eventide.connectors._sql_rows import decode
from eventide.connectors._sql_table import quoted
from eventide.errors import DataError, SchemaError, UsageError

EVENT_TIME = pa.timestamp("ns", "UTC")
ROWS = pa.table(
    {
        "id": pa.array([3, 1, 2, 5]),
        "b": [True, None, False, True],
        "v": [0.1, None, -math.inf, 5e-324],
        "s": ["", None, 'a,"b"\n\\.\n☄', "x"],
        "y": [b"", None, b"\x00\xff", b"x"],
        "t": pa.array([0, None, 1_700_000_000_123_456_000, -1_000], EVENT_TIME),
        "d": pa.array([0, None, 20_000, -1], pa.date32()),
    }
)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the address and the options of a table of a name."""
    if request.param == "sqlite":
        return lambda table: (f"sqlite://{tmp_path}/a.db?table={table}", {})
    from servers.postgresql import PASSWORD

    server: Any = request.getfixturevalue("postgresql")
    monkeypatch.setitem(os.environ, "SKY_PASSWORD", PASSWORD)
    schema = f"s{abs(hash(str(tmp_path)))}"
    server.query(f"CREATE SCHEMA {schema}")
    return lambda table: (f"{server.uri}?table={table}", {"password": "env:SKY_PASSWORD", "schema": schema})


def read(source: Any, positions: Any = None, *, max_rows: int = 2) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    reader = source.open(positions or {})
    rows: list[dict[str, Any]] = []
    bad: list[Any] = []
    places: list[Any] = []
    while not reader.finished:
        for chunk in reader.read(max_rows=max_rows, timeout=0):
            rows += chunk.batch.to_pylist()
            bad += chunk.bad
            places.append((len(rows), {chunk.partition: chunk.position}))
    assert reader.backlog() == 0
    reader.close()
    return rows, bad, places


def test_what_was_written_comes_back_and_goes_on_anywhere(place: Any) -> None:
    uri, options = place("all")
    ev.run(ev.from_table(ROWS).write(uri, key="id", **options))
    source = registry.open_source(uri, options)
    assert source.schema().equals(ROWS.schema.remove_metadata()), source.schema()
    want = ROWS.sort_by("id").to_pylist()
    for size in (1, 3, 4, 100):
        rows, bad, places = read(source, max_rows=size)
        assert rows == want and not bad
        for count, position in places:
            assert read(registry.open_source(uri, options), position)[0] == want[count:]
    reader = source.open({})
    assert reader.backlog() == 4
    reader.close()
    reader.close()


def test_it_ends_at_what_was_the_last_row(place: Any) -> None:
    uri, options = place("growing")
    rows = pa.table({"id": pa.array(range(10))})
    ev.run(ev.from_table(rows).write(uri, key="id", **options))
    source = registry.open_source(uri, options)
    reader = source.open({})
    (chunk,) = reader.read(max_rows=4, timeout=0)
    more = pa.table({"id": pa.array([10, 11])})
    ev.run(ev.from_table(more).write(uri, key="id", **options))
    seen = chunk.batch["id"].to_pylist()
    while not reader.finished:
        seen += [i for c in reader.read(max_rows=4, timeout=0) for i in c.batch["id"].to_pylist()]
    assert seen == list(range(10))
    reader.close()
    last, _, _ = read(source, {chunk.partition: {"after": [9] if uri.startswith("sqlite") else ["9"]}})
    assert [r["id"] for r in last][-2:] == [10, 11]


def test_an_empty_table(place: Any) -> None:
    uri, options = place("empty")
    ev.run(ev.from_table(ROWS.slice(0, 0)).write(uri, key="id", **options))
    assert read(registry.open_source(uri, options)) == ([], [], [])


def test_a_resumed_pipeline_reads_the_rest(place: Any, tmp_path: Path) -> None:
    uri, options = place("numbers")
    rows = pa.table({"id": pa.array(range(1000)), "v": pa.array([n / 4 for n in range(1000)])})
    ev.run(ev.from_table(rows).write(uri, key="id", **options))
    out = f"sqlite://{tmp_path}/out.db?table=copy"
    copy = ev.read(uri, **options).write(out).named("copy")
    assert ev.run(copy, checkpoint=tmp_path / "c", batch_rows=100, checkpoint_interval="0s").rows_in == 1000
    more = pa.table({"id": pa.array([2000]), "v": [1.0]})
    ev.run(ev.from_table(more).write(uri, key="id", **options))
    connection = sqlite3.connect(tmp_path / "out.db")
    assert connection.execute("SELECT count(*), sum(v) FROM copy").fetchall() == [(1000, 124875.0)]
    connection.close()


def test_columns_by_choice(place: Any) -> None:
    uri, options = place("chosen")
    ev.run(ev.from_table(ROWS).write(uri, key="id", **options))
    source = registry.open_source(uri, {**options, "columns": {"s": "binary", "id": "float64"}}) if (
        uri.startswith("sqlite")
    ) else registry.open_source(uri, {**options, "columns": {"s": "string", "id": "float64"}})  # fmt: skip
    assert source.schema().names == ["s", "id"]
    assert {r["id"] for r in read(source)[0]} == {1.0, 2.0, 3.0, 5.0}
    with pytest.raises(SchemaError, match="has no column 'ids'") as told:
        registry.open_source(uri, {**options, "columns": {"ids": "int64"}}).schema()
    assert told.value.hint == "did you mean 'id'?"


@pytest.mark.parametrize("name", ['a "b"', "per%cent ?", "x; DROP TABLE t; --", "sélect ☄", "%s"])
def test_hostile_names(place: Any, name: str) -> None:
    uri, options = place("x")
    uri, options = uri.partition("?")[0], {**options, "table": name}
    rows = pa.table({name: [1, 2], "id": [1, 2]})
    ev.run(ev.from_table(rows).write(uri, key=[name], **options))
    assert read(registry.open_source(uri, options))[0] == rows.to_pylist()


def test_a_table_that_is_not_there(place: Any) -> None:
    uri, options = place("means")
    ev.run(ev.from_table(ROWS).write(uri, key="id", **options))
    missing = uri.replace("table=means", "table=mean")
    with pytest.raises(SchemaError, match="does not exist"):
        registry.open_source(missing, options).schema()


# -- SQLite


def database(path: Path, *statements: str) -> str:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return f"sqlite://{path}?table=t"


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "means.db").touch()
    with pytest.raises(UsageError, match=r"no file .*mean\.db") as told:
        registry.open_source(f"sqlite://{tmp_path}/mean.db?table=t").schema()
    assert told.value.hint == "did you mean 'means.db'?"


def test_wrong_values_are_quarantined(tmp_path: Path) -> None:
    uri = database(
        tmp_path / "a.db",
        "CREATE TABLE t (i INTEGER, b BOOLEAN, t TIMESTAMP, d DATE, v REAL)",
        "INSERT INTO t VALUES (1, 1, '2026-01-01T00:00:00Z', '2026-01-01', 1), ('one', 1, NULL, NULL, NULL)",
        "INSERT INTO t VALUES (2, 7, NULL, NULL, 'NaN'), (3, 0, 'yesterday', NULL, 1), (4, NULL, 5, '1970-01-02', 'x')",
        "INSERT INTO t VALUES (9, 0, '2026-01-01 01:00:00.5', NULL, 'NaN')",
    )
    rows, bad, _ = read(registry.open_source(uri), max_rows=100)
    assert [r["i"] for r in rows] == [1, 9] and math.isnan(rows[1]["v"])
    assert [b.position.partition("key ")[2] for b in bad] == [
        "2: column 'i'", "3: column 'b'", "4: column 't'", "5: column 'v'",
    ]  # fmt: skip
    assert all(b.reason for b in bad) and b"yesterday" in bad[2].data


def test_orders_of_sqlite(tmp_path: Path) -> None:
    uri = database(
        tmp_path / "a.db",
        "CREATE TABLE t (a TEXT, b INTEGER, v REAL, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "INSERT INTO t VALUES ('y', 1, 1), ('x', 1, 2), ('x', 2, 3), ('w', 2, 4), ('a', 3, 5)",
        "CREATE VIEW w AS SELECT * FROM t",
        "CREATE TABLE u (rowid TEXT, v ANYTHING)",
        "INSERT INTO u VALUES ('b', 1), ('a', 2)",
        "CREATE TABLE gaps (v BLOB)",
        "INSERT INTO gaps VALUES ('text'), (x'00ff'), (NULL), (5)",
    )
    for size in (1, 2, 9):
        assert [r["v"] for r in read(registry.open_source(uri), max_rows=size)[0]] == [2, 1, 4, 3, 5]
    with pytest.raises(SchemaError, match="is a view"):
        registry.open_source(uri.replace("=t", "=w")).open({})
    with pytest.raises(SchemaError, match="column 'v' is ANYTHING, which has no Arrow type"):
        registry.open_source(uri.replace("=t", "=u")).schema()
    shadowed = registry.open_source(uri.replace("=t", "=u"), {"columns": {"rowid": "string", "v": "int64"}})
    assert read(shadowed, max_rows=1)[0] == [{"rowid": "b", "v": 1}, {"rowid": "a", "v": 2}]
    assert [r["v"] for r in read(registry.open_source(uri.replace("=t", "=gaps")))[0]] == [
        b"text",
        b"\0\xff",
        None,
        b"5",
    ]


def test_text_that_is_no_text(tmp_path: Path) -> None:
    uri = database(tmp_path / "a.db", "CREATE TABLE t (s TEXT)", "INSERT INTO t VALUES (CAST(x'ff' AS TEXT))")
    with pytest.raises(DataError, match="UTF-8"):
        read(registry.open_source(uri))
    assert read(registry.open_source(uri, {"columns": {"s": "binary"}}))[0] == [{"s": b"\xff"}]


def test_whole_nanoseconds(tmp_path: Path) -> None:
    uri = f"sqlite://{tmp_path}/a.db?table=t"
    times = pa.table({"t": pa.array([1, None, 2**62], EVENT_TIME)})
    ev.run(ev.from_table(times).write(uri, times="ns"))
    got = ev.fetch(ev.read(uri, columns={"t": "event_time"}))
    assert got["t"].cast(pa.int64()).to_pylist() == [1, None, 2**62]


@given(st.lists(st.one_of(st.none(), st.integers(-3, 300), st.text(max_size=3), st.floats(), st.binary(max_size=2))))
def test_every_row_is_decoded_or_told(values: list[Any]) -> None:
    for kind in (pa.int8(), pa.float32(), pa.string(), pa.bool_(), EVENT_TIME, pa.date32(), pa.decimal128(5, 1)):
        found = decode(
            [(n, v) for n, v in enumerate(values)] or [(0, None)], pa.schema([("v", kind)]), keys=1, where="t"
        )
        assert found.batch.num_rows + len(found.bad) == max(len(values), 1)


# -- PostgreSQL


def test_types_of_postgresql(postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from servers.postgresql import PASSWORD

    monkeypatch.setitem(os.environ, "SKY_PASSWORD", PASSWORD)
    postgresql.query(
        "CREATE TABLE kinds (i smallint, n numeric(6,2), j jsonb, u uuid, c varchar(3), w timestamp, z timestamptz, "
        "d date, k bigserial, PRIMARY KEY (k, i))"
    )
    one = "'{\"a\": 1}', '7e0ce2bb-0bd9-4b4d-8e5c-3ac1a2c0a0aa', 'abc', '2026-01-02 03:04:05.000006'"
    postgresql.query(f"INSERT INTO kinds VALUES (1, 1.5, {one}, '2026-01-02 03:04:05+01', '2026-01-02')")
    postgresql.query(f"INSERT INTO kinds VALUES (2, 1.5, {one}, 'infinity', '2026-01-02')")
    uri, options = f"{postgresql.uri}?table=kinds", {"password": "env:SKY_PASSWORD"}
    rows, bad, _ = read(registry.open_source(uri, options))
    assert len(rows) == 1 and "infinity" in bad[0].reason
    (row,) = rows
    assert (row["i"], str(row["n"]), row["j"], row["c"]) == (1, "1.50", '{"a": 1}', "abc")
    assert pa.scalar(row["z"]).as_py().isoformat() == "2026-01-02T02:04:05+00:00"
    assert row["w"].isoformat() == "2026-01-02T03:04:05.000006" and row["d"].isoformat() == "2026-01-02"
    postgresql.query(f"CREATE TABLE {quoted('no key')} (a integer, b point)")
    with pytest.raises(SchemaError, match="column 'b' is point, which has no Arrow type"):
        registry.open_source(postgresql.uri, {**options, "table": "no key"}).schema()
    with pytest.raises(SchemaError, match="has no primary key"):
        registry.open_source(postgresql.uri, {**options, "table": "no key", "columns": {"a": "int32"}}).open({})
