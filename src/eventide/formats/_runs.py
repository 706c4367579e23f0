"""Beginnings and ends of runs (pl72, 6s4t), which spectrum a detector belongs to (df12), and heartbeats (x5f2).

Times of runs are ms since 1970 in messages, and ns here; 0 is no time: a run without an end, an end that is now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import DataError, SchemaError
from eventide.formats._flatbuffers import BrokenMessageError, Bytes, Table, root
from eventide.formats._flatbuffers_write import Node, message
from eventide.formats._rows import ms_to_time
from eventide.model.time import EVENT_TIME

__all__ = [
    "HEARTBEAT",
    "MAP",
    "START",
    "STOP",
    "Heartbeat",
    "RunStart",
    "RunStop",
    "SpectrumMap",
    "heartbeat_from_row",
    "heartbeat_to_row",
    "map_to_rows",
    "read_heartbeat",
    "read_map",
    "read_start",
    "read_stop",
    "start_from_row",
    "start_to_row",
    "stop_from_row",
    "stop_to_row",
    "write_heartbeat",
    "write_map",
    "write_start",
    "write_stop",
]

_MILLISECOND = 1_000_000
_INTS = pa.list_(pa.int32())
_START_TEXTS = {
    "run_name": 2,
    "instrument_name": 3,
    "nexus_structure": 4,
    "job_id": 5,
    "broker": 6,
    "service_id": 7,
    "filename": 8,
    "metadata": 11,
    "control_topic": 12,
}
_STOP_TEXTS = {"run_name": 1, "job_id": 2, "service_id": 3, "command_id": 4}
_BEAT_TEXTS = {"software_name": 0, "software_version": 1, "service_id": 2, "host_name": 3, "status_json": 6}

START = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("stop_time", EVENT_TIME),
        *(pa.field(name, pa.string()) for name in _START_TEXTS),
        pa.field("n_periods", pa.int64()),
        pa.field("spectrum", _INTS),
        pa.field("detector_id", _INTS),
        pa.field("n_spectra", pa.int32()),
    ]
)
STOP = pa.schema([pa.field("event_time", EVENT_TIME), *(pa.field(name, pa.string()) for name in _STOP_TEXTS)])
MAP = pa.schema([("spectrum", pa.int32()), ("detector_id", pa.int32()), ("n_spectra", pa.int32())])
HEARTBEAT = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in _BEAT_TEXTS),
        pa.field("process_id", pa.int64()),
        pa.field("update_interval", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumMap:
    """Which spectrum each detector belongs to.

    Parameters
    ----------
    spectrum
        Numbers of spectra, int32.
    detector_id
        The detector of each, int32.
    n_spectra
        How many spectra there are.

    Examples
    --------
    >>> SpectrumMap(np.array([1, 1]), np.array([10, 11]), 1).n_spectra
    1
    """

    spectrum: npt.NDArray[Any]
    detector_id: npt.NDArray[Any]
    n_spectra: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """The beginning of a run; times in ms since 1970.

    Examples
    --------
    >>> RunStart(job_id="1", start_time=1000).n_periods
    1
    """

    start_time: int = 0
    stop_time: int = 0
    run_name: str = ""
    instrument_name: str = ""
    nexus_structure: str = ""
    job_id: str = ""
    broker: str = ""
    service_id: str = ""
    filename: str = ""
    n_periods: int = 1
    detector_spectrum_map: SpectrumMap | None = None
    metadata: str = ""
    control_topic: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStop:
    """The end of a run; `stop_time` in ms since 1970, 0 for at once.

    Examples
    --------
    >>> RunStop(job_id="1").stop_time
    0
    """

    stop_time: int = 0
    run_name: str = ""
    job_id: str = ""
    service_id: str = ""
    command_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A program says that it lives; `update_interval` in ms, `status_json` is its own.

    Examples
    --------
    >>> Heartbeat(software_name="eventide", update_interval=1000).status_json
    '{}'
    """

    software_name: str = ""
    software_version: str = ""
    service_id: str = ""
    host_name: str = ""
    process_id: int = 0
    update_interval: int = 0
    status_json: str = "{}"


def read_start(data: Bytes) -> RunStart:
    """Return what a message of the schema pl72 holds."""
    table = root(data, "pl72")
    part = table.table(10)
    return RunStart(
        start_time=table.number(0, "Q"),
        stop_time=table.number(1, "Q"),
        n_periods=table.number(9, "I", 1),
        detector_spectrum_map=None if part is None else _map(part),
        **_texts(table, _START_TEXTS),
    )


def _texts(table: Table, slots: Mapping[str, int]) -> dict[str, Any]:
    return {name: table.text(slot) or "" for name, slot in slots.items()}


def _map(table: Table) -> SpectrumMap:
    spectrum, detector = table.vector(0, "<i4"), table.vector(1, "<i4")
    none = np.empty(0, np.int32)
    found = SpectrumMap(
        none if spectrum is None else spectrum, none if detector is None else detector, table.number(2, "i")
    )
    if len(found.spectrum) != len(found.detector_id):
        msg = f"it maps {len(found.detector_id):,} detectors to {len(found.spectrum):,} spectra"
        raise BrokenMessageError(msg)
    return found


def write_start(one: RunStart) -> bytes:
    """Return a message of the schema pl72."""
    fields: dict[int, Any] = {0: ("Q", one.start_time), 1: ("Q", one.stop_time), 9: ("I", one.n_periods)}
    fields |= {slot: getattr(one, name) for name, slot in _START_TEXTS.items()}
    if one.detector_spectrum_map is not None:
        fields[10] = _map_node(one.detector_spectrum_map)
    return message("pl72", Node(fields))


