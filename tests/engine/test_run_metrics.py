"""What a run measures of itself, and how it can be watched."""

from __future__ import annotations

import contextlib
import doctest
import errno
import importlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

import eventide as ev
from eventide.engines.local import endpoint
from eventide.engines.local.endpoint import MetricsServer
from eventide.engines.local.metrics import RunMetrics
from eventide.engines.local.options import options_of
from eventide.engines.local.plan import plan
from eventide.engines.local.run_file import RunFile
from eventide.engines.local.tasks import Flow, send
from eventide.engines.local.times import Times
from eventide.engines.local.watch import watched
from eventide.errors import ConfigError, UnavailableError
from eventide.metrics import METRICS, from_plain, render
from eventide.model.machine import MAIN
from eventide.model.pipeline import Pipeline
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.retry import Circuit

RUN = "20261120T230501-3f2a"


def counting(rows: int = 5_000) -> Pipeline:
    events = ev.read("generator://events", rows=rows, rate=10, keys=3, seed=1, name="events").event_time("timestamp")
    few = events.filter("value > 0") if False else events
    counts = few.key_by("key").window(ev.tumbling("10s")).aggregate(n=ev.count())
    return counts.write("memory://metrics-counts").named("hot")


def run(pipeline: Pipeline, metrics: RunMetrics, *, rows: int = 1_000) -> None:
    """Run a pipeline with one source as the loop does, without checkpoints."""
    made = plan(pipeline, options_of({"lanes": 1}))
    metrics.attach(made)
    metrics.enter("running")
    nodes = {label: node for node, label in pipeline.labels.items()}
    for label, task in made.sinks.items():
        task.sink.open(made.schemas[nodes[label], MAIN], None)
    ((label, source),) = made.sources.items()
    reader = source.open({})
    while not reader.finished:
        for one in reader.read(max_rows=rows, timeout=1):
            metrics.took(time.perf_counter())
            made.reads[label].take(one, MIN_TIME)
    metrics.took()
    send(made.entries[label], Flow(None, MAX_TIME, end=True))
    for task in made.sinks.values():
        task.sink.close()
    made.workers.close()
    metrics.enter("finished")


def value(metrics: RunMetrics, name: str, **labels: str) -> float:
    found = [s.value for s in metrics.samples() if s.name == name and labels.items() <= s.labels.items()]
    assert len(found) == 1, (name, labels, found)
    return found[0]


@pytest.mark.parametrize("name", ["metrics", "endpoint", "watch"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"eventide.engines.local.{name}"))
    assert result.attempted and not result.failed


def test_counts_and_times_of_a_run() -> None:
    metrics = RunMetrics("hot", RUN)
    run(counting(), metrics)
    assert value(metrics, "eventide_operator_events_in_total", operator="assigntime-1") == 5_000
    assert value(metrics, "eventide_operator_events_out_total", operator="write-4") == 150
    assert value(metrics, "eventide_watermark_seconds", operator="window-3") == float("inf")
    assert value(metrics, "eventide_partition_watermark_seconds", source="events", partition="0") > 1.7e9
    assert value(metrics, "eventide_run_state", state="finished") == 1
    found = metrics.samples()
    for label in ("assigntime-1", "keyby-2", "window-3", "write-4"):
        assert value(metrics, "eventide_operator_busy_seconds_total", operator=label) > 0
        shares = [s.value for s in found if s.name.endswith("_ratio") and s.labels["operator"] == label]
        assert len(shares) == 3 and sum(shares) == pytest.approx(1) and min(shares) >= 0


def test_times_are_exclusive() -> None:
    metrics = RunMetrics("hot", RUN)
    run(counting(), metrics)
    times = metrics._times
    inside = times["keyby-2"].blocked
    assert inside == pytest.approx(times["window-3"].busy + times["window-3"].blocked)
    assert times["assigntime-1"].blocked == pytest.approx(times["keyby-2"].busy + inside)
    assert times["write-4"].blocked == 0


def test_latency_is_from_the_source_to_the_sink_and_weighed_by_events() -> None:
    metrics = RunMetrics("hot", RUN)
    pipeline = ev.read("generator://events", rows=1, name="events").write("memory://metrics-latency", name="out")
    made = plan(pipeline, options_of({}))
    metrics.attach(made)
    made.sinks["out"].sink.open(made.sources["events"].schema(), None)
    (one,) = made.sources["events"].open({}).read(max_rows=10, timeout=0)
    metrics.took(time.perf_counter() - 2.0)
    made.reads["events"].take(one, MIN_TIME)
    metrics.took()
    send(made.entries["events"], Flow(one.batch, 0))  # of no new input: no latency
    (latency,) = [s for s in metrics.samples() if s.name == "eventide_end_to_end_latency_seconds"]
    assert latency.labels["operator"] == "out"
    assert latency.buckets[-1][1] == 1 and latency.value == pytest.approx(2, abs=0.2)
    assert value(metrics, "eventide_operator_events_out_total", operator="events") == 1
    made.sinks["out"].sink.close()
    made.workers.close()


