"""Everything that a victim needs is imported and loaded once, in the parent that forks them."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa

from eventide import registry
from eventide.errors import EventideError
from eventide.log import Log
from eventide.testing.crash.ending import write_ends
from eventide.testing.crash.events import PARTITIONS, ROWS, SCHEMAS, make_batch, plain_batch
from eventide.testing.crash.pipeline import pipeline

__all__ = ["warm_up"]

_BATCHES = 12
_MODULES = (
    *("polars", "typer", "eventide.cli.run"),
    *("eventide.formats.json", "eventide.formats.csv", "eventide.formats.parquet"),
    *("eventide.connectors.log", "eventide.connectors.file", "eventide.connectors.sqlite"),
)
# Text columns are put in order by Polars, which the parent must not use.
_MARKS = pa.schema([SCHEMAS["marks"].field("timestamp"), ("sensor", pa.int64()), ("mark", pa.int64())])


def warm_up() -> None:
    """Import what victims need and run the pipeline, which loads the compiled kernels; no thread is left behind."""
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    for module in _MODULES:
        with contextlib.suppress(ImportError, EventideError):
            importlib.import_module(module)
    folder = Path(tempfile.mkdtemp(prefix="eventide-torture-warm-"))
    try:
        _write(folder)
        made = pipeline(str(folder), tables="0", plain="1")
        registry.resolve("engine", "local").run(made, checkpoint=folder / "checkpoints", quarantine=folder / "log")
        registry.resolve("engine", "local").run(made, checkpoint=folder / "checkpoints", quarantine=folder / "log")
    finally:
        shutil.rmtree(folder)


def _write(folder: Path) -> None:
    with Log(folder / "log", fsync="os") as log:
        for topic, schema in {**SCHEMAS, "marks": _MARKS}.items():
            log.create_topic(topic, schema, event_time="timestamp", partitions=PARTITIONS[topic])
        for number in range(_BATCHES):
            log.append("readings", plain_batch(number, seed=0))
            for p in range(PARTITIONS["marks"]):
                batch = make_batch("marks", number, seed=0, partition=p)
                plain = pa.RecordBatch.from_arrays([*batch.columns[:2], batch.column(1)], schema=_MARKS)
                log.append("marks", plain, partition=p)
    ends = {topic: {str(p): _BATCHES * ROWS[topic] for p in range(n)} for topic, n in PARTITIONS.items()}
    write_ends(folder, ends)
