"""Apache Beam on its local Python runner (FnApiRunner): Python per event, events made inside the pipeline."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms import window
from benchmarks import data
from benchmarks.worker import Job, Prepared, Result, Run, main, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 10_000


class Events(beam.DoFn):
    """The rows from a number on, one block of them, as (key, value) with their time."""

    def __init__(self, rows: int, keys: int) -> None:
        self.rows, self.keys = rows, keys

    def process(self, start: int) -> Iterator[window.TimestampedValue]:
        """Make one block."""
        block = data.columns(start, min(start + BLOCK, self.rows), keys=self.keys)
        for time_ms, key, value in zip(*(column.tolist() for column in block), strict=True):
            yield window.TimestampedValue((key, value), time_ms / 1000)


class Spread(beam.CombineFn):
    """Count, mean and sum of squared deviations by Welford's update and the merge of Chan et al."""

    def create_accumulator(self) -> tuple[int, float, float]:
        return 0, 0.0, 0.0

    def add_input(self, state: tuple[int, float, float], value: float) -> tuple[int, float, float]:
        n, mean, squares = state
        delta = value - mean
        n += 1
        mean += delta / n
        return n, mean, squares + delta * (value - mean)

    def merge_accumulators(self, states: list[tuple[int, float, float]]) -> tuple[int, float, float]:
        n, mean, squares = 0, 0.0, 0.0
        for n2, mean2, squares2 in states:
            if n2:
                delta = mean2 - mean
                total = n + n2
                squares += squares2 + delta * delta * n * n2 / total
                mean += delta * n2 / total
                n = total
        return n, mean, squares

    def extract_output(self, state: tuple[int, float, float]) -> tuple[int, float, float | None]:
        n, mean, squares = state
        return n, mean, math.sqrt(squares / (n - 1)) if n > 1 else None


class WithWindow(beam.DoFn):
    """Add the start of the window."""

    def process(self, element: Any, where: Any = beam.DoFn.WindowParam) -> Iterator[Any]:
        """One row of the result."""
        key, (n, mean, std) = element
        yield round(float(where.start) * 1000), key, n, mean, std


class Write(beam.DoFn):
    """Write each bundle's rows to a file of their own."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def start_bundle(self) -> None:
        self.kept: list[Any] = []

    def process(self, row: Any) -> None:
        """Keep a row until the bundle ends."""
        self.kept.append(row)

    def finish_bundle(self) -> None:
        """Write the file."""
        if self.kept:
            import uuid

            import pyarrow as pa
            import pyarrow.parquet as pq

            columns = dict(zip(("window_start", "key", "n", "mean", "std"), zip(*self.kept, strict=True), strict=True))
            pq.write_table(pa.table(columns), f"{self.folder}/{uuid.uuid4().hex}.parquet")


def execute(job: Job, rows: int, folder: Path | None) -> None:
    """Run the job over the first `rows` rows; the result goes to a folder or nowhere."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        starts = pipeline | "starts" >> beam.Create(list(range(0, rows, BLOCK)))
        rows_of = starts | "events" >> beam.ParDo(Events(rows, job.keys))
        windows = window.FixedWindows(10) if job.name == "w2" else window.SlidingWindows(10, 2)
        grouped = rows_of | "windows" >> beam.WindowInto(windows) | "spread" >> beam.CombinePerKey(Spread())
        results = grouped | "with window" >> beam.ParDo(WithWindow())
        if folder is not None:
            _ = results | "write" >> beam.ParDo(Write(str(folder)))


def prepare(job: Job) -> Prepared:
    """Nothing to make: the pipeline makes its events."""

    def run(rows: int) -> Run:
        def whole() -> tuple[None, None]:
            execute(job, rows, None)
            return None, None

        return timed(whole)

    return run


def result(job: Job) -> Result:
    """The whole result."""
    import pyarrow.parquet as pq

    folder = Path(tempfile.mkdtemp(prefix="beam-result-"))
    try:
        execute(job, job.rows, folder)
        return Result(pa.concat_tables([pq.read_table(path) for path in folder.glob("*.parquet")]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(prepare, result, versions=lambda: {"beam": beam.__version__}, jobs=("w2", "w3"))
