"""Binned sums, compiled, imported only behind `have_compiler()`; the twin is `binned_plain`, the format in `binned`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventide.kernel.aggregates.binned_add import update_moments
from eventide.kernel.aggregates.binned_words import (
    BINS1,
    BINS2,
    BOUND1,
    BOUND2,
    COUNT,
    FLAGS,
    MINUS,
    NAN,
    PLUS,
    SPLIT,
    shift_bins,
    top_of,
)
from eventide.kernel.compiled import compiled

__all__ = ["finish_moments", "merge_moments", "update_moments"]

# A slot that indexes an array is made unsigned first: numba then leaves out the test for negative indices, which
# in the merge costs three times the work itself.

_ENOUGH = 2.0**-48


@compiled
def _merge_bins(a: Any, fa: Any, i: Any, b: Any, fb: Any, j: Any, where: int, bins: int) -> None:
    other = fb[j, where]
    if other == 0.0:
        return
    mine = fa[i, where]
    top = top_of(other)
    if mine == 0.0:
        fa[i, where] = other
        by = 0
    else:
        old = top_of(mine)
        by = old - top
        if by < 0:
            shift_bins(a, i, where + 1, bins, min(-by, bins))
            fa[i, where] = other
            by = 0
    for k in range(bins - by):
        a[i, where + 1 + by + k] += b[j, where + 1 + k]


@compiled
def merge_moments(into: Any, source: Any, order: int, ints: Any, floats: Any, others: Any, other_floats: Any) -> None:
    """Add the binned sums of slots of one state to those of another."""
    for m in range(into.size):
        i = np.uint64(into[m])
        j = np.uint64(source[m])
        if ints[i, COUNT] == 0:  # the first of what is merged into a slot
            for k in range(ints.shape[1]):
                ints[i, k] = others[j, k]
            continue
        ints[i, COUNT] += others[j, COUNT]
        ints[i, FLAGS] |= others[j, FLAGS]
        if floats[i, BOUND1] == other_floats[j, BOUND1]:
            for k in range(3, 7):
                ints[i, k] += others[j, k]
        else:
            _merge_bins(ints, floats, i, others, other_floats, j, BOUND1, 4)
        if order > 1:
            if floats[i, BOUND2] == other_floats[j, BOUND2]:
                for k in range(8, 13):
                    ints[i, k] += others[j, k]
            else:
                _merge_bins(ints, floats, i, others, other_floats, j, BOUND2, 5)


@compiled
def _carry(digits: Any, count: int) -> None:
    """Bring all digits but the first into [-2**31, 2**31)."""
    for k in range(count - 1, 0, -1):
        c = (digits[k] + 2147483648) >> 32
        digits[k] -= c << 32
        digits[k - 1] += c


@compiled
def _high(digits: Any, count: int) -> Any:
    """Return the sum of digits[k] * 2**(-32 k), of balanced digits, as a double, the rest, and bins to scale down by.

    Five digits from the first that is not zero hold at least 128 bits: 53 go into one double, 43 into the next.
    """
    f = 0
    while f < count - 1 and digits[f] == 0:
        f += 1
    second = digits[f + 1] if f + 1 < count else 0
    third = digits[f + 2] if f + 2 < count else 0
    fourth = digits[f + 3] if f + 3 < count else 0
    fifth = digits[f + 4] if f + 4 < count else 0
    s = float((digits[f] << 21) + (second >> 11)) * 2.0**-21
    middle = float(((second & 2047) << 32) + third) * 2.0**-64
    low = float(fourth) * 2.0**-96 + float(fifth) * 2.0**-128
    t = s + middle
    low += middle - (t - s)
    s = t + low
    return s, low - (s - t), f


@compiled
def _scaled(x: float, top: int) -> float:
    # In two factors, because 2**(32 top) itself may be out of range where the product is not.
    half = np.int64((1023 + 16 * top) << 52)
    factor = half.view(np.float64)
    return float(x * factor * factor)


@compiled
def _special(flags: int) -> float:
    if flags & NAN or (flags & PLUS and flags & MINUS):
        return np.nan
    return np.inf if flags & PLUS else -np.inf


@compiled
def _load(ints: Any, s: Any, at: int, bins: int, digits: Any) -> None:
    """Load bins as balanced digits after one for the carry."""
    digits[0] = 0
    for k in range(bins):
        digits[1 + k] = ints[s, at + k]
    _carry(digits, bins + 1)


@compiled
def _product(a: float, b: float) -> Any:
    """Return a product and its error (Dekker 1971)."""
    t = a * SPLIT
    ah = t - (t - a)
    al = a - ah
    t = b * SPLIT
    bh = t - (t - b)
    bl = b - bh
    p = a * b
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


@compiled
def _easy_variance(n: int, ddof: int, t1: int, t2: int, one: Any, two: Any) -> float:
    """Return the variance in double-double, or -1 where more than 2**48 of the mean square cancels."""
    q, q_low, down = _high(two, 6)
    r, r_low, down_one = _high(one, 5)
    top = t2 + 1 - down
    apart = 2 * (t1 + 1 - down_one) - top
    if not -16 < apart < 16:
        return -1.0
    p, e = _product(float(n), q)
    b, f = _product(r, r)
    scale = np.int64((1023 + 32 * apart) << 52).view(np.float64)
    b *= scale
    f = (f + 2.0 * (r * r_low)) * scale
    e += float(n) * q_low
    d = p - b
    v = p - d
    x = d + (((p - (d + v)) + (v - b)) + (e - f))
    return float(_scaled(x / (float(n) * float(n - ddof)), top)) if x > p * _ENOUGH else -1.0


@compiled
def _exact_variance(n: int, ddof: int, t1: int, t2: int, one: Any, two: Any, work: Any) -> float:
    """Return (n * sum of squares - square of sum) / (n (n - ddof)), the numerator in exact integers."""
    # Digit k of `one` has the weight 2**(32 (t1 + 1 - k)), of `two` 2**(32 (t2 + 1 - k)), of `work` 2**(32 (top - k)).
    top = max(2 * t1 + 2, t2 + 3) + 1
    used = max(top - t2 + 5, top - 2 * t1 + 7)
    for k in range(used):
        work[k] = 0
    n1 = n >> 32
    n0 = n & 4294967295
    at = top - (t2 + 1)
    for k in range(6):
        low = two[k] * n0
        work[at + k] += low & 4294967295
        work[at + k - 1] += low >> 32
        work[at + k - 1] += two[k] * n1
    at = top - (2 * t1 + 2)
    for j in range(5):
        for k in range(j, 5):
            product = one[j] * one[k]
            times = 1 if j == k else 2
            work[at + j + k] -= times * (product & 4294967295)
            work[at + j + k - 1] -= times * (product >> 32)
    _carry(work, used)
    numerator, _, down = _high(work, used)
    if numerator <= 0.0:
        return 0.0
    x = numerator / (float(n) * float(n - ddof))
    return float(_scaled(x, top - down))


@compiled
def _hard_variances(
    slots: Any, what: int, ddof: int, ints: Any, floats: Any, out: Any, work: Any, one: Any, two: Any
) -> None:
    # Apart from the easy ones: one large function would not be inlined, and a call costs more than what it does.
    for i in range(slots.size):
        if out[i] >= 0.0 or out[i] != out[i]:
            continue
        s = np.uint64(slots[i])
        _load(ints, s, BINS1, 4, one)
        _load(ints, s, BINS2, 5, two)
        t1 = top_of(floats[s, BOUND1])
        t2 = top_of(floats[s, BOUND2])
        x = _exact_variance(ints[s, COUNT], ddof, t1, t2, one, two, work)
        out[i] = math.sqrt(x) if what == 3 else x


@compiled
def finish_moments(slots: Any, what: int, ddof: int, ints: Any, floats: Any, out: Any, valid: Any) -> None:
    """Write the sum (`what` 0), mean (1), variance (2) or standard deviation (3) of slots."""
    work = np.zeros(24, np.int64)
    one = np.zeros(5, np.int64)
    two = np.zeros(6, np.int64)
    hard = 0
    for i in range(slots.size):
        s = np.uint64(slots[i])
        n = ints[s, COUNT]
        valid[i] = what == 0 or n > (0 if what == 1 else ddof)
        out[i] = 0.0
        if not valid[i]:
            continue
        if what >= 2:
            if ints[s, FLAGS] != 0:
                out[i] = np.nan if ints[s, FLAGS] & 7 else np.inf
            elif floats[s, BOUND2] != 0.0:
                _load(ints, s, BINS1, 4, one)
                _load(ints, s, BINS2, 5, two)
                t1 = top_of(floats[s, BOUND1])
                t2 = top_of(floats[s, BOUND2])
                x = _easy_variance(n, ddof, t1, t2, one, two)
                hard += x < 0.0
                out[i] = math.sqrt(x) if what == 3 and x > 0.0 else x
        elif ints[s, FLAGS] & 7:
            out[i] = _special(ints[s, FLAGS])
        elif floats[s, BOUND1] != 0.0:
            _load(ints, s, BINS1, 4, one)
            x, low, down = _high(one, 5)
            if what == 1:
                # One step of Newton: the quotient of the sum, not of the rounded sum.
                q = x / n
                p, e = _product(q, float(n))
                x = q + ((x - p) - e + low) / n
            out[i] = _scaled(x, top_of(floats[s, BOUND1]) + 1 - down)
    if hard > 0:
        _hard_variances(slots, what, ddof, ints, floats, out, work, one, two)
