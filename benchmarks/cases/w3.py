"""W3: the aggregates of W2 in sliding windows of 10 s by 2 s."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="w3",
    title="sliding windows of 10 s by 2 s, count, mean and std of 1,000 keys, from the durable log",
    unit="events/s",
    program="windows",
    job="w3",
    rows=20_000_000,
    variants={"10k": 10_000, "own": 0},
    peers={"flink": 12_000_000, "spark": 10_000_000, "polars": 20_000_000},
    floors=(Floor("flink@10k", at_least=12),),
)
