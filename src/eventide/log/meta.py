"""The SQLite database of a log: topics, producers, offsets, transactions, checkpoints, holds.

Write-ahead journal with ``synchronous=FULL``: what a method wrote is on the disk when it returns, and
several processes may use it at once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from eventide.errors import LogError
from eventide.log.failure import database_error
from eventide.log.topic import Evolution, Retention, TopicInfo

__all__ = ["ABORTED", "COMMITTED", "PREPARED", "Meta"]

COMMITTED, ABORTED, PREPARED = 1, 2, 3
_VERSION = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS topics (
  name TEXT PRIMARY KEY, schema BLOB NOT NULL, event_time TEXT, partitions INTEGER NOT NULL,
  segment_bytes INTEGER NOT NULL, retention TEXT NOT NULL, created INTEGER NOT NULL,
  evolution TEXT NOT NULL DEFAULT '{}') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS producers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS offsets (
  consumer TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
  PRIMARY KEY (consumer, topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, opened INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS transactions (
  id INTEGER PRIMARY KEY, state INTEGER NOT NULL, owner TEXT NOT NULL, decided INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS transaction_parts (
  id INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, last_offset INTEGER NOT NULL,
  PRIMARY KEY (topic, partition, last_offset)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS transaction_parts_by_id ON transaction_parts (id);
CREATE TABLE IF NOT EXISTS checkpoints (pipeline TEXT PRIMARY KEY, payload BLOB NOT NULL, written INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS holds (
  owner TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
  updated INTEGER NOT NULL, PRIMARY KEY (topic, partition, owner)) WITHOUT ROWID;
"""


