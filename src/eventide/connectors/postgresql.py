"""``postgresql://user@host/database?table=name``: a table of a PostgreSQL database as sink and as source.

The address is libpq's: what it leaves out comes from ``PGHOST``, ``PGUSER``, ``~/.pgpass`` and so on. A password is
never part of it: it comes from ``PGPASSWORD``, from ``~/.pgpass``, or from the option ``password="env:NAME"`` or
``"file:PATH"``.

Sink, exactly once: a table that is not there is made, and rows appear with the checkpoint; with
``key="station,window_start"`` a row replaces the one of the same key. With ``visible="at once"`` each batch is a
transaction of its own, without staging: at least once, or, with a key, idempotent. Beside the table, in its schema,
are ``_eventide_staged`` and ``_eventide_commits``. A commit is durable when the server says so: for the connection
``synchronous_commit`` is switched on where the server has it off.

Source, bounded: the rows up to the one that is the last when it is opened, in the order of the primary key, one
partition, ``table``. What others write in the middle of that order while it reads may be read or not. A row whose value
is not of its column's type goes to quarantine.

Types: as PostgreSQL has them. It keeps microseconds: an instant with finer digits is an error, and ``times="ns"``
keeps whole nanoseconds in a ``bigint``. Durations are nanoseconds in a ``bigint``, uint64 is ``numeric(20,0)``. NaN
and infinity are kept; text with a zero character is an error. Names of more than 63 bytes, which PostgreSQL would
cut, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from eventide.connectors._file_form import schema_option
from eventide.connectors._postgresql_connection import PostgresqlConnection
from eventide.connectors._postgresql_read import PostgresqlReadTable
from eventide.connectors._postgresql_table import PostgresqlTable
from eventide.connectors._sql_sink import SqlSink
from eventide.connectors._sql_source import SqlSource
from eventide.connectors._sql_table import choice, sink_options, table_name
from eventide.errors import UsageError
from eventide.model.protocols import Options

__all__ = ["sink", "source"]

# Options of the address that are handed on: https://www.postgresql.org/docs/current/libpq-connect.html
_LIBPQ = ("host", "port", "user", "sslmode", "sslrootcert", "sslcert", "sslkey", "passfile", "service")


def source(uri: str, options: Mapping[str, Any]) -> SqlSource:
    """Return a bounded source of the rows of a table that has a primary key.

    Parameters
    ----------
    uri
        ``postgresql://user@host:port/database``, all of it optional.
    options
        ``table``, ``schema``, ``password`` and those of libpq: as for `sink`. ``columns``: which to read and their
        types, as a `pyarrow.Schema` or ``{"column": "type"}`` (all, as declared).

    Raises
    ------
    UsageError
        An option is unknown or wrong, or there is a password in the address.

    Examples
    --------
    >>> source("postgresql://observer@localhost/sky", {"table": "alerts"}).partitions()
    ['table']
    """
    given, uri = _address(uri, options)
    table = table_name(given)
    columns = schema_option(given.take("columns"))
    made = SqlSource(PostgresqlReadTable(_connection(uri, given, table), table), columns)
    given.finish()
    return made


def sink(uri: str, options: Mapping[str, Any]) -> SqlSink:
    """Return a sink that writes rows to a table.

    Parameters
    ----------
    uri
        ``postgresql://user@host:port/database``, all of it optional.
    options
        ``table``: its name. ``schema``: the schema it is in (that of the search path). ``key``: columns, as text with
        commas or as a list, by which a row replaces one that is there (none: rows are appended). ``mode``:
        ``"append"`` or ``"upsert"``, which the key says already. ``visible``: ``"commit"`` or ``"at once"``.
        ``times``: ``"native"`` (microseconds) or ``"ns"``. ``password``: ``"env:NAME"`` or ``"file:PATH"``. ``host``,
        ``port``, ``user``, ``sslmode``, ``sslrootcert``, ``sslcert``, ``sslkey``, ``passfile``, ``service``: as libpq
        has them. ``connect_timeout``: in whole seconds (10). ``name``: under which a fresh run drops what an earlier
        run of the same name staged and never committed (else it stays in ``_eventide_staged``).

    Raises
    ------
    UsageError
        An option is unknown or wrong, or there is a password in the address.

    Examples
    --------
    >>> sink("postgresql://observer@localhost/sky", {"table": "alerts", "key": "id"}).delivery
    'exactly_once'
    """
    given, uri = _address(uri, options)
    table, common = table_name(given), sink_options(given)
    database = PostgresqlTable(_connection(uri, given, table), table, times=choice(given, "times", ("native", "ns")))
    given.finish()
    return SqlSink(database, key=common.key, at_once=common.at_once, name=common.name, target=table)


def _address(uri: str, options: Mapping[str, Any]) -> tuple[Options, str]:
    """Return the options under the name of the server and the database, and the address, which has no password."""
    try:
        parts = urlsplit(uri)
        where = f"postgresql://{parts.hostname or ''}{parts.path}"
        hidden = parts.password is not None
    except ValueError as error:
        msg = f"postgresql:// cannot read the address: {error}"
        raise UsageError(msg, hint="write it as postgresql://user@host:5432/database?table=name") from None
    if hidden:
        msg = f"{where}: the address has a password in it, which would be shown in logs and manifests"
        raise UsageError(msg, hint="take it out, and pass password='env:NAME' or 'file:PATH', or use ~/.pgpass")
    return Options(options, where=where), uri


def _connection(uri: str, given: Options, table: str) -> PostgresqlConnection:
    settings = {n: given.take(n) for n in _LIBPQ} | {"connect_timeout": given.take("connect_timeout", 10)}
    return PostgresqlConnection(
        uri,
        where=f"{given.where} table {table!r}",
        settings={n: v for n, v in settings.items() if v is not None},
        password=_reference(given),
        schema=given.take("schema"),
    )


def _reference(given: Options) -> str:
    """Return where the password is; the password itself is not taken, since options are shown and stored."""
    password = given.take("password", "")
    if password and not str(password).startswith(("env:", "file:")):
        msg = f"{given.where}: the option password must say where the password is, not what it is"
        raise UsageError(msg, hint="password='env:NAME' or 'file:PATH'")
    return str(password)
