"""Transactions: all or nothing, order kept, prepared ones, death of the writer."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from eventide.errors import LogError
from eventide.log import Log, Reader, Retention

SCHEMA = pa.schema([("x", pa.int64())])


def batch(*x: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(x, pa.int64())], schema=SCHEMA)


def values(reader: Reader, timeout: float = 0.0) -> list[int]:
    return [v for f in reader.read(timeout=timeout) for v in f.batch.column("x").to_pylist()]


@pytest.fixture(params=["each", "group", "os"])
def log(tmp_path: Path, request: pytest.FixtureRequest) -> Log:
    with Log(tmp_path, fsync=request.param) as opened:
        for name in ("a", "b"):
            opened.create_topic(name, SCHEMA, partitions=2)
        yield opened


def test_commit_shows_all_topics_at_once(log: Log) -> None:
    with log.transaction() as tx:
        assert tx.append("a", batch(1, 2)) == {0: 0}
        assert tx.append("b", batch(3), partition=1) == {1: 0}
        tx.append("a", batch(4))
        tx.put_checkpoint("p", b"one")
        tx.commit_offsets("g", {"a": {0: 3}})
        log.flush()
        assert values(log.reader("a")) == values(log.reader("b")) == []
        assert log.checkpoint("p") is None
    assert values(log.reader("a")) == [1, 2, 4]
    assert values(log.reader("b")) == [3]
    assert log.checkpoint("p") == b"one"
    assert log.offsets("g") == {"a": {0: 3}}


def test_an_exception_aborts(log: Log) -> None:
    log.append("a", batch(0))
    with pytest.raises(ZeroDivisionError), log.transaction() as tx:
        tx.append("a", batch(1))
        tx.put_checkpoint("p", b"lost")
        raise ZeroDivisionError
    log.append("a", batch(2))
    log.flush()
    reader = log.reader("a")
    assert values(reader) == [0, 2]
    assert reader.positions == {0: 3, 1: 0}
    assert log.checkpoint("p") is None
    with pytest.raises(LogError, match="is over"):
        tx.append("a", batch(1))
    with pytest.raises(LogError, match="is over"):
        tx.commit()


def test_readers_stop_before_what_is_pending(log: Log) -> None:
    log.append("a", batch(0))
    first = log.transaction()
    first.append("a", batch(1))
    second = log.transaction()
    second.append("a", batch(2))
    log.append("a", batch(3))
    log.flush()
    reader = log.reader("a")
    assert values(reader) == [0]
    assert reader.backlog()[0] == 3
    second.commit()
    assert values(reader, timeout=0.02) == []
    first.abort()
    assert values(reader) == [2, 3]


def test_a_reader_that_waits_sees_the_commit(log: Log) -> None:
    tx = log.transaction()
    tx.append("a", batch(1))
    log.flush()
    thread = threading.Thread(target=lambda: (time.sleep(0.05), tx.commit()))
    thread.start()
    assert values(log.reader("a"), timeout=10) == [1]
    thread.join()


def test_a_transaction_that_only_writes_a_checkpoint(log: Log) -> None:
    with log.transaction() as tx:
        tx.put_checkpoint("p", b"1")
    with log.transaction() as tx:
        tx.put_checkpoint("p", b"2")
    with log.transaction():
        pass
    assert log.checkpoint("p") == b"2"
    assert log.checkpoint("q") is None


def test_keys_in_a_transaction(log: Log) -> None:
    with log.transaction() as tx:
        offsets = tx.append("a", batch(*range(100)), key="x")
    assert offsets == {0: 0, 1: 0}
    assert sorted(values(log.reader("a"))) == list(range(100))


CHILD = """
import os, sys, pyarrow as pa
from eventide.log import Log
log = Log(sys.argv[1])
tx = log.transaction(owner="o")
tx.append("a", pa.record_batch({"x": [1]}))
if sys.argv[2] == "prepare":
    print(tx.prepare(), flush=True)
