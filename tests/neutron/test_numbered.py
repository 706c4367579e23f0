"""Duplicates and gaps in a pipeline: whatever the order, the batches, the stops; and the ledger that adds up."""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.neutron.instruments import AMOR, SANS2D
from eventide.apps.neutron.numbered import GAPS, numbered
from eventide.apps.neutron.operators import SEEN
from eventide.apps.neutron.pipeline import pipeline, read_in, reduce
from eventide.apps.neutron.schema import PULSES
from eventide.apps.neutron.simulate import simulate
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import PipelineError
from eventide.model.time import EVENT_TIME
from eventide.testing.operators import OperatorSuite
from eventide.testing.strategies import SECOND

WITHIN = 5 * SECOND


def naive(rows):
    """Kept rows, duplicates and gaps of rows (time, source, number, pulse, ...) in order: one row after the other."""
    kept, again, known = [], [], set()
    for row in rows:
        identity = row[1:4] + row[:1]
        (again if row[2] is not None and identity in known else kept).append(row)
        known.add(identity)
    by_source = defaultdict(list)
    for row in kept:
        if row[2] is not None and not row[3]:
            by_source[row[1]].append((row[0], row[2]))
    gaps = []
    for source, messages in by_source.items():
        messages.sort()
        expected, owed, before = None, set(), 0
        for at, (time, number) in enumerate(messages):
            if number in owed:
                owed.remove(number)
            else:
                if expected is None or number < expected:
                    soon = [n for t, n in messages[at:] if t <= time + WITHIN]
                    expected, owed = min(soon), set()
                ahead = set()
                for later, n in messages[at + 1 :]:
                    if later > time + WITHIN or (n < expected and n not in owed):
                        break
                    ahead |= {n} & set(range(expected, number))
                missing = [n for n in range(expected, number) if n not in ahead]
                runs = np.split(np.array(missing), np.flatnonzero(np.diff(missing) > 1) + 1) if missing else []
                gaps += [(time + WITHIN, source, int(r[0]), int(r[-1]), len(r), before, time) for r in runs]
                owed |= ahead
                expected = number + 1
            before = time
    return kept, again, gaps


class TestNumbered(OperatorSuite):
    keys = ()
    forgets = False  # the next number of every source stays known

    def events(self):
        @st.composite
        def tables(draw):
            size = draw(st.integers(0, 25))
            seconds = sorted(draw(st.lists(st.integers(0, 40), min_size=size, max_size=size)))
            one = st.tuples(
                st.sampled_from(["a", "b", None]), st.none() | st.integers(0, 9), st.sampled_from([0, 0, 1, None])
            )
            rest = draw(st.lists(one, min_size=size, max_size=size))
            rows = [(s * SECOND, *r) for s, r in zip(seconds, rest, strict=True)]
            # What is the same message has the same events: their number follows from the rest.
            events = [[hash(str(r)) % 7] * (hash(str(r)) % 3) for r in rows]
            return pa.table(
                {
                    "time": pa.array([r[0] for r in rows], EVENT_TIME),
                    "source": pa.array([r[1] for r in rows], pa.string()),
                    "message_id": pa.array([r[2] for r in rows], pa.int64()),
                    "pulse": pa.array([r[3] for r in rows], pa.int32()),
                    "time_of_flight": pa.array(events, pa.list_(pa.int32())),
                    "pixel_id": pa.array([e if r[1] == "a" else None for e, r in zip(events, rows, strict=True)],
                                         pa.list_(pa.int32())),
                }
            )  # fmt: skip

        return tables()

    def apply(self, stream):
        made = numbered(stream, within="5s")
        return {"main": made, "duplicates": made.side("duplicates"), "gaps": made.side("gaps")}

    def reference(self, events):
        plain = events.set_column(0, "time", events["time"].cast(pa.int64()))
        rows = [tuple(r.values()) for r in plain.to_pylist()]
        kept, again, gaps = naive([(r[0], r[1], r[2], r[3] or 0, r) for r in rows])
        main = [(*r[4], 0, 0) for r in kept]
        main += [(*r[4][:4], [], None if r[4][5] is None else [], len(r[4][4]), 0) for r in again]
        schema = pa.schema([*events.schema, ("duplicate", pa.int64()), ("late", pa.int64())])
        return {
            "main": table_of(main, schema),
            "duplicates": table_of([r[4] for r in again], events.schema),
            "gaps": table_of(gaps, GAPS),
        }


