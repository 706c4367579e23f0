"""PyFlink's own windows: Python per event, as its documentation shows; events made inside the job."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
from benchmarks import data
from benchmarks.peers.flink import SETTINGS
from benchmarks.worker import Job, Prepared, Result, Run, main, timed
from pyflink.common import Configuration, Duration, Time, Types, WatermarkStrategy
from pyflink.common.serialization import Encoder
from pyflink.common.watermark_strategy import TimestampAssigner
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.datastream.connectors.file_system import FileSink
from pyflink.datastream.connectors.number_seq import NumberSequenceSource
from pyflink.datastream.functions import AggregateFunction, FlatMapFunction, ProcessWindowFunction
from pyflink.datastream.window import SlidingEventTimeWindows, TumblingEventTimeWindows
from pyflink.version import __version__

BLOCK = 10_000
EVENT = Types.TUPLE([Types.LONG(), Types.LONG(), Types.DOUBLE()])
ROW = Types.STRING()


class Events(FlatMapFunction):
    """The rows of one block as (time in ms, key, value)."""

    def __init__(self, rows: int, keys: int) -> None:
        self.rows, self.keys = rows, keys

    def flat_map(self, value: int) -> Iterator[tuple[int, int, float]]:
        """Make one block."""
        start = value * BLOCK
        block = data.columns(start, min(start + BLOCK, self.rows), keys=self.keys)
        yield from zip(*(column.tolist() for column in block), strict=True)


class TimeOf(TimestampAssigner):
    """The first field."""

    def extract_timestamp(self, value: Any, record_timestamp: int) -> int:
        """Return the time in ms."""
        return int(value[0])


class Spread(AggregateFunction):
    """Count, mean and sum of squared deviations by Welford's update."""

    def create_accumulator(self) -> tuple[int, float, float]:
        return 0, 0.0, 0.0

    def add(self, value: Any, accumulator: tuple[int, float, float]) -> tuple[int, float, float]:
        n, mean, squares = accumulator
        delta = value[2] - mean
        n += 1
        mean += delta / n
        return n, mean, squares + delta * (value[2] - mean)

    def get_result(self, accumulator: tuple[int, float, float]) -> tuple[int, float, float]:
        return accumulator

    def merge(self, a: Any, b: Any) -> Any:
        raise NotImplementedError  # of sessions


class WithWindow(ProcessWindowFunction):
    """One line of the result."""

    def process(self, key: int, context: ProcessWindowFunction.Context, elements: Iterable[Any]) -> Iterator[str]:
        """Add the start of the window."""
        for n, mean, squares in elements:
            std = repr(math.sqrt(squares / (n - 1))) if n > 1 else ""
            yield f"{context.window().start},{key},{n},{mean!r},{std}"


def execute(job: Job, rows: int, folder: Path | None) -> None:
    """Run the job over the first `rows` rows; the result goes to a folder or nowhere."""
    configuration = Configuration()
    for name, value in {**SETTINGS, "python.executable": sys.executable, "python.pythonpath": str(Path.cwd())}.items():
        configuration.set_string(name, value)
    stream = StreamExecutionEnvironment.get_execution_environment(configuration)
    blocks = NumberSequenceSource(0, (rows - 1) // BLOCK)
    numbers = stream.from_source(blocks, WatermarkStrategy.no_watermarks(), "blocks", Types.LONG()).set_parallelism(1)
    late = WatermarkStrategy.for_bounded_out_of_orderness(Duration.of_seconds(2)).with_timestamp_assigner(TimeOf())
    events = numbers.flat_map(Events(rows, job.keys), EVENT).set_parallelism(1).assign_timestamps_and_watermarks(late)
    sizes = Time.seconds(10), Time.seconds(2)
    windows = TumblingEventTimeWindows.of(sizes[0]) if job.name == "w2" else SlidingEventTimeWindows.of(*sizes)
    keyed = events.key_by(lambda event: event[1], Types.LONG()).window(windows)
    state = Types.TUPLE([Types.LONG(), Types.DOUBLE(), Types.DOUBLE()])
    lines = keyed.aggregate(Spread(), WithWindow(), accumulator_type=state, output_type=ROW)
    if folder is not None:
        lines.sink_to(FileSink.for_row_format(folder.as_uri(), Encoder.simple_string_encoder()).build())
    else:
        lines.filter(lambda _: False).print()
    stream.execute(job.name)


def prepare(job: Job) -> Prepared:
    """Nothing to make: the job makes its events."""

    def run(rows: int) -> Run:
        def whole() -> tuple[None, None]:
            execute(job, rows, None)
            return None, None

        return timed(whole)

    return run


def result(job: Job) -> Result:
    """The whole result, through files."""
    folder = Path(tempfile.mkdtemp(prefix="flink-result-"))
    try:
        execute(job, job.rows, folder)
        names = ["window_start", "key", "n", "mean", "std"]
        read = pa.csv.ReadOptions(column_names=names)
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        whole = pa.concat_tables([pa.csv.read_csv(path, read_options=read) for path in files])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(whole)


if __name__ == "__main__":
    main(prepare, result, versions=lambda: {"flink": __version__}, jobs=("w2", "w3"))
