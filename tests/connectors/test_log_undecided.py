"""A bounded read of a topic in which a process died with a transaction open: what is behind it is read at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

import eventide as ev
from eventide.log import Log

DIES = """
import os, sys, pyarrow as pa
from eventide.log import Log
log = Log(sys.argv[1])
tx = log.transaction()
tx.append("t", pa.record_batch({"x": [7, 8]}))
os._exit(1)
"""


def test_events_behind_a_dead_transaction_are_read(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.create_topic("t", pa.schema([("x", pa.int64())]))
        log.append("t", pa.record_batch({"x": [1]}))
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
    with Log(tmp_path) as log:
        log.append("t", pa.record_batch({"x": [2]}))
    for _ in range(3):
        read = ev.read("log://t", log=str(tmp_path), follow=False)
        assert ev.fetch(read)["x"].to_pylist() == [1, 2]
