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
from eventide.kernel.histogram.axes import axis_columns
from eventide.kernel.histogram.codes import NAN
from eventide.kernel.histogram.counters import Counters
from eventide.kernel.histogram.place import Place, loops_of, plain_column
from eventide.kernel.histogram.products import Product
from eventide.kernel.histogram.program import Program, program_of
from eventide.kernel.histogram.rooms import CHUNK, MANY, Rooms, nearness_of

__all__ = ["Filler", "Histograms", "errors_of"]

_NONE = np.zeros(0)
_INT32 = np.dtype(np.int32)

_FEW = 1 << 11
"""Events of one call up to which they wait for those of others."""

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]


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
        self._loops = loops_of("counters_loops")
        self.columns = tuple(dict.fromkeys(n for each in self.products.values() for n in each.columns))
        self.near = nearness_of(list(self.products.values()))
        self.program = program_of(self.products, near=self.near is not None)
        self._made = False

    def _make(self) -> None:
        """Prepare the general way, which is often not gone."""
        places: dict[int, Place] = {}
        for each in self.products.values():
            for axis in each.axes:
                places.setdefault(id(axis), Place(axis))
        self._places = [(place, axis_columns(place.axis), np.empty(CHUNK, np.int32)) for place in places.values()]
        number = {key: at for at, key in enumerate(places)}
        # For each product the places of its axes, and the bins of those after the first.
        self._plan = [
            (name, each, number[id(each.axes[0])], [(number[id(axis)], axis.bins) for axis in each.axes[1:]])
            for name, each in self.products.items()
        ]
        self._both = np.empty(CHUNK, np.int32)
        self._made = True

    def plain(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns that are needed, of types that loops are made for.

        Parameters
        ----------
        columns
            Arrays of one length, by name.

        Raises
        ------
        SchemaError
            A column is missing, has another length, or is not of numbers.
        """
        plain = {name: plain_column(_column(columns, name), what=f"column {name!r}") for name in self.columns}
        total = plain[self.columns[0]].size
        if any(values.size != total for values in plain.values()):
            msg = f"the columns {', '.join(self.columns)} have {[v.size for v in plain.values()]} values"
            raise SchemaError(msg, hint="give arrays of one length")
        return plain

    def fill(
        self, counters: Mapping[str, Counters], plain: Mapping[str, Array], nulls: Mapping[str, npt.NDArray[np.bool_]]
    ) -> None:
        """Count events.

        Parameters
        ----------
        counters
            By the names of the products.
        plain
            From `plain`.
        nulls
            For columns with nulls, true where there is no value.

        Raises
        ------
        SchemaError
            A column is of no use for its axis.
        """
        if not self._made:
            self._make()
        total = plain[self.columns[0]].size
        if total <= CHUNK:
            self._chunk(counters, plain, nulls)
            return
        for begin in range(0, total, CHUNK):
            part = slice(begin, begin + CHUNK)
            chunk = {name: values[part] for name, values in plain.items()}
            self._chunk(counters, chunk, {name: mask[part] for name, mask in nulls.items()})

    def _chunk(
        self, counters: Mapping[str, Counters], chunk: Mapping[str, Array], none: Mapping[str, npt.NDArray[np.bool_]]
    ) -> None:
        size = chunk[self.columns[0]].size
        codes = []
        for place, names, room in self._places:
            found = place.codes(chunk, room[:size])
            for name in names if none else ():
                if name in none:
                    found[none[name]] = NAN
            codes.append(found)
        for name, each, first, others in self._plan:
            found = codes[first]
            for at, bins in others:
                found = self._combine(found, codes[at], bins)
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

    def _combine(self, left: Int32Array, right: Int32Array, bins: int) -> Int32Array:
        """Return the bins of two axes together, or the lower code where one has none."""
        both = self._both[: left.size]
        if self._loops is not None:
            self._loops.combine(left, right, bins, both)
        else:
            low = np.minimum(left, right)
            both[:] = np.where(low >= 0, left * np.int32(bins) + right, low)
        return both


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
        program, parted = filler.program, filler.near is None
        counts, changed, memory = program.memory() if program is not None else (_NONE, _NONE, {})
        self._memory = (counts, changed)
        self._counters = {
            n: Counters(p.bins, weighted=bool(p.weights), parted=parted, memory=memory.get(n))
            for n, p in filler.products.items()
        }
        self._rooms: Rooms | None = None
        self._few: Int32Array | None = None
        self._gathered = 0
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
        filler, near = self._filler, self._filler.near
        if not nulls and filler.program is not None and self._gather(filler.program, columns):
            return
        plain = filler.plain(columns)
        total = plain[filler.columns[0]].size
        self.events += total
        if nulls or any(v.dtype != np.int32 for v in plain.values()):
            filler.fill(self._counters, plain, nulls or {})
        elif near is not None and total >= MANY:
            if self._rooms is None:
                self._rooms = Rooms(near, self._count)
            self._rooms.add(plain[near.pixel], plain[near.time])
        else:
            self._count(plain)

    def _gather(self, program: Program, columns: Mapping[str, Array]) -> bool:
        """Let few events wait for more, as every call of a program takes some microseconds; tell whether they do."""
        pixel, time = columns.get(program.pixel), columns.get(program.time)
        if pixel is None or time is None or not 0 < pixel.size <= _FEW or pixel.shape != time.shape:
            return False
        if pixel.dtype != _INT32 or time.dtype != _INT32:
            return False
        if self._few is None:
            self._few = np.empty((1 if pixel is time else 2, 4 * _FEW), np.int32)
        begin, end = self._gathered, self._gathered + pixel.size
        if end > self._few.shape[1]:
            self._count_gathered()
            begin, end = 0, pixel.size
        self._few[-1, begin:end] = time
        if pixel is not time:
            self._few[0, begin:end] = pixel
        self._gathered = end
        self.events += pixel.size
        return True

    def _count_gathered(self) -> None:
        """Count the events that were gathered."""
        if self._gathered and self._few is not None:
            few, program = self._few[:, : self._gathered], self._filler.program
            assert program is not None
            self._gathered = 0
            self._count({program.pixel: few[0], program.time: few[-1]})

    def _count(self, plain: Mapping[str, Array]) -> None:
        """Count events of which none is null and all numbers are int32."""
        program = self._filler.program
        if program is None:
            self._filler.fill(self._counters, plain, {})
            return
        pixel, time = plain[program.pixel], plain[program.time]
        if any(counters.short(pixel.size) for counters in self._counters.values()):
            program.settle(*self._memory)
        for counters in self._counters.values():
            counters.reserve(pixel.size)
        program.run(pixel, time, *self._memory)

    def _clear(self) -> None:
        """Forget what waits."""
        self._gathered = 0
        if self._rooms is not None:
            self._rooms.clear()
        if self._filler.program is not None:
            self._filler.program.clear(self._memory[0])

    def _settle(self) -> None:
        """Count what waits."""
        self._count_gathered()
        if self._rooms is not None:
            self._rooms.settle()
        if self._filler.program is not None:
            self._filler.program.settle(*self._memory)

    def counts(self, name: str) -> npt.NDArray[np.int64]:
        """Return the counts of a product in its shape, int64."""
        self._settle()
        return self._counters[name].counts().reshape(self._filler.products[name].shape)

    def write_counts(self, name: str, out: npt.NDArray[np.int64]) -> None:
        """Write the counts of a product, in C order, into memory that there is."""
        self._settle()
        self._counters[name].write(out)

    def sparse(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the bins of a product that have events (numbers in C order, ascending), and their counts."""
        self._settle()
        return self._counters[name].sparse()

    def filled(self, name: str) -> int:
        """Return how many bins of a product have events."""
        self._settle()
        return self._counters[name].filled()

    def write_sparse(self, name: str, bins: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
        """Write what `sparse` returns into memory for as many numbers as `filled` says."""
        self._counters[name].write_sparse(bins, counts)

    def weights(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the sums of weights of a product in its shape, and those of their squares."""
        shape = self._filler.products[name].shape
        sums, squares = self._counters[name].weights()
        return sums.reshape(shape), squares.reshape(shape)

    def ledger(self, name: str) -> dict[str, int]:
        """Return where the events of a product are: ``events = binned + below + above + unknown + masked + nan``."""
        self._settle()
        classes = self._counters[name].classes()
        return {"events": self.events, "binned": self.events - sum(classes.values()), **classes}

    def reset(self) -> None:
        """Forget all events."""
        self.events = 0
        self._clear()
        for counters in self._counters.values():
            counters.reset()

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        rooms = self._rooms.nbytes if self._rooms is not None else 0
        few = self._few.nbytes if self._few is not None else 0
        return rooms + few + sum(counters.nbytes for counters in self._counters.values())

    def snapshot(self, group: int) -> Iterator[tuple[str, pa.Table]]:
        """Return the state but for `events`: tables by ``PRODUCT/BLOCK``, unchanged ones as the same objects."""
        self._settle()
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
        self._clear()
        for name, counters in self._counters.items():
            counters.restore(parts[name])
        self.events = events


def _column(columns: Mapping[str, Array], name: str) -> Array:
    if name not in columns:
        msg = f"there is no column {name!r} for a histogram"
        raise SchemaError(msg, hint=f"columns: {', '.join(columns)}")
    return columns[name]
