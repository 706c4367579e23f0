"""NeXus event files to pulses. Needs h5py (``pip install eventide[neutron]``), when a file is opened.

Events are in groups of the class NXevent_data: `event_id` (monitors have none), `event_time_offset` (after the pulse),
`event_index` (the first event of each pulse) and `event_time_zero` (of each pulse, after the time in its attribute
`offset`). Units are those that their attributes say; the files of ISIS say none, and have us and s. Numbers become
whole ns, the nearest; what does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.nexus_values import fits, library, nanoseconds, text_of
from eventide.apps.neutron.schema import PULSES
from eventide.errors import DataError, EventideError
from eventide.model.time import EVENT_TIME, instant

__all__ = ["event_groups", "read_pulses"]

Array = npt.NDArray[Any]

_NEEDED = ("event_time_offset", "event_index", "event_time_zero")
_PULSES, _EVENTS = 4096, 8_000_000
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class _Group:
    """A group of events, checked: where each pulse begins, and when it was (ns)."""

    name: str
    where: str
    events: Any
    first: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    charge: Array | None


def event_groups(path: str | Path) -> list[str]:
    """Return the groups of events of a file, as paths inside it.

    Raises
    ------
    DataError
        It cannot be read, or has none.
    MissingDependencyError
        h5py is not installed.
    """
    with _opened(path) as file:
        return _groups(file, str(path))


def read_pulses(path: str | Path, *, groups: Sequence[str] = (), rows: int = _PULSES) -> Iterator[pa.RecordBatch]:
    """Yield the pulses of a file (`PULSES`), in the order of their number; the source is the name of the group.

    Parameters
    ----------
    path
        An HDF5 file.
    groups
        Groups of events, as paths inside the file; left out, all.
    rows
        Pulses of a batch at the most; fewer where they have many events.

    Raises
    ------
    DataError
        The file cannot be read, its arrays do not belong together, or a number is no time in ns (an int64 for a pulse,
        an int32 for a time of flight) or no pixel (an int32).
    MissingDependencyError
        h5py is not installed.

    Notes
    -----
    Pulse times that go back stay as they are: it is the pipeline that says how late a pulse may be.
    """
    with _opened(path) as file:
        found = [_group(file, name, str(path)) for name in groups or _groups(file, str(path))]
        begin = 0
        while any(begin < g.times.size for g in found):
            end = begin + rows
            for group in found:
                ends = np.append(group.first, len(group.events["event_time_offset"]))
                end = min(
                    end, max(begin + 1, int(np.searchsorted(ends, ends[min(begin, ends.size - 1)] + _EVENTS)) - 1)
                )
            for group in found:
                if begin < group.times.size:
                    yield _pulses(group, begin, min(end, group.times.size))
            begin = end


def _opened(path: str | Path) -> Any:
    h5py = library()
    try:
        return h5py.File(path, "r")
    except OSError as error:
        msg = f"{path} cannot be read as HDF5: {error}"
        raise DataError(msg, hint="name a NeXus file of events (.nxs, .hdf5)") from None


def _groups(file: Any, where: str) -> list[str]:
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if all(n in getattr(item, "keys", list)() for n in _NEEDED):
            found.append(name)

    file.visititems(visit)
    if not found:
        msg = f"{where} has no group of events, with {', '.join(_NEEDED)}"
        raise DataError(msg, hint="a file of histograms has none; name a file in event mode")
    return found


def _group(file: Any, name: str, path: str) -> _Group:
    where = f"{path}, {name}"
    events = file.get(name)
    if not all(n in getattr(events, "keys", list)() for n in _NEEDED):
        msg = f"{where} is no group of events"
        raise DataError(msg, hint=f"the groups of this file: {', '.join(_groups(file, path))}")
    for needed in [*_NEEDED, *(["event_id"] if "event_id" in events else [])]:
        kind = getattr(events[needed], "dtype", np.dtype("O"))
        if getattr(events[needed], "ndim", 0) != 1 or kind.kind not in "iuf":
            msg = f"{where}: {needed} is not one row of numbers"
            raise DataError(msg, hint="NXevent_data has four arrays of one dimension")
    index, count = _read(events, "event_index", where=where), len(events["event_time_offset"])
    zero = events["event_time_zero"]
    ids = len(events["event_id"]) if "event_id" in events else count
    if ids != count or len(zero) != index.size:
        msg = f"{where}: {ids} events have {count} times, {index.size} pulses have {len(zero)}"
        raise DataError(msg, hint="the file is broken, or was still being written")
    first = index.astype(np.int64)
    if index.size and (index[0] != 0 or index.max() > count or (np.diff(first) < 0).any() or index.dtype.kind == "f"):
        msg = f"{where}: event_index does not lead from 0 upwards through {count} events"
        raise DataError(msg, hint="each pulse says with which event it begins")
    if count and not index.size:
        msg = f"{where}: there are {count} events, and no pulse"
        raise DataError(msg, hint="each pulse says with which event it begins")
    since = text_of(zero.attrs.get("offset"))
    try:
        begin = instant(since) if since else 0
    except EventideError as error:
        msg = f"{where}: event_time_zero counts from {since!r}: {error.message}"
        raise DataError(msg, hint="its attribute offset is a time as 2026-01-01T00:00:00") from None
    times = nanoseconds(
        _read(events, "event_time_zero", where=where), zero, without="s", where=f"{where}: event_time_zero"
    )
    if times.size and not -_INT64 < int(times.min()) + begin <= int(times.max()) + begin < _INT64:
        msg = f"{where}: a time of a pulse is beyond the year 2262"
        raise DataError(msg, hint="times are ns since 1970 in 64 bits; is the unit of event_time_zero right?")
    return _Group(name.rpartition("/")[2], where, events, first, times + begin, _charge(events, times.size))


def _read(group: Any, name: str, *, where: str, part: slice = slice(None)) -> Array:
    try:
        found: Array = group[name][part]
    except (OSError, ValueError) as error:
        msg = f"{where}: {name} cannot be read: {error}"
        raise DataError(msg, hint="the file is broken, or has a compression that h5py lacks") from None
    return found


def _charge(events: Any, pulses: int) -> Array | None:
    """Return the proton charge of each pulse, where ISIS keeps it."""
    with suppress(KeyError, OSError, AttributeError, TypeError):
        value = events.parent["framelog/proton_charge/value"]
        if value.shape == (pulses,) and value.dtype.kind in "iuf":
            return np.asarray(value[:], np.float32)
    return None


def _pulses(group: _Group, begin: int, end: int) -> pa.RecordBatch:
    total = len(group.events["event_time_offset"])
    first = np.append(group.first, total)[begin : end + 1]
    part = slice(int(first[0]), int(first[-1]))
    raw = _read(group.events, "event_time_offset", where=group.where, part=part)
    where = f"{group.where}: event_time_offset"
    flights = nanoseconds(raw, group.events["event_time_offset"], without="us", where=where)
    ids = _read(group.events, "event_id", where=group.where, part=part) if "event_id" in group.events else None
    for values, what in ((flights, "time of flight"), (ids, "pixel")):
        if values is not None and not fits(values):
            msg = f"{group.where}: a {what} of pulses {begin} to {end - 1} is no whole number of 32 bits"
            raise DataError(msg, hint="times of flight are ns here and end at 2.1 s; is their unit right?")
    ends = pa.array((first - first[0]).astype(np.int32))
    rows = end - begin
    columns = {
        "event_time": pa.array(group.times[begin:end]).cast(EVENT_TIME),
        "source": pa.array([group.name] * rows, pa.string()),
        "message_id": pa.array(np.arange(begin, end)),
        "pulse": pa.array(np.zeros(rows, np.int32)),
        "time_of_flight": pa.ListArray.from_arrays(ends, pa.array(flights.astype(np.int32))),
    }
    if ids is not None:
        columns["pixel_id"] = pa.ListArray.from_arrays(ends, pa.array(ids.astype(np.int32)))
    if group.charge is not None:
        columns["proton_charge"] = pa.array(group.charge[begin:end])
    return pa.RecordBatch.from_arrays([columns.get(f.name, pa.nulls(rows, f.type)) for f in PULSES], schema=PULSES)
