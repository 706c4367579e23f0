"""One pipeline, any engine: the same rows, bit for bit, as the embedded engine makes of the same events.

Every engine runs in an environment of its own (``make engine-environments``), told by the hashes of its results. An
environment that is not there is a reason to skip, except where continuous integration runs.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

import pytest

from eventide import registry
from eventide.testing.same_pipelines import CASES, write_inputs
from eventide.testing.same_results import Outcome, compare, outcomes
from servers.engines import python_of

ROOT = Path(__file__).resolve().parents[2]
ENGINES = [n for n in ("beam", "flink", "spark") if n in registry.names("engine")]
LONGEST = 1200  # seconds for all pipelines of an engine, its start-up included

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def wanted(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    made = list(outcomes("local", inputs, tmp_path_factory.mktemp("wanted")))
    assert not any(o.error for o in made)
    for outcome in made:
        # The real day of sensors has no dirty readings in it.
        empty = {name for name, rows in outcome.rows.items() if not rows and name != "dirty"}
        assert not empty, f"{outcome.case} proves nothing: no rows in {empty}"
    return made


@functools.cache
def _outcomes(engine: str, inputs: Path) -> dict[str, Outcome]:
    """Run all pipelines on an engine, in its environment, in one process: some take long to start."""
    python = python_of(engine)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "VIRTUAL_ENV": str(python.parents[1])}
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    command = [str(python), "-m", "eventide.testing.same_results", "--engine", engine, "--inputs", str(inputs)]
    done = subprocess.run(
        command, env=environment, cwd=inputs, capture_output=True, text=True, timeout=LONGEST, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = {o.case: o for o in (Outcome(**json.loads(line)) for line in lines)}
    for case in CASES:  # a process that died tells of the first pipeline that it did not come to
        found.setdefault(case, Outcome(engine, case, {}, {}, 0.0, f"exit {done.returncode}: {done.stderr[-2000:]}"))
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_same_rows(engine: str, case: str, inputs: Path, wanted: list[Outcome]) -> None:
    python_of(engine)
    assert compare(wanted, [_outcomes(engine, inputs)[case]]) == {case: ""}


@pytest.mark.parametrize("case", CASES)
def test_batches_and_lanes_do_not_show(case: str, inputs: Path, wanted: list[Outcome], tmp_path: Path) -> None:
    how = {"batch_rows": 777, "lanes": 3}
    assert compare(wanted, outcomes("local", inputs, tmp_path, cases=[case], options=how)) == {case: ""}
