"""The pipeline of the crash suite is killed and must write what it writes undisturbed; and the suite must notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_suite import COMMAND, torture

pytestmark = pytest.mark.slow


def test_a_hundred_kills(tmp_path: Path) -> None:
    code, report, said = torture("kill", "--random", "100", folder=tmp_path)
    assert code == 0, said
    assert report["kills"] >= 100
    assert report["rows"] > 1000 * report["rounds"]
    assert (report["lost"], report["doubled"], report["wrong"]) == (0, 0, 0)
    assert "rows compared: 0 lost, 0 doubled, 0 wrong" in said
    assert list(tmp_path.iterdir()) == []


def test_every_point(tmp_path: Path) -> None:
    code, report, said = torture("kill", "--at", "all", "--hits", "1", "--seed", "2", folder=tmp_path)
    assert code == 0, said
    assert report["kills"] > 20


BROKEN = {
    # A source that goes on a little behind the position it is given.
    "lost": (
        "from eventide.testing.crash.ending import EndingSource as S; plain = S.open\n"
        "def skip(self, positions):\n"
        "    near = lambda offset: offset + 3 * (offset < 300)\n"
        "    return plain(self, {p: {'offset': near(int(at['offset']))} for p, at in positions.items()})\n"
        "S.open = skip"
    ),
    # A sink that does not wait for the checkpoint.
    "doubled": (
        "from eventide.testing.crash import pipeline as p; plain = p.sinks\n"
        "def sinks(folder, *, tables):\n"
        "    made = plain(folder, tables=tables); uri, options = made['bursts']\n"
        "    return {**made, 'bursts': (uri, {**options, 'visible': 'at once'})}\n"
        "p.sinks = sinks"
    ),
}


@pytest.mark.parametrize("what", ["lost", "doubled"])
def test_the_suite_notices(tmp_path: Path, what: str) -> None:
    code, report, said = torture("kill", "--random", "40", folder=tmp_path, code=f"{BROKEN[what]}\n{COMMAND}")
    assert code == 1, said
    assert report[what] > 0
    assert report["failures"]
    assert Path(report["folder"]).is_dir()
    assert "failed:" in said
