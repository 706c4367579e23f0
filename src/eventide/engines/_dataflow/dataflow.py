"""A pipeline made ready for an engine that moves and keeps bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventide.engines._dataflow.bucket import Bucket
from eventide.engines._dataflow.cut import edges_of, one_bucket
from eventide.engines._dataflow.head import Head
from eventide.engines._dataflow.outlet import Outlet
from eventide.engines._dataflow.refused import Refused
from eventide.engines.local.options import options_of
from eventide.engines.local.plan import Plan, plan
from eventide.errors import UsageError
from eventide.model.pipeline import Pipeline
from eventide.model.state import ALL_GROUPS

__all__ = ["Dataflow"]

_BATCH_ROWS = 131_072


@dataclass(frozen=True, slots=True)
class Dataflow:
    """A pipeline cut into a head, buckets and an outlet, each of which can live in another process.

    The engine runs one head, takes its elements to the buckets, and their outputs to the outlet; it keeps the states
    of head and buckets together, so that they are of one moment. It can be sent to workers like any object.

    Parameters
    ----------
    pipeline
        The graph.
    buckets
        How many tasks share the keys, 1 to 256. Fixed while a job lives: with it state would be of other keys.
        Where operators do not agree on a key there is one bucket (`one_task` says why).
    batch_rows
        Most events that a source brings at a time.
    tick
        How often processing time is told, where anything listens to it.
    clock
        What the clock says, ns since 1970; None is that of the system. For tests.
    quarantine
        Root of the log whose topic ``quarantine`` takes what cannot be processed; None is the default log.

    Examples
    --------
    >>> import eventide as ev, pyarrow as pa, tempfile
    >>> from pathlib import Path
    >>> from eventide.connectors.memory import MemorySink
    >>> sink = MemorySink()
    >>> table = pa.table({"t": ["2026-01-01"] * 3, "k": [1, 2, 1], "v": [1.0, 2.0, 3.0]})
    >>> counts = ev.from_table(table).event_time("t").key_by("k").window(ev.tumbling("1s")).aggregate(total=ev.sum("v"))
    >>> flow = Dataflow(counts.write(sink), buckets=2)
    >>> head, outlet = flow.head(None), flow.outlet(Path(tempfile.mkdtemp()))
    >>> buckets = [flow.bucket(b, None) for b in range(flow.count)]
    >>> while not head.finished:
    ...     for element in head.read():
    ...         outlet.write(buckets[element.bucket].push(element))
    >>> outlet.commit(outlet.next_epoch)
    >>> sorted(sink.table().column("total").to_pylist(), reverse=True)
    [4.0, 2.0]
    >>> outlet.ended, outlet.result().ledger_balanced
    (True, True)
    """

    pipeline: Pipeline
    buckets: int = 8
    batch_rows: int = _BATCH_ROWS
    tick: str | timedelta = "100ms"
    clock: Callable[[], int] | None = None
    quarantine: str | None = None
    one_task: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if not 1 <= self.buckets <= len(ALL_GROUPS):
            msg = f"buckets is {self.buckets}"
            raise UsageError(msg, hint=f"it is a number from 1 to {len(ALL_GROUPS)}")
        object.__setattr__(self, "one_task", one_bucket(self.pipeline))

    @property
    def count(self) -> int:
        """How many buckets there are."""
        return 1 if self.one_task else self.buckets

    @property
    def groups(self) -> list[range]:
        """The key groups of each bucket."""
        every = len(ALL_GROUPS)
        edges = [b * every // self.count for b in range(self.count + 1)]
        return [range(a, b) for a, b in itertools.pairwise(edges)]

    def head(self, state: bytes | None = None) -> Head:
        """Return the part that reads, from the beginning or from where `Head.state` was taken.

        Raises
        ------
        EventideError
            A source is missing, a column is missing, a type does not fit.
        """
        made = self._plan(Refused(None, self.pipeline.name))
        tick = options_of({"tick": self.tick}).tick_seconds
        edges = edges_of(self.pipeline)
        settings: dict[str, Any] = {"batch_rows": self.batch_rows, "tick_seconds": tick, "clock": self.clock}
        return Head(made, edges, self.groups, **settings, state=state)

    def bucket(self, number: int, state: bytes | None = None) -> Bucket:
        """Return a bucket, empty or as it was when `Bucket.state` was taken."""
        made = self._plan(Refused(None, self.pipeline.name))
        return Bucket(made, edges_of(self.pipeline), number=number, state=state)

    def outlet(self, folder: Path) -> Outlet:
        """Return the sinks, which go on from what this folder says was committed."""
        return Outlet(self._plan(None), self.count, folder)

    def _plan(self, refused: Refused | None) -> Plan:
        options = options_of({"lanes": 1, "quarantine": self.quarantine})
        return plan(self.pipeline, options, quarantine=refused)