def table_of(rows, schema):
    return pa.table({f.name: pa.array([r[at] for r in rows], f.type) for at, f in enumerate(schema)}, schema=schema)


def disordered(pulses, rng, *, repeat, lose, disorder):
    """Return pulses as they come (batches), and how many events were sent twice and lost, by source."""
    rows = list(range(pulses.num_rows))
    # the first and the last of a source stay: nobody can know that these are missing
    ends = {}
    for at, source in enumerate(pulses["source"].to_pylist()):
        ends.setdefault(source, [at, at])[1] = at
    lost = {at for at in rows if rng.random() < lose} - {at for pair in ends.values() for at in pair}
    kept = [at for at in rows if at not in lost]
    sent = kept + [at for at in kept if rng.random() < repeat]
    times = pulses["event_time"].cast(pa.int64()).to_pylist()
    sent.sort(key=lambda at: times[at] + rng.random() * disorder)
    made = pulses.take(pa.array(sent)).combine_chunks()
    return made, lost, [at for at in kept if sent.count(at) > 1]


@pytest.mark.parametrize("seed", range(4))
def test_any_order_within_lateness_gives_the_same(seed):
    rng = random.Random(seed)
    pulses = simulate("amor", seconds=4, rate=5000, seed=seed).combine_chunks()
    found = {}
    for disorder in (0.0, 0.9e9):
        rng = random.Random(seed)
        made, lost, again = disordered(pulses, rng, repeat=0.2, lose=0.1, disorder=disorder)
        source = MemorySource(made.to_batches(max_chunksize=rng.randint(1, 40)))
        live = reduce(ev.read(source), AMOR, every="1s", lateness="1s", normalise="amor_monitor")
        found[disorder] = [ev.fetch(stream) for stream in live]
    for one, other in zip(*found.values(), strict=True):
        assert one.sort_by("event_time" if "event_time" in one.schema.names else "until") == other.sort_by(
            "event_time" if "event_time" in other.schema.names else "until"
        )
    histograms, _, monitors, gaps, _ = found[0.9e9]
    events = pulses["time_of_flight"].combine_chunks().value_lengths().to_pylist()
    sources = pulses["source"].to_pylist()
    for table, name in ((histograms, "amor_detector"), (monitors, "amor_monitor")):
        last = newest(table)
        mine = [at for at in range(pulses.num_rows) if sources[at] == name]
        assert last["events"] == sum(events[at] for at in mine if at not in lost)
        assert last["duplicate"] == sum(events[at] for at in again if at in mine)
        assert last["late"] == 0
    numbers = pulses["message_id"].to_pylist()
    told = {
        (row["source"], n)
        for row in gaps.drop_columns(["event_time", "before", "after"]).to_pylist()
        for n in range(row["first_missing"], row["last_missing"] + 1)
    }  # fmt: skip
    assert told == {(sources[at], numbers[at]) for at in lost}
    assert sum(gaps["missing"].to_pylist()) == len(lost)


def test_late_pulses_are_in_the_ledger():
    pulses = simulate("amor", seconds=6, rate=2000, seed=3).combine_chunks()
    first, rest = pulses.slice(0, 60), pulses.slice(60)
    source = MemorySource([*rest.to_batches(max_chunksize=7)[:20], *first.to_batches(), *rest.to_batches(7)[20:]])
    sinks = {name: MemorySink() for name in ("histograms", "monitors")}
    stream = ev.read(source)
    live = reduce(stream, AMOR, every="1s", lateness="1s")
    result = ev.run(pipeline_of(live, sinks))
    last = {name: newest(sink.table()) for name, sink in sinks.items()}
    lengths = pulses["time_of_flight"].combine_chunks().value_lengths().to_pylist()
    monitor = pulses["source"].to_pylist()
    assert result.late == 60
    for name, is_monitor in (("histograms", False), ("monitors", True)):
        mine = [n for n, s in zip(lengths, monitor, strict=True) if (s == "amor_monitor") == is_monitor]
        late = [n for n, s in zip(lengths[:60], monitor, strict=False) if (s == "amor_monitor") == is_monitor]
        assert last[name]["late"] == sum(late)
        assert last[name]["events"] + last[name]["late"] == sum(mine)
    assert result.ledger_balanced


