"""What a person at a terminal sees: progress, colours, questions; and help."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done, call, environment

COMMANDS = [
    "", "check", "config", "config show", "config schema", "conform", "doctor", "init", "inspect", "inspect graph",
    "inspect schema", "inspect checkpoint", "inspect ledger", "inspect metrics", "inspect plugins", "inspect log",
    "quarantine", "quarantine list", "quarantine show", "quarantine replay", "log", "log list", "log show", "log import",
    "log export", "log evolve", "log verify", "log retention", "log retain", "log holds", "log undecided", "log delete",
    "log offsets", "run", "savepoint create", "savepoint list", "savepoint delete", "services", "services up", "services down",
    "services status", "tail", "torture", "torture kill",
    "torture powerloss", "torture soak", "torture syscalls", "version",
]  # fmt: skip


def on_terminal(folder: Path, *args: str, answer: str = "", **extra: str) -> tuple[int, str]:
    """Run a command with a terminal on all three streams and return its exit code and what was shown."""
    leader, follower = pty.openpty()
    variables = {k: v for k, v in environment(TERM="xterm").items() if k != "NO_COLOR"} | extra
    command = [sys.executable, "-c", "from eventide.cli import main; main()", *args]
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        if answer:
            os.write(leader, f"{answer}\n".encode())
        shown = b""
        while True:
            try:
                read = os.read(leader, 4096)
            except OSError:  # Linux says so when the other side is closed
                break
            if not read:
                break
            shown += read
    os.close(leader)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def test_progress_and_colours(project: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import eventide as ev\npipeline = ev.read('generator://e', rows=1000, pace=1).write('log://e')\n"
    )
    options = ("--checkpoint", "", "--log", str(tmp_path / "log"))
    code, shown = on_terminal(tmp_path, "run", "slow.py", *options)
    assert code == 0
    assert re.search(r"\r\x1b\[2m +\d+\.\d s  [\d,]+ events in  [\d,]+/s  [\d,]+ out", shown)
    assert "\x1b[1mslow:\x1b[0m 1,000 events in, 1,000 out" in shown
    code, shown = on_terminal(tmp_path, "run", "slow.py", "--quiet", *options)
    assert (code, shown) == (0, "")
    code, shown = on_terminal(tmp_path, "tail", "e", "-n", "1", "--log", str(tmp_path / "log"), NO_COLOR="1")
    assert code == 0
    header, row = shown.splitlines()
    assert "\x1b" not in shown
    assert header.index("key") == row.index(row.split()[3])  # columns stand in line


def test_nothing_is_deleted_without_being_asked(project: Path, tmp_path: Path) -> None:
    log = ("--log", str(tmp_path / "log"))
    assert call(project, "run", "lines.py", "--checkpoint", "", *log).code == 0
    refused = call(project, "log", "delete", "lines", *log)
    assert refused.code == 2 and "--yes" in refused.err and "--dry-run" in refused.err
    code, shown = on_terminal(project, "log", "delete", "lines", *log, answer="n")
    assert code == 1 and "delete topic 'lines' with 3 events?" in shown and "nothing was done" in shown
    code, shown = on_terminal(project, "log", "delete", "lines", *log, answer="y")
    assert code == 0 and "deleted topic 'lines': 3 events" in shown
    assert call(project, "tail", "lines", *log).code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help(here: Callable[..., Done], command: str) -> None:
    done = here(*command.split(), "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: eventide {command}".rstrip())
    assert max(map(len, done.out.splitlines())) <= 100
    if command not in ("", "gamma", "neutron", "sensors"):
        told = done.out.split("Options:")[0]
        assert len(told.split("\n\n")[1].strip()) > 10, "no summary"
        assert "<str>" not in done.out.split("Options:")[-1], "an option without a word for its value"


def test_every_command_is_in_the_help_and_in_this_list(here: Callable[..., Done]) -> None:
    listed = {line.split()[0] for line in here("--help").out.split("Commands:\n")[1].splitlines() if line.strip()}
    assert listed == {c.split()[0] for c in COMMANDS if c} | {"gamma", "neutron", "sensors"}
    assert here("--version").out.startswith("eventide 0.")


def test_help_imports_no_command() -> None:
    code = (
        "import sys\nfrom eventide.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('polars', 'numba', 'rich') or"
        " m.startswith(('eventide.engines', 'eventide.log', 'eventide.connectors', 'eventide.apps.'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("words", "last", "expected"), [("eventide ru", 1, "run"), ("eventide log ex", 2, "export")])
def test_completion(project: Path, words: str, last: int, expected: str) -> None:
    told = {"_EVENTIDE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(last)}
    assert call(project, **told).out.split() == [expected]


def test_groups_without_a_command_say_what_there_is(here: Callable[..., Done]) -> None:
    done = here("log")
    assert done.code == 2
    assert "Usage: eventide log" in done.err and "retention" in done.err and "error" not in done.err
