"""The sinks of a pipeline where the driver of a distributed engine is: exactly once, epoch by epoch.

An epoch is prepared by all sinks, noted in a file, and committed. What the engine repeats after a failure is dropped
by its number. An engine that numbers its own epochs, and may ask to commit one again, gets that for nothing; another
one commits `next_epoch`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from eventide.engines._dataflow.elements import Output
from eventide.engines._dataflow.packing import tables_of, unpack
from eventide.engines._dataflow.refused import each_refused
from eventide.engines.local.checkpointing import told
from eventide.engines.local.counts import Counts
from eventide.engines.local.durable_files import write_file
from eventide.engines.local.ledger import Ledger
from eventide.engines.local.plan import Plan
from eventide.engines.local.result import RunResult
from eventide.errors import CheckpointError
from eventide.log.layout import sync_folder
from eventide.model.machine import MAIN
from eventide.model.time import MIN_TIME

__all__ = ["Outlet"]

_NOTE = "sinks.json"


class Outlet:
    """Gives outputs to the sinks; made by `Dataflow.outlet`.

    Parameters
    ----------
    plan
        Of the whole pipeline, of which only the sinks are used here.
    buckets
        How many buckets there are.
    folder
        Where it is noted what was committed; a later outlet in this folder goes on from there.
    """

    def __init__(self, plan: Plan, buckets: int, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._begun = time.monotonic()
        self._ended = [False] * buckets
        self._taken = [0] * buckets
        self._marks = [MIN_TIME] * buckets
        self._counts: list[list[dict[str, Any]]] = [[] for _ in range(buckets)]
        self._head: list[dict[str, Any]] = []
        self._epoch = -1
        folder.mkdir(parents=True, exist_ok=True)
        self._open(self._note())
        self._resumed = self._epoch

    def _note(self) -> dict[str, Any] | None:
        try:
            note: dict[str, Any] = msgspec.json.decode((self._folder / _NOTE).read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            msg = f"{self._folder / _NOTE} cannot be read: {error}"
            raise CheckpointError(msg, hint="restore it from a copy, or begin anew in another folder") from error
        if note["fingerprint"] != self._plan.pipeline.fingerprint or len(note["taken"]) != len(self._taken):
            msg = f"{self._folder} is of another pipeline, or of this one with other buckets"
            raise CheckpointError(msg, hint="run it in another folder, or under another name")
        return note

    def _open(self, note: dict[str, Any] | None) -> None:
        if note is not None:
            self._epoch, self._taken, self._ended = note["epoch"], note["taken"], note["ended"]
            self._counts, self._head = note["counts"], note["head"]
            self._marks = note["marks"]
        states = note["sinks"] if note is not None else {}
        nodes = {label: node for node, label in self._plan.pipeline.labels.items()}
        self._plan.quarantine.open(note["quarantine"] if note is not None else None)
        for label, task in self._plan.sinks.items():
            state = states.get(label)
            told(task, "open", partial(task.sink.open, self._plan.schemas[nodes[label], MAIN], state))
            if note is not None and state is not None:
                told(task, "commit", partial(task.sink.commit, self._epoch + 1, state))
        if note is not None:
            self._plan.quarantine.commit(self._epoch + 1, note["quarantine"])

    @property
    def next_epoch(self) -> int:
        """The number of the epoch that follows the last one committed; 0 at the beginning."""
        return self._epoch + 1

    @property
    def ended(self) -> bool:
        """Whether all buckets have said that nothing more comes."""
        return all(self._ended)

    def taken(self, bucket: int) -> int:
        """Return the number of the first output of a bucket that was not written yet."""
        return self._taken[bucket]

    def write(self, outputs: Iterable[Output]) -> None:
        """Give outputs to the sinks, those of one bucket in order; what was written already is dropped.

        Raises
        ------
        CheckpointError
            One is missing.
        """
        for output in outputs:
            expected = self._taken[output.bucket]
            if output.seq < expected:
                continue
            if output.seq > expected:
                msg = f"output {output.seq} of bucket {output.bucket} came, where {expected} is the next"
                raise CheckpointError(msg, hint="the engine has lost output; begin again from its last checkpoint")
            self._write(output)
            self._taken[output.bucket] = expected + 1

    def _write(self, output: Output) -> None:
        facts, tables = unpack(output.data)
        for label, table in zip(facts["sinks"], tables, strict=False):
            batch = tables_of(table)
            if batch is not None:
                task = self._plan.sinks[label]
                told(task, "write", partial(task.sink.write, batch))
        for bad in tables[len(facts["sinks"]) :]:
            for operator, items, source, partition, form in each_refused(bad):
                self._plan.quarantine.put(operator, items, source=source, partition=partition, format=form)
        self._ended[output.bucket] = facts["ended"]
        self._marks[output.bucket] = facts["watermark"]
        self._counts[output.bucket] = facts["counts"]
        self._head = facts["head"] or self._head

    def commit(self, epoch: int) -> None:
        """Make everything written so far visible, as this epoch; one that was committed already is left alone."""
        if epoch <= self._epoch:
            return
        number = epoch + 1  # sinks count from 1
        states = {
            label: dict(told(task, "make durable what it has", partial(task.sink.prepare, number)))
            for label, task in self._plan.sinks.items()
        }
        refused = dict(self._plan.quarantine.prepare(number))
        note = {
            "fingerprint": self._plan.pipeline.fingerprint,
            "epoch": epoch,
            "sinks": states,
            "quarantine": refused,
            "taken": self._taken,
            "ended": self._ended,
            "marks": self._marks,
            "counts": self._counts,
            "head": self._head,
        }
        new = self._folder / f".{_NOTE}"
        write_file(new, msgspec.json.encode(note))
        Path(new).replace(self._folder / _NOTE)
        sync_folder(self._folder)
        for label, task in self._plan.sinks.items():
            told(task, "commit", partial(task.sink.commit, number, states[label]))
        self._plan.quarantine.commit(number, refused)
        self._epoch = epoch

    def ledger(self) -> Ledger:
        """Return what all parts of the pipeline have counted."""
        total: dict[str, Counts] = {}
        for counts in Ledger.from_dict({"operators": [*self._head, *(c for b in self._counts for c in b)]}):
            if counts.label in total:
                total[counts.label] = total[counts.label].plus(counts)
            else:
                total[counts.label] = counts
        labels = [*self._plan.reads, *self._plan.tasks]
        return Ledger(tuple(total[label] for label in labels if label in total), self._plan.quarantine.total)

    def result(self, *, stopped: bool = False) -> RunResult:
        """Return what the run did, as far as it was written."""
        ledger = self.ledger()
        return RunResult(
            pipeline=self._plan.pipeline.name,
            fingerprint=self._plan.pipeline.fingerprint,
            seconds=time.monotonic() - self._begun,
            rows_in=sum(c.rows_out for c in ledger if c.label in self._plan.reads),
            rows_out=sum(c.rows_out for c in ledger if c.label in self._plan.sinks),
            late=sum(c.late for c in ledger),
            quarantined=self._plan.quarantine.total,
            watermark=min(self._marks),
            stopped=stopped,
            resumed_from=self._resumed + 1,
            checkpoint=self._epoch + 1,
            ledger=ledger,
        )

    def close(self, *, failed: bool = False) -> None:
        """Let go of the sinks."""
        with contextlib.ExitStack() as closing:
            closing.callback(self._plan.quarantine.close)
            for task in self._plan.sinks.values():
                closing.callback(getattr(task.sink, "abandon", task.sink.close) if failed else task.sink.close)
