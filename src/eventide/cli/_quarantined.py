"""What is in quarantine, and which of it was replayed: two topics of the log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eventide.errors import UnknownNameError, UsageError
from eventide.log import Log
from eventide.model.time import EVENT_TIME

__all__ = ["MARKS", "MARKS_SCHEMA", "REPLAY", "Wanted", "kinds", "marks", "quarantined", "readable"]

_TOPIC = "quarantine"

MARKS = "quarantine-replayed"
"""The topic that says which entries were replayed."""

MARKS_SCHEMA = pa.schema(
    [
        pa.field("timestamp", EVENT_TIME, metadata={"what": "when it was replayed"}),
        pa.field("pipeline", pa.string()),
        pa.field("created", pa.int64(), metadata={"what": "when the topic quarantine was made, ns since 1970"}),
        pa.field("entry", pa.int64(), metadata={"what": "offset in the topic quarantine"}),
    ]
)

REPLAY = ".replay"
"""A pipeline is replayed under its name with this behind it."""

_SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("timestamp", EVENT_TIME),
        ("pipeline", pa.string()),
        ("operator", pa.string()),
        ("source", pa.string()),
        ("position", pa.string()),
        ("reason", pa.string()),
        ("run", pa.string()),
        ("format", pa.string()),
        ("replayed", pa.bool_()),
        ("data", pa.binary()),
    ]
)
_READ_ROWS = 65_536
_VALUE = re.compile(r"'(?:[^'\\]|\\.)*'(?= is not )|\b\d+\b")


class Wanted:
    """Which entries are asked for.

    Parameters
    ----------
    pipeline
        Of this pipeline and of its replays; empty: of all.
    operator
        Of this operator; empty: of all.
    where
        Those for which this holds, in SQL.
    waiting
        Only those that were not replayed.
    """

    def __init__(self, *, pipeline: str = "", operator: str = "", where: str = "", waiting: bool = False) -> None:
        self._pipelines = (pipeline, pipeline + REPLAY) if pipeline else ()
        self._operator, self._where, self._waiting = operator, where, waiting

    def of(self, table: pa.Table) -> pa.Table:
        """Return the entries of a table that are wanted.

        Raises
        ------
        UsageError
            The condition cannot be evaluated.
        """
        if self._pipelines:
            table = table.filter(pc.is_in(table["pipeline"], pa.array(self._pipelines)))
        if self._operator:
            table = table.filter(pc.equal(table["operator"], self._operator))
        if self._waiting:
            table = table.filter(pc.invert(table["replayed"]))
        if self._where:
            import polars as pl

            frame = pl.from_arrow(table)
            try:
                found = pl.SQLContext(entries=frame, eager=True).execute(f"SELECT * FROM entries WHERE {self._where}")
            except pl.exceptions.PolarsError as error:
                msg = f"--where {self._where!r} cannot be evaluated: {str(error).splitlines()[0]}"
                raise UsageError(msg, hint=f"the columns are {', '.join(_SCHEMA.names)}") from None
            table = found.to_arrow().cast(_SCHEMA)
        return table


def quarantined(root: str, wanted: Wanted) -> pa.Table:
    """Return entries with their offset, and whether each was replayed, oldest first.

    Parameters
    ----------
    root
        Folder of the log.
    wanted
        Which.

    Raises
    ------
    LogError
        There is no log.
    """
    if not Path(root).exists():
        return _SCHEMA.empty_table()
    with Log(root, create=False) as log:
        try:
            created = log.topic(_TOPIC).created
        except UnknownNameError:
            return _SCHEMA.empty_table()
        done = _replayed(log, created)
        parts = [wanted.of(_entries(table, done)) for table in _read(log, _TOPIC)]
    return pa.concat_tables([_SCHEMA.empty_table(), *parts]).combine_chunks()


def marks(root: str, pipeline: str, entries: pa.Table, *, now: int) -> pa.Table:
    """Return what is to be written to the topic of marks when entries were replayed."""
    with Log(root, create=False) as log:
        created = log.topic(_TOPIC).created if len(entries) else 0
    rows = len(entries)
    columns = [pa.array([now] * rows, EVENT_TIME), pa.array([pipeline] * rows), pa.array([created] * rows, pa.int64())]
    return pa.table([*columns, entries["offset"]], schema=MARKS_SCHEMA)


def _read(log: Log, topic: str) -> Iterator[pa.Table]:
    """Return what is visible in the one partition of a topic, with offsets."""
    with log.reader(topic, partitions=[0]) as reader:
        while frames := reader.read(_READ_ROWS, timeout=0.0):
            for frame in frames:
                offsets = pa.array(range(frame.base_offset, frame.base_offset + frame.batch.num_rows), pa.int64())
                yield pa.Table.from_batches([frame.batch]).append_column("offset", offsets)


def _replayed(log: Log, created: int) -> pa.Array:
    """Return the offsets of the entries that were replayed, of the topic made then."""
    try:
        parts = [t.select(MARKS_SCHEMA.names).cast(MARKS_SCHEMA) for t in _read(log, MARKS)]
    except UnknownNameError:
        parts = []
    table = pa.concat_tables([MARKS_SCHEMA.empty_table(), *parts]).combine_chunks()
    return table.filter(pc.equal(table["created"], created))["entry"]


def _entries(table: pa.Table, done: pa.Array) -> pa.Table:
    """Return entries with all columns; a topic that an earlier version made lacks some."""
    columns = []
    for field in _SCHEMA:
        if field.name == "replayed":
            columns.append(pc.is_in(table["offset"], done))
        elif field.name in table.column_names:
            columns.append(table[field.name])
        else:
            columns.append(pa.array([""] * len(table), field.type))
    return pa.table(columns, schema=_SCHEMA)


def kinds(entries: pa.Table) -> list[dict[str, Any]]:
    """Return how many entries there are by pipeline, operator and reason, the most frequent first.

    Reasons that differ only in numbers, or in the value that was found, count as one.
    """
    by: dict[tuple[str, str, str], dict[str, Any]] = {}
    names = ("pipeline", "operator", "reason", "replayed")
    times = entries["timestamp"].cast(pa.int64()).to_pylist()
    for time, pipeline, operator, reason, replayed in zip(times, *(entries[n].to_pylist() for n in names), strict=True):
        kind = (pipeline, operator, _VALUE.sub("…", reason))
        facts = by.setdefault(kind, {"entries": 0, "waiting": 0, "first": time, "last": time})
        facts["entries"] += 1
        facts["waiting"] += not replayed
        facts["first"], facts["last"] = min(facts["first"], time), max(facts["last"], time)
    rows = [{"pipeline": p, "operator": o, "reason": r, **facts} for (p, o, r), facts in by.items()]
    return sorted(rows, key=lambda row: -row["entries"])


def readable(data: bytes) -> tuple[str, str]:
    """Return bytes as text where they are printable, else in hex; and which it is.

    Examples
    --------
    >>> readable(b"1,x"), readable(bytes([0, 255]))
    (('1,x', 'text'), ('00ff', 'hex'))
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data.hex(), "hex"
    return (text, "text") if text.replace("\t", " ").replace("\n", " ").isprintable() else (data.hex(), "hex")