log.append("a", pa.record_batch({"x": [2]}))
os.kill(os.getpid(), 9)
"""


def child(path: Path, how: str) -> str:
    command = [sys.executable, "-c", CHILD, str(path), how]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_the_death_of_its_process_aborts(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        child(tmp_path, "die")
        reader = log.reader("a")
        assert values(reader, timeout=5) == [2]
        log.append("a", batch(3))
        assert values(reader) == [3]
        assert values(log.reader("a"), timeout=5) == [2, 3]


def test_prepared_transactions_outlive_their_process(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        first, second = int(child(tmp_path, "prepare")), int(child(tmp_path, "prepare"))
        assert log.prepared("o") == [first, second]
        assert log.prepared("other") == []
        reader = log.reader("a")
        assert values(reader, timeout=0.5) == []
        log.commit_prepared(first)
        log.commit_prepared(first)
        assert values(reader) == [1, 2]
        log.abort_prepared(second)
        log.abort_prepared(second)
        assert values(reader) == [2]
        assert log.prepared("o") == []
        with pytest.raises(LogError, match="was aborted before"):
            log.commit_prepared(second)
        with pytest.raises(LogError, match="was committed before"):
            log.abort_prepared(first)
        with pytest.raises(LogError, match="never a transaction"):
            log.commit_prepared(99 << 32 | 1)


def test_prepare_and_decide_in_place(log: Log) -> None:
    for decide, seen in (("commit", [1]), ("abort", [])):
        tx = log.transaction()
        tx.append("a", batch(1))
        tx.prepare()
        with pytest.raises(LogError, match="is over"):
            tx.append("a", batch(1))
        reader = log.reader("a", start={0: 0 if decide == "commit" else 1})
        assert values(reader) == []
        getattr(tx, decide)()
        assert values(reader) == seen
    tx = log.transaction()
    tx.put_checkpoint("p", b"")
    with pytest.raises(LogError, match="cannot be prepared"):
        tx.prepare()


def test_a_commit_that_the_database_refuses(log: Log) -> None:
    tx = log.transaction()
    tx.append("a", batch(1))
    tx._statements.append(lambda db: db.execute("INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(LogError, match="cannot be written: no such table"):
        tx.commit()
    log.append("a", batch(2))
    log.flush()
    assert values(log.reader("a")) == [2]


def test_closing_the_log_aborts_what_is_open(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA)
        log.transaction().append("a", batch(1))
    with Log(tmp_path) as log:
        log.append("a", batch(2))
        assert values(log.reader("a"), timeout=5) == [2]


def test_rows_of_transactions_go_with_their_events(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", SCHEMA, segment_bytes=2000, retention=Retention(max_bytes=4000))
        for i in range(50):
            tx = log.transaction()
            tx.append("a", batch(i))
            tx.commit() if i % 2 else tx.abort()
        slow = log.reader("a")
        assert [slow.read(1)[0].batch.column("x")[0].as_py() for _ in range(2)] == [1, 3]
        assert len(log.apply_retention()) > 5
        kept = log.describe("a")[0].earliest
        assert kept > 20
        assert len(log._meta.transactions(0, limit=1000)) == 50 - kept
        assert values(log.reader("a")) == [i for i in range(50) if i >= kept and i % 2]
        # This one knows nothing of the transactions whose rows are gone.
        with Log(tmp_path) as fresh, pytest.raises(LogError, match="deleted by retention"):
            fresh.reader("a", start={0: 2}).read()
        with pytest.raises(LogError, match="deleted by retention"):
            slow.read()


DECIDED = """
import os, signal, sys
import pyarrow as pa
from eventide.log import Log
from eventide.log.transaction import Transaction

own = Transaction._decide

def then_die(self, state):
    own(self, state)
    os.kill(os.getpid(), signal.SIGKILL)

Transaction._decide = then_die
log = Log(sys.argv[1])
with log.transaction(owner="o") as transaction:
    transaction.append("a", pa.record_batch({"x": [1, 2, 3]}))
    if sys.argv[2] == "prepare":
        transaction.prepare()
"""


@pytest.mark.parametrize("how", ["commit", "prepare"])
def test_what_was_decided_is_seen_although_its_process_died_at_once(tmp_path: Path, how: str) -> None:
    with Log(tmp_path) as log:
        log.create_topic("a", pa.schema([("x", pa.int64())]))
        with log.reader("a") as reader:
            assert reader.read() == []
            assert subprocess.run([sys.executable, "-c", DECIDED, str(tmp_path), how], check=False).returncode == -9
            if how == "prepare":
                (number,) = log.prepared("o")
                assert reader.read() == []
                log.commit_prepared(number)
            assert reader.read(timeout=5)[0].batch.column("x").to_pylist() == [1, 2, 3]
