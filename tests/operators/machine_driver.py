"""Drives machines through permutations, batch splits, group splits and restarts, and collects what they emit."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from eventide.kernel.process import process_machine
from eventide.model.batch import event_times
from eventide.model.graph import Process, Ref, inputs
from eventide.model.machine import MAIN, Step
from eventide.model.state import KEY_GROUPS, merge_states
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME

SECOND = 1_000_000_000


def plain(batch):
    """Return a batch's rows as tuples, times as int64."""
    columns = [
        c.cast(pa.int64()).to_pylist() if pa.types.is_timestamp(c.type) else c.to_pylist() for c in batch.columns
    ]
    return list(zip(*columns, strict=True))


@dataclass
class Scenario:
    """Events in order of arrival and how they reach the machines."""

    items: list[tuple[Any, ...]]
    lateness: int
    cuts: list[int]
    splits: list[int]
    restarts: set[int] = field(default_factory=set)


@st.composite
def scenarios(draw, row, *, max_size=25, late=False, time=1):
    """Draw events (the field `time` of a row is its event time, ns), a permutation, cuts, splits, restarts."""
    items = draw(st.lists(row, max_size=max_size))
    items = draw(st.permutations(items)) if draw(st.booleans()) else sorted(items, key=lambda r: r[time])
    newest, need = MIN_TIME, 0
    for item in items:
        newest = max(newest, item[time])
        need = max(need, newest - item[time])
    lateness = draw(st.integers(0, max(need, 1))) if late else need + draw(st.integers(0, 3))
    cuts = sorted({0, len(items), *draw(st.lists(st.integers(0, len(items)), max_size=6))})
    splits = [draw(st.sampled_from([1, 2, 8])) for _ in range(2)]
    restarts = draw(st.sets(st.integers(0, 7), max_size=3))
    return Scenario(list(items), lateness, cuts, splits, restarts)


def ranges(count):
    """Return `count` contiguous ranges of key groups."""
    bounds = np.linspace(0, KEY_GROUPS, count + 1).astype(int)
    return [range(int(a), int(b)) for a, b in itertools.pairwise(bounds)]


def steps(scenario, schema, *, event_time="t"):
    """Return the steps that an engine would make of a scenario, and the rows that are late."""
    newest, out, late = MIN_TIME, [], []
    time = schema.get_field_index(event_time)
    for seq, (lo, hi) in enumerate(zip(scenario.cuts[:-1], scenario.cuts[1:], strict=True)):
        part, marks = scenario.items[lo:hi], []
        for item in part:
            marks.append(newest - scenario.lateness if newest > MIN_TIME else MIN_TIME)
            if item[time] < marks[-1]:
                late.append(item)
            newest = max(newest, item[time])
        batch = as_batch(part, schema)
        if any(m > i[time] for m, i in zip(marks, part, strict=True)):
            batch = batch.append_column("_watermark", pa.array(marks, pa.int64()))
        watermark = newest - scenario.lateness if newest > MIN_TIME else MIN_TIME
        out.append(Step(seq, 0, batch, watermark))
    return [*out, Step(len(out), 0, None, MAX_TIME, end=True)], late


def as_batch(items, schema):
    """Return rows as a batch."""
    arrays = [pa.array([r[i] for r in items], f.type) for i, f in enumerate(schema)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def make(stream, schema, groups):
    """Return the machine of the process that a stream comes from."""
    node = stream.ref.node
    assert isinstance(node, Process)
    time = "t"
    return process_machine(node, schemas=(schema,), keys=stream_keys(node), event_time=time, groups=groups)


def stream_keys(node):
    """Return the key columns in force before a node."""
    from eventide.model.schema import keys_of

    (ref,) = inputs(node)
    assert isinstance(ref, Ref)
    return keys_of(ref)


def drive(build, scenario, schema, *, out_time=None):
    """Run a scenario and return the rows of each port as a multiset."""
    todo, _ = steps(scenario, schema)
    machines = [build(g) for g in ranges(scenario.splits[0])]
    found: dict[str, Counter[Any]] = {}
    for number, step in enumerate(todo):
        for machine in machines:
            before = machine.watermark
            for port, batch in machine.push(step):
                found.setdefault(port, Counter()).update(map(repr, plain(batch)))
                if port == MAIN and out_time:
                    assert event_times(batch, out_time).min() >= before
            assert machine.watermark >= before
        if number in scenario.restarts:
            state = merge_states(m.snapshot() for m in machines)
            machines = [build(g) for g in ranges(scenario.splits[1])]
            for machine in machines:
                machine.restore(state)
    return found


def rows(items):
    """Return expected rows as a multiset that compares with what `drive` returns."""
    return Counter(map(repr, items))


__all__ = [
    "EVENT_TIME",
    "SECOND",
    "Scenario",
    "as_batch",
    "drive",
    "make",
    "plain",
    "ranges",
    "rows",
    "scenarios",
    "steps",
]
