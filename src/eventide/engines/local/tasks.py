"""Tasks: the nodes of a plan at run time. A task takes a `Flow` on a port and passes on what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide import registry
from eventide.engines.local.chain import Stage
from eventide.engines.local.counts import Counts
from eventide.engines.local.lanes import Lane, Workers
from eventide.engines.local.split import Ahead, SplitStage
from eventide.errors import DataError, EventideError, RunError
from eventide.kernel.watermarks import PartitionWatermark
from eventide.model.batch import WATERMARK_COLUMN, as_event_time, concat, event_times, visible
from eventide.model.machine import DUPLICATES, LATE, MAIN, Step
from eventide.model.protocols import BadInput, Chunk, Sink
from eventide.model.state import State, StateMerger
from eventide.model.time import MAX_TIME, MIN_TIME, EventTime

BoolArray = npt.NDArray[np.bool_]

__all__ = [
    "AssignTask",
    "ChainTask",
    "Flow",
    "MachineTask",
    "Quarantining",
    "ReadTask",
    "Saved",
    "Target",
    "Task",
    "UnionTask",
    "WriteTask",
    "send",
]


_NO_TIME = "there is no event time that can be read"
_EDGE = "the event time is within ten years of what 64 bits of nanoseconds can hold (1677 and 2262)"
_STRAY = "the event time leaps too far ahead (max_jump)"


# Windows, latenesses and intervals are added to event times: near the ends of int64 the sums would not fit.
_MARGIN = 3652 * 86_400 * 10**9
_FIRST, _LAST = MIN_TIME + _MARGIN, MAX_TIME - _MARGIN


def _rows_as_bytes(batch: pa.RecordBatch) -> tuple[str, list[bytes]]:
    """Return every row as a line of JSON, or as an Arrow stream where JSON cannot hold its columns; and which."""
    try:
        lines: list[bytes] = registry.resolve("format", "json").encode(batch).splitlines()
    except EventideError:
        encode = registry.resolve("format", "arrow").encode
        return "arrow", [encode(batch.slice(row, 1)) for row in range(batch.num_rows)]
    return "json", lines


Span: TypeAlias = "tuple[int, int] | None"


class Flow(NamedTuple):
    """What travels between tasks: events, and how far time has come after them."""

    batch: pa.RecordBatch | None
    watermark: int
    clock: int = MIN_TIME
    end: bool = False
    partition: str = ""
    span: Span = None
    """The earliest and the latest event time, where they are known already."""
    ahead: Ahead | None = None
    """What has been begun of the batch, for the task that asked for it; only as long as its rows are as they came."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a task must remember, for a checkpoint: plain data and Arrow tables."""

    data: Mapping[str, Any] = field(default_factory=dict)
    tables: State = field(default_factory=dict)


class Quarantining(Protocol):
    """Where input goes that cannot be processed: `eventide.engines.local.quarantine.Quarantine.put`."""

    def __call__(
        self, operator: str, items: Sequence[BadInput], *, source: str = "", partition: str = "", format: str = ""
    ) -> None:
        """Keep input that an operator (or a source) could not take."""


class Task(Protocol):
    """A node of the plan at run time."""

    counts: Counts
    targets: dict[str, list[Target]]

    def push(self, port: int, flow: Flow) -> None:
        """Take a flow."""

    def save(self) -> Saved:
        """Return what must be remembered."""

    def load(self, saved: Saved) -> None:
        """Take over what was remembered."""


class Target(NamedTuple):
    """Where an output goes: a task and its input port."""

    task: Task
    port: int


def send(targets: list[Target], flow: Flow) -> None:
    """Pass a flow on."""
    for task, port in targets:
        task.push(port, flow)


@dataclass(slots=True)
class ReadTask:
    """A source: what it brings goes on, and what it could not decode to quarantine."""

    counts: Counts
    quarantine: Quarantining
    targets: list[Target]

    def take(self, chunk: Chunk, clock: int, ahead: Ahead | None = None) -> None:
        """Take a chunk; `clock` is the processing time where the chunk brings none, `ahead` what has been begun."""
        label, batch = self.counts.label, chunk.batch
        self.counts.rows_in += batch.num_rows + len(chunk.bad)
        if chunk.bad:
            self.counts.quarantined += len(chunk.bad)
            self.quarantine(label, chunk.bad, source=label, partition=chunk.partition)
        self.counts.rows_out += batch.num_rows
        clock = chunk.clock if chunk.clock > MIN_TIME else clock
        partition = f"{label}/{chunk.partition}"
        send(self.targets, Flow(batch, chunk.heartbeat, clock, partition=partition, ahead=ahead))


