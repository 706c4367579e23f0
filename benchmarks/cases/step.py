"""One stateful step on 1,000 rows, from the bytes of a frame to the results that it brings."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="step",
    title="one step of W2 on 1,000 rows: decode the frame, update 1,000 keys, emit what closed; in one thread",
    unit="events/s",
    program="step",
    job="step",
    rows=4_000_000,
    variants={"1k": 1_000},
    floors=(Floor("p50_us", at_most=50), Floor("p99_us", at_most=500), Floor("state_rows_at_end", at_most=0)),
)
