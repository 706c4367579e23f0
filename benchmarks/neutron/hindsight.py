"""How many times real time a run is counted anew from the log, with other bins, while its data go on coming.

    python benchmarks/neutron/hindsight.py [--instrument sans2d] [--rate 1e7] [--history 100] [--seconds 30]

The log has the pulses of a run up to now. Three processes then share the machine: a writer that appends pulses at their
time, the pipeline of the run, which follows, and `eventide.apps.neutron.hindsight.rebin`, which counts everything anew
with other bins and switches when it has caught up. What it says of itself is the figure: seconds of data by the clock
on the wall, its start included. At the end the counts of the new version are those of all events up to then.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import eventide as ev
from eventide.apps.neutron import hindsight
from eventide.apps.neutron.instruments import instrument
from eventide.apps.neutron.pipeline import pipeline
from eventide.apps.neutron.schema import PULSES
from eventide.apps.neutron.simulate import Beam
from eventide.log import Log

if not __package__:  # run as a file: find the package beside it
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.neutron.latency import PERIOD, TOPIC, ended, timed

FLOOR = 10.0
"""Times real time."""

NAME = "fine"


class Pulses:
    """Pulses of one second again and again, each with a row that says that it is complete."""

    def __init__(self, name: str, rate: float) -> None:
        one = instrument(name)
        beam = Beam(one, rate=rate * PERIOD / one.period, seed=3)  # as many events a second, of 14 pulses
        rows, made = len(beam.sources), beam.second(0)
        self._made = [ended(made.slice(k, rows)) for k in range(0, made.num_rows - rows + 1, rows)]
        self.events = [len(pulse["time_of_flight"].flatten()) for pulse in self._made]

    def of(self, number: int, when: int) -> Any:
        """Return the batch of a pulse."""
        return timed(self._made[number % len(self._made)], when)


def play(root: str, name: str, rate: float, first: int, count: int, start: int) -> None:
    """Append pulses, one every 1/14 s."""
    pulses = Pulses(name, rate)
    with Log(root, fsync="group") as log:
        begun = time.monotonic()
        for number in range(first, first + count):
            time.sleep(max(0.0, begun + (number - first) * PERIOD / 1e9 - time.monotonic()))
            log.append(TOPIC, pulses.of(number, start + number * PERIOD))


def follow(root: str, name: str, folder: str) -> None:
    """Run the pipeline of the run."""
    ev.run(pipeline(instrument=name, log=root, follow="true"), checkpoint=folder, quarantine=root)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instrument", default="sans2d")
    parser.add_argument("--rate", type=float, default=1e7)
    parser.add_argument("--history", type=int, default=100, help="seconds of data that are there already")
    parser.add_argument("--seconds", type=int, default=30, help="seconds of data that come meanwhile, at least")
    parser.add_argument("--bins", default="500")
    parser.add_argument(
        "--products", default="time_of_flight,q", help="of the new version; '': those of the instrument"
    )
    parser.add_argument("--volumes", default="0", help="how often those of the new version are published; 0: none")
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    before, after = options.history * 14, options.seconds * 14
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = str(Path(folder, "log"))
        pulses = Pulses(options.instrument, options.rate)
        start = (time.time_ns() // PERIOD) * PERIOD
        with Log(root, fsync="os") as log:
            log.create_topic(TOPIC, PULSES, event_time="event_time")
            for number in range(before):
                log.append(TOPIC, pulses.of(number, start + number * PERIOD))
        live = context.Process(target=follow, args=(root, options.instrument, str(Path(folder, "live"))), daemon=True)
        live.start()
        while published(root) < start + before * PERIOD - 3 * 10**9:
            time.sleep(0.2)
        arguments = (root, options.instrument, options.rate, before, after, start)
        writer = context.Process(target=play, args=arguments, daemon=True)
        writer.start()
        time.sleep(5)  # both are at work
        stop, figures = threading.Event(), []

        def switched(_: hindsight.Version, made: hindsight.Rebuilt) -> None:
            figures.append(made)

        given = {"bins": options.bins, "products": options.products, "volume_every": options.volumes}
        anew = threading.Thread(
            target=hindsight.rebin, args=(NAME,),
            kwargs=dict(
                checkpoint=str(Path(folder, "new")), stop=stop, on_switch=switched, log=root,
                instrument=options.instrument, **given,
            ),
        )  # fmt: skip
        anew.start()
        writer.join()
        until = time.monotonic() + 60
        while time.monotonic() < until and not (figures and published(root, f"{NAME}-") >= published(root) > 0):
            time.sleep(0.5)
        stop.set()
        anew.join()
        live.terminate()
        assert figures, "the new version has not caught up"
        upto, found = published(root, f"{NAME}-"), counted(root)
    there = [k for k in range(before + after) if start + k * PERIOD < upto]
    wanted = sum(pulses.events[k % len(pulses.events)] for k in there)
    (made,) = figures
    told = {
        "id": "neutron-hindsight",
        "unit": "times real time",
        "instrument": options.instrument,
        "events_per_second": options.rate,
        "ours": round(made.times_real_time, 2),
        "covered_s": round(made.covered, 1),
        "took_s": round(made.seconds, 2),
        "processor_s": round(made.cpu, 2),
        "live_went_on_s": round(made.live, 2),
        "events": made.events,
        "counted_at_the_end": found,
        "written_until_then": wanted,
        "floors": {"ours": FLOOR},
        "ok": made.times_real_time >= FLOOR and found == wanted,
        "load": os.getloadavg(),
        "machine": platform.machine(),
    }
    print(json.dumps(told))
    return 0 if told["ok"] else 1


def published(root: str, version: str = "") -> int:
    """Return until when a version has published, ns."""
    table = hindsight.held(f"{version}histograms", root, last=True)
    return int(table["until"][-1].value) if table is not None and table.num_rows else 0


def counted(root: str) -> int:
    """Return how many events the newest publications of the new version and its monitors have."""
    histograms = hindsight.held(f"{NAME}-histograms", root, last=True)
    monitors = hindsight.held(f"{NAME}-monitors", root)
    if histograms is None or monitors is None or not histograms.num_rows:
        return 0
    newest = {row["source"]: row["events"] for row in monitors.select(["source", "events"]).to_pylist()}
    return int(histograms["events"][-1].as_py()) + sum(newest.values())


if __name__ == "__main__":
    sys.exit(main())
