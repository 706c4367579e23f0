"""`eventide quarantine`: list, show, replay, and what a replay does not do twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done, call

import eventide as ev
from eventide.cli import main

READ = """
import eventide as ev

pipeline = ev.read("data.csv", schema={{"t": "string", "v": "{kind}"}}).event_time("t").write("log://good")
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return a function that runs a command in a folder of its own, where five lines were read and two are bad."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    for name in [n for n in os.environ if n.startswith(("EVENTIDE_LOG", "EVENTIDE_RUN", "EVENTIDE_DEBUG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EVENTIDE_LOG", ".eventide/log")
    Path("p.py").write_text(READ.format(kind="int64"))
    Path("data.csv").write_text("t,v\n2026-01-01,1\n2026-01-02,2.5\n,3\n2026-01-04,four\n2026-01-05,5\n")

    def run(*args: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(args))
        told = capsys.readouterr()
        return Done(int(ended.value.code or 0), told.out, told.err)

    assert run("run", "p.py").code == 0
    return run


def good() -> list[float]:
    return sorted(ev.fetch(ev.read("log://good", follow=False))["v"].to_pylist())


def test_list_counts_by_reason_and_show_has_the_bytes(run: Callable[..., Done]) -> None:
    rows = run("quarantine", "list", "--json").json
    assert [(r["entries"], r["waiting"], r["pipeline"], r["operator"]) for r in rows] == [
        (2, 2, "p", "read-0"),
        (1, 1, "p", "assigntime-1"),
    ]
    assert rows[0]["reason"] == "column 'v': … is not int64"
    shown = run("quarantine", "show", "--json", "--where", "reason LIKE '%four%'").json
    assert [(r["data"], r["encoding"], r["position"]) for r in shown] == [
        ("2026-01-04,four", "text", "data.csv: byte 35")
    ]
    text = run("quarantine", "show", "--operator", "assigntime-1").out
    assert '{"t":null,"v":3}' in text and "there is no event time" in text
    assert "nothing is in quarantine" in run("quarantine", "list", "--pipeline", "other").out
    assert run("quarantine", "show", "--where", "nonsense >").code == 2


def test_nothing_is_there(run: Callable[..., Done], tmp_path: Path) -> None:
    assert run("quarantine", "list", "--log", str(tmp_path / "nowhere"), "--json").json == []
    assert "no such entries" in run("quarantine", "show", "--log", str(tmp_path / "nowhere")).out


def test_what_was_mended_is_replayed_once(run: Callable[..., Done]) -> None:
    Path("p.py").write_text(READ.format(kind="float64"))
    dry = run("quarantine", "replay", "p.py", "--pipeline", "p", "--dry-run", "--json").json
    assert {s["source"]: (s["entries"], s["events"], s["still_bad"]) for s in dry["sources"]} == {
        "read-0": (2, 1, 1),
        "assigntime-1.again": (1, 1, 0),
    }
    Path("q.py").write_text(READ.format(kind="float64").replace("log://good", "log://mended"))
    facts = run("quarantine", "replay", "q.py", "--pipeline", "p", "--json").json
    assert facts == {
        "replayed": 3, "rows_in": 2, "rows_out": 1, "quarantined": 2, "late": 0, "left": {},
    }  # fmt: skip
    assert ev.fetch(ev.read("log://mended", follow=False))["v"].to_pylist() == [2.5]
    assert good() == [1, 5]
    waiting = run("quarantine", "show", "--waiting", "--json").json
    assert sorted((r["pipeline"], r["operator"], r["data"]) for r in waiting) == [
        ("p.replay", "assigntime-1", '{"t":null,"v":3.0}'),
        ("p.replay", "read-0", "2026-01-04,four"),
    ]
    assert {r["position"] for r in waiting if r["operator"] == "read-0"} == {"data.csv: byte 35"}
    # What is still bad is tried again, and is in quarantine again; what came through is not replayed twice.
    again = run("quarantine", "replay", "q.py", "--pipeline", "p", "--json").json
    assert (again["replayed"], again["rows_out"], again["quarantined"]) == (2, 0, 2)
    assert ev.fetch(ev.read("log://mended", follow=False))["v"].to_pylist() == [2.5]


def test_a_replay_goes_beside_what_the_pipeline_wrote(run: Callable[..., Done]) -> None:
    Path("p.py").write_text(READ.format(kind="float64").replace("log://good", "good.csv"))
    refused = run("quarantine", "replay", "p.py")
    assert refused.code == 2 and "--sink write-2=URI" in refused.err
    assert run("quarantine", "replay", "p.py", "--sink", "more.csv").code == 0
    assert Path("more.csv").read_text().split() == ["t,v", "2026-01-02T00:00:00.000000000Z,2.5"]
    refused = run("quarantine", "replay", "p.py", "--sink", "write-2=more.csv")
    assert refused.code == 2 and "is there already" in refused.err


