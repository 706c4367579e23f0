"""Light curves: counts, excess and rate of a position in intervals of time."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.numbers import integers_of
from eventide.apps.gamma.science.regions import NOWHERE, ON, OnOff
from eventide.apps.gamma.science.significance import excess, li_ma
from eventide.model.aggregate import sum_
from eventide.model.batch import Int64Array
from eventide.model.graph import WINDOW_END, WINDOW_START
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream
from eventide.model.time import EVENT_TIME
from eventide.model.window import tumbling

__all__ = ["LIGHT_CURVE", "light_curve", "overlap"]

LIGHT_CURVE: Final = pa.schema(
    [
        pa.field("start", EVENT_TIME),
        pa.field("end", EVENT_TIME),
        pa.field("n_on", pa.int64()),
        pa.field("n_off", pa.int64()),
        pa.field("excess", pa.float64(), metadata={"meaning": "n_on - alpha n_off"}),
        pa.field("error", pa.float64(), metadata={"meaning": "standard deviation of the excess"}),
        pa.field("significance", pa.float64()),
        pa.field("seconds", pa.float64(), metadata={"unit": "s", "meaning": "good time in the interval"}),
        pa.field("rate", pa.float64(), metadata={"unit": "1/s", "meaning": "excess per good time, null without any"}),
    ]
)
"""One row for every interval with an on or off event."""


def light_curve(stream: Stream, position: OnOff, *, every: str | timedelta, gti: Int64Array | None = None) -> Stream:
    """Return the light curve of a position.

    Parameters
    ----------
    stream
        Events with event time and a column ``region`` (`OnOff.regions`), without keys.
    position
        What it is of.
    every
        Length of the intervals, which begin with multiples of it since 1970.
    gti
        int64 (n, 2), good time intervals, ns; left out, all the time is good.

    Returns
    -------
    Stream
        `LIGHT_CURVE`, with ``start`` as event time.

    Examples
    --------
    >>> import eventide as ev
    >>> crab = OnOff(83.63308, 22.0145, radius=0.17)
    >>> times = ["2026-01-01T00:00:01", "2026-01-01T00:00:02", "2026-01-01T00:03"]
    >>> events = ev.from_table({"t": times, "region": [0, 0, 2]}).event_time("t")
    >>> curve = ev.fetch(light_curve(events, crab, every="1m"))
    >>> curve.select(["n_on", "n_off", "excess"]).to_pylist()
    [{'n_on': 2, 'n_off': 0, 'excess': 2.0}, {'n_on': 0, 'n_off': 1, 'excess': -0.2}]
    """
    counted = (
        stream.map_batches(RowWise(functools.partial(_in_regions, clock=stream.time)), name="in-regions")
        .window(tumbling(every))
        .aggregate(n_on=sum_("is_on"), n_off=sum_("is_off"), name="light-curve")
    )

    def derive(batch: pa.RecordBatch) -> pa.RecordBatch:
        return _derived(batch, position.alpha, gti)

    return counted.map_batches(derive, schema=LIGHT_CURVE, name="excess")


def _in_regions(batch: pa.RecordBatch, *, clock: str) -> tuple[pa.RecordBatch, pa.Array]:
    # Not by Polars: a query takes a millisecond however few rows there are, and this comes at every batch.
    region = integers_of(batch.column("region"), none=NOWHERE)
    inside = region >= ON
    kept = pa.array(inside)
    on, off = (pa.array(side[inside].astype(np.int64)) for side in (region == ON, region > ON))
    return pa.record_batch({clock: batch.column(clock).filter(kept), "is_on": on, "is_off": off}), kept


def _derived(batch: pa.RecordBatch, alpha: float, gti: Int64Array | None) -> pa.RecordBatch:
    start, end = (batch.column(n).cast(pa.int64()).to_numpy() for n in (WINDOW_START, WINDOW_END))
    n_on, n_off = batch.column("n_on").to_numpy(), batch.column("n_off").to_numpy()
    more, error = excess(n_on, n_off, alpha)
    seconds = (end - start if gti is None else overlap(start, end, gti)) / 1e9
    rate = np.divide(more, seconds, out=np.zeros(more.size), where=seconds > 0)
    columns = [
        *(batch.column(n) for n in (WINDOW_START, WINDOW_END, "n_on", "n_off")),
        *(pa.array(v) for v in (more, error, li_ma(n_on, n_off, alpha), seconds)),
        pa.array(rate, mask=seconds <= 0),
    ]
    return pa.RecordBatch.from_arrays(
        [c.cast(f.type) for c, f in zip(columns, LIGHT_CURVE, strict=True)], schema=LIGHT_CURVE
    )


def overlap(start: Int64Array, end: Int64Array, intervals: Int64Array) -> Int64Array:
    """Return how much of each span lies in some intervals (which may overlap each other), ns.

    Examples
    --------
    >>> overlap(np.array([0, 10]), np.array([10, 20]), np.array([[5, 8], [7, 12]])).tolist()
    [5, 2]
    """
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    begins, stops = ordered[:, 0], np.maximum.accumulate(ordered[:, 1])
    begins = np.maximum(begins, np.concatenate((begins[:1], stops[:-1])))
    stops = np.maximum(stops, begins)
    before = np.concatenate(([0], np.cumsum(stops - begins)))

    def good_until(time: Int64Array) -> Int64Array:
        number = np.searchsorted(begins, time, side="right")
        last = np.maximum(number - 1, 0)
        out: Int64Array = before[last] + np.clip(time, begins[last], stops[last]) - begins[last]
        return np.where(number > 0, out, 0)

    if not len(ordered):
        return np.zeros_like(start)
    return good_until(end) - good_until(start)
