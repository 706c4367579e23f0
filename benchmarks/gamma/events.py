"""Rates of the gamma application behind the images, on one thread: array events, forests, stereo, significance.

``python benchmarks/gamma/events.py [--quick]``; the last line is one JSON object. What is timed is compared first:
built events with a plain loop, forests with scikit-learn where it is installed (then it is timed too, on one thread),
compiled loops with their numpy twins. Figures are medians of processor time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import pyarrow as pa

import eventide as ev
from eventide.apps.gamma.building.coincidence import coincide
from eventide.apps.gamma.building.operator import array_events
from eventide.apps.gamma.models.forest import Tree, forest_of
from eventide.apps.gamma.models.scikit import from_scikit
from eventide.apps.gamma.science.false_alarms import scramble
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.science.rolling import watch
from eventide.apps.gamma.stereo.planes import Geometry, Images, reconstruct
from eventide.kernel.compiled import have_compiler
from eventide.model.time import EVENT_TIME

FLOORS = {"build_triggers": 10e6, "forest_50x13": 200e3, "forest_50x13_single": 20e3, "stereo_events": 500e3}
"""Rates that are asked for, a second."""


def rate(program: Callable[[], Any], count: int, turns: int) -> float:
    """Return how many of `count` things a second a program does; it is run once before."""
    program()
    times = []
    for _ in range(turns):
        begin = time.thread_time()
        program()
        times.append(time.thread_time() - begin)
    return count / statistics.median(times)


def triggers(showers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times and telescopes of triggers, out of order by two milliseconds."""
    random = np.random.default_rng(1)
    first = np.sort(random.integers(0, showers * 100_000, showers))
    time_of = np.repeat(first, random.integers(1, 8, showers))
    time_of += random.integers(0, 100, time_of.size)
    order = np.argsort(time_of + random.integers(0, 2_000_000, time_of.size), kind="stable")
    return time_of[order], random.integers(0, 100, time_of.size)


def building(size: int, turns: int) -> dict[str, float]:
    times, tels = triggers(size)
    compiled, plain = (coincide(times, tels, window=200, compiled=c) for c in (have_compiler(), False))
    assert all(np.array_equal(a, b) for a, b in zip(compiled, plain, strict=True))
    ordered, begins, last = np.sort(times)[:100_000], 0, None
    for t in ordered.tolist():
        if last is None or t - last > 200:
            begins, last = begins + 1, t
    assert begins == int(np.searchsorted(compiled.first, ordered[-1], side="right"))

    def batches() -> None:
        for begin in range(0, times.size, 10_000):
            coincide(times[begin : begin + 10_000], tels[begin : begin + 10_000], window=200)

    def machine() -> None:
        table = pa.table([pa.array(times).cast(EVENT_TIME), pa.array(tels.astype(np.int16))], names=["time", "tel_id"])
        stream = ev.from_table(table).event_time("time", lateness="5ms")
        ev.run(array_events(stream, window="200ns").write("memory://bench-built"))

    machine()
    begin = time.perf_counter()
    machine()
    wall = time.perf_counter() - begin
    return {
        "build_triggers": rate(lambda: coincide(times, tels, window=200), times.size, turns),
        "build_triggers_batches_of_10000": rate(batches, times.size, turns),
        "build_triggers_numpy": rate(lambda: coincide(times, tels, window=200, compiled=False), times.size, turns),
        "build_triggers_through_the_engine_wall": times.size / wall,
    }


def full_tree(random: np.random.Generator, depth: int, features: int) -> Tree:
    inner = 2**depth - 1
    feature = np.concatenate((random.integers(0, features, inner), np.full(inner + 1, -1)))
    left = np.concatenate((2 * np.arange(inner) + 1, np.zeros(inner + 1, np.int64)))
    return Tree(feature, random.normal(size=feature.size), left, left + 1, random.random(feature.size))


