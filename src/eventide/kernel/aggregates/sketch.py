"""Quantiles of bounded memory: DDSketch (Masson, Rim and Lee 2019, VLDB 12) with a relative error of 1 %.

The logarithm of the original is replaced by its piecewise linear interpolation between powers of two,
as the authors' own libraries offer: it needs only exact arithmetic, so that every machine puts a value
into the same bucket. It takes 1/ln 2 times as many buckets.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.aggregates.accumulator import Slots, State, Store, Times, grown, plain_array
from eventide.kernel.aggregates.columns import Column, numbers_of
from eventide.kernel.aggregates.kept import list_of
from eventide.kernel.keys import KeyIndex
from eventide.model.aggregate import Aggregate

__all__ = ["Sketch", "sketch_quantile"]

_PER_OCTAVE = 50.0  # 1/50 <= ln(1.01/0.99): no bucket is wider than that ratio
_MIDDLE = 100_000
_INFINITE, _NAN = 1_000_000, 2_000_000


def buckets_of(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the bucket of each value: ordered as the values are, 0 for zero.

    Examples
    --------
    >>> buckets_of(np.array([-1.0, 0.0, 1.0])).tolist()
    [-100050, 0, 100050]
    """
    size = np.abs(values)
    good = np.isfinite(values) & (size > 0)
    mantissa, exponent = np.frexp(np.where(good, size, 1.0))
    place = np.floor((exponent + (2.0 * mantissa - 1.0)) * _PER_OCTAVE).astype(np.int64) + _MIDDLE
    code = np.where(good, place, np.where(size == 0, 0, _INFINITE))
    return np.where(np.isnan(values), _NAN, np.where(values < 0, -code, code))


def value_of(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the value that stands for a bucket: within 1 % of everything in it."""
    size = np.abs(codes)
    place = np.where((size > 0) & (size < _INFINITE), size - _MIDDLE, 0)
    octave = np.floor(place / _PER_OCTAVE).astype(np.int64)
    low = 1.0 + (place - octave * 50) / _PER_OCTAVE
    high = low + 1.0 / _PER_OCTAVE
    # Twice the product over the sum of the edges is equally far, relatively, from both.
    with np.errstate(over="ignore", under="ignore"):
        middle = np.ldexp(low * high / (low + high), octave.astype(np.int32))
    out = np.where(size == 0, 0.0, np.where(size >= _INFINITE, np.inf, middle))
    return np.where(size == _NAN, np.nan, np.copysign(out, codes))


class Sketch:
    """Counts by slot and bucket, and one quantile of them."""

    type = pa.float64()

    def __init__(self, aggregate: Aggregate, schema: pa.Schema) -> None:
        self.columns = aggregate.columns
        self._q = float(aggregate.params["q"])
        self._column = Column(aggregate.columns[0], schema)
        self._index = KeyIndex(pa.schema([("word", pa.int64())]), ("word",))
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._words: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._live: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._capacity = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._index.nbytes + self._counts.nbytes + self._words.nbytes + self._live.nbytes

    def resize(self, capacity: int) -> None:
        """Make room for slots 0 to `capacity`."""
        self._capacity = max(capacity, self._capacity)

    def update(self, slots: Slots, batch: pa.RecordBatch, times: Times) -> None:
        """Add rows to slots."""
        values, valid = numbers_of(self._column.of(batch))
        keep = (slots >= 0) & valid if valid.size else slots >= 0
        rows = slots[keep].astype(np.int64)
        self._add(rows, buckets_of(values[keep].astype(np.float64)), np.ones(rows.size, np.int64))

    def _add(self, slots: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
        words = (slots << 32) + (codes + _NAN)
        at = self._index.slots(pa.record_batch({"word": pa.array(words)}))
        if self._index.capacity > self._counts.size:
            self._counts = grown(self._counts, self._index.capacity)
            self._words = grown(self._words, self._index.capacity)
            self._live = grown(self._live, self._index.capacity)
        self._words[at] = words
        self._live[at] = True
        np.add.at(self._counts, at, counts)

    def _entries(self, slots: Slots) -> tuple[npt.NDArray[np.int64], ...]:
        """Return the entries of slots as place in `slots`, bucket, count, entry; by place and bucket."""
        place = np.full(self._capacity, -1, np.int64)
        place[slots] = np.arange(slots.size)
        entries = np.flatnonzero(self._live)
        words = self._words[entries]
        group = place[words >> 32]
        mine = group >= 0
        entries, group, codes = entries[mine], group[mine], (words[mine] & 0xFFFFFFFF) - _NAN
        order = np.lexsort((codes, group))
        return group[order], codes[order], self._counts[entries[order]], entries[order]

    def merge(self, into: Slots, other: Store, source: Slots) -> None:
        """Add slots of `other` to these."""
        assert isinstance(other, Sketch)
        group, codes, counts, _ = other._entries(source)
        self._add(into[group].astype(np.int64), codes, counts)

    def reset(self, slots: Slots) -> None:
        """Make slots empty."""
        entries = self._entries(slots)[3]
        self._index.release(entries.astype(np.int32))
        self._counts[entries] = 0
        self._live[entries] = False

    def finish(self, slots: Slots, starts: Times | None = None) -> pa.Array:
        """Return the result of slots."""
        group, codes, counts, _ = self._entries(slots)
        total = np.bincount(group, weights=counts, minlength=slots.size).astype(np.int64)
        up_to = np.cumsum(counts)
        before = np.cumsum(total) - total
        rank = np.floor(self._q * (total - 1)).astype(np.int64)
        at = np.searchsorted(up_to, before + rank, side="right")
        has = total > 0
        out = np.zeros(slots.size)
        out[has] = value_of(codes[at[has]])
        return pa.array(out, pa.float64(), mask=None if has.all() else ~has)

    def snapshot(self, slots: Slots) -> State:
        """Return the state of slots as columns of lists."""
        group, codes, counts, _ = self._entries(slots)
        sizes = np.bincount(group, minlength=slots.size).astype(np.int64)
        return {"buckets": list_of(pa.array(codes), sizes), "counts": list_of(pa.array(counts), sizes)}

    def restore(self, slots: Slots, columns: Mapping[str, pa.Array]) -> None:
        """Put a snapshot's rows into empty slots."""
        codes, counts = plain_array(columns["buckets"]), plain_array(columns["counts"])
        owner = np.repeat(slots, codes.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
        mine = owner >= 0
        flat = [a.flatten().to_numpy(zero_copy_only=False)[mine] for a in (codes, counts)]
        self._add(owner[mine], flat[0], flat[1])


def sketch_quantile(aggregate: Aggregate, schema: pa.Schema, kind: pa.DataType) -> Sketch:
    """Return the accumulator of a sketched quantile."""
    return Sketch(aggregate, schema)
