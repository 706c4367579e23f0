"""From values to bins, exactly, at a speed that hardly depends on how the edges lie.

The bin of x is ``searchsorted(edges, x, side="right") - 1``, by definition. A *guess* maps x to a cell of a fine grid
by a few arithmetic operations, each of which never decreases when x grows, rounding included; so the guess as a whole
is monotone. That is enough to be exact: an edge in a lower cell than x is below x, an edge in a higher one is above it,
and only edges in the very cell of x have to be compared with it. The cells of all edges are found with the same
operations when the search is made, so nothing has to be known about rounding.

Two guesses are tried: linear in x, and linear in the bits of x as a double, which is nearly logarithmic. The smallest
grid is taken in which no cell has more than one edge; where there is none (edges of very different distances), a few
comparisons are made, and where these would be many, a binary search within the cell.

Equally spaced edges need no table: the grid is laid so that cell i has edge i in its middle, and the edge itself is
computed again (``i * step + low``), which is checked to give the very same doubles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.histogram.codes import ABOVE, NAN

__all__ = ["BITS", "EVEN", "LINEAR", "MOST_STEPS", "Search", "fits_doubles", "place_plain", "search_of"]

Array = npt.NDArray[Any]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]

EVEN, LINEAR, BITS = 0, 1, 2
"""Kinds of guess: a grid with one edge in the middle of each cell; a linear one; one over the bits."""

MOST_STEPS = 4
"""Edges in one cell up to which each is compared; above, they are searched."""

_CELLS = 1 << 12
_PER_BIN = 32
_MOST_CELLS = 1 << 20
_REST = np.int64(2**63 - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A prepared search; see the module for how it works.

    Parameters
    ----------
    edges
        float64, ascending, then ``MOST_STEPS + 1`` times infinity.
    bins
        Number of bins.
    kind
        `EVEN`, `LINEAR` or `BITS`.
    low, scale
        Of a linear guess: ``(x - low) * scale``.
    step
        Distance of the edges of `EVEN`.
    shift, base
        Of a guess over the bits: ``(bits >> shift) - base``.
    top
        The last cell.
    first
        int32, for each cell the bin of its least value at the lowest; then the number of bins.
    threshold
        float64, for each cell its first edge, or infinity.
    steps
        The most edges that one cell has; more than `MOST_STEPS`: they are searched.
    """

    edges: Float64Array = field(repr=False)
    bins: int
    kind: int
    low: float = 0.0
    scale: float = 0.0
    step: float = 0.0
    shift: int = 1
    base: int = 0
    top: int = 0
    first: Int32Array = field(default_factory=lambda: np.zeros(1, np.int32), repr=False)
    threshold: Float64Array = field(default_factory=lambda: np.zeros(1), repr=False)
    steps: int = 1


def _cells_linear(x: Array, low: float, scale: float, half: float, top: int) -> Int32Array:
    with np.errstate(all="ignore"):
        v = (x.astype(np.float64) - low) * scale + half
    v = np.where(v > 0.0, v, 0.0)  # NaN goes to the first cell
    return np.where(v < float(top), v, float(top)).astype(np.int32)


def _ordered_bits(x: Array) -> npt.NDArray[np.int64]:
    """Return numbers that are ordered as the doubles are, the zeros being equal."""
    bits: npt.NDArray[np.int64] = (x.astype(np.float64) + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & _REST)


def _cells_bits(x: Array, shift: int, base: int, top: int) -> Int32Array:
    cells: Int32Array = np.clip((_ordered_bits(x) >> shift) - base, 0, top).astype(np.int32)
    return cells


def search_of(edges: Float64Array) -> Search:
    """Prepare a search over finite ascending edges.

    Examples
    --------
    >>> search = search_of(np.array([0.0, 1.0, 10.0, 100.0]))
    >>> place_plain(search.edges[:4], np.array([-1.0, 0.0, 0.5, 1.0, 99.0, 100.0, np.nan])).tolist()
    [-1, 0, 0, 1, 2, -2, -5]
    """
    padded = np.concatenate((edges, np.full(MOST_STEPS + 1, np.inf)))
    return _even(edges, padded) or min(_tables(edges, padded), key=lambda s: (s.steps, s.top))


