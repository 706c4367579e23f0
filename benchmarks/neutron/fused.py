"""Ten products, and six, from one decoding beside one of them: messages from the durable log, exactly once.

    python benchmarks/neutron/fused.py [--seconds 5] [--rate 1e7] [--repeat 9]

The ten are those of ``histogram.py``: spectra, an image, eight regions, a monitor, banks, wavelength, Q, d-spacing; six
of them are one spectrum, image, regions, monitor, Q, d-spacing. They, and the spectrum of 100 bins alone, are counted
from messages of ev44 with simulated pulses of SANS2D (122,880 pixels): read from a topic of the log, decoded, counted,
published every second of event time into another topic, with checkpoints. Each product is compared with what it is
alone. A figure is processor time of the whole process for an event, of a longer run minus that of one of a fifth of its
length, the least of all turns of each: what else runs on a machine only adds. What products cost without reading and
decoding (arrays in memory) is in ``histogram.py``. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa

import eventide as ev

if not __package__:  # run as a file: find the package beside it
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.neutron.histogram import SIX, ten

from eventide.apps.neutron.instruments import Instrument, instrument
from eventide.apps.neutron.messages import encode
from eventide.apps.neutron.pipeline import read_in
from eventide.apps.neutron.schema import MESSAGES
from eventide.apps.neutron.simulate import Beam
from eventide.kernel.histogram.columns import rows_where
from eventide.log import Log

FLOOR, SHARE = 3.0, 0.4
"""The ten cost less than so many times the one; the six are at least at so much of its speed."""


def with_pixels(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Leave out monitors."""
    return rows_where(batch, batch["pixel_id"].is_valid().to_numpy(zero_copy_only=False))


def write(root: Path, one: Instrument, rate: float, seconds: int) -> int:
    """Write the messages of some seconds of pulses; return how many events they have."""
    beam, events = Beam(one, rate=rate, seed=7, start=1_700_000_000_000_000_000), 0
    with Log(root, fsync="os") as log:
        log.create_topic("messages", MESSAGES, event_time=MESSAGES.names[0])
        for batch in beam.batches(seconds):
            events += len(batch["time_of_flight"].flatten())
            for begin in range(0, batch.num_rows, len(beam.sources)):
                log.append("messages", encode(batch.slice(begin, len(beam.sources)), "ev44"))
    return events


def run(root: Path, products: dict[str, Any]) -> float:
    """Count a log's messages into products; return seconds of the processor."""
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        messages = ev.read("log://messages", log=str(root), follow=False)
        pulses = read_in(messages, form="ev44").pulses.event_time("event_time", lateness="1s")
        banks = pulses.map_batches(with_pixels, name="banks")
        found = ev.op.histogram(banks, products=products, every="1s").write("log://found", log=str(root))
        begin = time.process_time()
        ev.run(found, checkpoint=folder, checkpoint_interval="10s", quarantine=str(root))
        return time.process_time() - begin


def last(root: Path, count: int) -> dict[str, np.ndarray]:
    """Return what was published last, by product, and forget all of it."""
    read = ev.read("log://found", log=str(root), follow=False).select("product", "counts")
    table: pa.Table = ev.fetch(read)[-count:]
    with Log(root) as log:
        log.delete_topic("found")
    pairs = zip(table["product"].to_pylist(), table["counts"], strict=True)
    return {name: counts.values.to_numpy() for name, counts in pairs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1e7)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--folder", default=None, help="where the logs are made")
    options = parser.parse_args()
    one = instrument("sans2d")
    every = ten(one.pixels + one.first, tof="time_of_flight", pixel="pixel_id")
    alone = {"tof": every["tof"]}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        logs, events = {}, {}
        for seconds in (options.seconds, max(1, options.seconds // 5)):
            logs[seconds] = Path(folder, str(seconds))
            events[seconds] = write(logs[seconds], one, options.rate, seconds)
        long, short = sorted(logs, reverse=True)
        run(logs[short], every)
        together = last(logs[short], len(every))
        for name, product in every.items():
            run(logs[short], {name: product})
            assert np.array_equal(last(logs[short], 1)[name], together[name]), name
        sets = {"one": alone, "six": {name: every[name] for name in SIX}, "ten": every}
        turns: dict[str, list[dict[int, float]]] = {name: [] for name in sets}
        for turn in range(options.repeat + 1):
            for name, products in sets.items():
                took = {}
                for seconds, root in logs.items():
                    took[seconds] = run(root, products)
                    last(root, 1)
                if turn:  # the first one brings the log into memory
                    turns[name].append(took)
    more = events[long] - events[short]
    found = {n: (min(t[long] for t in ts) - min(t[short] for t in ts)) / more * 1e9 for n, ts in turns.items()}
    times, share = found["ten"] / found["one"], found["one"] / found["six"]
    told = {
        "id": "neutron-fused",
        "unit": "ns an event",
        "ours": {name: round(value, 2) for name, value in found.items()},
        "times_the_one": round(times, 2),
        "times_in_turn": [
            round((b[long] - b[short]) / (a[long] - a[short]), 2)
            for a, b in zip(turns["one"], turns["ten"], strict=True)
        ],
        "six_share_of_the_one": round(share, 3),
        "floors": {"times_the_one": FLOOR, "six_share_of_the_one": SHARE},
        "ok": times < FLOOR and share >= SHARE,
        "n": options.repeat,
        "load": os.getloadavg(),
        "machine": platform.machine(),
        "versions": {"numpy": np.__version__, "numba": numba.__version__, "pyarrow": pa.__version__},
    }
    print(json.dumps(told))
    return 0 if told["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
