"""Several histograms of the same events, filled in one pass.

Events are taken in chunks that stay in the cache: the place on every axis is found once, whatever number of products
share it, and all products are counted before the next chunk is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import SchemaError
from eventide.kernel.compiled import have_compiler
from eventide.kernel.histogram.axes import Axis, axis_columns
from eventide.kernel.histogram.codes import NAN
from eventide.kernel.histogram.counters import Counters
from eventide.kernel.histogram.place import Place, plain_column
from eventide.kernel.histogram.products import Product

__all__ = ["CHUNK", "Filler", "Histograms", "errors_of"]

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]

CHUNK = 1 << 15
"""Events of a chunk; a place on an axis takes four bytes."""


def errors_of(counts: Array) -> npt.NDArray[np.float64]:
    """Return the standard deviation of counts that are Poisson distributed: their square roots.

    Of weighted events it is the square root of the sum of squared weights.

    Examples
    --------
    >>> errors_of(np.array([0, 4, 9])).tolist()
    [0.0, 2.0, 3.0]
    """
    out: npt.NDArray[np.float64] = np.sqrt(counts.astype(np.float64))
    return out


class Filler:
    """How products are filled; it holds no counts, so any number of `Histograms` can use one.

    Parameters
    ----------
    products
        By name.
    """

    def __init__(self, products: Mapping[str, Product]) -> None:
        self.products = dict(products)
        places: dict[int, Place] = {}
        for each in self.products.values():
            for axis in each.axes:
                places.setdefault(id(axis), Place(axis))
        self._places = list(places.values())
        self._of: dict[int, int] = {key: at for at, key in enumerate(places)}
        self._codes = [np.empty(CHUNK, np.int32) for _ in self._places]
        self._both = np.empty(CHUNK, np.int32)
        self.columns = tuple(dict.fromkeys(n for each in self.products.values() for n in each.columns))

    def fill(
        self, counters: Mapping[str, Counters], columns: Mapping[str, Array], nulls: Mapping[str, npt.NDArray[np.bool_]]
    ) -> int:
        """Count events and return how many there were.

        Parameters
        ----------
        counters
            By the names of the products.
        columns
            Arrays of one length; `nulls` has those of columns with nulls, true where there is none.

        Raises
        ------
        SchemaError
            A column is missing, has another length, or is of no use for its axis.
        """
        plain = {name: plain_column(_column(columns, name), what=f"column {name!r}") for name in self.columns}
        size = {values.size for values in plain.values()}
        if len(size) > 1:
            msg = f"the columns {', '.join(self.columns)} have {sorted(size)} values"
            raise SchemaError(msg, hint="give arrays of one length")
        total = size.pop()
        for begin in range(0, total, CHUNK):
            part = slice(begin, min(begin + CHUNK, total))
            chunk = {name: values[part] for name, values in plain.items()}
            none = {name: mask[part] for name, mask in nulls.items()}
            codes = [self._place(p, chunk, none, out) for p, out in zip(self._places, self._codes, strict=True)]
            for name, each in self.products.items():
                found = self._combine(each.axes, codes)
                if not each.weights:
                    counters[name].add(found)
                    continue
                weights = chunk[each.weights].astype(np.float64)
                bad = np.isnan(weights)
                if each.weights in none:
                    bad |= none[each.weights]
                if bad.any():
                    found = np.where(bad, np.int32(NAN), found)
                    weights[bad] = 0.0
                counters[name].add(found, weights)
        return total

    @staticmethod
    def _place(
        place: Place, chunk: Mapping[str, Array], none: Mapping[str, npt.NDArray[np.bool_]], out: Int32Array
    ) -> Int32Array:
        names = axis_columns(place.axis)
        codes = place.codes(chunk, out[: chunk[names[0]].size])
        for name in names:
            if name in none:
                codes[none[name]] = NAN
        return codes

    def _combine(self, axes: tuple[Axis, ...], codes: list[Int32Array]) -> Int32Array:
        """Return the bins of a product, or the lowest code where an axis has none."""
        found = codes[self._of[id(axes[0])]]
        both = self._both[: found.size]
        for axis in axes[1:]:
            other = codes[self._of[id(axis)]]
            if have_compiler():
                from eventide.kernel.histogram import counters_loops as loops

                loops.combine(found, other, axis.bins, both)
            else:
                low = np.minimum(found, other)
                both[:] = np.where(low >= 0, found * np.int32(axis.bins) + other, low)
            found = both
        return found


class Histograms:
    """The counts of products.

    Parameters
    ----------
    filler
        The products, and how they are filled.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import pixels, uniform
    >>> from eventide.kernel.histogram.products import checked, product
    >>> tof, image = uniform("tof", 0, 100, 2), pixels("pixel", 0, 3)
    >>> filler = Filler(checked({"tof": tof, "image": image, "both": product(image, tof)}))
    >>> histograms = Histograms(filler)
    >>> histograms.add({"tof": np.array([10.0, 60.0, 99.0, 100.0]), "pixel": np.array([0, 2, 7, 1])})
    >>> histograms.counts("both").tolist()
    [[1, 0], [0, 0], [0, 1]]
    >>> histograms.ledger("both")
    {'events': 4, 'binned': 2, 'below': 0, 'above': 1, 'unknown': 1, 'masked': 0, 'nan': 0}
    """

    def __init__(self, filler: Filler) -> None:
        self._filler = filler
        self._counters = {n: Counters(p.bins, weighted=bool(p.weights)) for n, p in filler.products.items()}
        self.events = 0

    def add(self, columns: Mapping[str, Array], *, nulls: Mapping[str, npt.NDArray[np.bool_]] | None = None) -> None:
        """Count events.

        Parameters
        ----------
        columns
            Arrays of one length.
        nulls
            For columns with nulls, true where there is no value.

        Raises
        ------
        SchemaError
            A column is missing, has another length, or is of no use for its axis.
        """
        self.events += self._filler.fill(self._counters, columns, nulls or {})

    def counts(self, name: str) -> npt.NDArray[np.int64]:
        """Return the counts of a product in its shape, int64."""
        return self._counters[name].counts().reshape(self._filler.products[name].shape)

    def sparse(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the bins of a product that have events (numbers in C order, ascending), and their counts."""
        return self._counters[name].sparse()

    def weights(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the sums of weights of a product in its shape, and those of their squares."""
        shape = self._filler.products[name].shape
        sums, squares = self._counters[name].weights()
        return sums.reshape(shape), squares.reshape(shape)

    def ledger(self, name: str) -> dict[str, int]:
        """Return where the events of a product are: ``events = binned + below + above + unknown + masked + nan``."""
        classes = self._counters[name].classes()
        return {"events": self.events, "binned": self.events - sum(classes.values()), **classes}

    def reset(self) -> None:
        """Forget all events."""
        self.events = 0
        for counters in self._counters.values():
            counters.reset()

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(counters.nbytes for counters in self._counters.values())

    def snapshot(self, group: int) -> Iterator[tuple[str, pa.Table]]:
        """Return the state but for `events`: tables by ``PRODUCT/BLOCK``, unchanged ones as the same objects."""
        for name, counters in self._counters.items():
            for number, table in counters.snapshot(group):
                yield f"{name}/{number}", table

    def restore(self, tables: Mapping[str, pa.Table], events: int) -> None:
        """Take over a state, in place of what is held.

        Raises
        ------
        CheckpointError
            It is of histograms with other bins.
        """
        parts: dict[str, dict[int, pa.Table]] = {name: {} for name in self._counters}
        for key, table in tables.items():
            name, _, number = key.rpartition("/")
            if name in parts:
                parts[name][int(number)] = table
        for name, counters in self._counters.items():
            counters.restore(parts[name])
        self.events = events


def _column(columns: Mapping[str, Array], name: str) -> Array:
    if name not in columns:
        msg = f"there is no column {name!r} for a histogram"
        raise SchemaError(msg, hint=f"columns: {', '.join(columns)}")
    return columns[name]
