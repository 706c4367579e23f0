"""SIGKILL at random points of a run from log to log: the topics are those of an undisturbed run, all of them recomputed.

10 kills; as many as EVENTIDE_NEUTRON_KILLS says.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from publications_checker import Pulses, check

import eventide as ev
from eventide.apps.neutron.instruments import AMOR
from eventide.apps.neutron.pipeline import longest
from eventide.apps.neutron.simulate import simulate
from nursery import nursery

KILLS = int(os.environ.get("EVENTIDE_NEUTRON_KILLS", "10"))
TOPICS = ("histograms", "volumes", "monitors", "gaps")
BINS, TIME_BINS = 50, 4

PROGRAM = f"""
BINS, TIME_BINS = "{BINS}", "{TIME_BINS}"
"""
PROGRAM += """
from eventide import registry
from eventide.apps.neutron.pipeline import pipeline
engine = registry.resolve("engine", "local")
for kind, name in (("connector", "log"), ("operator", "histogram")):
    registry.resolve(kind, name)

def child(folder):
    job = pipeline(instrument="amor", bins=BINS, time_bins=TIME_BINS, volume_every="5s", lateness="1s", log=folder + "/log")
    how = {"checkpoint": folder + "/state", "checkpoint_interval": "15ms", "batch_rows": 24, "quarantine": folder + "/log"}
    engine.run(job, **how)
"""


@pytest.fixture
def run():
    """Run a child in a folder; return how it ended and after how many seconds."""
    with nursery(PROGRAM) as made:
        yield made


def written(folder: Path, seed: int) -> Path:
    """Write the topic of pulses: out of order within a second, some twice, some lost."""
    rng = random.Random(seed)
    pulses = simulate("amor", seconds=20, rate=2000, seed=seed)
    rows = [at for at in range(pulses.num_rows) if rng.random() > 0.02]
    rows += [at for at in rows if rng.random() < 0.05]
    times = pulses["event_time"].cast(pa.int64()).to_pylist()
    rows.sort(key=lambda at: times[at] + rng.random() * 0.9e9)
    ev.run(ev.from_table(pulses.take(pa.array(rows))).write("log://pulses", log=str(folder / "log")))
    return folder


def topics(folder: Path) -> dict[str, pa.Table]:
    return {t: ev.fetch(ev.read(f"log://{t}", log=str(folder / "log"), follow=False)) for t in TOPICS}


def products():
    """The axes that were asked for, restated."""
    flight = ("time", np.linspace(0, longest(AMOR), BINS + 1))
    low, high = AMOR.wavelengths
    return {
        "time_of_flight": [flight],
        "image": [("pixel", None)],
        "wavelength": [("wavelength", np.linspace(0, high + low, BINS + 1))],
        "q": [("q", np.geomspace(1e-3, 2.0, BINS // 4 + 1))],
        "pixel_time": [("pixel", None), ("time", np.linspace(0, longest(AMOR), TIME_BINS + 1))],
    }


@pytest.mark.slow
def test_killed_at_random_it_publishes_the_same(run, tmp_path):
    source = written(tmp_path / "source", seed=1)
    calm = tmp_path / "calm"
    shutil.copytree(source, calm)
    end, seconds = run(calm)
    assert end == "done"
    golden = topics(calm)
    pulses = Pulses(ev.fetch(ev.read("log://pulses", log=str(calm / "log"), follow=False)))
    assert golden["gaps"].num_rows > 5 and len(pulses.again) > 20
    # The checker knows nothing of the pipeline: it goes by what each publication says that it includes, and the log.
    assert sum(check(golden[t], pulses, AMOR, products()) for t in TOPICS[:3]) > 80
    rng, kills, turn = random.Random(os.environ.get("EVENTIDE_NEUTRON_SEED", "7")), 0, 0
    while kills < KILLS:
        turn += 1
        folder = tmp_path / f"turn-{turn}"
        shutil.copytree(source, folder)
        end = ""
        while end != "done":
            delay = rng.uniform(0.01, seconds * 0.8) if kills < KILLS else 0.0
            end, _ = run(folder, delay)
            assert end != "failed", f"turn {turn}, after {kills} kills"
            kills += end == "killed"
        found = topics(folder)
        for name, table in golden.items():
            assert found[name].equals(table), f"{name} of turn {turn}, after {kills} kills"
        shutil.rmtree(folder)


def test_the_checker_sees_a_wrong_count():
    pulses = simulate("amor", seconds=2, rate=500)
    from eventide.apps.neutron.pipeline import reduce

    found = ev.fetch(reduce(ev.from_table(pulses), AMOR, bins=BINS, time_bins=TIME_BINS).histograms)
    assert check(found, Pulses(pulses), AMOR, products())
    for name in ("events", "message_id_last", "duplicate", "binned"):
        wrong = found.set_column(found.column_names.index(name), name, pa.compute.add(found[name], 1))
        with pytest.raises(AssertionError):
            check(wrong, Pulses(pulses), AMOR, products())
    counts = found["counts"].to_pylist()
    counts[0][3] += 1
    wrong = found.set_column(found.column_names.index("counts"), "counts", pa.array(counts, pa.list_(pa.int64())))
    with pytest.raises(AssertionError):
        check(wrong, Pulses(pulses), AMOR, products())
