"""Kafka to windows to Kafka: killed again and again, with the broker restarted in between, the output is the undisturbed one.

``EVENTIDE_KAFKA_KILLS`` (5) and ``EVENTIDE_KAFKA_RESTARTS`` (1) say how often; every second restart is a SIGKILL of the
broker. The kills of eventide are SIGKILLs at random moments after it has begun to make checkpoints.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="pip install 'eventide[kafka]'")

import eventide as ev
from eventide.formats import json
from servers.kafka import consume, new_topic, produce, remove, started

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("EVENTIDE_KAFKA_KILLS", "5"))
RESTARTS = int(os.environ.get("EVENTIDE_KAFKA_RESTARTS", "1"))
ROWS = 20_000 + 14_000 * KILLS
PARTITIONS = 3

PROGRAM = """
import logging, sys, time
import eventide as ev
logging.getLogger("eventide.kafka").setLevel(logging.CRITICAL)
broker, source, out, folder, interval = sys.argv[1:]
schema = {"timestamp": "event_time", "key": "int64", "value": "float64"}
events = ev.read(f"kafka://{broker}/{source}", format="json", schema=schema, follow=False)
def slowly(batch):  # a run would else be over before it is killed
    time.sleep(batch.num_rows * 2e-5)
    return batch
keyed = events.map_batches(slowly, schema=None).event_time("timestamp", lateness="2s").key_by("key")
means = keyed.window(ev.tumbling("500ms")).aggregate(mean=ev.mean("value"), n=ev.count())
written = means.write(f"kafka://{broker}/{out}", format="json", key="key", partitions=2)
print(ev.run(written, batch_rows=500, checkpoint=folder, checkpoint_interval=interval).restarts)
"""


def program(broker: Any, source: str, out: str, *, folder: Path, interval: str = "20ms") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, broker.address, source, out, str(folder), interval]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(broker: Any, topic: str) -> Counter[tuple[bytes, bytes]]:
    return Counter((m.key(), m.value()) for m in consume(broker, topic))


def filled(broker: Any) -> str:
    """Return a topic of events; every partition is in order but for the two seconds of disorder."""
    topic = new_topic(broker, PARTITIONS, name="events")
    events = ev.fetch(ev.read("generator://e", rows=ROWS, keys=11, seed=7, disorder="1s")).combine_chunks()
    events = events.select(["timestamp", "key", "value"])
    keys = events["key"].to_pylist()
    lines = b"".join(json.encode(b) for b in events.to_batches()).splitlines()
    produce(broker, topic, [{"value": v, "partition": k % PARTITIONS} for v, k in zip(lines, keys, strict=True)])
    return topic


def test_killed_and_resumed(tmp_path: Path) -> None:
    broker = started()
    running: list[subprocess.Popen[str]] = []
    try:
        source = filled(broker)
        calm = program(broker, source, "undisturbed", folder=tmp_path / "calm", interval="2s")
        running.append(calm)
        said, told = calm.communicate(timeout=1200)
        assert calm.returncode == 0, told
        rng = random.Random(KILLS)
        todo = ["kill"] * KILLS + ["restart"] * RESTARTS
        rng.shuffle(todo)
        done, restarts, told = Counter[str](), 0, ""
        folder = tmp_path / "disturbed"
        while not done["ended"]:
            one = program(broker, source, "disturbed", folder=folder)
            running.append(one)
            while one.poll() is None and todo:
                before = set(folder.glob("*/chk-????????"))
                while one.poll() is None and set(folder.glob("*/chk-????????")) <= before:
                    time.sleep(0.001)
                time.sleep(0.1 * rng.random())
                if one.poll() is not None:
                    break
                what = todo.pop()
                done[what] += 1
                if what == "kill":
                    one.kill()
                    one.wait()
                else:
                    broker.stop(kill=bool(done[what] % 2))
                    time.sleep(0.5 * rng.random())
                    broker.start()
            said, told = one.communicate(timeout=1200)
            assert one.returncode in (0, -9), told
            if one.returncode == 0:
                restarts += int(said)
                done["ended"] += 1
        assert not todo, f"the input ended too early: {todo} left"
        assert (done["kill"], done["restart"]) == (KILLS, RESTARTS)
        want, got = rows(broker, "undisturbed"), rows(broker, "disturbed")
        print(f"{done['kill']} kills, {done['restart']} restarts of the broker, {restarts} of the last run")
        print(f"{want.total()} rows, {(want - got).total()} lost, {(got - want).total()} doubled or wrong")
        assert want.total() > 500
        assert got == want
    finally:
        for one in running:
            if one.poll() is None:
                one.kill()
                one.communicate()
        remove(broker)
