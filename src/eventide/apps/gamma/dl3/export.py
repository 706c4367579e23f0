"""A folder of GADF files, one a run, of events that were streamed: what other tools for DL3 data open."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.dl3.gadf import DL3_EVENTS, Run, write_run
from eventide.apps.gamma.dl3.tables import HeaderValue
from eventide.errors import SchemaError, near_names
from eventide.model.batch import Int64Array, event_times

__all__ = ["export_runs", "runs_of"]


def runs_of(
    events: pa.Table,
    gti: Mapping[int, Int64Array],
    *,
    deadtime: float = 1.0,
    header: Mapping[str, HeaderValue] | None = None,
) -> list[Run]:
    """Return the runs of events, ordered by their number, in each the events in order of time.

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
        Keywords of all of them, such as ``{"TELESCOP": "FACT", "OBJECT": "Crab"}``.

    Raises
    ------
    SchemaError
        A column of `DL3_EVENTS` is missing.

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
        mine = ordered.slice(begin, end - begin).combine_chunks().to_batches()[0]
        times = event_times(mine, "time")
        intervals = gti.get(number, np.array([[times[0], times[-1]]], np.int64))
        runs.append(Run(mine, intervals, deadtime, header or {}))
    return runs


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