def test_sources_connections_and_checkpoints() -> None:
    told: list[str] = []
    metrics = RunMetrics("hot", RUN)
    metrics.on_state = told.append
    made = plan(counting(), options_of({"lanes": 1}))
    metrics.attach(made)
    circuit = Circuit()
    metrics.source("events", Times(busy=1.0), circuit)
    metrics.enter("running")
    made.reads["events"].counts.quarantined = 1
    metrics.checkpointed(7, seconds=0.5, nbytes=77)
    metrics.snapshotted("window-3", {"t": pa.table({"k": [1, 2, 3]})})
    assert value(metrics, "eventide_quarantined_events_total", operator="events") == 1
    assert value(metrics, "eventide_checkpoint_bytes") == 77
    assert 0 <= value(metrics, "eventide_checkpoint_age_seconds") < 60
    assert value(metrics, "eventide_state_keys", operator="window-3") == 3
    metrics.look({"events": 12})
    assert value(metrics, "eventide_source_backlog_events", source="events") == 12
    assert metrics.state == "running" and metrics.waits_for() == []

    circuit.failed(ConnectionError("refused"))
    metrics.look({"events": None})
    assert metrics.state == "waiting" and metrics.waits_for() == ["events fails after 1 failures: refused"]
    assert value(metrics, "eventide_circuit_state", operator="events", state="open") == 1
    circuit.worked()
    metrics.look({"events": 10**7})
    assert metrics.state == "running" and "events is behind" in metrics.waits_for()[0]
    assert told == ["running", "waiting", "running"]

    again = plan(counting(), options_of({"lanes": 1}))
    metrics.attach(again)
    metrics.source("events", Times(busy=0.25), Circuit())
    assert value(metrics, "eventide_run_restarts_total") == 1
    assert value(metrics, "eventide_retries_total", operator="events") == 1
    assert value(metrics, "eventide_operator_busy_seconds_total", operator="events") == 1.25
    stored = metrics.stored()
    assert not any({"pipeline", "run"} & set(s["labels"]) for s in stored)
    assert len(from_plain(json.loads(json.dumps(stored, allow_nan=False)))) == len(metrics.samples())
    made.workers.close()
    again.workers.close()


def test_disks(tmp_path: Path) -> None:
    metrics = RunMetrics("hot", RUN)
    metrics.places = {"checkpoint": tmp_path, "log": tmp_path / "missing"}
    assert (
        0
        < value(metrics, "eventide_disk_free_bytes", place="checkpoint")
        <= value(metrics, "eventide_disk_size_bytes", place="checkpoint")
    )
    assert not [s for s in metrics.samples() if s.labels.get("place") == "log"]


def test_others_may_ask_while_it_runs() -> None:
    metrics = RunMetrics("hot", RUN)
    stop = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            while not stop.is_set():
                render(metrics.samples())
                metrics.waits_for()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    run(counting(50_000), metrics, rows=100)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


# -- over HTTP


@pytest.fixture
def served() -> Iterator[tuple[RunMetrics, MetricsServer]]:
    metrics = RunMetrics("hot", RUN)
    metrics.enter("running")
    before = threading.active_count()
    with MetricsServer("127.0.0.1:0", metrics) as server:
        yield metrics, server
    assert threading.active_count() == before


