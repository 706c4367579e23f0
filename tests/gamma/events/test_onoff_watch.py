"""Rolling significance and alerts against a plain loop, in any order and any cut."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.gamma.science.alerts import ALERTS
from eventide.apps.gamma.science.gcn import gcn_notices
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.science.rolling import CURVE, SCALES, watch
from eventide.apps.gamma.science.significance import li_ma, pre_trial
from eventide.apps.gamma.science.voevent import voevents
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import PipelineError, SchemaError, UsageError
from eventide.kernel.build import build_machine
from eventide.model.machine import Step
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME, duration
from eventide.testing.operators import OperatorSuite

CRAB = OnOff(83.63308, 22.0145, radius=0.17, name="Crab")
SECOND = 1_000_000_000
TWO = ("10s", "1m")


def table(times, region):
    at = pa.array(np.asarray(times, np.int64)).cast(EVENT_TIME)
    obs = pa.array(np.asarray(times, np.int64) // (100 * SECOND))
    return pa.table({"time": at, "region": pa.array(region, pa.int8()), "obs_id": obs})


def naive(events, scales, threshold, period):
    """Return alerts as (time, scale, n_on, n_off, inputs) and the curve as rows, from the definition alone."""
    rows = sorted(
        (t, r, o)
        for t, r, o in zip(
            events["time"].cast(pa.int64()).to_pylist(),
            events["region"].to_pylist(),
            events["obs_id"].to_pylist(),
            strict=True,
        )
        if r is not None and r >= 0
    )
    lengths = sorted(duration(s) for s in scales)
    level = pre_trial(threshold, max(1.0, 8.0 * sum(period / n for n in lengths)))
    up = dict.fromkeys(lengths, False)
    alerts, curve, totals = [], [], [0, 0]
    highest, seen, count = 0.0, set(), 0
    last = None
    for t, r, _ in rows:
        if last is not None and t - last >= lengths[-1]:
            up = dict.fromkeys(lengths, False)
        last = t
        totals[r > 0] += 1
        best = None
        lasting, rising = any(up.values()), []
        for scale in lengths:
            inside = [(a, b, o) for a, b, o in rows if t - scale < a <= t]
            n_on = sum(b == 0 for _, b, _ in inside)
            n_off = len(inside) - n_on
            sigma = float(li_ma(n_on, n_off, 0.2))
            if best is None or sigma > best[3]:
                best = (scale, n_on, n_off, sigma)
            if sigma >= level and not up[scale]:
                up[scale] = True
                rising.append((sigma, -scale, (t, scale, n_on, n_off, sorted({o for *_, o in inside}))))
            elif sigma < level - 1:
                up[scale] = False
        curve.append((t, *totals, *best))
        if not rising:
            continue
        if not lasting:
            highest, seen, count = 0.0, set(), 0
        sigma, _, row = max(rising)
        shorter = bool(seen) and min(-s for _, s, _ in rising) < min(seen)
        news = shorter or sigma >= highest + 1.0 or any(-s in seen for _, s, _ in rising)
        seen |= {-s for _, s, _ in rising}
        highest = max(highest, sigma)
        if news or not count:
            alerts.append((*row, count))
            count += 1
    return sorted(alerts, key=lambda a: a[:2]), curve


def as_rows(alerts, curve):
    a = alerts.select(["time", "scale", "n_on", "n_off", "inputs", "update"]).cast(
        pa.schema(
            [
                ("time", pa.int64()),
                ("scale", pa.int64()),
                ("n_on", pa.int64()),
                ("n_off", pa.int64()),
                ("inputs", pa.list_(pa.int64())),
                ("update", pa.int64()),
            ]
        )
    )
    names = ["time", "n_on", "n_off", "best_scale", "best_n_on", "best_n_off", "best_significance"]
    kinds = [pa.float64() if n == "best_significance" else pa.int64() for n in names]
    c = curve.select(names).cast(pa.schema(list(zip(names, kinds, strict=True))))
    return [tuple(r.values()) for r in a.to_pylist()], [tuple(r.values()) for r in c.to_pylist()]


def engine(events, *, scales=TWO, lateness="200s", threshold=3.0, period="1m", **options):
    stream = ev.read(MemorySource(events)).event_time("time", lateness=lateness)
    alerts = watch(stream, CRAB, scales=scales, threshold=threshold, period=period)
    main, side, late = MemorySink(), MemorySink(), MemorySink()
    ev.run(alerts.write(main), alerts.side("curve").write(side), alerts.side("late").write(late), **options)
    return main.table(), side.table(), late.table()


@st.composite
def nights(draw):
    count = draw(st.integers(0, 60))
    steps = draw(st.lists(st.sampled_from([0, 1, 2, 5, 30, 90]), min_size=count, max_size=count))
    region = draw(st.lists(st.sampled_from([None, -1, 0, 0, 0, 1, 2, 5]), min_size=count, max_size=count))
    times = (np.cumsum(np.asarray(steps, np.int64)) + 1000) * SECOND
    return table(times, region), draw(st.permutations(range(count)))


@given(nights(), st.integers(1, 20))
@settings(max_examples=25)
def test_equals_the_definition_in_any_order_and_cut(night, rows):
    events, order = night
    shuffled = events.take(pa.array(list(order), pa.int64()))
    found = as_rows(*engine(shuffled, lateness="1h", batch_rows=rows)[:2])
    alerts, curve = naive(events, TWO, 3.0, 60 * SECOND)
    assert found[0] == alerts
    # Of events at one time the order is that of their columns; what they have come to after the last of them is fixed.
    assert len(found[1]) == len(curve)
    assert {r[0]: r for r in found[1]} == {r[0]: r for r in curve}


def steps_of(events, cuts):
    bounds = [0, *sorted(cuts), events.num_rows]
    newest = MIN_TIME
    for seq, (a, b) in enumerate(itertools.pairwise(bounds)):
        batch = events.slice(a, b - a).combine_chunks().to_batches()
        batch = batch[0] if batch else None
        if batch is not None and batch.num_rows:
            newest = max(newest, int(batch.column("time").cast(pa.int64()).to_numpy().max()) - 20 * SECOND)
        yield Step(seq, 0, batch, newest)
    yield Step(len(bounds), 0, None, MAX_TIME, end=True)


@given(nights(), st.data())
@settings(max_examples=25)
def test_goes_on_from_a_snapshot_at_any_step(night, data):
    events, _ = night
    cuts = data.draw(st.lists(st.integers(0, events.num_rows), max_size=5))
    stop = data.draw(st.integers(0, len(cuts) + 1))
    stream = ev.from_table(events).event_time("time", lateness="20s")
    node = watch(stream, CRAB, scales=TWO, threshold=3.0, period="1m").ref.node

    def machine():
        return build_machine(node, (events.schema,))

    whole, one, two = machine(), machine(), machine()
    first, second = [], []
    for number, step in enumerate(steps_of(events, cuts)):
        first += whole.push(step)
        if number == stop:
            two.restore(one.snapshot())
            one = two
        second += one.push(step)
    for port in ("main", "curve"):
        a, b = ([e.batch for e in out if e.port == port and e.batch.num_rows] for out in (first, second))
        assert len(a) == len(b)
        assert all(x.equals(y) for x, y in zip(a, b, strict=True))


class TestWatch(OperatorSuite):
    keys = ()
    forgets = False  # how many events there were is counted for ever

    def events(self):
        return nights().map(lambda night: night[0])

    def apply(self, stream):
        alerts = watch(stream, CRAB, scales=TWO, threshold=3.0, period="1m")
        return {"alerts": alerts.select(*ALERT), "curve": alerts.side("curve").select(*CURVE_COLUMNS)}

    def reference(self, events):
        alerts, curve = naive(events, TWO, 3.0, 60 * SECOND)
        return {"alerts": as_table(ALERT, ALERTS, alerts), "curve": as_table(CURVE_COLUMNS, CURVE, curve)}


ALERT = ("time", "scale", "n_on", "n_off", "inputs", "update")
CURVE_COLUMNS = ("time", "n_on", "n_off", "best_scale", "best_n_on", "best_n_off", "best_significance")


def as_table(names, schema, rows):
    kinds = pa.schema([schema.field(n) for n in names])
    return pa.table([pa.array([r[i] for r in rows], f.type) for i, f in enumerate(kinds)], schema=kinds)


def test_late_events_leave_by_their_port():
    events = table([1000 * SECOND, 2000 * SECOND, 1100 * SECOND], [0, 0, 0])
    _, curve, late = engine(events, lateness="10s")
    assert (curve.num_rows, late.num_rows) == (2, 1)


def test_an_alert_comes_once_until_the_significance_has_gone_down():
    burst = 1000 * SECOND + np.arange(30) * SECOND // 10
    again = burst + 3600 * SECOND
    events = table(np.concatenate([burst, again]), [0] * 60)
    alerts, _, _ = engine(events, scales=("10s",), threshold=5.0, period="8h")
    assert alerts.num_rows == 2
    assert len(set(alerts["id"].to_pylist())) == 2
    repeat = engine(events, scales=("10s",), threshold=5.0, period="8h")[0]
    assert repeat.equals(alerts)


def test_one_excess_is_one_alert_with_updates():
    """A source that grows from scale to scale, goes on, ends, and comes again an hour later."""
    flare = 10_000 * SECOND + np.cumsum(np.full(40, 3 * SECOND))
    quiet = 10_000 * SECOND + np.arange(-3600, 3600, 40) * SECOND
    later = flare + 12_000 * SECOND
    times = np.concatenate([flare, quiet, later])
    region = np.concatenate([np.zeros(40), np.arange(1, 181) % 5 + 1, np.zeros(40)]).astype(np.int8)
    alerts, _, _ = engine(table(times, region), scales=SCALES, threshold=5.0, period="8h")
    firsts = alerts.filter(pa.compute.equal(alerts["update"], 0))
    since = firsts["time"].cast(pa.int64()).to_numpy()
    assert firsts.num_rows == 2, alerts.select(["time", "scale", "update"])
    assert firsts["excess"].to_pylist() == firsts["id"].to_pylist()
    assert 10_000 * SECOND < since[0] < 10_120 * SECOND < 22_000 * SECOND < since[1]
    assert 2 <= alerts.num_rows <= 8
    assert set(alerts["excess"].to_pylist()) == set(firsts["id"].to_pylist())
    assert len(set(alerts["id"].to_pylist())) == alerts.num_rows
    told = alerts.to_batches()[0] if len(alerts.to_batches()) == 1 else alerts.combine_chunks().to_batches()[0]
    kinds = [json.loads(n)["alert_type"] for n in gcn_notices(told, mission="x")]
    assert kinds == ["update" if u else "initial" for u in alerts["update"].to_pylist()]
    packets = voevents(told, stream="x/y")
    assert [b"Citations" in p for p in packets] == [u > 0 for u in alerts["update"].to_pylist()]


def test_what_cannot_be_watched_is_refused():
    stream = ev.from_table(table([1], [0]))
    with pytest.raises(PipelineError, match="event time"):
        watch(stream, CRAB)
    timed = stream.event_time("time")
    with pytest.raises(PipelineError, match="keys"):
        watch(timed.key_by("obs_id"), CRAB)
    with pytest.raises(UsageError):
        watch(timed, CRAB, scales=())
    with pytest.raises(UsageError):
        watch(timed, CRAB, threshold=0.0)
    bad = ev.from_table({"time": ["2026-01-01"], "region": ["on"]}).event_time("time")
    with pytest.raises(SchemaError, match="region"):
        ev.fetch(watch(bad, CRAB))
    assert [duration(s) for s in SCALES] == sorted(duration(s) for s in SCALES)