class Meta:
    """The database of one log.

    Parameters
    ----------
    path
        The database file; made when missing.

    Raises
    ------
    LogError
        It cannot be opened, or a newer eventide made it.

    Examples
    --------
    >>> import tempfile
    >>> meta = Meta(Path(tempfile.mkdtemp()) / "meta.sqlite")
    >>> meta.producer("camera-1"), meta.producer("camera-1")
    (1, 1)
    >>> meta.close()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.RLock()
        try:
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._prepare()
        except sqlite3.Error as error:
            raise database_error(error, path, what="used as the database of a log") from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA busy_timeout=30000")
        for attempt in range(50):
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError:  # changing the journal does not wait for other processes
                if attempt == 49:
                    raise
                time.sleep(0.02)
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            msg = f"{self.path} was made by a newer eventide (log version {version}, known {_VERSION})"
            raise LogError(msg, hint="upgrade eventide")
        if version < _VERSION:
            with self.commit() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]  # another process may have been faster
                if version == 1:
                    db.execute("ALTER TABLE topics ADD COLUMN evolution TEXT NOT NULL DEFAULT '{}'")
                for statement in _TABLES.split(";")[:-1]:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={_VERSION}")

    @contextmanager
    def commit(self) -> Iterator[sqlite3.Connection]:
        """Run statements as one durable commit; an exception undoes all of them.

        Raises
        ------
        LogError
            The database refused; a `LogUnavailableError` where it may work later.
        """
        with self._mutex:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise database_error(error, self.path, what="written") from error
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds.

        Raises
        ------
        LogError
            The database refused; a `LogUnavailableError` where it may work later.
        """
        with self._mutex:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise database_error(error, self.path, what="read") from error

    def topics(self, name: str | None = None) -> list[TopicInfo]:
        """Return all topics by name, or the one asked for (an empty list when it is not there)."""
        sql = "SELECT name, schema, event_time, partitions, segment_bytes, retention, created, evolution FROM topics"
        found = self.rows(sql + " ORDER BY name") if name is None else self.rows(sql + " WHERE name = ?", (name,))
        return [
            TopicInfo(
                name=row[0],
                schema=pa.ipc.read_schema(pa.py_buffer(row[1])),
                event_time=row[2],
                partitions=row[3],
                segment_bytes=row[4],
                retention=msgspec.json.decode(row[5], type=Retention),
                created=row[6],
                evolution=msgspec.json.decode(row[7], type=Evolution),
            )
            for row in found
        ]

    def add_topic(self, topic: TopicInfo) -> bool:
        """Add a topic unless there is one of its name; tell whether it was added."""
        values = (
            topic.name, topic.schema.serialize().to_pybytes(), topic.event_time, topic.partitions,
            topic.segment_bytes, msgspec.json.encode(topic.retention).decode(), topic.created,
            msgspec.json.encode(topic.evolution).decode(),
        )  # fmt: skip
        with self.commit() as db:
            return db.execute("INSERT OR IGNORE INTO topics VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values).rowcount == 1

    def put_retention(self, topic: TopicInfo) -> None:
        """Record how long a topic keeps its events."""
        with self.commit() as db:
            retention = msgspec.json.encode(topic.retention).decode()
            db.execute("UPDATE topics SET retention = ? WHERE name = ?", (retention, topic.name))

    def put_schema(self, db: sqlite3.Connection, topic: TopicInfo) -> None:
        """Record the schema of a topic, and how it came to it, as part of a commit."""
        schema, evolution = topic.schema.serialize().to_pybytes(), msgspec.json.encode(topic.evolution).decode()
        db.execute("UPDATE topics SET schema = ?, evolution = ? WHERE name = ?", (schema, evolution, topic.name))

    def drop_topic(self, name: str) -> None:
        """Forget a topic, the consumers' offsets in it, its part in transactions and what was held of it."""
        with self.commit() as db:
            for table in ("offsets", "transaction_parts", "holds"):
                db.execute(f"DELETE FROM {table} WHERE topic = ?", (name,))
            db.execute("DELETE FROM topics WHERE name = ?", (name,))

    def producer(self, name: str) -> int:
        """Return the number of a producer, the same for the same name in this log."""
        found = self.rows("SELECT id FROM producers WHERE name = ?", (name,))
        if not found:
            with self.commit() as db:
                db.execute("INSERT OR IGNORE INTO producers (name) VALUES (?)", (name,))
            found = self.rows("SELECT id FROM producers WHERE name = ?", (name,))
        return int(str(found[0][0]))

    def put_offsets(self, db: sqlite3.Connection, consumer: str, positions: Mapping[str, Mapping[int, int]]) -> None:
        """Record the positions of a consumer as part of a commit."""
        rows = [(consumer, topic, p, offset) for topic, parts in positions.items() for p, offset in parts.items()]
        db.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?)", rows)

    def offsets(self, consumer: str) -> dict[str, dict[int, int]]:
        """Return the recorded positions of a consumer: topic, partition, offset."""
        sql = "SELECT topic, partition, offset FROM offsets WHERE consumer = ? ORDER BY topic, partition"
        found = self.rows(sql, (consumer,))
        positions: dict[str, dict[int, int]] = {}
        for topic, partition, offset in found:
            positions.setdefault(topic, {})[partition] = offset
        return positions

    def put_checkpoint(self, db: sqlite3.Connection, pipeline: str, payload: bytes) -> None:
        """Record the checkpoint of a pipeline as part of a commit."""
        db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", (pipeline, payload, time.time_ns()))

    def checkpoint(self, pipeline: str) -> bytes | None:
        """Return the latest checkpoint of a pipeline."""
        found = self.rows("SELECT payload FROM checkpoints WHERE pipeline = ?", (pipeline,))
        return bytes(found[0][0]) if found else None

    def new_session(self) -> int:
        """Return a number that no session of this log has had."""
        with self.commit() as db:
            cursor = db.execute("INSERT INTO sessions (pid, opened) VALUES (?, ?)", (os.getpid(), time.time_ns()))
            return int(cursor.lastrowid or 0)

    def transactions(self, first: int, *, limit: int) -> list[tuple[int, int]]:
        """Return number and state of decided and prepared transactions from `first` on."""
        sql = "SELECT id, state FROM transactions WHERE id >= ? ORDER BY id LIMIT ?"
        return [(number, state) for number, state in self.rows(sql, (first, limit))]

    def put_transaction(
        self, db: sqlite3.Connection, number: int, *, state: int, owner: str, parts: list[tuple[str, int, int]]
    ) -> None:
        """Record a transaction and the last offset of each partition it wrote, as part of a commit."""
        db.execute("INSERT INTO transactions VALUES (?, ?, ?, ?)", (number, state, owner, time.time_ns()))
        db.executemany("INSERT INTO transaction_parts VALUES (?, ?, ?, ?)", [(number, *part) for part in parts])

    def decide(self, db: sqlite3.Connection, number: int, state: int) -> None:
        """Decide a prepared transaction as part of a commit; the same decision again does nothing.

        Raises
        ------
        LogError
            It was decided the other way, or this log never had it.
        """
        found = db.execute("SELECT state FROM transactions WHERE id = ?", (number,)).fetchone()
        if found is None:
            # A number from a checkpoint without a row was decided and then forgotten with its events.
            newest = db.execute("SELECT max(id) FROM sessions").fetchone()[0] or 0
            if number >> 32 > newest:
                msg = f"there was never a transaction {number} in {self.path}"
                raise LogError(msg, hint="is this the log that the checkpoint belongs to?")
        elif found[0] == PREPARED:
            db.execute("UPDATE transactions SET state = ?, decided = ? WHERE id = ?", (state, time.time_ns(), number))
        elif found[0] != state:
            was = "committed" if found[0] == COMMITTED else "aborted"
            msg = f"transaction {number} was {was} before; {self.path}"
            raise LogError(msg, hint="two programs decided about it: only the owner of the checkpoint may")

    def prepared(self, owner: str) -> list[int]:
        """Return the transactions of an owner that wait for a decision, oldest first."""
        sql = "SELECT id FROM transactions WHERE state = ? AND owner = ? ORDER BY id"
        return [row[0] for row in self.rows(sql, (PREPARED, owner))]

    def undecided(self) -> list[tuple[int, str, int, tuple[str, ...]]]:
        """Return number, owner, time prepared and topics of the transactions that wait for a decision, oldest first."""
        sql = (
            "SELECT t.id, t.owner, t.decided, (SELECT group_concat(DISTINCT p.topic) FROM transaction_parts p "
            "WHERE p.id = t.id) FROM transactions t WHERE t.state = ? ORDER BY t.id"
        )
        found = self.rows(sql, (PREPARED,))
        return [(n, owner, at, tuple(sorted((topics or "").split(",")))) for n, owner, at, topics in found]

    def forget_transactions(self, topic: str, earliest: Mapping[int, int]) -> None:
        """Forget the transactions whose every event was deleted from the log."""
        with self.commit() as db:
            for partition, offset in earliest.items():
                db.execute(
                    "DELETE FROM transaction_parts WHERE topic = ? AND partition = ? AND last_offset < ?",
                    (topic, partition, offset),
                )
            db.execute(
                "DELETE FROM transactions WHERE state != ? AND id NOT IN (SELECT id FROM transaction_parts)",
                (PREPARED,),
            )

    def close(self) -> None:
        """Close the database."""
        with self._mutex:
            self._db.close()