def forests(rows: int, turns: int) -> dict[str, float]:
    random = np.random.default_rng(2)
    table = random.normal(size=(rows, 10)).astype(np.float32)
    out: dict[str, float] = {}
    if importlib.util.find_spec("sklearn"):
        from sklearn.ensemble import RandomForestClassifier

        known = random.normal(size=(20_000, 10))
        label = known[:, 0] + known[:, 1] * known[:, 2] + random.normal(size=20_000) > 0
        model = RandomForestClassifier(50, max_depth=13, criterion="entropy", random_state=1, n_jobs=1).fit(
            known, label
        )
        forest = from_scikit(model)
        deviation = float(np.abs(forest.predict(table) - model.predict_proba(table)[:, 1]).max())
        assert deviation <= 1e-6
        out["forest_50x13_deviation"] = deviation
        out["forest_50x13_scikit_learn"] = rate(lambda: model.predict_proba(table), rows, turns)
        out["forest_50x13_single_scikit_learn"] = rate(lambda: model.predict_proba(table[:1]), 1, turns)
    else:
        # Full trees: every walk is thirteen steps long.
        trees = [full_tree(random, 13, 10) for _ in range(50)]
        forest = forest_of(trees, [f"x{i}" for i in range(10)], scale=1 / 50)
    twin = forest.predict(table[:2000], compiled=False)
    assert np.array_equal(forest.predict(table[:2000]), twin)

    def one_by_one() -> None:
        for i in range(2000):
            forest.predict(table[i : i + 1])

    out["forest_50x13"] = rate(lambda: forest.predict(table), rows, turns)
    out["forest_50x13_single"] = rate(one_by_one, 2000, turns)
    out["forest_50x13_numpy"] = rate(lambda: forest.predict(table[:5000], compiled=False), 5000, turns)
    out["forest_nodes"] = float(forest.feature.size)
    return out


def stereos(events: int, turns: int) -> dict[str, float]:
    random = np.random.default_rng(3)
    sizes = random.integers(2, 10, events)
    n = int(sizes.sum())
    columns = [random.normal(0, 1, n), random.normal(0, 1, n), random.uniform(-90, 90, n)]
    columns += [random.uniform(0.1, 0.3, n), random.uniform(0.02, 0.1, n), random.uniform(60, 1000, n)]
    aim = [np.full(n, 70.0), np.full(n, 180.0)]
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    images = Images(offsets, *columns, random.normal(0, 300, (n, 3)), *aim, np.full(n, 2.2))

    def run(*, compiled: bool) -> Geometry:
        return reconstruct(images, array_alt=70.0, array_az=180.0, height=2000.0, compiled=compiled)

    one, two = run(compiled=have_compiler()), run(compiled=False)
    for name in Geometry.__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(two, name), equal_nan=True)
    return {
        "stereo_events": rate(lambda: run(compiled=have_compiler()), events, turns),
        "stereo_events_numpy": rate(lambda: run(compiled=False), events, turns),
        "stereo_images_each": n / events,
    }


def watching(hours: float) -> dict[str, float]:
    times, region = scramble(3000.0, hours=hours, n_off=5, seed=1)
    table = pa.table([pa.array(times).cast(EVENT_TIME), pa.array(region)], names=["time", "region"])
    position = OnOff(83.6, 22.0, radius=0.17)
    alerts = watch(ev.from_table(table).event_time("time", lateness="1s"), position)
    begin = time.perf_counter()
    ev.run(alerts.write("memory://bench-alerts"), alerts.side("curve").write("memory://bench-curve"))
    return {"watch_events_through_the_engine_wall": times.size / (time.perf_counter() - begin)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size: is it right, not how fast it is")
    quick = parser.parse_args().quick
    scale, turns = (0.1, 3) if quick else (1.0, 7)
    found: dict[str, float] = {}
    for part in (
        building(int(1_000_000 * scale), turns),
        forests(int(100_000 * scale), turns),
        stereos(int(100_000 * scale), turns),
        watching(30 * scale),
    ):
        for name, value in part.items():
            print(f"{name:45s} {value:16,.1f}" if value >= 1 else f"{name:45s} {value:16.2g}")
        found |= part
    ok = all(found[name] >= floor for name, floor in FLOORS.items())
    line = {
        "id": "gamma-events",
        "unit": "1/s",
        "ours": {name: round(value, 1) if value >= 1 else value for name, value in found.items()},
        "floors": FLOORS,
        "ok": ok,
        "n": turns,
        "machine": f"{platform.machine()} {platform.processor()}".strip(),
        "versions": {p: metadata.version(p) for p in ("numpy", "pyarrow", "polars")} | {"numba": have_compiler()},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
