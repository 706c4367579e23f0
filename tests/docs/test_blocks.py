"""Every fenced block of the README and the docs is run, or says above it why not.

Blocks of one page run in order, in one folder and (for Python) one namespace. ``<!-- not run: reason -->`` on the
line above opts a block out. Blocks of output, text, diagrams and configuration examples are checked as what they
are: TOML must load as a configuration, JSON must parse.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eventide.config import load_config
from eventide.services import kafka

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/eventide/apps/*/README.md")])
BLOCK = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>\w*)[^\n]*\n(?P<body>.*?)\n```", re.DOTALL)
QUIET = {"text", "mermaid", "output", ""}


def blocks(page: Path) -> list[tuple[str, str, str]]:
    text = "\n" + page.read_text("utf-8")
    return [(m["language"], m["body"], m["before"]) for m in BLOCK.finditer(text)]


def run_shell(body: str, folder: Path) -> None:
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", body],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTIDE_LOG", str(tmp_path / ".eventide" / "log"))
    try:
        run_page(page, tmp_path)
    finally:
        for used in tmp_path.glob(".eventide/services/kafka"):
            kafka.at(used).stop(kill=True)


def run_page(page: Path, tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "__docs__"}
    missing = [p for p in ("java", "mvn") if shutil.which(p) is None]
    if missing and "services up" in page.read_text("utf-8") and os.environ.get("CI") != "true":
        pytest.skip(f"there is no {missing[0]} to run the page with")
    for language, body, before in blocks(page):
        if before.strip().startswith("<!-- not run:"):
            assert len(before) > len("<!-- not run: -->") + 5, f"{page}: say why"
            continue
        if language in QUIET:
            continue
        if language == "python":
            code = compile(body, f"{page.name}", "exec")
            exec(code, names)
        elif language in {"sh", "bash"}:
            run_shell(body, tmp_path)
        elif language == "toml":
            (tmp_path / "block.toml").write_text(body, "utf-8")
            load_config(tmp_path / "block.toml", environ={})
        elif language == "json":
            json.loads(body)
        else:
            pytest.fail(f"{page}: a block of {language!r} is neither run nor opted out")
