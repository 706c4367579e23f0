"""The paper's chain on the paper's images: the application's own pipeline, in memory, from log to log, on two lanes.

    EVENTIDE_DATA=folder python benchmarks/gamma/paper.py [--events 30000] [--repeat 3] [--quick] [--profile]

The fifty array events of Bruegge et al. (ADASS XXVII, ASP 522 p. 319; 217 images of three kinds of cameras) come again
and again, ten milliseconds apart. `eventide.apps.gamma.pipeline` cleans every image, measures it, lets two forests of
fifty trees judge it (6,796 and 8,932 nodes, as the paper's), builds events by time, averages over telescopes,
reconstructs direction, core and height, and brings all that can be reconstructed to the sky (`DL3_EVENT`). What comes
out is compared first: the same rows for every repetition of an event, and from the log the same as in memory.

The rate of a core is array events over processor time of the whole process, all threads, of a longer run minus one of a
fifth of its length, so that start and end are left out. `durable` is from the durable log to a durable topic, exactly
once, with a checkpoint every second, the input read for the second time. `two_lanes` is what a second lane gains in
memory, by the clock on the wall, in runs of three times the length, and `two_processes` what two processes gain that
share nothing, each with a run of one lane, in turn with the others: what the machine gives. Both mean nothing beside
other load. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import multiprocessing
import os
import platform
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import eventide as ev
from eventide.apps.gamma.models.forest import Forest, Tree, forest_of
from eventide.apps.gamma.models.schedule import Schedule
from eventide.apps.gamma.operators import parameters
from eventide.apps.gamma.pipeline import Analysis, analyse
from eventide.apps.gamma.schema import DL1_IMAGE, DL3_EVENT
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.site import Site
from eventide.apps.gamma.sources.prod3 import read_prod3, read_site
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.kernel.compiled import have_compiler
from eventide.log import Log
from eventide.model.time import EVENT_TIME

FLOORS = {"memory": 30_000.0, "durable": 20_000.0, "two_lanes": 1.8}
"""Array events a second and core; and the gain of two lanes."""

FEATURES = (
    "hillas_intensity", "hillas_length", "hillas_width", "hillas_skewness", "hillas_kurtosis", "hillas_r",
    "leakage_intensity_width_2", "concentration_cog", "concentration_core", "morphology_n_pixels",
)  # fmt: skip
NODES = {"gammaness": 6796, "energy": 8932}
EVENTS = 50
SPAN = EVENTS * 10_000_000
"""Array events in the file, and ns from their first to that of the next repetition."""

TOGETHER = 60
"""So many repetitions, 13,020 images, are a batch, and are appended to the log at a time."""


def grown(random: np.random.Generator, rows: np.ndarray, leaves: int) -> Tree:
    """Return a tree of so many leaves, as balanced as chance leaves it: leaves are split at values that there are."""
    feature, threshold, left, right = [-1], [0.0], [0], [0]
    ends = [(0, rows)]
    while len(ends) < leaves:
        node, mine = ends.pop(max(range(len(ends)), key=lambda i: len(ends[i][1])))
        column = int(random.integers(0, rows.shape[1]))
        cut = float(random.choice(mine[:, column] if len(mine) else rows[:, column]))
        feature[node], threshold[node] = column, cut
        left[node], right[node] = len(feature), len(feature) + 1
        ends += [(left[node], mine[mine[:, column] <= cut]), (right[node], mine[mine[:, column] > cut])]
        for values, value in ((feature, -1), (threshold, 0.0), (left, 0), (right, 0)):
            values.extend([value, value])
    return Tree(*(np.array(v) for v in (feature, threshold, left, right)), random.random(len(feature)))


def forests(images: pa.Table, site: Site) -> dict[str, Forest]:
    """Return forests of fifty trees with as many nodes as the paper's."""
    found = ev.fetch(parameters(ev.from_table(images), site)).select(FEATURES)
    rows = np.stack([found[n].to_numpy() for n in FEATURES], axis=1)
    rows = rows[np.isfinite(rows).all(axis=1)]
    random, made = np.random.default_rng(5), {}
    for name, nodes in NODES.items():
        # A tree of n leaves has 2 n - 1 nodes.
        leaves = np.diff(np.linspace(0, (nodes + 50) // 2, 51).round()).astype(int)
        made[name] = forest_of([grown(random, rows, int(n)) for n in leaves], FEATURES, scale=1 / 50, name=name)
        assert made[name].feature.size == nodes
    return made


def moved(batch: pa.RecordBatch, by: int) -> pa.RecordBatch:
    """Return images that came later by so many ns; no pixel is copied."""
    times = pc.add(batch.column("time").cast(pa.int64()), by).cast(EVENT_TIME)
    return batch.set_column(0, batch.schema.field(0), times)


def again(images: pa.Table, batches: int) -> list[pa.RecordBatch]:
    """Return so many batches of the images again and again."""
    once = images.combine_chunks().to_batches()[0]
    some = pa.Table.from_batches([moved(once, k * SPAN) for k in range(TOGETHER)]).combine_chunks().to_batches()[0]
    return [moved(some, k * TOGETHER * SPAN) for k in range(batches)]


def timed(program: Callable[[], Any]) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    program()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


class Bench:
    """The chain over so many batches, here and there."""

    def __init__(self, folder: Path, root: Path, lengths: tuple[int, ...]) -> None:
        self.images, _ = read_prod3(folder / "images.json.gz")
        site = read_site(folder / "array_101_telescopes.csv", folder / "cta_camera_definitions.json.gz")
        models = {name: Schedule(forest) for name, forest in forests(self.images, site).items()}
        self.how = Analysis(site, OnOff(83.63308, 22.0145, radius=0.17, name="Crab"), **models, min_gammaness=0.0)
        self.root, self.lengths = root, lengths
        self.batches = {length: again(self.images, length) for length in lengths}

    def write_logs(self) -> None:
        """Put the images into a log for each length."""
        for length in self.lengths:
            with Log(self.log(length), fsync="os") as log:
                log.create_topic("images", DL1_IMAGE, event_time="time")
                for batch in self.batches[length]:
                    log.append("images", batch)

    def log(self, length: int) -> Path:
        return self.root / f"log-{length}"

    def in_memory(self, length: int, lanes: int = 1) -> pa.Table:
        found, sink = analyse(ev.read(MemorySource(self.batches[length])), self.how), MemorySink()
        ev.run(found.gammas.write(sink), lanes=lanes)
        return sink.table()

    def durable(self, length: int, lanes: int = 1) -> None:
        root = str(self.log(length))
        found = analyse(ev.read("log://images", log=root, follow=False), self.how)
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            made = found.gammas.write("log://gammas", log=root)
            ev.run(made, checkpoint=folder, checkpoint_interval="1s", quarantine=root, lanes=lanes)

    def forget(self, length: int) -> None:
        with Log(self.log(length)) as log:
            log.delete_topic("gammas")

    def check(self) -> int:
        """Compare what comes out, and return how many of the fifty events do."""
        length = self.lengths[1]
        table = self.in_memory(length)
        count, rest = divmod(table.num_rows, length * TOGETHER)
        assert rest == 0
        same = ["obs_id", "energy", "gammaness", "multiplicity"]  # the sky turns
        first = table.slice(0, count)
        for n in range(1, length * TOGETHER):
            other = table.slice(n * count, count)
            assert other.select(same).equals(first.select(same))
            assert pc.all(pc.less(pc.abs(pc.subtract(other["dec"], first["dec"])), 0.05)).as_py()
            ids = pc.subtract(other["event_id"], first["event_id"])
            assert pc.all(pc.equal(ids, n * SPAN)).as_py()
        assert self.in_memory(length, 2).equals(table)
        self.durable(length)
        stored = ev.fetch(ev.read("log://gammas", log=str(self.log(length)), follow=False))
        assert stored.select(DL3_EVENT.names).equals(table.select(DL3_EVENT.names))
        self.forget(length)
        return count

    def rates(self, program: Callable[[int], Any], repeat: int, *, by: str, after: Any = None) -> list[float]:
        """Return array events a second of each turn; one turn before is not counted."""
        out = []
        for turn in range(repeat + 1):
            found = {}
            for length in self.lengths:
                found[length] = timed(lambda length=length: program(length))[by]
                if after is not None:
                    after(length)
            if turn:
                long, short = self.lengths
                out.append((long - short) * TOGETHER * EVENTS / (found[long] - found[short]))
        return out


def beside(data: Path, folder: str, length: int, begin: Any, took: Any) -> None:
    """Run the chain in memory, one lane, whenever told; tell how long it took."""
    bench = Bench(data, Path(folder), (length,))
    bench.in_memory(length)
    took.put(0.0)
    while begin.get():
        took.put(timed(lambda: bench.in_memory(length))["wall"])


def gains(bench: Bench, data: Path, repeat: int) -> dict[str, float]:
    """Return what a second lane, and a second process, gain: medians of turns."""
    length = 3 * bench.lengths[0]
    bench.batches[length] = again(bench.images, length)
    context = multiprocessing.get_context("spawn")
    begin, took = context.SimpleQueue(), context.SimpleQueue()
    folders = [str(bench.root / f"beside-{n}") for n in range(2)]
    for folder in folders:
        Path(folder).mkdir()
    others = [context.Process(target=beside, args=(data, f, length, begin, took), daemon=True) for f in folders]
    for other in others:
        other.start()
    for _ in others:
        took.get()
    lanes, processes = [], []
    for _ in range(2 * repeat):
        one, two = (timed(lambda k=k: bench.in_memory(length, k))["wall"] for k in (1, 2))
        for _ in others:
            begin.put(True)
        both = max(took.get() for _ in others)
        lanes.append(one / two)
        processes.append(2 * one / both)
    for _ in others:
        begin.put(False)
    return {"two_lanes": statistics.median(lanes), "two_processes": statistics.median(processes)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=30_000, help="of the longer run")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="10,000 events, once")
    parser.add_argument("--profile", choices=("in_memory", "durable"), help="say where the time goes, and nothing else")
    parser.add_argument("--folder", default=None, help="where the logs are made")
    given = parser.parse_args()
    events, repeat = (10_000, 1) if given.quick else (given.events, given.repeat)
    long = max(3, events // EVENTS // TOGETHER)
    data = Path(os.environ["EVENTIDE_DATA"]) / "gamma" / "prod3"
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bench = Bench(data, Path(folder), (long, max(1, long // 5)))
        bench.write_logs()
        count = bench.check()
        if given.profile:
            profile = cProfile.Profile()
            profile.runcall(getattr(bench, given.profile), long)
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
            return 0
        found = {
            "memory": statistics.median(bench.rates(bench.in_memory, repeat, by="cpu")),
            "durable": statistics.median(bench.rates(bench.durable, repeat, by="cpu", after=bench.forget)),
        }
        found |= gains(bench, data, repeat)
    print(
        json.dumps(
            {
                "id": "gamma-paper",
                "unit": "array events/s and core",
                "ours": {name: round(value, 2) for name, value in found.items()},
                "images_per_event": bench.images.num_rows / EVENTS,
                "events_out_of_50": count,
                "floors": FLOORS,
                "ok": all(found[name] >= floor for name, floor in FLOORS.items()),
                "n": repeat,
                "load": os.getloadavg(),
                "machine": platform.machine(),
                "versions": {p: metadata.version(p) for p in ("numpy", "pyarrow", "polars")}
                | {"numba": have_compiler()},
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
