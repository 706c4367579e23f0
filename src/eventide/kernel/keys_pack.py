"""Compound keys as rows of bytes, and back.

A row is, column after column, one byte of validity, then eight of value for a column of fixed width, or
four of length and the bytes for text. Equal keys, and only they, have equal rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys_words import (
    NO_MASK,
    Mask,
    TextColumn,
    is_text,
    text_of,
    validity,
    words_of,
    words_to_array,
)

__all__ = ["pack", "unpack"]

Bytes = npt.NDArray[np.uint8]
Cursor = npt.NDArray[np.int64]


def pack(columns: Sequence[pa.Array]) -> TextColumn:
    """Return the rows of several plain key columns as bytes.

    Examples
    --------
    >>> rows = pack([pa.array([1, 2]), pa.array(["a", None])])
    >>> [c.to_pylist() for c in unpack(rows, [pa.int64(), pa.string()])]
    [[1, 2], ['a', None]]
    """
    count = len(columns[0])
    lengths = np.zeros(count, np.int64)
    texts: list[TextColumn | None] = []
    masks: list[Mask] = []
    for array in columns:
        masks.append(validity(array))
        if is_text(array.type):
            text = text_of(array)
            width = np.diff(text.offsets)
            lengths += 5 + (np.where(masks[-1], width, 0) if masks[-1].size else width)
            texts.append(text)
        else:
            lengths += 9
            texts.append(None)
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    cursor = offsets[:-1].copy()
    for array, kept, valid in zip(columns, texts, masks, strict=True):
        if kept is None:
            _put_words(words_of(array), valid, cursor, out)
        else:
            _put_text(kept, valid, cursor, out)
    return TextColumn(offsets, out)


def _put_words(words: npt.NDArray[np.int64], valid: Mask, cursor: Cursor, out: Bytes) -> None:
    if have_compiler():
        from eventide.kernel.keys_loops import pack_words

        pack_words(words, valid, cursor, out)
        return
    value = np.where(valid, words, 0) if valid.size else words
    out[cursor] = valid if valid.size else 1
    out[cursor[:, None] + np.arange(1, 9)] = value.astype("<i8").view(np.uint8).reshape(-1, 8)
    cursor += 9


def _put_text(text: TextColumn, valid: Mask, cursor: Cursor, out: Bytes) -> None:
    if have_compiler():
        from eventide.kernel.keys_loops import pack_bytes

        pack_bytes(text.offsets, text.data, valid, cursor, out)
        return
    lengths = np.diff(text.offsets)
    if valid.size:
        lengths = np.where(valid, lengths, 0)
    out[cursor] = valid if valid.size else 1
    out[cursor[:, None] + np.arange(1, 5)] = lengths.astype("<u4").view(np.uint8).reshape(-1, 4)
    out[_spans(cursor + 5, lengths)] = text.data[_spans(text.offsets[:-1], lengths)]
    cursor += 5 + lengths


def _spans(starts: Cursor, lengths: Cursor) -> Cursor:
    """Return start, start + 1, ... start + length - 1 of every row, one after another."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if ends.size else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)


def unpack(rows: TextColumn, kinds: Sequence[pa.DataType]) -> list[pa.Array]:
    """Return rows of bytes as columns of the types `kinds` (fixed width, string or binary)."""
    cursor = rows.offsets[:-1].copy()
    out: list[pa.Array] = []
    for kind in kinds:
        valid = rows.data[cursor] != 0
        mask = NO_MASK if bool(valid.all()) else valid
        if not is_text(kind):
            raw = rows.data[cursor[:, None] + np.arange(1, 9)]
            out.append(words_to_array(raw.view("<i8").reshape(-1).astype(np.int64), mask, kind))
            cursor += 9
            continue
        raw = rows.data[cursor[:, None] + np.arange(1, 5)]
        lengths = raw.view("<u4").reshape(-1).astype(np.int64)
        offsets = np.zeros(lengths.size + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        out.append(TextColumn(offsets, _take(rows.data, cursor + 5, lengths)).array(mask, kind))
        cursor += 5 + lengths
    return out


def _take(data: Bytes, starts: Cursor, lengths: Cursor) -> Bytes:
    if have_compiler():
        from eventide.kernel.keys_loops import take_bytes

        out = np.empty(int(lengths.sum()), np.uint8)
        take_bytes(starts, lengths, data, out)
        return out
    return data[_spans(starts, lengths)]
