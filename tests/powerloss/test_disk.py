"""Which states the two models of a disk allow, for traces small enough to list them by hand."""

from __future__ import annotations

import pytest

from eventide.testing.powerloss.disk import STYLES, Disk, Model
from eventide.testing.powerloss.trace import (
    ROOT,
    Linked,
    Made,
    Moved,
    Operation,
    Removed,
    Resized,
    Stored,
    Synced,
    Wrote,
)

A, B = b"a" * 512, b"b" * 512
ZEROS = bytes(512)
State = tuple[tuple[str, bytes], ...]


def reachable(trace: list[Operation], *, model: Model = "posix", following: Operation | None = None) -> set[State]:
    """All states that a thousand seeds give, without those that tear a sector."""
    disk = Disk(model)
    for operation in trace:
        disk.feed(operation)
    styles = [(style, seed) for style in STYLES if style != "torn" for seed in range(150)]
    return {tuple(sorted(s.tree.files().items())) for s in disk.states(following, styles=styles)}


def states(*given: dict[str, bytes]) -> set[State]:
    return {tuple(sorted(s.items())) for s in given}


WRITE = [Made(1, ROOT, "f", False), Resized(1, 1024), Wrote(1, 0, A + B)]


def test_nothing_is_sure_without_a_sync() -> None:
    found = reachable(WRITE)
    whole = {b"", A, A + B, ZEROS + B, A + ZEROS, ZEROS + ZEROS, ZEROS}
    contents = {dict(s)["f"] for s in found if s}
    assert () in found
    # the size may be any between; what is written lies within it
    assert whole <= contents
    assert all((A + B).startswith(c.rstrip(b"\0")) or c.startswith(ZEROS) for c in contents)


def test_a_synced_file_may_still_lack_its_name() -> None:
    assert reachable([*WRITE, Synced(1)]) == states({}, {"f": A + B})
    assert reachable([*WRITE, Synced(1)], model="ordered") == states({"f": A + B})


def test_a_synced_name_says_nothing_about_the_bytes() -> None:
    assert reachable([*WRITE, Synced(ROOT)]) >= states({"f": b""}, {"f": ZEROS + B}, {"f": A + B})


def test_both_synced_is_sure() -> None:
    assert reachable([*WRITE, Synced(1), Synced(ROOT)]) == states({"f": A + B})


def test_appended_bytes_come_with_the_size_in_the_ordered_model() -> None:
    contents = {dict(s).get("f") for s in reachable([*WRITE, Synced(ROOT)], model="ordered")}
    assert ZEROS + B not in contents


RENAME = [*WRITE, Synced(1), Synced(ROOT), Made(2, ROOT, "g", False), Moved(ROOT, "g", ROOT, "f")]


def test_a_rename_is_one_step_and_needs_what_it_renames() -> None:
    assert reachable(RENAME) == states({"f": A + B}, {"f": A + B, "g": b""}, {"f": b""})


def test_names_are_reordered_unless_they_are_the_same() -> None:
    both = [*WRITE, Synced(1), Made(2, ROOT, "g", False), Synced(ROOT), Removed(ROOT, "f"), Removed(ROOT, "g")]
    assert reachable(both) == states({}, {"f": A + B}, {"g": b""}, {"f": A + B, "g": b""})
    assert reachable(both, model="ordered") == states({}, {"g": b""}, {"f": A + B, "g": b""})
    again = [*WRITE, Synced(1), Synced(ROOT), Removed(ROOT, "f"), Made(2, ROOT, "f", False)]
    assert reachable(again) == states({}, {"f": A + B}, {"f": b""})


def test_a_folder_that_was_never_synced_takes_all_along() -> None:
    inside = [Made(1, ROOT, "d", True), Made(2, 1, "f", False), Resized(2, 512), Wrote(2, 0, A), Synced(2), Synced(1)]
    assert reachable(inside) == states({}, {"d/f": A})
    assert reachable([*inside, Synced(ROOT)]) == states({"d/f": A})


def test_a_sync_of_one_folder_takes_the_other_half_of_a_rename_along() -> None:
    trace = [
        Made(1, ROOT, "d", True), Made(2, ROOT, "e", True), Made(3, 1, "f", False), Synced(3), Synced(1), Synced(ROOT),
        Moved(1, "f", 2, "g"),
    ]  # fmt: skip
    assert reachable(trace) == states({"d/f": b""}, {"e/g": b""})
    assert reachable([*trace, Synced(2)]) == states({"e/g": b""})


def test_links_share_their_bytes() -> None:
    trace = [*WRITE, Synced(1), Linked(1, ROOT, "g"), Synced(ROOT)]
    assert reachable(trace) == states({"f": A + B, "g": A + B})


def test_a_cut_may_be_missing_and_what_follows_it_not() -> None:
    trace = [*WRITE, Synced(1), Synced(ROOT), Resized(1, 512), Resized(1, 1024), Wrote(1, 512, A)]
    contents = {dict(s)["f"] for s in reachable(trace)}
    assert {A + B, A, A + ZEROS, A + A} <= contents


def test_a_commit_under_way_is_there_or_not() -> None:
    commit = Stored(ROOT, "db", b"new")
    assert reachable([Stored(ROOT, "db", b"old")], following=commit) == states({"db": b"old"}, {"db": b"new"})
    assert reachable([Stored(ROOT, "db", b"old"), commit]) == states({"db": b"new"})


def test_a_torn_sector_is_half_of_each() -> None:
    disk = Disk()
    for operation in [*WRITE, Synced(1), Synced(ROOT), Wrote(1, 0, B)]:
        disk.feed(operation)
    torn = {s.tree.files()["f"][:512] for s in disk.states(None, styles=[("torn", seed) for seed in range(200)])}
    assert any(A[:100] in t and B[:100] in t for t in torn)
    assert all(t.count(b"a") + t.count(b"b") == 512 for t in torn)


@pytest.mark.parametrize("model", ["posix", "ordered"])
def test_the_same_seed_gives_the_same_state(model: Model, trace: list[Operation]) -> None:
    disk = Disk(model)
    for operation in trace[:1500]:
        disk.feed(operation)
    styles = [(style, 7) for style in STYLES]
    one, two = ([s.tree.files() for s in disk.states(trace[1500], styles=styles)] for _ in range(2))
    assert one == two


def test_everything_is_what_programs_saw(saved_trace: list[Operation]) -> None:
    disk = Disk()
    for operation in saved_trace:
        disk.feed(operation)
    (state,) = disk.states(None, styles=[("everything", 1)])
    assert state.tree.files() == disk._now.files()