def _map_node(one: SpectrumMap) -> Node:
    spectrum, detector = _int32(one.spectrum, "spectrum"), _int32(one.detector_id, "detector_id")
    if spectrum.shape != detector.shape or spectrum.ndim != 1:
        msg = f"a map has a spectrum for each detector, not {spectrum.size} for {detector.size}"
        raise SchemaError(msg, hint="pass two arrays of one length")
    return Node({0: spectrum, 1: detector, 2: ("i", one.n_spectra)})


def _int32(values: Any, what: str) -> npt.NDArray[np.int32]:
    found = np.asarray(values)
    made = found.astype(np.int32)
    if not np.array_equal(made, found):
        msg = f"{what} holds numbers that do not fit an int32"
        raise DataError(msg, hint="they are counted from 0 or 1 and stay below 2^31")
    return made


def read_stop(data: Bytes) -> RunStop:
    """Return what a message of the schema 6s4t holds."""
    table = root(data, "6s4t")
    return RunStop(stop_time=table.number(0, "Q"), **_texts(table, _STOP_TEXTS))


def write_stop(one: RunStop) -> bytes:
    """Return a message of the schema 6s4t."""
    texts = {slot: getattr(one, name) for name, slot in _STOP_TEXTS.items()}
    return message("6s4t", Node({0: ("Q", one.stop_time), **texts}))


def read_map(data: Bytes) -> SpectrumMap:
    """Return what a message of the schema df12 holds."""
    return _map(root(data, "df12"))


def write_map(one: SpectrumMap) -> bytes:
    """Return a message of the schema df12."""
    return message("df12", _map_node(one))


def read_heartbeat(data: Bytes) -> Heartbeat:
    """Return what a message of the schema x5f2 holds."""
    table = root(data, "x5f2")
    return Heartbeat(
        process_id=table.number(4, "I"), update_interval=table.number(5, "I"), **_texts(table, _BEAT_TEXTS)
    )


def write_heartbeat(one: Heartbeat) -> bytes:
    """Return a message of the schema x5f2."""
    numbers: dict[int, Any] = {4: ("I", one.process_id), 5: ("I", one.update_interval)}
    return message("x5f2", Node(numbers | {slot: getattr(one, name) for name, slot in _BEAT_TEXTS.items()}))


def _time(ms: int, what: str) -> int | None:
    return ms_to_time(ms, what) if ms else None


def start_to_row(one: RunStart) -> dict[str, Any]:
    """Return a row of `START`."""
    part = one.detector_spectrum_map
    return {
        "event_time": _time(one.start_time, "start_time"),
        "stop_time": _time(one.stop_time, "stop_time"),
        **{name: getattr(one, name) for name in _START_TEXTS},
        "n_periods": one.n_periods,
        "spectrum": None if part is None else part.spectrum,
        "detector_id": None if part is None else part.detector_id,
        "n_spectra": None if part is None else part.n_spectra,
    }


def start_from_row(row: Mapping[str, Any]) -> RunStart:
    """Return a row of `START` as the beginning of a run."""
    has_map = row.get("spectrum") is not None and row.get("detector_id") is not None
    part = SpectrumMap(row["spectrum"], row["detector_id"], _or(row.get("n_spectra"), 0)) if has_map else None
    return RunStart(
        start_time=_ms(row.get("event_time")),
        stop_time=_ms(row.get("stop_time")),
        n_periods=_or(row.get("n_periods"), 1),
        detector_spectrum_map=part,
        **{name: row.get(name) or "" for name in _START_TEXTS},
    )


def _or(value: Any, default: int) -> Any:
    return default if value is None else value


def _ms(ns: int | None) -> int:
    """Return a time in ms; a part of one that the message has no room for is an error, not a rounded time."""
    if ns is None:
        return 0
    if ns % _MILLISECOND or ns <= 0:
        msg = f"a time of {ns} ns since 1970 is not a whole number of ms, or not after 1970"
        raise DataError(msg, hint="round it in the pipeline, for example with .dt.truncate('1ms')")
    return ns // _MILLISECOND


def stop_to_row(one: RunStop) -> dict[str, Any]:
    """Return a row of `STOP`."""
    return {"event_time": _time(one.stop_time, "stop_time"), **{name: getattr(one, name) for name in _STOP_TEXTS}}


def stop_from_row(row: Mapping[str, Any]) -> RunStop:
    """Return a row of `STOP` as the end of a run."""
    return RunStop(stop_time=_ms(row.get("event_time")), **{name: row.get(name) or "" for name in _STOP_TEXTS})


def map_to_rows(one: SpectrumMap) -> list[dict[str, Any]]:
    """Return rows of `MAP`, one for each detector."""
    pairs = zip(one.spectrum.tolist(), one.detector_id.tolist(), strict=True)
    return [{"spectrum": s, "detector_id": d, "n_spectra": one.n_spectra} for s, d in pairs]


def heartbeat_to_row(one: Heartbeat) -> dict[str, Any]:
    """Return a row of `HEARTBEAT`."""
    return {name: getattr(one, name) for name in HEARTBEAT.names}


def heartbeat_from_row(row: Mapping[str, Any]) -> Heartbeat:
    """Return a row of `HEARTBEAT` as a heartbeat."""
    texts: dict[str, Any] = {name: row.get(name) or "" for name in _BEAT_TEXTS}
    process, interval = row.get("process_id"), row.get("update_interval")
    return Heartbeat(process_id=_or(process, 0), update_interval=_or(interval, 0), **texts)
