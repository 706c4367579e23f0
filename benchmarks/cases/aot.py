"""The running example of Foster and Gannon's chapter on streams: a day of a sensor network, 40 minutes in the book."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="aot",
    title="a day of 40 sensor streams, 172,800 events as text in the log to incidents in the log, one core",
    unit="s",
    program="aot",
    job="aot",
    rows=172_800,
    variants={"10k": 10_000},
    floors=(Floor("events", at_least=172_800), Floor("seconds_a_day", at_most=3)),
)
