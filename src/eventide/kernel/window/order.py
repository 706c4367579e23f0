"""The order in which a window's groups are emitted: by the hash of the key, whatever the table looks like."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.kernel.compiled import have_compiler
from eventide.kernel.keys_words import buffer_view, validity, word_type

__all__ = ["hash_order", "permuted", "time_span"]


def hash_order(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return the rows by hash, equal ones in the order they have.

    Examples
    --------
    >>> hash_order(np.array([5, 1, 3], np.uint64)).tolist()
    [1, 2, 0]
    """
    if hashes.size > 1 and have_compiler():
        low = int(hashes.min())
        width = (int(hashes.max()) - low).bit_length()
        bits = min(width, max(1, hashes.size.bit_length() - 1), 20)
        order = np.empty(hashes.size, np.int64)
        _loops().by_hash(hashes, np.uint64(low), np.uint64(width - bits), np.zeros((1 << bits) + 1, np.int64), order)
        return order
    return np.argsort(hashes, kind="stable").astype(np.int64)


def permuted(array: pa.Array, order: npt.NDArray[np.int64]) -> pa.Array:
    """Return a column in another order; for numbers and times three times as fast as Arrow's own take.

    Examples
    --------
    >>> permuted(pa.array([1.5, None, 2.5]), np.array([2, 1, 0])).to_pylist()
    [2.5, None, 1.5]
    """
    code = word_type(array.type)
    if code in ("", "?", "f2"):
        return array.take(pa.array(order))
    plain = pa.array(buffer_view(array, code)[order])
    if array.null_count:
        bits = np.packbits(validity(array)[order], bitorder="little")
        plain = pa.Array.from_buffers(plain.type, len(array), [pa.py_buffer(bits), plain.buffers()[1]])
    return plain if plain.type == array.type else plain.view(array.type)


def time_span(times: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return the earliest and the latest of some times."""
    if have_compiler():
        low, high = _loops().span(times)
        return int(low), int(high)
    return int(times.min()), int(times.max())


@functools.cache
def _loops() -> ModuleType:
    """Return the compiled loops; an import statement would take longer than they do."""
    return importlib.import_module("eventide.kernel.window.order_loops")
