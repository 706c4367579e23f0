"""Watching runs from outside: over HTTP, by `eventide inspect metrics`, in the log."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line import Done, call, start
from prometheus_client.parser import text_string_to_metric_families

from eventide.engines.local.run_file import RunFile, RunInfo
from eventide.engines.local.watch import watched
from eventide.metrics import METRICS

NAMED = {
    "eventide_operator_events_in_total",
    "eventide_operator_events_out_total",
    "eventide_operator_busy_ratio",
    "eventide_operator_idle_ratio",
    "eventide_operator_backpressured_ratio",
    "eventide_watermark_seconds",
    "eventide_event_time_lag_seconds",
    "eventide_source_backlog_events",
    "eventide_late_events_total",
    "eventide_quarantined_events_total",
    "eventide_checkpoint_duration_seconds",
    "eventide_checkpoint_bytes",
    "eventide_checkpoint_age_seconds",
    "eventide_state_bytes",
    "eventide_state_keys",
    "eventide_end_to_end_latency_seconds_bucket",
    "eventide_end_to_end_latency_seconds_count",
}

PIPELINE = """
import os
import eventide as ev

class Printed:
    delivery = "at_least_once"
    def open(self, schema, state):
        if os.path.exists("away"):
            raise ConnectionError("mqtt://ada:enigma@host is away")
    def write(self, batch):
        if os.path.exists("away"):
            raise ConnectionError("mqtt://ada:enigma@host is away")
    def prepare(self, checkpoint): return {}
    def commit(self, checkpoint, state): pass
    def close(self): pass

events = ev.read("generator://events", rows=10_000_000, rate=1000, pace=10, keys=3, seed=1, name="events")
counts = events.event_time("timestamp").key_by("key").window(ev.tumbling("1s")).aggregate(n=ev.count())
pipeline = counts.write(Printed(), name="printed").named("hot")
"""


@contextmanager
def running(folder: Path, *options: str) -> Iterator[RunInfo]:
    """Run the pipeline until the body ends, and stop it then."""
    (folder / "hot.py").write_text(PIPELINE)
    process = start(folder, "run", "hot.py", "--metrics", "127.0.0.1:0", "--checkpoint-interval", "200ms", *options)
    file = RunFile(folder / ".eventide/checkpoints/hot")
    try:
        until(lambda: ((info := file.read()) is not None and info.state == "running") or process.poll() is not None)
        info = file.read()
        assert info is not None, process.communicate()
        yield info
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)
        (folder / "err.txt").write_text(err)
    assert process.returncode == 143, err


def until(true: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < 60, "waited too long"
        time.sleep(0.05)


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(info: RunInfo) -> dict[tuple[str, str], float]:
    _, text = get(f"{info.metrics}/metrics")
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
    assert {s.labels["pipeline"] for s in samples} == {"hot"} and {s.labels["run"] for s in samples} == {info.run}
    return {(s.name, s.labels.get("operator") or s.labels.get("source") or ""): s.value for s in samples}


def ready(info: RunInfo) -> tuple[int, dict[str, Any]]:
    status, text = get(f"{info.metrics}/readyz")
    return status, json.loads(text)


def test_a_run_is_watched(tmp_path: Path) -> None:
    with running(tmp_path, "--log-format", "json") as info:
        until(lambda: {name for name, _ in scrape(info)} >= NAMED)
        before = scrape(info)
        reads = ("eventide_operator_events_in_total", "events")
        written = ("eventide_end_to_end_latency_seconds_count", "printed")
        marks = ("eventide_watermark_seconds", "window-3")
        until(lambda: all(now > before[what] for what, now in scrape(info).items() if what in (reads, written, marks)))
        assert scrape(info)["eventide_operator_busy_seconds_total", "window-3"] > 0
        assert ready(info)[0] == 200

        # The command asks the run itself.
        listed = call(tmp_path, "inspect", "metrics", "--json").json
        assert [(r["pipeline"], r["run"], r["alive"], r["metrics"]) for r in listed] == [
            ("hot", info.run, True, info.metrics)
        ]
        told = call(tmp_path, "inspect", "metrics", "hot", "--json").json
        assert set(told) == {"pipeline", "run", "state", "source", "written", "samples"}
        assert (told["source"], told["state"], told["run"]) == ("run", "running", info.run)
        table = call(tmp_path, "inspect", "metrics", "hot").out
        assert f"hot, run {info.run}, running" in table and "end_to_end_latency_seconds" in table

        # A sink that is away: the run waits, says so, and goes on.
        (tmp_path / "away").touch()
        until(lambda: ready(info)[0] == 503)
        status, why = ready(info)
        assert status == 503 and why["reasons"] and get(f"{info.metrics}/healthz")[0] == 200
        (tmp_path / "away").unlink()
        until(lambda: ready(info)[0] == 200)
        assert scrape(info)["eventide_run_restarts_total", ""] >= 1

    # A clean end: nothing says any more that it runs, and the checkpoint has the last figures.
    assert call(tmp_path, "inspect", "metrics", "--json").json == []
    told = call(tmp_path, "inspect", "metrics", "hot", "--json").json
    assert (told["source"], told["run"], told["state"]) == ("checkpoint", info.run, None)
    assert {s["name"] for s in told["samples"]} <= set(METRICS) and told["written"]
    lines = [json.loads(line) for line in (tmp_path / "err.txt").read_text().splitlines() if line.startswith("{")]
    assert {"run_started", "resumed", "checkpoint", "waiting", "back", "stopped"} <= {
        line.get("event") for line in lines
    }
    assert all(line["run"] == info.run for line in lines if line["logger"] == "eventide.run")
    assert "enigma" not in json.dumps(lines)


# -- without a run of its own


def test_nothing_is_known(here: Callable[..., Done], tmp_path: Path) -> None:
    assert here("inspect", "metrics", "--folder", str(tmp_path), "--json").json == []
    assert "nothing runs" in here("inspect", "metrics", "--folder", str(tmp_path)).out
    done = here("inspect", "metrics", "coutn")
    assert done.code == 2 and "did you mean" in done.err and "count" in done.err


def test_a_run_that_died_is_not_believed(here: Callable[..., Done], tmp_path: Path) -> None:
    with watched("hot", "r1", folder=tmp_path / "hot", serve="127.0.0.1:0") as metrics:
        metrics.enter("running")
        file = RunFile(tmp_path / "hot")
        info = file.read()
        assert info is not None
        found = here("inspect", "metrics", "hot", "--folder", str(tmp_path), "--json").json
        assert (found["source"], found["state"]) == ("run", "running")
        # Its port may be another run's by now.
        values = {name: getattr(info, name) for name in RunInfo.__slots__}
        file.write(RunInfo(**{**values, "run": "r0"}))
        assert here("inspect", "metrics", "hot", "--folder", str(tmp_path)).code == 2
        file.write(RunInfo(**{**values, "pid": 2**22 + 1}))
        assert here("inspect", "metrics", "hot", "--folder", str(tmp_path)).code == 2
        assert "gone" in here("inspect", "metrics", "--folder", str(tmp_path)).out
        file.write(RunInfo(**{**values, "metrics": "http://127.0.0.1:1"}))
        done = here("inspect", "metrics", "hot", "--folder", str(tmp_path))
        assert done.code == 2 and "does not answer" in done.err


def test_usage(project: Path) -> None:
    for options in (
        ["--metrics", "9400"],
        ["--metrics", "0.0.0.0:0"],
        ["--log-level", "loud"],
        ["--log-format", "xml"],
    ):
        done = call(project, "run", "lines.py", *options)
        assert done.code == 2 and "hint:" in done.err, options
