"""How long a pipeline with much state is away after it was killed."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="recovery",
    title="SIGKILL with windows of a million keys open: from the start of a new process to its first new result",
    unit="keys/s",
    program="recovery",
    job="recovery",
    rows=4_000_000,
    keys=1_000_000,
    peers={"flink_restore": 4_000_000},
    floors=(
        Floor("seconds_1m_keys", at_most=2),
        Floor("seconds_10m_keys", at_most=4),
        Floor("flink_restore@10k", at_least=5),
    ),
)
