"""W2 on a small Flink cluster: through eventide, and with PyFlink's own windows, Python per event."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="w2-flink",
    title="tumbling windows of 10 s, count, mean and std of 1,000 keys, on Flink, through eventide",
    unit="events/s",
    program="windows",
    job="w2",
    rows=40_000_000,
    peers={"flink_events": 200_000},
    floors=(Floor("flink_events@10k", at_least=100), Floor("rate", at_least=2_000_000)),
    engine="flink",
)
