"""``sqlite://path.db?table=name``: a table of an SQLite database as sink (exactly once) and as bounded source.

The path begins where the process runs; an absolute one has a third slash: ``sqlite:///data/means.db?table=means``. A
table that is not there is made. Rows appear with the checkpoint; with ``key="station,window_start"`` a row replaces the
one of the same key. With ``visible="at once"`` each batch is a transaction of its own, without staging: at
least once, or, with a key, idempotent.

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

from eventide.connectors._sql_sink import SqlSink
from eventide.connectors._sql_table import choice, sink_options, table_name
from eventide.connectors._sqlite_table import SqliteTable
from eventide.errors import UsageError
from eventide.model.protocols import Options
from eventide.model.time import duration

__all__ = ["sink"]


def _path(uri: str) -> Path:
    path = uri.partition("://")[2]
    if not path or path == ":memory:":
        msg = f"{uri} names no file"
        raise UsageError(msg, hint="write it as sqlite://means.db?table=means; to keep rows in memory, memory://name")
    return Path(path).expanduser()


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
