"""The slope of the least trimmed squares line through few points, exactly.

Sorted by residual, the points that count lie side by side, whatever the slope. As the slope goes from minus to plus
infinity the order of the points changes by exchanges of neighbours, one for each pair of points, at the slope of the
line through them; with each exchange at most two runs of h neighbours change by one point each. So all sets of points
that can be the best are met in n (n - 1) / 2 exchanges, and the sums of each are kept up to date on the way. (Cf. D.
Mount et al., "On the least trimmed squares estimator", Algorithmica 69, 2014, for the same sweep in the dual plane.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["sweep"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_CELLS = 4_000_000  # numbers in one array


def sweep(x: Float64Array, y: Float64Array, begins: Int64Array, *, counts: Int64Array, share: float) -> Float64Array:
    """Return the best slope of each run of points; all runs turn together, exchange by exchange.

    Parameters
    ----------
    x, y
        Points, finite.
    begins, counts
        Where each run begins, and how many points it has: two at least.
    share
        Part of the points that counts.

    Examples
    --------
    >>> x = np.arange(10.0)
    >>> sweep(x, np.where(x == 3, 50, 2 * x + 1), np.array([0]), counts=np.array([10]), share=0.85).round(9).tolist()
    [2.0]
    """
    out = np.zeros(len(begins))
    order = np.argsort(-counts, kind="stable")
    begin = 0
    while begin < len(order):
        n = int(counts[order[begin]])
        some = order[begin : begin + max(1, 2 * _CELLS // (n * n))]
        out[some] = _Turning(x, y, begins[some], counts=counts[some], share=share).best()
        begin += len(some)
    return out


class _Turning:
    """Runs of points by falling number of points, and the sums of all their neighbourhoods of h points."""

    def __init__(
        self, x: Float64Array, y: Float64Array, begins: Int64Array, *, counts: Int64Array, share: float
    ) -> None:
        self.n = counts
        self.h = np.array([int(share * n) for n in counts.tolist()], np.int64)
        rows, most = len(counts), int(counts[0])
        self.x, self.y = np.zeros((rows, most)), np.zeros((rows, most))
        sums = np.zeros((5, rows, int((counts - self.h).max()) + 1))
        events: list[tuple[Int64Array, Int64Array]] = []
        for row, (begin, n, h) in enumerate(zip(begins.tolist(), counts.tolist(), self.h.tolist(), strict=True)):
            a, b = x[begin : begin + n], y[begin : begin + n]
            order = np.lexsort((b, a))
            a, b = a[order], b[order]
            a, b = a - a[n // 2], b - b[n // 2]
            self.x[row, :n], self.y[row, :n] = a, b
            for sum_, values in zip(sums, (a, b, a * a, a * b, b * b), strict=True):
                heads = np.concatenate([[0.0], np.cumsum(values)])
                sum_[row, : n - h + 1] = heads[h:] - heads[: n - h + 1]
            first, second = np.triu_indices(n, 1)
            dx = a[second] - a[first]
            first, second = first[dx > 0], second[dx > 0]
            with np.errstate(all="ignore"):
                turns = np.argsort((b[second] - b[first]) / dx[dx > 0], kind="stable")
            events.append((first[turns], second[turns]))
        self.sums = sums
        self.events = events

    def best(self) -> Float64Array:
        """Turn once around, and return the best slopes."""
        rows = len(self.n)
        self.least, self.slope = np.full(rows, np.inf), np.zeros(rows)
        for k in range(self.sums.shape[2]):
            self._look(np.flatnonzero(k <= self.n - self.h), k)
        lengths = np.array([len(first) for first, _ in self.events])
        order = np.argsort(-lengths, kind="stable")
        first, second = (np.zeros((rows, int(lengths.max(initial=0))), np.int64) for _ in range(2))
        for at, (one, two) in enumerate(self.events):
            first[at, : len(one)], second[at, : len(two)] = one, two
        place = np.tile(np.arange(self.x.shape[1]), (rows, 1))
        turning = np.searchsorted(-lengths[order], -np.arange(first.shape[1]), side="left").tolist()
        for t in range(first.shape[1]):
            row = order[: turning[t]]
            i, j = first[row, t], second[row, t]
            p, q = place[row, i], place[row, j]
            go = p < q
            if not go.all():
                row, i, j, p, q = row[go], i[go], j[go], p[go], q[go]
            place[row, i], place[row, j] = q, p
            h, last = self.h[row], (self.n - self.h)[row]
            self._shift(row, (i, j), np.maximum(0, p - h + 1), until=np.minimum(np.minimum(p, q - h), last))
            self._shift(row, (j, i), np.maximum(p, q - h) + 1, until=np.minimum(q, last))
        return self.slope

    def _shift(
        self, row: Int64Array, change: tuple[Int64Array, Int64Array], k: Int64Array, *, until: Int64Array
    ) -> None:
        """Take one point out of neighbourhoods and another one in; there is one of them at most, but for rounding."""
        out, into = change
        while True:
            some = k <= until
            if not some.any():
                return
            r, i, j, at = row[some], out[some], into[some], k[some]
            xi, yi, xj, yj = self.x[r, i], self.y[r, i], self.x[r, j], self.y[r, j]
            self.sums[0, r, at] += xj - xi
            self.sums[1, r, at] += yj - yi
            self.sums[2, r, at] += xj * xj - xi * xi
            self.sums[3, r, at] += xj * yj - xi * yi
            self.sums[4, r, at] += yj * yj - yi * yi
            self._look(r, at)
            k = k + 1

    def _look(self, row: Int64Array, k: Int64Array | int) -> None:
        """Keep the slope of a neighbourhood if its residuals are less than those seen before."""
        sx, sy, sxx, sxy, syy = self.sums[:, row, k]
        h = self.h[row].astype(np.float64)
        xx, xy = sxx - sx * sx / h, sxy - sx * sy / h
        with np.errstate(all="ignore"):
            slope = xy / xx
            found = np.where(xx > 0.0, (syy - sy * sy / h) - xy * slope, np.inf)
        better = found < self.least[row]
        self.least[row[better]], self.slope[row[better]] = found[better], slope[better]
