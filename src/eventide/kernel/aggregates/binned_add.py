"""Values into binned sums, compiled. Imported only behind `have_compiler()`; the format is told in `binned`.

What a value leaves in the bins depends on the value and on where the bins lie, not on the slot. So values are cut
some hundred at a time for the bins that the largest of them needs, in loops without branches or tables which the
compiler turns into vector instructions, and then added to their slots. A slot whose bins lie elsewhere takes its
values one by one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventide.kernel.aggregates.binned import CUT
from eventide.kernel.aggregates.binned_words import (
    BIG,
    BOUND1,
    BOUND2,
    COUNT,
    FLAGS,
    HUGE,
    LOWEST,
    MAGIC,
    MINUS,
    NAN,
    PLUS,
    SPLIT,
    STEP,
    bits_of,
    bound_of,
    float_of,
    shift_bins,
    top_of,
)
from eventide.kernel.compiled import compiled

__all__ = ["add_moments", "update_moments"]

_ALL = np.int64(0x7FFFFFFFFFFFFFFF)


@compiled
def _first_bound(x: float, bins: int) -> Any:
    """Return the bound that a first value sets, or 0 for a value that only `_deposit_rare` can take."""
    biased = (bits_of(x) >> 52) & 2047
    if biased == 0 or biased == 2047:
        return 0.0
    top = max((biased - 1022) >> 5, LOWEST + bins - 1)
    if top > HUGE:
        return 0.0
    return float_of((1023 + 31 + 32 * top) << 52)


@compiled
def _deposit_rare(ints: Any, floats: Any, slot: Any, where: int, bins: Any, x: float, flag: bool) -> None:
    """Add a value that does not fit below the bound: the first, a larger one, a huge one, zero or not finite."""
    if x == 0.0:
        return
    if not math.isfinite(x):
        if not flag:
            ints[slot, FLAGS] |= BIG
        elif x != x:
            ints[slot, FLAGS] |= NAN
        else:
            ints[slot, FLAGS] |= PLUS if x > 0 else MINUS
        return
    exponent = math.frexp(x)[1]
    top = max(exponent >> 5, LOWEST + bins - 1)
    bound = floats[slot, where]
    if bound != 0.0:
        old = top_of(bound)
        if top > old:
            shift_bins(ints, slot, where + 1, bins, min(top - old, bins))
        else:
            top = old
    floats[slot, where] = bound_of(top)
    y = math.ldexp(x, -32 * top)
    for k in range(bins):
        r = np.rint(y)
        ints[slot, where + 1 + k] += np.int64(r)
        y = (y - r) * 4294967296.0


@compiled
def _add_one(ints: Any, floats: Any, s: Any, x: float) -> None:
    """Add a value to a sum wherever its bins lie."""
    bound = floats[s, BOUND1]
    if bound == 0.0:
        bound = _first_bound(x, 4)
        floats[s, BOUND1] = bound
    if abs(x) < bound:
        c = bound * MAGIC
        v = x + c
        ints[s, 3] += bits_of(v) - bits_of(c)
        rest = x - (v - c)
        for k in range(4, 7):
            c *= STEP
            v = rest + c
            ints[s, k] += bits_of(v) - bits_of(c)
            rest -= v - c
    else:
        _deposit_rare(ints, floats, s, BOUND1, 4, x, True)


@compiled
def _add_square(ints: Any, floats: Any, s: Any, x: float) -> None:
    """Add the square of a value to a sum of squares wherever its bins lie."""
    t = x * SPLIT
    high = t - (t - x)
    low = x - high
    p = x * x
    e = ((high * high - p) + 2.0 * (high * low)) + low * low
    bound = floats[s, BOUND2]
    if bound == 0.0:
        bound = _first_bound(p, 5)
        floats[s, BOUND2] = bound
    if p < bound:
        c = bound * MAGIC
        v = p + c
        ints[s, 8] += bits_of(v) - bits_of(c)
        p -= v - c
        for k in range(9, 13):
            c *= STEP
            v = p + c
            w = e + c
            ints[s, k] += (bits_of(v) - bits_of(c)) + (bits_of(w) - bits_of(c))
            p -= v - c
            e -= w - c
    else:
        _deposit_rare(ints, floats, s, BOUND2, 5, p, False)
        if math.isfinite(e):
            _deposit_rare(ints, floats, s, BOUND2, 5, e, False)


@compiled
def _largest(bits: Any) -> float:
    """Return the largest magnitude of values given as their bits; infinity or NaN where one is not finite."""
    most = np.int64(0)
    for i in range(bits.size):
        most = max(most, bits[i] & _ALL)
    return float(float_of(most))


@compiled
def _cut(values: Any, bound: float, digits: Any) -> bool:
    """Cut values into digits 0 to 4 for bins below a bound; return whether any value reaches digit 3."""
    c0 = bound * MAGIC
    c1 = c0 * STEP
    c2 = c1 * STEP
    c3 = c2 * STEP
    c4 = c3 * STEP
    b0, b1, b2, b3, b4 = bits_of(c0), bits_of(c1), bits_of(c2), bits_of(c3), bits_of(c4)
    reached = np.int64(0)
    for i in range(values.size):
        x = values[i]
        v = x + c0
        digits[i] = bits_of(v) - b0
        x -= v - c0
        v = x + c1
        digits[1 * CUT + i] = bits_of(v) - b1
        x -= v - c1
        v = x + c2
        digits[2 * CUT + i] = bits_of(v) - b2
        x -= v - c2
        v = x + c3
        d = bits_of(v) - b3
        digits[3 * CUT + i] = d
        reached |= d
        x -= v - c3
        digits[4 * CUT + i] = bits_of(x + c4) - b4
    return bool(reached != 0)


@compiled
def _cut_squares(values: Any, bound: float, digits: Any) -> bool:
    """Cut squares into digits 5 to 10 for bins below a bound; return whether any value reaches digit 9."""
    c0 = bound * MAGIC
    c1 = c0 * STEP
    c2 = c1 * STEP
    c3 = c2 * STEP
    c4 = c3 * STEP
    c5 = c4 * STEP
    b0, b1, b2, b3 = bits_of(c0), bits_of(c1) * 2, bits_of(c2) * 2, bits_of(c3) * 2
    b4, b5 = bits_of(c4) * 2, bits_of(c5) * 2
    reached = np.int64(0)
    for i in range(values.size):
        x = values[i]
        t = x * SPLIT
        high = t - (t - x)
        low = x - high
        p = x * x
        e = ((high * high - p) + 2.0 * (high * low)) + low * low
        v = p + c0
        digits[5 * CUT + i] = bits_of(v) - b0
        p -= v - c0
        v = p + c1
        w = e + c1
        digits[6 * CUT + i] = bits_of(v) + bits_of(w) - b1
        p -= v - c1
        e -= w - c1
        v = p + c2
        w = e + c2
        digits[7 * CUT + i] = bits_of(v) + bits_of(w) - b2
        p -= v - c2
        e -= w - c2
        v = p + c3
        w = e + c3
        digits[8 * CUT + i] = bits_of(v) + bits_of(w) - b3
        p -= v - c3
        e -= w - c3
        v = p + c4
        w = e + c4
        d = bits_of(v) + bits_of(w) - b4
        digits[9 * CUT + i] = d
        reached |= d
        p -= v - c4
        e -= w - c4
        digits[10 * CUT + i] = bits_of(p + c5) + bits_of(e + c5) - b5
    return bool(reached != 0)


@compiled
def _put(slots: Any, digits: Any, bound: float, last: bool, ints: Any, floats: Any, odd: Any) -> int:
    """Add cut values to their slots; write the rows whose slots have another bound and return how many."""
    count = 0
    for i in range(slots.size):
        s = np.uint64(slots[i])
        ints[s, COUNT] += 1
        if floats[s, BOUND1] != bound:
            odd[count] = i
            count += 1
            continue
        ints[s, 3] += digits[i]
        ints[s, 4] += digits[1 * CUT + i]
        ints[s, 5] += digits[2 * CUT + i]
        if last:
            ints[s, 6] += digits[3 * CUT + i]
    return count


@compiled
def _put_both(
    slots: Any, digits: Any, bound1: float, bound2: float, last1: bool, last2: bool, ints: Any, floats: Any, odd: Any
) -> int:
    """Add cut values and cut squares to their slots; write the rows whose slots have another bound."""
    count = 0
    for i in range(slots.size):
        s = np.uint64(slots[i])
        ints[s, COUNT] += 1
        if floats[s, BOUND1] != bound1 or floats[s, BOUND2] != bound2:
            odd[count] = i
            count += 1
            continue
        ints[s, 3] += digits[i]
        ints[s, 4] += digits[1 * CUT + i]
        ints[s, 5] += digits[2 * CUT + i]
        if last1:
            ints[s, 6] += digits[3 * CUT + i]
        ints[s, 8] += digits[5 * CUT + i]
        ints[s, 9] += digits[6 * CUT + i]
        ints[s, 10] += digits[7 * CUT + i]
        ints[s, 11] += digits[8 * CUT + i]
        if last2:
            ints[s, 12] += digits[9 * CUT + i]
    return count


@compiled
def _put_mixed(
    slots: Any, values: Any, digits: Any, bound1: float, bound2: float, ints: Any, floats: Any, odd: Any
) -> int:
    """Do what `_put_both` does where many slots are new or have the next lower bound, at random: without branches.

    Digit 0 of a value below the next lower bound is 0, so that its digits from 1 on are those for the lower bins.
    """
    lower1 = _lower(bound1, 4)
    lower2 = _lower(bound2, 5)
    count = 0
    for i in range(slots.size):
        s = np.uint64(slots[i])
        ints[s, COUNT] += 1
        x = abs(values[i])
        p = x * x
        want1 = bound1 if x >= lower1 else lower1
        want2 = bound2 if p >= lower2 else lower2
        mine1 = floats[s, BOUND1]
        mine2 = floats[s, BOUND2]
        mine1 = want1 if mine1 == 0.0 else mine1
        mine2 = want2 if mine2 == 0.0 else mine2
        good = (mine1 == bound1) | (mine1 == want1)
        good &= (mine2 == bound2) | (mine2 == want2)
        if not (good & (p >= lower2 * STEP) & (x >= lower1 * STEP)):
            odd[count] = i
            count += 1
            continue
        floats[s, BOUND1] = mine1
        floats[s, BOUND2] = mine2
        at = i if mine1 == bound1 else i + CUT
        ints[s, 3] += digits[at]
        ints[s, 4] += digits[at + CUT]
        ints[s, 5] += digits[at + 2 * CUT]
        ints[s, 6] += digits[at + 3 * CUT]
        at = i if mine2 == bound2 else i + CUT
        ints[s, 8] += digits[at + 5 * CUT]
        ints[s, 9] += digits[at + 6 * CUT]
        ints[s, 10] += digits[at + 7 * CUT]
        ints[s, 11] += digits[at + 8 * CUT]
        ints[s, 12] += digits[at + 9 * CUT]
    return count


@compiled
def _lower(bound: float, bins: int) -> float:
    """Return the next lower bound; the bound itself where there is none."""
    return bound * STEP if top_of(bound) > LOWEST + bins - 1 else bound


@compiled
def _put_odd(
    rows: Any, slots: Any, values: Any, digits: Any, first: int, bins: int, where: int, bound: float,
    ints: Any, floats: Any,
) -> int:  # fmt: skip
    """Add the rows that `_put` has left to slots whose bins lie below the bound or one lower, or nowhere yet.

    Rows that remain are written to the front of `rows`; returned is how many these are.
    """
    lower = _lower(bound, bins)
    least = lower * STEP
    left = 0
    for n in range(rows.size):
        i = rows[n]
        s = np.uint64(slots[i])
        x = abs(values[i])
        if bins == 5:
            x *= x
        mine = floats[s, where]
        new = bound if x >= lower else lower
        if mine == 0.0 and x >= least:
            floats[s, where] = new
        elif mine == lower and new != lower:
            ints[s, where + bins] = ints[s, where + bins - 1]
            ints[s, where + bins - 1] = ints[s, where + bins - 2]
            ints[s, where + bins - 2] = ints[s, where + bins - 3]
            if bins == 5:
                ints[s, where + 2] = ints[s, where + 1]
            ints[s, where + 1] = 0
            floats[s, where] = bound
        elif mine == bound:
            new = bound
        elif mine != lower:
            rows[left] = i
            left += 1
            continue
        at = first + i
        if new == lower and lower != bound:
            at += CUT
        ints[s, where + 1] += digits[at]
        ints[s, where + 2] += digits[at + CUT]
        ints[s, where + 3] += digits[at + 2 * CUT]
        ints[s, where + 4] += digits[at + 3 * CUT]
        if bins == 5:
            ints[s, where + 5] += digits[at + 4 * CUT]
    return left


@compiled
def _add_each(slots: Any, values: Any, order: int, ints: Any, floats: Any) -> None:
    """Add values one by one."""
    for i in range(slots.size):
        s = np.uint64(slots[i])
        ints[s, COUNT] += 1
        _add_one(ints, floats, s, values[i])
        if order > 1:
            _add_square(ints, floats, s, values[i])


@compiled
def add_moments(slots: Any, values: Any, order: int, ints: Any, floats: Any, digits: Any, odd: Any) -> None:
    """Add values to the binned sums of their slots, and with order 2 their squares.

    Parameters
    ----------
    slots, values
        int32 slots, none negative, and float64 values; at most `CUT`.
    order, ints, floats
        The sums (see `binned`).
    digits, odd
        Room for what is between the steps: int64, eleven times `CUT`, and `CUT` and one more, which is 0 at first.
    """
    most = _largest(values.view(np.int64))
    bound1 = _first_bound(most, 4)
    bound2 = _first_bound(most * most, 5) if order > 1 else bound1
    if bound1 == 0.0 or bound2 == 0.0:
        _add_each(slots, values, order, ints, floats)
        return
    last1 = _cut(values, bound1, digits)
    if order > 1:
        last2 = _cut_squares(values, bound2, digits)
        if odd[CUT] * 8 > slots.size:
            count = _put_mixed(slots, values, digits, bound1, bound2, ints, floats, odd)
            odd[CUT] = count * 4
        else:
            count = _put_both(slots, digits, bound1, bound2, last1, last2, ints, floats, odd)
            odd[CUT] = count
    else:
        count = _put(slots, digits, bound1, last1, ints, floats, odd)
    if count > 0:
        rest = odd[:count].copy()
        left = _put_odd(rest, slots, values, digits, 0, 4, BOUND1, bound1, ints, floats)
        for n in range(left):
            _add_one(ints, floats, np.uint64(slots[rest[n]]), values[rest[n]])
        if order > 1:
            left = _put_odd(odd[:count], slots, values, digits, 5 * CUT, 5, BOUND2, bound2, ints, floats)
            for n in range(left):
                _add_square(ints, floats, np.uint64(slots[odd[n]]), values[odd[n]])


@compiled
def update_moments(slots: Any, values: Any, valid: Any, order: int, ints: Any, floats: Any) -> None:
    """Add rows of numbers of any type; those without a slot and those that are not valid are left out."""
    any_null = valid.size > 0
    some = np.empty(CUT, np.int32)
    numbers = np.empty(CUT, np.float64)
    digits = np.empty(11 * CUT, np.int64)
    odd = np.zeros(CUT + 1, np.int64)
    for begin in range(0, slots.size, CUT):
        count = 0
        for i in range(begin, min(begin + CUT, slots.size)):
            some[count] = slots[i]
            numbers[count] = np.float64(values[i])
            count += int(slots[i] >= 0 and not (any_null and not valid[i]))
        add_moments(some[:count], numbers[:count], order, ints, floats, digits, odd)
