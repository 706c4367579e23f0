"""Quarantine: bytes, position and reason, once each, whatever happens in between."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.engines.local.quarantine import QUARANTINE_SCHEMA, Quarantine
from eventide.errors import LogLockedError
from eventide.log import Log
from eventide.model.protocols import BadInput


def bad(*texts: str) -> list[BadInput]:
    return [BadInput(t.encode(), f"a: byte {i}", "why") for i, t in enumerate(texts)]


def kept(root: Path) -> list[bytes]:
    with Log(root) as log:
        if not [t for t in log.topics() if t.name == "quarantine"]:
            return []
    data: list[bytes] = ev.fetch(ev.read("log://quarantine", log=str(root), follow=False))["data"].to_pylist()
    return data


def test_what_waits_shows_with_the_checkpoint(tmp_path: Path) -> None:
    q = Quarantine(tmp_path, "p", "run-1")
    q.open(None)
    q.put("read-0", bad("a", "b"), partition="files")
    assert kept(tmp_path) == []
    state = q.prepare(1)
    q.put("read-0", bad("c"))
    assert kept(tmp_path) == []
    q.commit(1, state)
    q.commit(1, state)
    assert kept(tmp_path) == [b"a", b"b"]
    q.commit(2, q.prepare(2))
    assert (kept(tmp_path), q.rows, q.total) == ([b"a", b"b", b"c"], 3, 3)
    rows = ev.fetch(ev.read("log://quarantine", log=str(tmp_path), follow=False))
    assert rows.schema.names == QUARANTINE_SCHEMA.names
    first = rows.drop_columns(["timestamp"]).to_pylist()[0]
    assert (first["pipeline"], first["run"], first["source"], first["partition"], first["position"]) == (
        "p", "run-1", "read-0", "files", "a: byte 0",
    )  # fmt: skip


def test_a_checkpoint_with_nothing_opens_no_log(tmp_path: Path) -> None:
    q = Quarantine(tmp_path / "log", "p")
    q.open(None)
    q.commit(1, q.prepare(1))
    q.close()
    assert not (tmp_path / "log").exists()


@given(st.lists(st.sampled_from(["put", "checkpoint", "crash", "crash before commit"]), max_size=8))
def test_every_entry_is_kept_once_through_crashes(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """The input is 0, 1, 2 ...; after a crash it is read again from the last checkpoint, like a source does."""
    root = tmp_path_factory.mktemp("log")
    durable: tuple[int, dict[str, object] | None, int] = (0, None, 0)  # checkpoint, state, next input
    q = Quarantine(root, "p")
    q.open(None)
    at = 0
    for step in [*steps, "checkpoint"]:
        if step == "put":
            q.put("read-0", bad(str(at)))
            at += 1
            continue
        if step != "crash":
            state = dict(q.prepare(durable[0] + 1))
            durable = (durable[0] + 1, state, at)
            if step == "checkpoint":
                q.commit(durable[0], state)
                continue
        q.close()
        q = Quarantine(root, "p")
        q.open(durable[1])
        if durable[1] is not None:
            q.commit(durable[0], durable[1])
        at = durable[2]
        assert q.total == at
    assert kept(root) == [str(i).encode() for i in range(at)]


def test_what_was_prepared_after_the_checkpoint_is_aborted(tmp_path: Path) -> None:
    q = Quarantine(tmp_path, "p")
    q.open(None)
    q.put("r", bad("a"))
    first = q.prepare(1)
    q.commit(1, first)
    q.put("r", bad("b"))
    q.prepare(2)
    q.close()  # the process dies before checkpoint 2 is written
    again = Quarantine(tmp_path, "p")
    again.open(first)
    again.commit(1, first)
    again.put("r", bad("b"))
    again.commit(2, again.prepare(2))
    assert (kept(tmp_path), again.total) == ([b"a", b"b"], 2)


def test_a_run_without_checkpoints_leaves_prepared_entries_of_its_name_alone(tmp_path: Path) -> None:
    careful, quick = Quarantine(tmp_path, "p"), Quarantine(tmp_path, "p")
    careful.open(None)
    careful.put("r", bad("a"))
    state = careful.prepare(1)
    quick.put("r", bad("b"))
    careful.commit(1, state)
    assert kept(tmp_path) == [b"a", b"b"]


def test_another_writer_is_waited_for(tmp_path: Path) -> None:
    Quarantine(tmp_path, "p").put("r", bad("a"))
    other = Log(tmp_path)
    other.writer("quarantine")
    threading.Timer(0.3, other.close).start()
    q = Quarantine(tmp_path, "q")
    q.open(None)
    q.put("r", bad("b"))
    q.commit(1, q.prepare(1))
    assert kept(tmp_path) == [b"a", b"b"]


def test_what_cannot_be_kept_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Quarantine(tmp_path, "p").put("r", bad("a"))
    q = Quarantine(tmp_path, "q")
    q.open(None)
    q.put("r", bad("b"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with Log(tmp_path) as other:
        other.writer("quarantine")
        with pytest.raises(LogLockedError):
            q.prepare(1)
    q.commit(1, q.prepare(1))
    assert kept(tmp_path) == [b"a", b"b"]


def test_full_at_sixteen_megabytes(tmp_path: Path) -> None:
    q = Quarantine(tmp_path, "p")
    q.open(None)
    q.put("r", [BadInput(bytes(6 << 20), "a", "why")] * 2)
    assert not q.full
    q.put("r", [BadInput(bytes(6 << 20), "a", "why")])
    assert q.full
    q.commit(1, q.prepare(1))
    assert not q.full and [len(d) for d in kept(tmp_path)] == [6 << 20] * 3


def test_a_topic_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("quarantine", pa.schema(list(QUARANTINE_SCHEMA)[:6]), event_time="timestamp")
    q = Quarantine(tmp_path, "p", "run-1")
    q.put("read-0", bad("a"))
    assert kept(tmp_path) == [b"a"]


def test_a_row_without_time_is_kept_as_it_came(tmp_path: Path) -> None:
    rows = {"t": ["2026-01-01", "yesterday, about noon", None], "v": [1, 2, 3]}
    ev.run(ev.from_table(rows).event_time("t").write("memory://x"), quarantine=tmp_path)
    assert kept(tmp_path) == [b'{"t":"yesterday, about noon","v":2}', b'{"t":null,"v":3}']
    found = ev.fetch(ev.read("log://quarantine", log=str(tmp_path), follow=False))
    for column, value in {"operator": "assigntime-1", "source": "read-0", "partition": "0", "format": "json"}.items():
        assert found[column].to_pylist() == [value] * 2


def test_a_run_keeps_entries_with_its_checkpoints(tmp_path: Path) -> None:
    lines = [f'{{"t": "2026-01-01T00:00:00.{i:03}"}}' if i % 7 else f"bad {i}" for i in range(1, 200)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    stop = threading.Event()
    events = ev.read(str(tmp_path / "a.jsonl"), schema={"t": "string"}).event_time("t")
    stream = events.write(f"file://{tmp_path}/out/", format="json")
    options: dict[str, Any] = {"checkpoint": tmp_path / "chk", "quarantine": tmp_path / "log"}
    options |= {"checkpoint_interval": "0", "batch_rows": 5}
    first = ev.run(stream, **options, stop=stop, on_progress=lambda p: stop.set() if p.rows_in > 50 else None)
    last = ev.run(stream, **options)
    assert sorted(kept(tmp_path / "log")) == sorted(line.encode() for line in lines if line.startswith("bad"))
    assert first.quarantined + last.quarantined == last.ledger.kept == 28
    assert last.ledger.check() == []
