"""Keyed processes with timers against a per-event model in Python."""

# ruff: noqa: RUF012

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_driver import EVENT_TIME, Scenario, as_batch, drive, ranges, rows, scenarios, steps

from eventide.errors import CheckpointError, RunError, SchemaError, UsageError
from eventide.kernel.keyed.machine import KeyedMachine
from eventide.kernel.keyed.rank import rounds
from eventide.model.graph import ProcessContext
from eventide.model.keyed import (
    buffer_state,
    clock_timer,
    event_timer,
    list_state,
    map_state,
    value_state,
)
from eventide.model.machine import Step
from eventide.model.state import ALL_GROUPS
from eventide.model.time import MAX_TIME, MIN_TIME

SCHEMA = pa.schema([("k", pa.string()), ("t", EVENT_TIME), ("w", pa.int64())])
OUT = pa.schema([("k", pa.string()), ("t", EVENT_TIME), ("what", pa.string()), ("n", pa.int64())])
row = st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 30), st.integers(-2, 12))


def out(context, slots, times, *, what, n):
    return pa.RecordBatch.from_arrays(
        [
            context.keys(slots)[0],
            pa.array(times, pa.int64()).cast(EVENT_TIME),
            pa.array([what] * len(slots), pa.string()),
            pa.array(n, pa.int64()),
        ],
        schema=OUT,
    )


class Silence:
    """Says after `gap` ns without events how many there were; forgets the key."""

    def __init__(self, gap, after):
        self.gap = gap
        self.state = {"n": value_state("int64"), "silent": event_timer(after=after)}

    def on_events(self, context, events):
        n = context.value("n")
        np.add.at(n, events.slots, 1)
        context.set_timer("silent", events.slots, events.times + self.gap)

    def on_timers(self, context, timers):
        made = out(context, timers.slots, timers.times, what="silent", n=context.value("n")[timers.slots])
        context.forget(timers.slots)
        return made


def silence_model(items, gap):
    for key, group in itertools.groupby(sorted(items, key=lambda r: (str(r[0]), r[1])), key=lambda r: r[0]):
        times = [r[1] for r in group]
        n = 0
        for here, after in zip(times, [*times[1:], None], strict=True):
            n += 1
            if after is None or after - here >= gap:
                yield (key, here + gap, "silent", n)
                n = 0


def build(process, **kw):
    def machine(groups):
        context = ProcessContext((SCHEMA,), ("k",), "t", groups)
        return KeyedMachine(process(), context, schemas={"main": OUT}, event_time="t", **kw)

    return machine


@given(scenarios(row), st.integers(1, 9), st.booleans())
def test_silence_is_told_exactly_whatever_the_batches(scenario, gap, exact):
    from datetime import timedelta

    after = "0" if exact else timedelta(0)
    found = drive(build(lambda: Silence(gap, after)), scenario, SCHEMA, out_time="t")
    assert found.get("main", Counter()) == rows(silence_model(scenario.items, gap))
    assert set(found) <= {"main"}


@given(scenarios(row), st.integers(1, 5))
def test_declared_delay_gives_the_same(scenario, gap):
    items = [(k, t * 1000, w) for k, t, w in scenario.items]
    scenario = Scenario(items, scenario.lateness * 1000, scenario.cuts, scenario.splits, scenario.restarts)
    found = drive(build(lambda: Silence(gap * 1000, f"{gap}us")), scenario, SCHEMA, out_time="t")
    assert found.get("main", Counter()) == rows(silence_model(items, gap * 1000))


