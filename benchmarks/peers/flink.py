"""Flink SQL: windowing table functions over a source in the JVM, parallelism 2, one local mini-cluster.

The events are computed columns of a sequence of numbers, so no byte is decoded and no Python runs: the fastest
source that Flink has. ``--job source`` times it alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
from benchmarks import data
from benchmarks.worker import JOBS, Job, Prepared, Result, Run, main, timed
from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.datastream.connectors.number_seq import NumberSequenceSource
from pyflink.table import Schema, StreamTableEnvironment
from pyflink.version import __version__

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

SETTINGS = {
    "execution.runtime-mode": "streaming",
    "parallelism.default": "2",
    "pipeline.object-reuse": "true",
    "restart-strategy.type": "none",
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "rest.bind-port": "0",
    "jobmanager.rpc.address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "taskmanager.host": "127.0.0.1",
    "taskmanager.numberOfTaskSlots": "2",
    "taskmanager.memory.managed.size": "1g",
    "taskmanager.memory.network.min": "256m",
    "taskmanager.memory.network.max": "256m",
    "table.local-time-zone": "UTC",
}

AGGREGATES = "COUNT(*) AS n, AVG(`value`) AS `mean`, STDDEV_SAMP(`value`) AS `std`"
WINDOWED = (
    "SELECT window_start, `key`, " + AGGREGATES + " FROM TABLE({windows}) GROUP BY window_start, window_end, `key`"
)
TUMBLE = "TUMBLE(TABLE {table}, DESCRIPTOR(ts), INTERVAL '{seconds}' SECOND)"
QUERIES = {
    "source": "SELECT ts, `key`, `value` FROM left_events",
    "w1": "SELECT ts, `key`, `value` * 1.8E0 + 32E0 AS `value` FROM left_events WHERE `value` > 0.5E0",
    "w2": WINDOWED.format(windows=TUMBLE.format(table="left_events", seconds=10)),
    "w3": WINDOWED.format(windows="HOP(TABLE left_events, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)"),
    "w4": "SELECT l.window_start AS window_start, l.`key` AS `key`, l.`value` AS left_value, r.`value` AS right_value "
    f"FROM (SELECT * FROM TABLE({TUMBLE.format(table='left_events', seconds=1)})) l "
    f"JOIN (SELECT * FROM TABLE({TUMBLE.format(table='right_events', seconds=1)})) r "
    "ON l.window_start = r.window_start AND l.window_end = r.window_end AND l.`key` = r.`key`",
}
SINKS = {
    "source": "ts TIMESTAMP_LTZ(3), `key` BIGINT, `value` DOUBLE",
    "w1": "ts TIMESTAMP_LTZ(3), `key` BIGINT, `value` DOUBLE",
    "w2": "window_start TIMESTAMP(3), `key` BIGINT, n BIGINT, `mean` DOUBLE, `std` DOUBLE",
    "w3": "window_start TIMESTAMP(3), `key` BIGINT, n BIGINT, `mean` DOUBLE, `std` DOUBLE",
    "w4": "window_start TIMESTAMP(3), `key` BIGINT, left_value DOUBLE, right_value DOUBLE",
}


def tables(settings: dict[str, str] = SETTINGS) -> tuple[StreamExecutionEnvironment, StreamTableEnvironment]:
    """Environments of one job."""
    configuration = Configuration()
    for name, value in settings.items():
        configuration.set_string(name, value)
    stream = StreamExecutionEnvironment.get_execution_environment(configuration)
    return stream, StreamTableEnvironment.create(stream)


def add_events(
    stream: StreamExecutionEnvironment, table: StreamTableEnvironment, name: str, *, rows: int, keys: int, seed: int
) -> None:
    """Add the table of one stream of events.

    The source deals two ranges of numbers, one to each of its two subtasks. Even rows come from the lower range and
    odd rows from the upper, so that event time advances alike in both.
    """
    source = NumberSequenceSource(0, rows - 1)
    numbers = stream.from_source(source, WatermarkStrategy.no_watermarks(), name, Types.LONG())
    half = (rows + 1) // 2
    row = f"(CASE WHEN f0 < {half} THEN f0 * 2 ELSE (f0 - {half}) * 2 + 1 END)"
    expressions = data.sql_columns(row, keys=keys, seed=seed)
    schema = (
        Schema.new_builder()
        .column("f0", "BIGINT NOT NULL")
        .column_by_expression("ts", f"TO_TIMESTAMP_LTZ({expressions['time_ms']}, 3)")
        .column_by_expression("key", expressions["key"])
        .column_by_expression("value", expressions["value"])
        .watermark("ts", "ts - INTERVAL '2' SECOND")
        .build()
    )
    table.create_temporary_view(name, numbers, schema)


def execute(job: Job, rows: int, connector: str) -> None:
    """Run the job over the first `rows` rows into a sink."""
    stream, table = tables()
    each = rows // 2 if job.name == "w4" else rows
    for seed, name in enumerate(("left_events", "right_events") if job.name == "w4" else ("left_events",)):
        add_events(stream, table, name, rows=each, keys=job.keys, seed=seed)
    table.execute_sql(f"CREATE TEMPORARY TABLE results ({SINKS[job.name]}) WITH ({connector})")
    table.execute_sql(f"INSERT INTO results {QUERIES[job.name]}").wait()


def prepare(job: Job) -> Prepared:
    """Nothing to make: the source computes the events. The sink drops the results without counting them."""

    def run(rows: int) -> Run:
        def whole() -> tuple[None, None]:
            execute(job, rows, "'connector' = 'blackhole'")
            return None, None

        return timed(whole)

    return run


def result(job: Job) -> Result:
    """The whole result, through CSV files."""
    folder = Path(tempfile.mkdtemp(prefix="flink-result-"))
    try:
        execute(job, job.rows, f"'connector' = 'filesystem', 'path' = 'file://{folder}', 'format' = 'csv'")
        names = [part.split()[0].strip("`") for part in SINKS[job.name].split(", ")]
        options = {
            "read_options": pa.csv.ReadOptions(column_names=names),
            "convert_options": pa.csv.ConvertOptions(
                column_types={names[0]: pa.timestamp("ms", tz="UTC" if job.name == "w1" else None)}
            ),
        }
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        whole = pa.concat_tables([pa.csv.read_csv(path, **options) for path in files])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(whole.set_column(0, names[0], whole[0].cast(pa.int64())))


if __name__ == "__main__":
    main(prepare, result, versions=lambda: {"flink": __version__}, jobs=(*JOBS, "source"))
