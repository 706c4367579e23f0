"""Quarantine: what cannot be processed is kept with its bytes, its position and the reason, once each.

In a run with checkpoints, entries wait in memory and become a prepared transaction of the log with each
checkpoint, so that a crash and a second attempt do not double them. The topic is let go at once each time: a
partition has one writer, and other pipelines need it too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from eventide import registry
from eventide.errors import LogError, LogLockedError, UnknownNameError
from eventide.model.protocols import BadInput, Sink
from eventide.model.time import EVENT_TIME
from eventide.retry import Circuit, RetryPolicy

__all__ = ["QUARANTINE_SCHEMA", "Quarantine"]

T = TypeVar("T")

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("timestamp", EVENT_TIME, metadata={"what": "when it was put in quarantine"}),
        pa.field("pipeline", pa.string()),
        pa.field("operator", pa.string()),
        pa.field("position", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("data", pa.binary()),
        pa.field("run", pa.string()),
        pa.field("source", pa.string(), metadata={"what": "name of the node that read it"}),
        pa.field("partition", pa.string(), metadata={"what": "partition of the source"}),
        pa.field("format", pa.string(), metadata={"what": "of data: 'json' or 'arrow' for a row; '' as it came"}),
    ]
)

_URI = "log://quarantine"
_FULL_BYTES = 16 << 20
_ENTRY_BYTES = 256
_PATIENCE = RetryPolicy(first=0.02, factor=1.5, longest=0.5, attempts=120)
"""About a minute; then the run fails for a reason that passes, and nothing that was not kept was committed."""


@dataclass(frozen=True, slots=True)
class _Entry:
    timestamp: int
    operator: str
    item: BadInput
    source: str
    partition: str
    format: str

    @property
    def size(self) -> int:
        return len(self.item.data) + _ENTRY_BYTES


@dataclass(slots=True)
class Quarantine:
    """The topic ``quarantine`` of a log, made when the first input must go there.

    Until `open` is called, entries are appended at once. From then on they wait for `prepare` and `commit`.

    Parameters
    ----------
    root
        Folder of the log; None is the default one.
    pipeline
        Name of the pipeline.
    run
        Name of the run.
    rows, before
        How many entries this run has made, and how many the runs before the checkpoint that it goes on from.

    Examples
    --------
    >>> import tempfile, eventide as ev
    >>> root = tempfile.mkdtemp()
    >>> quarantine = Quarantine(root, "demo")
    >>> quarantine.open(None)
    >>> quarantine.put("read-0", [BadInput(b"1,x", "a.csv: byte 4", "column 'v': 'x' is not int64")])
    >>> state = quarantine.prepare(1)
    >>> quarantine.commit(1, state)
    >>> ev.fetch(ev.read("log://quarantine", log=root, follow=False))["data"].to_pylist()
    [b'1,x']
    """

    root: str | Path | None
    pipeline: str
    run: str = ""
    rows: int = 0
    before: int = 0
    _held: bool = False
    _waiting: list[_Entry] = field(default_factory=list)
    _bytes: int = 0
    _schema: pa.Schema | None = None
    _undecided: int = 0

    @property
    def total(self) -> int:
        """How many entries this pipeline has made, those of the runs that this one goes on from included."""
        return self.before + self.rows

    @property
    def full(self) -> bool:
        """Whether so much waits (16 MB) that a checkpoint should be made early."""
        return self._bytes >= _FULL_BYTES

    def put(
        self, operator: str, items: Sequence[BadInput], *, source: str = "", partition: str = "", format: str = ""
    ) -> None:
        """Keep input that an operator (or a source) could not take.

        Parameters
        ----------
        operator
            Name of the node that refused it.
        items
            The input.
        source, partition
            Where it was read; left out, the operator is a source.
        format
            ``"json"`` or ``"arrow"`` where the data is a row in that form, ``""`` where it is as it came.
        """
        if not items:
            return
        self.rows += len(items)
        now = time.time_ns()
        entries = [_Entry(now, operator, i, source or operator, partition, format) for i in items]
        self._waiting += entries
        self._bytes += sum(e.size for e in entries)
        if not self._held:
            self.publish()

    # -- with checkpoints

    def open(self, state: Mapping[str, Any] | None) -> None:
        """Hold entries back for checkpoints, and abort what was prepared after the one resumed from.

        Parameters
        ----------
        state
            What `prepare` returned for that checkpoint; None where the run begins anew.
        """
        self._held = True
        self.before = int(state["rows"]) if state else self.before
        if self._topic() is not None:
            with self._sink(state):  # opening it aborts what is prepared under this pipeline's name
                pass

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Make what waits durable, still hidden, and return what `commit` and `open` need, as plain data.

        Raises
        ------
        LogLockedError
            Another pipeline has held the topic for about a minute.
        """
        if not self._waiting:
            return {"transaction": 0, "rows": self.total}

        def write() -> Mapping[str, Any]:
            with self._sink({"transaction": self._undecided}) as sink:
                for batch in self._batches():
                    sink.write(batch)
                return sink.prepare(checkpoint)

        state = _patiently(write)
        self._undecided = int(state["transaction"])
        self._forget()
        return {**state, "rows": self.total}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Make prepared entries visible; a second time does nothing."""
        if state["transaction"]:
            with self._sink(state) as sink:
                sink.commit(checkpoint, state)
        self._undecided = 0

    # -- without

    def publish(self) -> None:
        """Append what waits, at once."""
        if not self._waiting:
            return

        def write() -> None:
            with self._sink(None, at_once=True) as sink:
                for batch in self._batches():
                    sink.write(batch)
                sink.prepare(0)

        _patiently(write)
        self._forget()

    def close(self) -> None:
        """Forget what was not prepared: it is read again by whoever goes on."""
        self._forget()

    def _forget(self) -> None:
        self._waiting, self._bytes = [], 0

    # -- the topic

    def _options(self) -> dict[str, Any]:
        return {} if self.root is None else {"log": str(self.root)}

    def _topic(self) -> pa.Schema | None:
        """Return the schema of the topic, None where there is none yet."""
        try:
            return registry.open_source(_URI, {**self._options(), "follow": False}).schema()
        except (LogError, UnknownNameError):
            return None

    @contextmanager
    def _sink(self, state: Mapping[str, Any] | None, *, at_once: bool = False) -> Iterator[Sink]:
        """Open the topic and let it go again; what is prepared by then outlives that."""
        if self._schema is None:
            # A topic that an earlier version made lacks some columns, and stays as it is.
            there = self._topic()
            known = QUARANTINE_SCHEMA if there is None else there
            self._schema = pa.schema([f for f in QUARANTINE_SCHEMA if f.name in known.names])
        name = f"quarantine of {self.pipeline}"
        options = {**self._options(), "visible": "at once" if at_once else "commit"}
        # Who appends at once owns no transactions, and must not abort those of a run of the same name.
        sink: Sink = registry.open_sink(_URI, {**options, "name": f"{name}, at once" if at_once else name})
        try:
            sink.open(self._schema, state)
            yield sink
        finally:
            sink.close()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """Return what waits as batches of a bounded size."""
        some: list[_Entry] = []
        size = 0
        for entry in self._waiting:
            if some and size + entry.size > _FULL_BYTES:
                yield self._batch(some)
                some, size = [], 0
            some.append(entry)
            size += entry.size
        yield self._batch(some)

    def _batch(self, entries: list[_Entry]) -> pa.RecordBatch:
        columns: dict[str, list[Any]] = {
            "timestamp": [e.timestamp for e in entries],
            "pipeline": [self.pipeline] * len(entries),
            "operator": [e.operator for e in entries],
            "position": [e.item.position for e in entries],
            "reason": [e.item.reason for e in entries],
            "data": [e.item.data for e in entries],
            "run": [self.run] * len(entries),
            "source": [e.source for e in entries],
            "partition": [e.partition for e in entries],
            "format": [e.format for e in entries],
        }
        assert self._schema is not None
        arrays = [pa.array(columns[f.name], f.type) for f in self._schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _patiently(what: Callable[[], T]) -> T:
    """Call until nobody else writes the topic."""
    circuit = Circuit(_PATIENCE)
    while True:
        try:
            return what()
        except LogLockedError as error:
            time.sleep(circuit.failed(error))
