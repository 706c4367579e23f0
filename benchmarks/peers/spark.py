"""Spark structured streaming, native SQL operators over a stream of Parquet files, ``local[2]``, noop sink.

A micro-batch takes 20 files (5 M events): Spark's fixed cost of some 0.3 s per micro-batch then hardly shows. The end
of the input does not close windows in Spark: it only emits those that the watermark has passed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
from benchmarks import data
from benchmarks.worker import Job, Prepared, Result, Run, main, timed
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as fn

FILES_PER_BATCH = 20
TUNED = {"spark.sql.shuffle.partitions": "2"}
"""The best setting found here; the default of 200 is meant for clusters, and is measured as `spark_default`."""

SCHEMA = "ts TIMESTAMP, key BIGINT, value DOUBLE"


def session() -> SparkSession:
    """The one session of the process."""
    builder = SparkSession.builder.master("local[2]").appName("peer")
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "6g",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.log.level": "ERROR",
    }
    for name, value in (settings | TUNED).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def events(spark: SparkSession, rows: int, *, keys: int, seed: int = 0) -> DataFrame:
    """One stream of events with its watermark."""
    folder = data.parquet(rows, keys=keys, seed=seed)
    reader = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", FILES_PER_BATCH)
    return reader.parquet(str(folder)).withWatermark("ts", "2 seconds")


def milliseconds(name: str) -> fn.Column:
    """Start of the window column `name` in integer milliseconds."""
    return fn.unix_millis(fn.col(f"{name}.start")).alias("window_start")


def query(spark: SparkSession, job: Job, rows: int) -> DataFrame:
    """The streaming query of a job over the first `rows` rows."""
    if job.name == "w1":
        kept = events(spark, rows, keys=job.keys).where("value > 0.5D")
        return kept.select("ts", "key", fn.expr("value * 1.8D + 32D").alias("value"))
    if job.name == "w4":
        left, right = (
            events(spark, rows // 2, keys=job.keys, seed=seed).select(
                fn.window("ts", "1 second").alias(f"{side}_window"),
                fn.col("key").alias(f"{side}_key"),
                fn.col("value").alias(f"{side}_value"),
            )
            for seed, side in enumerate(("left", "right"))
        )
        joined = left.join(right, fn.expr("left_key = right_key AND left_window = right_window"))
        return joined.select(milliseconds("left_window"), fn.col("left_key").alias("key"), "left_value", "right_value")
    slide = {"w2": "10 seconds", "w3": "2 seconds"}[job.name]
    grouped = events(spark, rows, keys=job.keys).groupBy(fn.window("ts", "10 seconds", slide), "key")
    value = grouped.agg(fn.count("*").alias("n"), fn.avg("value").alias("mean"), fn.stddev_samp("value").alias("std"))
    return value.select(milliseconds("window"), "key", "n", "mean", "std")


def execute(frame: DataFrame, *, sink: str, folder: Path) -> None:
    """Run a streaming query over all of its input, with its checkpoint in a new folder."""
    writer = frame.writeStream.format(sink).outputMode("append").trigger(availableNow=True)
    writer = writer.option("checkpointLocation", str(folder / "checkpoint"))
    if sink == "parquet":
        writer = writer.option("path", str(folder / "result"))
    writer.start().awaitTermination()


def prepare(job: Job) -> Prepared:
    """Start the session and make the files."""
    spark = session()
    frames = {rows: query(spark, job, rows) for rows in (job.short_rows, job.long_rows)}

    def run(rows: int) -> Run:
        folder = Path(tempfile.mkdtemp(prefix="spark-run-"))

        def whole() -> tuple[None, None]:
            execute(frames[rows], sink="noop", folder=folder)
            return None, None

        try:
            return timed(whole)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return run


def result(job: Job) -> Result:
    """The result as far as the watermark reaches at the end of the input."""
    folder = Path(tempfile.mkdtemp(prefix="spark-result-"))
    try:
        execute(query(session(), job, job.rows), sink="parquet", folder=folder)
        files = sorted((folder / "result").glob("part-*.parquet"))
        whole = pa.concat_tables([pq.read_table(path) for path in files])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if job.name in {"w1", "w4"}:
        return Result(whole)  # a stream-stream join emits its pairs at once
    times = data.columns(0, job.rows, keys=job.keys)[0]
    return Result(whole, complete_until=int(times.max()) - data.DISORDER_MS)


if __name__ == "__main__":
    main(prepare, result, versions=lambda: {"spark": pyspark.__version__})
