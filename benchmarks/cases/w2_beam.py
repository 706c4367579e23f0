"""W2 on Apache Beam's local runner: through eventide, and as written by hand for Beam."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="w2-beam",
    title="tumbling windows of 10 s, count, mean and std of 1,000 keys, on Beam's local runner, through eventide",
    unit="events/s",
    program="windows",
    job="w2",
    rows=4_000_000,
    peers={"beam": 200_000},
    floors=(Floor("beam@10k", at_least=1),),
    engine="beam",
)
