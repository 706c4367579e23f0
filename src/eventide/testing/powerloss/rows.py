"""Events that can be told from their numbers alone, so that whoever reads them can say whether every bit is right."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import pyarrow as pa

from eventide.model.time import EVENT_TIME

__all__ = ["SCHEMA", "rows", "table"]

SCHEMA = pa.schema([("id", pa.int64()), ("t", EVENT_TIME), ("payload", pa.binary())])
TEXT_SCHEMA = pa.schema([("id", pa.int64()), ("t", EVENT_TIME), ("text", pa.string())])


def _payload(number: int) -> bytes:
    digest = hashlib.blake2b(number.to_bytes(8, "little"), digest_size=1 + number % 61).digest()
    return digest * (1 + number % 5)


@lru_cache(maxsize=1 << 16)
def rows(first: int, count: int, *, text: bool = False) -> pa.RecordBatch:
    """Return the events `first` to ``first + count - 1``.

    Parameters
    ----------
    first, count
        Number of the first event, and how many.
    text
        Whether the payload is text.

    Examples
    --------
    >>> rows(7, 3).column("id").to_pylist()
    [7, 8, 9]
    """
    numbers = np.arange(first, first + count, dtype=np.int64)
    times = 1_700_000_000_000_000_000 + numbers * 1_000_000 + numbers * 7919 % 1000 * 1_000_000
    payload = [_payload(int(n)) for n in numbers]
    last = pa.array([p.hex() for p in payload], pa.string()) if text else pa.array(payload, pa.binary())
    schema = TEXT_SCHEMA if text else SCHEMA
    return pa.record_batch([pa.array(numbers), pa.array(times, EVENT_TIME), last], schema=schema)


def table(ranges: list[tuple[int, int]], *, text: bool = False) -> pa.Table:
    """Return the events of some ranges (first, count), one after the other.

    Examples
    --------
    >>> table([(1, 2), (9, 1)]).column("id").to_pylist()
    [1, 2, 9]
    """
    schema = TEXT_SCHEMA if text else SCHEMA
    return pa.Table.from_batches([rows(first, count, text=text) for first, count in ranges], schema).combine_chunks()
