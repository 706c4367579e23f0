"""The loop of a run: takes what the feeds bring, pushes it through the tasks, writes checkpoints in between."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.engines.local.feed import Feed, Item, Items
from eventide.engines.local.options import LocalOptions
from eventide.engines.local.plan import Plan
from eventide.engines.local.result import Progress, RunResult
from eventide.engines.local.tasks import Flow, Saved, send
from eventide.errors import CheckpointError, EventideError, RunError
from eventide.model.machine import MAIN
from eventide.model.protocols import Chunk, Position
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["Loop"]

_PROGRESS_SECONDS = 0.2
_ROWS = 65_536
_QUERY_ROWS = 524_288


class Loop:
    """One run of a plan in this process.

    Everything between two items happens in one thread (stateful nodes fork and join inside a push), so that a
    checkpoint between items is a consistent cut without any barrier.
    """

    def __init__(
        self,
        plan: Plan,
        options: LocalOptions,
        *,
        stop: threading.Event | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._plan = plan
        self._options = options
        self._stop = stop or threading.Event()
        self._on_progress = on_progress
        self._items: Items = queue.Queue()
        self._feeds: dict[str, Feed] = {}
        self._positions: dict[str, dict[str, Position]] = {label: {} for label in plan.sources}
        self._rows = 0
        self._number = 0
        self._resumed = 0
        self._finished: set[str] = set()
        sinks = (t.sink for t in plan.sinks.values())
        self._publish: list[Callable[[], None]] = [s.publish for s in sinks if hasattr(s, "publish")]
        name = plan.pipeline.name
        self._store = CheckpointStore(options.checkpoint, name, keep=options.keep) if options.checkpoint else None

    def run(self) -> RunResult:
        """Run to the end, or until stopped."""
        self._begun = time.monotonic()
        try:
            self._open()
            self._work()
            ended = len(self._finished) == len(self._plan.sources)
            self._checkpoint(final=ended)
            return self._result(stopped=not ended)
        finally:
            self._close()

    # -- opening and closing

    def _open(self) -> None:
        found = self._store.load() if self._store and self._options.resume else None
        sinks: dict[str, Any] = {}
        if self._store is not None:
            # A fresh run goes on counting, so that it never writes over a checkpoint that is there.
            self._number = max(self._store.numbers(), default=0)
        if found is not None:
            self._restore(found)
            sinks = found.manifest["sinks"]
        nodes = {label: node for node, label in self._plan.pipeline.labels.items()}
        for label, task in self._plan.sinks.items():
            task.sink.open(self._plan.schemas[nodes[label], MAIN], sinks.get(label))
            if label in sinks:
                # The crash may have come between the checkpoint and the commit of what it prepared.
                task.sink.commit(self._number, sinks[label])
        rows = self._options.batch_rows or (_QUERY_ROWS if self._plan.queries else _ROWS)
        for label, source in self._plan.sources.items():
            reader = source.open(self._positions[label])
            self._feeds[label] = Feed(label, reader, items=self._items, max_rows=rows)
        for feed in self._feeds.values():
            feed.start()

    def _restore(self, found: Checkpoint) -> None:
        if found.manifest["fingerprint"] != self._plan.pipeline.fingerprint:
            msg = f"checkpoint {found.number} of pipeline {self._plan.pipeline.name!r} is of another graph"
            hint = "the pipeline was changed since: run with resume=False (--fresh), or under another name"
            raise CheckpointError(msg, hint=hint)
        self._number = self._resumed = found.number
        self._positions = {label: dict(p) for label, p in found.manifest["positions"].items()}
        for label, task in self._plan.tasks.items():
            task.load(Saved(found.manifest["tasks"][label], found.states.get(label, {})))

    def _close(self) -> None:
        for feed in self._feeds.values():
            feed.stop()
        for task in self._plan.sinks.values():
            task.sink.close()
        self._plan.workers.close()

    # -- working

    def _work(self) -> None:
        interval = self._options.interval_seconds
        tick = self._options.tick_seconds if self._plan.ticks else _PROGRESS_SECONDS
        next_checkpoint = self._begun + interval
        next_progress = self._begun + _PROGRESS_SECONDS
        next_tick = self._begun
        while len(self._finished) < len(self._plan.sources) and not self._stop.is_set():
            now = time.monotonic()
            if self._plan.ticks and now >= next_tick:
                self._tick()
                next_tick = now + tick
            self._take(min(tick, 0.05))
            if self._store is None:
                for publish in self._publish:
                    publish()
            now = time.monotonic()
            if self._on_progress is not None and now >= next_progress:
                self._on_progress(self._progress())
                next_progress = now + _PROGRESS_SECONDS
            if self._store is not None and now >= next_checkpoint:
                self._checkpoint()
                next_checkpoint = time.monotonic() + interval
        if self._on_progress is not None:
            self._on_progress(self._progress())

    def _take(self, timeout: float) -> None:
        try:
            item = self._items.get(timeout=timeout)
        except queue.Empty:
            return
        self._feeds[item.read].taken()
        if item.error is not None:
            raise self._failed(item)
        if item.finished:
            self._finished.add(item.read)
            send(self._plan.entries[item.read], Flow(None, MAX_TIME, self._clock(), end=True))
            return
        for chunk in item.chunks:
            self._chunk(item.read, chunk)

    def _chunk(self, read: str, chunk: Chunk) -> None:
        self._rows += chunk.batch.num_rows
        self._plan.reads[read].take(chunk, self._clock())
        self._positions[read][chunk.partition] = chunk.position

    def _clock(self) -> int:
        return time.time_ns() if self._plan.ticks else MIN_TIME

    def _tick(self) -> None:
        for read, targets in self._plan.entries.items():
            if read not in self._finished:
                send(targets, Flow(None, MIN_TIME, self._clock()))

    def _failed(self, item: Item) -> BaseException:
        error = item.error
        assert error is not None
        if isinstance(error, EventideError) or not isinstance(error, Exception):
            return error
        msg = f"the source {item.read} failed: {type(error).__name__}: {error}"
        failure = RunError(msg, hint="the cause is this error's __cause__; --debug shows it")
        failure.__cause__ = error
        return failure

    # -- checkpoints

    def _checkpoint(self, *, final: bool = False) -> None:
        """Commit everything up to here: always at the end, in between only where checkpoints are kept."""
        number = self._number + 1
        prepared = {label: dict(t.sink.prepare(number)) for label, t in self._plan.sinks.items()}
        if self._store is not None:
            saved = {label: task.save() for label, task in self._plan.tasks.items()}
            manifest = {
                "pipeline": self._plan.pipeline.name,
                "fingerprint": self._plan.pipeline.fingerprint,
                "final": final,
                "written": time.time_ns(),
                "positions": {r: {p: dict(v) for p, v in ps.items()} for r, ps in self._positions.items()},
                "sinks": prepared,
                "tasks": {label: dict(s.data) for label, s in saved.items()},
            }
            self._store.save(Checkpoint(number, manifest, {n: s.tables for n, s in saved.items() if s.tables}))
        for label, task in self._plan.sinks.items():
            task.sink.commit(number, prepared[label])
        self._number = number

    # -- reporting

    def _counts(self) -> tuple[int, int, int]:
        counts = [t.counts for t in self._plan.tasks.values()]
        out = sum(t.counts.rows_out for t in self._plan.sinks.values())
        return out, sum(c.late for c in counts), self._plan.quarantine.rows

    def _watermark(self) -> int:
        marks = [getattr(t, "watermark", None) for t in self._plan.tasks.values()]
        known = [m for m in marks if m is not None]
        return min(known) if known else MIN_TIME

    def _progress(self) -> Progress:
        out, late, quarantined = self._counts()
        backlogs = [f.reader.backlog() for f in self._feeds.values()]
        known = [b for b in backlogs if b is not None]
        seconds = time.monotonic() - self._begun
        backlog = sum(known) if known else None
        return Progress(seconds, self._rows, out, late, quarantined, self._watermark(), backlog)

    def _result(self, *, stopped: bool) -> RunResult:
        out, late, quarantined = self._counts()
        return RunResult(
            pipeline=self._plan.pipeline.name,
            fingerprint=self._plan.pipeline.fingerprint,
            seconds=time.monotonic() - self._begun,
            rows_in=self._rows,
            rows_out=out,
            late=late,
            quarantined=quarantined,
            watermark=self._watermark(),
            stopped=stopped,
            resumed_from=self._resumed,
            checkpoint=self._number if self._store else 0,
            ledger=self._plan.ledger(),
        )
