"""Numbers of messages against what was really left out, sent twice, overtaken and begun anew."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.neutron.numbers import Gap, Numbers
from eventide.model.time import MAX_TIME

WITHIN = 10


def story(rng):
    """Messages as (time, number, pulse), and the gaps that are in them: known, since they were made here."""
    messages, gaps, clock = [], [], 0
    for turn in range(rng.randint(1, 3)):  # each a new beginning of the count, well apart from the one before
        clock += 100
        number = rng.randint(0, 5) + (0, 1000, 2**62)[-1 - turn]
        kept = []
        for n in range(number, number + rng.randint(1, 25)):
            clock += rng.randint(0, 8)
            if rng.random() < 0.8:
                kept.append((clock + rng.randint(0, WITHIN), n))
        present = sorted(n for _, n in kept)
        order = sorted(kept)
        messages += order
        for low, high in itertools.pairwise(present):
            if high > low + 1:
                gaps.append((low + 1, high - 1))
    pulses = [(t + p, n, p) for t, n in messages for p in range(rng.choice((1, 1, 3)))]
    return pulses, gaps


def arrays(rows):
    return (np.array([r[at] for r in rows], np.int64) for at in (1, 2, 0))


@given(st.integers(0, 2**32))
def test_gaps_are_those_that_were_made(seed):
    rng = random.Random(seed)
    messages, gaps = story(rng)
    arriving = [*messages, *rng.sample(messages, rng.randint(0, len(messages)))]
    disorder = rng.choice((0, 5, 30))
    arriving.sort(key=lambda m: m[0] + rng.random() * disorder)
    seen, found, again, at = Numbers(WITHIN), [], 0, 0
    while at < len(arriving):
        part = arriving[at : at + rng.randint(1, 9)]
        at += len(part)
        again += int(seen.take(*arrays(part)).sum())
        behind = [m[0] for m in arriving[at:]]
        low = min(behind, default=MAX_TIME)  # nothing before this comes any more
        found += seen.settle(rng.choice((low, low, max(0, low - 50))) if low < MAX_TIME else MAX_TIME)
    assert again == len(arriving) - len(messages)
    assert [(g.first, g.last) for g in found] == gaps
    assert seen.remembered()[0].size == 0 and not seen.filled


def test_times_of_a_gap():
    seen = Numbers(WITHIN)
    assert not seen.take(np.array([5, 8]), np.zeros(2, np.int64), np.array([100, 103])).any()
    assert list(seen.settle(113)) == []  # 6 and 7 may come as late as that
    assert list(seen.settle(114)) == [Gap(6, 7, 100, 103)]


def test_what_is_overtaken_is_not_missing_within_the_time():
    for late, gaps in ((113, []), (114, [Gap(6, 6, 100, 103)])):
        seen = Numbers(WITHIN)
        seen.take(np.array([5, 7, 6, 8]), np.zeros(4, np.int64), np.array([100, 103, late, late]))
        assert [g for g in seen.settle(MAX_TIME) if g.after == 103] == gaps


def test_a_number_at_another_time_is_no_duplicate():
    seen = Numbers(WITHIN)
    zero = np.zeros(1, np.int64)
    assert not seen.take(np.array([5]), zero, np.array([100])).any()
    assert not seen.take(np.array([5]), zero, np.array([101])).any()
    assert seen.take(np.array([5]), zero, np.array([100])).all()


def test_memory_is_bounded_and_numbers_may_be_any():
    seen = Numbers(WITHIN)
    ends = np.array([-(2**63), 0, 2**63 - 1])
    assert not seen.take(ends, np.zeros(3, np.int64), np.array([1, 2, 3])).any()
    assert [(g.first, g.last) for g in seen.settle(1000)] == [(-(2**63) + 1, -1), (1, 2**63 - 2)]
    assert seen.remembered()[0].size == 0


@pytest.mark.parametrize("seed", range(3))
def test_what_is_remembered_goes_on(seed):
    """A copy made of what is remembered tells the same as the original."""
    rng = random.Random(seed)
    messages, gaps = story(rng)
    messages.sort()
    half = len(messages) // 2
    seen = Numbers(WITHIN)
    seen.take(*arrays(messages[: half + 1]))
    found = list(seen.settle(messages[half][0]))
    other = Numbers(WITHIN, seen.expected, seen.before, set(seen.filled))
    if seen.remembered()[0].size:
        other.take(*seen.remembered())
    for each in (seen, other):
        each.take(*arrays(messages[half:]))
    rest = list(seen.settle(MAX_TIME))
    assert rest == list(other.settle(MAX_TIME))
    assert [(g.first, g.last) for g in [*found, *rest]] == gaps
