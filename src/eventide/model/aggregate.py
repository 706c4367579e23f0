"""Aggregates: what is computed of the events of a window. These are only the names and parameters; the kernels compute.

Every aggregate is decomposable (partial, merge, finish) or keeps the rows it needs, and gives the same
bits whatever the order of the events: sums and moments are carried in binned integers (docs/adr/0004), order
dependent ones (`first`, `last`, `collect`) go by event time, ties by value.
Nulls are ignored, as in SQL; NaN is a value and makes sums NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from eventide.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Aggregate",
    "collect",
    "count",
    "expression",
    "first",
    "last",
    "linear_fit",
    "max_",
    "mean",
    "min_",
    "n_unique",
    "quantile",
    "std",
    "sum_",
    "top_k",
    "var",
]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate: the name of its kernel, the columns it reads and its parameters."""

    kind: str
    columns: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        inner = [*self.columns, *(f"{k}={v}" for k, v in self.params.items())]
        return f"{self.kind}({', '.join(inner)})"


def _of(kind: str, columns: tuple[str, ...], **params: Any) -> Aggregate:
    for name in columns:
        if not isinstance(name, str):
            given = f"the expression {name}" if hasattr(name, "meta") else repr(name)
            msg = f"{kind}() takes the name of a column, not {given}"
            raise UsageError(msg, hint="compute the column first: .with_columns(x=pl.col('a') * 2), then use 'x'")
    return Aggregate(kind, columns, MappingProxyType(params))


def count(column: str | None = None) -> Aggregate:
    """Count the events, or those whose `column` is not null. int64.

    Examples
    --------
    >>> print(count())
    count()
    """
    return _of("count", () if column is None else (column,))


def sum_(column: str) -> Aggregate:
    """Sum of a column: int64 of integers (wraps as Arrow's does), float64 of floats, correctly rounded; 0 of nothing.

    Source of the summation: Ahrens, Demmel and Nguyen 2020, "Algorithms for efficient reproducible floating
    point summation", ACM TOMS 46(3), with integer bins.

    Examples
    --------
    >>> print(sum_("counts"))
    sum(counts)
    """
    return _of("sum", (column,))


def mean(column: str) -> Aggregate:
    """Arithmetic mean, float64; null of nothing.

    Examples
    --------
    >>> print(mean("value"))
    mean(value)
    """
    return _of("mean", (column,))


def var(column: str, *, ddof: int = 1) -> Aggregate:
    """Variance, float64; `ddof` 1 for the sample, 0 for the population; null of `ddof` events or fewer.

    Examples
    --------
    >>> print(var("value", ddof=0))
    var(value, ddof=0)
    """
    return _of("var", (column,), ddof=ddof)


def std(column: str, *, ddof: int = 1) -> Aggregate:
    """Standard deviation, float64; `ddof` 1 for the sample, 0 for the population; null of `ddof` events or fewer.

    Examples
    --------
    >>> print(std("value"))
    std(value, ddof=1)
    """
    return _of("std", (column,), ddof=ddof)


def min_(column: str) -> Aggregate:
    """Smallest value (NaN ignored unless all are), in the column's type; null of nothing.

    Examples
    --------
    >>> print(min_("value"))
    min(value)
    """
    return _of("min", (column,))


def max_(column: str) -> Aggregate:
    """Largest value (NaN ignored unless all are), in the column's type; null of nothing.

    Examples
    --------
    >>> print(max_("value"))
    max(value)
    """
    return _of("max", (column,))


def first(column: str) -> Aggregate:
    """Value of the event with the earliest event time (of equal times, the smallest value).

    Examples
    --------
    >>> print(first("value"))
    first(value)
    """
    return _of("first", (column,))


def last(column: str) -> Aggregate:
    """Value of the event with the latest event time (of equal times, the largest value).

    Examples
    --------
    >>> print(last("value"))
    last(value)
    """
    return _of("last", (column,))


def quantile(column: str, q: float, *, method: Literal["exact", "sketch"] = "exact") -> Aggregate:
    """Quantile, float64.

    Parameters
    ----------
    column
        A numeric column.
    q
        Between 0 and 1.
    method
        ``"exact"`` keeps the values and interpolates linearly (Hyndman and Fan 1996, type 7);
        ``"sketch"`` keeps logarithmic buckets with a relative error of at most 1 % (DDSketch, Masson,
        Rim and Lee 2019, VLDB 12): bounded memory and exactly mergeable.

    Examples
    --------
    >>> print(quantile("value", 0.5))
    quantile(value, q=0.5, method=exact)
    """
    if not 0 <= q <= 1:
        msg = f"quantile {q!r} is not between 0 and 1"
        raise UsageError(msg, hint="the median is 0.5, the 95th percentile 0.95")
    if method not in ("exact", "sketch"):
        msg = f"quantile method must be 'exact' or 'sketch', not {method!r}"
        raise UsageError(msg, hint="'sketch' bounds memory at 1 % relative error")
    return _of("quantile", (column,), q=float(q), method=method)


def n_unique(column: str) -> Aggregate:
    """Number of distinct values that are not null, exact. int64.

    Examples
    --------
    >>> print(n_unique("sensor"))
    n_unique(sensor)
    """
    return _of("n_unique", (column,))


def collect(column: str) -> Aggregate:
    """All values as a list, in event-time order (of equal times, by value); nulls are left out.

    Examples
    --------
    >>> print(collect("value"))
    collect(value)
    """
    return _of("collect", (column,))


def top_k(column: str, k: int) -> Aggregate:
    """The `k` largest values as a list, largest first.

    Examples
    --------
    >>> print(top_k("value", 3))
    top_k(value, k=3)
    """
    if not isinstance(k, int) or k < 1:
        msg = f"top_k needs a whole number of at least 1, not {k!r}"
        raise UsageError(msg, hint="for example ev.top_k('value', 10)")
    return _of("top_k", (column,), k=k)


def linear_fit(x: str, y: str) -> Aggregate:
    """Least-squares line y = slope * x + intercept, as a struct {slope, intercept, r2} of float64.

    Null of fewer than two distinct x. A timestamp x counts in seconds from the window's start.

    Examples
    --------
    >>> print(linear_fit("time", "value"))
    linear_fit(time, value)
    """
    return _of("linear_fit", (x, y))


def expression(value: pl.Expr) -> Aggregate:
    """Any Polars expression that gives one value per group: the rows are kept until the pane is emitted.

    Examples
    --------
    >>> import polars as pl
    >>> expression(pl.col("a").product()).kind
    'expression'
    """
    columns = tuple(dict.fromkeys(value.meta.root_names()))
    return _of("expression", columns, expr=value)
