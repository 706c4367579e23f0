"""Which run it is: messages of beginnings (pl72) and ends (6s4t) to a stream of changes, in event time.

The rules are those of `eventide.apps.neutron.runs`, applied in the order of the times that messages name: a beginning
inside another run ends that one; an end of a run that is not the current one changes nothing; a run with a stop time
ends by itself then, unless its end names an earlier one. What is told behind the watermark leaves by the port ``late``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from eventide.apps.neutron.run_messages import RUNS
from eventide.errors import PipelineError
from eventide.kernel.ordering import late_rows
from eventide.model.batch import event_times, visible
from eventide.model.graph import Process, ProcessContext, Ref
from eventide.model.machine import LATE, MAIN, Emit, Step
from eventide.model.state import State
from eventide.model.stream import Stream, origin
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME

__all__ = ["CHANGES", "RunChanges", "run_changes"]

CHANGES: Final = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("value", pa.string(), metadata={"meaning": "the run from then on; null for none"}),
    ]
)
"""Which run it is from a time on."""


def run_changes(runs: Stream) -> Stream:
    """Return which run it is from when on (`CHANGES`).

    Parameters
    ----------
    runs
        Beginnings and ends (`RUNS`) with event time, without keys.

    Raises
    ------
    PipelineError
        The stream has no event time, or has keys.

    Examples
    --------
    >>> import eventide as ev
    >>> times = pa.array([10, 30, 20, 40], EVENT_TIME)
    >>> rows = {"event_time": times, "begins": [True, False, True, False], "run": ["a", "a", "b", "b"]}
    >>> told = pa.table(rows | {"job": [""] * 4, "stop": pa.nulls(4, EVENT_TIME)})
    >>> made = run_changes(ev.from_table(told).event_time("event_time", lateness="1s"))
    >>> ev.fetch(made)["value"].to_pylist()
    ['a', 'b', None]
    """
    if not runs.time or runs.keys:
        msg = f"run_changes() takes a stream with event time and without keys ({origin()})"
        raise PipelineError(msg, hint="call .event_time('event_time', lateness='1s') before it")
    schemas = {MAIN: CHANGES, LATE: visible}
    return Stream(
        Ref(Process(runs.ref, RunChanges(), schemas, "arrival", "event_time", "run changes", origin())),
        (),
        "event_time",
    )


@dataclass(frozen=True, slots=True)
class RunChanges:
    """The factory of the machine."""

    def __call__(self, context: ProcessContext) -> _Machine:
        """Return a machine."""
        return _Machine(context)


class _Machine:
    def __init__(self, context: ProcessContext) -> None:
        self._schema, self._time, self._groups = visible(context.schemas[0]), context.event_time, context.groups
        self._waiting: list[dict[str, Any]] = []
        self._current: tuple[str, str] | None = None
        self._input = MIN_TIME
        self.taken = 0

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return self._input

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        out = []
        if step.batch is not None and step.batch.num_rows and 0 in self._groups:  # the group of what has no key
            times = event_times(step.batch, self._time)
            behind = late_rows(step.batch, times, self._input)
            rows = step.batch.select(self._schema.names)
            if behind is not None:
                out.append(Emit(LATE, rows.filter(pa.array(behind))))
                rows = rows.filter(pa.array(~behind))
            self.taken += rows.num_rows
            self._waiting += _plain(rows.select(RUNS.names)).to_pylist()
        self._input = max(self._input, MAX_TIME if step.end else step.watermark)
        changes = self._settle()
        if changes:
            arrays = [pa.array([c[at] for c in changes], f.type) for at, f in enumerate(CHANGES)]
            out.append(Emit(MAIN, pa.RecordBatch.from_arrays(arrays, schema=CHANGES)))
        return out

    def _settle(self) -> list[tuple[int, str | None]]:
        """Follow what lies before the watermark, in order; ends come before beginnings of the same time."""
        changes: list[tuple[int, str | None]] = []
        while self._waiting:
            one = min(self._waiting, key=_place)
            if one["event_time"] >= self._input < MAX_TIME:
                break
            self._waiting.remove(one)
            name = (one["run"] or "", one["job"] or "")
            if one["begins"]:
                if name == self._current:
                    continue  # the message came again
                self._current = name
                changes.append((one["event_time"], name[0] or name[1]))
                if one["stop"] is not None and one["stop"] > one["event_time"]:
                    self._waiting.append({**one, "begins": False, "event_time": one["stop"], "stop": None})
            elif self._current is not None and self._is_current(name):
                self._current = None
                changes.append((one["event_time"], None))
        return changes

    def _is_current(self, name: tuple[str, str]) -> bool:
        assert self._current is not None
        run, job = name
        return job == self._current[1] if job else (not run or run == self._current[0])

    def snapshot(self) -> State:
        """Return the state."""
        rows = {f.name: pa.array([w[f.name] for w in self._waiting], f.type) for f in _plain(RUNS.empty_table()).schema}
        run, job = self._current or (None, None)
        now = {"input": pa.array([self._input], pa.int64()), "run": pa.array([run], pa.string())}
        return {"waiting": pa.table(rows), "current": pa.table(now | {"job": pa.array([job], pa.string())})}

    def restore(self, state: State) -> None:
        """Take over a state."""
        (now,) = state["current"].to_pylist()
        self._input, self._waiting = now["input"], state["waiting"].to_pylist() if 0 in self._groups else []
        self._current = None if now["run"] is None else (now["run"], now["job"])


def _plain(rows: Any) -> Any:
    """Return rows with times as whole ns."""
    kinds = [pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in RUNS]
    return rows.cast(pa.schema(kinds))


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["event_time"], row["begins"], row["job"] or "", row["run"] or "", row["stop"] or 0
