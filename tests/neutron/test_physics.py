"""Physics through the whole pipeline: the lifetime of the muon, from published histograms."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import eventide as ev
from eventide.apps.neutron.instruments import MUONS
from eventide.apps.neutron.pipeline import reduce
from eventide.apps.neutron.simulate import MUON_LIFETIME, simulate
from eventide.connectors.memory import MemorySource


def lifetime(counts, width):
    """Return the lifetime for which binned counts of a window are most likely, and its standard error (ns)."""
    edges = np.arange(counts.size + 1) * width

    def minus(tau):
        chance = -np.diff(np.exp(-edges / tau)) / (1 - np.exp(-edges[-1] / tau))
        return -float((counts * np.log(chance)).sum())

    low, high = 1000.0, 4000.0
    for _ in range(80):  # golden section: the likelihood has one maximum
        a, b = high - (high - low) * 0.618034, low + (high - low) * 0.618034
        low, high = (low, b) if minus(a) < minus(b) else (a, high)
    best, step = (low + high) / 2, 5.0
    curvature = (minus(best + step) - 2 * minus(best) + minus(best - step)) / step**2
    return best, curvature**-0.5


def test_muons_live_2197_ns():
    frames = simulate("muons", seconds=10, rate=1e5, seed=11)
    rng = random.Random(3)
    order = sorted(range(frames.num_rows), key=lambda at: at // 2 * 25_000_000 + rng.random() * 9e8)
    source = MemorySource(frames.take(pa.array(order)).combine_chunks().to_batches(max_chunksize=50))
    live = reduce(ev.read(source), MUONS, bins=320, time_bins=64, volume_every="10s", lateness="1s")
    found = ev.fetch(live.histograms)
    spectra = found.filter(pc.equal(found["product"], "time_of_flight"))
    last = spectra.slice(spectra.num_rows - 1)
    counts = np.array(last["counts"].to_pylist()[0])
    assert last["events"].to_pylist() == [sum(len(f) for f in frames["time_of_flight"].to_pylist())]
    best, error = lifetime(counts, 100.0)
    assert 1.5 < error < 4.0
    assert abs(best - MUON_LIFETIME) < 3 * error
    volume = ev.fetch(live.volumes)
    full = np.zeros(64 * 64, np.int64)
    full[np.array(volume["bins"].to_pylist()[-1])] = volume["counts"].to_pylist()[-1]
    off = [abs(best - MUON_LIFETIME) / error for best, error in (lifetime(one, 500.0) for one in full.reshape(64, 64))]
    assert max(off) < 4.5 and np.mean(np.array(off) < 1) > 0.5  # each detector by itself
