"""A slow sink slows the source, and the memory of a run stays within its bound."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

QUEUE = 32 << 20
BATCH = 65_536 * 3 * 8
"""What a batch holds: three columns of eight bytes."""

PROGRAM = """
import json, resource, sys, threading, time
from pathlib import Path
import pyarrow as pa
import eventide as ev

uri, rows, sleep, queue, log = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5]

def resident():
    # What this process alone holds; pages of files that are mapped belong to the system, which takes them back.
    status = dict(l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024

class Slow:
    delivery = "at_least_once"
    rows = peak = batches = 0
    def open(self, schema, state): pass
    def write(self, batch):
        self.rows += batch.num_rows
        self.batches += 1
        time.sleep(sleep)
        if self.batches % 20 == 0:
            self.peak = max(self.peak, resident())
    def prepare(self, checkpoint): return {}
    def commit(self, checkpoint, state): pass
    def close(self): pass

def run(rows, sink):
    options = {"log": log, "follow": False} if uri.startswith("log") else {"rows": rows, "seed": 1, "keys": 1000}
    stream = ev.read(uri, **options).event_time("timestamp")
    return ev.run(stream.write(sink).named("slow"), queue_bytes=queue, batch_rows=65_536)

run(200_000, Slow())          # everything is imported and has been used once
before, sink = resident(), Slow()
result = run(rows, sink)
print(json.dumps({"before": before, "peak": max(sink.peak, before), "rows": sink.rows, "seconds": result.seconds}))
"""


def measured(uri: str, rows: int, *, sleep: float, log: Path) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM, uri, str(rows), str(sleep), str(QUEUE), str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


# What waits, what is at work in source and pipeline, and what the allocators of Arrow and C keep for later.
BOUND = QUEUE + 16 * BATCH + (32 << 20)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_fifty_million_events_and_a_sink_that_sleeps(tmp_path: Path) -> None:
    found = measured("generator://events", 50_000_000, sleep=0.005, log=tmp_path)
    assert found["rows"] == 50_000_000
    assert found["peak"] - found["before"] < BOUND, found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_from_the_log(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa

    from eventide.log import Log

    with Log(tmp_path, fsync="os") as log:
        columns = {
            "timestamp": pa.array(np.arange(65_536), pa.timestamp("ns", "UTC")),
            "key": np.arange(65_536),
            "value": np.arange(65_536) / 8,
        }
        batch = pa.record_batch(columns)
        log.create_topic("events", batch.schema, event_time="timestamp")
        for _ in range(160):
            log.append("events", batch)
    found = measured("log://events", 0, sleep=0.005, log=tmp_path)
    assert found["rows"] == 160 * 65_536
    assert found["peak"] - found["before"] < BOUND, found
