"""The protocol of just-bin-it: what its documentation says and its program does, case by case, without a transport."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.neutron.restream.command import Configure, Reset, Stop, message_id, read_command
from eventide.apps.neutron.restream.machine import Outgoing, Received, Restream, Subscription
from eventide.errors import EventideError
from eventide.formats import an44, da00, ev42, ev44, hs00, hs01, x5f2
from eventide.formats.ev44 import EventMessage

PLACES = {"data_brokers": ["localhost:9092"], "data_topics": ["events"]}
HIST1D = {"type": "hist1d", **PLACES, "tof_range": [0, 100], "num_bins": 50, "topic": "out1", "id": "one"}
HIST2D = {
    "type": "hist2d",
    **PLACES,
    "tof_range": [0, 100],
    "det_range": [0, 100],
    "num_bins": [5, 4],
    "topic": "out2",
    "id": "two",
}
IMAGE = {"type": "dethist", **PLACES, "det_range": [1, 12], "width": 4, "height": 3, "topic": "out3", "id": "image"}
REGION = {"type": "roihist", **PLACES, "left_edges": [7, 12], "width": 3, "topic": "out4", "id": "region"}
SECOND = 1000


def command(*histograms, **more):
    return json.dumps({"cmd": "config", "histograms": list(histograms), **more}).encode()


def pulse(time, events, *, topic="events", partition=0, source="simulator", write=ev42.write, pixels=True):
    """A message of the time `time` (ms) with events 1 ... n: the number is both time of flight and pixel."""
    values = np.arange(1, events + 1, dtype=np.int32) if isinstance(events, int) else np.array(events, np.int32)
    one = EventMessage(source, 1, np.array([time * 10**6]), np.array([0]), values, values if pixels else None)
    return Received(topic, partition, time, write(one))


# Each has twice as many events as the one before it, so that a sum says which of them were counted.
PULSES = [pulse(t * SECOND, 2**n) for n, t in enumerate(range(998, 1003))]


def shown(out: Outgoing, read=hs00.read_histogram):
    made = read(out.value)
    return made.data, json.loads(made.info), made


def after(config, messages, *, now=2000 * SECOND, read=hs00.read_histogram, **tick):
    service = Restream()
    service.command(config, now=now)
    service.events(messages)
    return [shown(out, read)[:2] for out in service.tick(now + SECOND, **tick)]


class TestCommands:
    def test_answers_only_those_with_an_id(self):
        service = Restream(response_topic="answers")
        assert service.command(b'{"cmd": "stop"}', now=0) == []
        assert service.command(b'{"cmd": "no such"}', now=0) == []
        assert service.command(b"no JSON", now=0) == []
        (yes,) = service.command(b'{"cmd": "reset_counts", "msg_id": "a"}', now=0)
        assert (yes.topic, json.loads(yes.value), yes.brokers) == ("answers", {"msg_id": "a", "response": "ACK"}, ())
        (no,) = service.command(b'{"cmd": "no such", "msg_id": "b"}', now=0)
        said = json.loads(no.value)
        assert (said["msg_id"], said["response"], "no such" in said["message"]) == ("b", "ERR", True)

    def test_without_a_topic_for_answers_there_are_none(self):
        assert Restream().command(b'{"cmd": "stop", "msg_id": "a"}', now=0) == []

    def test_times(self):
        assert read_command(b'{"cmd": "config"}', now=5) == Configure(())
        assert read_command(command(start=1, stop=2), now=5) == Configure((), 1, 2)
        assert read_command(command(interval=5), now=123_456) == Configure((), 123_456, 128_456)
        assert read_command(command(interval=0.5), now=0) == Configure((), 0, 500)
        assert read_command(command(start=None, stop=0, interval=0), now=5) == Configure(())
        assert read_command(b'{"cmd": "stop"}', now=5) == Stop()
        assert read_command(b'{"cmd": "reset_counts"}', now=5) == Reset()

    @pytest.mark.parametrize(
        "more",
        [
            {"interval": -5},
            {"interval": "hello"},
            {"interval": 5, "start": 10**9},
            {"interval": 5, "stop": 10**9},
            {"start": "now"},
            {"stop": [1]},
            {"start": True},
            {"stop": 1e300},
            {"interval": math.nan},
            {"output_schema": "hs99"},
            {"input_schema": "hs00"},
            {"input_schema": ["ev42"]},
            {"histograms": {}},
            {"histograms": [1]},
            {"histograms": None},
        ],
    )
    def test_commands_that_are_refused(self, more):
        with pytest.raises(EventideError):
            read_command(command(**more), now=0)

    @pytest.mark.parametrize("config", [HIST1D, HIST2D, IMAGE, REGION], ids=lambda c: c["type"])
    def test_what_is_needed_and_what_is_not(self, config):
        optional = {"id", "source"} | ({"det_range"} if config["type"] == "hist1d" else set())
        full = {**config, "source": "s", "det_range": config.get("det_range", [1, 2])}
        for key in config:
            less = {k: v for k, v in full.items() if k != key}
            if key in optional:
                assert read_command(command(less), now=0).histograms
            else:
                with pytest.raises(EventideError):
                    read_command(command(less), now=0)

    @pytest.mark.parametrize(
        ("config", "key", "values"),
        [
            (
                HIST1D,
                "tof_range",
                [123, ["a", "b"], [123, "b"], ["a", 1], [123, 0], [1, 2, 3], "text", [True, 2], [0, 10**400]],
            ),
            (HIST1D, "num_bins", ["a", [1, 2, 3], 0, -1, 1.5, [5, 5], 2**40, True]),
            (HIST1D, "det_range", [123, ["a", "b"], [123, 0], [math.nan, 1]]),
            (
                HIST2D,
                "num_bins",
                ["a", [1, 2, 3], [-100, 100], [100, -100], [0, 100], [100, 0], [2**20, 2**20], 10**300],
            ),
            (HIST1D, "topic", [123, "with spaces", "::", "", "x" * 300]),
            (HIST1D, "data_topics", [123, [123], [], ["with spaces"], "text"]),
            (HIST1D, "data_brokers", [123, [123], [], "text"]),
            (HIST1D, "id", [123, ["list"]]),
            (HIST1D, "source", [123, ["list"]]),
            (HIST1D, "type", ["hist3d", None, 1, ["hist1d"]]),
            (IMAGE, "width", ["string", 0, -100, [100], 2**40, 1.5]),
            (IMAGE, "height", ["string", 0, -100, [100], 2**63]),
            (IMAGE, "det_range", [[1, 1.5], [5, 1], [0, 2**40], 7]),
            (REGION, "left_edges", [[], "text", ["a"], [1.5], [1, 2], [0, 2**31 - 1], 7]),
            (REGION, "width", [0, -1, "x", 2**40]),
        ],
    )
    def test_values_that_are_refused_change_nothing(self, config, key, values):
        service = Restream(response_topic="answers")
        service.command(command(HIST1D), now=0)
        before = (service.generation, service.subscriptions)
        for value in values:
            out = service.command(command(HIST1D, {**config, key: value}, msg_id="m"), now=0)
            assert [json.loads(o.value)["response"] for o in out] == ["ERR"], value
        assert (service.generation, service.subscriptions, service.states) == (*before, ["INITIALISED"])

    def test_brokers_and_topics_may_stand_once_for_all(self):
        less = {k: v for k, v in HIST1D.items() if k not in PLACES}
        (found,) = read_command(command(less, **PLACES), now=0).histograms
        assert (found.brokers, found.data_topics) == (("localhost:9092",), ("events",))

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data):
        service = Restream(response_topic="answers")
        service.command(data, now=0)
        assert message_id(data) is None or isinstance(json.loads(data), dict)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda x: st.lists(x) | st.dictionaries(st.sampled_from([*HIST1D, *IMAGE, "left_edges"]), x),
            max_leaves=8,
        ),
        st.sampled_from(sorted({**HIST1D, **IMAGE, **REGION})),
        st.sampled_from([HIST1D, HIST2D, IMAGE, REGION]),
    )
    def test_any_value_anywhere(self, value, key, config):
        service = Restream(response_topic="answers")
        out = service.command(command({**config, key: value}, msg_id="m"), now=0)
        assert json.loads(out[-1].value)["response"] in ("ACK", "ERR")

    def test_deep_nesting(self):
        assert Restream(response_topic="a").command(b"[" * 100_000, now=0) == []

    def test_subscriptions(self):
        service = Restream()
        assert service.subscriptions == ()
        other = {**HIST2D, "data_topics": ["more", "events"]}
        service.command(command(HIST1D, other, start=77), now=0)
        brokers = ("localhost:9092",)
        assert service.subscriptions == (Subscription(brokers, "events", 77), Subscription(brokers, "more", 77))
        service.command(b'{"cmd": "stop"}', now=0)
        assert service.subscriptions == ()


class TestCounting:
    def test_messages_from_the_start_time_on(self):
        (first, second) = after(command(HIST1D, {**HIST2D, "num_bins": 10}, start=1000 * SECOND), PULSES)
        assert (first[0].sum(), second[0].sum()) == (28, 28)
        assert first[1]["state"] == "COUNTING"

    def test_messages_out_of_order(self):
        assert after(command(HIST1D, start=1000 * SECOND), PULSES[2:] + PULSES[:2])[0][0].sum() == 28

    def test_all_before_the_start(self):
        counts, info = after(command(HIST1D, start=1100 * SECOND), PULSES)[0]
        assert (counts.sum(), info["state"]) == (0, "INITIALISED")

    def test_messages_up_to_the_stop_time(self):
        counts, info = after(command(HIST1D, stop=1001 * SECOND), PULSES)[0]
        assert (counts.sum(), info["state"], info["stop"]) == (15, "FINISHED", 1001 * SECOND)
        assert "start" not in info

    def test_all_after_the_stop(self):
        counts, info = after(command(HIST1D, stop=900 * SECOND), PULSES)[0]
        assert (counts.sum(), info["state"]) == (0, "FINISHED")

    def test_not_over_while_another_partition_may_hold_earlier_messages(self):
        service = Restream()
        service.command(command(HIST1D, stop=1001 * SECOND), now=2000 * SECOND)
        service.events([PULSES[4]])
        assert shown(service.tick(2001 * SECOND, behind=[("events", 1)])[0])[1]["state"] == "INITIALISED"
        service.events([PULSES[2]._replace(partition=1)])
        counts, info, _ = shown(service.tick(2002 * SECOND, behind=[("events", 0), ("other", 1)])[0])
        assert (counts.sum(), info["state"]) == (4, "FINISHED")

    def test_the_clock_ends_it_where_no_message_does(self):
        service = Restream()
        service.command(command(HIST1D, interval=2), now=1000 * SECOND)
        service.events(PULSES[2:4])
        for now, state in ((1006 * SECOND, "COUNTING"), (1007 * SECOND, "COUNTING"), (1007 * SECOND + 1, "FINISHED")):
            found = service.tick(now)
            if found:
                assert shown(found[0])[1]["state"] == state
        assert service.states == ["FINISHED"]
        assert service.tick(1010 * SECOND) == []
        service.events(PULSES)
        assert service.command(b'{"cmd": "stop"}', now=1011 * SECOND) == []

    def test_history_is_read_to_its_end_before_the_clock_ends_it(self):
        service = Restream()
        service.command(command(HIST1D, start=998 * SECOND, stop=1002 * SECOND), now=5000 * SECOND)
        service.tick(5001 * SECOND, behind=[("events", 0)])
        service.events(PULSES)
        counts, info, _ = shown(service.tick(5002 * SECOND)[0])
        assert (counts.sum(), info["state"]) == (31, "FINISHED")

    def test_of_one_source_only(self):
        mixed = [PULSES[0], pulse(999 * SECOND, 2, source="other")]
        found = after(command({**HIST1D, "source": "other"}, HIST1D, {**HIST1D, "source": "  "}), mixed)
        assert [c.sum() for c, _ in found] == [2, 3, 3]
        assert found[0][1]["ledger"] == {
            "events": 3, "binned": 2, "below": 0, "above": 0, "unknown": 0, "masked": 0, "nan": 0, "other_source": 1
        }  # fmt: skip
        # A message of another source does begin the counting, as it does in just-bin-it.
        counts, info = after(command({**HIST1D, "source": "none"}), mixed)[0]
        assert (counts.sum(), info["state"], info["last_pulse_time"]) == (0, "COUNTING", 0)

    def test_topics_are_told_apart_and_all_are_read(self):
        found = after(
            command({**HIST1D, "data_topics": ["more", "events"]}, HIST1D),
            [PULSES[0], pulse(1, 2, topic="more"), pulse(1, 4, topic="no")],
        )
        assert [c.sum() for c, _ in found] == [3, 1]

    @pytest.mark.parametrize("write", [ev42.write, ev44.write, an44.write], ids=["ev42", "ev44", "an44"])
    @pytest.mark.parametrize("named", [True, False])
    def test_schemas_of_events(self, write, named):
        name = write(EventMessage("s", 1, np.array([1]), np.array([0]), np.array([1]), np.array([1])))[4:8].decode()
        more = {"input_schema": name} if named else {}
        assert after(command(HIST1D, **more), [pulse(1, 4, write=write)])[0][0].sum() == 4

    def test_many_pulses_of_a_message(self):
        times = np.array([5, 7], np.int64) * 10**9
        one = EventMessage("s", 1, times, np.array([0, 2]), np.array([1, 2, 3]), np.array([1, 2, 3]))
        counts, info = after(command(HIST1D, input_schema="ev44"), [Received("events", 0, 1, ev44.write(one))])[0]
        assert (counts.sum(), info["last_pulse_time"]) == (3, 7 * 10**9)

    def test_monitors_have_no_pixels(self):
        found = after(
            command(HIST1D, {**HIST1D, "det_range": [0, 100]}, IMAGE),
            [pulse(1, 4, write=ev44.write, pixels=False), pulse(1, 2)],
        )
        assert [c.sum() for c, _ in found] == [6, 2, 2]
        assert found[1][1]["ledger"]["nan"] == 4

    def test_what_cannot_be_read_is_counted(self):
        service = Restream()
        service.command(command(HIST1D, input_schema="ev42"), now=0)
        bad = [b"", b"x" * 30, PULSES[0].value[:40], pulse(1, 3, write=ev44.write).value]
        service.events([Received("events", 0, 1, value) for value in bad])
        assert (service.broken, service.states) == (4, ["INITIALISED"])

    def test_reset(self):
        service = Restream()
        service.command(command(HIST1D, HIST2D), now=0)
        service.events(PULSES)
        service.tick(SECOND)
        assert service.command(b'{"cmd": "reset_counts"}', now=1200) == []
        for out in service.tick(2 * SECOND):
            counts, info, _ = shown(out)
            assert (counts.sum(), info["sum"], info["diff"], info["rate"], info["state"]) == (0, 0, 0, 0, "COUNTING")
        service.events(PULSES[:2])
        assert [shown(out)[0].sum() for out in service.tick(3 * SECOND)] == [3, 3]

    def test_stop_publishes_the_last_state(self):
        service = Restream(response_topic="answers")
        service.command(command(HIST1D), now=0)
        service.events(PULSES)
        out = service.command(b'{"cmd": "stop", "msg_id": "m"}', now=SECOND)
        counts, info, _ = shown(out[0])
        assert (counts.sum(), info["state"], json.loads(out[1].value)["response"]) == (31, "FINISHED", "ACK")
        service.events(PULSES)
        assert (service.tick(9 * SECOND), service.states) == ([], [])

    def test_a_new_configuration_ends_the_old_one(self):
        service = Restream()
        service.command(command(HIST1D), now=0)
        service.events(PULSES)
        old, new = service.command(command({**HIST2D, "topic": "new"}), now=SECOND)
        assert (old.topic, shown(old)[1]["state"], shown(old)[0].sum()) == ("out1", "FINISHED", 31)
        assert (new.topic, shown(new)[1]["state"], shown(new)[0].sum()) == ("new", "INITIALISED", 0)

    def test_a_topic_that_fails(self):
        service = Restream()
        service.command(command(HIST1D, {**HIST2D, "data_topics": ["more"]}, start=5), now=0)
        service.events(PULSES)
        (out,) = service.failed("events", "Cannot find the start time", now=SECOND)
        counts, info, _ = shown(out)
        assert (counts.sum(), info["state"], info["error_message"], info["start"]) == (
            31,
            "ERROR",
            "Cannot find the start time",
            5,
        )
        assert service.states == ["ERROR", "INITIALISED"]
        assert [o.topic for o in service.tick(2 * SECOND)] == ["out2"]


class TestPublishing:
    def test_at_once_and_then_every_half_second(self):
        service = Restream()
        (first,) = service.command(command(HIST1D), now=100)
        assert (first.topic, first.brokers, shown(first)[0].sum()) == ("out1", ("localhost:9092",), 0)
        times = [now for now in range(110, 2600, 10) if service.tick(now)]
        assert times == [110, 500, 1000, 1500, 2000, 2500]

    @pytest.mark.parametrize(
        ("name", "read"), [("hs00", hs00.read_histogram), ("hs01", hs01.read_histogram), ("da00", da00.read_histogram)]
    )
    def test_schemas_of_histograms(self, name, read):
        service = Restream()
        (out,) = service.command(command(HIST1D, output_schema=name), now=1234)
        assert out.value[4:8].decode() == name
        _, info, made = shown(out, read)
        assert (made.source, made.timestamp, made.data.dtype) == ("just-bin-it", 1234 * 10**6, np.float64)
        assert made.axes[0].edges.tolist() == np.linspace(0, 100, 51).tolist()
        assert info["id"] == "one"

    def test_hs00_unless_something_else_is_said(self):
        assert Restream().command(command(HIST1D), now=0)[0].value[4:8] == b"hs00"

    def test_info(self):
        service = Restream()
        service.command(
            command({**HIST1D, "id": "a"}, {k: v for k, v in HIST2D.items() if k != "id"}, start=1, stop=10**9), now=0
        )
        service.events(PULSES[:3])
        first, second = (shown(o)[1] for o in service.tick(SECOND))
        assert (first["id"], second["id"], first["start"], first["stop"]) == ("a", "", 1, 10**9)
        assert set(first) == {
            "id",
            "start",
            "stop",
            "state",
            "last_pulse_time",
            "sum",
            "diff",
            "rate",
            "ledger",
            "sequence",
        }
        assert (first["sum"], first["diff"], first["last_pulse_time"]) == (7, 7, 1000 * 10**9)
        assert first["rate"] == 7 / 1000
        service.events(PULSES[3:])
        info = shown(service.tick(2 * SECOND)[0])[1]
        assert (info["sum"], info["diff"], info["rate"]) == (31, 24, 12.0)
        again = shown(service.tick(3 * SECOND)[0])[1]  # nothing new: what was said last stays
        assert (again["diff"], again["rate"], again["sum"]) == (24, 12.0, 31)
        service.events([PULSES[4]])  # more of the same pulse: a rate cannot be told
        info = shown(service.tick(4 * SECOND)[0])[1]
        assert (info["diff"], info["rate"]) == (16, 0)

    def test_heartbeat(self):
        one = x5f2.Heartbeat(software_name="here", update_interval=1000, process_id=7)
        service = Restream(heartbeat_topic="beats", identity=one)
        times = [now for now in range(100, 3500, 100) if service.tick(now)]
        assert times == [100, 1000, 2000, 3000]
        (out,) = service.tick(4000)
        assert (out.topic, x5f2.read(out.value)) == ("beats", one)
        assert Restream().tick(1000) == []


class TestTypes:
    @given(
        st.lists(st.integers(-5, 130), max_size=50), st.integers(1, 12), st.sampled_from([(0, 100), (7, 99), (5, 5)])
    )
    def test_hist1d_is_numpys(self, values, bins, span):
        counts, _ = after(
            command({**HIST1D, "num_bins": bins, "tof_range": span}), [pulse(1, values, write=ev44.write)]
        )[0]
        assert np.array_equal(counts, np.histogram(values, bins, span)[0])

    @given(st.lists(st.integers(0, 130), max_size=50), st.sampled_from([(0, 100), (7, 42)]))
    def test_hist1d_of_some_pixels(self, values, span):
        counts, _ = after(command({**HIST1D, "det_range": span}), [pulse(1, values)])[0]
        expected = np.histogram2d(values, values, 50, ((0, 100), span))[0].sum(1)
        assert np.array_equal(counts, expected)

    @given(st.lists(st.integers(0, 130), max_size=50), st.sampled_from([7, [5, 4], [1, 1]]))
    def test_hist2d_is_numpys(self, values, bins):
        counts, _ = after(command({**HIST2D, "num_bins": bins}), [pulse(1, values)])[0]
        assert np.array_equal(counts, np.histogram2d(values, values, bins, ((0, 100), (0, 100)))[0])

    def test_image(self):
        out = Restream().command(command(IMAGE), now=0)[0]
        assert [a.edges.tolist() for a in shown(out)[2].axes] == [[0, 1, 2, 3, 4], [0, 1, 2, 3]]
        # each pixel as often as its number says
        values = np.repeat(np.arange(20), np.arange(20))
        for high in (12, 13):  # whether it means the last pixel or the one after it
            counts, info = after(command({**IMAGE, "det_range": [1, high]}), [pulse(1, values)])[0]
            assert counts.T.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
            assert info["ledger"]["unknown"] == sum(range(13, 20))

    def test_image_of_some_pixels(self):
        values = np.arange(20)
        counts, _ = after(command({**IMAGE, "det_range": [6, 7]}), [pulse(1, values)])[0]
        assert counts.T.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
        counts, _ = after(command({**IMAGE, "det_range": [101, 112]}), [pulse(1, values + 100)])[0]
        assert counts.sum() == 12

    @pytest.mark.parametrize(
        ("width", "left_edges", "expected"),
        [
            (3, [7, 12], [[7, 8, 9], [12, 13, 14]]),
            (5, [1, 6, 11, 16], [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 15], [16, 17, 18, 19, 20]]),
            (2, [4, 9], [[4, 5], [9, 10]]),
            (1, [20], [[20]]),
            (4, [16, 25, 34], [[16, 17, 18, 19], [25, 26, 27, 28], [34, 35, 36, 37]]),  # a rhomboid
            (2, [9, 4], [[9, 10], [4, 5]]),
        ],
    )
    def test_region(self, width, left_edges, expected):
        values = np.repeat(np.arange(51), np.arange(51))
        config = {**REGION, "width": width, "left_edges": left_edges}
        counts, info = after(command(config), [pulse(1, values), pulse(2, [0, 200])])[0]
        assert counts.shape == (width, len(left_edges))
        assert counts.T.tolist() == expected
        ledger = info["ledger"]
        assert ledger["events"] == sum(v for k, v in ledger.items() if k != "events") == values.size + 2

    def test_pixels_beyond_everything(self):
        extreme = [2**31 - 1, -(2**31), 0]
        found = after(command(HIST1D, HIST2D, IMAGE, REGION), [pulse(1, extreme, write=ev44.write)])
        assert [c.sum() for c, _ in found] == [1, 1, 0, 0]
