"""The recorder sees everything, or says that it does not."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import sqlite3
import subprocess
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eventide.testing.powerloss.place import as_trace, place
from eventide.testing.powerloss.record import Recorder, RecorderError, differences
from eventide.testing.powerloss.trace import (
    Made,
    Marked,
    Moved,
    Operation,
    Removed,
    Resized,
    Stored,
    Synced,
    Tree,
    Wrote,
    load_trace,
)
from eventide.testing.powerloss.workload import LOGS, command


def replayed(trace: list[Operation]) -> dict[str, bytes]:
    tree = Tree()
    for operation in trace:
        tree.apply(operation)
    return tree.files()


def real(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_it_records_is_what_is_there(tmp_path: Path) -> None:
    table = pa.table({"x": list(range(5000))})
    with Recorder(tmp_path) as recorder:
        root = recorder.root
        (root / "a" / "b").mkdir(parents=True)
        pq.write_table(table, root / "a" / "x.parquet")  # Arrow's own files
        with pa.OSFile(str(root / "a" / "y"), "wb") as out:
            out.write(b"y" * 3000)
        (root / "text").write_text("text")
        os.truncate(root / "text", 2)
        (root / "text").rename(root / "a" / "b" / "text")
        os.link(root / "a" / "y", root / "y")
        shutil.copyfile(root / "a" / "y", root / "z")
        fd = os.open(root / "head", os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, 64)
        words = mmap.mmap(fd, 64)
        words[0:3] = b"map"
        recorder.mark("here", value=1)
        words[0:3] = b"MAP"
        shutil.copytree(root / "a", root / "c")
        shutil.rmtree(root / "c")
        os.close(fd)
    assert replayed(recorder.trace) == real(tmp_path)
    assert Marked("here", {"value": 1}) in recorder.trace
    at = recorder.trace.index(Marked("here", {"value": 1}))
    assert any(isinstance(o, Wrote) and o.data[:3] == b"map" for o in recorder.trace[:at])
    assert any(isinstance(o, Wrote) and o.data[:3] == b"MAP" for o in recorder.trace[at:])


def test_writes_come_before_the_sync_that_covers_them(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder, (recorder.root / "f").open("wb") as file:
        file.write(b"1" * 600)
        file.flush()
        os.fsync(file.fileno())
        file.write(b"2" * 600)
    kinds = [type(o) for o in recorder.trace]
    assert kinds == [Made, Resized, Wrote, Synced, Resized, Wrote]


def test_a_trace_goes_on_in_another_process(tmp_path: Path) -> None:
    with Recorder(tmp_path) as first:
        (first.root / "d").mkdir()
        (first.root / "d" / "f").write_bytes(b"one")
    with Recorder(tmp_path, first.trace) as second:
        (second.root / "d" / "f").write_bytes(b"two")
        (second.root / "d" / "g").write_bytes(b"three")
    assert replayed(second.trace) == real(tmp_path) == {"d/f": b"two", "d/g": b"three"}
    assert len({o.node for o in second.trace if isinstance(o, Made)}) == 3


@pytest.mark.parametrize("change", [["mv", "f", "g"], ["rm", "f"], ["mkdir", "d"]])
def test_names_changed_unseen_are_an_error(tmp_path: Path, change: list[str]) -> None:
    with pytest.raises(RecorderError), Recorder(tmp_path) as recorder:
        (recorder.root / "f").write_bytes(b"x")
        recorder.mark("now")
        subprocess.run(change, cwd=tmp_path, check=True)
        recorder.mark("then")


def test_commits_of_sqlite_are_recorded_whole(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        db = sqlite3.connect(recorder.root / "db", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE t (x)")
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES (1)")
        recorder.mark("not yet")
        db.execute("COMMIT")
        recorder.mark("committed")
        db.close()
    stored = [o for o in recorder.trace if isinstance(o, Stored)]
    before = recorder.trace.index(Marked("not yet", {}))
    assert {type(o) for o in recorder.trace} == {Stored, Marked}
    assert [rows(o.data) for o in stored if recorder.trace.index(o) > before] == [1]
    assert rows([o for o in stored if recorder.trace.index(o) < before][-1].data) == 0


def rows(data: bytes) -> int:
    db = sqlite3.connect(":memory:")
    db.deserialize(data[:18] + b"\1\1" + data[20:])  # in memory there is no write-ahead journal
    return int(db.execute("SELECT count(*) FROM t").fetchone()[0])


@pytest.mark.parametrize("pragma", ["synchronous=NORMAL", "synchronous=OFF", "journal_mode=DELETE"])
def test_a_commit_that_is_not_durable_is_an_error(tmp_path: Path, pragma: str) -> None:
    with pytest.raises(RecorderError, match="may be lost"), Recorder(tmp_path) as recorder:
        db = sqlite3.connect(recorder.root / "db", isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", f"PRAGMA {pragma}"):
            db.execute(statement)
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE t (x)")
        db.execute("COMMIT")


def test_a_tree_becomes_a_trace_and_a_folder_and_back(trace: list[Operation], tmp_path: Path) -> None:
    tree = Tree()
    for operation in trace[:2000]:
        tree.apply(operation)
    assert replayed(as_trace(tree)) == tree.files()
    place(tree, tmp_path / "copy")
    assert real(tmp_path / "copy") == tree.files()


def test_differences_are_runs_of_sectors() -> None:
    after = bytearray(5000)
    after[600] = after[4999] = 1
    assert [(at, len(d)) for at, d in differences(bytes(5000), bytes(after))] == [(512, 512), (4608, 392)]
    assert differences(b"", b"") == []


_CALL = re.compile(
    r"\s(fsync|fdatasync|rename|renameat2?|unlink|unlinkat|rmdir|mkdir|mkdirat|link|linkat)\((.*)\)\s+= 0$"
)


def _of_strace(line: str, root: str) -> tuple[str, str] | None:
    found = _CALL.search(line)
    if not found:
        return None
    call, text = found[1], re.sub(r"AT_FDCWD<[^>]*>, ", "", found[2])
    folder = re.match(r"\d+<([^>]*)>, ", text)  # of the calls that take one
    paths = re.findall(r'"([^"]*)"', text)
    if call in ("fsync", "fdatasync"):
        paths = re.findall(r"<([^>]*)>", text)
    elif folder:
        paths = [p if p.startswith("/") else f"{folder[1]}/{p}" for p in paths]
    kind = {"fsync": "sync", "fdatasync": "sync", "mkdir": "make", "mkdirat": "make", "link": "link", "linkat": "link"}
    where = [p for p in paths if p.startswith(root) and "meta.sqlite" not in p]
    if not where:
        return None
    word = "move" if call.startswith("rename") else kind.get(call, "remove")
    return word, where[-1].removeprefix(root).strip("/")


def _of_trace(trace: list[Operation]) -> list[tuple[str, str]]:
    found, tree = [], Tree()
    for operation in trace:
        folders = {node: path for path, node in tree.folders().items()}

        def path(folder: int, name: str, folders: dict[int, str] = folders) -> str:
            return f"{folders[folder]}/{name}".strip("/")

        match operation:
            case Synced(node):
                files = {n: path(f, name) for f in folders for name, n in tree.entries[f].items()}
                found.append(("sync", folders.get(node, files.get(node, "gone"))))
            case Moved(_, _, folder, name):
                found.append(("move", path(folder, name)))
            case Removed(folder, name):
                found.append(("remove", path(folder, name)))
            case Made(_, folder, name, True):
                found.append(("make", path(folder, name)))
            case _:
                pass
        tree.apply(operation)
    return found


@pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed: nothing to compare the recorder with"
)
def test_the_operating_system_saw_the_same(tmp_path: Path) -> None:
    """Every sync and every change of a name that strace sees is in the trace, in the same order, and nothing else."""
    root, output = tmp_path / "root", tmp_path / "strace"
    root.mkdir()
    calls = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat"
    watched = ["strace", "-f", "-y", "-s", "4096", "-e", f"trace={calls}", "-o", str(output)]
    if subprocess.run([*watched, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    subprocess.run([*watched, *command(root, tmp_path / "trace", seed=5, generation=0)], check=True)
    seen = [found for line in output.read_text().splitlines() if (found := _of_strace(line, str(root)))]
    trace = _of_trace(load_trace(tmp_path / "trace"))
    of_sqlite = [("sync", f"data/{log}") for log in LOGS]  # SQLite syncs the folder of a new journal, too
    assert len(trace) > 100
    assert [s for s in seen if s not in of_sqlite] == [t for t in trace if t not in of_sqlite]
    assert all(seen.count(s) >= trace.count(s) > 0 for s in of_sqlite)


def test_nothing_happens_while_it_is_frozen(tmp_path: Path) -> None:
    """A background sync between the last look and the end of the process would be missing in the trace."""
    path = tmp_path / "a"
    with Recorder(tmp_path) as recorder, path.open("wb") as file:
        other = threading.Thread(target=os.fsync, args=(file.fileno(),))
        with recorder.frozen():
            other.start()
            other.join(0.05)
            assert other.is_alive()
            assert not [o for o in recorder.trace if isinstance(o, Synced)]
        other.join()
        assert [o for o in recorder.trace if isinstance(o, Synced)]


def test_a_thread_that_stores_through_a_map_while_all_is_verified_is_no_gap(tmp_path: Path) -> None:
    path = tmp_path / "head"
    path.write_bytes(bytes(64))
    stop = threading.Event()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 64) as head:

        def store() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                head[8:16] = number.to_bytes(8, "little")

        with Recorder(tmp_path) as recorder:
            other = threading.Thread(target=store)
            other.start()
            try:
                for _ in range(20):
                    recorder.verify()
            finally:
                stop.set()
                other.join()
        recorder.verify()
        assert replayed(recorder.trace)["head"] == bytes(head)
