"""A service that is stopped and killed: configuration and counts go on, commands are followed once, messages come once."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from eventide.apps.neutron.commands import app
from eventide.apps.neutron.restream.kept import Kept, Store
from eventide.apps.neutron.restream.machine import Received, Restream
from eventide.apps.neutron.schema import MESSAGES, PULSES
from eventide.apps.neutron.simulate import simulate
from eventide.errors import CheckpointError
from eventide.formats import ev44, hs01
from eventide.formats.ev44 import EventMessage
from eventide.log import Log

SECONDS = 60
HISTOGRAMS = [
    {"type": "hist1d", "tof_range": [0, 100], "num_bins": 50, "id": "line"},
    {"type": "dethist", "det_range": [1, 12], "width": 4, "height": 3, "id": "image"},
]


def config(brokers, *, topics=("events",), out="out", **more):
    own = [{**h, "data_brokers": [brokers], "data_topics": list(topics), "topic": out} for h in HISTOGRAMS]
    return json.dumps({"cmd": "config", "output_schema": "hs01", "histograms": own, **more}).encode()


def message(number):
    """A message whose events are known by its number."""
    rng = np.random.default_rng(number)
    size = int(rng.integers(1, 40))
    tof, pixel = (rng.integers(0, top, size).astype(np.int32) for top in (110, 14))
    return ev44.write(EventMessage("s", number, np.array([number * 10**6]), np.array([0]), tof, pixel))


def counts_of(numbers):
    read = [ev44.read(message(n)) for n in numbers]
    tof = np.concatenate([m.time_of_flight for m in read] or [[]])
    return np.histogram(tof, 50, (0, 100))[0]


def info(value):
    return json.loads(hs01.read_histogram(value).info)


class TestState:
    def test_a_machine_goes_on_as_if_nothing_had_been(self, tmp_path):
        """At every step the state goes to the disk and a new machine takes it over."""
        one, other = Restream(), Restream()
        store = Store(tmp_path)
        for machine in (one, other):
            machine.command(config("b:1", start=2, stop=10**6), now=0)
        for number in range(12):
            received = [Received("events", 0, 10 + number, message(number))]
            one.events(received)
            other.events(received)
            if number == 7:
                for machine in (one, other):
                    machine.command(b'{"cmd": "reset_counts"}', 50)
            said, tables = other.snapshot()
            store.save(Kept({"machine": said}, tables))
            kept = Store(tmp_path).load()
            other = Restream()
            other.restore(kept.said["machine"], kept.tables)
            now = 1000 * (number + 1)
            assert one.tick(now) == other.tick(now)
            assert other.subscriptions == one.subscriptions
        assert len(list(tmp_path.iterdir())) == 2

    def test_counts_that_did_not_change_are_not_written_again(self, tmp_path):
        machine, store = Restream(), Store(tmp_path)
        machine.command(config("b:1"), now=0)
        machine.events([Received("events", 0, 10, message(1))])
        written = []
        for _ in range(3):
            said, tables = machine.snapshot()
            store.save(Kept({"machine": said}, tables, (b"x",)))
            written.append(sorted(p.name for p in tmp_path.iterdir()))
        assert written == [["counts-1.bin", f"state-{n}.bin"] for n in (1, 2, 3)]

    def test_a_kill_between_two_files(self, tmp_path):
        store = Store(tmp_path)
        store.save(Kept({"a": 1}, {"t": pa.table({"x": [1]})}))
        for name in ("counts-2.bin", "state-2.bin.new"):  # the next state was begun
            (tmp_path / name).write_bytes(b"half")
        kept = Store(tmp_path).load()
        assert (kept.said["a"], kept.tables["t"].to_pydict()) == (1, {"x": [1]})

    @pytest.mark.parametrize("name", ["state-1.bin", "counts-1.bin"])
    @pytest.mark.parametrize("place", [0, 9, 30, -1])
    def test_damage_is_told(self, tmp_path, name, place):
        Store(tmp_path).save(Kept({"a": 1}, {"t": pa.table({"x": [1]})}, (b"m",)))
        data = bytearray((tmp_path / name).read_bytes())
        data[place] ^= 1
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match="damaged"):
            Store(tmp_path).load()

    def test_a_folder_that_cannot_be_used(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(CheckpointError, match="cannot be used"):
            Store(tmp_path / "file")


@pytest.fixture
def programs():
    """What starts the command, and ends those that are left."""
    yield from run_programs()


def run_programs():
    made = []

    def start(*options):
        program = [sys.executable, "-c", "import sys; from eventide.cli import main; sys.exit(main())"]
        with tempfile.TemporaryFile("w+") as said:
            made.append(subprocess.Popen([*program, "neutron", "restream", *options], stderr=said))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.wait()


class InLog:
    """A service on a log, its commands and events in the log too."""

    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        self.address = f"log://{folder / 'log'}"
        with self.log() as log:
            for topic in ("events", "commands"):
                log.create_topic(topic, MESSAGES, event_time="timestamp")

    def log(self):
        return Log(str(self.folder / "log"))

    def start(self, *more):
        own = ["--brokers", self.address, "--config-topic", "commands", "--response-topic", "answers"]
        own += ["--hb-topic", "beats"]
        return self.programs(*own, "--state", str(self.folder / "state"), *more)

    def send(self, topic, values):
        now = pa.array([time.time_ns()] * len(values), pa.int64()).cast(MESSAGES.field("timestamp").type)
        with self.log() as log:
            log.append(topic, pa.record_batch([now, pa.array(values, pa.large_binary())], schema=MESSAGES))

    def found(self, topic):
        with self.log() as log:
            if topic not in {t.name for t in log.topics()}:
                return []
            with log.reader(topic) as reader:
                return [v for f in reader.read(1 << 30) for v in f.batch.column("value").to_pylist()]

    def wait(self, what, process):
        until = time.monotonic() + SECONDS
        while not what():
            assert process.poll() is None
            assert time.monotonic() < until, [info(v) for v in self.found("out")[-2:]]
            time.sleep(0.05)

    def last(self, identifier="line"):
        made = [v for v in self.found("out") if info(v)["id"] == identifier]
        return hs01.read_histogram(made[-1]).data.astype(int).tolist() if made else None


def in_order(values):
    """Publications of each histogram, as many as there are numbers, each once and in order."""
    numbers = {}
    for value in values:
        numbers.setdefault(info(value)["id"], []).append(info(value)["sequence"])
    return all(found == list(range(1, len(found) + 1)) for found in numbers.values()) and len(numbers) == 2


def test_killed_again_and_again_on_the_log(tmp_path, programs):
    place = InLog(tmp_path, programs)
    rng = random.Random(1)
    process = place.start()
    place.wait(lambda: place.found("beats"), process)
    place.send("commands", [config(place.address, msg_id="first")])
    place.wait(lambda: place.last() is not None, process)
    sent = 0
    for kill in range(5):
        place.send("events", [message(n) for n in range(sent, sent + 30)])
        sent += 30
        time.sleep(rng.random())
        process.kill()
        process.wait()
        place.send("events", [message(n) for n in range(sent, sent + 7)])  # what came while it was away
        sent += 7
        process = place.start()
        if kill == 2:
            place.wait(lambda: place.last() == counts_of(range(sent)).tolist(), process)  # noqa: B023
    place.wait(lambda: place.last() == counts_of(range(sent)).tolist(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 143
    assert in_order(place.found("out")), "a publication is missing, or there twice"
    assert info(place.found("out")[-1])["state"] == "COUNTING"  # a stop ends nothing
    process = place.start()
    place.send("events", [message(n) for n in range(sent, sent + 3)])
    place.wait(lambda: place.last() == counts_of(range(sent + 3)).tolist(), process)
    (tmp_path / "stop.json").write_text('{"cmd": "stop", "msg_id": "second"}')
    sending = ["command", str(tmp_path / "stop.json"), "log://commands", "--log", str(tmp_path / "log")]
    assert CliRunner().invoke(app, sending).exit_code == 0
    place.wait(lambda: info(place.found("out")[-1])["state"] == "FINISHED", process)
    process.send_signal(signal.SIGTERM)
    process.wait(SECONDS)
    assert in_order(place.found("out"))
    said = [json.loads(v)["msg_id"] for v in place.found("answers")]
    assert said == ["first", "second"]


def test_a_command_of_a_file_is_followed_once_and_pulses_are_counted(tmp_path, programs):
    place = InLog(tmp_path, programs)
    pulses = simulate("amor", seconds=1, rate=2000, seed=3)
    with place.log() as log:
        log.create_topic("pulses", PULSES, event_time="event_time")
        log.append("pulses", pulses.combine_chunks().to_batches()[0])
    asked = json.loads(config(place.address, topics=("pulses",), start=1_600_000_000_000))
    asked["histograms"][0] |= {"tof_range": [0, 500_000_000], "source": "amor_detector"}
    (tmp_path / "config.json").write_text(json.dumps(asked))
    detector = pulses.filter(pa.compute.equal(pulses["source"], "amor_detector"))
    tof = np.concatenate([np.array(t, np.int64) for t in detector["time_of_flight"].to_pylist()])
    wanted = np.histogram(tof, 50, (0, 5e8))[0].tolist()
    for _ in range(2):
        process = place.start("--command", str(tmp_path / "config.json"))
        place.wait(lambda: place.last() == wanted, process)
        seen = len(place.found("out"))
        place.wait(lambda: len(place.found("out")) > seen, process)  # noqa: B023
        process.kill()
        process.wait()
    found = [info(v)["sum"] for v in place.found("out") if info(v)["id"] == "line"]
    assert in_order(place.found("out")) and found == sorted(found) and found[-1] == sum(wanted)


def test_what_retention_took_is_an_error_of_the_histogram(tmp_path, programs):
    place = InLog(tmp_path, programs)
    with place.log() as log:
        log.create_topic("short", MESSAGES, event_time="timestamp", segment_bytes=1 << 16)
    process = place.start()
    place.wait(lambda: place.found("beats"), process)
    place.send("commands", [config(place.address, topics=("short",))])
    place.send("short", [message(1)])
    place.wait(lambda: place.last() is not None, process)
    process.kill()
    process.wait()
    for _ in range(30):
        place.send("short", [message(n) for n in range(100)])
    from eventide.log import Retention

    with place.log() as log:
        assert log.apply_retention("short", retention=Retention(max_bytes=1 << 14))
    process = place.start()
    place.wait(lambda: info(place.found("out")[-1])["state"] == "ERROR", process)
    process.kill()
    process.wait()
