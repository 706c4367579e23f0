"""Real observations of the Crab Nebula, streamed."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.gamma.science.alerts import alert_rows
from eventide.apps.gamma.science.crab import CRAB, crab, fact_runs, flare, merged, streamed
from eventide.apps.gamma.science.false_alarms import count_alarms, false_alarms, scramble
from eventide.apps.gamma.science.rolling import SCALES, watch
from eventide.apps.gamma.science.significance import pre_trial
from eventide.errors import DataError
from eventide.model.time import EVENT_TIME, duration

MINUTE = 60_000_000_000


@pytest.fixture(scope="module")
def runs(data_dir):
    return fact_runs(data_dir / "gamma" / "fact_dl3")


@pytest.fixture(scope="module")
def plain(runs):
    return streamed(merged(runs))


def test_gives_the_known_counts_and_significance(data_dir):
    found = crab(data_dir / "gamma" / "fact_dl3")
    assert found["ok"], found
    assert (found["events"], found["n_on"], found["n_off"], found["late"]) == (27_306, 691, 1351, 0)
    assert found["hours"] == pytest.approx(10.13, abs=0.005)


@pytest.mark.parametrize(
    "options", [{"partitions": 3, "batch_rows": 1000}, {"batch_rows": 97}, {"lanes": 2, "partitions": 8}]
)
def test_is_the_same_for_any_partitioning(runs, plain, options):
    # Rows are dealt out to the partitions in turn: each is nearly as far as the others.
    found = streamed(merged(runs), lateness="1h", **options)
    assert found.late == 0
    assert found.runs.equals(plain.runs)
    assert found.curve.equals(plain.curve)
    assert found.alerts.equals(plain.alerts)


def test_is_the_same_when_events_come_late(runs, plain):
    events = merged(runs)
    times = events["time"].cast(pa.int64()).to_numpy()
    delay = np.random.default_rng(3).integers(0, 5 * MINUTE, times.size)
    found = streamed(events.take(pa.array(np.argsort(times + delay, kind="stable"))), lateness="5m", batch_rows=500)
    assert found.late == 0
    assert found.curve.equals(plain.curve)
    assert found.alerts.equals(plain.alerts)


def test_a_flare_is_alerted_within_its_ten_minutes(runs, plain):
    events = merged(runs)
    live = sum(r.livetime for r in runs)
    steady = (691 - 1351 * CRAB.alpha) / live
    # Runs that follow each other without a pause of more than a minute, so that the flare is seen.
    ordered = sorted(runs, key=lambda r: int(r.gti[0, 0]))
    quiet = [r for r, n in itertools.pairwise(ordered) if n.gti[0, 0] - r.gti[-1, 1] < MINUTE]
    before = {a["id"] for b in plain.alerts.to_batches() for a in alert_rows(b, role="test")}
    for number, run in enumerate(quiet[5:60:18]):
        start = int(run.gti[0, 0])
        strong = flare(events, start=start, length=10 * MINUTE, factor=5.0, rate=steady, seed=number)
        made = [a for b in streamed(strong).alerts.to_batches() for a in alert_rows(b, role="test")]
        hits = [a for a in made if a["id"] not in before and start < a["time"] <= start + 10 * MINUTE]
        assert hits, (number, [(a["scale"], a["time"] - start) for a in made])


def test_background_alone_makes_no_alert():
    found = false_alarms(hours=1000, rate=1351 / 5 / 10.13, seed=11)
    assert found.per_100_hours < 1
    assert max(found.looks) < 12
    assert found.events == pytest.approx(160_000, rel=0.02)


def test_alarms_are_counted_as_the_stream_makes_them():
    times, region = scramble(600.0, hours=6, n_off=5, seed=2)
    times, region = np.append(times, times[-1] + 10**9 * np.arange(1, 40)), np.append(region, np.zeros(39, np.int8))
    scales = tuple(duration(s) for s in SCALES)
    level = pre_trial(3.0, 1.0)
    found = count_alarms(times, region, hours=6, scales=scales, n_off=5, level=level)
    events = pa.table([pa.array(times).cast(EVENT_TIME), pa.array(region)], names=["time", "region"])
    # A period so short that there is a single trial.
    alerts = ev.fetch(watch(ev.from_table(events).event_time("time"), CRAB, threshold=3.0, period="1ms"))
    update = alerts["update"].to_pylist()
    assert (update.count(0), len(update) - update.count(0)) == (found.excesses, found.updates)
    assert sum(found.alarms) > 10 and len(update) > 5
    assert len(update) <= sum(found.alarms)


def test_absent_data_says_where_to_point(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        crab(tmp_path)
