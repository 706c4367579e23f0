"""A log that lived through a loss of power: does it hold what it promised, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa

from eventide.errors import EventideError, LogError
from eventide.log import Frame as Read
from eventide.log import Log
from eventide.testing.powerloss.oracle import Frame, Oracle
from eventide.testing.powerloss.rows import SCHEMA, rows

__all__ = ["check_log"]

_NEW = 900_000_000
Seen = dict[tuple[str, int], list[Read]]


def check_log(root: Path, name: str, oracle: Oracle, *, cut: int, seed: int) -> list[str]:
    """Recover a log of the workload, and return what is wrong with it.

    Parameters
    ----------
    root
        The workload's folder, as it was found after the power came back.
    name
        The log.
    oracle, cut
        What was promised, and when the power went.
    seed
        What the check decides about transactions that wait for a decision.
    """
    path = root / "data" / name
    opened = next(oracle.of("open", log=name))
    if opened.done >= cut and not path.exists():
        return []
    try:
        with Log(path, create=opened.done >= cut) as log:
            check = _Check(log, name, oracle, cut=cut)
            check.first(random.Random(seed))
        with Log(path) as log:
            again = _read(log)
            report = log.verify()
    except (EventideError, OSError, ValueError, AttributeError) as error:
        return [f"{name}: {type(error).__name__}: {error}"]
    found = check.found
    for place in again.keys() | check.seen.keys():
        if [_place(f) for f in again.get(place, [])] != [_place(f) for f in check.seen.get(place, [])]:
            found.append(f"{name}: {place[0]}/{place[1]} gives something else when it is opened again")
    found += [f"{name}: {line}" for line in report.problems]
    return found


class _Check:
    def __init__(self, log: Log, name: str, oracle: Oracle, *, cut: int) -> None:
        self._log, self._name, self._oracle, self._cut = log, name, oracle, cut
        self.found: list[str] = []
        self.seen: Seen = {}
        self._decided: dict[int, bool] = {}

    def first(self, rng: random.Random) -> None:
        """Look at everything, then append to everything."""
        must, may = self._oracle.topics(self._name, self._cut)
        there = {t.name for t in self._log.topics()} - {"results"}
        if not must <= there <= may:
            self._say(f"topics {sorted(there)}, must be {sorted(must)}, may be {sorted(may)}")
        self._as_reader(there)
        self._decide(rng)
        for topic in sorted(there):
            for partition in range(self._log.topic(topic).partitions):
                self._partition(topic, partition)
        self._together()
        self._offsets()
        for topic in sorted(may - there):
            self._log.create_topic(topic, SCHEMA, event_time="t")  # the name must be free
        self._append()

    def _say(self, what: str) -> None:
        self.found.append(f"{self._name}: {what}")

    def _as_reader(self, topics: set[str]) -> None:
        """Read before anybody repairs: less than everything, or an error, but nothing wrong."""
        for topic in topics:
            for partition in range(self._log.topic(topic).partitions):
                known = {f.offset: f for f in self._oracle.frames(self._name, topic, partition, cut=self._cut)}
                try:
                    with self._log.reader(topic, [partition]) as reader:
                        read = reader.read()
                except LogError:
                    continue  # without its head it waits for a writer
                for frame in read:
                    self._same(frame, known.get(frame.base_offset), f"{topic}/{partition} unrepaired")

    def _decide(self, rng: random.Random) -> None:
        must, may = self._oracle.prepared(self._name, self._cut)
        waiting = set(self._log.prepared("workload"))
        if not must <= waiting <= may:
            self._say(f"prepared {sorted(waiting)}, must be {sorted(must)}, may be {sorted(may)}")
        for number in waiting:
            commit = rng.random() < 0.5
            (self._log.commit_prepared if commit else self._log.abort_prepared)(number)
            self._decided[self._name_of(number)] = commit

    def _name_of(self, number: int) -> int:
        for step in self._oracle.of("prepare", log=self._name):
            if step.outcome["number"] == number:
                return int(step.facts["transaction"])
        return -1

    def _same(self, frame: Read, wanted: Frame | None, where: str) -> bool:
        if wanted is None:
            self._say(
                f"{where}: {frame.batch.num_rows} events at offset {frame.base_offset} that nobody appended there"
            )
            return False
        if not frame.batch.equals(rows(wanted.first, wanted.count)):
            self._say(f"{where}: the events at offset {frame.base_offset} are not those that were appended")
            return False
        return True

    def _visible(self, frame: Frame) -> bool | None:
        """Tell whether readers must see a frame; None when both is right."""
        if frame.transaction in self._decided:
            return self._decided[frame.transaction]
        if frame.promised < self._cut:
            return True
        if frame.transaction and not self._oracle.may_be_visible(frame.transaction, self._cut):
            return False
        return None

    def _partition(self, topic: str, partition: int) -> None:
        where = f"{topic}/{partition}"
        end = self._log.writer(topic, partition).end
        read = _read_partition(self._log, topic, partition)
        self.seen[topic, partition] = read
        frames = {f.offset: f for f in self._oracle.frames(self._name, topic, partition, cut=self._cut)}
        seen = {f.base_offset for f in read}
        for got in read:
            wanted = frames.get(got.base_offset)
            if self._same(got, wanted, where) and wanted is not None and self._visible(wanted) is False:
                self._say(f"{where}: offset {got.base_offset} belongs to a transaction that was not committed")
        low, high = self._oracle.earliest(topic, self._cut) if topic == "b" else (0, 0)
        earliest = self._log.describe(topic)[partition].earliest
        if not low <= earliest <= high:
            self._say(f"{where}: it begins with offset {earliest}, not with one from {low} to {high}")
        for offset, frame in frames.items():
            if offset < earliest or offset in seen:
                continue
            visible = self._visible(frame)
            if visible:
                self._say(f"{where}: the {frame.count} events at offset {offset} are gone")
            elif visible is None and not frame.transaction and offset < end:
                self._say(f"{where}: there is a hole at offset {offset}, the end is {end}")

    def _together(self) -> None:
        """Transactions are there as a whole or not at all, with what was recorded in them."""
        over, under_way = self._oracle.last(self._cut, "commit", log=self._name)
        allowed = {str(s.facts["transaction"]).encode() for s in (over, under_way) if s}
        payload = self._log.checkpoint("embedded")
        if payload not in allowed and (over or payload is not None):
            self._say(f"the checkpoint in the log is {payload!r}, not one of {allowed}")
        offset = self._log.offsets("group").get("a", {}).get(0)
        if (str(offset).encode() if offset is not None else None) != payload:
            self._say(f"the consumer offset is {offset}, the checkpoint {payload!r}: one commit, two results")
        seen = self._seen_of_transactions()
        for transaction, both in seen.items():
            if len(both) > 1:
                self._say(f"transaction {transaction} is there in part")
        if under_way:
            name = under_way.facts["transaction"]
            committed = payload == str(name).encode()
            if seen.get(name, {committed}) != {committed}:
                self._say(f"transaction {name}: its checkpoint is there: {committed}, its events are not alike")

    def _seen_of_transactions(self) -> dict[int, set[bool]]:
        """Return for every transaction whether its frames were seen."""
        seen: dict[int, set[bool]] = {}
        for (topic, partition), read in self.seen.items():
            there = {f.base_offset for f in read}
            earliest = self._log.describe(topic)[partition].earliest
            for frame in self._oracle.frames(self._name, topic, partition, cut=self._cut):
                if frame.transaction and frame.offset >= earliest:
                    seen.setdefault(frame.transaction, set()).add(frame.offset in there)
        return seen

    def _offsets(self) -> None:
        over, under_way = self._oracle.last(self._cut, "offsets", log=self._name)
        allowed = [s.facts["value"] for s in (over, under_way) if s] + ([] if over else [None])
        offset = self._log.offsets("simple").get("a", {}).get(0)
        if offset not in allowed:
            self._say(f"the offset of the group 'simple' is {offset}, not one of {allowed}")

    def _append(self) -> None:
        for number, (topic, partition) in enumerate(self.seen):
            writer = self._log.writer(topic, partition)
            end, batch = writer.end, rows(_NEW + number, 1)
            if writer.append(batch) != end:
                self._say(f"{topic}/{partition}: the end was {end}, the append went elsewhere")
            self.seen[topic, partition].append(Read(partition=partition, base_offset=end, batch=batch))


def _read(log: Log) -> Seen:
    topics = [t for t in log.topics() if t.name != "results"]
    return {(t.name, p): _read_partition(log, t.name, p) for t in topics for p in range(t.partitions)}


def _read_partition(log: Log, topic: str, partition: int) -> list[Read]:
    read: list[Read] = []
    with log.reader(topic, [partition], verify=True) as reader:
        while more := reader.read():
            read += more
    return read


def _place(frame: Read) -> tuple[int, pa.RecordBatch]:
    return frame.base_offset, frame.batch
