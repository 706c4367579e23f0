"""A disk that is full: the run stops taking input, says so, and goes on when there is room."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventide as ev
from eventide.engines.local.result import Progress
from eventide.log import Log
from eventide.model.pipeline import Pipeline

ROWS = 120_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted with the rights to do so")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def pipeline(root: Path, name: str) -> Pipeline:
    return (
        ev.read("generator://events", rows=ROWS, rate=1_000, keys=5_000, seed=5)
        .event_time("timestamp")
        .key_by("key")
        .window(ev.tumbling("20s"))
        .aggregate(n=ev.count(), mean=ev.mean("value"))
        .write("log://counts", log=str(root))
        .named(name)
    )


def read_all(root: Path) -> list[str]:
    with Log(root, create=False) as log:
        rows = [str(row) for frame in log.reader("counts").read(10**9) for row in frame.batch.to_pylist()]
    return sorted(rows)


@pytest.mark.parametrize("what", ["log", "checkpoints"])
def test_a_full_disk_is_waited_for(small_disk: Path, tmp_path: Path, what: str) -> None:
    ev.run(pipeline(tmp_path / "whole", "whole"))
    root = (small_disk if what == "log" else tmp_path) / "log"
    checkpoints = (small_disk if what == "checkpoints" else tmp_path) / "checkpoints"
    ballast = small_disk / "ballast"
    waits: list[str] = []
    began = threading.Event()

    def on_progress(progress: Progress) -> None:
        if not began.is_set():
            began.set()
            with ballast.open("wb", buffering=0) as file:  # take what is left, to the last byte
                for size in (1 << 20, 1 << 12, 1):
                    while True:
                        try:
                            file.write(bytes(size))
                        except OSError:
                            break
        if progress.state == "waiting":
            waits.append(progress.reason)
            if len(waits) == 3:
                Path(ballast).unlink()

    result = ev.run(
        pipeline(root, "full"),
        checkpoint=str(checkpoints),
        checkpoint_interval="10ms",
        batch_rows=1_000,
        longest_wait="50ms",
        on_progress=on_progress,
    )
    assert not ballast.exists() and result.restarts == 3
    assert all("No space left" in reason or "full" in reason for reason in waits), waits
    assert read_all(root) == read_all(tmp_path / "whole")
    assert result.rows_in == ROWS and result.ledger_balanced
