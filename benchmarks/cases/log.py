"""The durable log: append with an fsync per 10,000 rows, and memory-mapped reading."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="log",
    title="durable log, fsync per append of 10,000 rows (24 bytes each), beside bare write + fdatasync",
    unit="rows/s",
    program="log",
    job="log",
    rows=10_000_000,
    floors=(
        Floor("rate", at_least=15e6),
        Floor("append_mb_per_s", at_least=400),
        Floor("p99_over_bare", at_most=2),
        Floor("read_rate", at_least=300e6),
    ),
)
