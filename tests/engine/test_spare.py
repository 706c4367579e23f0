"""A feed that is ahead does other work; one that is not goes on reading."""

from __future__ import annotations

import queue
import threading

import pyarrow as pa
import pytest

from eventide.connectors.memory import MemorySource
from eventide.engines.local.feed import Feed, Items
from eventide.engines.local.lanes import Workers
from eventide.engines.local.spare import Spare

ONE = [pa.record_batch({"x": [i]}) for i in range(10)]


@pytest.fixture
def workers():
    made = Workers(1)
    yield made
    made.close()


def started(spare: Spare, most: int) -> tuple[Feed, Items]:
    items: Items = queue.Queue()
    feed = Feed("a", MemorySource(ONE), {}, items=items, max_rows=1, max_items=most, spare=spare)
    feed.start()
    return feed, items


def test_a_feed_whose_queue_is_full_helps(workers: Workers) -> None:
    spare = Spare(2, workers)
    feed, items = started(spare, most=2)
    helped = threading.Event()
    where: list[str] = []
    spare.start(lambda: (where.append(threading.current_thread().name), helped.set()))
    assert helped.wait(10)
    assert where == ["eventide-a"]
    rows = 0
    while not (item := items.get(timeout=10)).finished:
        rows += sum(c.batch.num_rows for c in item.chunks)
        feed.taken(item)
    assert rows == 10
    feed.stop()


def test_a_feed_at_its_end_helps_no_more(workers: Workers) -> None:
    spare = Spare(2, workers)
    feed, items = started(spare, most=20)
    while not items.get(timeout=10).finished:
        pass
    spare.start(lambda: pytest.fail("nobody is there"))
    feed.stop()
    assert spare  # it waits for ever, which is why nobody may wait for it


def test_workers_help_where_no_feed_does() -> None:
    workers = Workers(2)
    spare = Spare(3, workers)
    helped = threading.Event()
    spare.start(helped.set)
    assert helped.wait(10)
    assert not spare
    workers.close()
