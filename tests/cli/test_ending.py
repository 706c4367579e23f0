"""How commands end: exit codes, signals, and that a stopped run goes on to exactly the undisturbed result."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from command_line import Done, call, start

import eventide as ev

SLOW = """
import time
import eventide as ev

def dawdle(batch):
    time.sleep(0.25 if batch.num_rows else 0)
    return batch

def pipeline(sink: str, dawdling: str = "yes"):
    events = ev.read("log://long", follow=False)
    if dawdling == "yes":
        events = events.map_batches(dawdle)
    sums = (
        events.event_time("timestamp", lateness="2s")
        .key_by("key")
        .window(ev.tumbling("1s"))
        .aggregate(n=ev.count(), total=ev.sum("value"), spread=ev.std("value"))
    )
    return sums.write(f"log://{sink}")
"""
ROWS = 700_000
RUN = ("run", "slow.py", "-p", "sink=stopped", "--checkpoint-interval", "300ms", "--lanes", "1", "--json")


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("version", 0, ""),
        ("run fails.py", 1, "ZeroDivisionError"),
        ("run nowhere.py", 2, "there is no file nowhere.py"),
        ("run broken.py", 2, "broken.py:1"),
        ("run count.py --lanes many", 2, "--lanes"),
        ("run count.py --engine flonk", 2, "there is no engine 'flonk'"),
        ("check count.py --log nowhere", 2, "there is no log at nowhere"),
        ("tail readings --log nowhere", 2, "`eventide log import TOPIC FILE`"),
        ("rnu", 2, "Did you mean 'run'?"),
        ("tail reading", 2, "did you mean 'readings'?"),
        ("run lines.py --checkpoint= --max-quarantined 0", 3, "more than --max-quarantined 0"),
        ("run needs.py", 4, "there is no module 'a_library_that_is_not_there'"),
    ],
)
def test_exit_codes(project: Path, command: str, code: int, told: str, tmp_path: Path) -> None:
    log = ("--log", str(tmp_path)) if command.startswith("run") else ()
    done = call(project, *command.split(), *log)
    assert done.code == code, done.err
    assert told in done.err
    assert "Traceback" not in done.err


def test_debug_shows_where_an_error_came_from(project: Path, tmp_path: Path) -> None:
    done = call(project, "run", "fails.py", "--log", str(tmp_path), "--checkpoint", "", "--debug")
    assert done.code == 1
    assert "Traceback" in done.err and "return batch if not batch.num_rows else 1 / 0" in done.err


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str], after: int) -> None:
    for _ in range(1200):
        if any(int(p.name[4:]) > after for p in folder.glob("stopped/chk-*[0-9]")):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("no checkpoint came")


def test_a_stopped_run_goes_on_to_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTIDE_LOG", ".eventide/log")
    (tmp_path / "slow.py").write_text(SLOW)
    long = ev.read("generator://events", rows=ROWS, rate=10_000, keys=7, disorder="2s", seed=4)
    ev.run(long.write("log://long"))
    parts, checkpoint, codes = [], 0, []
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(tmp_path, *RUN, "--name", "stopped")
        wait_for_checkpoint(tmp_path / ".eventide/checkpoints", process, checkpoint)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert "writing a checkpoint" in err and "Traceback" not in err
        parts.append(json.loads(out))
        codes.append(process.returncode)
        checkpoint = parts[-1]["checkpoint"]
    assert codes == [143, 130]
    last = call(tmp_path, *RUN, "--name", "stopped")
    assert last.code == 0, last.err
    parts.append(last.json)
    assert [p["stopped"] for p in parts] == [True, True, False]
    assert [p["resumed_from"] for p in parts] == [0, parts[0]["checkpoint"], parts[1]["checkpoint"]]
    assert all(p["rows_in"] > 0 for p in parts)
    assert sum(p["rows_in"] for p in parts) == ROWS
    plain = call(tmp_path, "run", "slow.py", "-p", "sink=plain", "-p", "dawdling=no", "--checkpoint", "", "--json")
    assert plain.json["rows_in"] == ROWS
    assert plain.json["rows_out"] == sum(p["rows_out"] for p in parts)
    assert topic("stopped").equals(topic("plain"))
    again = call(tmp_path, "run", "slow.py", "-p", "sink=stopped", "--name", "stopped")
    assert again.code == 0
    assert "the input had ended" in again.err and "--fresh" in again.err


def topic(name: str) -> pa.Table:
    return ev.fetch(ev.read(f"log://{name}", follow=False)).sort_by(
        [("window_start", "ascending"), ("key", "ascending")]
    )


def test_a_reader_that_goes_away_is_no_failure(project: Path) -> None:
    process = start(project, "tail", "readings", "--from", "earliest")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("partition\t")
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_following_ends_with_a_signal(project: Path) -> None:
    process = start(project, "tail", "readings", "-f", "-n", "1", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["partition"] in (0, 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_too_much_in_quarantine_stops_a_run_without_end(here: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "import eventide as ev\nimport polars as pl\n"
        "pipeline = ev.read('generator://e', rate=100, pace=1)"
        ".select(t=pl.when(pl.col('key') > 5).then(pl.col('timestamp')))"
        ".event_time('t').write('log://odd')\n"
    )
    done = here(
        "run", str(tmp_path / "odd.py"), "--log", str(tmp_path / "log"), "--max-quarantined", "3", "--checkpoint="
    )
    assert done.code == 3
    assert "more than --max-quarantined 3" in done.err
