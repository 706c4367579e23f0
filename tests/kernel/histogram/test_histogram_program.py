"""Programs, stages and rooms: counts and ledgers are those of the general way, bin by bin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventide.kernel.compiled import have_compiler
from eventide.kernel.histogram import counters, histograms, rooms
from eventide.kernel.histogram.axes import edges, integers, logarithmic, pixels, uniform
from eventide.kernel.histogram.axes import rows as rows_axis
from eventide.kernel.histogram.histograms import Filler, Histograms
from eventide.kernel.histogram.products import checked, product
from eventide.kernel.histogram.values import calibrated, ratio, scaled

pytestmark = pytest.mark.skipif(not have_compiler(), reason="numba is not installed")

FEW = 40
ODD = np.array([1.5, np.nan, -2.0, 0.0, 1e-3, np.inf])


def products(seed):
    """Return products of all kinds, over 40 pixels from 3 on."""
    random = np.random.default_rng(seed)
    one = np.where(random.random(FEW) < 0.3, random.choice(ODD, FEW), random.random(FEW) * 4)
    flat = np.where(random.random(FEW) < 0.1, np.nan, 1 + random.random(FEW))
    t, uneven = uniform("t", -20, 100, 7), edges("t", np.unique(random.integers(-50, 150, 30)).astype(float))
    banks = rows_axis("p", random.integers(-1, 4, FEW), bins=5, first=3)
    region = rows_axis("p", random.integers(-2, 2, FEW - 7), bins=2, first=8)
    image = pixels("p", 3, FEW)
    out = {
        "t": t, "uneven": uneven, "log": logarithmic("t", 1, 120, 9), "close": edges("t", [0, 1e-9, 2e-9, 3e-9, 1, 90]),
        "image": image, "both": product(image, t), "other": product(t, image), "banks": product(banks, t),
        "regions": product(uneven, region), "three": product(banks, region, t), "banks_only": banks,
        "period": integers("p", 5, 4),
        "wavelength": uniform(scaled("p", "t", one, first=3), 0, 100, 30),
        "q": logarithmic(ratio("p", "t", one, first=3), 1e-3, 10, 12),
        "e": uniform(ratio("p", "t", one, first=3, squared=True), 0, 1, 12),
        "d": uniform(calibrated("p", "t", difc=flat, first=3), 0, 90, 11),
        "q_of_d": edges(ratio("p", "t", 2 * np.pi * flat, first=3), [-1, 0, 0.05, 0.1, 0.1 + 1e-9, 3, 50]),
        "e_of_d": logarithmic(ratio("p", "t", flat, first=3, squared=True), 1e-4, 1, 20),
        "w_of_d": uniform(scaled("p", "t", 0.25 / flat, first=3), -5, 30, 70),
        "d_full": uniform(calibrated("p", "t", difc=flat, difa=one, tzero=np.ones(FEW), first=3), -9, 90, 11),
        "over": edges(calibrated("p", "t", difc=flat, difa=one, first=3, inverse=True), [-1, 0, 0.01, 0.1, 3]),
        "over_plain": uniform(calibrated("p", "t", difc=flat, first=3, inverse=True), 0, 1, 9),
    }  # fmt: skip
    chosen = random.permutation(list(out))[: random.integers(1, len(out) + 1)]
    return {n: out[n] for n in chosen}


def columns(seed, size, dtype):
    random = np.random.default_rng(seed + 1)
    ends = np.array([-(2**31), 2**31 - 1, 0, 1], np.int64)
    p, t = random.integers(-2, FEW + 9, size), random.integers(-70, 170, size)
    p, t = (np.where(random.random(size) < 0.05, random.choice(ends, size), v) for v in (p, t))
    return {"p": p.astype(dtype), "t": t.astype(dtype)}


def told(made):
    names = made._filler.products
    return {n: (made.counts(n).tolist(), made.ledger(n)) for n in names}


@pytest.mark.parametrize("in_rooms", [False, True])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**30), sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=3))
def test_counts_are_those_of_the_general_way(in_rooms, seed, sizes):
    """Numbers of 32 bits go through a program, the same numbers of 64 bits do not."""
    with pytest.MonkeyPatch.context() as patch:
        if in_rooms:
            patch.setattr(rooms, "_LARGE", -(2**60))
            patch.setattr(rooms, "_ROOM_TABLES", 64)
            patch.setattr(rooms, "_MOST_BYTES", 1 << 16)
            patch.setattr(histograms, "MANY", 1)
        made = checked(products(seed))
        one, other = Histograms(Filler(made)), Histograms(Filler(made))
        assert one._filler.program is not None
        for k, size in enumerate(sizes):
            one.add(columns(seed + k, size, np.int32))
            other.add(columns(seed + k, size, np.int64))
            if k == 1:
                again = Histograms(Filler(made))
                again.restore(dict(one.snapshot(0)), one.events)
                one = again
        assert told(one) == told(other)
        for name in made:
            assert all(np.array_equal(a, b) for a, b in zip(one.sparse(name), other.sparse(name), strict=True))
        one.reset()
        assert not any(np.any(one.counts(n)) for n in made)
        one.add(columns(seed, sizes[0], np.int32))
        other.reset()
        other.add(columns(seed, sizes[0], np.int64))
        assert told(one) == told(other)


def test_a_stage_is_shared_out_before_its_counters_overflow(monkeypatch):
    monkeypatch.setattr(counters, "_FULL", 3000)
    made = checked({"a": uniform("t", 0, 100, 5), "b": uniform("t", 0, 100, 7)})
    one = Histograms(Filler(made))
    assert one._filler.program._shared
    for _ in range(10):
        one.add({"t": np.full(2500, 50, np.int32)})
    assert one._memory[0].max() <= 3000
    assert (one.counts("a")[2], one.counts("b")[3]) == (25_000, 25_000)


def test_pixels_beyond_all_tables_have_a_room():
    near = rooms.nearness_of([product(pixels("p", 5, 2_000_000), uniform("t", 0, 9, 9)) for _ in range(3)])
    seen = []
    made = rooms.Rooms(near, lambda chunk: seen.append({n: v.copy() for n, v in chunk.items()}))
    pixel = np.array([-(2**31), 0, 4, 5, 2_000_004, 2_000_005, 2**31 - 1], np.int32)
    made.add(pixel, np.arange(7, dtype=np.int32))
    assert not seen
    made.settle()
    found = {p: t for chunk in seen for p, t in zip(chunk["p"].tolist(), chunk["t"].tolist(), strict=True)}
    assert found == dict(zip(pixel.tolist(), range(7), strict=True))


@pytest.mark.parametrize("count", [2_500, 300_000])
def test_images_of_one_block_and_of_several(count):
    random = np.random.default_rng(count)
    pixel = random.integers(-50, count + 50, 20_000).astype(np.int32)
    pixel[:4] = [-(2**31), 2**31 - 1, 7, count + 6]
    one = Histograms(Filler(checked({"image": pixels("p", 7, count)})))
    for part in np.split(pixel, [1_000, 2_000, 9_000]):
        one.add({"p": part})
    again = Histograms(one._filler)
    again.restore(dict(one.snapshot(0)), one.events)
    known = pixel[(pixel >= 7) & (pixel < count + 7)] - 7
    for made in (one, again):
        assert np.array_equal(made.counts("image"), np.bincount(known, minlength=count))
        assert made.ledger("image")["unknown"] == pixel.size - known.size
