"""Messages in the embedded log: topics with a column ``value`` (and ``timestamp``), or topics of pulses."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eventide.apps.neutron.restream.machine import Outgoing, Received, Subscription
from eventide.apps.neutron.restream.place import Positions, Stamp
from eventide.apps.neutron.schema import MESSAGES, PULSES
from eventide.errors import EventideError, LogError, SchemaError, UsageError
from eventide.formats.ev44 import EventMessage
from eventide.log import Log
from eventide.log.reader import Reader

__all__ = ["LogPlace"]

_LOG = logging.getLogger("eventide.neutron")

_TOO_OLD: Final = "Cannot find start time in the data: messages of that time were deleted"
_PULSE: Final = ("event_time", "source", "message_id", "time_of_flight", "pixel_id")
_ROWS: Final = 10_000
_MS: Final = 1_000_000


class LogPlace:
    """A log.

    Parameters
    ----------
    folder
        Of the log; "" for the configured one.
    """

    def __init__(self, folder: str) -> None:
        self.log = Log(folder or os.environ.get("EVENTIDE_LOG") or Path(".eventide", "log"))
        self._made: set[str] = set()

    def has(self, topic: str) -> bool:
        """Tell whether there is such a topic."""
        return topic in {each.name for each in self.log.topics()}

    def prepare(self, topic: str) -> None:
        """Make a topic of messages where there is none."""
        if topic not in self._made:
            self.log.create_topic(topic, MESSAGES, event_time="timestamp", exist_ok=True)
            self._made.add(topic)

    def reading(self) -> _Reader:
        """Return what reads topics."""
        return _Reader(self.log)

    def send(self, messages: Sequence[Outgoing], stamp: Stamp | None) -> None:
        """Append messages, all of a topic together; what has a stamp is appended once."""
        by_topic: dict[str, list[bytes]] = {}
        for each in messages:
            by_topic.setdefault(each.topic, []).append(each.value)
        now = time.time_ns()
        for topic, values in by_topic.items():
            stamps = pa.array([now] * len(values), pa.int64()).cast(MESSAGES.field("timestamp").type)
            batch = pa.RecordBatch.from_arrays([stamps, pa.array(values, pa.large_binary())], schema=MESSAGES)
            try:
                self.prepare(topic)
                if stamp is not None:
                    self.log.writer(topic, producer=f"restream {stamp[0]}").append(batch, sequence=stamp[1])
                else:
                    self.log.append(topic, batch)
            except (SchemaError, UsageError) as error:  # nothing that time mends
                _LOG.error("messages for %s cannot be sent: %s", topic, error)

    def poll(self) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Make everything durable."""
        self.log.flush()

    def close(self) -> None:
        """Settle, and let go."""
        self.log.close()


class _Reader:
    """Topics of a log, read in turn."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._readers: dict[str, Reader] = {}

    @property
    def behind(self) -> set[tuple[str, int]]:
        """Topics and partitions with messages that were not read yet."""
        return {(t, p) for t, reader in self._readers.items() for p, rows in reader.backlog().items() if rows}

    @property
    def positions(self) -> Positions:
        """The next message of each partition."""
        return {topic: dict(reader.positions) for topic, reader in self._readers.items()}

    def begin(self, several: Sequence[Subscription], positions: Positions) -> dict[str, str]:
        """Begin to read; return topics that cannot be read, with the reason."""
        failed = {}
        for asked in several:
            try:
                self._readers[asked.topic] = self._placed(asked, positions)
            except EventideError as error:
                failed[asked.topic] = error.message
        return failed

    def _placed(self, asked: Subscription, positions: Positions) -> Reader:
        schema = self._log.topic(asked.topic).schema
        if "value" not in schema.names and not set(_PULSE) <= set(schema.names):
            msg = f"the topic {asked.topic!r} has neither a column value nor the columns of pulses"
            raise UsageError(msg, hint=f"messages: {', '.join(MESSAGES.names)}; pulses: {', '.join(PULSES.names)}")
        if asked.topic in positions:
            return self._log.reader(asked.topic, start=positions[asked.topic])
        if asked.start is None:
            return self._log.reader(asked.topic, start="latest")
        reader = self._log.reader(asked.topic, start=asked.start * _MS)
        earliest = {p.partition: p.earliest for p in self._log.describe(asked.topic)}
        if any(at and at == earliest[p] for p, at in reader.positions.items()):
            reader.close()
            raise UsageError(_TOO_OLD)
        return reader

    def read(self, timeout: float) -> tuple[list[Received], dict[str, str]]:
        """Return messages, waiting at most `timeout` s, and topics that cannot be read any more."""
        out: list[Received] = []
        failed = {}
        wait = 0.0 if self.behind else timeout / max(1, len(self._readers))
        if not self._readers:
            time.sleep(timeout)
        for topic, reader in list(self._readers.items()):
            try:
                frames = reader.read(_ROWS, timeout=wait)
            except LogError as error:
                failed[topic] = error.message
                self._readers.pop(topic).close()
                continue
            for frame in frames:
                out += _received(topic, frame)
        return out, failed

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}


def _received(topic: str, frame: Any) -> list[Received]:
    batch, partition = frame.batch, frame.partition
    if "value" not in batch.schema.names:
        return [Received(topic, partition, at // _MS, one) for at, one in _pulses(batch)]
    stamped = "timestamp" in batch.schema.names
    times = batch.column("timestamp").cast(pa.int64()).to_pylist() if stamped else [frame.append_time] * batch.num_rows
    values = batch.column("value").to_pylist()
    pairs = zip(times, values, strict=True)
    return [Received(topic, partition, (frame.append_time if t is None else t) // _MS, v or b"") for t, v in pairs]


def _pulses(batch: pa.RecordBatch) -> list[tuple[int, EventMessage]]:
    times = batch.column("event_time").cast(pa.int64()).to_pylist()
    sources, numbers = (batch.column(n).to_pylist() for n in ("source", "message_id"))
    flights, pixels = batch.column("time_of_flight"), batch.column("pixel_id")
    out = []
    for row, at in enumerate(times):
        flight, pixel = flights[row].values, pixels[row].values
        tof = np.empty(0, np.int32) if flight is None else flight.to_numpy(zero_copy_only=False)
        ids = None if pixel is None else pixel.to_numpy(zero_copy_only=False)
        first, time_of = np.zeros(1, np.int32), np.array([at or 0])
        out.append((at or 0, EventMessage(sources[row] or "", numbers[row] or 0, time_of, first, tof, ids)))
    return out
