"""W2: count, mean and standard deviation per key in tumbling windows of 10 s; the job that matters most."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="w2",
    title="tumbling windows of 10 s, count, mean and std of 1,000 keys, 2 s disorder, from the durable log",
    unit="events/s",
    program="windows",
    job="w2",
    rows=20_000_000,
    variants={"10k": 10_000, "1k": 1_000},
    peers={
        "flink": 20_000_000,
        "spark": 20_000_000,
        "spark_default": 10_000_000,
        "polars": 20_000_000,
        "bytewax": 200_000,
        "beam": 200_000,
    },
    floors=(
        Floor("flink@10k", at_least=15),
        Floor("flink@1k", at_least=8),
        Floor("spark_default@10k", at_least=20),
        Floor("spark@10k", at_least=10),
        Floor("bytewax@10k", at_least=500),
        Floor("beam@10k", at_least=500),
        Floor("polars@10k", at_least=0.5),
    ),
)
