"""W4: two streams joined on the key inside windows of 1 s; 7,750 keys give about 1.29 pairs per left event."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="w4",
    title="two streams joined on 7,750 keys in windows of 1 s, events of both counted, from the durable log",
    unit="events/s",
    program="windows",
    job="w4",
    rows=20_000_000,
    keys=7_750,
    variants={"10k": 10_000, "own": 0},
    peers={"flink": 8_000_000, "spark": 400_000, "polars": 20_000_000},
    floors=(Floor("flink@10k", at_least=25),),
)
