"""The example of the page "From laptop to cluster" runs on every engine, by changing the word that the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from eventide import registry
from servers.engines import python_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "from-laptop-to-cluster.md"
COMMAND = """eventide() { python -c 'from eventide.cli import main; main()' "$@"; }\n"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", [n for n in ("beam", "flink", "spark") if n in registry.names("engine")])
def test_the_example_runs(engine: str, tmp_path: Path) -> None:
    python = python_of(engine)
    block = re.search(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block is not None and block[1].count("--engine local") == 2
    told = {}
    for name in ("local", engine):
        folder = tmp_path / name
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"}
        environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
        code = COMMAND + block[1].replace("--engine local", f"--engine {name}").replace("-n 3", "-n 1000 --json")
        done = subprocess.run(
            ["bash", "-e", "-c", code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines() if '"mean"' in line]
        # Their order, and so where they are in the topic, is the engine's own affair.
        told[name] = sorted(str({k: v for k, v in r.items() if k not in ("offset", "partition")}) for r in rows)
    assert len(told["local"]) > 100
    assert told[engine] == told["local"]
