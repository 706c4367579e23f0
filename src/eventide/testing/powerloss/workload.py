"""A program that uses the log, the checkpoints and the sinks in every way that touches files, and says what it does.

It runs in a process of its own under the recorder, several times in the same folder, and ends without closing
anything. Before every step it marks what it is about to do, and after it what was promised to it.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from eventide import registry
from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.log import Fsync, Log, Retention, Transaction
from eventide.log import head as head_module
from eventide.log import open_partitions as log_module
from eventide.testing.powerloss.record import Recorder
from eventide.testing.powerloss.rows import SCHEMA, TEXT_SCHEMA, rows, table
from eventide.testing.powerloss.trace import load_trace, save_trace

__all__ = ["CHECKPOINTS", "LOGS", "PIPELINE", "SINKS", "Workload", "command", "main", "open_sinks"]

LOGS: dict[str, tuple[Fsync, ...]] = {
    "strict": ("each", "each", "each"),
    "grouped": ("group", "group", "each"),
    "loose": ("os", "each", "os"),
}
"""The logs of the workload, and the policy of each in its first, second and third process."""
CHECKPOINTS, PIPELINE = "state/checkpoints", "measure"
SINKS = ("parts", "single", "topic")
_BOOT = 7
_SEGMENT_BYTES = 6000
_RETENTION = Retention(max_bytes=16_000)
_STEPS = 40


def open_sinks(root: Path) -> dict[str, Any]:
    """Return the sinks of the workload: many files, one file, a topic."""
    file, log = registry.resolve("connector", "file"), registry.resolve("connector", "log")
    return {
        "parts": file.sink(f"file://{root}/out/parts/", {"format": "arrow"}),
        "single": file.sink(f"file://{root}/out/single.csv", {}),
        "topic": log.sink("log://results", {"log": str(root / "data" / "strict"), "name": "measure"}),
    }


class Workload:
    """One process of the program.

    Parameters
    ----------
    recorder
        What records it.
    seed, generation
        What it does, and the number of its process, from 0.
    """

    def __init__(self, recorder: Recorder, *, seed: int, generation: int) -> None:
        self._recorder, self._root = recorder, recorder.root
        self._random = random.Random(f"{seed}/{generation}")
        self._generation = generation
        self._event = generation * 1_000_000
        self._steps = generation * 1_000_000
        self._prepared: list[int] = []
        self._producer_at = 0

    @contextmanager
    def _step(self, kind: str, **facts: Any) -> Iterator[dict[str, Any]]:
        self._steps += 1
        number = self._steps
        self._recorder.mark("begin", step=number, kind=kind, **facts)
        outcome: dict[str, Any] = {}
        yield outcome
        self._recorder.mark("done", step=number, **outcome)

    def run(self) -> None:
        """Do everything, and leave it as it is."""
        self._logs: dict[str, Log] = {}
        for name, policies in LOGS.items():
            with self._step("open", log=name):
                self._logs[name] = Log(self._root / "data" / name, fsync=policies[self._generation % 3])
            for topic, partitions in (("a", 2), ("b", 1)) if name == "strict" else (("a", 1),):
                self._topic(name, topic, partitions)
        self._resume()
        steps = [
            (self._append, 12), (self._transaction, 9), (self._checkpoint, 5), (self._flush, 3), (self._retain, 3),
            (self._decide, 3), (self._come_and_go, 2), (self._offsets, 2), (self._repeat, 3),
        ]  # fmt: skip
        chosen = self._random.choices([s for s, _ in steps], [w for _, w in steps], k=_STEPS)
        for step in chosen:
            step()
        if self._random.random() < 0.5:
            self._end()

    def _topic(self, log: str, topic: str, partitions: int) -> None:
        with self._step("create", log=log, topic=topic, partitions=partitions):
            self._logs[log].create_topic(
                topic, SCHEMA, event_time="t", partitions=partitions, segment_bytes=_SEGMENT_BYTES,
                retention=_RETENTION if topic == "b" else None, exist_ok=True,
            )  # fmt: skip

    def _take(self, most: int = 12) -> tuple[int, int]:
        count = self._random.randint(1, most)
        first, self._event = self._event, self._event + count
        return first, count

    def _target(self) -> tuple[str, str, int]:
        log = self._random.choice(("strict", "strict", "grouped", "loose"))
        topic = self._random.choice("ab") if log == "strict" else "a"
        return log, topic, self._random.randrange(2) if topic == "a" and log == "strict" else 0

    def _append(self) -> None:
        log, topic, partition = self._target()
        policy = LOGS[log][self._generation % 3]
        for _ in range(self._random.randint(1, 4)):
            first, count = self._take(self._random.choice((3, 12, 40)))
            place = {"log": log, "topic": topic, "partition": partition}
            with self._step("append", **place, first=first, count=count, durable=policy == "each") as outcome:
                offsets = self._logs[log].append(topic, rows(first, count), partition=partition)
                outcome["offset"] = offsets[partition]

    def _repeat(self) -> None:
        """Append with a producer's sequence, twice."""
        first, count = self._take()
        self._producer_at += 1
        place = {"log": "strict", "topic": "a", "partition": 0}
        with self._step("append", **place, first=first, count=count, durable=True) as outcome:
            writer = self._logs["strict"].writer("a", 0, producer="camera")
            sequence = self._generation * 1000 + self._producer_at
            outcome["offset"] = writer.append(rows(first, count), sequence=sequence)
            writer.append(rows(first, count), sequence=sequence)

    def _flush(self) -> None:
        log = self._random.choice(("grouped", "loose"))
        with self._step("flush", log=log):
            self._logs[log].flush()

    def _transaction(self) -> None:
        log = self._random.choice(("strict", "strict", "grouped", "loose"))
        end = self._random.choice(("commit", "commit", "commit", "abort", "prepare", "prepare", "leave"))
        transaction = self._logs[log].transaction(owner="workload")
        name = self._steps + 1
        for _ in range(self._random.randint(1, 4)):
            topic = self._random.choice("ab") if log == "strict" else "a"
            partition = self._random.randrange(2) if topic == "a" and log == "strict" else 0
            first, count = self._take()
            place = {"log": log, "topic": topic, "partition": partition, "transaction": name}
            with self._step("append", **place, first=first, count=count, durable=False) as outcome:
                offsets = transaction.append(topic, rows(first, count), partition=partition)
                outcome["offset"] = offsets[partition]
        self._finish(transaction, end, log=log, name=name)

    def _finish(self, transaction: Transaction, end: str, *, log: str, name: int) -> None:
        if end == "leave":
            return
        with self._step(end, log=log, transaction=name) as outcome:
            if end == "commit":
                transaction.commit_offsets("group", {"a": {0: name}})
                transaction.put_checkpoint("embedded", str(name).encode())
                transaction.commit()
            elif end == "abort":
                transaction.abort()
            else:
                outcome["number"] = transaction.prepare()
        if end == "prepare" and log == "strict":
            self._prepared.append(outcome["number"])
            self._recorder.mark("number", transaction=name, number=outcome["number"])

    def _decide(self) -> None:
        """Commit or abort what waits prepared, of this process or of one before."""
        waiting = self._logs["strict"].prepared("workload")
        for number in waiting[:1]:
            end = self._random.choice(("commit", "abort"))
            with self._step(f"decide {end}", log="strict", number=number):
                log = self._logs["strict"]
                (log.commit_prepared if end == "commit" else log.abort_prepared)(number)

    def _retain(self) -> None:
        with self._step("retain", log="strict", topic="b") as outcome:
            self._logs["strict"].apply_retention("b")
            outcome["earliest"] = self._logs["strict"].describe("b")[0].earliest

    def _come_and_go(self) -> None:
        log = self._logs["strict"]
        if "passing" in [t.name for t in log.topics()]:
            with self._step("delete", log="strict", topic="passing"):
                log.delete_topic("passing")
        else:
            self._topic("strict", "passing", 1)
            first, count = self._take()
            place = {"log": "strict", "topic": "passing", "partition": 0}
            with self._step("append", **place, first=first, count=count, durable=True) as outcome:
                outcome["offset"] = log.append("passing", rows(first, count))[0]

    def _offsets(self) -> None:
        value = self._steps
        with self._step("offsets", log="strict", value=value):
            self._logs["strict"].commit_offsets("simple", {"a": {0: value}})

    # -- the way of an engine: sinks prepare, the checkpoint is saved, sinks commit

    def _resume(self) -> None:
        self._store = CheckpointStore(self._root / CHECKPOINTS, PIPELINE, keep=2)
        self._store.tidy()
        found = self._store.load()
        states = found.manifest["sinks"] if found else {}
        self._number = found.number if found else 0
        self._ranges: dict[str, list[list[int]]] = found.manifest["ranges"] if found else {s: [] for s in SINKS}
        self._sinks = open_sinks(self._root)
        with self._step("resume", number=self._number):
            for name, sink in self._sinks.items():
                sink.open(TEXT_SCHEMA, states.get(name))
                if found:
                    sink.commit(self._number, states[name])

    def _checkpoint(self) -> None:
        self._number += 1
        states = {}
        for name, sink in self._sinks.items():
            for _ in range(self._random.randint(0, 3)):
                first, count = self._take(20)
                sink.write(rows(first, count, text=True))
                self._ranges[name].append([first, count])
            states[name] = dict(sink.prepare(self._number))
        ranges = {name: list(given) for name, given in self._ranges.items()}
        first, count = self._take(60)
        manifest = {"sinks": states, "ranges": ranges, "rows": [first, count]}
        tables = {"count": {"panes": table([(first, count)])}, "join": {"left": table([(first, 1)])}}
        with self._step("save", number=self._number, ranges=ranges, rows=[first, count]):
            self._store.save(Checkpoint(self._number, manifest, tables))
            self._store.clear()
        with self._step("sinks commit", number=self._number):
            for name, sink in self._sinks.items():
                sink.commit(self._number, states[name])

    def _end(self) -> None:
        with self._step("close", number=self._number):
            for sink in self._sinks.values():
                sink.close()
        for name, log in self._logs.items():
            with self._step("close log", log=name):
                log.close()


