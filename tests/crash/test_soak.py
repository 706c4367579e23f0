"""The soak under random faults, where EVENTIDE_SOAK_MINUTES says for how long; what it compares with, always."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crash_suite import COMMAND, torture

from eventide.testing.crash.events import make_batch
from eventide.testing.crash.model import PAUSE, WINDOW, Model, check

MINUTES = os.environ.get("EVENTIDE_SOAK_MINUTES", "")


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.skipif(not MINUTES, reason="a soak is run where EVENTIDE_SOAK_MINUTES says for how long: make soak")
def test_soak(tmp_path: Path) -> None:
    code, report, said = torture("soak", "--minutes", MINUTES, folder=tmp_path)
    assert code == 0, said
    assert report["checks"] >= 3
    assert sum(report["faults"].values()) >= 10
    assert report["max_rss_mib"] < 1024
    assert (report["lost"], report["doubled"], report["wrong"]) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.soak
def test_the_soak_notices(tmp_path: Path) -> None:
    # Wrong in an undisturbed run, too: only the model can know.
    broken = (
        "import pyarrow as pa; from eventide.testing.crash.bursts import Bursts; plain = Bursts.on_timers\n"
        "def more(self, context, timers):\n"
        "    rows = plain(self, context, timers)\n"
        "    return rows.set_column(3, 'ids', pa.array([f'{ids} 7' for ids in rows['ids'].to_pylist()]))\n"
        "Bursts.on_timers = more"
    )
    code, report, said = torture("soak", "--minutes", "0.3", folder=tmp_path, code=f"{broken}\n{COMMAND}")
    assert code == 1, said
    assert any("while it ran: bursts" in failure for failure in report["failures"]), said


def test_the_model_counts_what_a_loop_counts() -> None:
    model = Model.of(25, seed=9)
    counts: dict[tuple[int, int], list[float]] = {}
    last: dict[int, int] = {}
    times = []
    for number in range(25):
        rows = make_batch("readings", number, seed=9).slice(0, 24)
        time = rows["timestamp"].cast("int64").to_pylist()
        times += zip(time, rows["sensor"].to_pylist(), rows["id"].to_pylist(), rows["value"].to_pylist(), strict=True)
    bursts: dict[tuple[int, int], list[int]] = {}
    ids: dict[int, list[int]] = {}
    for time, sensor, number, value in sorted(times):
        counts.setdefault((sensor, (time // WINDOW + 1) * WINDOW), []).append(value)
        if sensor in last and time - last[sensor] >= PAUSE:
            bursts[sensor, last[sensor] + PAUSE] = ids.pop(sensor)
        ids.setdefault(sensor, []).append(number)
        last[sensor] = time
    assert len(model.counts) > 15
    assert len(model.bursts) > 30
    for key, (n, total) in model.counts.items():
        assert n == len(counts[key])
        assert total == pytest.approx(sum(counts[key]))
    for key, text in model.bursts.items():
        assert text == " ".join(map(str, bursts[key]))


def test_what_the_check_finds() -> None:
    model = Model({(1, 10): (2, 3.0), (1, 20): (1, 1.0)}, {(1, 5): "1 2", (2, 8): "3"})
    good = [((1, 10), 2, 3.0), ((1, 20), 1, 1.0), ((1, 30), 9, 9.0)]
    assert check(model, counts=good, bursts=[((1, 5), "1 2")]) == []
    assert check(model, counts=good[1:], bursts=[]) == ["counts (1, 10) is missing"]
    assert check(model, counts=[((1, 10), 3, 3.0)], bursts=[]) == ["counts (1, 10) is (3, 3.0), not (2, 3.0)"]
    assert check(model, counts=[((2, 10), 1, 1.0)], bursts=[]) == ["counts (2, 10) should not be"]
    assert check(model, counts=[], bursts=[((2, 8), "4")]) == [
        "bursts (2, 8) is '4', not '3'",
        "bursts (1, 5) is missing",
    ]
    assert check(model, counts=[], bursts=[((1, 5), "1 2")] * 2) == ["bursts (1, 5) is there 2 times"]
