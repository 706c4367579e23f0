"""Significance of counts against the formula in exact arithmetic and against its limits."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.gamma.science.significance import li_ma, p_value, post_trial, pre_trial
from eventide.errors import UsageError


def exact(on, off, alpha):
    with localcontext() as context:
        context.prec = 60
        n, m, a = Decimal(on), Decimal(off), Decimal(alpha)
        one = n * ((1 + a) / a * n / (n + m)).ln() if on else Decimal(0)
        two = m * ((1 + a) * m / (n + m)).ln() if off else Decimal(0)
        size = float(max(2 * (one + two), Decimal(0)).sqrt())
    return -size if on < alpha * off else size


@given(st.integers(0, 10_000), st.integers(0, 100_000), st.floats(0.01, 10))
def test_equals_the_formula(on, off, alpha):
    found, wanted = float(li_ma(on, off, alpha)), exact(on, off, alpha)
    # Near zero the terms cancel: what is left of their rounding is the root of it.
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-5)


def test_vectorised_is_the_same_as_one_by_one():
    random = np.random.default_rng(1)
    on, off = random.integers(0, 50, 1003), random.integers(0, 300, 1003)
    whole = li_ma(on, off, 0.2)
    assert whole.tolist() == [float(li_ma(a, b, 0.2)) for a, b in zip(on, off, strict=True)]
    assert whole.tolist() == np.concatenate([li_ma(on[:5], off[:5], 0.2), li_ma(on[5:], off[5:], 0.2)]).tolist()


def test_refuses_what_is_no_count():
    for arguments in [(-1, 0, 0.2), (1, 1, 0.0), (1, 1, math.nan), (math.nan, 1, 0.2)]:
        with pytest.raises(UsageError):
            li_ma(*arguments)


@given(st.floats(1, 40), st.floats(1, 1e8))
def test_trials_only_take_away_and_can_be_undone(sigma, trials):
    left = post_trial(sigma, trials)
    assert left <= sigma + 1e-9
    if left > 1:
        assert pre_trial(left, trials) == pytest.approx(sigma, rel=1e-6)


@given(st.floats(0.1, 7.5), st.integers(1, 1000))
def test_trials_are_the_chance_of_at_least_one(sigma, trials):
    p = p_value(sigma)
    assert p_value(post_trial(sigma, trials)) == pytest.approx(-math.expm1(trials * math.log1p(-p)), rel=1e-6)


def test_trials_meet_where_the_tail_is_taken_from_its_asymptotic_form():
    assert post_trial(8.0, 1000) == pytest.approx(post_trial(8.000001, 1000), abs=1e-4)
