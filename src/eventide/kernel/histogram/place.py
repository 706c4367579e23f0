"""The bin of every event of a chunk on one axis: by compiled loops where there is a compiler, by numpy elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.errors import SchemaError
from eventide.kernel.compiled import have_compiler
from eventide.kernel.histogram.axes import Axis, Edges, Pixels
from eventide.kernel.histogram.codes import MASKED, UNKNOWN
from eventide.kernel.histogram.search import BITS, EVEN, MOST_STEPS, Search, fits_doubles, place_plain, search_of
from eventide.kernel.histogram.values import Calibrated, Column, Ratio, Scaled

__all__ = ["Place", "plain_column"]

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]


def plain_column(values: Array, *, what: str = "a histogram") -> Array:
    """Return numbers as one of the five types that loops are made for; nothing is rounded.

    Raises
    ------
    SchemaError
        They are not numbers.

    Examples
    --------
    >>> plain_column(np.array([1, 2], np.uint16)).dtype, plain_column(np.array([1, 2], np.uint32)).dtype
    (dtype('int32'), dtype('int64'))
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "mM":
        return values.view(np.int64)
    if (kind == "i" and size >= 4) or (kind == "f" and size in (4, 8)) or (kind == "u" and size == 8):
        return values
    if kind in "biu":
        return values.astype(np.int64 if size == 4 else np.int32)
    if kind == "f" and size == 2:
        return values.astype(np.float32)
    msg = f"{what} cannot be made of {values.dtype}"
    raise SchemaError(msg, hint="choose columns of numbers")


class Place:
    """Finds bins on one axis.

    Parameters
    ----------
    axis
        The axis.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import uniform
    >>> place = Place(uniform("tof", 0, 10, 2))
    >>> place.codes({"tof": np.array([-1, 0, 4, 5, 9, 10])}).tolist()
    [-1, 0, 0, 1, 1, -2]
    """

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        self._prepared: Search | None = None
        self._values = np.empty(0)

    def codes(self, columns: Mapping[str, Array], out: Int32Array | None = None) -> Int32Array:
        """Return the bin of each event, or the code of its class.

        Parameters
        ----------
        columns
            Arrays of one length, as `plain_column` gives them.
        out
            int32, of that length; left out, a new one.

        Raises
        ------
        SchemaError
            A column of pixels is not of integers.
        """
        axis = self.axis
        source = axis.value
        if isinstance(source, Column):
            values = columns[source.name]
            out = np.empty(values.size, np.int32) if out is None else out
            if isinstance(axis, Edges):
                self._search(axis, values, out)
            elif isinstance(axis, Pixels):
                self._pixels(_whole(values, source.name), out, axis)
            else:
                self._rows(_whole(values, source.name), out, axis.first, axis.table)
            return out
        assert isinstance(axis, Edges)
        pixel, time = _whole(columns[source.pixel], source.pixel), _signed(columns[source.time])
        out = np.empty(pixel.size, np.int32) if out is None else out
        if self._values.size < pixel.size:
            self._values = np.empty(pixel.size)
        values = self._values[: pixel.size]
        _convert(source, pixel, time, values)
        self._search(axis, values, out)
        _mark(pixel, out, source)
        return out

    def _search(self, axis: Edges, values: Array, out: Int32Array) -> None:
        large = values.dtype.itemsize == 8 and values.dtype.kind in "iu"
        if not have_compiler() or (large and not fits_doubles(axis.edges)):
            out[:] = place_plain(axis.edges, values)
            return
        from eventide.kernel.histogram import place_loops as loops

        if self._prepared is None:
            self._prepared = search_of(axis.edges)
        s = self._prepared
        if s.kind == EVEN:
            loops.place_even(values, out, s.low, s.scale, s.step, float(axis.edges[-1]), s.bins)
            return
        if s.kind == BITS:
            loops.cells_bits(values, out, s.shift, s.base, s.top)
        else:
            loops.cells_linear(values, out, s.low, s.scale, s.top)
        if s.steps > MOST_STEPS:
            loops.halve(values, out, s.edges, s.first)
        else:
            loops.compare(values, out, s.first, s.threshold)
            for _ in range(s.steps - 1):
                loops.step(values, out, s.edges)
        loops.finish(values, out, s.bins)

    @staticmethod
    def _pixels(pixel: Array, out: Int32Array, axis: Pixels) -> None:
        if have_compiler():
            from eventide.kernel.histogram import place_loops as loops

            loops.place_pixels(pixel, out, axis.first, axis.bins)
            return
        at, known = _known(pixel, axis.first, axis.bins)
        out[:] = np.where(known, at, UNKNOWN)

    @staticmethod
    def _rows(pixel: Array, out: Int32Array, first: int, table: Int32Array) -> None:
        if have_compiler():
            from eventide.kernel.histogram import place_loops as loops

            loops.place_rows(pixel, out, first, table)
            return
        at, known = _known(pixel, first, table.size)
        row = table[at]
        out[:] = np.where(known, np.where(row >= 0, row, MASKED), UNKNOWN)


def _known(pixel: Array, first: int, count: int) -> tuple[Array, Array]:
    at = pixel.astype(np.int64) - np.int64(first)
    # Without a look at the sum of two numbers, which may be beyond 64 bits.
    known = at.view(np.uint64) < np.uint64(count)
    return np.where(known, at, 0), known


def _convert(source: Scaled | Ratio | Calibrated, pixel: Array, time: Array, out: Array) -> None:
    if have_compiler():
        from eventide.kernel.histogram import place_loops as loops

        if isinstance(source, Scaled):
            loops.times(pixel, time, out, source.first, source.constants)
        elif isinstance(source, Ratio):
            loops.under(pixel, time, out, source.first, source.constants)
        else:
            loops.solve(pixel, time, out, source.first, source.difa, source.difc, source.tzero)
        return
    with np.errstate(all="ignore"):
        t = time.astype(np.float64)
        if isinstance(source, Calibrated):
            at, _ = _known(pixel, source.first, source.difc.size)
            a, c = source.difa[at], source.difc[at]
            t = t - source.tzero[at]
            root = np.sqrt(c * c + 4.0 * a * t)
            out[:] = np.where(a != 0.0, 2.0 * t / (c + root), t / c)
            return
        at, _ = _known(pixel, source.first, source.constants.size)
        out[:] = source.constants[at] * t if isinstance(source, Scaled) else source.constants[at] / t


def _mark(pixel: Array, out: Int32Array, source: Scaled | Ratio | Calibrated) -> None:
    constants = source.difc if isinstance(source, Calibrated) else source.constants
    if have_compiler():
        from eventide.kernel.histogram import place_loops as loops

        loops.mark(pixel, out, source.first, constants)
        return
    at, known = _known(pixel, source.first, constants.size)
    out[np.isnan(constants[at])] = MASKED
    out[~known] = UNKNOWN


def _whole(values: Array, name: str) -> Array:
    if values.dtype.kind not in "iu":
        msg = f"the column {name!r} of pixels holds {values.dtype}"
        raise SchemaError(msg, hint="pixels are whole numbers: convert the column first")
    return _signed(values)


def _signed(values: Array) -> Array:
    """Return unsigned numbers of 64 bits as signed ones: those beyond become the greatest, which is no pixel."""
    if values.dtype != np.uint64:
        return values
    return np.minimum(values, np.uint64(2**63 - 1)).astype(np.int64)