class Wake:
    """Two timers per key, set by data, also into the past; one starts the other again."""

    state = {"n": value_state("int64"), "one": event_timer(), "two": event_timer()}

    def on_events(self, context, events):
        n = context.value("n")
        waits = events.batch.column("w").to_numpy()
        for index in rounds(events.slots):
            slots = events.slots[index]
            n[slots] = n[slots] * 3 + waits[index]
            even = waits[index] % 2 == 0
            context.set_timer("one", slots[even], (events.times + waits)[index][even])
            context.set_timer("two", slots[~even], (events.times + waits)[index][~even])

    def on_timers(self, context, timers):
        n = context.value("n")
        names = np.array(timers.names)
        first = timers.slots[names == "one"]
        again = first[n[first] % 5 == 1]
        times = dict(zip(timers.slots.tolist(), timers.times.tolist(), strict=True))
        context.set_timer("two", again, np.array([times[s] + 2 for s in again.tolist()], np.int64))
        np.add.at(n, timers.slots, 1)
        made = out(context, timers.slots, np.maximum(timers.times, 0), what="x", n=n[timers.slots])
        return {"woken": made.set_column(2, "what", pa.array(timers.names, pa.string()))}


def wake_model(items):
    for key, group in itertools.groupby(sorted(items, key=lambda r: (str(r[0]), r[1], r[2])), key=lambda r: r[0]):
        left = [(t, list(same)) for t, same in itertools.groupby(group, key=lambda r: r[1])]
        n, alarm = 0, {"one": None, "two": None}
        while True:
            due = min((t for t in alarm.values() if t is not None), default=None)
            if due is not None and (not left or due <= left[0][0]):
                names = [x for x in ("one", "two") if alarm[x] == due]
                for x in names:
                    alarm[x] = None
                if "one" in names and n % 5 == 1:
                    alarm["two"] = due + 2
                n += len(names)
                yield from ((key, max(due, 0), x, n) for x in names)
            elif left:
                time, same = left.pop(0)
                for _, _, w in same:
                    n = n * 3 + w
                    alarm["one" if w % 2 == 0 else "two"] = time + w
            else:
                break


@given(scenarios(row))
def test_timers_interleave_with_events_exactly(scenario):
    schemas = {"main": OUT, "woken": OUT}

    def machine(groups):
        return KeyedMachine(Wake(), ProcessContext((SCHEMA,), ("k",), "t", groups), schemas=schemas, event_time="t")

    found = drive(machine, scenario, SCHEMA)
    assert found.get("woken", Counter()) == rows(wake_model(scenario.items))


class Everything:
    """Keeps one of each state and tells it all with every event."""

    state = {
        "v": value_state("float64", -1.0),
        "ring": buffer_state("int64", 3, default=7),
        "list": list_state(pa.schema([("w", pa.int64())])),
        "map": map_state(pa.int64(), pa.string()),
    }

    def on_events(self, context, events):
        parts = []
        w = events.batch.column("w")
        for index in rounds(events.slots):
            slots, take = events.slots[index], w.take(pa.array(index))
            context.append("list", slots, pa.record_batch([take], names=["w"]))
            before = context.get("map", slots, take)
            text = pa.array([f"{b or ''}{x}" for b, x in zip(before.to_pylist(), take.to_pylist(), strict=True)])
            context.put("map", slots, keys=take, values=text)
            context.value("v")[slots] += take.to_numpy()
            ring = context.value("ring")
            ring[slots] = np.roll(ring[slots], 1, axis=1)
            ring[slots, 0] = take.to_numpy()
            owner, listed = context.rows("list", slots)
            told = [
                f"{context.value('v')[s]}|{ring[s].tolist()}|{context.get('map', np.array([s]), x.slice(0, 1))[0]}|"
                f"{[v for o, v in zip(owner.tolist(), listed.column('w').to_pylist(), strict=True) if o == s]}"
                for s, x in ((s, take.slice(i)) for i, s in enumerate(slots.tolist()))
            ]
            made = out(context, slots, events.times[index], what="", n=take)
            parts.append(made.set_column(2, "what", pa.array(told, pa.string())))
            done = slots[take.to_numpy() == 11]
            context.forget(done)
            context.clear("list", slots[take.to_numpy() == 10])
        return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]

    def on_timers(self, context, timers):
        return None


