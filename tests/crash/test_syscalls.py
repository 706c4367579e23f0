"""Calls of the system that go wrong, by strace; where there is none, the suite says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_suite import torture


@pytest.mark.slow
@pytest.mark.parametrize(("which", "every"), [("kill", 40), ("enospc", 60), ("eio", 60)])
def test_some_calls(tmp_path: Path, which: str, every: int) -> None:
    code, report, said = torture("syscalls", "--pass", which, "--every", str(every), folder=tmp_path)
    if code == 4 and "strace" in said:
        pytest.skip(said.splitlines()[0])
    assert code == 0, said
    assert report["cases"] >= 5
    assert sum(report["calls"].values()) > 300
    assert (report["lost"], report["doubled"], report["wrong"]) == (0, 0, 0)


def test_without_strace(tmp_path: Path) -> None:
    code, _, said = torture("syscalls", folder=tmp_path, env={"PATH": str(tmp_path)})
    assert code == 4
    assert "strace" in said


def test_unknown_pass(tmp_path: Path) -> None:
    code, _, said = torture("syscalls", "--pass", "enospace", folder=tmp_path)
    assert code == 2
    assert "did you mean 'enospc'?" in said
