"""Facts about the tree: every public name is documented with an example that runs, the words are the glossary's."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eventide
from eventide.engines.local import joining

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(eventide.__path__, "eventide.") if not m.name.startswith("eventide.cli")
)


# Each has an environment of its own, where the tests of that engine run.
ENGINE_LIBRARIES = ("apache_beam", "pyflink", "pyspark")


@pytest.mark.parametrize("name", ["eventide", *MODULES])
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTIDE_LOG", str(tmp_path / "log"))
    monkeypatch.setattr(joining, "_ROWS", 16_384)
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ENGINE_LIBRARIES:
            raise
        pytest.skip(f"{error.name} is not in this environment")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def public_objects() -> list[tuple[str, object]]:
    return [(f"ev.{name}", getattr(eventide, name)) for name in eventide.__all__ if name not in ("op", "trigger")]


@pytest.mark.parametrize(("name", "value"), public_objects())
def test_public_names_have_an_example(name: str, value: object) -> None:
    text = inspect.getdoc(value) or ""
    assert ">>>" in text, f"{name} has no example"


@pytest.mark.parametrize("name", sorted(eventide.op.__dir__()))
def test_operators_have_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(getattr(eventide.op, name)) or "")


def test_all_is_what_can_be_imported() -> None:
    assert sorted(eventide.__all__, key=str.lower) == sorted(set(eventide.__all__), key=str.lower)
    assert len(eventide.__all__) <= 30
    for name in eventide.__all__:
        assert hasattr(eventide, name)


def test_test_modules_have_names_of_their_own() -> None:
    """Two of one name cannot be collected in one process, whatever folders they are in."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_import_is_light() -> None:
    code = (
        "import sys, eventide; heavy = [m for m in ('polars', 'numba', 'duckdb', 'pandas', 'matplotlib', 'typer', 'rich')"
        " if m in sys.modules]; print(heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_architecture_names_every_folder_and_nothing_else() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert len(text.splitlines()) <= 200
    folders = {p.name for p in (ROOT / "src/eventide").iterdir() if p.is_dir() and not p.name.startswith("_")}
    for folder in folders:
        assert f"`{folder}/" in text, f"ARCHITECTURE.md does not name {folder}/"
    for named in set(re.findall(r"`(\w+(?:/\w+)*\.py)`", text)):
        found = list(ROOT.glob(f"src/eventide/{named}")) or list(ROOT.glob(f"src/eventide/**/{named}"))
        assert found, f"ARCHITECTURE.md names {named}, which does not exist"


def forbidden_words() -> set[str]:
    """Return the words of the glossary's last column: those that are not used for a term."""
    rows = [r.split("|") for r in (ROOT / "docs/glossary.md").read_text("utf-8").splitlines() if r.startswith("| ")]
    cells = [row[3] for row in rows if row[1].strip() != "term"]
    plain = [re.sub(r"\(.*?\)", "", w).strip().lower() for cell in cells for w in cell.split(",") if "(" not in w]
    terms = {w for row in rows for w in re.findall(r"\w+", row[1].lower())}  # a session is a window, and no run
    return {w.replace(" ", "_") for w in plain if w} - terms


def test_public_names_use_the_glossary() -> None:
    words = forbidden_words()
    assert {"frame", "queue", "stage", "dead_letter"} <= words
    for name in [*eventide.__all__, *eventide.op.__dir__()]:
        assert name.lower() not in words
        assert not set(name.lower().split("_")) & words, name


def test_no_pickle() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        if "engines" in path.parts and "local" not in path.parts:
            continue
        assert not re.search(r"\b(pickle|cloudpickle|dill|marshal)\b", path.read_text("utf-8")), path


def test_the_project_speaks_of_itself_alone() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if name in {"Makefile", "tests/docs/test_house.py"} or not path.is_file() or path.suffix in {".png", ".gz"}:
            continue
        text = path.read_text("utf-8", errors="replace")
        assert "/work" + "/" not in text or name == ".gitignore", name
        assert ".." + "/shared" not in text, name


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="only where continuous integration runs")
def test_ci_has_what_it_needs() -> None:
    assert os.environ.get("EVENTIDE_BEAM_PYTHON"), "the conformance suite needs the environment with Beam's wheel"
