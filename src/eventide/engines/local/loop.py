"""The loop of a run: takes what the feeds bring, pushes it through the tasks, makes checkpoints in between."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.engines.local.checkpointing import Checkpointer, Done, told
from eventide.engines.local.feed import WAKE, Feed, Item, Items
from eventide.engines.local.joining import joined, joins
from eventide.engines.local.ledger import Ledger
from eventide.engines.local.metrics import RunMetrics
from eventide.engines.local.options import LocalOptions
from eventide.engines.local.plan import Plan
from eventide.engines.local.requests import Requests
from eventide.engines.local.result import Progress, RunResult
from eventide.engines.local.savepoints import owner as savepoint_owner
from eventide.engines.local.split import Ahead, quick_turns
from eventide.engines.local.tasks import Flow, Saved, send
from eventide.errors import CheckpointError, EventideError, RunError
from eventide.model.machine import MAIN
from eventide.model.protocols import Chunk, Position
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["Loop", "Totals"]

_PROGRESS_SECONDS = 0.2
_FIGURES_SECONDS = 1.0
_ROWS = 131_072
_QUERY_ROWS = 524_288


@dataclass(slots=True)
class Totals:
    """Events of a run up to some moment."""

    rows_in: int = 0
    rows_out: int = 0
    late: int = 0
    quarantined: int = 0

    def minus(self, other: Totals) -> Totals:
        """Return the difference."""
        return Totals(
            self.rows_in - other.rows_in,
            self.rows_out - other.rows_out,
            self.late - other.late,
            self.quarantined - other.quarantined,
        )


class Loop:
    """One attempt at running a plan in this process, from a checkpoint (or the beginning) until it ends or fails.

    Everything between two items happens in one thread (stateful nodes fork and join inside a push), so that a
    checkpoint between items is a consistent cut without any barrier.

    Parameters
    ----------
    plan, options
        What runs, and how.
    store
        Where checkpoints are kept; None keeps none.
    stop
        Set to stop cleanly.
    on_progress
        Called now and then.
    metrics
        The figures of the run, of which this may be one of several attempts.
    on_checkpoint
        Called whenever a checkpoint is durable and committed.
    began
        Where the first attempt began to read each source, which it fills in: a later one that has no checkpoint
        of this run to go on from begins there too.
    """

    def __init__(
        self,
        plan: Plan,
        options: LocalOptions,
        *,
        store: CheckpointStore | None,
        stop: threading.Event,
        on_progress: Callable[[Progress], None] | None,
        metrics: RunMetrics,
        on_checkpoint: Callable[[], None],
        began: dict[str, dict[str, Position]],
    ) -> None:
        self._plan = plan
        # Once: it looks at all that is bound to functions, which may be large tables.
        self._fingerprint = plan.pipeline.fingerprint
        self._options = options
        self._max_rows = options.batch_rows or (_QUERY_ROWS if plan.queries else _ROWS)
        self._stop = stop
        self._on_progress = on_progress
        self._items: Items = queue.SimpleQueue()
        self._held: Item | None = None  # taken from the queue before its turn
        self._feeds: dict[str, Feed] = {}
        self._positions: dict[str, dict[str, Position]] = {label: {} for label in plan.sources}
        self._resumed = 0
        self._finished: set[str] = set()
        sinks = (t.sink for t in plan.sinks.values())
        self._publish: list[Callable[[], None]] = [s.publish for s in sinks if hasattr(s, "publish")]
        self._store = store
        self._requests = Requests(store.folder if store else None)
        self._checkpoints = Checkpointer(plan, store, number=0, wake=lambda: self._items.put(WAKE))
        self._metrics = metrics
        self._on_checkpoint = on_checkpoint
        self._began = began
        self._base = Totals()
        self._cut_positions: dict[str, dict[str, Position]] = {}
        self.opened = False

    def run(self) -> RunResult:
        """Run to the end, or until stopped."""
        self._begun = time.monotonic()
        try:
            self._open()
            with quick_turns() if self._plan.splits else contextlib.nullcontext():
                self._work()
            self._metrics.enter("stopping")
            ended = len(self._finished) == len(self._plan.sources)
            self._done(self._checkpoints.poll(wait=True))
            self._requests.look()
            self._begin(final=ended)
            self._done(self._checkpoints.poll(wait=True))
            result = self._result(stopped=not ended)
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is what matters
                self._close(failed=True)
            raise
        self._close()
        return result

    # -- opening and closing

    def _open(self) -> None:
        found = self._find() if self._store is not None else None
        if found is not None:
            self._restore(found)
        elif self._store is not None:
            self._plan.quarantine.open(None)
        if self._store is not None:
            self._turn(self._store)
        self._metrics.attach(self._plan)
        self._open_sinks(found)
        self._open_feeds()
        self.opened = True
        if found is not None:
            self._metrics.resumed(found.number)
        self._metrics.enter("running")

    def _find(self) -> Checkpoint | None:
        assert self._store is not None
        self._store.tidy()
        # A fresh run goes on counting, so that it never writes over a checkpoint that is there.
        self._checkpoints.number = max(self._store.numbers(), default=0)
        if self._options.from_savepoint:
            return self._store.load(str(self._options.from_savepoint))
        return self._store.load() if self._options.resume else None

    def _turn(self, store: CheckpointStore) -> None:
        """Where the run does not go on from the newest checkpoint: make one that it does go on from."""
        numbers = store.numbers()
        savepoint = self._options.from_savepoint
        if not savepoint and (self._options.resume or not numbers):
            return
        number = self._checkpoints.number + 1
        facts = {**self._facts(final=False), "totals": asdict(Totals()), "written": time.time_ns(), "since": number}
        if savepoint:
            kept = ("ledger", "metrics", "final")
            facts = {name: value for name, value in facts.items() if name not in kept}
        store.turn(number, facts, to=store.path_of(str(savepoint)) if savepoint else None)
        self._checkpoints.number = self._checkpoints.since = number

    def _open_sinks(self, found: Checkpoint | None) -> None:
        states: Mapping[str, Any] = found.manifest["sinks"] if found is not None else {}
        nodes = {label: node for node, label in self._plan.pipeline.labels.items()}
        for label, task in self._plan.sinks.items():
            if self._store is not None and hasattr(task.sink, "beside"):
                task.sink.beside(self._store.beside(label))
            told(task, "open", partial(task.sink.open, self._plan.schemas[nodes[label], MAIN], states.get(label)))
            if found is not None and label in states:
                # The crash may have come between the checkpoint and the commit of what it prepared.
                told(task, "commit", partial(task.sink.commit, found.number, states[label]))

    def _open_feeds(self) -> None:
        for label, source in self._plan.sources.items():
            self._feeds[label] = feed = Feed(
                label,
                source,
                self._began.get(label, {}) | self._positions[label],
                items=self._items,
                max_rows=self._max_rows,
                max_bytes=self._options.queue_bytes,
                policy=self._options.retry_policy,
                spare=self._plan.spare,
                early=self._plan.early.get(label),
            )
            self._positions[label] = feed.positions
            self._began.setdefault(label, feed.positions)
            self._metrics.source(label, feed.times, feed.circuit)
        if self._store is not None:
            self._release(self._positions)
        for feed in self._feeds.values():
            feed.start()

    def _restore(self, found: Checkpoint) -> None:
        if found.manifest["fingerprint"] != self._fingerprint:
            msg = f"checkpoint {found.number} of pipeline {self._plan.pipeline.name!r} is of another graph"
            hint = "the pipeline was changed since: run with resume=False (--fresh), or under another name"
            raise CheckpointError(msg, hint=hint)
        self._resumed = found.number
        self._plan.go_on(Ledger.from_dict(found.manifest["ledger"]))
        self._plan.quarantine.open(found.manifest["quarantine"])
        self._plan.quarantine.commit(found.number, found.manifest["quarantine"])
        self._base = self._counted()
        if found.manifest["run"] == self._metrics.run:  # an earlier attempt of this run wrote it
            self._base = self._base.minus(Totals(**found.manifest["totals"]))
        self._positions |= {label: dict(p) for label, p in found.manifest["positions"].items()}
        self._checkpoints.since = int(found.manifest.get("since", 0))
        if found.manifest["final"] or not found.manifest["tasks"]:
            return  # every window was closed by the end of the input: what came since is input of its own
        for label, task in self._plan.tasks.items():
            task.load(Saved(found.manifest["tasks"][label], found.states.get(label, {})))

    def _close(self, *, failed: bool = False) -> None:
        # Each is closed, whatever happens to the others: an open sink would keep its lock.
        with contextlib.ExitStack() as closing:
            closing.callback(self._plan.workers.close)
            closing.callback(self._plan.quarantine.close)
            for task in self._plan.sinks.values():
                closing.callback(getattr(task.sink, "abandon", task.sink.close) if failed else task.sink.close)
            closing.callback(self._checkpoints.close)
            for feed in self._feeds.values():
                closing.callback(feed.stop)

    # -- working

    def _work(self) -> None:
        interval = self._options.interval_seconds
        tick = self._options.tick_seconds if self._plan.ticks else _PROGRESS_SECONDS
        next_checkpoint = self._begun + interval
        next_look = next_figures = next_tick = self._begun
        while len(self._finished) < len(self._plan.sources) and not self._stop.is_set():
            now = time.monotonic()
            if self._plan.ticks and now >= next_tick:
                self._tick()
                next_tick = now + tick
            self._take(min(tick, 0.05))
            if self._store is None:
                for publish in self._publish:
                    publish()
            else:
                self._done(self._checkpoints.poll())
            now = time.monotonic()
            if now >= next_look:
                self._report()
                self._requests.look()
                next_look = now + _PROGRESS_SECONDS
            if now >= next_figures:
                self._metrics.look({label: feed.backlog() for label, feed in self._feeds.items()})
                next_figures = now + _FIGURES_SECONDS
            due = now >= next_checkpoint or self._requests.waiting or self._plan.quarantine.full
            if self._store is not None and due and not self._checkpoints.pending:
                self._begin()
                # Where the cut takes longer than the interval, half of the time is left for the work.
                next_checkpoint = max(now + interval, 2 * time.monotonic() - now)
        self._report()

    def _take(self, timeout: float) -> None:
        item, self._held = self._held, None
        if item is None:
            try:
                item = self._items.get(timeout=timeout)
            except queue.Empty:
                return
        if item is WAKE:
            return
        if item.error is not None:
            raise self._failed(item)
        self._metrics.took(item.arrived)
        if item.finished:
            self._finished.add(item.read)
            send(self._plan.entries[item.read], Flow(None, MAX_TIME, self._clock(), end=True))
            return
        items = self._behind(item)
        chunks = joined((c for i in items for c in i.chunks), max_rows=self._max_rows) if items[1:] else item.chunks
        for chunk, ahead in itertools.zip_longest(chunks, item.ahead):
            self._chunk(item.read, chunk, ahead)
        for one in items:
            self._feeds[one.read].taken(one)

    def _behind(self, item: Item) -> list[Item]:
        """Return an item and those of the same feed that wait behind it, as far as they may be one batch.

        No more are taken at once: checkpoints are made, and stops are heeded, in between.
        """
        items, rows, size = [item], item.rows, item.size
        while joins(rows, size, max_rows=self._max_rows) and not any(item.ahead):
            try:
                behind = self._items.get_nowait()
            except queue.Empty:
                break
            rows, size = rows + behind.rows, size + behind.size
            fits = joins(rows, size, max_rows=self._max_rows) and not any(behind.ahead)
            if behind.read != item.read or not behind.chunks or not fits:
                self._held = behind
                break
            items.append(behind)
        return items

    def _chunk(self, read: str, chunk: Chunk, ahead: Ahead | None) -> None:
        self._plan.reads[read].take(chunk, self._clock(), ahead)
        self._positions[read][chunk.partition] = chunk.position

    def _clock(self) -> int:
        return (self._options.clock or time.time_ns)() if self._plan.ticks else MIN_TIME

    def _tick(self) -> None:
        self._metrics.took()
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

    def _begin(self, *, final: bool = False) -> None:
        """Cut everything up to here: always at the end, in between only where checkpoints are kept."""
        self._requests.begin()
        facts = self._facts(final=final)
        self._cut_positions = {label: dict(positions) for label, positions in self._positions.items()}
        for label, state in self._checkpoints.begin(self._cut_positions, facts).items():
            self._metrics.snapshotted(label, state)

    def _facts(self, *, final: bool) -> dict[str, Any]:
        pipeline = self._plan.pipeline
        return {
            "pipeline": pipeline.name,
            "fingerprint": self._fingerprint,
            "run": self._metrics.run,
            "totals": asdict(self._totals()),
            "ledger": self._plan.ledger().to_dict(),
            "metrics": self._metrics.stored() if self._store else [],
            "final": final,
        }

    def _done(self, done: Done | None) -> None:
        if done is None or self._store is None:
            return
        self._metrics.checkpointed(done.number, seconds=done.seconds, nbytes=done.size)
        self._on_checkpoint()
        self._release(done.released)
        for name in self._requests.begun:
            self._requests.answer(name, partial(self._keep_as, name))

    def _keep_as(self, name: str) -> None:
        path = self._checkpoints.keep_as(name)
        try:
            for label, feed in self._feeds.items():
                owner = savepoint_owner(self._plan.pipeline.name, name, label)
                feed.release(owner, self._cut_positions.get(label, {}))
        except BaseException:
            self._checkpoints.drop(name)  # what it needs could be deleted any time
            raise
        self._metrics.log.tell("savepoint", f"savepoint {name}: {path}", number=self._checkpoints.number)

    def _release(self, released: Mapping[str, Mapping[str, Position]]) -> None:
        """Tell the sources before which positions this pipeline will never read again."""
        for label, feed in self._feeds.items():
            feed.release(f"{self._plan.pipeline.name}/{label}", released.get(label, {}))

    # -- reporting

    def _counted(self) -> Totals:
        """Return what the ledger says, earlier runs included."""
        counts = [t.counts for t in self._plan.tasks.values()]
        return Totals(
            rows_in=sum(t.counts.rows_out for t in self._plan.reads.values()),
            rows_out=sum(t.counts.rows_out for t in self._plan.sinks.values()),
            late=sum(c.late for c in counts),
            quarantined=self._plan.quarantine.total,
        )

    def _totals(self) -> Totals:
        return self._counted().minus(self._base)

    @property
    def watermark(self) -> int:
        """The lowest watermark."""
        marks = [getattr(t, "watermark", None) for t in self._plan.tasks.values()]
        known = [m for m in marks if m is not None]
        return min(known) if known else MIN_TIME

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._progress())

    def _progress(self) -> Progress:
        total = self._totals()
        backlogs = [f.backlog() for f in self._feeds.values()]
        known = [b for b in backlogs if b is not None]
        waiting = [f"{f.read}: {f.circuit.reason}" for f in self._feeds.values() if f.circuit.state != "closed"]
        return Progress(
            seconds=time.monotonic() - self._begun,
            rows_in=total.rows_in,
            rows_out=total.rows_out,
            late=total.late,
            quarantined=total.quarantined,
            watermark=self.watermark,
            backlog=sum(known) if known else None,
            state="waiting" if waiting else "running",
            reason="; ".join(waiting),
        )

    def _result(self, *, stopped: bool) -> RunResult:
        total, ledger = self._totals(), self._plan.ledger()
        for line in ledger.check():
            self._metrics.log.tell("ledger", f"the ledger does not add up: {line}")
        return RunResult(
            pipeline=self._plan.pipeline.name,
            fingerprint=self._fingerprint,
            seconds=time.monotonic() - self._begun,
            rows_in=total.rows_in,
            rows_out=total.rows_out,
            late=total.late,
            quarantined=total.quarantined,
            watermark=self.watermark,
            stopped=stopped,
            resumed_from=self._resumed,
            checkpoint=self._checkpoints.number if self._store else 0,
            run=self._metrics.run,
            ledger=ledger,
        )
