"""Messages to pulses and back, with broken ones among them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from eventide.apps.neutron.messages import EVENTS, FORMS, broken_of, decode, encode, events_of
from eventide.apps.neutron.operators import good, with_pixels, without_pixels
from eventide.apps.neutron.schema import BROKEN, DECODED, MESSAGES, PULSES
from eventide.apps.neutron.simulate import simulate
from eventide.errors import DataError, SchemaError, UsageError
from eventide.formats import ev42, ev44
from eventide.testing._compare import rows_of


def batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


@pytest.fixture(scope="module")
def pulses() -> pa.RecordBatch:
    return batch(simulate("amor", seconds=2, rate=30_000, seed=8))


@pytest.mark.parametrize("form", FORMS)
def test_round_trip(pulses, form):
    made = encode(pulses, form)
    assert made.schema == MESSAGES
    back = decode(made, form)
    assert back.schema == DECODED
    assert rows_of(good(back)) == rows_of(pulses)


def test_pulses_together(pulses):
    made = encode(pulses, "ev44", together=10)
    assert made.num_rows == 6  # of 28 pulses of two sources: 10, 10 and 8 each
    back = good(decode(made, "ev44"))
    assert back["pulse"].to_pylist()[:11] == [*range(10), 0]
    key = [("source", "ascending"), ("event_time", "ascending")]
    wanted = ["event_time", "source", "time_of_flight", "pixel_id"]
    assert rows_of(back.sort_by(key).select(wanted)) == rows_of(pulses.sort_by(key).select(wanted))


def test_facility(pulses):
    rows = pulses.num_rows
    columns = dict(zip(PULSES.names, pulses.columns, strict=True))
    columns["period"] = pa.array([2**32 - 1] * rows, pa.int64())
    columns["running"] = pa.array([i % 2 == 0 for i in range(rows)])
    columns["proton_charge"] = pa.array([0.5] * rows, pa.float32())
    told = pa.RecordBatch.from_arrays(list(columns.values()), schema=PULSES)
    assert rows_of(good(decode(encode(told, "ev42"), "ev42"))) == rows_of(told)
    assert set(with_pixels(told)["vetoed"].to_pylist()) == {False}
    assert set(without_pixels(told)["vetoed"].to_pylist()) == {True}


def test_broken_messages_cost_no_other(pulses):
    values = encode(pulses, "ev44")["value"].to_pylist()
    values[3:3] = [
        b"",
        None,
        b"nothing",
        values[0][:50],
        ev42.write(ev42.EventMessage("b", 1, np.array([1]), np.array([0]), np.array([], "i4"))),
    ]
    back = decode(pa.record_batch({"value": pa.array(values, pa.large_binary())}), "ev44")
    assert rows_of(good(back)) == rows_of(pulses)
    broken = broken_of(back)
    assert broken.schema == BROKEN
    assert broken["value"].to_pylist() == [b"", b"", *values[5:8]]
    assert all(broken["reason"].to_pylist())
    only = decode(pa.record_batch({"value": [b"?"]}), "ev44")
    assert good(only).num_rows == 0
    assert broken_of(only).num_rows == 1


def test_messages_and_pulses_without_events():
    times, first = np.array([5, 6, 7]), np.array([0, 0, 2])
    with_ids = ev44.EventMessage("bank", 1, times, first, np.array([1, 2]), np.array([3, 4]))
    none = ev44.EventMessage("monitor", 2, times, first, np.array([1, 2]))
    empty = ev44.EventMessage("bank", 3, times[:0], first[:0], np.array([], "i4"))
    values = [ev44.write(m) for m in (with_ids, none, empty)]
    back = good(decode(pa.record_batch({"value": values}), "ev44"))
    assert back["time_of_flight"].to_pylist() == [[], [1, 2], [], [], [1, 2], []]
    assert back["pixel_id"].to_pylist()[1:5:3] == [[3, 4], None]
    assert with_pixels(back)["time_of_flight"].to_pylist()[:2] == [[], [1, 2]]
    assert without_pixels(back)["source"].to_pylist() == ["monitor"]
    assert decode(pa.record_batch({"value": pa.array([], pa.binary())}), "ev44").num_rows == 0


def test_events(pulses):
    events = events_of(pulses)
    assert events.schema == EVENTS
    lists = pulses["time_of_flight"]
    assert events["time_of_flight"].to_pylist() == lists.flatten().to_pylist()
    assert events["pixel_id"].null_count == sum(
        len(t) for t, p in zip(lists.to_pylist(), pulses["pixel_id"].to_pylist(), strict=True) if p is None
    )
    seen = with_pixels(events), without_pixels(events)
    assert sum(s.num_rows for s in seen) == events.num_rows
    assert rows_of(events_of(pulses.slice(5, 4))) == rows_of(
        events_of(batch(pa.Table.from_batches([pulses]).slice(5, 4)))
    )


def test_what_cannot_be(pulses):
    with pytest.raises(UsageError, match="ev45"):
        encode(pulses, "ev45")
    with pytest.raises(UsageError, match="2 pulses"):
        encode(pulses, "ev42", together=2)
    with pytest.raises(SchemaError, match="value"):
        decode(pulses, "ev44")
    columns = dict(zip(PULSES.names, pulses.columns, strict=True))
    columns["pixel_id"] = pa.array([[1]] * pulses.num_rows, pa.list_(pa.int32()))
    wrong = pa.RecordBatch.from_arrays(list(columns.values()), schema=PULSES)
    for function in (events_of, lambda b: encode(b, "ev44")):
        with pytest.raises(DataError, match="1 pixels"):
            function(wrong)
