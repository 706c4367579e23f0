"""The bin of every event of a chunk on one axis: by compiled loops where there is a compiler, by numpy elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.errors import SchemaError
from eventide.kernel.compiled import have_compiler
from eventide.kernel.histogram.axes import Axis, Edges, Pixels, Rows
from eventide.kernel.histogram.codes import MASKED, NAN, UNKNOWN
from eventide.kernel.histogram.search import BITS, EVEN, MOST_STEPS, Search, fits_doubles, place_plain, search_of
from eventide.kernel.histogram.values import Calibrated, Column, Ratio, Scaled

__all__ = ["Place", "loops_of", "plain_column"]

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]

_LARGE = (np.dtype(np.int64), np.dtype(np.uint64))
_PLAIN = frozenset(np.dtype(t) for t in (np.int32, np.int64, np.uint64, np.float32, np.float64))


def loops_of(module: str) -> Any:
    """Return the compiled loops of a module of this folder, or None where there is no compiler."""
    return importlib.import_module(f"eventide.kernel.histogram.{module}") if have_compiler() else None


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
    if values.dtype in _PLAIN:
        return values
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "mM":
        return values.view(np.int64)
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
        self._loops = loops_of("place_loops")
        self._prepared: Search | None = None
        if isinstance(axis, Edges) and self._loops is not None:
            self._prepared, self._fits = search_of(axis.edges), fits_doubles(axis.edges)
        source = axis.value
        # Tables have one more entry, for pixels that they do not know.
        self._table = np.zeros(0, np.int32)
        self._constants = np.zeros(0)
        if isinstance(axis, Rows):
            self._table = np.append(np.where(axis.table >= 0, axis.table, MASKED), UNKNOWN).astype(np.int32)
        elif not isinstance(source, Column):
            one = source.difc if isinstance(source, Calibrated) else source.constants
            self._table = np.append(np.where(np.isnan(one), MASKED, 0), UNKNOWN).astype(np.int32)
            self._constants = np.append(one, np.nan) if not isinstance(source, Calibrated) else _four(source)
        self._rooms: list[Array] = []

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
                self._look_up(_whole(values, source.name), out, axis.first)
            return out
        assert isinstance(axis, Edges)
        pixel, time = _whole(columns[source.pixel], source.pixel), _signed(columns[source.time])
        out = np.empty(pixel.size, np.int32) if out is None else out
        values = self._room(0, pixel.size, np.float64)
        self._convert(source, pixel, time, values)
        self._search(axis, values, out)
        if out.size and out.min() == NAN:
            status = self._room(3, pixel.size, np.int32)
            self._look_up(pixel, status, source.first)
            self._override(status, out)
        return out

    def _room(self, number: int, size: int, dtype: npt.DTypeLike) -> Array:
        """Return memory for one chunk, the same every time."""
        if not self._rooms or self._rooms[0].size < size:
            self._rooms = [np.empty(size) for _ in range(4)]
        return self._rooms[number].view(dtype)[:size]

    def _pixels(self, pixel: Array, out: Int32Array, axis: Pixels) -> None:
        if self._loops is not None:
            self._loops.place_pixels(pixel, out, axis.first, axis.bins)
            return
        at = _known(pixel, axis.first, axis.bins)
        out[:] = np.where(at < axis.bins, at, UNKNOWN)

    def _look_up(self, pixel: Array, out: Int32Array, first: int) -> None:
        if self._loops is not None:
            self._loops.place_rows(pixel, out, first, self._table)
            return
        out[:] = self._table[_known(pixel, first, self._table.size - 1)]

    def _override(self, status: Int32Array, out: Int32Array) -> None:
        if self._loops is not None:
            self._loops.override(status, out)
            return
        out[status < 0] = status[status < 0]

    def _convert(self, source: Scaled | Ratio | Calibrated, pixel: Array, time: Array, out: Array) -> None:
        first, constants = source.first, self._constants
        loops = self._loops
        if loops is not None:
            if isinstance(source, Scaled):
                loops.times(pixel, time, out, first, constants)
            elif isinstance(source, Ratio):
                loops.gather(pixel, out, first, constants)
                loops.under(time, out)
                _square(source, out)
            else:
                linear, inner = self._room(1, out.size, np.float64), self._room(2, out.size, np.float64)
                loops.gather_four(pixel, time, linear, inner, out, first, constants)
                loops.solve(linear, inner, out)
                _over(source, out)
            return
        with np.errstate(all="ignore"):
            own, t = constants[_known(pixel, first, len(constants) - 1)], time.astype(np.float64)
            if isinstance(source, Calibrated):
                t = t - own[:, 3]
                out[:] = 2.0 * t / (own[:, 1] + np.copysign(np.sqrt(own[:, 2] + own[:, 0] * t), own[:, 1]))
                _over(source, out)
            else:
                out[:] = own * t if isinstance(source, Scaled) else own / t
                _square(source, out)

    def _search(self, axis: Edges, values: Array, out: Int32Array) -> None:
        s, loops = self._prepared, self._loops
        if s is None or loops is None or (not self._fits and values.dtype in _LARGE):
            out[:] = place_plain(axis.edges, values)
            return
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


def _square(source: Scaled | Ratio, out: Array) -> None:
    if isinstance(source, Ratio) and source.squared:
        with np.errstate(over="ignore"):
            np.multiply(out, out, out=out)


def _over(source: Calibrated, out: Array) -> None:
    if source.inverse:
        with np.errstate(all="ignore"):
            np.divide(1.0, out, out=out)


def _four(source: Calibrated) -> Array:
    """Return 4 difa, difc, difc squared and tzero of each pixel side by side, in one line of the cache."""
    four = np.stack([4.0 * source.difa, source.difc, source.difc * source.difc, source.tzero], axis=1)
    return np.concatenate((four, np.full((1, 4), np.nan)))


def _known(pixel: Array, first: int, count: int) -> npt.NDArray[np.int64]:
    """Return the number of each pixel after the first one, `count` for those that are not among so many."""
    with np.errstate(over="ignore"):
        at = pixel.astype(np.int64) - np.int64(first)
    # As unsigned numbers, so that one comparison is right for both ends, whatever wraps around.
    return np.where(at.view(np.uint64) < np.uint64(count), at, count)


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
