"""Pulses from the durable log to histograms in the durable log, exactly once: the application's own pipeline.

    python benchmarks/neutron/live.py [--instrument loki] [--seconds 10] [--rate 1e7] [--repeat 3] [--checkpoint 10s]

Simulated pulses are written to a log first. Then `eventide.apps.neutron.pipeline` reads them, counts time of flight,
image, wavelength, Q or d-spacing of all banks every second of event time, pixel by time of flight, and each monitor,
with checkpoints every ten seconds and at the end; what it published last is compared with numpy's counts of the same
events before anything is timed. The rate is that of a core: events over processor time of the whole process (all
threads), of the longer run minus that of one of a fifth of the length, so that start and end (and the one publication
of pixel by time) are left out; `whole` is the longer run alone, with all of it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa

import eventide as ev
from eventide.apps.neutron.instruments import Instrument, instrument
from eventide.apps.neutron.pipeline import longest, pipeline, products
from eventide.apps.neutron.schema import PULSES
from eventide.apps.neutron.simulate import Beam
from eventide.log import Log

FLOOR = 50.0
"""Million events a second and core that the pipeline is to reach."""

RESULTS = ("histograms", "volumes", "monitors")


class Truth:
    """Counts by numpy, of all events that are written."""

    def __init__(self, one: Instrument) -> None:
        self.one = one
        self.edges = np.linspace(0, longest(one), 1001)
        self.image = np.zeros(one.pixels, np.int64)
        self.flight = np.zeros(1000, np.int64)
        self.events = self.monitors = 0

    def add(self, batch: pa.RecordBatch) -> None:
        banks = batch.filter(batch["pixel_id"].is_valid())
        pixel, flight = (banks[n].flatten().to_numpy() for n in ("pixel_id", "time_of_flight"))
        self.image += np.bincount(pixel - self.one.first, minlength=self.one.pixels)
        place = np.searchsorted(self.edges, flight, side="right") - 1
        self.flight += np.bincount(place[place < 1000], minlength=1000)
        self.events += pixel.size
        self.monitors += len(batch["time_of_flight"].flatten()) - pixel.size


def write(root: Path, one: Instrument, rate: float, seconds: int) -> Truth:
    """Write the pulses of some seconds, a frame for each pulse; return what is in them."""
    beam, truth = Beam(one, rate=rate, seed=7, start=1_700_000_000_000_000_000), Truth(one)
    with Log(root, fsync="os") as log:
        log.create_topic("pulses", PULSES, event_time="event_time")
        for batch in beam.batches(seconds):
            truth.add(batch)
            for begin in range(0, batch.num_rows, len(beam.sources)):
                log.append("pulses", batch.slice(begin, len(beam.sources)))
    return truth


def run(root: Path, name: str, interval: str) -> dict[str, float]:
    """Run the pipeline once from the beginning."""
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        made = pipeline(instrument=name, log=str(root))
        begin, wall = time.process_time(), time.perf_counter()
        ev.run(made, checkpoint=folder, checkpoint_interval=interval, quarantine=str(root))
        return {"cpu": time.process_time() - begin, "wall": time.perf_counter() - wall}


def forget(root: Path) -> None:
    with Log(root) as log:
        for topic in RESULTS:
            log.delete_topic(topic)


def published(root: Path, topic: str, columns: list[str]) -> pa.Table:
    return ev.fetch(ev.read(f"log://{topic}", log=str(root), follow=False).select(*columns))


def check(root: Path, truth: Truth) -> None:
    """Compare what was published last with the truth."""
    names = list(products(truth.one))
    last = published(root, "histograms", ["product", "events", "counts"])[-len(names) :]
    assert last["product"].to_pylist() == names
    assert last["events"].to_pylist() == [truth.events] * len(names)
    counts = {n: c.values.to_numpy() for n, c in zip(names, last["counts"], strict=True)}
    assert np.array_equal(counts["image"], truth.image)
    assert np.array_equal(counts["time_of_flight"], truth.flight)
    volume = published(root, "volumes", ["binned", "above", "bins", "counts"])[-1:]
    bins, found = volume["bins"][0].values.to_numpy(), volume["counts"][0].values.to_numpy()
    sums = np.bincount(bins // 20, found, minlength=truth.one.pixels).astype(np.int64)
    assert sums.sum() == volume["binned"][0].as_py() == truth.events - volume["above"][0].as_py()
    assert np.all(sums <= truth.image)
    monitors = published(root, "monitors", ["source", "events"]).to_pylist()
    assert sum({r["source"]: r["events"] for r in monitors}.values()) == truth.monitors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instrument", default="loki")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1e7)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--checkpoint", default="10s", help="between two checkpoints")
    parser.add_argument("--folder", default=None, help="where the logs are made")
    options = parser.parse_args()
    one = instrument(options.instrument)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        logs, truths = {}, {}
        for seconds in (options.seconds, max(1, options.seconds // 5)):
            logs[seconds] = Path(folder, str(seconds))
            truths[seconds] = write(logs[seconds], one, options.rate, seconds)
        times: dict[int, list[dict[str, float]]] = {seconds: [] for seconds in logs}
        for turn in range(options.repeat + 1):
            for seconds, root in logs.items():
                found = run(root, options.instrument, options.checkpoint)
                if turn:
                    times[seconds].append(found)
                else:
                    check(root, truths[seconds])
                forget(root)
        long, short = sorted(logs, reverse=True)
        events = {s: t.events + t.monitors for s, t in truths.items()}
        cpu = [a["cpu"] - b["cpu"] for a, b in zip(times[long], times[short], strict=True)]
        wall = [a["wall"] - b["wall"] for a, b in zip(times[long], times[short], strict=True)]
    more = (events[long] - events[short]) / 1e6
    rate = more / statistics.median(cpu)
    told: dict[str, Any] = {
        "id": "neutron-live",
        "unit": "million events/s and core",
        "instrument": options.instrument,
        "pixels": one.pixels,
        "products": list(products(one)),
        "events": events[long],
        "ours": round(rate, 1),
        "by_wall_clock": round(more / statistics.median(wall), 1),
        "whole": round(events[long] / 1e6 / statistics.median(t["cpu"] for t in times[long]), 1),
        "floors": {"ours": FLOOR},
        "ok": rate >= FLOOR,
        "n": options.repeat,
        "load": os.getloadavg(),
        "machine": platform.machine(),
        "versions": {"numpy": np.__version__, "numba": numba.__version__, "pyarrow": pa.__version__},
    }
    print(json.dumps(told))
    return 0 if told["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
