"""Aggregates of the kept values of a column: collect, top_k, n_unique and the exact quantile."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.columns import numbers_of, order_words
from eventide.kernel.aggregates.kept import Gathered, Kept, list_of
from eventide.kernel.keys_words import word_type, words_of
from eventide.model.aggregate import Aggregate

__all__ = ["collect", "exact_quantile", "n_unique", "top_k"]


def _collect(rows: Gathered) -> pa.Array:
    return list_of(rows.values[0].take(pa.array(rows.by_time())), rows.counts())


def collect(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Kept:
    """Return the accumulator of all values, in event-time order."""
    return Kept(aggregate.columns, schema, kind=kind, finish=_collect)


class _Largest:
    def __init__(self, k: int) -> None:
        self._k = k

    def rows(self, rows: Gathered) -> npt.NDArray[np.intp]:
        """Return the `k` largest rows of every group, groups in order, largest first; NaN after all numbers."""
        words = rows.order(0)
        if pa.types.is_floating(rows.values[0].type):
            words = np.where(words == order_words(pa.array([np.nan]))[0], np.int64(-(2**63)), words)
        order = np.lexsort((~words, rows.group))
        counts = rows.counts()
        rank = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
        best: npt.NDArray[np.intp] = order[rank < self._k]
        return best

    def finish(self, rows: Gathered) -> pa.Array:
        """Return the lists."""
        return list_of(rows.values[0].take(pa.array(self.rows(rows))), np.minimum(rows.counts(), self._k))


def top_k(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Kept:
    """Return the accumulator of the `k` largest values."""
    largest = _Largest(int(aggregate.params["k"]))
    return Kept(aggregate.columns, schema, kind=kind, finish=largest.finish, prune=largest.rows)


def _distinct(rows: Gathered) -> npt.NDArray[np.intp]:
    values = rows.values[0]
    # One zero and one NaN, as for keys; text has ranks.
    words = words_of(values) if word_type(values.type) else order_words(values)
    order = np.lexsort((words, rows.group))
    if order.size == 0:
        return order
    group, words = rows.group[order], words[order]
    first: npt.NDArray[np.intp] = order[np.append(True, (group[1:] != group[:-1]) | (words[1:] != words[:-1]))]
    return first


def _n_unique(rows: Gathered) -> pa.Array:
    return pa.array(np.bincount(rows.group[_distinct(rows)], minlength=rows.groups).astype(np.int64))


def n_unique(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Kept:
    """Return the accumulator of the number of distinct values."""
    return Kept(aggregate.columns, schema, kind=kind, finish=_n_unique, prune=_distinct)


class _Quantile:
    def __init__(self, q: float) -> None:
        self._q = q

    def finish(self, rows: Gathered) -> pa.Array:
        """Return the quantiles by linear interpolation (Hyndman and Fan 1996, type 7); NaN is the largest value."""
        order = np.lexsort((rows.order(0), rows.group))
        values = numbers_of(rows.values[0])[0].astype(np.float64)[order]
        counts = rows.counts()
        has = counts > 0
        first = (np.cumsum(counts) - counts)[has]
        place = (counts[has] - 1) * self._q
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, counts[has] - 1)
        a, b, part = values[first + low], values[first + high], place - low
        out = np.zeros(rows.groups)
        with np.errstate(invalid="ignore", over="ignore"):
            between = a * (1.0 - part) + b * part
        out[has] = np.where((part == 0) | (a == b), a, between)
        return pa.array(out, pa.float64(), mask=None if has.all() else ~has)


def exact_quantile(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Kept:
    """Return the accumulator of an exact quantile."""
    finish = _Quantile(float(aggregate.params["q"])).finish
    return Kept(aggregate.columns, schema, kind=kind, finish=finish)
