"""What a checkpoint of a million keys costs."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="checkpoint",
    title="checkpoints of windows of a million keys, one a second, beside none; from the durable log",
    unit="events/s",
    program="checkpoint",
    job="checkpoint",
    rows=48_000_000,
    keys=1_000_000,
    floors=(
        Floor("checkpoint_ms", at_most=100),
        Floor("overhead_percent", at_most=5),
    ),
)
