"""The science check on real data: FACT's public observations of the Crab Nebula, streamed through the engine.

The runs are those of the joint-crab data release (Nigro et al., A&A 625 (2019) A10).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from eventide import registry
from eventide.apps.gamma.dl3.gadf import DL3_EVENTS, Run, read_run
from eventide.apps.gamma.science.alerts import alert_rows
from eventide.apps.gamma.science.regions import ON, OnOff, add_regions
from eventide.apps.gamma.science.rolling import watch
from eventide.apps.gamma.science.significance import li_ma
from eventide.errors import DataError
from eventide.model.aggregate import sum_
from eventide.model.pipeline import pipeline
from eventide.model.stream import read
from eventide.model.time import EVENT_TIME
from eventide.model.window import global_window

__all__ = ["CRAB", "Discovery", "Found", "crab", "discovery", "fact_runs", "flare", "merged", "streamed"]

CRAB = OnOff(83.63308, 22.0145, radius=0.03**0.5, n_off=5, name="Crab")
"""The Crab Nebula with theta squared below 0.03 square degrees and five off regions."""

_KNOWN = (691, 1351, 18.85)
"""On and off counts and significance of all 125 runs."""

_FIRST = (0.74, 51, 90)
"""Hours and counts when the runs, in order of their files, first have five standard deviations."""


def fact_runs(folder: str | Path) -> list[Run]:
    """Return the runs of a folder of GADF files, in order of their names.

    Raises
    ------
    DataError
        There is none.

    Examples
    --------
    >>> fact_runs("nowhere")
    Traceback (most recent call last):
    eventide.errors.DataError: nowhere: there is no file *_dl3.fits or *_dl3.fits.gz
      hint: set EVENTIDE_DATA to the folder that has gamma/fact_dl3
    """
    paths = sorted(Path(folder).glob("*_dl3.fits*"))
    if not paths:
        msg = f"{folder}: there is no file *_dl3.fits or *_dl3.fits.gz"
        raise DataError(msg, hint="set EVENTIDE_DATA to the folder that has gamma/fact_dl3")
    return [read_run(path) for path in paths]


def merged(runs: list[Run]) -> pa.Table:
    """Return the events (`DL3_EVENTS`) of several runs in order of time.

    Examples
    --------
    >>> columns = [pa.array([v], f.type) for f, v in zip(DL3_EVENTS, [10**18, 1, 7, 83.6, 22.0, 1.0, 83.6, 21.5])]
    >>> events = pa.RecordBatch.from_arrays(columns, schema=DL3_EVENTS)
    >>> run = Run(events, np.array([[10**18 - 10**9, 10**18 + 10**9]]), header={"OBS_ID": 7})
    >>> merged([run, run])["event_id"].to_pylist()
    [1, 1]
    """
    events = pa.Table.from_batches([r.events.select(DL3_EVENTS.names) for r in runs], schema=DL3_EVENTS)
    return events.sort_by([("time", "ascending"), ("event_id", "ascending")])


@dataclass(frozen=True, slots=True)
class Found:
    """What came of streamed events.

    Parameters
    ----------
    alerts
        `ALERTS`.
    curve
        The counts after every on or off event, see `watch`.
    runs
        ``obs_id``, ``n_on`` and ``n_off`` of every run with such an event.
    late
        How many events came too late.

    Examples
    --------
    >>> columns = [pa.array([v], f.type) for f, v in zip(DL3_EVENTS, [10**18, 1, 7, 83.6, 22.0, 1.0, 83.6, 21.5])]
    >>> events = pa.RecordBatch.from_arrays(columns, schema=DL3_EVENTS)
    >>> run = Run(events, np.array([[10**18 - 10**9, 10**18 + 10**9]]), header={"OBS_ID": 7})
    >>> found = streamed(merged([run]))
    >>> found.curve["n_on"].to_pylist(), found.late
    ([1], 0)
    """

    alerts: pa.Table
    curve: pa.Table
    runs: pa.Table
    late: int


def streamed(events: pa.Table, *, lateness: str = "1s", partitions: int = 1, **options: Any) -> Found:
    """Run events (`DL3_EVENTS`) through the embedded engine, in the order in which they lie in the table.

    Parameters
    ----------
    events
        The events.
    lateness
        How far behind the newest event of its partition an event may come.
    partitions
        Into how many partitions the source deals them out.
    **options
        Of `eventide.run`: ``lanes``, ``batch_rows`` ...

    Examples
    --------
    >>> columns = [pa.array([v], f.type) for f, v in zip(DL3_EVENTS, [10**18, 1, 7, 83.6, 22.0, 1.0, 83.6, 21.5])]
    >>> events = pa.RecordBatch.from_arrays(columns, schema=DL3_EVENTS)
    >>> run = Run(events, np.array([[10**18 - 10**9, 10**18 + 10**9]]), header={"OBS_ID": 7})
    >>> streamed(merged([run])).runs.to_pylist()
    [{'obs_id': 7, 'n_on': 1, 'n_off': 0}]
    """
    memory = registry.resolve("connector", "memory")
    source = read(memory.MemorySource(events, partitions=partitions)).event_time("time", lateness=lateness)
    regions = add_regions(source, CRAB)
    alerts = watch(regions, CRAB)
    kind = pl.col("region")
    counted = (
        regions.filter(kind >= ON, name="in-regions")
        .with_columns(is_on=(kind == ON).cast(pl.Int64), is_off=(kind > ON).cast(pl.Int64))
        .key_by("obs_id")
        .window(global_window())
        .aggregate(n_on=sum_("is_on"), n_off=sum_("is_off"), name="runs")
        .select("obs_id", "n_on", "n_off", name="counts")
    )
    sinks = [memory.MemorySink() for _ in range(3)]
    writes = [s.write(k) for s, k in zip((alerts, alerts.side("curve"), counted), sinks, strict=True)]
    result = registry.resolve("engine", "local").run(pipeline(*writes, name="crab"), **options)
    made, curve, runs = (sink.table() for sink in sinks)
    order = [("time", "ascending"), ("n_on", "ascending"), ("n_off", "ascending")]
    return Found(made, curve.sort_by(order), runs.sort_by("obs_id"), int(result.late))


@dataclass(frozen=True, slots=True)
class Discovery:
    """When a significance was first reached by all runs so far: hours of live time, and the counts by then.

    Examples
    --------
    >>> Discovery(0.74, n_on=51, n_off=90).n_on
    51
    """

    hours: float
    n_on: int
    n_off: int


def discovery(counts: pa.Table, runs: list[Run], *, alpha: float, level: float = 5.0) -> Discovery | None:
    """Return after which run all runs so far have reached a significance, or None.

    Parameters
    ----------
    counts
        ``obs_id``, ``n_on`` and ``n_off`` of runs.
    runs
        In the order in which they are added.
    alpha
        Ratio of the exposures.
    level
        The significance.

    Examples
    --------
    >>> columns = [pa.array([v], f.type) for f, v in zip(DL3_EVENTS, [10**18, 1, 7, 83.6, 22.0, 1.0, 83.6, 21.5])]
    >>> events = pa.RecordBatch.from_arrays(columns, schema=DL3_EVENTS)
    >>> run = Run(events, np.array([[10**18 - 10**9, 10**18 + 10**9]]), header={"OBS_ID": 7})
    >>> counts = pa.table({"obs_id": [7], "n_on": [40], "n_off": [20]})
    >>> discovery(counts, [run], alpha=0.2).n_on, discovery(counts, [run], alpha=0.2, level=20.0)
    (40, None)
    """
    of = {row["obs_id"]: (row["n_on"], row["n_off"]) for row in counts.to_pylist()}
    live, n_on, n_off = 0.0, 0, 0
    for run in runs:
        on, off = of.get(run.obs_id, (0, 0))
        live, n_on, n_off = live + run.livetime, n_on + on, n_off + off
        if float(li_ma(n_on, n_off, alpha)) >= level:
            return Discovery(live / 3600.0, n_on, n_off)
    return None


def flare(events: pa.Table, *, start: int, length: int, factor: float, rate: float, seed: int = 1) -> pa.Table:
    """Return events with those of a flare of the Crab added.

    Parameters
    ----------
    events
        `DL3_EVENTS`, in order of time.
    start, length
        When, ns.
    factor
        How many times its steady rate the source has during the flare.
    rate
        The steady rate, events per second.
    seed
        The same for the same events.

    Examples
    --------
    >>> columns = [pa.array([v], f.type) for f, v in zip(DL3_EVENTS, [10**18, 1, 7, 83.6, 22.0, 1.0, 83.6, 21.5])]
    >>> events = pa.RecordBatch.from_arrays(columns, schema=DL3_EVENTS)
    >>> run = Run(events, np.array([[10**18 - 10**9, 10**18 + 10**9]]), header={"OBS_ID": 7})
    >>> flare(merged([run]), start=10**18, length=60 * 10**9, factor=5.0, rate=0.1).num_rows > 10
    True
    """
    random = np.random.default_rng(seed)
    times = events.column("time").cast(pa.int64()).to_numpy()
    count = int(random.poisson((factor - 1.0) * rate * length / 1e9))
    at = np.sort(start + random.integers(0, length, count))
    like = np.clip(np.searchsorted(times, at, side="right") - 1, 0, times.size - 1)
    new = {
        "time": pa.array(at).cast(EVENT_TIME),
        "event_id": pa.array(np.arange(count) + 10**12),
        "ra": pa.array(np.full(count, CRAB.ra)),
        "dec": pa.array(np.full(count, CRAB.dec)),
    }
    added = events.take(pa.array(like))
    for name, column in new.items():
        added = added.set_column(added.schema.get_field_index(name), DL3_EVENTS.field(name), column)
    both = pa.concat_tables([events, added])
    return both.sort_by([("time", "ascending"), ("event_id", "ascending")])


def crab(folder: str | Path, *, partitions: int = 1, **options: Any) -> dict[str, Any]:
    """Stream the runs of a folder through the embedded engine and compare with what is known of them.

    Parameters
    ----------
    folder
        With the 125 files ``*_dl3.fits.gz``.
    partitions, **options
        Of `streamed`.

    Returns
    -------
    dict
        ``events``, ``n_on``, ``n_off``, ``significance``, ``hours`` (live time), ``discovery`` (runs added in order of
        their files) and ``discovery_in_time`` (in order of time), ``alerts``, ``late``, and ``ok``: whether counts,
        significance and discovery are the known ones.

    Examples
    --------
    >>> crab("nowhere")
    Traceback (most recent call last):
    eventide.errors.DataError: nowhere: there is no file *_dl3.fits or *_dl3.fits.gz
      hint: set EVENTIDE_DATA to the folder that has gamma/fact_dl3
    """
    runs = fact_runs(folder)
    events = merged(runs)
    found = streamed(events, partitions=partitions, **options)
    end = found.curve.select(["n_on", "n_off", "significance"]).slice(found.curve.num_rows - 1).to_pylist()[0]
    first = discovery(found.runs, runs, alpha=CRAB.alpha)
    known = (end["n_on"], end["n_off"], round(end["significance"], 2)) == _KNOWN
    return {
        "events": events.num_rows,
        **end,
        "hours": sum(r.livetime for r in runs) / 3600.0,
        "discovery": first,
        "discovery_in_time": discovery(found.runs, sorted(runs, key=lambda r: int(r.gti[0, 0])), alpha=CRAB.alpha),
        "alerts": [row for batch in found.alerts.to_batches() for row in alert_rows(batch, role="test")],
        "late": found.late,
        "ok": known and first is not None and (round(first.hours, 2), first.n_on, first.n_off) == _FIRST,
    }
