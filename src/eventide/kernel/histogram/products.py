"""What a histogram is made of: one or more axes, and a weight where events do not all count as one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventide.errors import UsageError
from eventide.kernel.histogram.axes import MOST_BINS, Axis, Edges, Pixels, Rows, axis_columns, describe_axis

__all__ = ["Product", "checked", "describe_product", "fingerprint", "product"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A histogram to be filled: its axes, the last one varying fastest, and the column of weights ("": none)."""

    axes: tuple[Axis, ...]
    weights: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of bins of each axis."""
        return tuple(axis.bins for axis in self.axes)

    @property
    def bins(self) -> int:
        """Number of bins in all."""
        out = 1
        for axis in self.axes:
            out *= axis.bins
        return out

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, each once."""
        names = [n for axis in self.axes for n in axis_columns(axis)]
        return tuple(dict.fromkeys([*names, self.weights] if self.weights else names))


def product(*axes: Axis, weights: str = "") -> Product:
    """Return a histogram over some axes.

    Parameters
    ----------
    *axes
        One or more; the counts have their shape, in C order.
    weights
        A column of numbers: beside the counts, their sum and the sum of their squares are kept for every bin.

    Raises
    ------
    UsageError
        There is no axis, or there are more bins than 2**31 - 64.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import pixels, uniform
    >>> product(pixels("pixel_id", 1, 1000), uniform("tof", 0, 1e5, 100)).shape
    (1000, 100)
    """
    for axis in axes:
        if not isinstance(axis, Edges | Pixels | Rows):
            msg = f"{axis!r} is not an axis"
            raise UsageError(
                msg, hint="make one with uniform(), logarithmic(), edges(), integers(), pixels() or rows()"
            )
    if not axes:
        msg = "a histogram needs an axis"
        raise UsageError(msg, hint="for a mere number of events use an aggregate: ev.count()")
    made = Product(tuple(axes), weights)
    if made.bins > MOST_BINS:
        msg = f"a histogram of the shape {made.shape} has {made.bins:,} bins"
        raise UsageError(msg, hint=f"{MOST_BINS:,} is the most: take fewer or wider bins")
    return made


def checked(products: Mapping[str, Product | Axis]) -> dict[str, Product]:
    """Return products by name; an axis alone is a product of one axis.

    Raises
    ------
    UsageError
        There are none, or one has a name that cannot be written everywhere.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import uniform
    >>> checked({"tof": uniform("tof", 0, 1e5, 100)})["tof"].shape
    (100,)
    """
    if not products:
        msg = "no histogram was asked for"
        raise UsageError(msg, hint="for example products={'tof': uniform('tof', 0, 1e5, 100)}")
    out = {}
    for name, each in products.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = f"{name!r} cannot be the name of a histogram"
            raise UsageError(msg, hint="letters, digits, '_', '.' and '-', beginning with a letter")
        out[name] = each if isinstance(each, Product) else product(each)
    return out


def describe_product(made: Product) -> dict[str, Any]:
    """Return a product as plain data.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import pixels
    >>> describe_product(product(pixels("pixel_id", 1, 10)))
    {'shape': [10], 'weights': '', 'axes': [{'name': 'pixel_id', 'unit': '', 'bins': 10, 'kind': 'pixels', 'first': 1}]}
    """
    return {"shape": list(made.shape), "weights": made.weights, "axes": [describe_axis(a) for a in made.axes]}


def fingerprint(made: Product) -> str:
    """Return a SHA-256 of all that decides in which bin an event is counted: edges, tables and constants too.

    Counts that were made with other axes must not be added to.

    Examples
    --------
    >>> from eventide.kernel.histogram.axes import uniform
    >>> one, other = (fingerprint(product(uniform("tof", 0, high, 10))) for high in (1.0, 2.0))
    >>> one == other
    False
    """
    digest = hashlib.sha256(json.dumps([made.shape, made.weights]).encode())
    for axis in made.axes:
        for part in (axis, axis.value):
            for name in type(part).__dataclass_fields__:
                value = getattr(part, name)
                if isinstance(value, np.ndarray):
                    digest.update(f"{name} {value.dtype} {value.shape}".encode())
                    digest.update(np.ascontiguousarray(value).data)
                elif name not in ("value", "name", "unit", "form") or part is axis.value:
                    digest.update(f"{type(part).__name__} {name} {value!r}".encode())
    return digest.hexdigest()
