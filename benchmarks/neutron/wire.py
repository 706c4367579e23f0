"""Messages to counts, decoding included, and calibrated events to Q, beside what programs of facilities do for them.

``python benchmarks/neutron/wire.py [--quick]`` in an environment with ess-streaming-data-types and h5py; the last line
is one JSON object. Messages of ev44 lie in memory, as a batch of a source has them. The peer's operation is
just-bin-it's: decode a message, call `numpy.histogram`, add. Of calibrated events it is that of a reduction in Python,
event by event: look the constants of the pixel up, find d, then Q, then the bin. The calibration is NOMAD's where
``EVENTIDE_DATA`` is set, else one of as many pixels, masked and curved ones that is made up. Counts are compared first;
figures are medians of processor time of turns, all on one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import streaming_data_types as peer

from eventide.apps.neutron.reduction.calibration import Calibration
from eventide.apps.neutron.reduction.calibration_file import read_calibration
from eventide.formats import ev44
from eventide.kernel.histogram.axes import uniform
from eventide.kernel.histogram.histograms import Filler, Histograms
from eventide.kernel.histogram.products import checked

if not __package__:  # run as a file: find the package beside it
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.harness import machine
from benchmarks.neutron.decode import NOW, turns

SPAN = 71_428_571
FLIGHTS = pa.schema([("time_of_flight", pa.int32())])
LOW, HIGH, BINS = 0.0, 30.0, 1500
"""The axis of Q, 1/Angstrom: steps of 0.02."""


def counting(events: int, repeats: int) -> dict[str, Any]:
    """Count messages of so many events over 100 bins."""
    random = np.random.default_rng(events)
    count = max(4, 2_000_000 // events)
    flights = random.integers(0, 71_000_000, (count, events)).astype(np.int32)
    pixels = random.integers(0, 1_000_000, (count, events)).astype(np.int32)
    times, first = np.array([NOW]), np.array([0], np.int32)
    messages = [peer.serialise_ev44("bank", i, times + i, first, flights[i], pixels[i]) for i in range(count)]
    column = pa.array(messages, pa.large_binary())
    kept = Histograms(Filler(checked({"tof": uniform("time_of_flight", 0, SPAN, 100)})))

    def ours() -> None:
        found = ev44.decode_many(column, schema=FLIGHTS)
        kept.add({"time_of_flight": found.batch["time_of_flight"].to_numpy()})

    def theirs() -> np.ndarray:
        total = np.zeros(100, np.int64)
        for message in messages:
            total += np.histogram(peer.deserialise_ev44(message).time_of_flight, 100, (0, SPAN))[0]
        return total

    ours()
    assert np.array_equal(kept.counts("tof"), theirs())
    found = turns({"ours": ours, "peer": theirs}, repeats)
    rates = {name: round(events * count / us, 1) for name, us in found.items()}
    return {"events": events, "mev_s": rates, "ratio": round(found["peer"] / found["ours"], 2)}


def calibration() -> tuple[str, Calibration]:
    data = os.environ.get("EVENTIDE_DATA")
    for path in Path(data, "neutron", "nomad").glob("*.h5") if data else ():
        return path.name, read_calibration(path)
    random = np.random.default_rng(7)
    count = 101_376
    difc, tzero = random.uniform(64, 11_066, count), random.uniform(0, 21, count)
    difa = np.where(random.random(count) < 0.2, random.normal(0, 3, count), 0.0)
    return "made up", Calibration(difc, difa, tzero, random.random(count) < 0.32)


def event_by_event(pixel: list[int], time: list[float], one: Calibration) -> np.ndarray:
    difc, difa, tzero, usable = one.difc.tolist(), one.difa.tolist(), one.tzero.tolist(), one.usable.tolist()
    counts, scale = [0] * BINS, BINS / (HIGH - LOW)
    for p, t in zip(pixel, time, strict=True):
        if not usable[p]:
            continue
        a, c, t = difa[p], difc[p], t - tzero[p]
        under = c * c + 4.0 * a * t
        if under < 0.0 or t <= 0.0:
            continue
        d = 2.0 * t / (c + math.sqrt(under))
        at = int((2.0 * math.pi / d - LOW) * scale)
        if at < BINS:
            counts[at] += 1
    return np.array(counts)


def reducing(events: int, repeats: int) -> dict[str, Any]:
    """Count events over Q by way of a calibration."""
    name, one = calibration()
    random = np.random.default_rng(events)
    # Of pixels in use only: what is masked costs a program in Python next to nothing.
    pixel = random.choice(np.flatnonzero(one.usable), events).astype(np.int32)
    time = random.integers(500, 16_667, events).astype(np.int32)  # us
    axis = uniform(one.momentum_transfer_whole(pixel="pixel", time="time", unit="us"), LOW, HIGH, BINS)
    kept = Histograms(Filler(checked({"q": axis})))
    columns = {"pixel": pixel, "time": time}
    pixels, times = pixel.tolist(), time.astype(float).tolist()
    kept.add(columns)
    differ = int(np.abs(kept.counts("q") - event_by_event(pixels, times, one)).sum())
    assert differ == 0, differ
    found = turns({"ours": lambda: kept.add(columns), "peer": lambda: event_by_event(pixels, times, one)}, repeats)
    rates = {who: round(events / us, 2) for who, us in found.items()}
    return {
        "calibration": name, "events": events, "mev_s": rates,
        "ratio": round(found["peer"] / found["ours"], 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="five turns instead of fifteen")
    repeats = 5 if parser.parse_args().quick else 15
    counted = [counting(events, repeats) for events in (1_000, 10_000, 100_000)]
    reduced = reducing(1_000_000, 3)
    print(json.dumps({"id": "neutron-wire", "counting": counted, "reducing": reduced, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
