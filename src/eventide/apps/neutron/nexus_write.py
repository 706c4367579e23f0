"""Pulses to NeXus event files. Needs h5py (``pip install eventide[neutron]``), when a file is written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eventide.apps.neutron.nexus_values import library
from eventide.errors import DataError

__all__ = ["write_pulses"]

_INT64 = 2**63
_CHUNK = 1 << 16


def write_pulses(path: str | Path, batches: Iterable[pa.RecordBatch], *, title: str = "", name: str = "") -> int:
    """Write pulses into a NeXus file, a group of events for each source, and return how many events it has.

    Times are kept exactly: ns, those of pulses since 1970. A file that is there is replaced once the new one is whole.

    Parameters
    ----------
    path
        Where to.
    batches
        Pulses (`PULSES`).
    title, name
        Of the run, of the instrument.

    Raises
    ------
    DataError
        A pulse has other numbers of times and pixels.
    MissingDependencyError
        h5py is not installed.
    """
    h5py = library()
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with h5py.File(partial, "w") as file:
            total = _write(file, batches, title=title, name=name)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return total


def _write(file: Any, batches: Iterable[pa.RecordBatch], *, title: str, name: str) -> int:
    file.attrs["default"] = "entry"
    entry = _made(file, "entry", "NXentry")
    entry["title"] = title or "events"
    place = _made(entry, "instrument", "NXinstrument")
    place["name"] = name or "unknown"
    groups: dict[str, Any] = {}
    first, last, total = _INT64, -_INT64, 0
    for batch in batches:
        sources = batch.column("source").to_pylist()
        for source in dict.fromkeys(sources):
            mine = batch.take(pa.array([i for i, s in enumerate(sources) if s == source]))
            if source not in groups:
                pixels = mine.column("pixel_id").null_count < mine.num_rows
                groups[source] = _new_group(entry, source or "events", pixels=pixels)
            total += _append(groups[source], mine)
        times = batch.column("event_time").cast(pa.int64()).to_numpy()
        if times.size:
            first, last = min(first, int(times.min())), max(last, int(times.max()))
    for group in groups.values():
        group["total_counts"] = len(group["event_time_offset"])
    if first <= last:
        entry["start_time"], entry["end_time"] = _iso(first), _iso(last)
    return total


def _iso(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _made(parent: Any, name: str, kind: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _new_group(entry: Any, source: str, *, pixels: bool) -> Any:
    group = _made(entry, source.replace("/", "_"), "NXevent_data")
    kinds = {"event_time_offset": "i4", "event_index": "i8", "event_time_zero": "i8"}
    for name, kind in (kinds | ({"event_id": "i4"} if pixels else {})).items():
        group.create_dataset(
            name, (0,), kind, maxshape=(None,), chunks=(_CHUNK,), compression="gzip", compression_opts=1
        )
    group["event_time_offset"].attrs["units"] = "ns"
    group["event_time_zero"].attrs["units"] = "ns"
    group["event_time_zero"].attrs["offset"] = "1970-01-01T00:00:00"
    return group


def _append(group: Any, batch: pa.RecordBatch) -> int:
    flights, pixels = batch.column("time_of_flight"), batch.column("pixel_id")
    counts = np.asarray(flights.value_lengths().fill_null(0)).astype(np.int64)
    own = np.asarray(pixels.value_lengths().fill_null(0))
    if not np.array_equal(counts if "event_id" in group else 0 * counts, own):
        msg = f"pulses of {batch.column('source')[0]} have other numbers of times of flight and of pixels"
        raise DataError(msg, hint="each event needs both, or no pulse of a source has pixels (null: a monitor)")
    before = len(group["event_time_offset"])
    added = {
        "event_time_offset": flights.flatten().to_numpy(zero_copy_only=False),
        "event_index": before + np.cumsum(counts) - counts,
        "event_time_zero": batch.column("event_time").cast(pa.int64()).to_numpy(),
    }
    if "event_id" in group:
        added["event_id"] = pixels.flatten().to_numpy(zero_copy_only=False)
    for name, values in added.items():
        dataset = group[name]
        dataset.resize((len(dataset) + values.size,))
        dataset[len(dataset) - values.size :] = values
    return int(counts.sum())
