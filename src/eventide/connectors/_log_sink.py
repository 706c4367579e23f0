"""A topic of the embedded log as a sink."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide.errors import SchemaError, UnknownNameError, UsageError, near_names
from eventide.log import Log, TopicInfo, Transaction
from eventide.log.topic import widens
from eventide.model.batch import visible
from eventide.model.protocols import Delivery
from eventide.model.time import EVENT_TIME

__all__ = ["LogSink"]

_LET_GO_SECONDS = 60.0


class LogSink:
    """Appends to one topic; made by `eventide.connectors.log.sink`."""

    shared = True

    def __init__(
        self,
        root: Path,
        topic: str,
        *,
        key: str | None,
        partition: int,
        partitions: int | None,
        event_time: str | None,
        at_once: bool,
        fsync: Any,
        name: str,
        evolve: bool = False,
    ) -> None:
        self._root, self._topic = root, topic
        self._key, self._partition, self._partitions = key, partition, partitions
        self._event_time, self._evolve = event_time, evolve
        self._at_once, self._fsync = at_once, fsync
        self._named, self._name = bool(name), name or f"{topic}/{key or partition}"
        self.delivery: Delivery = "at_least_once" if at_once else "exactly_once"
        self._log: Log | None = None
        self._transaction: Transaction | None = None
        self._let_go_at = time.monotonic()

    def owned(self, owner: str) -> None:
        """Take the name of the pipeline and node that write, where no other was given."""
        if not self._named:
            self._name = owner

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Open the log, make the topic if need be, and abort what was prepared after the checkpoint resumed from.

        Raises
        ------
        SchemaError
            The topic is there with another schema, or `schema` has no column `key`.
        """
        schema = visible(schema)
        if self._key is not None and self._key not in schema.names:
            msg = f"log://{self._topic}: there is no column {self._key!r} to choose the partition by"
            raise SchemaError(msg, hint=near_names(self._key, schema.names))
        self._log = Log(self._root, fsync=self._fsync)
        try:
            topic = _make_topic(
                self._log, self._topic, schema, event_time=self._event_time, partitions=self._partitions
            )
            _check_schema(self._log, topic, schema, evolve=self._evolve)
        except BaseException:
            self.close()
            raise
        kept = int(state["transaction"]) if state else 0
        for number in self._log.prepared(self._name):
            if number != kept:
                self._log.abort_prepared(number)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append one batch: to the transaction of the next checkpoint, or at once."""
        if not batch.num_rows:
            return
        assert self._log is not None
        batch = batch if visible(batch.schema).equals(batch.schema) else batch.select(visible(batch.schema).names)
        if self._at_once:
            self._log.append(self._topic, batch, partition=self._partition, key=self._key)
            return
        if self._transaction is None:
            self._transaction = self._log.transaction(owner=self._name)
        self._transaction.append(self._topic, batch, partition=self._partition, key=self._key)

    def publish(self) -> None:
        """Make what was written durable and visible now; for runs that keep no checkpoints."""
        if self._transaction is not None:
            self._transaction.commit()
            self._transaction = None
        self._let_go()

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Make what was written durable, and return the number of its transaction (0: there is none)."""
        assert self._log is not None
        if self._at_once:
            self._log.flush()
        if self._transaction is None:
            return {"transaction": 0}
        number = self._transaction.prepare()
        self._transaction = None
        return {"transaction": number}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Commit the transaction; a second time does nothing."""
        assert self._log is not None
        if state["transaction"]:
            self._log.commit_prepared(int(state["transaction"]))
        self._let_go()

    def _let_go(self) -> None:
        """Now and then delete what the topic's retention lets go and nobody needs."""
        now = time.monotonic()
        if self._log is not None and now - self._let_go_at > _LET_GO_SECONDS:
            self._let_go_at = now
            self._log.apply_retention(self._topic)

    def close(self) -> None:
        """Abort what was not prepared, and close the log."""
        transaction, self._transaction = self._transaction, None
        log, self._log = self._log, None
        try:
            if transaction is not None:
                transaction.abort()
        finally:
            if log is not None:
                log.close()


def _make_topic(log: Log, name: str, schema: pa.Schema, *, event_time: str | None, partitions: int | None) -> TopicInfo:
    try:
        topic = log.topic(name)
    except UnknownNameError:
        times = [f.name for f in schema if f.type == EVENT_TIME]
        column = event_time or (times[0] if times else None)
        topic = log.create_topic(name, schema, event_time=column, partitions=partitions or 1, exist_ok=True)
    if partitions is not None and topic.partitions != partitions:
        msg = f"topic {name!r} has {topic.partitions} partitions, not {partitions}"
        raise UsageError(msg, hint="leave the option partitions out, or write to another topic")
    return topic


def _check_schema(log: Log, topic: TopicInfo, schema: pa.Schema, *, evolve: bool) -> None:
    """See to it that batches of a schema fit a topic: as it is, or as it may become.

    Raises
    ------
    SchemaError
        They do not, and the topic is not to evolve or cannot.
    """
    stored = {f.name: f.type for f in topic.schema}
    wanted = {f.name: f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in schema}
    wanted = _as_before(topic, wanted)
    if evolve:
        known = [f.with_type(wanted.get(f.name, f.type)) for f in topic.schema]
        new = [pa.field(n, t) for n, t in wanted.items() if n not in stored]
        topic = log.evolve(topic.name, pa.schema([*known, *new]))
        stored = {f.name: f.type for f in topic.schema}
    name = topic.name
    if stored != wanted:
        differ = sorted(n for n in stored.keys() | wanted.keys() if stored.get(n) != wanted.get(n))
        is_, has = wanted.get(differ[0], "absent"), stored.get(differ[0], "absent")
        msg = f"topic {name!r} has another schema: column {differ[0]!r} is {has} there and {is_} here"
        raise SchemaError(
            msg, hint="evolve=True adds what is new; else write to another topic: eventide log evolve, delete"
        )


def _as_before(topic: TopicInfo, wanted: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Return what a program wants, less what it need not know: columns added later, types widened since."""
    stored = {f.name: f.type for f in topic.schema}
    narrow = {n for n in topic.evolution.widened if n in wanted and widens(wanted[n], stored[n])}
    return {n: stored[n] for n in topic.evolution.added} | wanted | {n: stored[n] for n in narrow}
