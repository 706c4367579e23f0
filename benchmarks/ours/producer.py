"""The producing process of the latency benchmark: one batch every 10 ms into the log, each with an fsync.

Batch ``k`` holds events of the 10 ms of event time that begin ``k`` times 10 ms after the epoch, in order. Like that of
an instrument it is made when its time has come, and appended at once. The moments
just before and just after every append (monotonic clock, ns, the same in all processes) go to standard output.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import pyarrow as pa
from benchmarks import data
from benchmarks.ours.events import SCHEMA, TOPIC

from eventide.log import Log

TICK_NS = 10_000_000


def batch_of(number: int, rows: int) -> pa.RecordBatch:
    """The batch of one tick."""
    start = data.EPOCH_MS * 1_000_000 + number * TICK_NS
    times = pa.array(start + np.arange(rows) * TICK_NS // rows).cast(SCHEMA.field("ts").type)
    _, key, value = data.columns(number * rows, (number + 1) * rows, keys=1_000)
    return pa.record_batch([times, pa.array(key), pa.array(value)], schema=SCHEMA)


def main() -> None:
    """Append at the pace of the clock."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--ticks", type=int, required=True)
    args = parser.parse_args()
    moments = np.zeros((args.ticks, 2), np.int64)
    with Log(args.folder, fsync="each") as log:
        writer = log.writer(TOPIC)
        start = time.monotonic_ns()
        for number in range(args.ticks):
            wait = start + number * TICK_NS - time.monotonic_ns()
            if wait > 0:
                time.sleep(wait / 1e9)
            part = batch_of(number, args.rows)
            moments[number, 0] = time.monotonic_ns()
            writer.append(part)
            moments[number, 1] = time.monotonic_ns()
    print(json.dumps(moments.tolist()))


if __name__ == "__main__":
    main()
