"""What is packed into words comes out again; where bits are left out, bins are still exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventide.kernel.compiled import have_compiler
from eventide.kernel.histogram import packed as packed_module
from eventide.kernel.histogram.axes import edges, logarithmic, pixels, rows, uniform
from eventide.kernel.histogram.families import families_of
from eventide.kernel.histogram.histograms import Filler, Histograms
from eventide.kernel.histogram.packed import packed_of
from eventide.kernel.histogram.place import loops_of
from eventide.kernel.histogram.products import checked, product
from eventide.kernel.histogram.stage import stage_of
from eventide.kernel.histogram.values import calibrated, ratio, scaled

pytestmark = pytest.mark.skipif(not have_compiler(), reason="numba is not installed")

COUNT = 200


def products(seed, *, families, decades, banks=7):
    """Return products with tables of their own over 200 pixels from 5 on, or over some of them."""
    random = np.random.default_rng(seed)
    out = {}
    for k in range(families):
        constants = 10.0 ** random.uniform(-decades / 2, decades / 2, COUNT)
        constants[random.random(COUNT) < 0.1] = np.nan
        cut = 0 if random.random() < 0.5 else int(random.integers(1, 50))
        given = dict(zip(("first", "constants"), (5 + cut, constants[cut:]), strict=True))
        bounds = np.unique(10.0 ** random.uniform(-2, 2, 40))
        kind = random.integers(3)
        # Times of some millions: the next one is nearer to an edge than what is left out of constants.
        given["constants"] = given["constants"] * (1e-6 if kind == 1 else 1e6)
        if kind == 0:
            out[f"d{k}"] = edges(calibrated("p", "t", difc=given["constants"], first=given["first"]), bounds)
        else:
            make = scaled if kind == 1 else ratio
            out[f"s{k}"] = edges(make("p", "t", given["constants"], first=given["first"]), bounds)
    if banks:
        out["banks"] = product(rows("p", random.integers(-1, banks, COUNT + 20), first=2), uniform("t", 0, 900, 9))
        out["fine"] = logarithmic("t", 1, 1000, 50)
    out["image"] = pixels("p", 5, COUNT)
    return checked(out)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**30), families=st.integers(0, 4), decades=st.floats(0, 12), bits=st.integers(30, 64))
def test_words_have_what_tables_have(seed, families, decades, bits):
    made = products(seed, families=families, decades=decades)
    stage, found = stage_of(made, "t"), families_of(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_module, "_BITS", bits)
        packed = packed_of(stage, found)
    if packed is None:
        assert families == 0 or bits < 64
        return
    loops = loops_of("cells_loops")
    pixel = np.array([*range(-3, COUNT + 40), -(2**31), 2**31 - 1], np.int32)
    words = np.empty(pixel.size, np.uint64)
    loops.take_words(pixel, packed.first, packed.words, words)
    row = np.empty(pixel.size, np.int32)
    loops.unpack_rows(words, packed.rows.shift, packed.rows.mask, row)
    assert np.array_equal(row, looked_up(stage.first, stage.table, pixel))
    for family, field in zip(found, packed.constants, strict=False):
        out = np.empty(pixel.size, np.uint32)
        loops.unpack_constants(words, field.shift, field.mask, field.dropped, field.base, out)
        want, got = looked_up(family.first, family.constants, pixel), out.view(np.float32)
        assert np.array_equal(np.isnan(got), np.isnan(want))
        known = ~np.isnan(want)
        off = np.abs(out[known].astype(np.int64) - want[known].view(np.uint32))
        assert off.max(initial=0) <= 1 << field.dropped >> 1
        assert field.dropped <= packed_module._MOST_DROPPED


def looked_up(first, table, pixel):
    at = pixel.astype(np.int64) - first
    return table[np.where((at >= 0) & (at < table.size - 1), at, table.size - 1)]


@settings(max_examples=25)
@given(seed=st.integers(0, 2**30), families=st.integers(1, 4), decades=st.floats(0, 5), bits=st.integers(40, 64))
def test_bins_are_exact_whatever_bits_are_left_out(seed, families, decades, bits):
    """Times as near to edges as whole numbers come."""
    made = products(seed, families=families, decades=decades)
    random = np.random.default_rng(seed)
    pixel = random.integers(0, COUNT + 30, 6000).astype(np.int32)
    near = [t for each in made.values() for t in times_at_edges(each.axes[0], pixel, random)]
    time = np.clip(random.choice(np.concatenate([*near, np.arange(-3, 1000)]), 6000), -(2**31), 2**31 - 1)
    time[:3000] = near[random.integers(len(near))][:3000] if near else time[:3000]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_module, "_BITS", bits)
        one = Histograms(Filler(made))
    other = Histograms(Filler(made))
    one.add({"p": pixel, "t": time.astype(np.int32)})
    other.add({"p": pixel.astype(np.int64), "t": time.astype(np.int64)})
    for name in made:
        assert np.array_equal(one.counts(name), other.counts(name)), name
        assert one.ledger(name) == other.ledger(name), name


def times_at_edges(axis, pixel, random):
    """Return the times of some pixels that lie at an edge, or beside it."""
    source = getattr(axis, "value", None)
    constants = getattr(source, "constants", getattr(source, "difc", None))
    if constants is None:
        return []
    constant = constants[np.clip(pixel - source.first, 0, constants.size - 1)]
    edge = random.choice(axis.edges, pixel.size)
    with np.errstate(all="ignore"):
        at = edge / constant if hasattr(source, "constants") and type(source).__name__ == "Scaled" else edge * constant
        at = constant / edge if type(source).__name__ == "Ratio" else at
    return [np.clip(np.nan_to_num(at), -(2**31), 2**31 - 2).astype(np.int64) + random.integers(0, 2, pixel.size)]


def test_one_table_is_not_packed():
    made = products(1, families=1, decades=1, banks=0)
    assert packed_of(stage_of(made, "t"), families_of(made)) is None
    assert packed_of(None, []) is None


def test_families_that_have_no_room_have_tables_of_their_own():
    made = products(3, families=9, decades=8)
    packed = packed_of(stage_of(made, "t"), families_of(made))
    assert 0 < len(packed.constants) < len(families_of(made))
