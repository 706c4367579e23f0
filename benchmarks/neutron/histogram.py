"""Histograms beside other programs: one core, the same arrays, equal counts before anything is timed.

    python benchmarks/neutron/histogram.py [--events 10000000] [--repeat 3] [--only 1d] [--core 1]

It needs numpy, numba and pyarrow for our side; fast-histogram, boost-histogram and scipp are timed where they are
installed. Times are processor times of this process (other load on the machine meets them through the caches and the
memory only), the best of the repeats, all programs in turn. The last line is one JSON object.

`per message` peers are what just-bin-it does for a message: one call of `fast_histogram.histogram1d` or
`numpy.histogram2d`, and the sum with what was there before. The plain loops are what one would write with numba in ten
minutes: no exact edges, no ledger, no overflow.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np

from eventide.kernel.histogram.axes import edges, logarithmic, pixels, rows, uniform
from eventide.kernel.histogram.histograms import Filler, Histograms
from eventide.kernel.histogram.products import checked, product
from eventide.kernel.histogram.regions import polygon, regions
from eventide.kernel.histogram.values import calibrated, ratio, scaled

SPAN = 100_000_000

STEADY = False  # while times are taken, counts go on from what was there: nothing is set to zero


def library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


fast, boost, sc = library("fast_histogram"), library("boost_histogram"), library("scipp")


@dataclass
class Case:
    """One comparison: functions that take events in messages and return flat counts."""

    name: str
    events: int
    ours: Callable[[], np.ndarray]
    peers: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    share: dict[str, float] = field(default_factory=dict)  # part of the events that a slow peer is given


# -- plain loops


@numba.njit(nogil=True)
def read_loop(a, b):
    total = np.int64(0)
    for i in range(a.size):
        total += a[i] ^ b[i]
    return total


@numba.njit(nogil=True)
def uniform_loop(x, low, scale, counts):
    for i in range(x.size):
        k = int((x[i] - low) * scale)
        if 0 <= k < counts.size:
            counts[k] += 1


@numba.njit(nogil=True)
def search_loop(x, bounds, counts):
    for i in range(x.size):
        v = x[i]
        if bounds[0] <= v < bounds[-1]:
            low, high = 0, bounds.size - 1
            while high - low > 1:
                middle = (low + high) >> 1
                if v >= bounds[middle]:
                    low = middle
                else:
                    high = middle
            counts[low] += 1


@numba.njit(nogil=True)
def image_loop(pixel, counts):
    for i in range(pixel.size):
        p = pixel[i]
        if 0 <= p < counts.size:
            counts[p] += 1


@numba.njit(nogil=True)
def both_loop(pixel, x, low, scale, bins, counts):
    for i in range(pixel.size):
        k = int((x[i] - low) * scale)
        if 0 <= k < bins:
            counts[pixel[i] * bins + k] += 1


@numba.njit(nogil=True)
def radix_loop(pixel, x, low, scale, bins, counts, place, sorted_, starts, shift):
    """Two passes: sort the bins of a message by part of the counters, then count part by part."""
    starts[:] = 0
    for i in range(pixel.size):
        k = np.int32(pixel[i] * bins + int((x[i] - low) * scale))
        place[i] = k
        starts[(k >> shift) + 1] += 1
    for p in range(1, starts.size):
        starts[p] += starts[p - 1]
    for i in range(pixel.size):
        k = place[i]
        p = k >> shift
        sorted_[starts[p]] = k
        starts[p] += 1
    for i in range(pixel.size):
        counts[sorted_[i]] += 1


# -- cases


def messages(size: int, *arrays: np.ndarray):
    for begin in range(0, arrays[0].size, size):
        yield tuple(a[begin : begin + size] for a in arrays)


class Ours:
    """Filled again and again; memory is kept, as in a run that goes on."""

    def __init__(self, products: dict[str, Any], size: int, **columns: np.ndarray) -> None:
        self.histograms = Histograms(Filler(checked(products)))
        self.names, self.size, self.columns = list(products), size, columns

    def __call__(self) -> np.ndarray:
        if not STEADY:
            self.histograms.reset()
        for begin in range(0, len(next(iter(self.columns.values()))), self.size):
            self.histograms.add({n: c[begin : begin + self.size] for n, c in self.columns.items()})
        return self.histograms


def flat(ours: Ours) -> np.ndarray:
    return np.concatenate([ours().counts(n).reshape(-1) for n in ours.names])


def one_axis(n: int, tof: np.ndarray, random: np.random.Generator) -> list[Case]:
    cases = []
    for size in (1_000, 10_000, 714_000):
        axis = uniform("tof", 0, SPAN, 100)
        case = Case(f"1-D, 100 uniform bins, {size:,} a message", n, Ours({"p": axis}, size, tof=tof))
        case.peers["numba plain"] = lambda size=size: accumulate(
            tof, size, 100, lambda x, c: uniform_loop(x, 0.0, 100 / SPAN, c)
        )
        case.peers["numpy.histogram"] = lambda size=size: calls(tof, size, lambda x: np.histogram(x, 100, (0, SPAN))[0])
        if fast:
            case.peers["fast-histogram (per message)"] = lambda size=size: calls(
                tof, size, lambda x: fast.histogram1d(x, 100, (0, SPAN))
            )
        if boost:
            case.peers["boost-histogram"] = lambda size=size: boosted(size, [tof], [boost.axis.Regular(100, 0, SPAN)])
        cases.append(case)
    for name, bounds in (
        ("100 arbitrary edges", np.unique(np.concatenate([[0, SPAN], np.sort(random.random(99)) * SPAN]))),
        ("1000 arbitrary edges", np.unique(np.concatenate([[0, SPAN], np.sort(random.random(999)) * SPAN]))),
        ("1000 logarithmic edges", np.geomspace(1e3, SPAN, 1001)),
        ("1000 uniform bins", np.linspace(0, SPAN, 1001)),
    ):
        axis = logarithmic("tof", 1e3, SPAN, 1000) if "log" in name else edges("tof", bounds)
        case = Case(f"1-D, {name}", n, Ours({"p": axis}, 714_000, tof=tof))
        bounds = axis.edges
        case.peers["numba binary search"] = lambda bounds=bounds: accumulate(
            tof, 714_000, bounds.size - 1, lambda x, c: search_loop(x, bounds, c)
        )
        case.peers["numpy.histogram"] = lambda bounds=bounds: calls(tof, 714_000, lambda x: np.histogram(x, bounds)[0])
        if boost:
            case.peers["boost-histogram"] = lambda bounds=bounds: boosted(714_000, [tof], [boost.axis.Variable(bounds)])
        cases.append(case)
    return cases


def images(n: int, random: np.random.Generator) -> list[Case]:
    cases = []
    for count in (100_000, 1_000_000):
        pixel = random.integers(0, count, n).astype(np.int32)
        case = Case(f"image of {count:,} pixels", n, Ours({"p": pixels("pixel", 0, count)}, 714_000, pixel=pixel))
        case.peers["numba plain"] = lambda pixel=pixel, count=count: accumulate(pixel, 714_000, count, image_loop)
        case.peers["numpy.bincount"] = lambda pixel=pixel, count=count: calls(
            pixel, 714_000, lambda x: np.bincount(x, minlength=count)
        )
        if fast:
            case.peers["fast-histogram (per message)"] = lambda pixel=pixel, count=count: calls(
                pixel, 714_000, lambda x: fast.histogram1d(x, count, (0, count))
            )
        if sc:
            case.peers["scipp group"] = lambda pixel=pixel, count=count: scipp_image(pixel, count)
        cases.append(case)
    return cases


def pixel_by_time(n: int, tof: np.ndarray, random: np.random.Generator) -> list[Case]:
    cases = []
    for count, size in ((100_000, 10_000), (100_000, 714_000), (1_000_000, 10_000), (1_000_000, 714_000)):
        pixel = random.integers(0, count, n).astype(np.int32)
        axes = product(pixels("pixel", 0, count), uniform("tof", 0, SPAN, 100))
        name = f"pixel x 100 time bins, {count * 100:.0e} bins, {size:,} a message"
        case = Case(name, n, Ours({"p": axes}, size, pixel=pixel, tof=tof))
        case.peers["numba plain"] = lambda pixel=pixel, count=count, size=size: loop2d(pixel, tof, count, size)
        case.peers["numba two-pass radix"] = lambda pixel=pixel, count=count, size=size: radix2d(
            pixel, tof, count, size
        )
        if count <= 100_000:
            case.peers["numpy.histogram2d (per message)"] = lambda pixel=pixel, count=count, size=size: calls2d(
                pixel, tof, count, size
            )
            case.share["numpy.histogram2d (per message)"] = 0.01 if size < 100_000 else 0.15
            if fast:
                case.peers["fast-histogram 2-D"] = lambda pixel=pixel, count=count: fast.histogram2d(
                    pixel, tof, (count, 100), ((0, count), (0, SPAN))
                )
        if boost:
            case.peers["boost-histogram"] = lambda pixel=pixel, count=count, size=size: boosted(
                size, [pixel, tof], [boost.axis.Integer(0, count), boost.axis.Regular(100, 0, SPAN)]
            )
        if sc and size > 100_000:
            case.peers["scipp group+hist"] = lambda pixel=pixel, count=count: scipp_both(pixel, tof, count)
            case.share["scipp group+hist"] = 714_000 / n
        cases.append(case)
    return cases


def models(n: int, random: np.random.Generator) -> list[dict[str, Any]]:
    """Two instruments as ESS plans them, on one core: how many times what they are to send (R_live) is counted."""
    out = []
    for name, wanted, count, bins in (("LOKI", 1e7, 1_500_000, 200), ("DREAM", 7.5e7, 12_000_000, 0)):
        pixel, tof = random.integers(0, count, n).astype(np.int32), random.integers(0, SPAN, n).astype(np.int32)
        flight = uniform("tof", 0, SPAN, bins or 1000)
        difc = 1e6 * (1 + random.random(count))
        if bins:
            made = {"volume": product(pixels("pixel", 0, count), flight)}
        else:
            d = uniform(calibrated("pixel", "tof", difc=difc), 0, 100, 2000)
            made = {"image": pixels("pixel", 0, count), "tof": flight, "d": d}
        ours = Ours(made, 714_000, pixel=pixel, tof=tof)
        filled = ours()
        found = {each: filled.sparse(each) for each in made}
        cell = (tof * (flight.bins / SPAN)).astype(np.int64)  # exact here: the bins are whole numbers wide
        place = {"volume": pixel.astype(np.int64) * 200 + cell, "image": pixel, "tof": cell}
        if "d" in made:
            place["d"] = np.searchsorted(made["d"].edges, tof / difc[pixel], side="right") - 1
        for each in made:
            inside = place[each][(place[each] >= 0) & (place[each] < filled._filler.products[each].bins)]
            where, counts = np.unique(inside, return_counts=True)
            assert np.array_equal(where, found[each][0]), each
            assert np.array_equal(counts, found[each][1]), each
        times = []
        for _ in range(4):
            begin = time.process_time()
            for at in range(0, n, 714_000):
                filled.add({"pixel": pixel[at : at + 714_000], "tof": tof[at : at + 714_000]})
            filled.ledger(next(iter(made)))  # what waits is counted too
            times.append(time.process_time() - begin)
        rate = n / min(times[1:])
        what = (
            f"{name} model: {count:,} pixels x {bins} bins" if bins else f"{name} model: {count:,} pixels, 3 products"
        )
        out.append({"name": what, "ours_mev_s": round(rate / 1e6, 1), "r_live": round(rate / wanted, 2)})
        print(f"{what}: {rate / 1e6:.1f} Mev/s, R_live {rate / wanted:.2f}")
        del ours, filled, found
    return out


def ten(count: int, *, tof: str = "tof", pixel: str = "pixel") -> dict[str, Any]:
    """Return ten products over the pixels of an instrument: spectra, an image, regions, banks, converted axes."""
    x, y = (np.arange(count) % 400).astype(float), (np.arange(count) // 400).astype(float)
    masks = []
    for k in range(8):
        cx, cy = 30 + 45 * k, 60 + 20 * k
        masks.append(polygon(x, y, corners=[(cx - 20, cy), (cx, cy + 25), (cx + 20, cy + 5), (cx, cy - 22)]))
    length, theta = 20 + 0.001 * x, 0.1 + 0.001 * y
    t = uniform(tof, 0, SPAN, 100)
    q = ratio(pixel, tof, 4 * np.pi * np.sin(theta / 2) * length * 252.77841e3)
    d = calibrated(pixel, tof, difc=252.77841e3 * length * 2 * np.sin(theta / 2), difa=np.zeros(count))
    return {
        "tof": t,
        "image": pixels(pixel, 0, count),
        "fine": uniform(tof, 0, SPAN, 1000),
        "log": logarithmic(tof, 1e4, SPAN, 300),
        "polygons": product(rows(pixel, regions(masks)), t),
        "monitor": product(rows(pixel, np.where(np.arange(count) < 1000, 0, -1)), t),
        "banks": product(rows(pixel, np.arange(count) // 12_000), t),
        "wavelength": uniform(scaled(pixel, tof, 3.956034e-6 / length), 0, 25, 200),
        "q": uniform(q, 0, 100, 200),
        "d": uniform(d, 0, 500, 500),
    }


SIX = ("tof", "image", "monitor", "polygons", "q", "d")
"""Of the ten, those of a small-angle instrument that also looks at powder rings: what goal G6 lists."""


def ten_products(n: int, tof: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    """Ten products in one pass, and each of them alone."""
    count = 120_000
    pixel = random.integers(0, count, n).astype(np.int32)
    made = ten(count)
    columns = {"tof": tof, "pixel": pixel}
    together = Ours(made, 714_000, **columns)
    alone = {name: Ours({name: each}, 714_000, **columns) for name, each in made.items()}
    for name, each in alone.items():
        assert np.array_equal(each().counts(name), together().counts(name)), name
    six = Ours({name: made[name] for name in SIX}, 714_000, **columns)
    best = {name: timed(each, 3) for name, each in {**alone, "all": together, "six": six}.items()}
    whole, part = best.pop("all"), best.pop("six")
    return {
        "name": "ten products in one pass",
        "mev_s": round(n / whole / 1e6, 1),
        "alone_mev_s": {name: round(n / t / 1e6, 1) for name, t in best.items()},
        "times_the_1d": round(whole / best["tof"], 2),
        "six_share_of_the_1d": round(best["tof"] / part, 3),
        "times_the_mean": round(whole / np.mean(list(best.values())), 2),
        "times_the_dearest": round(whole / max(best.values()), 2),
    }


# -- how the peers are called


def accumulate(x, size, bins, loop):
    counts = np.zeros(bins, np.int32)
    for (part,) in messages(size, x):
        loop(part, counts)
    return counts


def calls(x, size, function):
    total = None
    for (part,) in messages(size, x):
        found = function(part)
        total = found if total is None else total + found
    return total


def boosted(size, columns, axes):
    made = boost.Histogram(*axes, storage=boost.storage.Int64())
    for parts in messages(size, *columns):
        made.fill(*parts)
    return made.values().reshape(-1)


KEPT: dict[Any, np.ndarray] = {}


def kept(count):
    """Memory that is touched already, as ours is; while times are taken counts are added to what is there."""
    if count not in KEPT:
        KEPT.clear()
        KEPT[count] = np.zeros(count * 100, np.int32)
    if not STEADY:
        KEPT[count][:] = 0
    return KEPT[count]


def loop2d(pixel, tof, count, size):
    counts = kept(count)
    for p, t in messages(size, pixel, tof):
        both_loop(p, t, 0.0, 100 / SPAN, 100, counts)
    return counts


def radix2d(pixel, tof, count, size):
    counts = kept(count)
    place, sorted_ = np.empty(size, np.int32), np.empty(size, np.int32)
    starts = np.zeros((count * 100 >> 20) + 2, np.int64)
    for p, t in messages(size, pixel, tof):
        radix_loop(p, t, 0.0, 100 / SPAN, 100, counts, place, sorted_, starts, 20)
    return counts


def calls2d(pixel, tof, count, size):
    total = np.zeros((count, 100))
    for p, t in messages(size, pixel, tof):
        total += np.histogram2d(p, t, (count, 100), ((0, count), (0, SPAN)))[0]
    return total.reshape(-1)


def scipp_image(pixel, count):
    table = sc.DataArray(sc.ones(sizes={"event": pixel.size}), coords={"pixel": sc.array(dims=["event"], values=pixel)})
    found = table.group(sc.arange("pixel", count, dtype="int32")).bins.size()
    return found.values


def scipp_both(pixel, tof, count):
    coords = {"pixel": sc.array(dims=["event"], values=pixel), "tof": sc.array(dims=["event"], values=tof)}
    table = sc.DataArray(sc.ones(sizes={"event": pixel.size}), coords=coords)
    grouped = table.group(sc.arange("pixel", count, dtype="int32"))
    return grouped.hist(tof=sc.linspace("tof", 0, SPAN, 101).to(dtype="int32")).values.reshape(-1)


# -- measuring


def timed(function: Callable[[], Any], repeat: int) -> float:
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def measure(case: Case, repeat: int) -> dict[str, Any]:
    global STEADY
    arrays = case.ours.columns
    differ: dict[str, int] = {}
    best = dict.fromkeys(["ours", *case.peers], float("inf"))
    reference = flat(case.ours)
    for name, peer in case.peers.items():
        share = case.share.get(name, 1.0)
        if share == 1.0:
            differ[name] = int(np.count_nonzero(np.asarray(peer()).reshape(-1) != reference))
    STEADY = True
    for _ in range(repeat):
        best["ours"] = min(best["ours"], timed(case.ours, 1))
        for name, peer in case.peers.items():
            if name not in case.share:
                best[name] = min(best[name], timed(peer, 1))
    rate = {name: case.events / seconds / 1e6 for name, seconds in best.items() if seconds < float("inf")}
    STEADY = False
    for name, share in case.share.items():
        few = int(case.events * share)
        some = {n: c[:few] for n, c in arrays.items()}
        again = Ours({"p": case.ours.histograms._filler.products["p"]}, case.ours.size, **some)
        some_events = PARTS[name](some, case)
        differ[name] = int(np.count_nonzero(np.asarray(some_events()).reshape(-1) != flat(again)))
        rate[name] = few / timed(some_events, 1) / 1e6
        del again
    return {
        "name": case.name,
        "ours_mev_s": round(rate.pop("ours"), 1),
        "peers_mev_s": {n: round(r, 2) for n, r in rate.items()},
        "ratios": {n: round(case.events / best["ours"] / 1e6 / r, 2) for n, r in rate.items()},
        "different_counts": differ,
    }


PARTS = {
    "numpy.histogram2d (per message)": lambda some, case: (
        lambda: calls2d(some["pixel"], some["tof"], 100_000, case.ours.size)
    ),
    "scipp group+hist": lambda some, case: (
        lambda: scipp_both(some["pixel"], some["tof"], case.ours.histograms._filler.products["p"].axes[0].bins)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    parser.add_argument("--without", default="nobody", help="no peers whose name has this in it")
    parser.add_argument("--core", type=int, default=-1)
    options = parser.parse_args()
    if options.core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    random = np.random.default_rng(1)
    n = options.events
    tof = random.integers(0, SPAN, n).astype(np.int32)
    read_loop(tof[:8], tof[:8])
    other = tof.copy()
    bound = n / timed(lambda: read_loop(tof, other), 5) / 1e6
    groups = {
        "1d": lambda: one_axis(n, tof, random),
        "image": lambda: images(n, random),
        "2d": lambda: pixel_by_time(n, tof, random),
    }
    out: list[dict[str, Any]] = []
    for name, group in groups.items():
        if options.only in ("", name) or options.case:
            for case in group():
                if options.case not in case.name:
                    continue
                case.peers = {n: p for n, p in case.peers.items() if options.without not in n}
                case.share = {n: p for n, p in case.share.items() if n in case.peers}
                out.append(measure(case, options.repeat))
                show(out[-1])
                KEPT.clear()
                del case
    if options.only in ("", "models") and not options.case:
        out += models(max(n, 20_000_000), random)
    if options.only in ("", "ten") and not options.case:
        out.append(ten_products(min(n, 4_000_000), tof[: min(n, 4_000_000)], random))
        print(json.dumps(out[-1], indent=1))
    ok = all(not differ for case in out for differ in case.get("different_counts", {}).values())
    versions = {"python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__}
    versions |= {n: m.__version__ for n, m in (("boost-histogram", boost), ("scipp", sc)) if m}
    machine = {"processor": platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()}
    document = {"id": "neutron-histogram", "unit": "million events/s", "events": n, "read_bound": round(bound, 1)}
    print(json.dumps({**document, "cases": out, "ok": ok, "machine": machine, "versions": versions}))


def show(found: dict[str, Any]) -> None:
    print(f"{found['name']}: {found['ours_mev_s']} Mev/s")
    for name, rate in found["peers_mev_s"].items():
        differ = found["different_counts"].get(name, 0)
        print(
            f"    {name:34} {rate:9.2f}   ours x {found['ratios'][name]:<8}" + (f" {differ} differ" if differ else "")
        )


if __name__ == "__main__":
    main()
