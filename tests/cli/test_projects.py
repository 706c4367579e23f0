"""Projects: what `eventide init` writes works, from wherever it is run; targets of every form; what doctor says."""

from __future__ import annotations

import doctest
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done, call, environment

from eventide.cli.target import load_target
from eventide.errors import ConfigError, MissingDependencyError, PipelineError, UsageError


def test_a_new_project_runs_and_its_test_passes(tmp_path: Path) -> None:
    assert call(tmp_path, "init", "my project").code == 0
    folder = tmp_path / "my project"
    ran = call(folder, "run", "eventide.toml", "-p", "rows=2000", "-v")
    assert ran.code == 0 and "my project: 2,000 events in" in ran.err
    assert "window-3" in ran.err, "the ledger"
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout
    again = call(tmp_path, "init", "my project")
    assert again.code == 2 and "exists already" in again.err


def test_a_project_is_run_from_elsewhere(
    project: Path, here: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVENTIDE_LOG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "fill.py").write_text((project / "fill.py").read_text())
    (tmp_path / "sub" / "some.toml").write_text(
        "pipeline = 'fill.py'\nname = 'some'\n[log]\nroot = 'kept'\n[params]\nrows = 20\n"
    )
    monkeypatch.setenv("EVENTIDE_LOG", "x")  # set, so that what the command sets is taken back
    monkeypatch.delenv("EVENTIDE_LOG")
    done = here("run", "sub/some.toml", "--json", "-p", "rows=30")
    assert done.json["rows_in"] == 30, "the command line wins"
    assert done.json["pipeline"] == "some"
    assert (tmp_path / "sub/kept/readings").is_dir()
    assert (tmp_path / "sub/.eventide/checkpoints/some").is_dir()
    assert not (tmp_path / ".eventide").exists()
    facts = here("inspect", "checkpoint", "sub/some.toml", "--json").json
    assert facts["pipeline"] == "some" and facts["final"]


def write(folder: Path, text: str, name: str = "p.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


MADE = "import eventide as ev\na = ev.read('log://a').write('log://b')\n"


def test_targets(tmp_path: Path) -> None:
    assert load_target(write(tmp_path, MADE), {}).name == "p"
    assert load_target(write(tmp_path, MADE) + ":a", {}).name == "p"
    two = MADE + "b = ev.read('log://a').write('log://c')\n"
    assert len(load_target(write(tmp_path, two), {}).writes) == 2
    function = MADE + "def pipeline(x='1'): return a.named('name' + x)\n"
    assert load_target(write(tmp_path, function), {"x": "2"}).name == "name2"
    assert load_target("sensors", {}).name == "sensors"


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("import eventide\n", PipelineError, "holds no pipeline"),
        ("pipeline = 3\ndef pipeline(): return 4\n", PipelineError, "is int, not a pipeline"),
        ("def pipeline(): return {}['k']\n", UsageError, "KeyError: 'k' (p.py:1)"),
        ("1 / 0\n", UsageError, "ZeroDivisionError: division by zero (p.py:1)"),
        ("import no_such_library_here\n", MissingDependencyError, "there is no module 'no_such_library_here'"),
        ("x = (\n", UsageError, "SyntaxError"),
        (MADE + "ev.read('')\n", UsageError, "a source needs an address"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind) as caught:
        load_target(write(tmp_path, text), {})
    assert told in str(caught.value)


def test_a_toml_file_names_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no pipeline"):
        load_target(write(tmp_path, "", "e.toml"), {})
    with pytest.raises(ConfigError, match="another TOML file"):
        load_target(write(tmp_path, "pipeline = 'e.toml'\n", "e.toml"), {})


def test_doctor_says_what_to_do(here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fine = here("doctor")
    assert fine.code == 0 and "log disk" in fine.out and "ms for a durable append" in fine.out
    from eventide.kernel.compiled import have_compiler

    # What is found is kept: what follows, in this test and in others, must not find it switched off.
    with monkeypatch.context() as switched_off:
        switched_off.setenv("EVENTIDE_COMPILED", "0")
        have_compiler.cache_clear()
        told = here("doctor", "--json").json
    have_compiler.cache_clear()
    assert told["ok"]
    compiled = next(c for c in told["checks"] if c["name"] == "compiled kernels")
    assert compiled["ok"] is None and compiled["fix"]
    place = tmp_path / "file"
    place.write_text("")
    bad = here("doctor", "--json", "--log", str(place / "log"))
    assert bad.code == 4 and not bad.json["ok"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eventide.toml").write_text("[run]\nlane = 2\n")
    wrong = here("doctor", "--json")
    assert wrong.code == 4
    assert [c["fix"] for c in wrong.json["checks"] if c["name"] == "configuration"] == ["did you mean 'lanes'?"]


def test_check_shows_one_column_a_line(here: Callable[..., Done]) -> None:
    out = here("check", "count.py").out
    assert "keyby-2       assigntime-1  (the same)" in out
    assert "log://counts  exactly_once" in out
    assert "count: all is well" in out


def test_the_graph_as_text_and_mermaid(here: Callable[..., Done]) -> None:
    assert "tumbling(10s)" in here("inspect", "graph", "count.py").out
    assert here("inspect", "graph", "count.py", "--mermaid").out.startswith("flowchart LR")
    assert json.loads(here("inspect", "graph", "count.py", "--json").out)["pipeline"] == "count"


@pytest.mark.parametrize("name", ["_rows", "_span", "output", "target"])
def test_examples_of_what_commands_share(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"eventide.cli.{name}"))
    assert result.failed == 0 and result.attempted > 0
