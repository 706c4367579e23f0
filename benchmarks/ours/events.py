"""The events of ``benchmarks.data`` in a durable log, and the sink that our side writes its results to."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from benchmarks import data

import eventide.log
from eventide.log import Log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = pa.schema([("ts", pa.timestamp("ns", tz="UTC")), ("key", pa.int64()), ("value", pa.float64())])
TOPIC = "events"
BUILD_ROWS = 1_000_000
OWN_FRAMES = 65_536


def batches(start: int, stop: int, *, keys: int, seed: int = 0, rows: int) -> Iterator[pa.RecordBatch]:
    """Events as batches of `rows` rows in the schema of the topic."""
    step = max(rows, BUILD_ROWS // rows * rows)
    for block in range(start, stop, step):
        whole = data.table(block, min(block + step, stop), keys=keys, seed=seed).cast(SCHEMA).combine_chunks()
        for at in range(0, whole.num_rows, rows):
            yield from whole.slice(at, rows).to_batches()


def log_folder(rows: int, *, keys: int, seed: int = 0, batch: int) -> Path:
    """Folder of a log whose topic ``events`` holds the first `rows` rows, appended `batch` rows at a time.

    It is kept for the next run, as long as the code of the log stays the same; logs of other code are deleted.
    """
    folder = data.FOLDER / f"log-{_code()}-keys-{keys}-seed-{seed}-rows-{rows}-batch-{batch}"
    if folder.exists():
        return folder
    for old in data.FOLDER.glob("log-*-keys-*"):
        if not old.name.startswith(f"log-{_code()}-"):
            shutil.rmtree(old, ignore_errors=True)
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    with Log(unfinished, fsync="os") as log:
        log.create_topic(TOPIC, SCHEMA, event_time="ts")
        writer = log.writer(TOPIC)
        for part in batches(0, rows, keys=keys, seed=seed, rows=batch):
            writer.append(part)
    try:
        unfinished.rename(folder)
    except OSError:  # another program finished the same log first
        shutil.rmtree(unfinished)
    return folder


@functools.cache
def _code() -> str:
    """Fingerprint of the code that writes logs."""
    folder = Path(eventide.log.__file__).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).hexdigest()[:8]


class CountingSink:
    """Counts what it is given and keeps nothing, as the sinks of the peers do in a measurement."""

    delivery = "at_least_once"

    def __init__(self) -> None:
        self.rows = 0

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Begin."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Count a batch."""
        self.rows += batch.num_rows

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Nothing to make durable."""
        return {}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Nothing to make visible."""

    def close(self) -> None:
        """Nothing to close."""


def versions() -> dict[str, str]:
    """Ours, and those of the libraries that decide the speed."""
    names = ("eventide", "numpy", "pyarrow", "polars", "numba")
    return {name: version(name) for name in names} | {"python": platform.python_version()}