def command(root: Path, trace: Path, *, seed: int, generation: int) -> list[str]:
    """Return the command that runs one process of the workload; see `main`."""
    call = f"main({str(root)!r}, {str(trace)!r}, seed={seed}, generation={generation})"
    return [sys.executable, "-c", f"from {__name__} import main; {call}"]


def main(root: str, trace: str, *, seed: int, generation: int) -> None:
    """Run one process of the workload, which is the one that calls this, and write its trace.

    Parameters
    ----------
    root
        The workload's folder.
    trace
        The file that holds what was recorded before, and gets all of it.
    seed, generation
        What is done, and the number of this process.
    """
    path = Path(trace)
    before = load_trace(path) if path.exists() else []
    another_boot = mock.patch.object(head_module, "boot_id", lambda: _BOOT)
    small_index = mock.patch.object(log_module, "_INDEX_BYTES", 2048)
    with another_boot, small_index:
        recorder = Recorder(Path(root), before)
        with recorder:
            Workload(recorder, seed=seed, generation=generation).run()
            with recorder.frozen():  # a sync by the log's own thread after the trace was saved would be missing in it
                recorder.mark("killed")
                recorder.verify()
                save_trace(path, recorder.trace)
                os._exit(0)  # as a killed process: nothing is closed, nothing tidied up
