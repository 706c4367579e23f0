"""Histograms of each run by themselves: counting begins anew with every run, and what is over is let go of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa

from eventide.kernel.hashing import key_groups, key_hashes
from eventide.model.batch import column, event_times, visible
from eventide.model.graph import Process, ProcessContext, Ref
from eventide.model.keyed import PortSchema
from eventide.model.machine import LATE, MAIN, Emit, Machine, Step
from eventide.model.state import GROUP_COLUMN, State, select_groups
from eventide.model.stream import Stream
from eventide.model.time import MIN_TIME

__all__ = ["RUN", "PerRunPlan", "per_run"]

RUN: Final = pa.field("run", pa.string(), metadata={"meaning": "null: between runs"})
"""The column of the input and of publications that names the run."""


def per_run(publications: Stream, *, every: int) -> Stream:
    """Return the publications of `ev.op.histogram` (or `with_ledger`), of each run by themselves.

    Its input has a column ``run``, and comes in the order of event time, as joins give it. A run is over when another
    one, or none, follows it and the interval in which it ended was published.

    Parameters
    ----------
    publications
        With any keys.
    every
        The interval of publications, ns.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.kernel.histogram.axes import uniform
    >>> rows = {"t": ["2026-01-01", "2026-01-02"], "run": ["a", "b"], "tof": [1, 2]}
    >>> products = {"n": uniform("tof", 0, 4, 1)}
    >>> live = ev.from_table(rows).event_time("t").pipe(ev.op.histogram, products=products, every="1s")
    >>> ev.fetch(per_run(live, every=10**9)).select(["run", "counts"]).to_pylist()
    [{'run': 'a', 'counts': [1]}, {'run': 'b', 'counts': [1]}]
    """
    node = cast("Process", publications.ref.node)
    main = cast("Callable[[pa.Schema], pa.Schema]", node.schemas[MAIN])
    schemas: dict[str, PortSchema] = {**node.schemas, MAIN: lambda source: _named(main(source))}
    made = replace(node, process=PerRunPlan(cast("Any", node.process), every), schemas=schemas)
    return Stream(Ref(made), publications.keys, publications.time)


def _named(schema: pa.Schema) -> pa.Schema:
    return pa.schema([*schema, RUN], metadata=schema.metadata)


@dataclass(frozen=True, slots=True)
class PerRunPlan:
    """The factory of the machine, around that of the histogram."""

    plan: Any
    every: int

    def __call__(self, context: ProcessContext) -> _Machine:
        """Return a machine."""
        source = visible(context.schemas[0])
        plain = pa.schema([f for f in source if f.name != RUN.name])
        inner = replace(context, schemas=(plain,))
        return _Machine(lambda: self.plan(inner), self.every, context)


@dataclass(slots=True)
class _Run:
    """A run that is counted, its last event time (ns), and the key groups that it has events of."""

    machine: Machine
    last: int = MIN_TIME
    groups: set[int] = field(default_factory=set)


class _Machine:
    def __init__(self, make: Callable[[], Machine], every: int, context: ProcessContext) -> None:
        self._make, self._every, self._context = make, every, context
        self._schema = visible(context.schemas[0])
        self._runs: dict[str | None, _Run] = {}
        self._input, self._gone = MIN_TIME, 0

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return min((r.machine.watermark for r in self._runs.values()), default=self._input)

    @property
    def taken(self) -> int:
        """How many rows were taken in."""
        return self._gone + sum(int(getattr(r.machine, "taken", 0)) for r in self._runs.values())

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        parts = self._parts(step.batch) if step.batch is not None else {}
        out = []
        for name, run in self._runs.items():
            for emit in run.machine.push(replace(step, batch=parts.get(name), span=None)):
                named = emit.batch.append_column(RUN, pa.array([name] * emit.batch.num_rows, pa.string()))
                if emit.port == MAIN:
                    named = pa.RecordBatch.from_arrays(named.columns, schema=_named(emit.batch.schema))
                elif emit.port == LATE:
                    named = named.select(self._schema.names)
                out.append(Emit(emit.port, named))
        self._input = max(self._input, step.watermark)
        self._let_go()
        return out

    def _parts(self, batch: pa.RecordBatch) -> dict[str | None, pa.RecordBatch]:
        groups = key_groups(key_hashes(batch, self._context.keys))
        mine = (groups >= self._context.groups.start) & (groups < self._context.groups.stop)
        if not mine.all():
            batch, groups = batch.filter(pa.array(mine)), groups[mine]
        if not batch.num_rows:
            return {}
        coded = column(batch, RUN.name).dictionary_encode()
        names = [*coded.dictionary.to_pylist(), None]
        codes = coded.indices.fill_null(len(names) - 1).to_numpy()
        times = event_times(batch, self._context.event_time)
        plain = batch.select([n for n in batch.schema.names if n != RUN.name])
        out = {}
        for code in dict.fromkeys(codes.tolist()):
            at = codes == code
            run = self._runs.get(names[code]) or self._runs.setdefault(names[code], _Run(self._make()))
            run.groups.update(np.unique(groups[at]).tolist())
            run.last = max(run.last, int(times[at].max()))
            out[names[code]] = plain if at.all() else plain.filter(pa.array(at))
        return out

    def _let_go(self) -> None:
        """Forget runs that are over and published to the end."""
        if not self._every or not self._runs:
            return
        newest = max(run.last for run in self._runs.values())
        for name, run in list(self._runs.items()):
            if run.last < newest and (run.last // self._every + 1) * self._every <= self._input:
                self._gone += int(getattr(run.machine, "taken", 0))
                del self._runs[name]

    def snapshot(self) -> State:
        """Return the state: which runs there are, and that of each."""
        rows = [(name, run.last, group) for name, run in self._runs.items() for group in sorted(run.groups)]
        table = pa.table(
            {
                "run": pa.array([name for name, _, _ in rows], pa.string()),
                "last": pa.array([last for _, last, _ in rows], pa.int64()),
                GROUP_COLUMN: pa.array([group for _, _, group in rows], pa.int32()),
            }
        )
        state: State = {"runs": table, "progress": pa.table({"input": pa.array([self._input], pa.int64())})}
        for name, run in self._runs.items():
            state |= {_prefix(name) + n: made for n, made in run.machine.snapshot().items()}
        return state

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns."""
        self._runs, self._input = {}, state["progress"].column("input")[0].as_py()
        rows = select_groups({"runs": state["runs"]}, self._context.groups)["runs"].to_pylist()
        for row in rows:
            run = self._runs.get(row["run"]) or self._restored(row["run"], state)
            run.last = max(run.last, row["last"])
            run.groups.add(row[GROUP_COLUMN])

    def _restored(self, name: str | None, state: State) -> _Run:
        run, start = _Run(self._make()), _prefix(name)
        run.machine.restore({n.removeprefix(start): t for n, t in state.items() if n.startswith(start)})
        self._runs[name] = run
        return run


def _prefix(run: str | None) -> str:
    """Return what the state of a run is named by: names may contain anything."""
    return "none/" if run is None else f"run {run.encode().hex()}/"
