"""W2 with a million keys: nearly every event is a group of its own."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="w2-keys",
    title="tumbling windows of 10 s, count, mean and std of 1,000,000 keys, from the durable log",
    unit="events/s",
    program="windows",
    job="w2",
    rows=5_000_000,
    keys=1_000_000,
    peers={"flink": 5_000_000, "polars": 5_000_000},
    floors=(
        Floor("flink@10k", at_least=12),
        Floor("max_step_ms", at_most=50),
        Floor("state_rows_at_end", at_most=0),
    ),
)