def test_state_is_not_mended_behind_its_back(run: Callable[..., Done]) -> None:
    source = READ.format(kind="float64").replace(
        '.write("log://good")', '.window(ev.tumbling("1d")).aggregate(n=ev.count()).write("log://days")'
    )
    Path("p.py").write_text(source)
    refused = run("quarantine", "replay", "p.py")
    assert refused.code == 2 and "--partial" in refused.err
    assert run("quarantine", "replay", "p.py", "--into", "log://mended", "--json").json["rows_out"] == 2
    assert sorted(ev.fetch(ev.read("log://mended", follow=False))["v"].to_pylist()) == [2.5, 3.0]
    assert run("quarantine", "replay", "p.py", "--partial", "--json").json["replayed"] == 1  # 'four', bad again


def test_a_file_that_could_not_be_read_is_read_again(run: Callable[..., Done], tmp_path: Path) -> None:
    Path("in").mkdir()
    ev.run(ev.from_table({"v": [1.0, 2.0]}).write("in/a.parquet"))
    Path("in/b.parquet").write_bytes(b"PAR1 torn")
    Path("files.py").write_text('import eventide as ev\npipeline = ev.read("in/*.parquet").write("log://files")\n')
    assert run("run", "files.py").code == 0
    (entry,) = run("quarantine", "show", "--pipeline", "files", "--json").json
    assert (entry["position"], entry["data"]) == ("in/b.parquet", "")
    Path("in/b.parquet").unlink()
    ev.run(ev.from_table({"v": [3.0]}).write("in/b.parquet"))
    assert run("quarantine", "replay", "files.py", "--json").json["rows_out"] == 1
    assert ev.fetch(ev.read("log://files", follow=False))["v"].to_pylist() == [1.0, 2.0, 3.0]


def test_a_stray_comes_back_only_when_asked(run: Callable[..., Done]) -> None:
    Path("far.csv").write_text("t,v\n2026-01-01T00:00:00,1\n2027-01-01T00:00:00,2\n2026-01-01T00:00:01,3\n")
    Path("far.py").write_text(
        'import eventide as ev\npipeline = ev.read("far.csv").event_time("t", max_jump="1h").write("log://far")\n'
    )
    assert run("run", "far.py").code == 0
    facts = run("quarantine", "replay", "far.py", "--json").json
    assert facts["replayed"] == 0 and list(facts["left"].values()) == [1]
    assert run("quarantine", "replay", "far.py", "--strays", "--json").json["rows_out"] == 1


def test_a_replay_that_is_cut_off_is_finished_by_the_next(run: Callable[..., Done], tmp_path: Path) -> None:
    Path("q.py").write_text(READ.format(kind="float64").replace("log://good", "log://mended"))
    for step in range(1, 5):
        # Die at every place where the replay changes something on disk: each time the next one goes on.
        body = f"""
import os, eventide.cli._again as again
from eventide.engines.local import checkpoint
count = 0
def die(function):
    def dying(*args, **kwargs):
        global count
        count += 1
        if count == {step}:
            os._exit(9)
        return function(*args, **kwargs)
    return dying
again.Selection.begin = die(again.Selection.begin)
again.Selection.done = die(again.Selection.done)
checkpoint.CheckpointStore.save = die(checkpoint.CheckpointStore.save)
from eventide.connectors._log_sink import LogSink
LogSink.commit = die(LogSink.commit)
from eventide.cli import main
main(["quarantine", "replay", "q.py", "--pipeline", "p"])
"""
        subprocess.run([sys.executable, "-c", body], check=False, capture_output=True)
    done = call(tmp_path, "quarantine", "replay", "q.py", "--pipeline", "p")
    assert done.code == 0, done.err
    assert ev.fetch(ev.read("log://mended", follow=False))["v"].to_pylist() == [2.5]
    replayed = [r for r in run("quarantine", "show", "--json").json if r["pipeline"] == "p"]
    assert all(r["replayed"] for r in replayed)


def test_the_ledger_is_shown_from_the_checkpoint(run: Callable[..., Done]) -> None:
    facts = run("inspect", "ledger", "p", "--json").json
    assert facts["balanced"] and facts["imbalances"] == []
    assert [(c["label"], c["rows_in"], c["rows_out"], c["quarantined"]) for c in facts["operators"]] == [
        ("read-0", 5, 3, 2),
        ("assigntime-1", 3, 2, 1),
        ("write-2", 2, 2, 0),
    ]
    shown = run("inspect", "ledger", "p.py").out
    assert shown.splitlines()[0] == "p, checkpoint 1" and "every event is accounted for" in shown
    assert "taken" not in shown
    assert "did you mean 'p'" in run("inspect", "ledger", "pp").err
