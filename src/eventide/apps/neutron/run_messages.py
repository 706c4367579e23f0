"""Beginnings (pl72) and ends (6s4t) of runs: messages to rows."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from eventide import registry
from eventide.formats import pl72
from eventide.model.batch import column
from eventide.model.time import EVENT_TIME

__all__ = ["RUNS", "decode_runs"]

RUNS: Final = pa.schema(
    [
        pa.field("event_time", EVENT_TIME, metadata={"meaning": "when the run begins, or ends"}),
        pa.field("begins", pa.bool_()),
        pa.field("run", pa.string(), metadata={"meaning": "name; of an end perhaps empty"}),
        pa.field("job", pa.string()),
        pa.field("stop", EVENT_TIME, metadata={"meaning": "of a beginning: when the run ends by itself"}),
    ]
)
"""Beginnings and ends of runs."""

_MS = 1_000_000


def decode_runs(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the beginnings and ends of runs in messages (`RUNS`); other messages are left out.

    Parameters
    ----------
    batch
        Messages in a column ``value``. Where one names no time, it is that of the column ``timestamp``.

    Examples
    --------
    >>> from eventide.formats.pl72 import RunStart, write
    >>> one = write(RunStart(run_name="42", job_id="a", start_time=1000))
    >>> messages = pa.record_batch({"value": pa.array([one, b"?"], pa.binary())})
    >>> decode_runs(messages).select(["begins", "run"]).to_pylist()
    [{'begins': True, 'run': '42'}]
    """
    read_stop = registry.resolve("format", "6s4t").read
    sent = [None] * batch.num_rows
    if "timestamp" in batch.schema.names:
        sent = batch.column("timestamp").cast(EVENT_TIME).cast(pa.int64()).to_pylist()
    rows = []
    for data, now in zip(column(batch, "value", where="of messages").to_pylist(), sent, strict=True):
        begins = (data or b"")[4:8] == b"pl72"
        try:
            told = pl72.read(data) if begins else read_stop(data or b"")
        except pl72.BrokenMessageError:
            continue
        time = (told.start_time if begins else told.stop_time) * _MS or now
        stop = (told.stop_time or None) if begins else None
        if time is not None and not (stop is not None and stop * _MS <= time):
            rows.append((time, begins, told.run_name, told.job_id, None if stop is None else stop * _MS))
    return pa.RecordBatch.from_arrays(
        [pa.array([r[at] for r in rows], f.type) for at, f in enumerate(RUNS)], schema=RUNS
    )
