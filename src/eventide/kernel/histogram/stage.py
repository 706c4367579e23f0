"""Products that can be had from one finer histogram: events are counted there once, and shared out later.

Spectra of regions, of banks and of everything look at the same time with edges of their own, and at tables of pixels.
Take all their edges together, and number the combinations that their tables have: then the bin of an event in each of
them, or why it has none, follows from its bin there. So one counter is touched for all of them. What is counted there
is added to theirs before anybody looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.histogram.axes import Axis, Edges, Rows
from eventide.kernel.histogram.cells import EvenTimes, TimeCells, even_times, time_cells
from eventide.kernel.histogram.codes import ABOVE, BELOW, HEAD, MASKED, UNKNOWN
from eventide.kernel.histogram.products import Product
from eventide.kernel.histogram.search import EVEN, search_of
from eventide.kernel.histogram.values import Column

__all__ = ["Stage", "stage_of"]

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]

_MOST_SLOTS = 1 << 16
_MOST_ROWS = 1 << 10


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A finer histogram: rows of combinations, each with all edges.

    Parameters
    ----------
    edges
        All edges.
    cells
        How to find how many of them a time has reached.
    even
        The same, where they are evenly spaced.
    first
        The first pixel of the table; of no use where there is no table.
    table
        int32, the row of each pixel and, last, of pixels that no table knows; empty: there is one row.
    slots
        Its counters.
    shares
        For each product which counter of it (`HEAD` and bin) each counter of the stage belongs to, int32.
    """

    edges: Array
    cells: TimeCells
    first: int
    table: Int32Array
    slots: int
    even: EvenTimes | None = None
    shares: dict[str, Int32Array] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Places of a row."""
        return self.edges.size + 1


def stage_of(products: Mapping[str, Product], time: str) -> Stage | None:
    """Return a stage for those of some products that can have one, or None where it would be of no use.

    Parameters
    ----------
    products
        By name.
    time
        The column of times, of int32.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import rows, uniform
    >>> from eventide.kernel.histogram.products import product
    >>> coarse, fine = uniform("tof", 0, 100, 2), uniform("tof", 0, 100, 5)
    >>> banks = product(rows("pixel", [0, 0, 1, -1]), coarse)
    >>> stage = stage_of({"fine": product(fine), "banks": banks}, "tof")
    >>> stage.edges.tolist(), stage.table.tolist(), stage.slots
    ([0.0, 20.0, 40.0, 50.0, 60.0, 80.0, 100.0], [0, 0, 1, 2, 3], 32)
    """
    chosen = {n: p for n, p in products.items() if _fits(p, time)}
    if not chosen or (len(chosen) == 1 and not _alone(chosen)):
        return None
    bounds = np.unique(np.concatenate([a.edges for p in chosen.values() for a in p.axes if isinstance(a, Edges)]))
    tables = list({id(a): a for p in chosen.values() for a in p.axes if isinstance(a, Rows)}.values())
    cells = time_cells(bounds)
    if cells is None:
        return None
    first, table, rows_of = _combined(tables)
    count = int(table.max()) + 1 if table.size else 1
    width = bounds.size + 1
    if count > _MOST_ROWS or count * width > _MOST_SLOTS:
        return None
    stage = Stage(bounds, cells, first, table, count * width, even_times(bounds))
    for name, each in chosen.items():
        code = np.zeros((count, width), np.int64)
        for axis in each.axes:
            own = rows_of[id(axis)][:, None] if isinstance(axis, Rows) else _bins(axis, bounds)[None, :]
            own = np.broadcast_to(own, code.shape)
            low = np.minimum(code, own)
            code = np.where(low >= 0, code * axis.bins + own, low)
        stage.shares[name] = (code.reshape(-1) + HEAD).astype(np.int32)
    return stage


def _fits(each: Product, time: str) -> bool:
    plain = [isinstance(a, Edges) and a.value == Column(time) for a in each.axes]
    return sum(plain) == 1 and all(p or isinstance(a, Rows) for p, a in zip(plain, each.axes, strict=True))


def _alone(chosen: Mapping[str, Product]) -> bool:
    """Tell whether one product gains: it has only times, and edges that are found by tables anyway or by a factor."""
    (axes,) = (each.axes for each in chosen.values())
    if len(axes) != 1 or not isinstance(axes[0], Edges):
        return False
    return search_of(axes[0].edges).kind != EVEN or even_times(axes[0].edges) is not None


def _bins(axis: Axis, bounds: Array) -> npt.NDArray[np.int64]:
    """Return the bin of an axis, or its code, for each number of edges that can be reached, from none to all."""
    assert isinstance(axis, Edges)
    bins = np.searchsorted(axis.edges, np.append(-np.inf, bounds), side="right") - 1
    bins[bins >= axis.bins] = ABOVE
    return np.where(bins == -1, BELOW, bins)


def _combined(tables: list[Rows]) -> tuple[int, Int32Array, dict[int, npt.NDArray[np.int64]]]:
    """Return first pixel and rows of the combinations of some tables, and for each table its code of each row."""
    if not tables:
        return 0, np.zeros(0, np.int32), {}
    first = min(t.first for t in tables)
    end = max(t.first + t.table.size for t in tables)
    columns = []
    for each in tables:
        # One more, for pixels that no table knows.
        column = np.full(end - first + 1, UNKNOWN, np.int64)
        column[each.first - first :][: each.table.size] = np.where(each.table >= 0, each.table, MASKED)
        columns.append(column)
    rows, table = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    # The order of the example, and of the eye: as they come.
    seen = np.unique(table.reshape(-1), return_index=True)[1]
    order = np.argsort(seen, kind="stable")
    number = np.empty(order.size, np.int32)
    number[order] = np.arange(order.size)
    return first, number[table.reshape(-1)], {id(t): rows[order, k] for k, t in enumerate(tables)}
