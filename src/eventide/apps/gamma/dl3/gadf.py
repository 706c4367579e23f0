"""Event lists of the gamma-astro data formats (GADF 0.2 and 0.3): runs read from FITS and written to it.

https://gamma-astro-data-formats.readthedocs.io (v0.3): HDU EVENTS with EVENT_ID, TIME, RA, DEC, ENERGY and what comes
of them, HDU GTI with START and STOP; times are seconds since MJDREFI + MJDREFF in the scale TIMESYS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.dl3.tables import FitsTable, HeaderValue, OpenTable, opened, write_fits
from eventide.apps.gamma.dl3.times import from_utc, to_utc
from eventide.errors import DataError, SchemaError, near_names
from eventide.model.batch import Int64Array, event_times
from eventide.model.time import EVENT_TIME, format_time

__all__ = ["DL3_EVENTS", "OPTIONAL", "Run", "read_run", "write_run"]

DL3_EVENTS: Final = pa.schema(
    [
        pa.field("time", EVENT_TIME),
        pa.field("event_id", pa.int64()),
        pa.field("obs_id", pa.int64()),
        pa.field("ra", pa.float64(), metadata={"unit": "deg", "meaning": "ICRS"}),
        pa.field("dec", pa.float64(), metadata={"unit": "deg", "meaning": "ICRS"}),
        pa.field("energy", pa.float64(), metadata={"unit": "TeV"}),
        pa.field("ra_pnt", pa.float64(), metadata={"unit": "deg", "meaning": "where the telescopes pointed"}),
        pa.field("dec_pnt", pa.float64(), metadata={"unit": "deg"}),
    ]
)
"""Gamma-like events, as a stream."""

OPTIONAL: Final[Mapping[str, tuple[str, str]]] = {
    "gammaness": ("GAMMANESS", ""),
    "multiplicity": ("MULTIP", ""),
    "alt": ("ALT", "deg"),
    "az": ("AZ", "deg"),
    "core_x": ("COREX", "m"),
    "core_y": ("COREY", "m"),
    "h_max": ("XMAX", "m"),
}
"""Further columns that are written where the events have them: name and unit in the file."""

_KEPT: Final = ("TELESCOP", "INSTRUME", "OBJECT", "OBSERVER", "OBS_MODE", "GEOLON", "GEOLAT", "ALTITUDE")
_MJDREF = 51_910  # 2001-01-01, one for all files, as they are put together by column


@dataclass(frozen=True, slots=True)
class Run:
    """One observation: its events, when the telescopes were looking, and what the header said.

    Parameters
    ----------
    events
        `DL3_EVENTS`, and perhaps columns of `OPTIONAL`, as in the file.
    gti
        int64 (n, 2): starts and stops of the good time intervals, ns UTC.
    deadtime
        Share of the time in which events could be recorded (DEADC), 0 to 1.
    header
        Other keywords of the EVENTS table.

    Examples
    --------
    >>> Run(pa.RecordBatch.from_pylist([], DL3_EVENTS), np.array([[0, 10**9]]), deadtime=0.9).livetime
    0.9
    """

    events: pa.RecordBatch
    gti: Int64Array
    deadtime: float = 1.0
    header: Mapping[str, HeaderValue] = field(default_factory=dict)

    @property
    def obs_id(self) -> int:
        """Number of the observation."""
        value = self.header.get("OBS_ID", 0)
        return int(value) if isinstance(value, (int, float)) else 0

    @property
    def ontime(self) -> float:
        """Length of the good time intervals, s."""
        return float((self.gti[:, 1] - self.gti[:, 0]).sum()) / 1e9

    @property
    def livetime(self) -> float:
        """Time in which events could be recorded, s."""
        return self.ontime * self.deadtime


def read_run(source: str | Path | bytes) -> Run:
    """Return the run of a GADF file (or its bytes), which may be compressed with gzip.

    Raises
    ------
    DataError
        It is no GADF file: a table, a column or a keyword is missing, or a time cannot be one.
    MissingDependencyError
        astropy is not installed.

    Examples
    --------
    >>> events = pa.record_batch([pa.array([v], f.type) for f, v in zip(DL3_EVENTS, [10**18, 1, 7, 83, 22, 1, 83, 22])],
    ...                          schema=DL3_EVENTS)
    >>> run = Run(events, 10**18 + np.array([[0, 300_000_000_000]]), deadtime=0.98)
    >>> back = read_run(write_run(run))
    >>> back.events.drop_columns("time").equals(events.drop_columns("time")), back.ontime, back.header["OBS_ID"]
    (True, 300.0, 7)
    """
    with opened(source, "EVENTS", "GTI") as (events, gti):
        return _run(events, gti)


def _run(events: OpenTable, gti: OpenTable) -> Run:
    times = _times(events, events.column("TIME", "fiu"))
    count = times.size
    point = {name: _number(events, name) for name in ("RA_PNT", "DEC_PNT")}
    obs_id = int(_number(events, "OBS_ID", default=0.0))
    ids = events.column("EVENT_ID", "iu", of="whole numbers") if "EVENT_ID" in events.names else np.arange(count)
    values = {
        "time": pa.array(times).cast(EVENT_TIME),
        "event_id": pa.array(ids.astype(np.int64)),
        "obs_id": pa.array(np.full(count, obs_id, np.int64)),
        **{n: pa.array(events.column(n.upper(), "fiu").astype(np.float64)) for n in ("ra", "dec", "energy")},
        "ra_pnt": pa.array(np.full(count, point["RA_PNT"])),
        "dec_pnt": pa.array(np.full(count, point["DEC_PNT"])),
    }
    schema = DL3_EVENTS
    for name, (column, _) in OPTIONAL.items():
        if column in events.names:
            values[name] = pa.array(events.column(column, "fiu"))
            schema = schema.append(pa.field(name, values[name].type))
    batch = pa.RecordBatch.from_arrays([values[f.name] for f in schema], schema=schema)
    edges = np.stack([gti.column(name, "f", of="seconds") for name in ("START", "STOP")], axis=1)
    return Run(batch, _times(gti, edges), _number(events, "DEADC", default=1.0), events.header)


def _number(table: OpenTable, key: str, *, default: float | None = None) -> float:
    value = table.header.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not np.isfinite(value):
        msg = f"{table.where} has {key} = {value!r} in its header, which should be a number"
        raise DataError(msg, hint="GADF makes it mandatory")
    return value


def _times(table: OpenTable, seconds: np.ndarray) -> Int64Array:
    whole, fraction = _number(table, "MJDREFI"), _number(table, "MJDREFF", default=0.0)
    try:
        return to_utc(seconds, mjd=int(whole), fraction=fraction, scale=str(table.header.get("TIMESYS", "utc")))
    except DataError as error:
        msg = f"{table.where}: {error.message}"
        raise DataError(msg, hint=error.hint) from None


def write_run(run: Run, *, telescope: str = "", creator: str = "eventide") -> bytes:
    """Return a run as a GADF 0.3 file; the same run gives the same bytes.

    Energies that are not known are NaN. GADF has times as 64-bit floats: they come back to 60 ns. Parquet
    (`eventide.formats.parquet`) keeps all.

    Parameters
    ----------
    run
        What to write. Of its header, names (TELESCOP, INSTRUME, OBJECT, OBSERVER, OBS_MODE) and the place on Earth
        (GEOLON, GEOLAT, ALTITUDE; gammapy needs it for observations) are kept.
    telescope
        TELESCOP, where the header has none.
    creator
        CREATOR.

    Raises
    ------
    SchemaError
        Events lack a column, or are of several observations or pointings.
    DataError
        A column or a keyword is nothing that FITS can hold.
    MissingDependencyError
        astropy is not installed.

    Examples
    --------
    >>> empty = Run(pa.RecordBatch.from_pylist([], DL3_EVENTS), 10**18 + np.array([[0, 10**9]]))
    >>> read_run(write_run(empty)).gti.tolist()
    [[1000000000000000000, 1000000001000000000]]
    """
    events = run.events
    missing = [n for n in DL3_EVENTS.names if n not in events.schema.names]
    if missing:
        msg = f"events for a GADF file lack the column {missing[0]!r}"
        raise SchemaError(msg, hint=near_names(missing[0], events.schema.names))
    shared = {n: _shared(events, n) for n in ("obs_id", "ra_pnt", "dec_pnt")}
    columns = {
        "EVENT_ID": events.column("event_id").to_numpy(),
        "TIME": from_utc(event_times(events, "time"), mjd=_MJDREF, scale="tt"),
        "RA": events.column("ra").to_numpy(),
        "DEC": events.column("dec").to_numpy(),
        "ENERGY": events.column("energy").to_numpy(zero_copy_only=False),
    }
    units = {"TIME": "s", "RA": "deg", "DEC": "deg", "ENERGY": "TeV"}
    for name, (column, unit) in OPTIONAL.items():
        if name in events.schema.names:
            columns[column] = events.column(name).to_numpy(zero_copy_only=False)
            units |= {column: unit} if unit else {}
    edges = from_utc(run.gti, mjd=_MJDREF, scale="tt").reshape(-1, 2)
    kept = {k: run.header[k] for k in _KEPT if k in run.header}
    clock: dict[str, HeaderValue] = {
        "HDUCLASS": "GADF",
        "HDUDOC": "https://github.com/open-gamma-ray-astro/gamma-astro-data-formats",
        "HDUVERS": "0.3",
        "MJDREFI": _MJDREF,
        "MJDREFF": 0.0,
        "TIMEUNIT": "s",
        "TIMESYS": "TT",
        "TIMEREF": "LOCAL",
        "CREATOR": creator,
    }
    header: dict[str, HeaderValue] = {
        **clock,
        "HDUCLAS1": "EVENTS",
        "TELESCOP": telescope or "unknown",
        **kept,
        **{k.upper(): v for k, v in shared.items()},
        "RADECSYS": "ICRS",
        "EQUINOX": 2000.0,
        "ONTIME": run.ontime,
        "LIVETIME": run.livetime,
        "DEADC": run.deadtime,
        **_span(run, edges),
    }
    gti = FitsTable(
        "GTI",
        {"START": np.ascontiguousarray(edges[:, 0]), "STOP": np.ascontiguousarray(edges[:, 1])},
        {**clock, "HDUCLAS1": "GTI"},
        {"START": "s", "STOP": "s"},
    )
    return write_fits([FitsTable("EVENTS", columns, header, units), gti])


def _shared(events: pa.RecordBatch, name: str) -> int | float:
    values = events.column(name).unique().to_pylist()
    if len(values) > 1:
        msg = f"events for a GADF file have several values of {name!r}"
        raise SchemaError(msg, hint="a file holds one observation of one pointing: split the events first")
    found: int | float = values[0] if values else 0
    return found


def _span(run: Run, edges: np.ndarray) -> dict[str, HeaderValue]:
    if not len(edges):
        return {}
    first, last = int(run.gti[:, 0].min()), int(run.gti[:, 1].max())
    return {
        "TSTART": float(edges[:, 0].min()),
        "TSTOP": float(edges[:, 1].max()),
        "DATE-OBS": format_time(first).rstrip("Z"),
        "DATE-END": format_time(last).rstrip("Z"),
    }
