"""A micro-batch of Spark through eventide, beside one of Spark's own operators over the same events."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="spark-batches",
    title="micro-batches of 250,000 events of tumbling windows on Spark, through eventide and with Spark's own windows",
    unit="events/s",
    program="batches",
    job="batches",
    rows=6_000_000,
    floors=(Floor("above_native_ms", at_most=300),),
    engine="spark",
)