def everything_model(items):
    fresh = lambda: {"v": -1.0, "ring": [7, 7, 7], "list": [], "map": {}}  # noqa: E731
    state: dict[str | None, dict] = {}
    for k, t, w in sorted(items, key=lambda r: (r[1], r[0] is not None, r[0] or "", r[2])):
        s = state.setdefault(k, fresh())
        s["list"].append(w)
        s["map"][w] = s["map"].get(w, "") + str(w)
        s["v"] += w
        s["ring"] = [w, *s["ring"][:2]]
        yield (k, t, f"{s['v']}|{s['ring']}|{s['map'][w]}|{s['list']}", w)
        if w == 11:
            state[k] = fresh()
        if w == 10:
            s["list"].clear()


@given(scenarios(row))
def test_every_kind_of_state_survives(scenario):
    found = drive(build(Everything), scenario, SCHEMA, out_time="t")
    assert found.get("main", Counter()) == rows(everything_model(scenario.items))


@given(scenarios(row, late=True))
def test_late_events_leave_by_their_port_as_they_came(scenario):
    _todo, late = steps(scenario, SCHEMA)
    found = drive(build(Everything), scenario, SCHEMA)
    assert found.get("late", Counter()) == rows(late)
    assert sum(found.get("main", Counter()).values()) == len(scenario.items) - len(late)


@given(scenarios(row))
def test_same_steps_same_output_in_the_same_order_after_a_restart(scenario):
    todo, _ = steps(scenario, SCHEMA)
    plain_run, restarted = build(lambda: Silence(3, "0"))(ALL_GROUPS), build(lambda: Silence(3, "0"))(ALL_GROUPS)
    for step in todo:
        one, two = plain_run.push(step), restarted.push(step)
        assert [(p, b.to_pydict()) for p, b in map(_ints, one)] == [(p, b.to_pydict()) for p, b in map(_ints, two)]
        state = restarted.snapshot()
        restarted = build(lambda: Silence(3, "0"))(ALL_GROUPS)
        restarted.restore(state)


def _ints(emit):
    return emit.port, emit.batch.set_column(1, "t", emit.batch.column("t").cast(pa.int64()))


class Clocked:
    state = {"tick": clock_timer(), "last": value_state("int64")}

    def on_events(self, context, events):
        context.value("last")[events.slots] = events.times
        context.hold(events.slots, events.times)
        context.set_timer("tick", events.slots, np.full(len(events.slots), context.clock + 5))

    def on_timers(self, context, timers):
        last = context.value("last")[timers.slots]
        context.hold(timers.slots, np.full(len(timers.slots), MAX_TIME))
        return out(context, timers.slots, last, what="tick", n=timers.times)


def test_clock_timers_fire_at_ticks_and_holds_keep_the_watermark_back():
    machine = build(Clocked, order="arrival")(ALL_GROUPS)
    assert machine.push(Step(0, 0, as_batch([("a", 10, 0)], SCHEMA), 4, clock=100)) == []
    assert machine.watermark == 4
    machine.push(Step(1, 0, None, 50))
    assert machine.watermark == 10
    assert machine.push(Step(2, 0, None, 50, clock=104)) == []
    again = build(Clocked, order="arrival")(ALL_GROUPS)
    again.restore(machine.snapshot())
    (emit,) = again.push(Step(3, 0, None, 50, clock=105))
    assert emit.batch.column("n").to_pylist() == [105]
    assert again.watermark == 50


def test_arrival_order_hands_over_at_once():
    machine = build(Everything, order="arrival")(ALL_GROUPS)
    emits = machine.push(Step(0, 0, as_batch([("a", 10, 1), ("a", 5, 2)], SCHEMA), 4))
    assert emits[0].batch.column("n").to_pylist() == [1, 2]
    late = machine.push(Step(1, 0, as_batch([("a", 3, 1)], SCHEMA), 4))
    assert [e.port for e in late] == ["late"]


def test_state_goes_back_to_nothing():
    machine = build(lambda: Silence(2, "0"))(ALL_GROUPS)
    for i in range(20):
        batch = as_batch([(f"{i}-{j}", 10 * i, 0) for j in range(50)], SCHEMA)
        machine.push(Step(i, 0, batch, 10 * i))
        assert machine.size <= 100
    machine.push(Step(20, 0, None, MAX_TIME, end=True))
    assert machine.size == 0
    assert all(t.num_rows == 0 for n, t in machine.snapshot().items() if n != "progress")


