"""The wheel, alone with what it declares: no compiler, no plots, none of the tools that the tests stand on.

Nothing is downloaded: the clean environment gets links to the distributions that the wheel requires, taken from the
environment of the tests, and what those require in turn.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[A-Za-z0-9._-]+")
FURTHER = """
import eventide as ev
import polars as pl

ev.run(ev.read("generator://events", rows=50_000, keys=5, disorder="2s", seed=1).write("log://readings-2"))
hot = (
    ev.read("log://readings-2", follow=False)
    .event_time("timestamp", lateness="30s")
    .filter(pl.col("value") > -9)
    .key_by("key")
    .window(ev.tumbling("20m"))
    .aggregate(mean=ev.mean("value"), std=ev.std("value"), n=ev.count())
    .write("hot.parquet")
)
result = ev.run(hot)
assert result.rows_in == 50_000 and result.late == 0
assert sum(ev.fetch(ev.read("hot.parquet"))["n"].to_pylist()) == 50_000

from eventide.kernel.compiled import have_compiler
assert not have_compiler()
"""


def required(names: list[str]) -> set[str]:
    """Return the distributions that some need, without extras, and what those need in turn."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def link(name: str, packages: Path) -> None:
    """Put links to the files of a distribution into a folder of packages."""
    installed = distribution(name)
    for top in {file.parts[0] for file in installed.files or [] if file.parts[0] not in ("..", "__pycache__")}:
        target = packages / top
        if not target.exists():
            target.symlink_to(Path(str(installed.locate_file(top))).resolve())


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling, which builds the wheel, is not here"
)
def test_the_wheel_works_alone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("eventide-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [n for n in names if n.endswith(".dist-info/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    assert "eventide/py.typed" in names
    assert any(n.endswith("licenses/LICENSE") for n in names)
    declared = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    wanted = [m.group() for d in declared if "extra ==" not in d and (m := NAME.match(d))]
    assert {"numpy", "pyarrow", "polars", "msgspec", "typer"} <= set(wanted)

    home = tmp_path / "clean"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, capture_output=True)
    (packages,) = home.glob("lib/python*/site-packages")
    for name in sorted(required(wanted)):
        link(name, packages)
    into = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*into, "--no-index", str(wheel)], check=True, capture_output=True)
    assert not (packages / "numba").exists() and not (packages / "pytest").exists()

    readme = (ROOT / "README.md").read_text("utf-8")
    (block, *_) = re.findall(r"```python\n(.*?)\n```", readme, re.DOTALL)
    work = tmp_path / "work"
    work.mkdir()
    run(home, work, "python", "-c", f"{block}\n{FURTHER}")
    run(home, work, "eventide", "init", "hello")
    told = run(home, work / "hello", "eventide", "run", "eventide.toml", "--json")
    assert '"rows_in": 100000' in told
    assert run(home, work / "hello", "eventide", "tail", "means", "-n", "2").count("\n") == 3
    doctor = run(home, work / "hello", "eventide", "doctor")
    assert "not in use, numpy does the work" in doctor
    assert "MISSING" not in doctor


def run(home: Path, folder: Path, program: str, *args: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EVENTIDE", "PYTHON"))}
    command = [str(home / "bin" / program), *args]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