@dataclass(slots=True)
class ChainTask:
    """A fused chain of filters, projections and functions.

    Parameters
    ----------
    early
        Whether the first stage may be begun before the batch's turn comes: then flows bring what has been.
    """

    counts: Counts
    stages: list[Stage]
    targets: dict[str, list[Target]] = field(default_factory=dict)
    early: bool = False

    def push(self, port: int, flow: Flow) -> None:
        """Run the stages over the batch and pass on what is left."""
        targets = self.targets.get(MAIN, [])
        ahead, flow = flow.ahead, flow._replace(ahead=None)
        if flow.batch is None or not flow.batch.num_rows:
            send(targets, flow._replace(batch=None))
            return
        self.counts.rows_in += flow.batch.num_rows
        batches, stages = [flow.batch], self.stages
        if self.early and ahead is not None:
            first, *stages = stages
            assert isinstance(first, SplitStage)
            batches = first(flow.batch, ahead)
        for stage in stages:
            batches = [made for b in batches for made in stage(b)]
        batches = [b for b in batches if b.num_rows]
        self.counts.rows_out += sum(b.num_rows for b in batches)
        send(targets, flow._replace(batch=concat(batches) if batches else None))

    def save(self) -> Saved:
        """Nothing is remembered."""
        return Saved()

    def load(self, saved: Saved) -> None:
        """Nothing is remembered."""


