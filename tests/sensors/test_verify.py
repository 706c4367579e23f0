"""The golden answers on real data."""

from __future__ import annotations

import numpy as np
import pytest

from eventide.apps.sensors.verify import agreement, verify
from eventide.errors import DataError


def test_golden_answers(data_dir):
    found = verify(data_dir)
    assert found["ok"], found
    assert found["incidents"] == 4
    no2, temperature = found["day"]["Chemsense_no2"], found["day"]["TSYS01_temperature"]
    assert (no2["flags"], temperature["flags"]) == (15, 85)
    assert (no2["textbook_flags"], temperature["textbook_flags"]) == (807, 1739)
    assert found["dirty"]["unnoticed"] == found["dirty"]["groundless"] == 0


def test_absent_data_says_where_to_point(tmp_path):
    with pytest.raises(DataError, match="EVENTIDE_DATA"):
        verify(tmp_path)


def test_agreement_counts_each_time_once():
    assert agreement(np.array([], np.int64), np.array([1]), within=5) == (0.0, 0.0)
    assert agreement(np.array([1, 100]), np.array([3, 4, 5]), within=5) == (1.0, 0.5)
