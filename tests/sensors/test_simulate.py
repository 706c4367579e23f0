"""The simulated day: its shape, that what was put in is known, that the same seed gives the same bytes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from eventide.apps.sensors.decode import decode_a, decode_b, decode_table, good
from eventide.apps.sensors.detector import make_detector
from eventide.apps.sensors.pacing import Announce, PacedDay
from eventide.apps.sensors.schema import TEXT_READINGS
from eventide.apps.sensors.signals import SIGNALS
from eventide.apps.sensors.simulate import Simulation, simulate, wire_a, wire_b
from eventide.apps.sensors.slots import KeySlots
from eventide.apps.sensors.views import VIEWS, unit_of
from eventide.errors import ConfigError
from eventide.model.time import duration


@pytest.fixture(scope="module")
def day() -> Simulation:
    return simulate()


@pytest.mark.parametrize(("streams", "each"), [(50, 3456), (40, 4320)])
def test_both_shapes_hold_172_800_events(streams, each):
    readings = simulate(streams).readings
    assert readings.schema == TEXT_READINGS
    assert readings.num_rows == 172_800
    sizes = pl.DataFrame(readings).group_by("sensor", "parameter").len()["len"]
    assert sizes.to_list() == [each] * streams


def test_the_same_seed_gives_the_same_bytes(day):
    again = simulate()
    assert again.readings.equals(day.readings)
    assert again.incidents.equals(day.incidents)
    assert not simulate(seed=1).readings.equals(day.readings)


def test_readings_arrive_in_blocks_and_late_by_about_half_an_hour(day):
    assert (np.diff(day.uploaded) >= 0).all()
    assert duration("20m") < day.lateness < duration("35m")
    at_once = simulate(upload_every="0")
    assert at_once.lateness == 0


def test_every_dirty_value_is_found_with_its_reason_and_nothing_else(day):
    expected = dict(zip(*day.dirty.to_pydict().values(), strict=True))
    for batch in (decode_table(day.readings), decode_a(wire_a(day.readings)), decode_b(wire_b(day.readings))):
        reasons = batch.column("reason").to_pylist()
        assert {row: reason for row, reason in enumerate(reasons) if reason} == expected
    assert set(expected.values()) == {"missing", "sentinel", "not_numeric", "out_of_range"}


def test_both_wire_forms_hold_the_same_readings(day):
    a, b = decode_a(wire_a(day.readings)), decode_b(wire_b(day.readings))
    for name in ("timestamp", "stream", "value", "sensor", "parameter"):
        assert a.column(name).equals(b.column(name)), name


def test_the_band_finds_the_incidents_that_were_put_in(day):
    frame = pl.DataFrame(good(decode_table(day.readings))).sort("timestamp")
    keys = KeySlots()
    slots = keys.slots(frame["stream"].to_arrow().cast("string"))
    times = frame["timestamp"].to_physical().to_numpy()
    flags = make_detector("band").update(slots, times, frame["value"].to_numpy()).flag
    slack = duration("15m")
    inside = np.zeros(len(flags), bool)
    for row in day.incidents.cast(day.incidents.schema).to_pylist():
        start, end = (int(row[name].timestamp() * 1e9) for name in ("start", "end"))
        mine = (slots == keys.names.index(row["stream"])) & (times >= start) & (times <= end + slack)
        assert (flags & mine).any(), row
        inside |= mine
    assert (flags & ~inside).sum() <= 5  # of 172,800


def test_batches_are_the_readings_in_order(day):
    batches = list(day.batches(50_000))
    assert [b.num_rows for b in batches] == [50_000, 50_000, 50_000, 22_800]
    assert batches[1].equals(day.readings.slice(50_000, 50_000))


@pytest.mark.parametrize("wrong", [{"streams": 51}, {"dirty": 2.0}, {"incidents": 60}, {"nodes": 0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="the simulation cannot use"):
        simulate(**wrong)


def test_every_signal_is_a_stream_of_its_own_and_has_a_unit():
    streams = [f"{s.sensor}_{s.parameter}" for s in SIGNALS]
    assert len(set(streams)) == 50
    assert all(unit_of(stream) for stream in streams)
    assert unit_of("unknown") == ""
    assert {view.kind for view in VIEWS} == {"timeseries", "table"}


def test_a_paced_day_is_the_day_and_can_be_resumed():
    day = simulate(2, incidents=0)
    source = PacedDay(day, seconds=0.05)
    assert source.schema() == TEXT_READINGS
    for start in (0, 100_000):
        reader = source.open({"0": {"row": start}} if start else {})
        rows = start
        while not reader.finished:
            for chunk in reader.read(max_rows=20_000, timeout=0.01):
                assert chunk.batch.equals(day.readings.slice(rows, chunk.batch.num_rows))
                rows += chunk.batch.num_rows
                assert chunk.position == {"row": rows}
        assert rows == 172_800
        assert reader.backlog() == 0
        reader.close()
    with pytest.raises(ConfigError, match="played back"):
        PacedDay(day, seconds=0)


def test_announcing_tells_of_every_row():
    told = []
    sink = Announce(told.append)
    sink.open(TEXT_READINGS, None)
    sink.write(simulate(1, incidents=0).readings.slice(0, 3))
    assert sink.prepare(1) == {}
    sink.commit(1, {})
    sink.close()
    assert len(told) == 3