def get(server: MetricsServer, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(server.address + path, method=method, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read().decode()


def test_metrics_are_served(served: tuple[RunMetrics, MetricsServer]) -> None:
    metrics, server = served
    metrics.checkpointed(7, seconds=0.5, nbytes=77)
    status, headers, text = get(server, "/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    read = {s.name: s for f in text_string_to_metric_families(text) for s in f.samples}
    assert read["eventide_checkpoint_bytes"].value == 77
    assert read["eventide_checkpoint_bytes"].labels == {"pipeline": "hot", "run": RUN}
    status, headers, text = get(server, "/metrics.json?x=1")
    data = json.loads(text)
    assert status == 200 and set(data) == {"pipeline", "run", "state", "pid", "samples"}
    assert {s["name"] for s in data["samples"]} <= set(METRICS)


def test_health_and_readiness(served: tuple[RunMetrics, MetricsServer]) -> None:
    metrics, server = served
    status, _, text = get(server, "/healthz")
    assert status == 200 and json.loads(text)["ok"] is True and json.loads(text)["run"] == RUN
    assert get(server, "/readyz")[0] == 200
    circuit = Circuit()
    metrics.circuit("write-4", circuit)
    circuit.failed(ConnectionError("mqtt://ada:enigma@host is away"))
    status, _, text = get(server, "/readyz")
    assert status == 503
    assert json.loads(text)["reasons"] == ["write-4 fails after 1 failures: mqtt://ada:***@host is away"]
    assert json.loads(text)["state"] == "waiting"
    assert get(server, "/healthz")[0] == 200  # the process is well: to start it anew would not help
    circuit.worked()
    assert get(server, "/readyz")[0] == 200
    metrics.enter("stopping")
    assert get(server, "/readyz")[0] == 503


def test_nothing_but_get(served: tuple[RunMetrics, MetricsServer]) -> None:
    _, server = served
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        status, headers, _ = get(server, "/metrics", method=method)
        assert status == 405 and headers["Allow"] == "GET"
    assert get(server, "/metrics", **{"Content-Length": "5"})[0] == 400
    assert get(server, "/metrics", **{"Transfer-Encoding": "chunked"})[0] == 400
    assert get(server, "/metrics", Host="attacker.example")[0] == 403
    assert get(server, "/metrics", Host="localhost:80")[0] == 200
    status, headers, _ = get(server, "/../etc/passwd")
    assert status == 404 and headers["Server"].strip() == "eventide"


def test_a_slow_client_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint._Handler, "timeout", 0.2)
    monkeypatch.setattr(endpoint, "_AT_ONCE", 2)
    with MetricsServer("127.0.0.1:0", RunMetrics("hot", RUN)) as server:
        port = int(server.address.rpartition(":")[2])
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        for one in slow:
            one.sendall(b"GET /met")
        for one in slow:
            one.settimeout(10)
            with contextlib.suppress(ConnectionResetError):  # too many at once: not even read
                assert one.recv(100) == b""
            one.close()
        assert get(server, "/metrics")[0] == 200


def test_addresses() -> None:
    metrics = RunMetrics("hot", RUN)
    for wrong in ("", "9400", "localhost", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            MetricsServer(wrong, metrics)
    for remote in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"):
        with pytest.raises(ConfigError, match="other machines") as caught:
            MetricsServer(remote, metrics)
        assert "--metrics-remote" in caught.value.hint
    with MetricsServer("127.0.0.1:0", metrics) as server, pytest.raises(ConfigError, match="cannot be served"):
        MetricsServer(server.address.removeprefix("http://"), metrics)


def test_other_machines_only_when_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with MetricsServer("0.0.0.0:0", RunMetrics("hot", RUN), remote=True):
        assert "can be read by other machines" in caplog.text


# -- where a run says that it exists


def test_the_file_of_a_run(tmp_path: Path) -> None:
    file = RunFile(tmp_path / "hot")
    assert file.read() is None
    with watched("hot", RUN, folder=tmp_path / "hot", serve="127.0.0.1:0") as metrics:
        info = file.read()
        assert info is not None and info.alive and info.state == "starting"
        assert (info.pipeline, info.run, info.metrics) == ("hot", RUN, metrics.address)
        metrics.enter("running")
        now = file.read()
        assert now is not None and now.state == "running"
    assert file.read() is None and not list((tmp_path / "hot").iterdir())


def test_a_file_that_cannot_be_removed_does_not_fail_a_run_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, *, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "Input/output error", str(self))

    with watched("hot", RUN, folder=tmp_path) as metrics:
        metrics.enter("finished")
        monkeypatch.setattr(Path, "unlink", refused)
    info = RunFile(tmp_path).read()
    assert info is not None and info.state == "finished"


def test_the_file_of_a_run_that_failed_stays(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError), watched("hot", RUN, folder=tmp_path) as metrics:
        metrics.enter("running")
        raise UnavailableError("the disk is full")
    info = RunFile(tmp_path).read()
    assert info is not None and info.state == "failed" and info.metrics == ""
    (tmp_path / "run.json").write_text("half a fi")
    assert RunFile(tmp_path).read() is None


def test_what_happens_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="eventide")
    made = plan(counting(), options_of({"lanes": 1}))
    with watched("hot", RUN) as metrics:
        metrics.attach(made)
        made.reads["events"].counts.quarantined = 5  # as the checkpoint says
        metrics.resumed(3)
        metrics.enter("running")
        circuit = Circuit()
        metrics.circuit("events", circuit)
        circuit.failed(ConnectionError("refused"))
        metrics.look({})
        circuit.worked()
        made.reads["events"].counts.quarantined += 2
        metrics._looked = 0.0
        metrics.look({})
        metrics.checkpointed(4, seconds=0.1, nbytes=10)
        metrics.enter("finished")
    told = [r.eventide for r in caplog.records]  # type: ignore[attr-defined]
    want = ["run_started", "resumed", "waiting", "back", "quarantine", "checkpoint", "finished"]
    assert [t["event"] for t in told] == want
    assert all(t["pipeline"] == "hot" and t["run"] == RUN for t in told)
    assert (told[4]["operator"], told[4]["events"]) == ("events", 2)
    caplog.clear()
    with pytest.raises(ZeroDivisionError), watched("hot", RUN):
        _ = 1 / 0
    assert caplog.records[-1].eventide["event"] == "failed" and caplog.records[-1].exc_info  # type: ignore[attr-defined]
    made.workers.close()


def test_a_run_goes_on_where_its_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "hot").write_text("a file where a folder should be")
    with watched("hot", RUN, folder=tmp_path / "hot") as metrics:
        metrics.enter("running")
