"""Products over times that are scaled by constants of their pixels, counted together where the constants are alike.

Wavelength is a constant times the time, d-spacing the time over another one, momentum transfer a constant over the
time. Of given pixel all of these follow from the time, and constants which differ by one factor only, as those of
d-spacing and momentum transfer do (``Q = 2 pi / d``), follow from one another. So all edges of such products are edges
of one scaled time: it is found once, in 32 bits, and one counter between two neighbouring edges is touched. What it
holds is added to the counters of the products before anybody looks. The few events too near to an edge for 32 bits are
left to the steps of each product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.kernel.histogram.axes import Edges
from eventide.kernel.histogram.cells import ScaledCells, scaled_cells
from eventide.kernel.histogram.codes import ABOVE, BELOW, HEAD
from eventide.kernel.histogram.products import Product
from eventide.kernel.histogram.values import Calibrated, Column, Ratio, Scaled

__all__ = ["Family", "families_of", "plain_calibration"]

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]

_ALIKE = 2.0**-24
_LEAST, _MOST = 2.0**-60, 2.0**60


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Products whose bins are intervals of one scaled time.

    Parameters
    ----------
    first
        The first pixel of the constants.
    constants
        float32, for each pixel and for unknown ones; NaN where the steps of the products have to find the bin.
    edges
        Of all products, as scaled times, ascending.
    cells
        Over the edges.
    shares
        For each product which counter of it (`HEAD` and bin) each interval belongs to, int32.
    """

    first: int
    constants: Float32Array
    edges: Float64Array
    cells: ScaledCells
    shares: dict[str, Int32Array]


@dataclass(slots=True, eq=False)
class _Member:
    """An axis: bins between edges of ``scale * factor * t``, from below or, of a ratio, from above."""

    name: str
    axis: Edges
    scale: Float64Array
    edges: Float64Array
    falling: bool
    factor: float = 1.0


def plain_calibration(source: Calibrated) -> bool:
    """Tell whether a calibration is ``time / difc``, to the bit.

    Examples
    --------
    >>> from eventide.kernel.histogram.values import calibrated
    >>> plain_calibration(calibrated("pixel", "tof", difc=[2.0, 3.0]))
    True
    """
    if source.inverse:
        return False
    size = np.abs(source.difc[~np.isnan(source.difc)])
    # The root of a square is exact, and so are halves: with difa and tzero of 0 the formula is time / difc.
    return not source.difa.any() and not source.tzero.any() and bool(((size > 1e-100) & (size < 1e100)).all())


def families_of(products: Mapping[str, Product]) -> list[Family]:
    """Return families of those of some products that can be in one.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import uniform
    >>> from eventide.kernel.histogram.products import checked
    >>> from eventide.kernel.histogram.values import calibrated, ratio
    >>> constants = np.array([1.0, 2.0])
    >>> d = uniform(calibrated("pixel", "tof", difc=constants), 0, 10, 2)
    >>> q = uniform(ratio("pixel", "tof", 6.28 * constants), 0, 10, 2)
    >>> found = families_of(checked({"d": d, "q": q}))
    >>> len(found), found[0].shares["d"].tolist(), found[0].shares["q"].tolist()
    (1, [8, 8, 8, 9, 6], [6, 9, 8, 8, 8])
    """
    groups: list[list[_Member]] = []
    for name, each in products.items():
        member = _member(name, each)
        if member is None:
            continue
        for group in groups:
            factor = _factor(group[0], member)
            if factor:
                member.factor = factor
                group.append(member)
                break
        else:
            groups.append([member])
    made = [_family(group) for group in groups]
    return [family for family in made if family is not None]


def _member(name: str, each: Product) -> _Member | None:
    axis = each.axes[0]
    if len(each.axes) != 1 or not isinstance(axis, Edges) or isinstance(axis.value, Column):
        return None
    source: Any = axis.value
    falling = isinstance(source, Ratio)
    if isinstance(source, Calibrated) and not plain_calibration(source):
        return None
    with np.errstate(all="ignore"):
        scale = source.constants if isinstance(source, Scaled) else 1.0 / _divisor(source)
        scale = np.where((scale > _LEAST) & (scale < _MOST), scale, np.nan)
        edges = axis.edges
        if falling:
            # Values are positive, and none of the edges from zero down is ever above one.
            positive = np.where(edges > 0, edges, 1.0)
            edges = 1.0 / (np.sqrt(positive) if source.squared else positive)
            edges = np.where(axis.edges > 0, edges, np.inf)
    inside = edges[(edges > 0) & (edges < np.inf)]
    if not inside.size or inside.min() < _LEAST or inside.max() > _MOST or np.isnan(scale).all():
        return None
    return _Member(name, axis, scale, edges, falling)


def _divisor(source: Ratio | Calibrated) -> Float64Array:
    return source.constants if isinstance(source, Ratio) else source.difc


def _factor(leader: _Member, member: _Member) -> float:
    """Return the factor that the constants of two axes differ by, 0 where they differ by more than one."""
    one, other = leader.axis.value, member.axis.value
    assert not isinstance(one, Column)
    assert not isinstance(other, Column)
    if one.first != other.first or leader.scale.size != member.scale.size:
        return 0.0
    ratio = member.scale / leader.scale
    known = ratio[~np.isnan(ratio)]
    # A pixel that only one of them knows goes the long way for both, so there must not be many.
    if known.size * 2 < np.count_nonzero(~np.isnan(leader.scale)):
        return 0.0
    factor = float((known.min() + known.max()) / 2)
    return factor if (np.abs(known / factor - 1.0) <= _ALIKE).all() else 0.0


def _family(group: list[_Member]) -> Family | None:
    leader = group[0]
    source = leader.axis.value
    assert not isinstance(source, Column)
    scale = leader.scale.copy()
    for member in group[1:]:
        scale[np.isnan(member.scale)] = np.nan
    bounds = {id(m): m.edges / m.factor for m in group}
    every = np.unique(np.concatenate(list(bounds.values())))
    every = every[(every > 0) & (every < np.inf)]
    cells = scaled_cells(every)
    if cells is None or not (every[0] > _LEAST and every[-1] < _MOST):
        return None
    shares = {m.name: _share(m, bounds[id(m)], every) for m in group}
    return Family(source.first, np.append(scale, np.nan).astype(np.float32), every, cells, shares)


def _share(member: _Member, bounds: Float64Array, every: Float64Array) -> Int32Array:
    """Return the counter of an axis for each interval: below all edges, between two, above all."""
    if member.falling:
        # As many edges of the axis are reached as lie above the interval.
        reached = bounds.size - np.searchsorted(bounds[::-1], np.append(0.0, every), side="right")
    else:
        reached = np.searchsorted(bounds, np.append(0.0, every), side="right")
    bins = np.where(reached == 0, BELOW, np.where(reached > member.axis.bins, ABOVE, reached - 1))
    return (bins + HEAD).astype(np.int32)
