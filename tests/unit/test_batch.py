"""Event times from text: each row for itself, and nothing that nanoseconds cannot hold."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from eventide.model.batch import as_event_time

TEXTS = {
    "1970-01-01T00:00:02Z": 2_000_000_000,
    "1970-01-01T00:00:01.5": 1_500_000_000,
    "1970-01-01T01:00:00.000000007+01:00": 7,
    "1970-01-01 00:00:03": 3_000_000_000,
    "1970-01-01T00:01Z": 60_000_000_000,
    "1970-01-01T00:02": 120_000_000_000,
    "1970-01-02": 86_400_000_000_000,
    "1066-10-14T09:00:00Z": None,
    "3000-01-01": None,
    "yesterday": None,
    "": None,
}


@given(st.lists(st.sampled_from(sorted(TEXTS))))
def test_text_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    times = as_event_time(pa.array([*texts, None], pa.string()))
    assert times.cast(pa.int64()).to_pylist() == [*(TEXTS[t] for t in texts), None]
