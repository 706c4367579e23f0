"""A configuration of just-bin-it, unchanged, through a real broker: the same topics, answers, and info."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from eventide.apps.neutron.restream.machine import Restream
from eventide.apps.neutron.restream.service import Service, restream
from eventide.errors import UnavailableError
from eventide.formats import ev44, hs01, x5f2
from eventide.formats.ev44 import EventMessage
from servers.kafka import consume, new_topic, produce

SECONDS = 60


@pytest.fixture
def service(kafka):
    """A running service, and how to talk to it."""
    names = {what: new_topic(kafka) for what in ("commands", "answers", "beats", "histograms")}
    names["events"] = new_topic(kafka, 2)
    ended = threading.Event()
    topics = {"command_topic": names["commands"], "response_topic": names["answers"], "heartbeat_topic": names["beats"]}
    thread = threading.Thread(target=restream, args=(kafka.address,), kwargs={**topics, "stop": ended})
    thread.start()
    until = time.monotonic() + SECONDS
    while not consume(kafka, names["beats"]) and time.monotonic() < until:
        time.sleep(0.1)
    yield Talk(kafka, names)
    ended.set()
    thread.join(SECONDS)
    assert not thread.is_alive()


class Talk:
    def __init__(self, broker, names):
        self.broker, self.names, self.number = broker, names, 0

    def command(self, **fields):
        self.number += 1
        message = {"msg_id": str(self.number), **fields}
        produce(self.broker, self.names["commands"], [json.dumps(message).encode()])
        return self.wait("answers", json.loads, lambda said: said["msg_id"] == str(self.number))

    def config(self, *, events=None, **more):
        one = {
            "type": "hist1d",
            "data_brokers": [self.broker.address],
            "data_topics": [events or self.names["events"]],
            "tof_range": [0, 100_000_000],
            "num_bins": 100,
            "topic": self.names["histograms"],
            "id": str(self.number),  # of commands before it
        }
        return self.command(cmd="config", output_schema="hs01", histograms=[one], **more)

    def wait(self, topic, read, wanted):
        until = time.monotonic() + SECONDS
        found = []
        while time.monotonic() < until:
            found = [read(m.value()) for m in consume(self.broker, self.names[topic])]
            for each in reversed(found):
                if wanted(each):
                    return each
            time.sleep(0.1)
        pytest.fail(f"nothing came in {SECONDS} s, only {found[-3:]}")


def messages(count, *, start, partitions=2):
    for n in range(count):
        time_ms = start + n
        tof = np.arange(n + 1, dtype=np.int32) * 1000
        one = EventMessage("s", n, np.array([time_ms * 10**6]), np.array([0]), tof, tof)
        yield {"value": ev44.write(one), "partition": n % partitions, "timestamp": time_ms}


def states(talk, identifier):
    made = [json.loads(hs01.read_histogram(m.value()).info) for m in consume(talk.broker, talk.names["histograms"])]
    return [(info["state"], info["sum"]) for info in made if info["id"] == identifier]


def wait_for(talk, identifier, last):
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        found = states(talk, identifier)
        if found and found[-1] == last:
            return found
        time.sleep(0.1)
    pytest.fail(f"expected {last} of {identifier!r} at the end, not {found[-3:]}")


def test_a_session(service):
    said = service.config()
    assert said == {"msg_id": "1", "response": "ACK"}
    assert wait_for(service, "0", ("INITIALISED", 0))
    time.sleep(1.0)
    produce(service.broker, service.names["events"], messages(20, start=time.time_ns() // 10**6))
    assert wait_for(service, "0", ("COUNTING", 210))
    assert service.command(cmd="reset_counts")["response"] == "ACK"
    wait_for(service, "0", ("COUNTING", 0))
    produce(service.broker, service.names["events"], messages(3, start=time.time_ns() // 10**6))
    wait_for(service, "0", ("COUNTING", 6))
    assert service.command(cmd="stop")["response"] == "ACK"
    assert wait_for(service, "0", ("FINISHED", 6))[0] == ("INITIALISED", 0)
    said = service.command(cmd="start")
    assert (said["response"], "start" in said["message"]) == ("ERR", True)
    said = service.config(events="no-such-topic")
    assert (said["response"], "no-such-topic" in said["message"]) == ("ERR", True)
    beat = x5f2.read(consume(service.broker, service.names["beats"])[-1].value())
    assert (beat.software_name, beat.update_interval) == ("eventide restream", 1000)


def test_the_past_up_to_a_time(service):
    begin = time.time_ns() // 10**6 - 100_000
    produce(service.broker, service.names["events"], messages(100, start=begin))
    assert service.config(start=begin + 10, stop=begin + 89)["response"] == "ACK"
    total = sum(range(11, 91))
    found = wait_for(service, "0", ("FINISHED", total))
    assert found[-1] == ("FINISHED", total)
    time.sleep(1.2)
    assert states(service, "0") == found  # it is not published any more


def test_a_time_that_is_gone(service, kafka):
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    begin = time.time_ns() // 10**6 - 1000
    produce(service.broker, service.names["events"], messages(10, start=begin, partitions=1))
    admin = AdminClient({"bootstrap.servers": kafka.address})  # held: futures of one that is gone never end
    gone = admin.delete_records([TopicPartition(service.names["events"], 0, 5)])
    for each in gone.values():
        each.result(SECONDS)
    assert service.config(start=begin)["response"] == "ACK"
    assert wait_for(service, "0", ("ERROR", 0))


def test_the_recording_of_sans2d(service, data_dir):
    folder = data_dir / "neutron" / "sans2d"
    table = pq.read_table(folder / "sans2d_stream.parquet", filters=[("topic", "==", "SANS2D_events_ev42")])
    rows = table.sort_by("offset").to_pylist()
    produce(
        service.broker,
        service.names["events"],
        [{"value": r["value"], "timestamp": r["timestamp_ms"], "partition": 0} for r in rows],
    )
    first = min(r["timestamp_ms"] for r in rows)
    last = max(r["timestamp_ms"] for r in rows)
    assert service.config(start=first, stop=last + 1, input_schema="ev42")["response"] == "ACK"
    wait_for(service, "0", ("FINISHED", 237_078))
    final = hs01.read_histogram(consume(service.broker, service.names["histograms"])[-1].value())
    golden = np.load(folder / "golden.npz")
    assert np.array_equal(final.data, golden["tof_100bins_1ms"])


def test_a_topic_of_commands_that_is_not_there(kafka):
    with pytest.raises(UnavailableError, match="commands"):
        Service(kafka.address, "no-such-commands", Restream())
