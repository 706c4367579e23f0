"""Plain data and Arrow batches as bytes: a header of JSON, then one Arrow stream a table. No pickle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa

from eventide.errors import DataError

__all__ = ["pack", "tables_of", "unpack"]

Packed: TypeAlias = bytes | memoryview

_LENGTH = 8


def pack(facts: Any, tables: Sequence[pa.RecordBatch | pa.Table] = ()) -> bytes:
    """Return plain data and tables as bytes.

    Examples
    --------
    >>> facts, tables = unpack(pack({"a": 1}, [pa.record_batch({"x": [1, 2]})]))
    >>> facts, tables[0].column("x").to_pylist()
    ({'a': 1}, [1, 2])
    """
    header = msgspec.json.encode([facts, len(tables)])
    out = pa.BufferOutputStream()
    out.write(len(header).to_bytes(_LENGTH, "little"))
    out.write(header)
    for table in tables:
        part = pa.BufferOutputStream()
        with pa.ipc.new_stream(part, table.schema) as writer:
            writer.write(table)
        buffer = part.getvalue()
        out.write(buffer.size.to_bytes(_LENGTH, "little"))
        out.write(buffer)
    return bytes(out.getvalue())


def unpack(data: Packed) -> tuple[Any, list[pa.Table]]:
    """Return what `pack` was given.

    Raises
    ------
    DataError
        The bytes are something else.
    """
    try:
        view = memoryview(data)
        size = int.from_bytes(view[:_LENGTH], "little")
        facts, count = msgspec.json.decode(view[_LENGTH : _LENGTH + size])
        tables = list(_tables(view[_LENGTH + size :]))
    except (msgspec.DecodeError, pa.ArrowInvalid, OSError, ValueError, TypeError) as error:
        msg = f"these are not packed events or state: {error}"
        raise DataError(msg, hint="was this written by another version, or by something else?") from error
    if len(tables) != count:
        msg = f"{count} tables were packed and {len(tables)} are here"
        raise DataError(msg, hint="the bytes were cut")
    return facts, tables


def _tables(view: memoryview) -> Iterator[pa.Table]:
    while view.nbytes:
        size = int.from_bytes(view[:_LENGTH], "little")
        yield pa.ipc.open_stream(pa.py_buffer(view[_LENGTH : _LENGTH + size])).read_all()
        view = view[_LENGTH + size :]


def tables_of(table: pa.Table) -> pa.RecordBatch | None:
    """Return a table that was one batch as that batch, None where it has no rows."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else None
