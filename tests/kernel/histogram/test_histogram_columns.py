"""Rows of pulses: chosen without looking into their lists, and what a row says of all its events."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import DataError
from eventide.kernel.histogram import columns
from eventide.kernel.histogram.columns import event_columns, events_of_rows, rows_where

ROW = st.tuples(st.none() | st.lists(st.integers(-5, 5), max_size=4), st.booleans())


def pulses(rows):
    lists = pa.array([r[0] for r in rows], pa.list_(pa.int32()))
    return pa.record_batch({"n": pa.array(range(len(rows)), pa.int64()), "tof": lists})


@pytest.mark.parametrize("piece", [1, 1 << 12])
@given(rows=st.lists(ROW, max_size=20), offset=st.integers(0, 3))
def test_rows_are_those_of_a_filter(piece, rows, offset):
    batch = pulses(rows).slice(offset)
    kept = np.array([r[1] for r in rows[offset:]], np.bool_)
    before, columns._PIECE = columns._PIECE, piece
    try:
        found = rows_where(batch, kept)
    finally:
        columns._PIECE = before
    assert found.to_pydict() == batch.filter(pa.array(kept)).to_pydict()
    found.validate(full=True)


@given(rows=st.lists(ROW, max_size=20), offset=st.integers(0, 3))
def test_events_are_those_of_python(rows, offset):
    batch = pulses(rows).slice(offset)
    found = event_columns(batch, ["n", "tof"]).values
    want = [(n, t) for n, (ts, _) in enumerate(rows) if n >= offset for t in ts or []]
    assert list(zip(found["n"].tolist(), found["tof"].tolist(), strict=True)) == want
    assert events_of_rows(batch, ["n", "tof"]).sum() == len(want)


def test_lists_of_different_lengths_are_told():
    batch = pa.record_batch({"a": [[1], [2, 3]], "b": [[1], [2]]})
    with pytest.raises(DataError, match="2 and 1 entries"):
        events_of_rows(batch, ["a", "b"])
