"""The driver of a Spark job is killed in mid-stream and started again: every row once, those of the undisturbed run.

EVENTIDE_SPARK_KILLS says how often (10).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason="Spark has an environment of its own: `make test-spark`")

import victim
from spark_driver import Driver, wanted, written

KILLS = int(os.environ.get("EVENTIDE_SPARK_KILLS", "10"))
SEED = int(os.environ.get("EVENTIDE_SEED", "1"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Counter[str]]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    victim.write_events(folder, seed=SEED)
    return folder, wanted(folder, folder)


def begin(folder: Path, undisturbed: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "in.arrow").hardlink_to(undisturbed / "in.arrow")


def finish(folder: Path, rows: dict[str, Counter[str]]) -> None:
    last = Driver(folder)
    try:
        assert last.ends() == 0, last.told()
    finally:
        last.close()
    found = written(folder)
    for name, expected in rows.items():
        assert found[name] == expected, f"{name}: {(found[name] - expected)=} {(expected - found[name])=}"
    assert '"balanced": true' in last.told_at_end


@pytest.mark.parametrize("place", ["prepared", "noted", "committed"])
def test_killed_at_a_place(place: str, undisturbed: tuple[Path, dict[str, Counter[str]]], tmp_path: Path) -> None:
    begin(tmp_path, undisturbed[0])
    driver = Driver(tmp_path, place=place)
    try:
        assert driver.ends() == -9, driver.told()
    finally:
        driver.close()
    finish(tmp_path, undisturbed[1])


def test_killed_at_any_time(undisturbed: tuple[Path, dict[str, Counter[str]]], tmp_path: Path) -> None:
    chance = random.Random(SEED)
    kills = rounds = 0
    while kills < KILLS:
        folder = tmp_path / str(rounds)
        rounds += 1
        begin(folder, undisturbed[0])
        running = True
        while running and kills < KILLS:
            driver = Driver(folder)
            try:
                running = driver.passes(driver.epoch + chance.randint(1, 12))
                if running:
                    time.sleep(chance.uniform(0, 0.4))  # anywhere in a micro-batch
                    driver.kill(chance.choice(["driver", "jvm", "all"]))
                    kills += 1
                    print(f"kill {kills} at epoch {driver.epoch} of round {rounds}", flush=True)
            finally:
                driver.close()
        finish(folder, undisturbed[1])
    assert kills == KILLS
