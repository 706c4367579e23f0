"""Drives a machine with the steps of a script and reads its output as the oracle's panes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from oracle import Event, Oracle, Pane

from eventide.kernel.window.general import GeneralWindowMachine
from eventide.model.aggregate import collect
from eventide.model.batch import WATERMARK_COLUMN
from eventide.model.graph import Read, Ref, Window
from eventide.model.machine import LATE, MAIN, Machine, Step
from eventide.model.state import ALL_GROUPS, merge_states
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME
from eventide.model.trigger import Trigger
from eventide.model.window import WindowSpec

__all__ = ["SCHEMA", "Happening", "Setting", "Workers", "by_window", "run_machine", "run_oracle", "splits"]

SCHEMA = pa.schema([("key", pa.string()), ("t", EVENT_TIME), ("v", pa.int64())])


@dataclass(frozen=True)
class Setting:
    """What a window node says."""

    window: WindowSpec
    trigger: Trigger | None = None
    accumulation: str = "accumulating"
    lateness: int = 0
    timestamp: str = "start"

    def node(self) -> Window:
        return Window(
            Ref(Read("memory://")),
            self.window,
            (("values", collect("v")),),
            trigger=self.trigger,
            accumulation=self.accumulation,  # type: ignore[arg-type]
            allowed_lateness=self.lateness,
            timestamp=self.timestamp,  # type: ignore[arg-type]
        )

    def oracle(self) -> Oracle:
        return Oracle(
            self.window,
            trigger=self.trigger,
            accumulation=self.accumulation,
            lateness=self.lateness,
            timestamp=self.timestamp,
        )


@dataclass(frozen=True)
class Happening:
    """One step of a script: a tick, events, then a watermark; None leaves the watermark as it is."""

    events: tuple[Event, ...] = ()
    watermark: int | None = None
    clock: int | None = None


@dataclass
class Result:
    """What came out."""

    panes: list[Pane] = field(default_factory=list)
    late: list[tuple[str, int, int]] = field(default_factory=list)


def batch_of(events: Sequence[Event]) -> pa.RecordBatch:
    """Return events as a batch, with the watermark column where one has a mark."""
    columns: dict[str, Any] = {
        "key": pa.array([e.key for e in events], pa.string()),
        "t": pa.array([e.time for e in events], EVENT_TIME),
        "v": pa.array([e.value for e in events], pa.int64()),
    }
    if any(e.mark is not None for e in events):
        marks = [MIN_TIME if e.mark is None else e.mark for e in events]
        columns[WATERMARK_COLUMN] = pa.array(marks, pa.int64())
    return pa.record_batch(columns)


def panes_of(batch: pa.RecordBatch) -> list[Pane]:
    """Return output rows as the oracle's panes; columns that are not there have the oracle's defaults."""
    names = batch.schema.names

    def times(name: str) -> list[int | None]:
        return batch.column(name).view(pa.int64()).to_pylist() if name in names else [None] * batch.num_rows

    def plain(name: str, default: object) -> list[Any]:
        return batch.column(name).to_pylist() if name in names else [default] * batch.num_rows

    rows = zip(
        batch.column("key").to_pylist(),
        times("window_start"),
        times("window_end"),
        batch.column("values").to_pylist(),
        plain("pane_index", 0),
        plain("pane_timing", "on_time"),
        plain("retraction", False),
        times("event_time"),
        strict=True,
    )
    return [Pane(k, s, e, tuple(v), i, t, r, x) for k, s, e, v, i, t, r, x in rows]  # type: ignore[arg-type]


def splits(parts: int) -> list[range]:
    """Return all key groups in so many contiguous ranges."""
    edges = [len(ALL_GROUPS) * i // parts for i in range(parts + 1)]
    return [range(a, b) for a, b in itertools.pairwise(edges)]


class Workers:
    """Machines that share the key groups; each is given every row."""

    def __init__(self, setting: Setting, parts: int = 1, *, make: Callable[[range], Machine] | None = None) -> None:
        self.setting = setting
        self.make = make or self._general
        self.seq = 0
        self.machines = [self.make(g) for g in splits(parts)]

    def _general(self, groups: range) -> Machine:
        return GeneralWindowMachine(self.setting.node(), schema=SCHEMA, keys=("key",), event_time="t", groups=groups)

    def push(self, events: Sequence[Event], *, watermark: int, clock: int | None = None) -> Result:
        out = Result()
        for machine in self.machines:
            floor = machine.watermark
            step = Step(
                self.seq,
                0,
                batch_of(events) if events else None,
                watermark,
                MIN_TIME if clock is None else clock,
                end=watermark == MAX_TIME,
            )
            for port, batch in machine.push(step):
                if port == MAIN:
                    panes = panes_of(batch)
                    assert all((p.start if p.event_time is None else p.event_time) >= floor for p in panes)
                    out.panes += panes
                else:
                    assert port == LATE
                    rows = zip(*(batch.column(n) for n in ("key", "t", "v")), strict=True)
                    out.late += [(k.as_py(), t.value, v.as_py()) for k, t, v in rows]
        self.seq += 1
        return out

    def move(self, parts: int) -> None:
        """Stop, and go on with another number of machines."""
        state = merge_states(m.snapshot() for m in self.machines)
        self.machines = [self.make(g) for g in splits(parts)]
        for machine in self.machines:
            machine.restore(state)


def run_oracle(setting: Setting, script: Sequence[Happening]) -> Result:
    """Return what the oracle makes of a script."""
    oracle, out, watermark = setting.oracle(), Result(), MIN_TIME
    for happening in script:
        watermark = watermark if happening.watermark is None else max(watermark, happening.watermark)
        out.panes += oracle.step(list(happening.events), watermark=watermark, clock=happening.clock)
    out.late = [(e.key, e.time, e.value) for e in oracle.late]
    return out


def run_machine(
    setting: Setting,
    script: Sequence[Happening],
    *,
    parts: int = 1,
    cut: int = 0,
    moves: dict[int, int] | None = None,
    make: Callable[[range], Machine] | None = None,
) -> Result:
    """Return what machines make of a script.

    `cut` is the number of events in a batch (0: as the script has them); before the steps named in `moves`
    the state goes over to that many machines.
    """
    workers, out, watermark = Workers(setting, parts, make=make), Result(), MIN_TIME
    for number, happening in enumerate(script):
        if moves and number in moves:
            workers.move(moves[number])
        after = watermark if happening.watermark is None else max(watermark, happening.watermark)
        events = happening.events
        size = cut or max(1, len(events))
        clock = happening.clock
        for at in range(0, max(1, len(events)), size):
            # The watermark after a batch is never behind those that its events met.
            watermark = max([watermark, *(e.mark for e in events[at : at + size] if e.mark is not None)])
            last = at + size >= len(events)
            got = workers.push(events[at : at + size], watermark=after if last else watermark, clock=clock)
            out.panes += got.panes
            out.late += got.late
            clock = None
        watermark = after
    return out


def by_window(result: Result) -> dict[str, list[Pane]]:
    """Return panes by key, in the order in which they came for each window.

    Panes of different windows and keys have no order among each other; sorting by window is stable.
    """
    keys: dict[str, list[Pane]] = {}
    for pane in result.panes:
        keys.setdefault(pane.key, []).append(pane)
    return {k: sorted(v, key=lambda p: (p.start, p.end)) for k, v in sorted(keys.items())}
