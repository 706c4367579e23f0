"""Which of two rows is the greater: the order by which an as-of join chooses among rows of one time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.kernel.joins.order import Slots
from eventide.kernel.joins.side import BoolArray
from eventide.model.batch import Int64Array

__all__ = ["greater_rows", "ties_lost"]


def _ordered(array: pa.Array) -> pa.Array:
    """Return an array that Arrow can compare; nested values as text."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _ordered(array.dictionary_decode())
    if pa.types.is_null(kind):
        return array.cast(pa.int8())
    if pa.types.is_nested(kind):
        return pa.array([None if v is None else repr(v) for v in array.to_pylist()], pa.string())
    if str(kind).endswith("_view"):
        return array.cast(pa.binary() if "binary" in str(kind) else pa.string())
    return array


def _flags(array: pa.Array) -> BoolArray:
    values: BoolArray = array.fill_null(False).to_numpy(zero_copy_only=False)
    return values


def _rank(array: pa.Array) -> npt.NDArray[np.int8]:
    """Return 0 for null, 1 for a value, 2 for NaN."""
    rank: npt.NDArray[np.int8] = array.is_valid().to_numpy(zero_copy_only=False).astype(np.int8)
    if pa.types.is_floating(array.type):
        rank += _flags(pc.is_nan(array))
    return rank


def _compare(one: pa.Array, other: pa.Array) -> tuple[BoolArray, BoolArray]:
    """Return where the first is greater, and where the two are equal."""
    if pa.types.is_integer(one.type) and not one.null_count and not other.null_count:
        values = one.to_numpy(), other.to_numpy()
        return values[0] > values[1], values[0] == values[1]
    ranks = _rank(one), _rank(other)
    plain = (ranks[0] == 1) & (ranks[1] == 1)
    above = np.where(plain, _flags(pc.greater(one, other)), ranks[0] > ranks[1])
    same = np.where(plain, _flags(pc.equal(one, other)), ranks[0] == ranks[1])
    return above, same


def greater_rows(left: pa.RecordBatch, right: pa.RecordBatch) -> BoolArray:
    """Return where the left row is greater than the right one, column by column from the first.

    Nulls are lower than any value, NaN is higher; nested values compare by their text.

    Examples
    --------
    >>> greater_rows(pa.record_batch({"a": [1, 2, 2]}), pa.record_batch({"a": [2, 1, 2]})).tolist()
    [False, True, False]
    """
    greater = np.zeros(left.num_rows, np.bool_)
    equal = np.ones(left.num_rows, np.bool_)
    for one, other in zip(left.columns, right.columns, strict=True):
        above, same = _compare(_ordered(one), _ordered(other))
        greater |= equal & above
        equal &= same
        if not equal.any():
            break
    return greater


def ties_lost(rows: pa.RecordBatch, slots: Slots, times: Int64Array) -> BoolArray:
    """Return which rows, in order of slot and time, are not the greatest of their slot and time.

    The rows of a tie play rounds in pairs, so that the rounds grow with the logarithm of the longest tie.
    """
    lost = np.zeros(len(times), np.bool_)
    same = (slots[1:] == slots[:-1]) & (times[1:] == times[:-1])
    if not same.any():
        return lost
    left = np.flatnonzero(np.append(same, False) | np.append(False, same))
    while len(left) > 1:
        tied = (slots[left[1:]] == slots[left[:-1]]) & (times[left[1:]] == times[left[:-1]])
        if not tied.any():
            break
        begins = np.flatnonzero(np.concatenate([[True], ~tied]))
        place = np.arange(len(left)) - np.repeat(begins, np.diff(np.append(begins, len(left))))
        first = np.flatnonzero(tied & (place[:-1] % 2 == 0))
        one, other = left[first], left[first + 1]
        second = greater_rows(rows.take(pa.array(other)), rows.take(pa.array(one)))
        lost[np.where(second, one, other)] = True
        left = left[~lost[left]]
    return lost
