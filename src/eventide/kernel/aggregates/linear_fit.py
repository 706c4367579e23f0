"""Least-squares line through the kept rows, summed in one fixed order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.columns import numbers_of
from eventide.kernel.aggregates.kept import Gathered, Kept
from eventide.kernel.keys_words import words_of
from eventide.model.aggregate import Aggregate

__all__ = ["linear_fit"]

Floats = npt.NDArray[np.float64]

_UNIT = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def _numbers(rows: Gathered, column: int, order: npt.NDArray[np.intp]) -> Floats:
    """Return a column as float64; times in seconds, instants from the start of their window."""
    values = rows.values[column]
    kind = values.type
    if pa.types.is_date(kind):
        values = values.cast(pa.timestamp("ms"))
        kind = values.type
    if not pa.types.is_temporal(kind):
        return numbers_of(values)[0][order].astype(np.float64)
    per_second = _UNIT[kind.unit]
    words = words_of(values)[order]
    if pa.types.is_timestamp(kind) and rows.starts is not None:
        # Floor division and remainder keep every nanosecond although a start need not be a whole unit.
        start = rows.starts[rows.group[order]]
        return (words * (10**9 // per_second) - start).astype(np.float64) / 1e9
    return words.astype(np.float64) / per_second


def _fit(rows: Gathered) -> pa.Array:
    order = rows.by_time()
    group, m = rows.group[order], rows.groups
    x, y = _numbers(rows, 0, order), _numbers(rows, 1, order)
    n = np.maximum(rows.counts(), 1).astype(np.float64)

    def total(values: Floats) -> Floats:
        # One after another in the order of the rows: numpy's own sums depend on the processor.
        return np.bincount(group, weights=values, minlength=m).astype(np.float64)

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        x_mean, y_mean = total(x) / n, total(y) / n
        dx, dy = x - x_mean[group], y - y_mean[group]
        sxx, sxy, syy = total(dx * dx), total(dx * dy), total(dy * dy)
        slope = sxy / sxx
        intercept = y_mean - slope * x_mean
        r2 = np.where(syy == 0, 1.0, np.minimum(sxy * sxy / (sxx * syy), 1.0))
    lowest, highest = np.full(m, np.inf), np.full(m, -np.inf)
    np.fmin.at(lowest, group, x)
    np.fmax.at(highest, group, x)
    odd = np.bincount(group, weights=np.isnan(x), minlength=m) > 0
    mask = ~(odd | (highest > lowest))
    parts = [pa.array(v, pa.float64()) for v in (slope, intercept, r2)]
    return pa.StructArray.from_arrays(parts, ["slope", "intercept", "r2"], mask=pa.array(mask))


def linear_fit(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Kept:
    """Return the accumulator of a least-squares line."""
    return Kept(aggregate.columns, schema, kind=kind, finish=_fit)
