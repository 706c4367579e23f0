"""The command, as its users start it: a configuration of just-bin-it, unchanged, against a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from eventide.formats import ev42, hs01, x5f2
from eventide.formats.ev44 import EventMessage
from servers.kafka import consume, new_topic, produce

SECONDS = 60
# The four types, written as just-bin-it's documentation writes them.
HISTOGRAMS = """\
    {"type": "hist1d", "data_brokers": ["%(broker)s"], "data_topics": ["%(events)s"], "tof_range": [0, 100000000],
     "num_bins": 50, "topic": "%(out)s", "source": "simulator", "id": "histogram1d"},
    {"type": "hist2d", "data_brokers": ["%(broker)s"], "data_topics": ["%(events)s"], "tof_range": [0, 100000000],
     "det_range": [100, 1000], "num_bins": [50, 50], "topic": "%(out)s", "id": "histogram2d"},
    {"type": "dethist", "data_brokers": ["%(broker)s"], "data_topics": ["%(events)s"], "det_range": [1, 6145],
     "width": 32, "height": 192, "topic": "%(out)s", "id": "histogram-map"},
    {"type": "roihist", "data_brokers": ["%(broker)s"], "data_topics": ["%(events)s"], "width": 6,
     "left_edges": [7, 17, 27], "topic": "%(out)s", "id": "region"}
"""
CONFIG = '{"cmd": "config", %s "input_schema": "ev42", "output_schema": "hs01", "histograms": [\n%s]}\n'
PULSES, EVENTS = 40, 250


def messages(start):
    """Pulses of one source with known events, and one of another source."""
    rng = np.random.default_rng(7)
    for n in range(PULSES):
        tof = rng.integers(0, 110_000_000, EVENTS).astype(np.int32)
        pixel = rng.integers(1, 1200, EVENTS).astype(np.int32)
        source = "simulator" if n % 4 else "other"
        one = EventMessage(source, n, np.array([(start + n) * 10**6]), np.array([0]), tof, pixel)
        yield source, tof, pixel, {"value": ev42.write(one), "timestamp": start + n}


def expected(start):
    found = {name: [] for name in ("tof", "pixel", "own")}
    for source, tof, pixel, _ in messages(start):
        found["tof"].append(tof)
        found["pixel"].append(pixel)
        if source == "simulator":
            found["own"].append(tof)
    tof, pixel = np.concatenate(found["tof"]), np.concatenate(found["pixel"])
    image = np.bincount((pixel - 1) % 32 * 192 + (pixel - 1) // 32, minlength=32 * 192).reshape(32, 192)
    region = np.zeros((6, 3))
    for y, edge in enumerate((7, 17, 27)):
        for x in range(6):
            region[x, y] = np.count_nonzero(pixel == edge + x)
    return {
        "histogram1d": np.histogram(np.concatenate(found["own"]), 50, (0, 1e8))[0],
        "histogram2d": np.histogram2d(tof, pixel, 50, [(0, 1e8), (100, 1000)])[0],
        "histogram-map": image,
        "region": region,
    }


@pytest.fixture
def place(kafka, tmp_path):
    """Topics, and the file that just-bin-it was started with."""
    names = {what: new_topic(kafka) for what in ("commands", "answers", "beats", "events", "out")}
    (tmp_path / "jbi.ini").write_text(
        f"brokers = [{kafka.address}]\nconfig-topic = {names['commands']}\nhb-topic = {names['beats']}\n"
        f"response-topic = {names['answers']}\nlog-level = 3\n"
    )
    return names


def started(folder, *options):
    program = [sys.executable, "-c", "import sys; from eventide.cli import main; sys.exit(main())"]
    command = ["neutron", "restream", "--config-file", str(folder / "jbi.ini")]
    return subprocess.Popen([*program, *command, *options], stderr=subprocess.PIPE, text=True)


def last_of(kafka, topic, state):
    """Return the last histogram of each id, once all four are in a state."""
    until = time.monotonic() + SECONDS
    while True:
        last = {}
        for message in consume(kafka, topic):
            made = hs01.read_histogram(message.value())
            last[json.loads(made.info)["id"]] = made
        told = {name: json.loads(made.info) for name, made in last.items()}
        if len(last) == 4 and all(info["state"] == state for info in told.values()):
            return last
        assert time.monotonic() < until, told
        time.sleep(0.2)


def test_a_configuration_file_runs_unchanged(kafka, place, tmp_path):
    start = time.time_ns() // 10**6 - 60_000
    produce(kafka, place["events"], [message for *_, message in messages(start)])
    histograms = HISTOGRAMS % {"broker": kafka.address, "events": place["events"], "out": place["out"]}
    config = CONFIG % (f'"msg_id": "some_unique_id", "start": {start}, "stop": {start + PULSES},', histograms)
    (tmp_path / "config.json").write_text(config)
    program = started(tmp_path, "--set", "socket.keepalive.enable=true")
    try:
        until = time.monotonic() + SECONDS
        while not consume(kafka, place["beats"]):
            assert time.monotonic() < until and program.poll() is None
            time.sleep(0.1)
        produce(kafka, place["commands"], [(tmp_path / "config.json").read_bytes()])
        last = last_of(kafka, place["out"], "FINISHED")
    finally:
        program.send_signal(signal.SIGTERM)
        _, said = program.communicate(timeout=SECONDS)
    assert program.returncode == 143, said
    assert "log-level" in said and place["commands"] in said
    assert [json.loads(m.value()) for m in consume(kafka, place["answers"])] == [
        {"msg_id": "some_unique_id", "response": "ACK"}
    ]
    for name, counts in expected(start).items():
        assert np.array_equal(last[name].data, counts), name
        info = json.loads(last[name].info)
        assert {"id", "start", "stop", "state", "last_pulse_time", "sum", "diff", "rate"} <= set(info)
        assert info["sum"] == counts.sum()
    assert x5f2.read(consume(kafka, place["beats"])[0].value()).software_name == "eventide restream"


def test_a_command_of_a_file_and_a_stop_in_the_middle(kafka, place, tmp_path):
    start = time.time_ns() // 10**6 - 60_000
    produce(kafka, place["events"], [message for *_, message in messages(start)])
    histograms = HISTOGRAMS % {"broker": kafka.address, "events": place["events"], "out": place["out"]}
    (tmp_path / "config.json").write_text(CONFIG % (f'"start": {start},', histograms))
    program = started(tmp_path, "--command", str(tmp_path / "config.json"))
    try:
        until = time.monotonic() + SECONDS
        wanted = {name: counts.sum() for name, counts in expected(start).items()}
        while {n: m.data.sum() for n, m in last_of(kafka, place["out"], "COUNTING").items()} != wanted:
            assert time.monotonic() < until
    finally:
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=SECONDS)
    assert program.returncode == 130, said
    last = last_of(kafka, place["out"], "FINISHED")
    for name, counts in expected(start).items():
        assert np.array_equal(last[name].data, counts), name


def test_a_command_that_is_refused_and_settings_that_are_wrong(kafka, place, tmp_path):
    (tmp_path / "config.json").write_text('{"cmd": "begin"}')
    for options, code, text in (
        (["--command", str(tmp_path / "config.json")], 2, "Unknown command type 'begin'"),
        (["--set", "security.protocol=CARRIER_PIGEON"], 2, "a setting of the client is wrong"),
        (["--config-topic", "no-such-topic"], 4, "no-such-topic"),
    ):
        program = started(tmp_path, *options)
        _, said = program.communicate(timeout=SECONDS)
        assert (program.returncode, text in said) == (code, True), said
