"""Which partition an event goes to: a hash of its key that is the same in every process and release.

Integers, timestamps and booleans go through splitmix64 (Steele, Lea and Flood, 2014, "Fast splittable
pseudorandom number generators"); everything else through the CRC-32 of the UTF-8 text or bytes of each
distinct value. Null keys go to partition 0.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError, near_names

__all__ = ["key_hashes", "partitions_of", "split", "splitmix64"]


def splitmix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the splitmix64 hash of every number.

    Examples
    --------
    >>> [hex(int(h)) for h in splitmix64(np.array([0, 1], np.uint64))]
    ['0xe220a8397b1dcdaf', '0x910a2dec89025cc1']
    """
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def key_hashes(column: pa.Array) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of every value of a key column; 0 for null.

    Raises
    ------
    SchemaError
        The column is of a type that cannot be a key (floating point, nested).

    Examples
    --------
    >>> key_hashes(pa.array(["a", None, "a"])).tolist()
    [3187963305867457774, 0, 3187963305867457774]
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _take(key_hashes(column.dictionary), column.indices)
    if _is_integral(kind):
        return _integer_hashes(column)
    if pa.types.is_floating(kind) or pa.types.is_nested(kind):
        msg = f"a column of type {kind} cannot be a key"
        raise SchemaError(msg, hint="use an integer, text, time, decimal or binary column")
    encoded = column.dictionary_encode()
    distinct = encoded.dictionary
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)):
        distinct = distinct.cast(pa.string())
    codes = [zlib.crc32(v.encode() if isinstance(v, str) else v) for v in distinct.to_pylist()]
    return _take(splitmix64(np.array(codes, np.uint64)), encoded.indices)


def _is_integral(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_temporal(kind) or pa.types.is_boolean(kind))


def _integer_hashes(column: pa.Array) -> npt.NDArray[np.uint64]:
    if pa.types.is_temporal(column.type):
        column = column.view(pa.int64() if column.type.bit_width == 64 else pa.int32())
    signed = column.type != pa.uint64()
    filled = column.cast(pa.int64() if signed else pa.uint64()).fill_null(0)
    hashes = splitmix64(filled.to_numpy(zero_copy_only=False).view(np.uint64))
    if column.null_count:
        hashes[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return hashes


def _take(hashes: npt.NDArray[np.uint64], indices: pa.Array) -> npt.NDArray[np.uint64]:
    whole = np.append(hashes, np.uint64(0))  # the last one stands for null
    at: npt.NDArray[np.int64] = indices.cast(pa.int64()).fill_null(len(hashes)).to_numpy(zero_copy_only=False)
    return whole[at]


def partitions_of(column: pa.Array, partitions: int) -> npt.NDArray[np.int64]:
    """Return the partition of every key.

    Examples
    --------
    >>> partitions_of(pa.array([1, 2, 3, 1]), 4).tolist()
    [1, 2, 1, 1]
    """
    return (key_hashes(column) % np.uint64(partitions)).astype(np.int64)


def split(batch: pa.RecordBatch, key: str, *, partitions: int) -> dict[int, pa.RecordBatch]:
    """Return the rows of each partition, in their order; partitions without rows are left out.

    Raises
    ------
    SchemaError
        There is no column `key`, or it cannot be a key.

    Examples
    --------
    >>> parts = split(pa.record_batch({"k": [1, 2, 3, 1]}), "k", partitions=4)
    >>> {p: b.column(0).to_pylist() for p, b in parts.items()}
    {1: [1, 3, 1], 2: [2]}
    """
    at = batch.schema.get_field_index(key)
    if at < 0:
        msg = f"there is no key column {key!r}"
        raise SchemaError(msg, hint=near_names(key, batch.schema.names))
    if partitions == 1:
        return {0: batch}
    where = partitions_of(batch.column(at), partitions)
    order = np.argsort(where, kind="stable")
    bounds = np.searchsorted(where[order], np.arange(partitions + 1))
    shuffled = batch.take(pa.array(order))
    return {
        p: shuffled.slice(int(bounds[p]), int(bounds[p + 1] - bounds[p]))
        for p in range(partitions)
        if bounds[p + 1] > bounds[p]
    }
