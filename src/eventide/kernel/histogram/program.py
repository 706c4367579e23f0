"""Products as a program for one compiled call: which bins to find, which to put together, and where to count.

It takes events of two columns of int32, pixel and time (or of one of them): what detectors give. Anything else, such
as weights, nulls and other types, goes the general way (`histograms`), with equal results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.histogram.axes import Axis, Edges, Pixels, axis_columns
from eventide.kernel.histogram.cells import WINDOW, scaled_cells
from eventide.kernel.histogram.codes import MASKED, UNKNOWN
from eventide.kernel.histogram.counters import Layout, layout_of
from eventide.kernel.histogram.families import Family, families_of, plain_calibration
from eventide.kernel.histogram.packed import Field, packed_of
from eventide.kernel.histogram.pages import zeros
from eventide.kernel.histogram.place import loops_of
from eventide.kernel.histogram.products import Product
from eventide.kernel.histogram.search import search_of
from eventide.kernel.histogram.stage import Stage, stage_of
from eventide.kernel.histogram.steps import (
    AT_ONCE,
    COMBINE,
    COUNT,
    COUNT_PIXELS,
    COUNT_ROWS,
    COUNT_SURE,
    COUNT_TIMES,
    DIVIDED,
    FAMILY,
    FOUR,
    GATHER,
    LOOK_ROWS,
    NUMBERS,
    OVER,
    PIXEL,
    PIXELS,
    REACH,
    REACH_EVENLY,
    ROWS,
    SCALED,
    SEARCH,
    SQUARED,
    TIME,
    TOGETHER,
    UNDER,
    UNPACK,
    UNPACK_ROWS,
    WORDS,
)
from eventide.kernel.histogram.values import Calibrated, Column, Ratio, Scaled

__all__ = ["Program", "program_of"]

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]
Memory = dict[str, tuple[Array, Array]]

_WIDTH = 17
_TABLES = {
    "doubles": np.float64, "ints": np.int32, "singles": np.float32, "shorts": np.int16, "longs": np.int64,
    "words": np.uint64,
}  # fmt: skip
_LARGEST = 1 << 30


class Program:
    """Counts chunks of events into all its products.

    Parameters
    ----------
    products
        By name; such as `program_of` takes.
    pixel, time
        The columns; both the same where there is only one.
    """

    def __init__(self, products: Mapping[str, Product], pixel: str, time: str) -> None:
        self.pixel, self.time = pixel, time
        self._loops: Any = loops_of("program_loops")
        self._steps: list[list[int]] = []
        self._numbers: list[list[float]] = []
        self._kept: dict[str, list[Array]] = {name: [np.zeros(1, kind)] for name, kind in _TABLES.items()}
        self.layouts: dict[str, Layout] = {name: layout_of(each.bins) for name, each in products.items()}
        self._begin: dict[str, tuple[int, int]] = {}
        self._size = self._blocks = 0
        for name, lay in self.layouts.items():
            self._begin[name] = (self._size, self._blocks)
            self._size += -(-lay.size // 16) * 16  # so that each begins in a line of its own
            self._blocks += lay.blocks
        self._rooms = 1
        self._room_of: dict[int, int] = {}
        self._number_of: dict[tuple[int, int], int] = {}
        self._tables = self._side_by_side(products)
        self._shared: list[tuple[slice, int, dict[str, Int32Array]]] = []
        self._groups: list[tuple[int, int, int]] = []
        stage = stage_of(products, time)
        families = families_of(products) if time != pixel else []
        packed = packed_of(stage, families)
        fields = packed.constants if packed is not None else ()
        if packed is not None:
            self._step([WORDS, 0, packed.first, self._keep("words", packed.words), packed.words.size])
        if stage is not None:
            self._add_stage(stage, packed.rows if packed is not None else None)
        for number, family in enumerate(families):
            if number >= len(fields):  # tables of a group stay in the cache
                self._end_group()
            self._add_family(number, family, fields[number] if number < len(fields) else None)
        self._end_group()
        for number, family in enumerate(families):
            for name in family.shares:
                self._add(name, products[name])
            self._end_group(of=number)
        elsewhere = {name for _, _, shares in self._shared for name in shares}
        for name, each in products.items():
            if name not in elsewhere:
                self._add(name, each)
        self._end_group()
        steps = np.array([s + [0] * (_WIDTH - len(s)) for s in self._steps], np.int64)
        tables = [np.concatenate(self._kept[name]).astype(kind, copy=False) for name, kind in _TABLES.items()]
        self._kept = {}
        self._arrays = (np.array(self._groups).reshape(-1, 3), steps, np.array(self._numbers, np.float64), *tables)
        constants = np.empty(TOGETHER, np.float32)
        self._scratch = (
            np.empty((self._rooms, TOGETHER), np.int32),
            np.empty((3, TOGETHER)),
            constants,
            constants.view(np.uint32),
            np.empty(TOGETHER, np.uint32),
            np.empty(TOGETHER, np.uint64),
            np.empty((len(families), 2, AT_ONCE), np.int32),
            np.zeros(len(families), np.int64),
        )

    # -- making it

    def _add(self, name: str, each: Product) -> None:
        lay, (begin, block), one = self.layouts[name], self._begin[name], each.axes[0]
        if len(each.axes) == 1 and isinstance(one, Pixels) and lay.copies == lay.blocks == 1:
            # Of larger ones more events are on their way to memory at once where codes are found before.
            self._step([COUNT_PIXELS, 0, one.first, one.bins, begin, block])
            return
        room = self._place(each.axes[0])
        for axis in each.axes[1:]:
            other = self._place(axis)
            both = self._new_room()
            self._step([COMBINE, both, room, other, axis.bins])
            room = both
        self._step([COUNT, room, lay.copies, lay.slots, begin, block, lay.blocks, lay.shift])

    def _share(self, slots: int, copies: int, shares: dict[str, Int32Array]) -> list[int]:
        """Return where counters begin that are shared out later, and how many there are."""
        begin, size = self._size, copies * slots
        self._size += -(-size // 16) * 16
        self._shared.append((slice(begin, begin + size), copies, shares))
        return [begin, size]

    def _add_stage(self, stage: Stage, packed: Field | None) -> None:
        cells, even, room = stage.cells, stage.even, self._new_room()
        if even is not None:
            self._step([REACH_EVENLY, room, even.start, even.most, even.factor, even.offset, even.shift])
        else:
            words = self._keep("ints", cells.words)
            self._step([REACH, room, cells.start, cells.most, cells.shift, words, cells.words.size])
        own = self._share(stage.slots, 1 if stage.table.size else 4, stage.shares)
        count = [room, self._keep("longs", cells.reached), cells.reached.size, *own]
        if not stage.table.size:
            self._step([COUNT_TIMES if even is None else COUNT_SURE, *count])
            return
        rows = self._new_room()
        if packed is not None:
            self._step([UNPACK_ROWS, rows, packed.shift, packed.mask])
        else:
            at = self._numbers_of(stage.first, stage.table.size - 1)
            self._step([LOOK_ROWS, rows, at, self._keep("shorts", stage.table.astype(np.int16)), stage.table.size])
        self._step([COUNT_ROWS, *count, rows, stage.width])

    def _add_family(self, number: int, family: Family, packed: Field | None) -> None:
        """Count a family; what it leaves is for the steps of its products, in a group of their own."""
        cells, constants = family.cells, family.constants
        if packed is None:
            at = self._numbers_of(family.first, constants.size - 1)
            self._step([GATHER, 0, at, self._keep("singles", constants), constants.size])
        else:
            self._step([UNPACK, 0, packed.shift, packed.mask, packed.dropped, packed.base])
            if packed.dropped:
                # Rounded by half of the last bit that is kept.
                wider = scaled_cells(family.edges, window=WINDOW + (1 << packed.dropped))
                assert wider is not None  # as before: that depends on how many edges there are
                cells = wider
        words = [cells.shift, self._keep("ints", cells.words), cells.words.size]
        own = self._share(cells.edges + 1, 4, family.shares)
        self._step([FAMILY, self._new_room(), number, *words, *own, cells.window], (cells.scale,))

    def _end_group(self, *, of: int = -1) -> None:
        """End a group of steps, for all events or for those that a family leaves; the next one begins anew."""
        begin = self._groups[-1][1] if self._groups else 0
        if len(self._steps) > begin:
            self._groups.append((begin, len(self._steps), of))
        self._room_of, self._number_of = {}, {}

    def _numbers_of(self, first: int, size: int) -> int:
        """Return where the numbers of pixels in a table will be."""
        if (first, size) not in self._number_of:
            self._number_of[first, size] = room = self._new_room()
            self._step([NUMBERS, room, first, size])
        return self._number_of[first, size]

    def _new_room(self) -> int:
        self._rooms += 1
        return self._rooms - 1

    def _step(self, step: list[int], numbers: tuple[float, ...] = ()) -> None:
        self._steps.append(step)
        self._numbers.append([*numbers, *[0.0] * (4 - len(numbers))])

    def _keep(self, where: str, values: Array) -> int:
        begin = sum(v.size for v in self._kept[where])
        self._kept[where].append(values)
        return begin

    def _place(self, axis: Axis) -> int:
        """Return where the bins of an axis will be; found once, however many products share it."""
        if id(axis) in self._room_of:
            return self._room_of[id(axis)]
        room = self._new_room()
        self._room_of[id(axis)] = room
        if isinstance(axis, Pixels):
            self._step([PIXELS, room, 0, axis.first, 0, axis.bins])
        elif isinstance(axis, Edges):
            self._search(axis, room)
        else:
            table = np.append(np.where(axis.table >= 0, axis.table, MASKED), UNKNOWN).astype(np.int32)
            self._step([ROWS, room, 0, axis.first, self._keep("ints", table), table.size])
        return room

    def _side_by_side(self, products: Mapping[str, Product]) -> dict[int, tuple[int, int, int, int]]:
        """Keep the constants of all conversions, those of a pixel side by side where their pixels are the same.

        Returns where the table of each axis begins, its size, its stride, and which of its columns is the axis's own.
        """
        alike: dict[tuple[int, int, bool], dict[int, Array]] = {}
        for axis in (a for p in products.values() for a in p.axes):
            if isinstance(axis, Edges) and not isinstance(axis.value, Column):
                kind, table = _table_of(axis.value)
                alike.setdefault((axis.value.first, table.size, kind in (FOUR, OVER)), {})[id(axis)] = table
        out: dict[int, tuple[int, int, int, int]] = {}
        for (_, _, four), tables in alike.items():
            if four:
                # difc, the second of four terms, is NaN where a pixel is masked.
                out |= {key: (self._keep("doubles", table), table.size, 4, 1) for key, table in tables.items()}
                continue
            beside = np.stack(list(tables.values()), axis=1)
            begin = self._keep("doubles", beside.reshape(-1))
            out |= {key: (begin, beside.size, beside.shape[1], column) for column, key in enumerate(tables)}
        return out

    def _search(self, axis: Edges, room: int) -> None:
        source = axis.value
        first, at, size, stride, column = 0, 0, 0, 1, 0
        if isinstance(source, Column):
            kind = TIME if source.name == self.time else PIXEL
        else:
            first = source.first
            kind = _kind_of(source)
            at, size, stride, column = self._tables[id(axis)]
        found = search_of(axis.edges)
        begins = [
            self._keep("ints", found.first),
            self._keep("doubles", found.threshold),
            self._keep("doubles", found.edges),
        ]
        step = [SEARCH, room, kind, first, at, size, found.kind, found.bins, found.top, found.shift, found.base]
        self._step(
            [*step, *begins, found.steps, stride, column],
            (found.low, found.scale, found.step or 0.0, float(axis.edges[-1])),
        )

    # -- running it

    def memory(self) -> tuple[Array, Array, Memory]:
        """Return the counters of all products, the marks of their blocks, and those of each product by name."""
        counts, changed = zeros(self._size, np.uint32), np.zeros(self._blocks, np.uint8)
        parts = {}
        for name, lay in self.layouts.items():
            at, block = self._begin[name]
            parts[name] = (counts[at : at + lay.size], changed[block : block + lay.blocks])
        return counts, changed, parts

    def run(self, pixel: Int32Array, time: Int32Array, counts: Array, changed: Array) -> None:
        """Count events."""
        self._loops.run(pixel, time, *self._arrays, *self._scratch, counts, changed)

    def settle(self, counts: Array, changed: Array) -> None:
        """Share out what is counted for several products."""
        for part, copies, shares in self._shared:
            if not counts[part].any():
                continue
            own = counts[part].reshape(copies, -1).sum(axis=0, dtype=np.uint32)
            for name, places in shares.items():
                (at, block), lay = self._begin[name], self.layouts[name]
                self._loops.share(own, places, counts[at : at + lay.slots])
                changed[block : block + lay.blocks] = 1
            counts[part] = 0

    def clear(self, counts: Array) -> None:
        """Forget what is counted for several products."""
        for part, _, _ in self._shared:
            counts[part] = 0


def _kind_of(source: Scaled | Ratio | Calibrated) -> int:
    """Return the kind of a conversion."""
    if isinstance(source, Scaled):
        return SCALED
    if isinstance(source, Ratio):
        return SQUARED if source.squared else UNDER
    if source.inverse:
        return OVER
    return DIVIDED if plain_calibration(source) else FOUR


def _table_of(source: Scaled | Ratio | Calibrated) -> tuple[int, Array]:
    """Return the kind of a conversion and its table, whose last entry is for pixels that it does not know."""
    kind = _kind_of(source)
    if not isinstance(source, Calibrated):
        return kind, np.append(source.constants, np.nan)
    if kind == DIVIDED:
        return kind, np.append(source.difc, np.nan)
    four = np.stack([4.0 * source.difa, source.difc, source.difc * source.difc, source.tzero], axis=1)
    return kind, np.append(four.reshape(-1), [np.nan] * 4)


def program_of(products: Mapping[str, Product], *, near: bool) -> Program | None:
    """Return a program, or None where products have to go the general way.

    Parameters
    ----------
    products
        By name.
    near
        Whether events come with those of near pixels; otherwise histograms that are partitioned by themselves do not
        come into a program.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import pixels, uniform
    >>> from eventide.kernel.histogram.products import product
    >>> made = {"both": product(pixels("pixel", 0, 10), uniform("tof", 0, 1e8, 100))}
    >>> program = program_of(made, near=False)
    >>> program is None or (program.pixel, program.time)
    ('pixel', 'tof')
    """
    if loops_of("program_loops") is None or any(p.weights for p in products.values()):
        return None
    lays = [layout_of(p.bins) for p in products.values()]
    if (not near and any(lay.large for lay in lays)) or sum(lay.size for lay in lays) > _LARGEST:
        return None
    axes = [a for p in products.values() for a in p.axes]
    columns = {n for p in products.values() for n in p.columns}
    pixel = {axis_columns(a)[0] for a in axes if not (isinstance(a, Edges) and isinstance(a.value, Column))}
    times = {axis_columns(a)[1] for a in axes if isinstance(a, Edges) and not isinstance(a.value, Column)}
    if len(pixel) > 1 or len(columns) > 2 or pixel & times or len(times) > 1:
        return None
    of = next(iter(pixel)) if pixel else next(iter(columns))
    rest = columns - {of}
    return Program(products, of, next(iter(rest)) if rest else of)
