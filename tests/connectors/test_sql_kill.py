"""A run that is killed again and again, with SIGKILL at any moment, leaves in the table what an undisturbed run writes."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventide as ev

PROGRAM = """
import sys
import eventide as ev
folder, out, key, password = sys.argv[1:]
events = ev.read("generator://e", rows=300_000, keys=7, seed=3, disorder="1s").event_time("timestamp", lateness="2s")
means = events.key_by("key").window(ev.tumbling("500ms")).aggregate(mean=ev.mean("value"), n=ev.count())
options = {k: v for k, v in {"key": key, "password": password}.items() if v}
kept = {"checkpoint": f"{folder}/checkpoints", "checkpoint_interval": "5ms"}
print(ev.run(means.write(out, **options), batch_rows=500, **kept).restarts)
"""
KILLS = 8

Query = Callable[[str], list[tuple[Any, ...]]]


def killed_and_resumed(folder: Path, out: str, key: str, password: str = "") -> None:
    """Kill a program at any instant after it has begun to make checkpoints, then let it end."""
    rng = random.Random(out)
    checkpoints = folder / "checkpoints"
    kills = 0
    for attempt in range(30):
        before = set(checkpoints.glob("*/chk-????????"))
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), out, key, password],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        alone = kills >= KILLS
        while program.poll() is None and (alone or set(checkpoints.glob("*/chk-????????")) <= before):
            time.sleep(0.001)
        if not alone:
            time.sleep(0.05 * rng.random())
            if program.poll() is None:
                program.kill()
                kills += 1
        _, stderr = program.communicate()
        if program.returncode == 0:
            break
        assert program.returncode < 0, (attempt, stderr.decode())
    assert program.returncode == 0
    assert kills >= 3


def check(query: Query) -> None:
    events = ev.read("generator://e", rows=300_000, keys=7, seed=3, disorder="1s")
    keyed = events.event_time("timestamp", lateness="2s").key_by("key")
    whole = ev.fetch(keyed.window(ev.tumbling("500ms")).aggregate(mean=ev.mean("value"), n=ev.count()))
    got = query("SELECT key, n, mean FROM means")
    assert len(got) == whole.num_rows
    assert sorted(got) == sorted(zip(*(whole[c].to_pylist() for c in ("key", "n", "mean")), strict=True))
    assert query("SELECT count(*) FROM _eventide_commits WHERE row_count > 0") == [(1,)]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "key,window_start"])
def test_sqlite(tmp_path: Path, key: str) -> None:
    killed_and_resumed(tmp_path, f"sqlite://{tmp_path}/a.db?table=means", key)
    connection = sqlite3.connect(tmp_path / "a.db")
    check(lambda statement: connection.execute(statement).fetchall())
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "key,window_start"])
def test_postgresql(tmp_path: Path, key: str, postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from servers.postgresql import PASSWORD

    monkeypatch.setitem(os.environ, "SKY_PASSWORD", PASSWORD)
    schema = "upsert" if key else "append"
    postgresql.query(f"CREATE SCHEMA {schema}")
    killed_and_resumed(tmp_path, f"{postgresql.uri}?table=means&schema={schema}", key, "env:SKY_PASSWORD")
    with postgresql.connect() as connection:
        connection.execute(f"SET search_path TO {schema}")
        check(lambda statement: connection.execute(statement).fetchall())


@pytest.mark.slow
def test_the_server_is_stopped_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run waits, goes back to its last checkpoint, and ends with every row once."""
    pytest.importorskip("psycopg", reason="pip install 'eventide[postgresql]'")
    from servers.postgresql import PASSWORD, Server, folder_with_server

    monkeypatch.setitem(os.environ, "SKY_PASSWORD", PASSWORD)
    server = Server(folder_with_server())
    try:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), f"{server.uri}?table=means", "", "env:SKY_PASSWORD"]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3):
            while program.poll() is None and len(list(tmp_path.glob("checkpoints/*/chk-????????"))) == 0:
                time.sleep(0.005)
            time.sleep(0.3)
            server.stop()
            time.sleep(0.3)
            server.start()
        restarts, stderr = program.communicate(timeout=120)
        assert program.returncode == 0, stderr.decode()
        assert int(restarts) >= 1
        check(server.query)
    finally:
        server.remove()
