"""DuckDB over Parquet files: the truth that every other result is compared with, and a batch peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
from benchmarks import data
from benchmarks.worker import Job, Prepared, Result, Run, main, timed

if TYPE_CHECKING:
    import pyarrow as pa

AGGREGATES = "count(*) AS n, avg(value) AS mean, stddev_samp(value) AS std"

# W3 puts every event into its five windows, the definition itself and not the fastest way: this is the truth
QUERIES = {
    "w1": "SELECT epoch_ms(ts) AS ts, key, value * 1.8 + 32 AS value FROM {left} WHERE value > 0.5",
    "w2": "SELECT epoch_ms(ts) // 10000 * 10000 AS window_start, key, " + AGGREGATES + " FROM {left} GROUP BY 1, 2",
    "w3": "SELECT epoch_ms(ts) // 2000 * 2000 - back AS window_start, key, "
    + AGGREGATES
    + " FROM {left}, (VALUES (0), (2000), (4000), (6000), (8000)) AS panes (back) GROUP BY 1, 2",
    "w4": "SELECT epoch_ms(l.ts) // 1000 * 1000 AS window_start, l.key AS key, l.value AS left_value, "
    "r.value AS right_value FROM {left} l JOIN {right} r "
    "ON l.key = r.key AND epoch_ms(l.ts) // 1000 = epoch_ms(r.ts) // 1000",
}


def query(job: Job, rows: int) -> str:
    """The query of a job over the first `rows` rows."""
    each = rows // 2 if job.name == "w4" else rows
    sides = {
        name: f"read_parquet('{data.parquet(each, keys=job.keys, seed=seed)}/*.parquet')"
        for seed, name in enumerate(("left", "right") if job.name == "w4" else ("left",))
    }
    return QUERIES[job.name].format(**sides)


def run_query(text: str) -> pa.Table:
    """Run a query to an Arrow table on two threads."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2; SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        return connection.sql(text).to_arrow_table()


def prepare(job: Job) -> Prepared:
    """Make the files."""
    texts = {rows: query(job, rows) for rows in (job.short_rows, job.long_rows)}

    def run(rows: int) -> Run:
        return timed(lambda: (run_query(texts[rows]).num_rows, None))

    return run


def result(job: Job) -> Result:
    """The whole result."""
    return Result(run_query(query(job, job.rows)))


if __name__ == "__main__":
    main(prepare, result, versions=lambda: {"duckdb": duckdb.__version__})