@dataclass(slots=True)
class AssignTask:
    """Makes event time and watermarks; what has no believable time goes to quarantine."""

    counts: Counts
    event_time: EventTime
    partitions: dict[str, PartitionWatermark]
    quarantine: Quarantining
    targets: dict[str, list[Target]] = field(default_factory=dict)
    watermark: int = MIN_TIME
    seen: dict[str, int] = field(default_factory=dict)

    def push(self, port: int, flow: Flow) -> None:
        """Take the events of one partition, or the passing of time, or the end."""
        targets = self.targets.get(MAIN, [])
        if flow.end:
            self.watermark = MAX_TIME
            send(targets, Flow(None, MAX_TIME, flow.clock, end=True))
            return
        batch = span = None
        if flow.batch is not None and flow.batch.num_rows:
            self.counts.rows_in += flow.batch.num_rows
            self.seen[flow.partition] = flow.clock
            batch, span = self._assign(flow.batch, flow.partition)
            self.counts.rows_out += batch.num_rows
        if flow.watermark > MIN_TIME:  # a heartbeat: before event time is assigned nothing else has a watermark
            self._generator(flow.partition).heartbeat(flow.watermark)
        self.watermark = max(self.watermark, self._lowest(flow.clock))
        ahead = flow.ahead
        if ahead is not None and batch is not flow.batch:  # some rows are behind the watermark, or rejected
            ahead.drop()
            ahead = None
        send(targets, Flow(batch, self.watermark, flow.clock, span=span, ahead=ahead))

    def _lowest(self, clock: int) -> int:
        idle = self.event_time.idle
        live = [
            w.watermark
            for p, w in self.partitions.items()
            if not (idle and clock > MIN_TIME and clock - self.seen.setdefault(p, clock) >= idle)
        ]
        return min(live) if live else self.watermark

    def _generator(self, partition: str) -> PartitionWatermark:
        if partition not in self.partitions:
            self.partitions[partition] = PartitionWatermark(self.event_time.lateness, self.event_time.max_jump)
        return self.partitions[partition]

    def _assign(self, batch: pa.RecordBatch, partition: str) -> tuple[pa.RecordBatch, Span]:
        name = self.event_time.column
        index = batch.schema.get_field_index(name)
        told = batch.column(index)
        times = as_event_time(told)
        made = batch.set_column(index, name, times) if times is not told else batch
        if times.null_count:
            made, batch = self._reject(made, batch, np.asarray(times.is_null()), reason=_NO_TIME, partition=partition)
        if not made.num_rows:
            return made, None
        generator = self._generator(partition)
        values = event_times(made, name)
        passed = generator.look(values)
        if passed.low < _FIRST or passed.high > _LAST:
            edge = (values < _FIRST) | (values > _LAST)
            made, batch = self._reject(made, batch, edge, reason=_EDGE, partition=partition)
            if not made.num_rows:
                return made, None
            values = event_times(made, name)
            passed = generator.look(values)
        others = [w.watermark for p, w in self.partitions.items() if p != partition]
        verdict = generator.push(values, others=min(others) if others else None, passed=passed)
        if verdict.marks is not None:
            made = made.append_column(WATERMARK_COLUMN, pa.array(verdict.marks, pa.int64()))
        if verdict.strays is not None:
            made, _ = self._reject(made, batch, verdict.strays, reason=_STRAY, partition=partition)
            return made, None
        return made, (passed.low, passed.high)

    def _reject(
        self, made: pa.RecordBatch, came: pa.RecordBatch, bad: BoolArray, *, reason: str, partition: str
    ) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Put rows in quarantine as they came, and return the others with the event time and as they came."""
        rejected = came.select(visible(came.schema).names).filter(pa.array(bad))
        why = f"{self.event_time.column}: {reason}"
        form, rows = _rows_as_bytes(rejected)
        items = [BadInput(data, partition, why) for data in rows]
        self.counts.quarantined += len(items)
        source, _, of = partition.partition("/")
        self.quarantine(self.counts.label, items, source=source, partition=of, format=form)
        good = pa.array(~bad)
        return made.filter(good), came.filter(good)

    def save(self) -> Saved:
        """Return the newest time of each partition."""
        return Saved(
            {
                "watermark": self.watermark,
                "partitions": {p: [w.newest, w.streak] for p, w in self.partitions.items()},
            }
        )

    def load(self, saved: Saved) -> None:
        """Go on with the watermarks that were reached."""
        self.watermark = saved.data["watermark"]
        for partition, (newest, streak) in saved.data["partitions"].items():
            self.partitions[partition] = PartitionWatermark(
                self.event_time.lateness, self.event_time.max_jump, newest, streak
            )


@dataclass(slots=True)
class UnionTask:
    """Several inputs as one; time is as far as the slowest of them."""

    counts: Counts
    watermarks: list[int]
    ended: list[bool]
    targets: dict[str, list[Target]] = field(default_factory=dict)

    def push(self, port: int, flow: Flow) -> None:
        """Pass on events at once; pass on the lowest watermark, and the end when all have ended."""
        rows = flow.batch.num_rows if flow.batch is not None else 0
        self.counts.rows_in += rows
        self.counts.rows_out += rows
        self.ended[port] = self.ended[port] or flow.end
        end = all(self.ended)
        if flow.partition:  # no event time yet: a heartbeat is about one partition and stays with it
            send(self.targets.get(MAIN, []), flow)
            return
        self.watermarks[port] = flow.watermark
        send(self.targets.get(MAIN, []), flow._replace(watermark=min(self.watermarks), end=end, ahead=None))

    def save(self) -> Saved:
        """Return how far each input is."""
        return Saved({"watermarks": list(self.watermarks)})

    def load(self, saved: Saved) -> None:
        """Go on from there."""
        self.watermarks[:] = saved.data["watermarks"]


@dataclass(slots=True)
class MachineTask:
    """A stateful node: its machines, one a lane; `keys` are the key columns of each input."""

    counts: Counts
    lanes: list[Lane]
    workers: Workers
    keys: tuple[tuple[str, ...], ...]
    where: str
    targets: dict[str, list[Target]] = field(default_factory=dict)
    seq: int = 0
    watermark: int = MIN_TIME
    known: list[int] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)
    seen: int = 0
    _merger: StateMerger = field(default_factory=StateMerger)

    def __post_init__(self) -> None:
        self.known = self.known or [MIN_TIME] * len(self.keys)
        self.ended = [False] * len(self.keys)

    def push(self, port: int, flow: Flow) -> None:
        """Push a step into the machines and pass on what they emit."""
        rows = flow.batch.num_rows if flow.batch is not None else 0
        if not rows and flow.watermark == self.known[port] and flow.clock == MIN_TIME and not flow.end:
            return
        self.known[port] = flow.watermark
        self.ended[port] = self.ended[port] or flow.end
        self.counts.rows_in += rows
        step = Step(self.seq, port, flow.batch if rows else None, flow.watermark, flow.clock, flow.end, flow.span)
        self.seq += 1
        try:
            emits = self.workers.push(self.lanes, step, keys=self.keys[port])
        except EventideError:
            raise
        except Exception as error:
            msg = f"{self.where} failed: {type(error).__name__}: {error}"
            raise RunError(msg, hint="the cause is this error's __cause__; --debug shows it") from error
        mains: list[pa.RecordBatch] = []
        late = duplicates = 0
        for out_port, batch in emits:
            if not batch.num_rows:
                continue
            self.counts.ports[out_port] = self.counts.ports.get(out_port, 0) + batch.num_rows
            if out_port == MAIN:
                mains.append(batch)
                continue
            late += batch.num_rows if out_port.startswith(LATE) else 0
            duplicates += batch.num_rows if out_port == DUPLICATES else 0
            send(self.targets.get(out_port, []), Flow(batch, MIN_TIME, flow.clock))
        self.counts.late += late
        self.counts.duplicates += duplicates
        self.counts.taken += self._taken(rows - late) - duplicates
        self._forward(mains, flow)

    def _taken(self, believed: int) -> int:
        """Return how many events the machines took in; one that does not count is believed."""
        taken = 0
        for lane in self.lanes:
            own = getattr(lane.machine, "taken", None)
            if own is None:
                return believed
            taken += own
        new, self.seen = taken - self.seen, taken
        return new

    def _forward(self, mains: list[pa.RecordBatch], flow: Flow) -> None:
        end = all(self.ended)
        watermark = MAX_TIME if end else max(self.watermark, min(lane.machine.watermark for lane in self.lanes))
        self.counts.rows_out += sum(b.num_rows for b in mains)
        batch = concat(mains) if mains else None
        if batch is not None or watermark > self.watermark or flow.clock > MIN_TIME or end:
            self.watermark = watermark
            send(self.targets.get(MAIN, []), Flow(batch, watermark, flow.clock, end))
        if end:
            for port, targets in self.targets.items():
                if port != MAIN:
                    send(targets, Flow(None, MAX_TIME, flow.clock, end=True))

    def save(self) -> Saved:
        """Return the state of all lanes as one."""
        data = {"watermark": self.watermark, "known": list(self.known), "seq": self.seq}
        return Saved(data, self._merger.merge([lane.machine.snapshot() for lane in self.lanes]))

    def load(self, saved: Saved) -> None:
        """Share the state out over the lanes there are now."""
        self.watermark, self.seq = saved.data["watermark"], saved.data["seq"]
        self.known[:] = saved.data["known"]
        for lane in self.lanes:
            lane.machine.restore(saved.tables)


@dataclass(slots=True)
class WriteTask:
    """A sink."""

    counts: Counts
    sink: Sink
    where: str
    targets: dict[str, list[Target]] = field(default_factory=dict)
    ended: bool = False

    def push(self, port: int, flow: Flow) -> None:
        """Write the batch."""
        self.ended = self.ended or flow.end
        batch = flow.batch
        if batch is None or not batch.num_rows:
            return
        if batch.schema.get_field_index(WATERMARK_COLUMN) >= 0:
            batch = batch.select(visible(batch.schema).names)
        self.counts.rows_in += batch.num_rows
        try:
            self.sink.write(batch)
        except EventideError:
            raise
        except (OSError, pa.ArrowException) as error:
            msg = f"{self.where} cannot write: {error}"
            raise DataError(msg, hint="see whether the place exists, is writable and has room") from error
        self.counts.rows_out += batch.num_rows

    def save(self) -> Saved:
        """Nothing: the sink is prepared and committed by the checkpoint itself."""
        return Saved()

    def load(self, saved: Saved) -> None:
        """Nothing is remembered."""
