"""Binned sums in numpy: the same bits as `binned_loops`, because bins are integers and integer sums have no order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["NO_TOP", "bounds_of", "finish_moments", "merge_moments", "tops_of", "update_moments"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

COUNT, FLAGS, BOUND1, BINS1, BOUND2, BINS2 = 0, 1, 2, 3, 7, 8
_NAN, _PLUS, _MINUS, _BIG = 1, 2, 4, 8
_LOWEST = -33
_HUGE = 30
_STEP = 2.0**-32
_SPLIT = 134217729.0
_ENOUGH = 2.0**-48
NO_TOP = -1000


def tops_of(bounds: Floats) -> npt.NDArray[np.int64]:
    """Return the absolute index of the top bin of every bound, `NO_TOP` where nothing was added."""
    exponents = np.frexp(np.maximum(bounds, 0.0))[1].astype(np.int64)
    tops = np.where(bounds < 0.0, -bounds, (exponents - 32) >> 5).astype(np.int64)
    tops[bounds == 0.0] = NO_TOP
    return tops


def bounds_of(tops: npt.NDArray[np.int64]) -> Floats:
    """Return the bounds of top bins."""
    normal = np.ldexp(1.0, np.where(tops > _HUGE, 0, 31 + 32 * tops).astype(np.int32))
    return np.where(tops == NO_TOP, 0.0, np.where(tops > _HUGE, -tops.astype(np.float64), normal))


def _raise_tops(ints: Ints, slots: Rows, old: Ints, new: Ints, at: int, bins: int) -> None:
    """Shift the bins of `slots` down where their top bin rises."""
    by = np.where(old == NO_TOP, 0, np.minimum(new - old, bins))
    for step in range(1, bins + 1):
        rows = slots[by == step]
        if rows.size:
            held = ints[rows, at : at + bins]
            held[:, step:] = held[:, : bins - step].copy()
            held[:, :step] = 0
            ints[rows, at : at + bins] = held


def _deposit(ints: Ints, slots: Rows, parts: list[Floats], where: int, bins: int) -> None:
    """Add finite values, the largest part first, to the bins of their slots."""
    floats = ints.view(np.float64)
    live = parts[0] != 0.0
    rows, parts = slots[live], [p[live] for p in parts]
    if rows.size == 0:
        return
    distinct, inverse = np.unique(rows, return_inverse=True)
    old = tops_of(floats[distinct, where])
    new = old.copy()
    need = np.maximum(np.frexp(parts[0])[1].astype(np.int64) >> 5, _LOWEST + bins - 1)
    np.maximum.at(new, inverse, need)
    _raise_tops(ints, distinct, old, new, where + 1, bins)
    floats[distinct, where] = bounds_of(new)
    for values in parts:
        y = np.ldexp(values, (-32 * new[inverse]).astype(np.int32))
        for k in range(bins):
            whole = np.rint(y)
            np.add.at(ints[:, where + 1 + k], rows, whole.astype(np.int64))
            y = (y - whole) * 4294967296.0


def update_moments(
    slots: npt.NDArray[np.int32],
    values: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_],
    order: int,
    ints: Ints,
    floats: Floats,
) -> None:
    """Add values to the binned sums of their slots, and with order 2 their squares."""
    keep = slots >= 0
    if valid.size:
        keep &= valid
    rows = slots[keep].astype(np.intp)
    x = values[keep].astype(np.float64)
    np.add.at(ints[:, COUNT], rows, 1)
    finite = np.isfinite(x)
    if not finite.all():
        odd, which = rows[~finite], x[~finite]
        flags = np.where(np.isnan(which), _NAN, np.where(which > 0, _PLUS, _MINUS)).astype(np.int64)
        np.bitwise_or.at(ints[:, FLAGS], odd, flags if order < 2 else flags | _BIG)
        rows, x = rows[finite], x[finite]
    _deposit(ints, rows, [x], BOUND1, 4)
    if order < 2:
        return
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        t = x * _SPLIT
        high = t - (t - x)
        low = x - high
        p = x * x
        e = ((high * high - p) + 2.0 * (high * low)) + low * low
    big = np.isinf(p)
    if big.any():
        np.bitwise_or.at(ints[:, FLAGS], rows[big], np.int64(_BIG))
    good = ~big
    with np.errstate(invalid="ignore"):
        e = np.where(np.isfinite(e), e, 0.0)
    _deposit(ints, rows[good], [p[good], e[good]], BOUND2, 5)


def merge_moments(
    into: npt.NDArray[np.int32],
    source: npt.NDArray[np.int32],
    order: int,
    ints: Ints,
    floats: Floats,
    others: Ints,
    other_floats: Floats,
) -> None:
    """Add the binned sums of slots of one state to those of another."""
    held = others[source]  # a copy: the two states may be one
    rows = into.astype(np.intp)
    np.add.at(ints[:, COUNT], rows, held[:, COUNT])
    np.bitwise_or.at(ints[:, FLAGS], rows, held[:, FLAGS])
    _merge_bins(ints, rows, held, BOUND1, 4)
    if order > 1:
        _merge_bins(ints, rows, held, BOUND2, 5)


def _merge_bins(ints: Ints, rows: Rows, held: Ints, where: int, bins: int) -> None:
    floats = ints.view(np.float64)
    tops = tops_of(held.view(np.float64)[:, where])
    live = tops != NO_TOP
    rows, held, tops = rows[live], held[live], tops[live]
    distinct, inverse = np.unique(rows, return_inverse=True)
    old = tops_of(floats[distinct, where])
    new = old.copy()
    np.maximum.at(new, inverse, tops)
    _raise_tops(ints, distinct, old, new, where + 1, bins)
    floats[distinct, where] = bounds_of(new)
    by = new[inverse] - tops
    for k in range(bins):
        for step in range(bins - k):
            fits = by == step
            np.add.at(ints[:, where + 1 + k + step], rows[fits], held[fits, where + 1 + k])


def _carry(digits: Ints) -> None:
    for k in range(digits.shape[0] - 1, 0, -1):
        c = (digits[k] + 2147483648) >> 32
        digits[k] -= c << 32
        digits[k - 1] += c


def _high(digits: Ints) -> tuple[Floats, Floats, Ints]:
    count = digits.shape[0]
    first = np.where((digits != 0).any(axis=0), (digits != 0).argmax(axis=0), count - 1).astype(np.int64)
    column = np.arange(digits.shape[1])

    def digit(k: int) -> Ints:
        at = first + k
        return np.where(at < count, digits[np.minimum(at, count - 1), column], 0)

    second = digit(1)
    s = ((digit(0) << 21) + (second >> 11)).astype(np.float64) * 2.0**-21
    middle = (((second & 2047) << 32) + digit(2)).astype(np.float64) * 2.0**-64
    low = digit(3).astype(np.float64) * 2.0**-96 + digit(4).astype(np.float64) * 2.0**-128
    t = s + middle
    low += middle - (t - s)
    s = t + low
    return s, low - (s - t), first


def _scaled(x: Floats, top: Ints) -> Floats:
    factor = np.ldexp(1.0, (16 * top).astype(np.int32))
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(x * factor * factor)


def _load(held: Ints, at: int, bins: int) -> Ints:
    digits = np.zeros((bins + 1, held.shape[0]), np.int64)
    digits[1:] = held[:, at : at + bins].T
    _carry(digits)
    return digits


def _variance(held: Ints, ddof: int) -> Floats:
    flags = held[:, FLAGS]
    out = np.zeros(flags.size)
    out[flags & _BIG != 0] = np.inf
    out[flags & 7 != 0] = np.nan
    usual = (flags == 0) & (held.view(np.float64)[:, BOUND2] != 0.0)
    out[usual] = _usual_variance(held[usual], ddof)
    return out


def _usual_variance(held: Ints, ddof: int) -> Floats:
    n = held[:, COUNT]
    t1, t2 = (tops_of(held.view(np.float64)[:, w]) for w in (BOUND1, BOUND2))
    one, two = _load(held, BINS1, 4), _load(held, BINS2, 5)
    easy, enough = _easy_variance(n, (one, t1), (two, t2), ddof)
    top = np.maximum(2 * t1 + 2, t2 + 3) + 1
    work = np.zeros((24, n.size), np.int64)
    column = np.arange(n.size)
    high, low = n >> 32, n & 4294967295
    at = top - (t2 + 1)
    for k in range(6):
        product = two[k] * low
        work[at + k, column] += product & 4294967295
        work[at + k - 1, column] += (product >> 32) + two[k] * high
    at = top - (2 * t1 + 2)
    for j in range(5):
        for k in range(j, 5):
            product = one[j] * one[k]
            times = 1 if j == k else 2
            work[at + j + k, column] -= times * (product & 4294967295)
            work[at + j + k - 1, column] -= times * (product >> 32)
    _carry(work)
    numerator, _, down = _high(work)
    numerator = np.maximum(numerator, 0.0)
    exact = _scaled(numerator / (n.astype(np.float64) * (n - ddof).astype(np.float64)), top - down)
    return np.where(enough, easy, exact)


def _easy_variance(
    count: Ints, sums: tuple[Ints, Ints], squares: tuple[Ints, Ints], ddof: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the variance in double-double, and where that is enough."""
    (one, t1), (two, t2) = sums, squares
    n = count.astype(np.float64)
    q, q_low, down = _high(two)
    r, r_low, down_one = _high(one)
    top = t2 + 1 - down
    apart = 2 * (t1 + 1 - down_one) - top
    near = (apart > -16) & (apart < 16)
    p, e = _product(n, q)
    b, f = _product(r, r)
    scale = np.ldexp(1.0, np.where(near, 32 * apart, 0).astype(np.int32))
    b *= scale
    f = (f + 2.0 * (r * r_low)) * scale
    e += n * q_low
    d = p - b
    v = p - d
    x = d + (((p - (d + v)) + (v - b)) + (e - f))
    return _scaled(x / (n * (count - ddof).astype(np.float64)), top), near & (x > p * _ENOUGH)


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    t = a * _SPLIT
    ah = t - (t - a)
    al = a - ah
    t = b * _SPLIT
    bh = t - (t - b)
    bl = b - bh
    p = a * b
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def _sum(held: Ints, *, mean: bool) -> Floats:
    tops = tops_of(held.view(np.float64)[:, BOUND1])
    empty = tops == NO_TOP
    x, low, down = _high(_load(held, BINS1, 4))
    if mean:
        n = held[:, COUNT].astype(np.float64)
        q = x / n
        p, e = _product(q, n)
        x = q + ((x - p) - e + low) / n
    out = _scaled(x, np.where(empty, 0, tops + 1 - down))
    out[empty] = 0.0
    flags = held[:, FLAGS]
    out[flags & _PLUS != 0] = np.inf
    out[flags & _MINUS != 0] = -np.inf
    out[(flags & _NAN != 0) | ((flags & _PLUS != 0) & (flags & _MINUS != 0))] = np.nan
    return out


def finish_moments(
    slots: npt.NDArray[np.int32],
    what: int,
    ddof: int,
    ints: Ints,
    floats: Floats,
    out: Floats,
    valid: npt.NDArray[np.bool_],
) -> None:
    """Write the sum (`what` 0), mean (1), variance (2) or standard deviation (3) of slots."""
    valid[:] = True if what == 0 else ints[slots, COUNT] > (0 if what == 1 else ddof)
    out[:] = 0.0
    held = ints[slots[valid]]
    if what < 2:
        out[valid] = _sum(held, mean=what == 1)
        return
    found = _variance(held, ddof)
    out[valid] = np.sqrt(found) if what == 3 else found
