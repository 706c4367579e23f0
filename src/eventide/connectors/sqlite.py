"""``sqlite://path.db?table=name``: a table of an SQLite database as sink and as source.

The path begins where the process runs; an absolute one has a third slash: ``sqlite:///data/means.db?table=means``.

Sink, exactly once: a table that is not there is made, and rows appear with the checkpoint; with
``key="station,window_start"`` a row replaces the one of the same key. With ``visible="at once"`` each batch is a
transaction of its own, without staging: at least once, or, with a key, idempotent.

Source, bounded: the rows up to the one that is the last when it is opened, in the order of their numbers (``rowid``,
or the primary key of a table without), one partition, ``table``. A row whose value is not of its column's type goes to
quarantine. ``VACUUM`` may number rows anew, unless a column is the ``INTEGER PRIMARY KEY``: not between a crash and the
run that goes on.

Every commit is synced to the disk (journal in WAL mode, ``synchronous=FULL``), so that a committed checkpoint
survives a power failure. ``synchronous="normal"`` survives a crash of the process, but a power failure may take
the last transactions back: the next run notices and says so, it does not go on with a hole. ``"off"`` may
damage the database at a power failure.

Types: integers, floats, text, bytes and booleans as SQLite has them; instants as ISO 8601 text of one
length (all digits that the Arrow type has, so that nothing is lost and text order is time order), or with
``times="ns"`` as whole nanoseconds; dates as text, durations as nanoseconds, decimals as text. SQLite has no
NaN: it keeps NULL instead; ``nan="text"`` keeps the text ``NaN``, ``nan="refuse"`` makes it an error. Infinity is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventide.connectors._file_form import schema_option
from eventide.connectors._sql_sink import SqlSink
from eventide.connectors._sql_source import SqlSource
from eventide.connectors._sql_table import choice, sink_options, table_name
from eventide.connectors._sqlite_read import SqliteReadTable
from eventide.connectors._sqlite_table import SqliteTable
from eventide.errors import UsageError
from eventide.model.protocols import Options
from eventide.model.time import duration

__all__ = ["sink", "source"]


def _path(uri: str) -> Path:
    path = uri.partition("://")[2]
    if not path or path == ":memory:":
        msg = f"{uri} names no file"
        raise UsageError(msg, hint="write it as sqlite://means.db?table=means; to keep rows in memory, memory://name")
    return Path(path).expanduser()


def source(uri: str, options: Mapping[str, Any]) -> SqlSource:
    """Return a bounded source of the rows of a table.

    Parameters
    ----------
    uri
        ``sqlite://`` and the path of the database.
    options
        ``table``: its name. ``columns``: which to read and their types, as a `pyarrow.Schema` or
        ``{"column": "type"}`` (all, as declared; whole numbers read as ``"event_time"`` are ns since 1970).
        ``timeout``: how long to wait for another program's lock (``"5s"``).

    Raises
    ------
    UsageError
        An option is unknown or wrong.

    Examples
    --------
    >>> import sqlite3, tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.db")
    >>> connection = sqlite3.connect(path)
    >>> _ = connection.execute("CREATE TABLE t (k INTEGER, v REAL)")
    >>> _ = connection.execute("INSERT INTO t VALUES (1, 0.5), (2, NULL), ('three', 1)")
    >>> connection.commit()
    >>> connection.close()
    >>> reader = source(f"sqlite://{path}", {"table": "t"}).open({})
    >>> (chunk,) = reader.read(max_rows=10, timeout=0)
    >>> chunk.batch.to_pylist(), len(chunk.bad), chunk.position, reader.finished
    ([{'k': 1, 'v': 0.5}, {'k': 2, 'v': None}], 1, {'after': [3]}, True)
    >>> reader.close()
    """
    given = Options(options, where=uri)
    timeout = duration(given.take("timeout", "5s"), what="timeout", zero=True) / 1e9
    table = SqliteReadTable(_path(uri), table_name(given), timeout=timeout)
    columns = schema_option(given.take("columns"))
    given.finish()
    return SqlSource(table, columns)


def sink(uri: str, options: Mapping[str, Any]) -> SqlSink:
    """Return a sink that writes rows to a table.

    Parameters
    ----------
    uri
        ``sqlite://`` and the path of the database, which is made when it is not there.
    options
        ``table``: its name. ``key``: columns, as text with commas or as a list, by which a row replaces one that is
        there (none: rows are appended). ``mode``: ``"append"`` or ``"upsert"``, which the key says already.
        ``visible``: ``"commit"`` or ``"at once"``. ``times``: ``"text"`` or ``"ns"``. ``nan``: ``"null"``, ``"text"``
        or ``"refuse"``. ``synchronous``: ``"full"``, ``"normal"`` or ``"off"``. ``timeout``: how long to wait for
        another program's lock (``"5s"``). ``name``: under which a fresh run drops what an earlier run of the same
        name staged and never committed (else it stays in ``_eventide_staged``).

    Raises
    ------
    UsageError
        An option is unknown or wrong.

    Examples
    --------
    >>> import sqlite3, tempfile, pyarrow as pa
    >>> path = Path(tempfile.mkdtemp(), "means.db")
    >>> out = sink(f"sqlite://{path}", {"table": "means", "key": "station"})
    >>> out.open(pa.schema([("station", pa.string()), ("mean", pa.float64())]), None)
    >>> out.write(pa.record_batch({"station": ["A", "B", "A"], "mean": [0.5, 1.5, 2.5]}))
    >>> out.commit(1, out.prepare(1))
    >>> out.close()
    >>> with sqlite3.connect(path) as connection:
    ...     connection.execute("SELECT * FROM means ORDER BY station").fetchall()
    [('A', 2.5), ('B', 1.5)]
    >>> connection.close()
    """
    given = Options(options, where=uri)
    table = table_name(given)
    common = sink_options(given)
    database = SqliteTable(
        _path(uri),
        table,
        times=choice(given, "times", ("text", "ns")),
        nan=choice(given, "nan", ("null", "text", "refuse")),
        synchronous=choice(given, "synchronous", ("full", "normal", "off")),
        timeout=duration(given.take("timeout", "5s"), what="timeout", zero=True) / 1e9,
    )
    given.finish()
    return SqlSink(database, key=common.key, at_once=common.at_once, name=common.name, target=table)