def newest(table):
    """Return the ledger of the newest publication."""
    columns = ["events", "duplicate", "late"]
    return table.select(columns).slice(table.num_rows - 1).to_pylist()[0]


def pipeline_of(live, sinks):
    from eventide.model.pipeline import pipeline as joined

    parts = [live.histograms.write(sinks["histograms"]), live.monitors.write(sinks["monitors"])]
    return joined(*parts, name="test")


def test_of_events_one_by_one_nothing_is_left_out():
    live = reduce(ev.from_table({n: pa.array([], f.type) for n, f in zip(PULSES.names, PULSES, strict=True)}), AMOR)
    assert live.gaps is not None
    assert {"duplicate", "late"} <= set(SEEN[False].names) and not {"duplicate", "late"} & set(SEEN[True].names)


def test_a_stream_without_event_time_or_with_keys():
    stream = ev.read("log://pulses")
    with pytest.raises(PipelineError, match="event time"):
        numbered(stream)
    with pytest.raises(PipelineError, match="without keys"):
        numbered(stream.event_time("event_time").key_by("source"))


def test_the_pipeline_has_a_topic_of_gaps(tmp_path):
    pulses = simulate("amor", seconds=3, rate=1000)
    some = pa.concat_tables([pulses.slice(0, 20), pulses.slice(26)])
    log = str(tmp_path / "log")
    ev.run(ev.from_table(some).write("log://pulses", log=log))
    ev.run(pipeline(instrument="amor", log=log))
    found = ev.fetch(ev.read("log://gaps", log=log, follow=False))
    assert found.select(["source", "first_missing", "last_missing", "missing"]).to_pylist() == [
        {"source": "amor_detector", "first_missing": 10, "last_missing": 12, "missing": 3},
        {"source": "amor_monitor", "first_missing": 10, "last_missing": 12, "missing": 3},
    ]


@pytest.mark.parametrize("form", ["ev42", "ev44", "ev44_10pulses"])
def test_the_recording_of_sans2d_with_messages_lost_and_sent_twice(data_dir, form):
    path = data_dir / "neutron" / "sans2d" / "sans2d_stream.parquet"
    table = pq.read_table(path, filters=[("topic", "==", f"SANS2D_events_{form}")]).sort_by("offset")
    rng, rows = random.Random(8), list(range(table.num_rows))
    for lost in (set(), {5, 6, 11, 20}):
        sent = [at for at in rows if at not in lost]
        sent = sorted(sent + rng.sample(sent, len(sent) // 3), key=lambda at: at + rng.random() * 3)
        messages = table.select(["value"]).take(pa.array(sent)).combine_chunks()
        came = read_in(ev.read(MemorySource(messages.to_batches(max_chunksize=7))), form=form[:4])
        live = reduce(came.pulses, SANS2D, lateness="1m", within="10m")
        counted = newest(ev.fetch(live.histograms))
        events = table["n_events"].to_pylist()
        assert counted["events"] == 237_078 - sum(events[at] for at in lost)
        assert counted["events"] + counted["duplicate"] == sum(events[at] for at in sent)
        gaps = ev.fetch(live.gaps).select(["first_missing", "last_missing"]).to_pylist()
        assert [tuple(g.values()) for g in gaps] == ([(5, 6), (11, 11), (20, 20)] if lost else [])


@pytest.mark.parametrize("seed", range(3))
def test_late_and_duplicate_do_not_depend_on_batches(seed):
    pulses = simulate("amor", seconds=6, rate=1000, seed=seed).combine_chunks()
    made, _, _ = disordered(pulses, random.Random(seed), repeat=0.2, lose=0.0, disorder=3e9)
    found = []
    for rows in (1, 7, 1000):
        source = MemorySource(made.to_batches(max_chunksize=rows))
        live = reduce(ev.read(source), AMOR, every="1s", lateness="1s", within="2s", normalise="amor_monitor")
        found.append([ev.fetch(stream).sort_by(name) for stream, name in zip(live, ORDER, strict=True)])
    assert found[0] == found[1] == found[2]
    assert newest(found[0][0])["late"] > 0 and newest(found[0][0])["duplicate"] > 0


OF_TIME = [("until", "ascending"), ("product", "ascending")]
ORDER = [OF_TIME, OF_TIME, OF_TIME, [("event_time", "ascending"), ("source", "ascending")], OF_TIME]
