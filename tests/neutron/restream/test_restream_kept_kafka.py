"""A service on Kafka that is killed: counts and commands as without it; what is sent again is the same message."""

from __future__ import annotations

import json
import random
import signal
import time

import pytest
from test_restream_kept import SECONDS, config, counts_of, info, message, run_programs

from eventide.formats import hs01
from servers.kafka import consume, new_topic, produce


@pytest.fixture
def programs():
    yield from run_programs()


def test_killed_again_and_again(kafka, tmp_path, programs):
    names = {what: new_topic(kafka) for what in ("commands", "answers", "events", "out", "beats")}
    rng = random.Random(2)

    def start():
        own = ["--brokers", kafka.address, "--config-topic", names["commands"], "--response-topic", names["answers"]]
        return programs(*own, "--hb-topic", names["beats"], "--state", str(tmp_path / "state"))

    def found(topic):
        return [m.value() for m in consume(kafka, names[topic])]

    def last():
        made = [v for v in found("out") if info(v)["id"] == "line"]
        return hs01.read_histogram(made[-1]).data.astype(int).tolist() if made else None

    def wait(what):
        until = time.monotonic() + SECONDS
        while not what():
            assert process.poll() is None
            assert time.monotonic() < until, [info(v) for v in found("out")[-2:]]
            time.sleep(0.1)

    process = start()
    wait(lambda: found("beats"))
    asked = config(kafka.address, topics=(names["events"],), out=names["out"], msg_id="first")
    produce(kafka, names["commands"], [asked])
    wait(lambda: last() is not None)
    sent = 0
    for _ in range(4):
        produce(kafka, names["events"], [message(n) for n in range(sent, sent + 30)])
        sent += 30
        time.sleep(rng.random())
        process.kill()
        process.wait()
        produce(kafka, names["events"], [message(n) for n in range(sent, sent + 7)])
        sent += 7
        process = start()
    wait(lambda: last() == counts_of(range(sent)).tolist())
    produce(kafka, names["commands"], [b'{"cmd": "reset_counts", "msg_id": "second"}'])
    wait(lambda: len({json.loads(v)["msg_id"] for v in found("answers")}) == 2)
    process.kill()
    process.wait()
    process = start()
    wait(lambda: last() == [0] * 50)  # it is not followed once more, and the counts before it do not come back
    produce(kafka, names["events"], [message(n) for n in range(5)])
    wait(lambda: last() == counts_of(range(5)).tolist())
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 143
    by_number = {}
    for value in found("out"):
        told = info(value)
        by_number.setdefault((told["id"], told["sequence"]), []).append(value)
    assert all(len(set(values)) == 1 for values in by_number.values()), "one number has two messages"
    numbers = [n for name, n in by_number if name == "line"]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "a publication is missing"
    doubled = sum(len(values) > 1 for values in by_number.values())
    assert doubled <= 2 * 6  # at most what was on its way at a kill
    assert list(dict.fromkeys(json.loads(v)["msg_id"] for v in found("answers"))) == ["first", "second"]
