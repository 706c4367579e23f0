"""W2 on Apache Spark, local mode on two cores: through eventide, and with Spark's own windows."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="w2-spark",
    title="tumbling windows of 10 s, count, mean and std of 1,000 keys, on Spark, through eventide",
    unit="events/s",
    program="windows",
    job="w2",
    rows=20_000_000,
    peers={"spark": 10_000_000},
    floors=(Floor("spark@10k", at_least=1), Floor("rate", at_least=1_000_000)),
    engine="spark",
)