def _even(edges: Float64Array, padded: Float64Array) -> Search | None:
    bins, low = edges.size - 1, float(edges[0])
    with np.errstate(all="ignore"):
        span = np.float64(edges[-1]) - low
        step, scale = float(span / bins), float(np.float64(bins) / span)
        again = np.arange(bins + 1) * step + low
        again[-1] = edges[-1]
    if not (np.isfinite(scale) and np.array_equal(again, edges)):
        return None
    if not np.array_equal(_cells_linear(edges, low, scale, 0.5, bins), np.arange(bins + 1)):
        return None
    return Search(padded, bins, EVEN, low=low, scale=scale, step=step, top=bins)


def _tables(edges: Float64Array, padded: Float64Array) -> list[Search]:
    """Return the best grid of each kind: the smallest of those with the fewest edges in a cell."""
    bins, low = edges.size - 1, float(edges[0])
    most = min(max(_CELLS, _PER_BIN * bins), max(_MOST_CELLS, 2 * bins))
    bits = _ordered_bits(edges)
    width = (int(bits[-1]) - int(bits[0])).bit_length()
    found = []
    for kind in (LINEAR, BITS):
        best: tuple[int, Int32Array, dict[str, Any]] | None = None
        cells = 2
        while cells <= most and (best is None or best[0] > 1):
            if kind == LINEAR:
                with np.errstate(all="ignore"):
                    scale = float(np.float64(cells - 1) / (np.float64(edges[-1]) - low))
                scale = scale if np.isfinite(scale) else float(np.finfo(np.float64).max)
                how: dict[str, Any] = {"low": low, "scale": scale, "top": cells - 1}
                cell = _cells_linear(edges, low, scale, 0.0, cells - 1)
            else:
                shift = max(1, width - cells.bit_length() + 1)
                base = int(bits[0] >> shift)
                how = {"shift": shift, "base": base, "top": int(bits[-1] >> shift) - base}
                cell = _cells_bits(edges, **how)
            steps = int(np.bincount(cell).max())
            if best is None or steps < best[0]:
                best = steps, cell, how
            cells *= 2
        assert best is not None
        steps, cell, how = best
        at = np.searchsorted(cell, np.arange(how["top"] + 1), side="left")
        first = np.append(at - 1, bins).astype(np.int32)
        inside = np.searchsorted(cell, np.arange(how["top"] + 1), side="right") > at
        threshold = np.where(inside, padded[at], np.inf)
        found.append(Search(padded, bins, kind, first=first, threshold=threshold, steps=steps, **how))
    return found


def fits_doubles(edges: Float64Array) -> bool:
    """Tell whether integers of 64 bits may be compared with edges as doubles: rounding them then changes no result.

    Examples
    --------
    >>> fits_doubles(np.array([0.0, 1e9])), fits_doubles(np.array([0.0, 1e18]))
    (True, False)
    """
    return bool(max(abs(edges[0]), abs(edges[-1])) <= 2.0**53)


def place_plain(edges: Float64Array, x: Array) -> Int32Array:
    """Return the bin of each value, or the code of its class, int32: what the compiled loops give.

    Parameters
    ----------
    edges
        Ascending.
    x
        Floats, or integers of any size: these are compared without rounding.
    """
    last = edges.size - 1
    if x.dtype.kind in "iu" and x.dtype.itemsize == 8 and not fits_doubles(edges):
        # An integer is at or above an edge if it is at or above the least integer that is.
        info = np.iinfo(x.dtype)
        up = np.ceil(edges)
        reached = np.maximum(up[up < float(info.max)], float(info.min)).astype(x.dtype)
        bins = np.searchsorted(reached, x, side="right").astype(np.int32) - np.int32(1)
    else:
        bins = np.searchsorted(edges, x.astype(np.float64), side="right").astype(np.int32) - np.int32(1)
    bins[bins >= last] = ABOVE
    if x.dtype.kind == "f":
        bins[np.isnan(x)] = NAN
    return bins
