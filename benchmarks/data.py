"""The one definition of the events that all benchmarks process.

Row ``i`` of stream ``seed`` is a closed formula of ``i``, built from products below 2**63 and remainders only, so the
same rows come out of numpy here and out of computed columns in any SQL engine (``sql_columns``)::

    a     = (i * 1103515245 + OFFSET[seed]) mod (2**31 - 1)
    b     = (a * a + i) mod (2**31 - 1)
    ts    = EPOCH_MS + 2000 + i div 10 - a mod 2000      milliseconds: 10,000 events a second, 0 to 2 s disorder
    key   = b mod keys
    value = b / (2**31 - 1)                              in [0, 1), one IEEE division, so bit-equal everywhere

The multiplier is that of the ANSI C example ``rand``; the squaring breaks up the lattice of the linear step.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

MODULUS = 2**31 - 1
MULTIPLIER = 1_103_515_245
OFFSET = (12_345, 1_013_904_223)
EPOCH_MS = 1_700_000_000_000
DISORDER_MS = 2_000
EVENTS_PER_MS = 10
MAX_ROWS = 2**32  # keeps every product below 2**63
FILE_ROWS = 250_000

FOLDER = Path(__file__).resolve().parent / "results" / "data"


def columns(start: int, stop: int, *, keys: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows ``start`` to ``stop`` as (time in ms int64, key int64, value float64)."""
    if not 0 <= start <= stop <= MAX_ROWS:
        msg = f"rows {start}..{stop} are outside 0..{MAX_ROWS}"
        raise ValueError(msg)
    i = np.arange(start, stop, dtype=np.int64)
    a = (i * MULTIPLIER + OFFSET[seed]) % MODULUS
    b = (a * a + i) % MODULUS
    time_ms = EPOCH_MS + DISORDER_MS + i // EVENTS_PER_MS - a % DISORDER_MS
    return time_ms, b % keys, b / float(MODULUS)


def sql_columns(row: str, *, keys: int, seed: int = 0, divide: str = "{0} / {1}") -> dict[str, str]:
    """The same formula as SQL expressions of the integer column `row`; `divide` is the dialect's integer division.

    The moduli are cast because ``MOD`` has the type of its second argument, in which ``a * a`` would overflow.
    """
    a = f"MOD({row} * {MULTIPLIER} + {OFFSET[seed]}, CAST({MODULUS} AS BIGINT))"
    b = f"MOD({a} * {a} + {row}, CAST({MODULUS} AS BIGINT))"
    base = divide.format(f"({row})", EVENTS_PER_MS)
    return {
        "time_ms": f"{EPOCH_MS + DISORDER_MS} + {base} - MOD({a}, {DISORDER_MS})",
        "key": f"MOD({b}, CAST({keys} AS BIGINT))",
        "value": f"CAST({b} AS DOUBLE) / CAST({MODULUS} AS DOUBLE)",
    }


def table(start: int, stop: int, *, keys: int, seed: int = 0) -> pa.Table:
    """Rows as an Arrow table ``ts`` (timestamp[ms, UTC]), ``key`` (int64), ``value`` (float64)."""
    import pyarrow as pa

    time_ms, key, value = columns(start, stop, keys=keys, seed=seed)
    ts = pa.array(time_ms).cast(pa.timestamp("ms", tz="UTC"))
    return pa.table({"ts": ts, "key": pa.array(key), "value": pa.array(value)})


def parquet(rows: int, *, keys: int, seed: int = 0) -> Path:
    """Folder of Parquet files with the first `rows` rows; made on first use and kept.

    Modification times rise with the file number, because Spark's file stream reads the oldest file first.
    """
    import pyarrow.parquet as pq

    folder = FOLDER / f"keys-{keys}-seed-{seed}-rows-{rows}"
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        path = unfinished / f"part-{number:05d}.parquet"
        pq.write_table(table(start, min(start + FILE_ROWS, rows), keys=keys, seed=seed), path)
        os.utime(path, (EPOCH_MS // 1000 + number, EPOCH_MS // 1000 + number))
    try:
        unfinished.rename(folder)
    except OSError:  # another worker finished the same folder first
        shutil.rmtree(unfinished)
    return folder
