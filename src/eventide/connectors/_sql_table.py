"""What the tables of all databases have in common: names in quotes, options of the address, how a table must fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from eventide.connectors._sql_columns import Column
from eventide.errors import SchemaError, UsageError, near_names
from eventide.model.protocols import Options

__all__ = ["Found", "SinkOptions", "check_table", "choice", "insert_statement", "quoted", "sink_options", "table_name"]

_OURS = "_eventide_"


@dataclass(frozen=True, slots=True)
class Found:
    """A column of a table that is there: its declared type, and whether it needs a value from us."""

    type: str
    needed: bool
    filled: bool


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """What every table as a sink can be told."""

    key: tuple[str, ...]
    at_once: bool
    name: str


def quoted(name: str) -> str:
    """Return an identifier as SQL has it, whatever is in it.

    Examples
    --------
    >>> print(quoted('a "b"; DROP'))
    "a ""b""; DROP"
    """
    return '"' + name.replace('"', '""') + '"'


def table_name(given: Options) -> str:
    """Return the table that an address names.

    Raises
    ------
    UsageError
        None, one of eventide's own, or one that an address cannot carry.
    """
    name = given.take("table")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not name or not isinstance(name, str) or "\0" in name:
        msg = f"{given.where} names no table" if not name else f"{given.where}: {name!r} is not the name of a table"
        raise UsageError(msg, hint="write ...?table=means, or pass table='means'")
    if name.lower().startswith(_OURS):
        msg = f"{given.where}: tables whose names begin with {_OURS} are eventide's own"
        raise UsageError(msg, hint="give the table another name")
    return name


def sink_options(given: Options) -> SinkOptions:
    """Return the options of a sink: key, mode, visible, name.

    Raises
    ------
    UsageError
        One is wrong, or they do not go together.
    """
    key = given.take("key") or ()
    names = tuple(k.strip() for k in key.split(",")) if isinstance(key, str) else tuple(key)
    if not all(isinstance(n, str) and n for n in names) or len(set(names)) < len(names):
        msg = f"{given.where} option key={key!r}"
        raise UsageError(msg, hint="name the columns of the key: key='station,window_start', or a list of names")
    mode = choice(given, "mode", ("upsert", "append") if names else ("append", "upsert"))
    if (mode == "upsert") != bool(names):
        msg = f"{given.where}: mode={mode!r} {'with' if names else 'without'} a key"
        raise UsageError(msg, hint="an upsert needs key='...'; to append, leave the key out")
    at_once = choice(given, "visible", ("commit", "at once")) == "at once"
    return SinkOptions(names, at_once, str(given.take("name", "")))


def choice(given: Options, name: str, allowed: Sequence[str]) -> str:
    """Return an option that is one of a few words, the first of which is the default.

    Raises
    ------
    UsageError
        It is another word; the hint names near ones.

    Examples
    --------
    >>> choice(Options({}, where="sqlite://a.db"), "times", ("text", "ns"))
    'text'
    """
    value = given.take(name, allowed[0])
    if value not in allowed:
        msg = f"{given.where} option {name}={value!r}"
        raise UsageError(msg, hint=near_names(str(value), allowed))
    return str(value)


def insert_statement(table: str, names: Sequence[str], key: Sequence[str], *, values: str) -> str:
    """Return the statement that inserts rows, or updates them by key.

    Examples
    --------
    >>> print(insert_statement("t", ["k", "v"], ["k"], values="VALUES (?, ?)"))
    INSERT INTO "t" ("k", "v") VALUES (?, ?) ON CONFLICT ("k") DO UPDATE SET "v" = excluded."v"
    """
    into = f"INSERT INTO {quoted(table)} ({', '.join(map(quoted, names))}) {values}"
    if not key:
        return into
    rest = [f"{quoted(n)} = excluded.{quoted(n)}" for n in names if n not in key]
    what = f"UPDATE SET {', '.join(rest)}" if rest else "NOTHING"
    return f"{into} ON CONFLICT ({', '.join(map(quoted, key))}) DO {what}"


def check_table(
    columns: Sequence[Column],
    found: Mapping[str, Found],
    *,
    fits: Callable[[Column, str], bool],
    unique: Collection[frozenset[str]],
    key: Sequence[str],
    where: str,
) -> frozenset[str]:
    """Check that rows fit a table that is there, and return the columns that may not be null.

    Raises
    ------
    SchemaError
        A column is not there or has another type, the table needs one that the stream has not, or
        no unique index has the columns of the key.
    """
    for column in columns:
        if column.name not in found:
            msg = f"{where} has no column {column.name!r}"
            raise SchemaError(msg, hint=f"{near_names(column.name, found)}; or leave it out with .select(...)")
        if not fits(column, found[column.name].type):
            there = found[column.name].type or "without a type"
            msg = f"{where}: column {column.name!r} is {column.type} here and {there} there"
            raise SchemaError(msg, hint="cast it in the pipeline, or write to another table")
    names = {c.name for c in columns}
    needed = sorted(n for n, f in found.items() if f.needed and n not in names)
    if needed:
        msg = f"{where} needs a value for column {needed[0]!r}, which the stream does not have"
        raise SchemaError(msg, hint="add the column in the pipeline, or give it a default in the table")
    if key and frozenset(key) not in unique:
        index = f"CREATE UNIQUE INDEX ... ON ... ({', '.join(map(quoted, key))})"
        msg = f"{where} has no unique index of exactly the key {', '.join(map(repr, key))}"
        raise SchemaError(msg, hint=f"make one: {index}")
    return frozenset(n for n in names if found[n].filled)
