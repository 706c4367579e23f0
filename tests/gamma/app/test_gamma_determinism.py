"""The whole pipeline over the log is the same to the last bit however images lie there and however it runs.

Images are dealt out to partitions, arrive in any order within the lateness, in batches of any size, and one lane or two
analyse them. Every topic then holds the same rows. Topics of one position (`ORDERED`) hold them in the same order, too;
in the others the rows of many telescopes or events leave together, and their order is not promised.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.gamma.pipeline import Results, pipeline
from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.apps.gamma.simulate import Flare, Night
from eventide.apps.gamma.site import made
from eventide.log import Log
from eventide.testing.same_results import table_hash

SECONDS = 10
LATENESS = 10**9
ORDERED = ("significance", "light_curve", "sky", "alerts")
HOW = {"array": "made-5", "threshold": "3", "period": "1m", "every": "2s", "lateness": "1s", "timing": "true"}


def write(folder: Path, images: pa.Table, *, partitions: int = 1, seed: int | None = None) -> None:
    """Write images into a topic; with a seed dealt out, late by less than the lateness, in batches of any size."""
    random = np.random.default_rng(seed)
    place = np.zeros(images.num_rows, np.int64)
    if seed is not None:
        arrival = images["time"].cast(pa.int64()).to_numpy() + random.integers(0, LATENESS, images.num_rows)
        images = images.take(pa.array(np.argsort(arrival, kind="stable")))
        place = random.integers(0, partitions, images.num_rows)
    with Log(folder) as log:
        log.create_topic("images", DL1_IMAGE, partitions=partitions, event_time="time")
        for number in range(partitions):
            mine = images.filter(pa.array(place == number)).combine_chunks()
            begin = 0
            while begin < mine.num_rows:
                some = mine.slice(begin, mine.num_rows if seed is None else int(random.integers(1, 200)))
                log.append("images", some.to_batches()[0], partition=number)
                begin += some.num_rows


def ran(images: pa.Table, *, partitions: int = 1, seed: int | None = None, **options) -> dict[str, pa.Table]:
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder, images, partitions=partitions, seed=seed)
        result = ev.run(pipeline(log=str(folder), **HOW), **options)
        assert result.rows_in == images.num_rows
        return {n: ev.fetch(ev.read(f"log://{n}", log=str(folder), follow=False)) for n in Results._fields}
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def images():
    """Return a flare, of which a telescope misses the beginning, and some images come twice."""
    night = Night(made(5), seed=7, hadrons=12.0, singles=2.0, flares=[Flare(2.0, 8.0, 600.0)], joins={2: 3.0})
    table = night.table(SECONDS)
    return pa.concat_tables([table.slice(0, 105), table.slice(100, 5), table.slice(105)])


@pytest.fixture(scope="module")
def plain(images):
    """Return what comes of images in the order of arrival, from one partition, by one lane."""
    return ran(images, lanes=1)


def check(found: dict[str, pa.Table], plain: dict[str, pa.Table]) -> None:
    for name, table in plain.items():
        assert table_hash(found[name]) == table_hash(table), name
    for name in ORDERED:
        assert found[name].equals(plain[name]), name


def test_the_night_has_something_for_every_topic(images, plain):
    assert {n for n, t in plain.items() if not t.num_rows} == {"late", "unwatched"}
    ends = ("parameters", "orphans", "duplicates", "late", "excluded")
    assert sum(plain[n].num_rows for n in ends) == images.num_rows
    for name in ("timing_slope", "peak_time_mean"):
        assert np.isfinite(plain["parameters"][name].to_numpy()).sum() > 100, name


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("partitions", [1, 2, 8])
def test_partitions_and_lanes(images, plain, partitions, lanes):
    check(ran(images, partitions=partitions, seed=partitions, lanes=lanes), plain)


@settings(max_examples=8)
@given(st.sampled_from([1, 2, 3, 8]), st.integers(1, 2), st.integers(5, 3000), st.integers(0, 2**32 - 1))
def test_any_order_and_any_batches(images, plain, partitions, lanes, rows, seed):
    check(ran(images, partitions=partitions, seed=seed, lanes=lanes, batch_rows=rows), plain)
