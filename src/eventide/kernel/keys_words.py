"""Key columns as plain 64-bit words or bytes, and back: the native form in which keys are compared and kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError

__all__ = [
    "NO_MASK",
    "TextColumn",
    "buffer_view",
    "is_text",
    "plain_key",
    "text_of",
    "validity",
    "word_type",
    "words_of",
]

Mask = npt.NDArray[np.bool_]

NO_MASK: Mask = np.empty(0, np.bool_)
"""Stands for "every row": compiled loops cannot take None without being compiled twice."""

_NARROW: dict[pa.DataType, str] = {
    pa.int8(): "i1",
    pa.int16(): "i2",
    pa.int32(): "i4",
    pa.int64(): "i8",
    pa.uint8(): "u1",
    pa.uint16(): "u2",
    pa.uint32(): "u4",
    pa.uint64(): "u8",
    pa.date32(): "i4",
    pa.date64(): "i8",
    pa.float16(): "f2",
    pa.float32(): "f4",
    pa.float64(): "f8",
}


def word_type(kind: pa.DataType) -> str:
    """Return the numpy type code of a fixed-width key column, "" for one that is not of fixed width.

    Examples
    --------
    >>> word_type(pa.int32()), word_type(pa.string())
    ('i4', '')
    """
    if kind in _NARROW:
        return _NARROW[kind]
    if pa.types.is_boolean(kind):
        return "?"
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return "i8"
    return "i4" if pa.types.is_time32(kind) else ""


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a key column is a string or a binary."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def plain_key(array: pa.Array, *, what: str = "") -> pa.Array:
    """Return a key column as a fixed-width, string or binary array (dictionaries and views are decoded).

    Raises
    ------
    SchemaError
        A type that cannot be a key, such as a list.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain_key(array.dictionary_decode(), what=what)
    if word_type(kind) or is_text(kind):
        return array
    if str(kind) == "string_view":
        return array.cast(pa.string())
    if str(kind) == "binary_view" or pa.types.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    if pa.types.is_decimal(kind):
        return array.cast(pa.string())
    if pa.types.is_null(kind):
        return array.cast(pa.int64())
    msg = f"the column {what!r} of type {kind} cannot be a key"
    raise SchemaError(msg, hint="key by numbers, times, booleans, text or bytes")


def buffer_view(array: pa.Array, code: str) -> npt.NDArray[np.generic]:
    """Return the values of a fixed-width array without a copy; what is under a null is undefined."""
    data = array.buffers()[1]
    if data is None or len(array) == 0:
        return np.empty(len(array), code)
    return np.frombuffer(data, code, len(array), array.offset * int(code[1]))


def validity(array: pa.Array) -> Mask:
    """Return which values are not null; `NO_MASK` when all are."""
    if array.null_count == 0:
        return NO_MASK
    mask: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return mask


def words_of(array: pa.Array) -> npt.NDArray[np.int64]:
    """Return a fixed-width column as int64 words, equal exactly where the values are equal.

    Integers are widened, booleans are 0 and 1, times are their storage, floats their float64 bits with
    one zero and one NaN. What is under a null is undefined.

    Examples
    --------
    >>> words_of(pa.array([0.0, -0.0])).tolist()
    [0, 0]
    """
    code = word_type(array.type)
    if code == "i8":
        return buffer_view(array, code)  # type: ignore[return-value]
    if code == "?":
        filled = array.fill_null(False) if array.null_count else array
        return filled.to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]
    values = buffer_view(array, code)
    if code[0] == "f":
        with np.errstate(invalid="ignore"):
            wide = values.astype(np.float64) + 0.0
        wide[np.isnan(wide)] = np.nan
        return wide.view(np.int64)
    if code == "u8":
        return values.view(np.int64)
    return values.astype(np.int64)


def words_to_array(words: npt.NDArray[np.int64], valid: Mask, kind: pa.DataType) -> pa.Array:
    """Return words as a column of their type: the way back from `words_of`.

    Examples
    --------
    >>> words_to_array(np.array([1, 0]), NO_MASK, pa.bool_()).to_pylist()
    [True, False]
    """
    mask = None if valid.size == 0 else ~valid
    code = word_type(kind)
    if code == "?":
        return pa.array(words != 0, pa.bool_(), mask=mask)
    if code[0] == "f":
        return pa.array(words.view(np.float64).astype(code), kind, mask=mask)
    if code == "u8":
        return pa.array(words.view(np.uint64), kind, mask=mask)
    plain = pa.array(words.astype(code), mask=mask)
    return plain if plain.type == kind else plain.view(kind)


@dataclass(slots=True)
class TextColumn:
    """Strings or binaries as they lie in Arrow: row i is ``data[offsets[i]:offsets[i + 1]]``."""

    offsets: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]

    def array(self, valid: Mask, kind: pa.DataType) -> pa.Array:
        """Return the rows as an Arrow array of type `kind`."""
        rows = self.offsets.size - 1
        plain = pa.large_binary() if rows and self.offsets[-1] >= 2**31 else pa.binary()
        if plain == pa.binary() and kind == pa.string():
            plain = kind  # these bytes come from strings: there is nothing to check
        width = np.int64 if plain == pa.large_binary() else np.int32
        mask = None
        if valid.size:
            mask = pa.array(valid, pa.bool_()).buffers()[1]
        buffers = [mask, pa.py_buffer(self.offsets.astype(width)), pa.py_buffer(self.data)]
        out = pa.Array.from_buffers(plain, rows, buffers)
        return out if kind == plain else out.cast(kind)


def text_of(array: pa.Array) -> TextColumn:
    """Return a string or binary array as offsets and bytes, without a copy of the bytes; a null row has no bytes."""
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, where, data = array.buffers()
    rows = len(array)
    if rows == 0 or where is None:
        return TextColumn(np.zeros(rows + 1, np.int64), np.empty(0, np.uint8))
    code, size = (np.int64, 8) if wide else (np.int32, 4)
    offsets = np.frombuffer(where, code, rows + 1, array.offset * size).astype(np.int64)
    held = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return TextColumn(offsets, held)
