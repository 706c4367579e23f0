"""The suite itself: hundreds of states are recovered, and every forgotten sync is found out."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from eventide.log import Log
from eventide.testing.powerloss import run
from eventide.testing.powerloss.oracle import Oracle
from eventide.testing.powerloss.record import Recorder
from eventide.testing.powerloss.run import check_states
from eventide.testing.powerloss.trace import Made, Moved, Operation, Stored, Synced, Tree

STATES = 300


def test_everything_recovers_from_every_state(trace: list[Operation]) -> None:
    result = check_states(trace, states=STATES, seed=1)
    assert result.problems == []
    assert result.ok
    assert result.states > STATES * 0.9
    assert result.twice > 0
    assert {name.split()[0] for name in result.models} == {"posix", "ordered"}
    assert result.to_dict()["states"] == result.states


@pytest.mark.slow
def test_more_of_them() -> None:
    lines: list[str] = []
    result = run(states=2500, seed=10, report=lines.append)
    assert result.problems == []
    assert result.states >= 2500
    assert lines


# -- what was planted must be found

_PLACES = [
    (r"chk-\d+(\.tmp)?", "chk"),
    (r"\d{20}", "SEGMENT"),
    (r"part-\d+", "part"),
    (r"data/\w+", "data/LOG"),
    (r"data/LOG/\w+/\d", "data/LOG/TOPIC/0"),
    (r"data/LOG/(a|b|passing|results)$", "data/LOG/TOPIC"),
]


def paths(trace: list[Operation]) -> list[str]:
    """For every operation the place of the file that it is about, alike for files of one kind."""
    where, tree, found = {0: "."}, Tree(), []
    for operation in trace:
        tree.apply(operation)
        if isinstance(operation, Made):
            where[operation.node] = f"{where[operation.folder]}/{operation.name}"
        elif isinstance(operation, Moved):
            moved = tree.entries[operation.to_folder][operation.to_name]
            old, new = where[moved], f"{where[operation.to_folder]}/{operation.to_name}"
            for node, path in where.items():
                if path == old or path.startswith(f"{old}/"):
                    where[node] = new + path[len(old) :]
        path = where.get(getattr(operation, "node", -1), "")
        for pattern, name in _PLACES:
            path = re.sub(pattern, name, path, count=1)
        found.append(path)
    return found


@pytest.mark.parametrize(
    "place",
    [
        "./data/LOG/TOPIC/0/SEGMENT.seg",
        "./data/LOG/TOPIC/0",
        "./data",
        "./out/.single.csv.parts/.writing.tmp",
        "./out/parts",
        "./state/checkpoints/measure",
        "./state/checkpoints/measure/chk/manifest.json",
    ],
)
def test_a_forgotten_sync_is_found(trace: list[Operation], place: str) -> None:
    """The trace of a program that is the same but for one sync: the trace without it."""
    forgetful = [o for o, p in zip(trace, paths(trace), strict=True) if not (isinstance(o, Synced) and p == place)]
    assert len(forgetful) < len(trace)
    assert not check_states(forgetful, states=300, seed=1, report=_quiet, most_problems=1).ok


@pytest.mark.slow
def test_no_sync_is_superfluous(trace: list[Operation]) -> None:
    """Whichever kind of sync is left out, states are found that do not recover."""
    where = paths(trace)
    kinds = {p for o, p in zip(trace, where, strict=True) if isinstance(o, Synced)}
    rare = {k for k in kinds if ".single.csv.parts.new" in k or ("LOG" not in k and k.count("/") < 2)}
    assert len(kinds - rare) >= 12
    for kind in sorted(kinds - rare):
        without = [o for o, p in zip(trace, where, strict=True) if not (isinstance(o, Synced) and p == kind)]
        assert check_states(without, states=1500, seed=1, report=_quiet, most_problems=1).problems, kind


def test_a_commit_before_the_sync_of_its_events_is_found(trace: list[Operation]) -> None:
    """As if the log recorded a decision in SQLite before the events of the transaction were durable."""
    hasty: list[Operation] = []
    for operation in trace:
        hasty.append(operation)
        if isinstance(operation, Stored):
            at = len(hasty) - 1
            while at and type(hasty[at - 1]).__name__ in ("Synced", "Wrote"):
                at -= 1
            hasty.insert(at, hasty.pop())
    assert hasty != trace
    assert not check_states(hasty, states=1500, seed=1, report=_quiet, most_problems=1).ok


def _quiet(line: str) -> None:
    pass


def test_the_log_commits_durably(tmp_path: Path) -> None:
    """The recorder refuses other connections; this is what the log's own says when asked."""
    with Recorder(tmp_path), Log(tmp_path / "log") as log:
        db = log._meta._db
        answers = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert answers == ["wal", 2]


def test_the_oracle_knows_what_was_promised(trace: list[Operation]) -> None:
    oracle = Oracle(trace)
    end = len(trace)
    assert {s.kind for s in oracle.steps.values()} >= {
        "open", "create", "append", "commit", "abort", "prepare", "decide commit", "retain", "delete", "save", "flush",
    }  # fmt: skip
    frames: Callable[[int], int] = lambda cut: len(oracle.frames("strict", "a", 0, cut=cut))  # noqa: E731
    assert 0 == frames(0) < frames(end // 2) < frames(end)
    offsets = [(f.offset, f.offset + f.count) for f in oracle.frames("strict", "a", 0, cut=end)]
    assert all(end == begin for (_, end), (begin, _) in pairwise(offsets))