def test_keyless_stream_is_one_key_of_the_first_group():
    class Count:
        state = {"n": value_state("int64")}

        def on_events(self, context, events):
            context.value("n")[0] += len(events.slots)
            return {"main": pa.record_batch([pa.array([int(context.value("n")[0])])], names=["n"])}

        def on_timers(self, context, timers):
            return None

    total = []
    for groups in ranges(2):
        machine = KeyedMachine(Count(), ProcessContext((SCHEMA,), (), "t", groups))
        total += machine.push(Step(0, 0, as_batch([("a", 1, 1), ("b", 1, 1)], SCHEMA), MAX_TIME, end=True))
    assert [e.batch.column("n").to_pylist() for e in total] == [[2]]


class Broken:
    state = {"x": value_state("int64"), "w": event_timer(after="10ns"), "l": list_state(SCHEMA)}

    def __init__(self, on_events, on_timers=None):
        self.events, self.timers = on_events, on_timers

    def on_events(self, context, events):
        return self.events(context, events)

    def on_timers(self, context, timers):
        return self.timers(context, timers) if self.timers else None


def later(name, by):
    return lambda context, x: context.set_timer(name, x.slots, x.times + by)


@pytest.mark.parametrize(
    ("process", "error", "text"),
    [
        (lambda: Broken(lambda c, e: c.value("xx")), UsageError, "declares no state 'xx'.*did you mean 'x'"),
        (lambda: Broken(lambda c, e: c.clear("y", e.slots)), UsageError, "declares no state 'y'"),
        (lambda: Broken(lambda c, e: c.value("l")), UsageError, "'l' is declared as a list state"),
        (lambda: Broken(later("ww", 20)), UsageError, "declares no timer 'ww'.*event_timer"),
        (lambda: Broken(later("w", 5)), UsageError, "before .*after='10ns'"),
        (lambda: Broken(later("w", 20), later("w", 0)), UsageError, "no later than the one that is firing"),
        (lambda: Broken(lambda c, e: {"mian": e.batch}), SchemaError, "port 'mian'.*declared ports: main"),
        (lambda: Broken(lambda c, e: e.batch), SchemaError, "returned the columns"),
        (lambda: Broken(lambda c, e: out(c, e.slots, e.times - 9, what="", n=e.times)), RunError, "behind its own"),
    ],
)
def test_mistakes_are_told(process, error, text):
    machine = build(process)(ALL_GROUPS)
    import re

    with pytest.raises(error) as told:
        machine.push(Step(0, 0, as_batch([("a", 20, 1)], SCHEMA), 20))
        machine.push(Step(1, 0, None, MAX_TIME, end=True))
    assert re.search(text, str(told.value), re.DOTALL)


def test_a_text_state_is_refused():
    class Wrong:
        state = {"x": value_state("U5")}

    with pytest.raises(UsageError, match="cannot be kept per key"):
        KeyedMachine(Wrong(), ProcessContext((SCHEMA,), ("k",), "t", ALL_GROUPS))


def test_a_checkpoint_of_other_state_is_refused():
    state = build(Everything)(ALL_GROUPS).snapshot()
    with pytest.raises(CheckpointError, match="has changed since the checkpoint"):
        build(Clocked)(ALL_GROUPS).restore(state)


def test_endless_timers_are_stopped(monkeypatch):
    monkeypatch.setattr("eventide.kernel.keyed.machine._ENDLESS", 10)
    machine = build(lambda: Broken(later("w", 20), later("w", 1)))(ALL_GROUPS)
    with pytest.raises(RunError, match="timers without end"):
        machine.push(Step(0, 0, as_batch([("a", 20, 1)], SCHEMA), MAX_TIME, end=True))


def test_watermark_starts_before_everything():
    assert build(Everything)(ALL_GROUPS).watermark == MIN_TIME
