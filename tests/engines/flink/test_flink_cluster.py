"""A real cluster: a job manager and two task managers, each a process, on the loopback."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyflink", reason="make test-flink runs this in Flink's own environment")

import polars as pl

import eventide as ev
from eventide.errors import EventideError, UnavailableError
from eventide.formats import arrow
from eventide.model.pipeline import Pipeline
from servers.flink import Cluster

ROWS = 400_000
KILLS = int(os.environ.get("EVENTIDE_FLINK_KILLS", "10"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(slots=2) as made:
        made.add(2)
        yield made


def windows(out: Path, rows: int = ROWS) -> Pipeline:
    """Return windows over events that take a while: a batch is slowed down, so that there is a middle."""
    events = ev.read("generator://events", rows=rows, keys=200, disorder="2s", seed=7)
    slowed = events.map_batches(_slowly, schema=None)
    timed = slowed.event_time("timestamp", lateness="2s").key_by("key")
    found = timed.window(ev.tumbling("1s")).aggregate(mean=ev.mean("value"), std=ev.std("value"), n=ev.count())
    return found.write(f"file://{out}").named("windows")


def _slowly(batch: Any) -> Any:
    if batch.num_rows:
        time.sleep(0.1)
    return batch


def table(out: Path) -> pl.DataFrame:
    batch = arrow.decode(out.read_bytes()).batch
    return pl.from_arrow(batch).sort("key", "window_start")  # type: ignore[union-attr, return-value]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    out = tmp_path_factory.mktemp("undisturbed") / "out.arrow"
    ev.run(windows(out))
    return table(out)


def on(cluster: Cluster, folder: Path, **more: Any) -> dict[str, Any]:
    common = {"url": cluster.url, "checkpoint": str(folder), "checkpoint_interval": "500ms", "batch_rows": 5_000}
    return {"engine": "flink", "lanes": 2, "buckets": 4, **common, **more}


def test_two_workers_give_the_same_rows(cluster: Cluster, tmp_path: Path, undisturbed: pl.DataFrame) -> None:
    out = tmp_path / "out.arrow"
    result = ev.run(windows(out), **on(cluster, tmp_path / "state"))
    assert result.ledger_balanced
    assert result.rows_in == ROWS
    assert table(out).equals(undisturbed)


def test_rescale_from_a_savepoint(cluster: Cluster, tmp_path: Path, undisturbed: pl.DataFrame) -> None:
    out, state, kept = tmp_path / "out.arrow", tmp_path / "state", tmp_path / "savepoints"
    stop = threading.Event()

    def watch(progress: Any) -> None:
        if progress.rows_out:
            stop.set()

    first = ev.run(windows(out), **on(cluster, state, lanes=1, savepoint=kept, stop=stop, on_progress=watch))
    assert first.stopped
    assert 0 < first.rows_in < ROWS
    second = ev.run(windows(out), **on(cluster, state, lanes=2, from_savepoint=kept))
    assert not second.stopped
    assert second.rows_in == ROWS
    assert table(out).equals(undisturbed)


class Killer(threading.Thread):
    """Kills task managers while a job runs, one after another, and starts others."""

    def __init__(self, cluster: Cluster, source: random.Random, most: int) -> None:
        super().__init__()
        self._cluster, self._source, self._most = cluster, source, most
        self.progressed, self.ended, self.kills = threading.Event(), threading.Event(), 0

    def run(self) -> None:
        while self.kills < self._most and not self.ended.is_set():
            if self.progressed.wait(0.1) and not self.ended.wait(self._source.random() * 5):
                self.kills += 1
                self._cluster.kill(self._source.randrange(len(self._cluster.managers)))
                self._cluster.add()
                self.progressed.clear()

    def watch(self, progress: Any) -> None:
        if progress.state == "running":
            self.progressed.set()


def test_task_managers_that_are_killed(cluster: Cluster, tmp_path: Path, undisturbed: pl.DataFrame) -> None:
    """One machine after another is lost in mid-stream, and another comes: the rows are the same."""
    source, done, number = random.Random(3), 0, 0
    while done < max(1, KILLS // 2):
        number += 1
        out = tmp_path / f"out-{number}.arrow"
        killer = Killer(cluster, source, most=min(3, KILLS // 2 - done))
        killer.start()
        try:
            how = on(cluster, tmp_path / f"state-{number}", on_progress=killer.watch, longest_wait="1s")
            result = ev.run(windows(out), **how)
        finally:
            killer.ended.set()
            killer.join()
        done += max(1, killer.kills)
        assert result.rows_in == ROWS
        assert table(out).equals(undisturbed)
        print(f"{done} task managers killed in {number} rounds, all of them equal")


def test_no_room(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="slots free"):
        ev.run(windows(tmp_path / "out.arrow"), **on(cluster, tmp_path / "state", lanes=8, buckets=8))


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(EventideError, match="does not answer"):
        ev.run(windows(tmp_path / "out.arrow"), engine="flink", url="127.0.0.1:9", checkpoint=str(tmp_path))
