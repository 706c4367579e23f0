"""Random inputs of a join: rows, an order of arrival within the lateness, batches, watermarks, splits, restarts."""

from __future__ import annotations

import atexit
import functools
import itertools
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

from eventide.kernel.joins.build import join_machine
from eventide.model.batch import WATERMARK_COLUMN
from eventide.model.graph import Join, Read, Ref
from eventide.model.machine import MAIN, Step
from eventide.model.state import KEY_GROUPS, merge_states
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME

LEFT = pa.schema([("x", pa.int64()), ("t", EVENT_TIME), ("k", pa.int64()), ("s", pa.string())])
RIGHT = pa.schema([("t", EVENT_TIME), ("rs", pa.string()), ("rk", pa.int64()), ("y", pa.int32()), ("z", pa.string())])
KEYS = {1: (("k",), ("rk",)), 2: (("s", "k"), ("rs", "rk")), 3: (("s",), ("rs",))}

key_values = st.one_of(st.integers(0, 2), st.none())
texts = st.one_of(st.sampled_from(["", "a", "b"]), st.none())
small = st.one_of(st.integers(0, 2), st.none())
times = st.integers(-15, 40)


def join(spec, how="inner"):
    return Join(Ref(Read("log://left")), Ref(Read("log://right")), spec, how)


def batch(rows, schema):
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


@dataclass
class Script:
    """What arrives at a join: steps in order, and before which of them the machines are saved and split anew."""

    left: list
    right: list
    steps: list
    splits: dict = field(default_factory=dict)


@st.composite
def arrivals(draw, rows, lateness, port, time_column):
    """Return steps of one side: rows in an order that the lateness allows, cut at random, with their watermarks."""
    jitter = draw(st.lists(st.integers(0, lateness), min_size=len(rows), max_size=len(rows)))
    order = sorted(range(len(rows)), key=lambda i: (rows[i][time_column] + jitter[i], draw(st.integers(0, 3))))
    rows = [rows[i] for i in order]
    steps, newest, at = [], None, 0
    while at < len(rows):
        size = draw(st.integers(1, 6))
        part = rows[at : at + size]
        at += size
        newest = max([r[time_column] for r in part] + ([newest] if newest is not None else []))
        watermark = newest - lateness
        if draw(st.booleans()):
            steps.append((port, part, watermark))
        else:
            steps.append((port, part, steps[-1][2] if steps else MIN_TIME))
            if draw(st.booleans()):
                steps.append((port, None, watermark))
    return [*steps, (port, None, MAX_TIME)]


@st.composite
def scripts(draw, max_rows=25):
    left = draw(st.lists(st.tuples(small, times, key_values, texts), max_size=max_rows))
    right = draw(st.lists(st.tuples(times, texts, key_values, small, texts), max_size=max_rows))
    lateness = draw(st.integers(0, 12))
    queues = [draw(arrivals(left, lateness, 0, 1)), draw(arrivals(right, lateness, 1, 0))]
    steps = []
    while queues[0] or queues[1]:
        side = draw(st.integers(0, 1))
        if not queues[side]:
            side = 1 - side
        steps.append(queues[side].pop(0))
    splits = draw(st.dictionaries(st.integers(0, max(len(steps) - 1, 0)), st.sampled_from([1, 2, 8]), max_size=3))
    return Script(left, right, steps, splits)


def parts(count):
    edges = [KEY_GROUPS * i // count for i in range(count + 1)]
    return [range(a, b) for a, b in itertools.pairwise(edges)]


def machines(node, count, *, keys=1, schemas=(LEFT, RIGHT)):
    return [
        join_machine(node, schemas=schemas, keys=KEYS[keys], event_times=("t", "t"), groups=groups)
        for groups in parts(count)
    ]


def step_of(number, step, schemas=(LEFT, RIGHT)):
    port, rows, watermark = step
    made = None if rows is None else batch(rows, schemas[port])
    return Step(number, port, made, watermark, end=watermark == MAX_TIME)


def run_script(node, script, *, keys=1):
    """Run a script and return the rows of each output port; check the watermark promise and that state empties."""
    running = machines(node, script.splits.get(0, 1), keys=keys)
    out = {MAIN: [], "late": [], "late_right": []}
    for number, step in enumerate(script.steps):
        if number in script.splits:
            state = merge_states([m.snapshot() for m in running])
            running = machines(node, script.splits[number], keys=keys)
            for machine in running:
                machine.restore(state)
        for machine in running:
            promised = machine.watermark
            for emit in machine.push(step_of(number, step)):
                assert emit.batch.num_rows > 0
                emit.batch.validate(full=True)
                if emit.port == MAIN:
                    assert min(emit.batch.column("t").view(pa.int64()).to_pylist()) >= promised
                out[emit.port] += tuples(emit.batch)
            assert machine.watermark >= promised
    for machine in running:
        assert machine.watermark == MAX_TIME
        state = machine.snapshot()
        assert state["left"].num_rows == 0 and state["right"].num_rows == 0
    return {port: sort_rows(rows) for port, rows in out.items()}


def plain(array):
    return (array.view(pa.int64()) if pa.types.is_timestamp(array.type) else array).to_pylist()


def tuples(made):
    return list(zip(*[plain(c) for c in made.columns], strict=True))


def sort_rows(rows):
    return sorted(rows, key=lambda r: tuple((v is not None, v) for v in r))


@functools.cache
def duck():
    connection = duckdb.connect()
    connection.execute("set threads = 1")
    return connection


atexit.register(duck.cache_clear)


def query(sql, script, **tables):
    """Return the rows of a DuckDB query over the whole inputs `l` and `r`; times are integers."""
    for name, rows, schema in (("l", script.left, LEFT), ("r", script.right, RIGHT)):
        numbers = pa.schema([(f.name, pa.int64() if f.type == EVENT_TIME else f.type) for f in schema])
        duck().register(name, pa.Table.from_batches([batch(rows, numbers)]))
    for name, table in tables.items():
        duck().register(name, table)
    return sort_rows(duck().execute(sql).fetchall())


def on(keys):
    return " and ".join(f"l.{a} = r.{b}" for a, b in zip(*KEYS[keys], strict=True))


def columns(keys):
    """Return the select list of a join's output."""
    own, refs = KEYS[keys]
    left = [f"l.{n}" for n in [*own, *(n for n in LEFT.names if n not in own)]]
    return ", ".join(left + [f"r.{n}" for n in RIGHT.names if n not in refs])


def marked(rows, schema, marks):
    """Return a batch with the watermark that each row met."""
    return batch(rows, schema).append_column(WATERMARK_COLUMN, pa.array(marks, pa.int64()))
