"""Columns of a batch as numpy arrays, for the accumulators."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.errors import SchemaError, near_names
from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys_words import Mask, buffer_view, is_text, validity, word_type, words_of

__all__ = ["Column", "numbers_of", "order_words", "words_to_values"]

_SIGN = np.int64(-(2**63))
_REST = np.int64(2**63 - 1)


class Column:
    """A column that is read from every batch; batches may have further columns, in any order."""

    __slots__ = ("name",)

    def __init__(self, name: str, schema: pa.Schema) -> None:
        if schema.get_field_index(name) < 0:
            msg = f"there is no column {name!r}"
            raise SchemaError(msg, hint=near_names(name, schema.names))
        self.name = name

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the column of a batch."""
        return batch.column(batch.schema.get_field_index(self.name))


def numbers_of(array: pa.Array) -> tuple[npt.NDArray[np.generic], Mask]:
    """Return a numeric or boolean column as numbers of its own type, and which are not null (`NO_MASK`: all)."""
    if array.type == pa.float64():
        return buffer_view(array, "f8"), validity(array)
    if pa.types.is_boolean(array.type):
        return words_of(array), validity(array)
    return buffer_view(array, word_type(array.type)), validity(array)


def order_words(array: pa.Array) -> npt.NDArray[np.int64]:
    """Return int64 words that are ordered as the values are.

    Of floats -0.0 is below 0.0 and NaN above infinity. For values of fixed width the words say the value
    (`words_to_values`); for text and whatever else they are ranks within this array only. What is under
    a null is undefined.

    Examples
    --------
    >>> order_words(pa.array([1.0, -0.0, -2.5])).argsort().tolist()
    [2, 1, 0]
    """
    code = word_type(array.type)
    if code == "u8":
        return buffer_view(array, "u8").view(np.int64) ^ _SIGN
    if code and code[0] == "f" and have_compiler():
        from eventide.kernel.aggregates.simple_loops import order_floats

        out = np.empty(len(array), np.int64)
        order_floats(buffer_view(array, code).astype("f8", copy=False), out)
        return out
    if code and code[0] == "f":
        wide = buffer_view(array, code).astype(np.float64)
        wide[np.isnan(wide)] = np.nan
        bits = wide.view(np.int64)
        return bits ^ ((bits >> 63) & _REST)
    if code:
        return words_of(array)
    if is_text(array.type) or pa.types.is_decimal(array.type):
        ranks: npt.NDArray[np.uint64] = pc.rank(array, sort_keys="ascending", tiebreaker="dense").to_numpy()
        return ranks.view(np.int64)
    if pa.types.is_dictionary(array.type):
        return order_words(array.dictionary_decode())
    # Lists, structs and the like have no order of their own; any order that depends on the values alone will do.
    return order_words(pa.array([None if v is None else repr(v) for v in array.to_pylist()], pa.string()))


def words_to_values(words: npt.NDArray[np.int64], kind: pa.DataType, mask: Mask | None = None) -> pa.Array:
    """Return order words of fixed-width values as values; True in `mask` makes a null.

    Examples
    --------
    >>> words_to_values(order_words(pa.array([1.5, -2.5])), pa.float64()).to_pylist()
    [1.5, -2.5]
    """
    code = word_type(kind)
    if code == "u8":
        return pa.array((words ^ _SIGN).view(np.uint64), kind, mask=mask)
    if code == "?":
        return pa.array(words != 0, kind, mask=mask)
    if code[0] == "f":
        bits = words ^ ((words >> 63) & _REST)
        return pa.array(bits.view(np.float64).astype(code), kind, mask=mask)
    plain = pa.array(words.astype(code), mask=mask)
    return plain if plain.type == kind else plain.view(kind)
