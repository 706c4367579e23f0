"""The event-time buffer against sorting in Python."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from eventide.kernel.ordering import EventTimeBuffer, in_order
from eventide.model.state import select_groups
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME

SCHEMA = pa.schema(
    [
        ("k", pa.string()),
        ("t", EVENT_TIME),
        ("x", pa.float64()),
        ("n", pa.int16()),
        ("u", pa.uint64()),
        ("l", pa.list_(pa.int64())),
        ("d", pa.dictionary(pa.int8(), pa.string())),
    ]
)
rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.integers(0, 8),
        st.sampled_from([0.0, -0.0, -1.5, float("nan"), None, 3.0]),
        st.sampled_from([None, -3, 0, 5]),
        st.sampled_from([0, 1, 2**63 + 5]),
        st.sampled_from([None, [], [1], [1, 2], [0, 9]]),
        st.sampled_from([None, "p", "q"]),
    ),
    max_size=30,
)


def batch_of(items):
    return pa.RecordBatch.from_arrays(
        [pa.array([r[i] for r in items], f.type) for i, f in enumerate(SCHEMA)], schema=SCHEMA
    )


def _float(x):
    bits = struct.unpack("<q", struct.pack("<d", x))[0]
    return bits if bits >= 0 else bits ^ (2**63 - 1)


def _key(r):
    def null(v, f=lambda v: v):
        return (0,) if v is None else (1, f(v))

    return (r[1], null(r[0]), null(r[2], _float), null(r[3]), r[4], null(r[5]), null(r[6]))


def shown(batch):
    batch = batch.set_column(1, "t", batch.column("t").cast(pa.int64()))
    return [repr(r) for r in batch.to_pylist()]


@given(rows, st.randoms())
def test_total_order_is_python_order_whatever_the_arrival(items, random):
    want = shown(batch_of(sorted(items, key=_key)))
    random.shuffle(items)
    assert shown(in_order(batch_of(items), "t")) == want


@given(rows, st.lists(st.integers(0, 30)), st.lists(st.integers(0, 9)), st.booleans())
def test_buffer_releases_everything_in_order_and_tells_late_rows(items, cuts, marks, restore):
    buffer = EventTimeBuffer(SCHEMA, "t", ("k",))
    cuts = sorted({c for c in cuts if c < len(items)} | {0, len(items)})
    watermark, released, late, want, want_late = MIN_TIME, [], [], [], []
    for n, (lo, hi) in enumerate(itertools.pairwise(cuts)):
        want += [r for r in items[lo:hi] if r[1] >= watermark]
        want_late += [r for r in items[lo:hi] if r[1] < watermark]
        behind = buffer.add(batch_of(items[lo:hi]), watermark=watermark)
        late += [] if behind is None else shown(behind)
        watermark = max(watermark, marks[n] if n < len(marks) else watermark)
        out = buffer.release(watermark)
        released += [] if out is None else shown(out)
        assert buffer.earliest >= watermark
        if restore:
            state = {"rows": buffer.snapshot()}
            parts = [EventTimeBuffer(SCHEMA, "t", ("k",)) for _ in range(2)]
            for part, groups in zip(parts, (range(128), range(128, 256)), strict=True):
                part.restore(select_groups(state, groups)["rows"])
            assert sum(p.rows for p in parts) == buffer.rows
            buffer.restore(buffer.snapshot())
    out = buffer.release(MAX_TIME)
    released += [] if out is None else shown(out)
    assert released == shown(batch_of(sorted(want, key=_key)))
    assert late == shown(batch_of(want_late))
    assert buffer.rows == 0


def test_mark_of_each_row_decides():
    buffer = EventTimeBuffer(pa.schema([("t", EVENT_TIME)]), "t")
    low = np.iinfo(np.int64).min
    batch = pa.record_batch({"t": pa.array([5, 5, 3], EVENT_TIME), "_watermark": pa.array([low, 6, 6], pa.int64())})
    late = buffer.add(batch, watermark=0)
    assert late.schema.names == ["t"]
    assert late.num_rows == 2
    assert buffer.rows == 1


def test_many_small_batches_stay_in_few_chunks():
    buffer = EventTimeBuffer(pa.schema([("t", EVENT_TIME)]), "t")
    for i in range(3000):
        buffer.add(pa.record_batch({"t": pa.array([i], EVENT_TIME)}), watermark=0)
    assert len(buffer._chunks) < 20
    assert buffer.release(2990).num_rows == 2990
    assert buffer._chunks[0].whole <= 3000
    assert buffer.rows == 10
