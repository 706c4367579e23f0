"""Polars over Parquet files, the whole input at once: the practical bound of what this machine can do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import polars as pl
from benchmarks import data
from benchmarks.worker import Job, Prepared, Result, Run, main, timed

if TYPE_CHECKING:
    from pathlib import Path


def scan(folder: Path) -> pl.LazyFrame:
    """The files of a folder, with the time as integer milliseconds."""
    return pl.scan_parquet(folder / "*.parquet").with_columns(pl.col("ts").to_physical())


def windows(events: pl.LazyFrame, width_ms: int) -> pl.LazyFrame:
    """Add the start of the tumbling window."""
    return events.with_columns((pl.col("ts") // width_ms * width_ms).alias("window_start"))


def w1(sides: list[pl.LazyFrame]) -> pl.LazyFrame:
    """Filter and projection."""
    return sides[0].filter(pl.col("value") > 0.5).select("ts", "key", pl.col("value") * 1.8 + 32)


def w2(sides: list[pl.LazyFrame]) -> pl.LazyFrame:
    """Tumbling windows of 10 s."""
    value = pl.col("value")
    grouped = windows(sides[0], 10_000).group_by("window_start", "key")
    return grouped.agg(pl.len().alias("n"), value.mean().alias("mean"), value.std().alias("std"))


def w3(sides: list[pl.LazyFrame]) -> pl.LazyFrame:
    """Sliding windows of 10 s by 2 s: partial sums over panes of 2 s, each pane then counts for five windows."""
    value = pl.col("value")
    panes = windows(sides[0], 2_000).group_by("window_start", "key")
    partial = panes.agg(
        pl.len().alias("n"),
        value.sum().alias("sum"),
        ((value - 0.5) ** 2).sum().alias("squares"),
    )
    shifted = pl.concat([partial.with_columns(pl.col("window_start") - back) for back in range(0, 10_000, 2_000)])
    n, mean = pl.col("n").cast(pl.Float64), pl.col("sum") / pl.col("n")
    spread = (pl.col("squares") - n * (mean - 0.5) ** 2).clip(0) / (n - 1)
    return (
        shifted.group_by("window_start", "key")
        .agg(pl.col("n").sum(), pl.col("sum").sum(), pl.col("squares").sum())
        .select("window_start", "key", "n", mean.alias("mean"), spread.sqrt().alias("std"))
    )


def w4(sides: list[pl.LazyFrame]) -> pl.LazyFrame:
    """Join on key and window of 1 s."""
    left, right = (
        windows(side, 1_000).select("window_start", "key", pl.col("value").alias(name))
        for side, name in zip(sides, ("left_value", "right_value"), strict=True)
    )
    return left.join(right, on=["window_start", "key"])


def plan(job: Job, rows: int) -> pl.LazyFrame:
    """The lazy query of a job over the first `rows` rows."""
    if job.name == "w4":
        sides = [scan(data.parquet(rows // 2, keys=job.keys, seed=seed)) for seed in (0, 1)]
    else:
        sides = [scan(data.parquet(rows, keys=job.keys))]
    return {"w1": w1, "w2": w2, "w3": w3, "w4": w4}[job.name](sides)


def prepare(job: Job) -> Prepared:
    """Make the files."""
    plans = {rows: plan(job, rows) for rows in (job.short_rows, job.long_rows)}

    def run(rows: int) -> Run:
        return timed(lambda: (plans[rows].collect().height, None))

    return run


def result(job: Job) -> Result:
    """The whole result."""
    return Result(plan(job, job.rows).collect().to_arrow())


if __name__ == "__main__":
    main(prepare, result, versions=lambda: {"polars": pl.__version__})
