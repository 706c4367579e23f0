"""Our Kafka source and sink beside the bare client, on one broker in the same run."""

from benchmarks.case import Case, Floor

CASE = Case(
    id="kafka",
    title="events read from and written to a real Kafka broker, beside confluent-kafka alone with the same messages",
    unit="events/s",
    program="kafka",
    job="kafka",
    rows=2_000_000,
    floors=(
        Floor("through_arrow_over_bare", at_least=0.6),
        Floor("through_json_over_bare", at_least=0.6),
        Floor("read_arrow_over_bare", at_least=0.6),
        Floor("read_json_over_bare", at_least=0.6),
        Floor("write_arrow_over_bare", at_least=0.6),
        Floor("write_json_over_bare", at_least=0.6),
    ),
)
