"""W1: filter and projection in expressions that the user wrote, at the engine's own batch size."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="w1",
    title="filter and projection (Polars expressions) from the durable log",
    unit="events/s",
    program="windows",
    job="w1",
    rows=40_000_000,
    variants={"own": 0},
    peers={"flink": 40_000_000, "spark": 40_000_000, "polars": 40_000_000},
    floors=(Floor("flink@own", at_least=5),),
)
