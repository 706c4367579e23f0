"""A folder of GADF files, one a run, of events that were streamed: what other tools for DL3 data open."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.dl3.gadf import DL3_EVENTS, Run, write_run
from eventide.apps.gamma.dl3.tables import HeaderValue
from eventide.apps.gamma.science.regions import separation
from eventide.apps.gamma.site import Site
from eventide.errors import SchemaError, near_names
from eventide.model.batch import Int64Array, event_times

__all__ = ["APART", "export_runs", "header_of", "runs_of"]

APART = 0.1
"""How far from the mean pointing of a run an event's may be, degrees: telescopes track, they do not stand still."""


def header_of(site: Site, **more: HeaderValue) -> dict[str, HeaderValue]:
    """Return the keywords that say where an array stands, and further ones.

    Examples
    --------
    >>> from eventide.apps.gamma.site import made
    >>> header_of(made(4), OBJECT="Crab")["GEOLAT"]
    28.76
    """
    place = {"GEOLON": site.longitude, "GEOLAT": site.latitude, "ALTITUDE": site.height}
    return {"TELESCOP": site.name, **place, **more}


def runs_of(
    events: pa.Table,
    gti: Mapping[int, Int64Array],
    *,
    deadtime: float = 1.0,
    header: Mapping[str, HeaderValue] | None = None,
) -> list[Run]:
    """Return the runs of events, ordered by their number, in each the events in order of time.

    A file has one pointing: events of a run get the mean of theirs.

    Parameters
    ----------
    events
        `DL3_EVENTS` of any runs in any order, and perhaps columns more.
    gti
        By ``obs_id``, good time intervals, int64 (n, 2), ns. A run without any gets one, from its first event to its
        last.
    deadtime
        Share of the time in which events could be recorded.
    header
        Keywords of all of them, such as ``{"TELESCOP": "FACT", "OBJECT": "Crab"}``, see `header_of`.

    Raises
    ------
    SchemaError
        A column of `DL3_EVENTS` is missing, or pointings within a run are further than `APART` from their mean.

    Examples
    --------
    >>> from eventide.model.time import EVENT_TIME
    >>> times, two = pa.array([10**18, 2 * 10**18]).cast(EVENT_TIME), pa.array([1.0, 2.0])
    >>> events = pa.table([times, pa.array([4, 5]), pa.array([1, 2]), *[two] * 5], names=DL3_EVENTS.names)
    >>> [run.events.num_rows for run in runs_of(events, {})]
    [1, 1]
    """
    missing = [n for n in DL3_EVENTS.names if n not in events.schema.names]
    if missing:
        msg = f"events for GADF files lack the column {missing[0]!r}"
        raise SchemaError(msg, hint=near_names(missing[0], events.schema.names))
    ordered = events.sort_by([("obs_id", "ascending"), ("time", "ascending"), ("event_id", "ascending")])
    runs: list[Run] = []
    numbers = ordered.column("obs_id").to_numpy()
    for number in np.unique(numbers).tolist():
        begin, end = (int(np.searchsorted(numbers, number, side=side)) for side in ("left", "right"))
        mine = _one_pointing(ordered.slice(begin, end - begin).combine_chunks().to_batches()[0], number)
        times = event_times(mine, "time")
        intervals = gti.get(number, np.array([[times[0], times[-1]]], np.int64))
        runs.append(Run(mine, intervals, deadtime, header or {}))
    return runs


def _one_pointing(events: pa.RecordBatch, number: int) -> pa.RecordBatch:
    ra, dec = (events.column(n).to_numpy(zero_copy_only=False) for n in ("ra_pnt", "dec_pnt"))
    if (ra == ra[0]).all() and (dec == dec[0]).all():
        return events
    lon, lat = np.radians(ra), np.radians(dec)
    x, y, z = (float(v.mean()) for v in (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)))
    mean = {
        "ra_pnt": math.degrees(math.atan2(y, x)) % 360.0,
        "dec_pnt": math.degrees(math.atan2(z, math.hypot(x, y))),
    }
    far = separation(ra, dec, ra0=mean["ra_pnt"], dec0=mean["dec_pnt"])
    if not (far <= APART).all():
        msg = f"events of run {number} have pointings that are {np.nanmax(far):.3f} degrees from their mean"
        raise SchemaError(msg, hint="a run has one pointing: give each pointing an obs_id of its own")
    for name, value in mean.items():
        at = events.schema.get_field_index(name)
        events = events.set_column(at, events.schema.field(at), pa.array(np.full(events.num_rows, value)))
    return events


def export_runs(runs: list[Run], folder: str | Path) -> list[Path]:
    """Write each run to ``run_OBS_ID.fits`` in a folder, which is made; a file is there whole or not at all.

    Examples
    --------
    >>> import tempfile
    >>> from eventide.model.time import EVENT_TIME
    >>> times, two = pa.array([10**18, 2 * 10**18]).cast(EVENT_TIME), pa.array([1.0, 2.0])
    >>> events = pa.table([times, pa.array([4, 5]), pa.array([1, 2]), *[two] * 5], names=DL3_EVENTS.names)
    >>> runs = runs_of(events, {})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in export_runs(runs, folder)]
    ['run_1.fits', 'run_2.fits']
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for run in runs:
        ids = run.events.column("obs_id")
        path = place / f"run_{ids[0].as_py() if len(ids) else run.obs_id}.fits"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(write_run(run))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        paths.append(path)
    return paths
