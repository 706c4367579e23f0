"""The four types of histogram: the axes that events are counted on, and the shape and edges that are published.

All bins are half-open but the last one of a range, which has its upper edge too: numpy's rule, and just-bin-it's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.restream.wanted import Wanted
from eventide.errors import UsageError
from eventide.formats import hs00
from eventide.kernel.histogram.axes import Axis as Bins
from eventide.kernel.histogram.axes import edges, rows
from eventide.kernel.histogram.products import Product, product

__all__ = ["PIXEL", "TIME", "Layout", "layout_of"]

TIME, PIXEL = "time_of_flight", "pixel_id"

MOST = 2**24
"""Bins that a histogram may have, and pixels that the table of an image or a region may span: messages of 128 MiB."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What is counted, and how it is published.

    Parameters
    ----------
    product
        The axes of the counts.
    shape
        Of the counts that are published, which are those of the product in the same order.
    axes
        Name, unit and edges of each dimension of that shape.
    """

    product: Product
    shape: tuple[int, ...]
    axes: tuple[hs00.Axis, ...]

    @property
    def needs_pixels(self) -> bool:
        """Whether pixels are looked at."""
        return PIXEL in self.product.columns


def layout_of(wanted: Wanted) -> Layout:
    """Return the layout of a histogram that is asked for.

    Raises
    ------
    UsageError
        It would have too many bins, or no pixel, or rows of a region that overlap.

    Examples
    --------
    >>> one = Wanted(kind="dethist", brokers=(), data_topics=(), topic="", det_range=(1, 6), width=3, height=2)
    >>> layout_of(one).shape
    (3, 2)
    """
    if wanted.kind == "hist1d":
        return _one(wanted)
    if wanted.kind == "hist2d":
        return _two(wanted)
    return _image(wanted) if wanted.kind == "dethist" else _region(wanted)


def _one(wanted: Wanted) -> Layout:
    time = _even(wanted, 0)
    axes: list[Bins] = [edges(TIME, _closed(time))]
    if wanted.det_range:  # an axis of one bin, outside of which nothing counts
        axes.append(edges(PIXEL, _closed(np.histogram_bin_edges([], 1, (wanted.det_range[0], wanted.det_range[1])))))
    return Layout(product(*axes), (time.size - 1,), (hs00.Axis(TIME, "ns", time),))


def _two(wanted: Wanted) -> Layout:
    _check(wanted.bins[0] * wanted.bins[1], wanted)
    time, pixel = _even(wanted, 0), _even(wanted, 1)
    return Layout(
        product(edges(TIME, _closed(time)), edges(PIXEL, _closed(pixel))),
        (time.size - 1, pixel.size - 1),
        (hs00.Axis(TIME, "ns", time), hs00.Axis(PIXEL, "", pixel)),
    )


def _image(wanted: Wanted) -> Layout:
    """Pixel `id` lies at ``x = (id - 1) % width``, ``y = (id - 1) // width % height``.

    Both ends of `det_range` are pixels, but no more of them than there are places: written as ``[1, 6145]`` or as
    ``[1, 6144]``, an image of 32 by 192 has 6144.
    """
    low, high = (int(v) for v in wanted.det_range)
    width, height = wanted.width, wanted.height
    count = min(high - low + 1, width * height)
    _check(count, wanted)
    _check(width * height, wanted)
    at = np.arange(low - 1, low - 1 + count)
    table = at % width * height + at // width % height
    return Layout(
        product(rows(PIXEL, table, bins=width * height, first=low)),
        (width, height),
        (hs00.Axis("x", "", np.arange(width + 1.0)), hs00.Axis("y", "", np.arange(height + 1.0))),
    )


def _region(wanted: Wanted) -> Layout:
    width, height = wanted.width, len(wanted.left_edges)
    low, high = min(wanted.left_edges), max(wanted.left_edges) + width
    _check(high - low, wanted)
    _check(width * height, wanted)
    table = np.full(high - low, -1, np.int64)
    for y, edge in enumerate(wanted.left_edges):
        part = table[edge - low : edge - low + width]
        if (part >= 0).any():
            msg = f"histogram {wanted.identifier!r}: pixels of row {y}, from {edge} on, are in another row too"
            raise UsageError(msg, hint="rows of a region share no pixel")
        part[:] = np.arange(width) * height + y
    return Layout(
        product(rows(PIXEL, table, bins=width * height, first=low)),
        (width, height),
        (hs00.Axis("x", "", np.arange(width + 1.0)), hs00.Axis("y", "", np.arange(height + 1.0))),
    )


def _check(count: int, wanted: Wanted) -> None:
    if not 0 < count <= MOST:
        msg = f"histogram {wanted.identifier!r} has {count} bins or pixels, more than {MOST:,}"
        raise UsageError(msg, hint="take fewer or wider bins, or a narrower range of pixels")


def _even(wanted: Wanted, axis: int) -> npt.NDArray[np.float64]:
    """Return the edges that numpy has for a number of bins in a range; an empty one is half wider on both sides."""
    _check(wanted.bins[axis], wanted)
    given = (wanted.tof_range, wanted.det_range)[axis]
    try:
        with np.errstate(all="ignore"):
            return np.asarray(np.histogram_bin_edges([], wanted.bins[axis], (given[0], given[1])), np.float64)
    except ValueError as error:
        msg = f"histogram {wanted.identifier!r} cannot have {wanted.bins[axis]} bins in {given}: {error}"
        raise UsageError(msg, hint="doubles have 15 to 17 digits: widen the range") from None


def _closed(made: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return edges whose last bin has its upper edge too: the least number above takes its place."""
    out = made.astype(np.float64)
    out[-1] = np.nextafter(out[-1], np.inf)
    return out
