"""A program from Kafka to Kafka on Spark that a test stops: ``python spark_kafka.py FOLDER OPTIONS``."""

from __future__ import annotations

import sys
from pathlib import Path

import spark_victim

import eventide as ev
from eventide.model.pipeline import Pipeline

SCHEMA = {"timestamp": "event_time", "key": "int64", "value": "float64"}


def flow(broker: str, out: str) -> Pipeline:
    """Return windows of what is in the topic ``events``."""
    events = ev.read(f"kafka://{broker}/events", format="json", schema=SCHEMA, follow=False)
    keyed = events.event_time("timestamp", lateness="2s").key_by("key")
    found = keyed.window(ev.tumbling("1s")).aggregate(mean=ev.mean("value"), std=ev.std("value"), n=ev.count())
    return found.write(f"kafka://{broker}/{out}", format="json", key="key", partitions=2).named("victim")


if __name__ == "__main__":
    spark_victim.run(flow((Path(sys.argv[1]) / "broker").read_text(), "found"))
