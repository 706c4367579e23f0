"""SIGKILL at random points of a run from log to log: every topic, alerts and DL3 files are those of an undisturbed run.

8 kills; as many as EVENTIDE_GAMMA_KILLS says.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.gamma.dl3.export import export_runs, runs_of
from eventide.apps.gamma.simulate import Flare, Night
from eventide.apps.gamma.site import made
from eventide.testing.same_results import table_hash
from nursery import nursery

KILLS = int(os.environ.get("EVENTIDE_GAMMA_KILLS", "8"))
SECONDS = 30
ENDS = ("parameters", "orphans", "duplicates", "late", "excluded")
TOPICS = (*ENDS, "events", "gammas", "significance", "light_curve", "sky", "alerts", "monitors")

PROGRAM = """
from eventide import registry
import eventide as ev
from eventide.apps.gamma.operators import parameters
from eventide.apps.gamma.pipeline import pipeline
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.site import made
engine = registry.resolve("engine", "local")
for kind, name in (("connector", "log"), ("operator", "asof_join")):
    registry.resolve(kind, name)
ev.fetch(parameters(ev.from_table(Night(made(5), seed=1).table(1)), made(5)))  # compiled kernels are loaded once

def child(folder):
    how = {"pointing": "log://pointings", "threshold": "4", "period": "1m", "every": "5s"}
    job = pipeline(array="made-5", log=folder + "/log", **how)
    how = {"checkpoint": folder + "/state", "checkpoint_interval": "20ms", "batch_rows": 40, "quarantine": folder + "/log"}
    engine.run(job, **how)
"""


@pytest.fixture
def run():
    """Run a child in a folder; return how it ended and after how many seconds."""
    with nursery(PROGRAM) as made:
        yield made


def written(folder: Path, seed: int) -> Path:
    """Write the topics of images and pointings: images out of order, some twice, some too late, a telescope that joins late."""
    rng = np.random.default_rng(seed)
    flare = Flare(5.0, 25.0, 8.0)
    night = Night(made(5), seed=seed, hadrons=40.0, gammas=1.0, flares=[flare], joins={3: 6.0}, pointed=False)
    images = night.table(SECONDS).combine_chunks()
    none = pa.nulls(images.num_rows, images.schema.field("peak_time").type)  # not used by this pipeline
    images = images.set_column(images.schema.names.index("peak_time"), images.schema.field("peak_time"), none)
    order = np.append(np.arange(images.num_rows), rng.choice(images.num_rows, images.num_rows // 25, replace=False))
    times = images["time"].cast(pa.int64()).to_numpy()[order]
    delay = np.where(rng.random(order.size) < 0.02, 3_000_000_000, rng.integers(0, 500_000_000, order.size))
    images = images.take(pa.array(order[np.argsort(times + delay, kind="stable")]))
    pointings = pa.Table.from_batches([night.pointings(n) for n in range(SECONDS)])
    for topic, table in (("images", images), ("pointings", pointings)):
        ev.run(ev.from_table(table).write(f"log://{topic}", log=str(folder / "log")))
    return folder


def topics(folder: Path) -> dict[str, pa.Table]:
    return {t: ev.fetch(ev.read(f"log://{t}", log=str(folder / "log"), follow=False)) for t in TOPICS}


def dl3(gammas: pa.Table, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in export_runs(runs_of(gammas, {}), folder)}


@pytest.mark.slow
def test_killed_at_random_it_finds_the_same(run, tmp_path):
    pytest.importorskip("astropy")
    source = written(tmp_path / "source", seed=5)
    calm = tmp_path / "calm"
    shutil.copytree(source, calm)
    end, seconds = run(calm)
    assert end == "done"
    golden = topics(calm)
    images = ev.fetch(ev.read("log://images", log=str(calm / "log"), follow=False)).num_rows
    assert sum(golden[t].num_rows for t in ENDS) == images > 700
    assert all(golden[t].num_rows > 0 for t in TOPICS), {t: golden[t].num_rows for t in TOPICS}
    hashes = {name: table_hash(table) for name, table in golden.items()}
    files = dl3(golden["gammas"], tmp_path / "dl3")
    assert sum(map(len, files.values())) > 10_000
    rng, kills, turn = random.Random(os.environ.get("EVENTIDE_GAMMA_SEED", "7")), 0, 0
    while kills < KILLS:
        turn += 1
        folder = tmp_path / f"turn-{turn}"
        shutil.copytree(source, folder)
        end = ""
        while end != "done":
            delay = rng.uniform(0.05, seconds * 0.8) if kills < KILLS else 0.0
            end, _ = run(folder, delay)
            assert end != "failed", f"turn {turn}, after {kills} kills"
            kills += end == "killed"
        found = topics(folder)
        for name, wanted in hashes.items():
            assert table_hash(found[name]) == wanted, f"{name} of turn {turn}, after {kills} kills"
        assert dl3(found["gammas"], tmp_path / f"dl3-{turn}") == files
        shutil.rmtree(folder)
