"""The golden answers of this application, computed on real data: what `eventide sensors verify` prints.

Data: a folder with ``sensors/aot/`` in it. The day of 2016-11-10 was digitised from the figures that the
book's notebook published, so its samples are near the originals but not equal; the times that the
notebook printed are the original ones.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from eventide import registry
from eventide.apps.sensors.decode import Rules, decode_table, good
from eventide.apps.sensors.pipeline import analyse
from eventide.apps.sensors.ranges import Ranges, read_ranges
from eventide.apps.sensors.schema import REASONS
from eventide.apps.sensors.slots import Float64Array, Int64Array
from eventide.errors import DataError
from eventide.model.pipeline import pipeline
from eventide.model.stream import read
from eventide.model.time import duration

__all__ = ["DAY", "agreement", "read_text", "real_day", "run_through_engine", "verify"]

_STREAMS = ("Chemsense_no2", "TSYS01_temperature")
DAY = "no2_tsys01_2016-11-10_digitised.csv.gz"
_TEXTBOOK_FLAGS = {"Chemsense_no2": 807, "TSYS01_temperature": 1739}
_FLOORS = {"Chemsense_no2": (0.83, 0.95), "TSYS01_temperature": (0.91, 0.94)}
_INCIDENTS = {"Chemsense_no2": 1, "TSYS01_temperature": 3}
_WARMUP = 1000


def verify(data_dir: Path) -> dict[str, Any]:
    """Compute the golden answers on the real files.

    Parameters
    ----------
    data_dir
        Folder with ``sensors/aot/``.

    Returns
    -------
    ``ok``, the figures of the real day by stream (``day``) and of the dirty snapshot (``dirty``).

    Raises
    ------
    DataError
        A file is missing or cannot be read.
    """
    folder = data_dir / "sensors" / "aot"
    day = {stream: _verify_stream(folder, stream) for stream in _STREAMS}
    dirty = _verify_dirty(folder)
    return {
        "ok": dirty["ok"] and all(figures["ok"] for figures in day.values()),
        "incidents": sum(figures["incidents"] for figures in day.values()),
        "day": day,
        "dirty": dirty,
    }


def real_day(folder: Path) -> pa.RecordBatch:
    """Return the good readings of the digitised day, in the order of the file.

    Parameters
    ----------
    folder
        The folder ``sensors/aot``.
    """
    return good(decode_table(read_text(folder / DAY)))


def run_through_engine(readings: pa.RecordBatch, options: dict[str, object]) -> tuple[pa.Table, pa.Table]:
    """Run the pipeline with the detector ``band``; return judged readings in order of time, and incidents.

    Parameters
    ----------
    readings
        Decoded readings (`READINGS`).
    options
        Options of the detector.
    """
    memory = registry.resolve("connector", "memory")
    scored, incidents = memory.MemorySink(), memory.MemorySink()
    found = analyse(read(memory.MemorySource(readings)), options=options)
    job = pipeline(found.scored.write(scored, name="judged"), found.incidents.write(incidents, name="found"))
    registry.resolve("engine", "local").run(job)
    return scored.table().sort_by([("stream", "ascending"), ("timestamp", "ascending")]), incidents.table()


def read_text(path: Path) -> pa.Table:
    """Read a CSV file with all columns as text.

    Raises
    ------
    DataError
        The file is missing or is no CSV file.
    """
    try:
        return pl.read_csv(path, infer_schema=False, encoding="utf8-lossy").to_arrow()
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg, hint="point EVENTIDE_DATA at the folder that holds sensors/aot") from None


def agreement(found: Int64Array, published: Int64Array, *, within: int) -> tuple[float, float]:
    """Return recall and precision of found against published times.

    Parameters
    ----------
    found, published
        ns, each in rising order.
    within
        How far apart two times of one anomaly may lie, ns.

    Examples
    --------
    >>> agreement(np.array([10, 20]), np.array([11, 50]), within=2)
    (0.5, 0.5)
    """
    return _share_near(published, found, within), _share_near(found, published, within)


def _share_near(these: Int64Array, those: Int64Array, within: int) -> float:
    if not len(these) or not len(those):
        return 0.0
    at = np.searchsorted(those, these)
    before, after = those[np.maximum(at - 1, 0)], those[np.minimum(at, len(those) - 1)]
    return float(np.mean(np.minimum(np.abs(these - before), np.abs(after - these)) <= within))


def _verify_stream(folder: Path, stream: str) -> dict[str, Any]:
    readings = real_day(folder)
    mine = readings.filter(pc.equal(readings.column("stream"), stream))
    values = mine.column("value").to_numpy()
    scored, incidents = run_through_engine(mine, {"band": "notebook17"})
    textbook, _ = run_through_engine(mine, {"band": "textbook", "warmup": _WARMUP})
    flags, textbook_flags = (table.column("flag").to_numpy() for table in (scored, textbook))
    times = scored.column("timestamp").cast(pa.int64()).to_numpy()
    recall, precision = agreement(times[flags], _published(folder, stream), within=duration("60s"))
    expected = _textbook_rows(values)
    figures = {
        "readings": len(values),
        "flags": int(flags.sum()),
        "recall": round(recall, 3),
        "precision": round(precision, 3),
        "incidents": incidents.num_rows,
        "incident_times": [
            f"{row['start']:%H:%M:%S} to {row['end']:%H:%M:%S}" for row in incidents.sort_by("start").to_pylist()
        ],
        "textbook_flags": int(textbook_flags.sum()),
        "textbook_to_the_row": bool(np.array_equal(np.flatnonzero(textbook_flags), expected)),
    }
    floors = _FLOORS[stream]
    figures["ok"] = (
        recall >= floors[0]
        and precision >= floors[1]
        and figures["incidents"] == _INCIDENTS[stream]
        and figures["textbook_flags"] == _TEXTBOOK_FLAGS[stream]
        and figures["textbook_to_the_row"]
    )
    return figures


def _published(folder: Path, stream: str) -> Int64Array:
    table = read_text(folder / "published_anomalies_2016-11-10.csv")
    mine = table.filter(pc.equal(table.column("stream"), stream))
    times = pl.Series(mine.column("timestamp")).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns")
    return np.sort(times.to_physical().to_numpy())


def _textbook_rows(values: Float64Array) -> Int64Array:
    """Return the rows that the printed formula flags, computed straight from its text on the whole series.

    A second way to the same rows: the smoothed value as an explicit weighted sum over the past, the
    deviation by `numpy.std` over each window.
    """
    alpha, size, n = 0.96, 20, len(values)
    back = np.arange(n)
    powers = alpha ** np.clip(back[:, None] - back[None, :], 0, None)
    weights = np.tril(powers) * (1 - alpha)
    weights[:, 0] = alpha**back
    smoothed = weights @ values
    windows = np.lib.stride_tricks.sliding_window_view(values, size)
    sigma = np.std(windows, axis=1)[_WARMUP - size + 1 :]
    return np.flatnonzero(np.abs(values - smoothed)[_WARMUP:] > 1.3 * sigma) + _WARMUP


def _verify_dirty(folder: Path) -> dict[str, Any]:
    """Decode the dirty snapshot and compare its flags with what its text says, judged row by row."""
    table = read_text(folder / "chicago_public_2018-09-28.csv")
    ranges = read_ranges(folder / "sensors.csv")
    batch = decode_table(table, Rules(ranges=ranges))
    reasons = batch.column("reason").to_pylist()
    unnoticed = sum(
        reason is None and _is_bad(row, ranges) for reason, row in zip(reasons, table.to_pylist(), strict=True)
    )
    groundless = sum(
        reason is not None and not _is_bad(row, ranges) for reason, row in zip(reasons, table.to_pylist(), strict=True)
    )
    counts = {name: reasons.count(name) for name in REASONS if name in reasons}
    return {
        "rows": table.num_rows,
        "flagged": counts,
        "unnoticed": unnoticed,
        "groundless": groundless,
        "ok": batch.num_rows == table.num_rows and unnoticed == 0 and groundless == 0,
    }


def _is_bad(row: dict[str, str], ranges: Ranges) -> bool:
    """Say whether a row of the snapshot holds a bad value: the rules of decoding, one row at a time."""
    if row["value_raw"] == "65535" or row["parameter"] in {"id", "fw"}:
        return True
    try:
        value = float(row["value_hrf"])
    except ValueError:
        return True
    low, high = ranges.limits.get((row["sensor"], row["parameter"]), (-math.inf, math.inf))
    return not (math.isfinite(value) and low <= value <= high and value != 65535)
