"""From the append of a batch in one process to the result in another, at 100,000 and a million events a second."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="latency",
    title="append with fsync in one process to windowed result in another, a batch every 10 ms",
    unit="ms",
    program="latency",
    job="latency",
    rows=1_000,  # here: batches, 10 ms each
    variants={"100k": 1_000, "1M": 10_000},
    floors=tuple(
        Floor(f"{figure}@{rate}", at_most=bound)
        for rate in ("100k", "1M")
        for figure, bound in (("p50_ms", 2), ("p99_ms", 10), ("core_share", 0.2))
    ),
)
