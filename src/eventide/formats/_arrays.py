"""Arrays as bytes with a type beside them, as da00 and ad00 carry them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.errors import SchemaError
from eventide.formats._flatbuffers import BrokenMessageError

__all__ = ["array_of", "number_of_type", "shaped", "text_of"]

TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
"""Types in the order in which both schemas number them; text follows."""


def number_of_type(kind: np.dtype[Any], what: str) -> int:
    """Return the place of a type in `TYPES`.

    Raises
    ------
    SchemaError
        It is not there.

    Examples
    --------
    >>> number_of_type(np.dtype("int32"), "x")
    4
    """
    if kind.name not in TYPES:
        msg = f"{what} is of the type {kind}, which messages do not have"
        raise SchemaError(msg, hint="one of " + ", ".join(TYPES))
    return TYPES.index(kind.name)


def array_of(raw: npt.NDArray[Any], number: int, shape: list[int] | None, *, what: str) -> npt.NDArray[Any]:
    """Return bytes as an array, a view of them; without a shape they have one dimension.

    Raises
    ------
    BrokenMessageError
        There is no such type, or the bytes are not of that shape.
    """
    if not 0 <= number < len(TYPES):
        msg = f"{what} is of the type number {number}, which there is not"
        raise BrokenMessageError(msg)
    kind = np.dtype(TYPES[number]).newbyteorder("<")
    if raw.size % kind.itemsize:
        msg = f"{what} has {raw.size:,} bytes, which are no whole numbers of {kind.name}"
        raise BrokenMessageError(msg)
    flat = raw.view(kind)
    if shape is None:
        return flat
    if min(shape, default=0) < 0 or math.prod(shape) != flat.size or len(shape) > 32:
        msg = f"{what} has {flat.size:,} numbers, which are not of the shape {shape[:33]}"
        raise BrokenMessageError(msg)
    return shaped(flat, shape, what=what)


def shaped(values: npt.NDArray[Any], shape: list[int], *, what: str) -> npt.NDArray[Any]:
    """Return numbers, as many as a shape says, in that shape.

    Raises
    ------
    BrokenMessageError
        No array can have it: beside a length of 0 stand others that lie.

    Examples
    --------
    >>> shaped(np.arange(6), [2, 3], what="image").tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    if math.prod(max(n, 1) for n in shape) * values.itemsize >= 2**63:
        msg = f"{what} has the shape {shape}, which no array can have"
        raise BrokenMessageError(msg)
    return values.reshape(shape)


def text_of(raw: npt.NDArray[Any], what: str) -> str:
    """Return bytes as text.

    Raises
    ------
    BrokenMessageError
        They are not UTF-8.
    """
    try:
        return raw.tobytes().decode("utf-8")
    except UnicodeDecodeError:
        msg = f"{what} is not UTF-8"
        raise BrokenMessageError(msg) from None
