"""The functions of the top level that do more than build a graph; what they need is imported when they are called."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from eventide import registry
from eventide.errors import UsageError, near_names
from eventide.model.graph import AsofJoin, IntervalJoin
from eventide.model.pipeline import Pipeline, pipeline
from eventide.model.stream import Stream, read
from eventide.model.time import duration, signed_duration

if TYPE_CHECKING:
    from eventide.engines.local.result import RunResult

__all__ = ["asof", "check", "fetch", "from_table", "interval", "run"]


def run(*pipelines: Pipeline, engine: str = "local", **options: Any) -> RunResult:
    """Run pipelines until their input ends (or they are stopped) and return what happened.

    Parameters
    ----------
    *pipelines
        What `.write` returned; several are run as one, and what they share runs once.
    engine
        ``"local"`` is the embedded engine.
    **options
        What the engine takes; the local one: ``lanes``, ``batch_rows``, ``checkpoint`` (a folder),
        ``checkpoint_interval``, ``resume``, ``on_progress``.

    Raises
    ------
    EventideError
        The pipeline is wrong, or it failed while it ran.

    Examples
    --------
    >>> import eventide as ev
    >>> sink = ev.read("generator://events", rows=100, seed=1).write("memory://copy")
    >>> ev.run(sink).rows_in
    100
    """
    result: RunResult = registry.resolve("engine", engine).run(pipeline(*pipelines), **options)
    return result


def check(*pipelines: Pipeline) -> dict[str, pa.Schema]:
    """Check pipelines without running them and return the schema of every node by its name.

    Raises
    ------
    EventideError
        A column is missing, a type does not fit, a plug-in does not exist.

    Examples
    --------
    >>> import eventide as ev
    >>> p = ev.read("generator://events", rows=1).select("key").write("memory://x")
    >>> ev.check(p)["project-1"].names
    ['key']
    """
    schemas: dict[str, pa.Schema] = registry.resolve("engine", "local").check(pipeline(*pipelines))
    return schemas


def fetch(stream: Stream, **options: Any) -> pa.Table:
    """Run a bounded stream and return its events as one Arrow table.

    Examples
    --------
    >>> import eventide as ev
    >>> ev.fetch(ev.from_table({"a": [1, 2]})).num_rows
    2
    """
    from eventide.connectors.memory import MemorySink

    sink = MemorySink()
    run(stream.write(sink), **options)
    return sink.table()


def from_table(
    table: pa.Table | pa.RecordBatch | dict[str, Any] | Iterable[pa.RecordBatch], *, name: str = ""
) -> Stream:
    """Return a bounded stream of what is in memory: a table, a batch, a dict of columns, or batches.

    Examples
    --------
    >>> import eventide as ev
    >>> ev.from_table({"a": [1, 2]})
    <Stream of read-0>
    """
    from eventide.connectors.memory import MemorySource

    if isinstance(table, dict):
        table = pa.table(table)
    return read(MemorySource(table), name=name)


def interval(lower: str | timedelta, upper: str | timedelta) -> IntervalJoin:
    """Return a join of events whose times differ by between `lower` and `upper` (right minus left, both included).

    Examples
    --------
    >>> interval("-5s", "+1s")
    IntervalJoin(lower=-5000000000, upper=1000000000)
    """
    low, high = signed_duration(lower, what="lower bound"), signed_duration(upper, what="upper bound")
    if low > high:
        msg = f"the interval [{lower}, {upper}] is empty"
        raise UsageError(msg, hint="the lower bound comes first: ev.interval('-5s', '5s')")
    return IntervalJoin(low, high)


def asof(
    tolerance: str | timedelta = "0", *, direction: Literal["backward", "forward", "nearest"] = "backward"
) -> AsofJoin:
    """Return a join with the nearest right event in time, at most `tolerance` away ("0" is any distance).

    Examples
    --------
    >>> asof("10s").direction
    'backward'
    """
    directions = ("backward", "forward", "nearest")
    if direction not in directions:
        msg = f"asof direction {direction!r} is not known"
        raise UsageError(msg, hint=near_names(str(direction), directions))
    return AsofJoin(duration(tolerance, what="tolerance", zero=True), direction)
