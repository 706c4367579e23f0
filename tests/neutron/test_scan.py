"""Scans against brute force: every event looked up in the log one by one."""

from __future__ import annotations

import bisect
import json
import random

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.neutron.commands import app
from eventide.apps.neutron.instruments import AMOR
from eventide.apps.neutron.logs import LOGS, decode_logs, value_of, with_value
from eventide.apps.neutron.scan import scan
from eventide.apps.neutron.simulate import simulate
from eventide.connectors.memory import MemorySource
from eventide.errors import UsageError
from eventide.formats import f142, f144
from eventide.kernel.histogram.axes import edges, uniform

START = 1_767_225_600 * 10**9  # 2026-01-01
BINS = 8


def moves(rng, seconds):
    """A log of a motor that goes in steps: positions while it moves, and a flag that is 1 when it stands still."""
    rows, clock, place = [], START - 10**8, 0.0
    while clock < START + seconds * 10**9:
        rows.append((clock, "idle", 0.0))
        for _ in range(rng.randint(1, 6)):
            clock += rng.randint(1, 10**8)
            place += rng.random() * 0.3
            rows.append((clock, "omega", place))
        clock += rng.randint(1, 3 * 10**7)
        rows.append((clock, "idle", 1.0))
        rows.append((clock, "temperature", rng.random()))
        clock += rng.randint(1, 6 * 10**8)
    return rows


def table_of(rows):
    return pa.table({f.name: pa.array([r[at] for r in rows], f.type) for at, f in enumerate(LOGS)}, schema=LOGS)


def newest(rows, source, time):
    """Return the value at a time; of several at one time the last."""
    mine = sorted((t, v) for t, s, v in rows if s == source)
    at = bisect.bisect_right([t for t, _ in mine], time)
    return mine[at - 1][1] if at else None


def brute(pulses, rows, regions, low, high, *, idle):
    counts = {name: np.zeros(BINS, np.int64) for name in regions}
    seen, ledger = np.zeros(BINS, np.int64), dict.fromkeys(("events", "vetoed", "nan", "outside"), 0)
    times = pulses["event_time"].cast(pa.int64()).to_pylist()
    for time, pixels in zip(times, pulses["pixel_id"].to_pylist(), strict=True):
        if pixels is None:
            continue
        ledger["events"] += len(pixels)
        place = newest(rows, "omega", time)
        if idle and not newest(rows, "idle", time):
            ledger["vetoed"] += len(pixels)
            continue
        if place is None:
            ledger["nan"] += len(pixels)
            continue
        if not low <= place < high:
            ledger["outside"] += len(pixels)
            continue
        at = int(np.searchsorted(np.linspace(low, high, BINS + 1), place, side="right")) - 1
        seen[at] += 1
        for name, mask in regions.items():
            counts[name][at] += sum(bool(mask[p]) for p in pixels)
    return counts, seen, ledger


@pytest.mark.parametrize(("seed", "idle"), [(1, True), (2, True), (3, False)])
def test_counts_are_those_of_brute_force(seed, idle):
    rng = random.Random(seed)
    pulses = simulate("amor", seconds=5, rate=3000, seed=seed)
    rows = moves(rng, 5)
    x = np.arange(AMOR.pixels) % 128
    regions = {"left": x < 64, "middle": (x > 40) & (x < 90), "all": np.ones(AMOR.pixels, bool)}
    low, high = 0.3, 2.5
    found = {}
    for disorder in (0, 9 * 10**8):
        order = sorted(range(pulses.num_rows), key=lambda at: at // 2 * 71_428_571 + rng.random() * disorder)
        logs = sorted(rows, key=lambda r: r[0] + rng.random() * disorder)
        source = MemorySource(
            pulses.take(pa.array(order)).combine_chunks().to_batches(max_chunksize=rng.randint(1, 30))
        )
        log = MemorySource(table_of(logs).to_batches(max_chunksize=rng.randint(1, 9)))
        made = scan(
            ev.read(source),
            ev.read(log),
            motor="omega",
            idle="idle" if idle else "",
            position=uniform("position", low, high, BINS),
            regions=regions,
        )
        found[disorder] = [
            ev.fetch(stream).sort_by([("until", "ascending"), ("product", "ascending")]) for stream in made
        ]
    assert found[0] == found[9 * 10**8]
    counts, seen, ledger = brute(pulses, rows, regions, low, high, idle=idle)
    table, alone = found[0]
    last = dict(zip(table["product"].to_pylist(), table["counts"].to_pylist(), strict=True))
    for name, expected in counts.items():
        assert last[name] == expected.tolist(), name
    assert sum(last["all"]) > 100
    assert alone["counts"].to_pylist()[-1] == seen.tolist()
    final = table.select(["events", "vetoed", "nan", "below", "above", "motor"]).to_pylist()[-3]
    assert (final["events"], final["vetoed"], final["nan"]) == (ledger["events"], ledger["vetoed"], ledger["nan"])
    assert final["below"] + final["above"] == ledger["outside"] and final["motor"] == "omega"


def test_logs_of_messages():
    messages = [
        f144.write(f144.LogValue("omega", 1.5, 10**18)),
        b"broken",
        f144.write(f144.LogValue("omega", 7, 10**18 + 1)),
    ]
    found = decode_logs(pa.record_batch({"value": pa.array(messages, pa.large_binary())}))
    assert found.schema == LOGS and found["value"].to_pylist() == [1.5, 7.0]
    old = [f142.write(f142.LogValue("omega", 2.5, 10**18))]
    assert decode_logs(pa.record_batch({"value": pa.array(old, pa.binary())}), "f142")["value"].to_pylist() == [2.5]
    with pytest.raises(UsageError, match="f143"):
        decode_logs(pa.record_batch({"value": pa.array(old, pa.binary())}), "f143")


def test_a_value_may_be_too_old():
    pulses = ev.from_table({"event_time": ["2026-01-01T00:00:01", "2026-01-01T00:00:09"]}).event_time("event_time")
    logs = ev.from_table({"event_time": ["2026-01-01"], "source": ["t"], "value": [4]})
    values = value_of(logs, "t").event_time("event_time")
    made = with_value(pulses, values, name="t", key=("sensor", "t"), columns=["event_time"], tolerance="5s")
    assert ev.fetch(made)["t"].to_pylist() == [4.0, None]


def test_the_temperature_of_the_recording(data_dir):
    import pyarrow.parquet as pq

    path = data_dir / "neutron" / "sans2d" / "sans2d_stream.parquet"
    table = pq.read_table(path, filters=[("topic", "==", "SANS2D_sampleEnv")])
    found = decode_logs(table.select(["value"]).combine_chunks().to_batches()[0])
    assert found.num_rows == 26 and found["source"].null_count == 0


def test_what_is_asked_for():
    pulses, logs = ev.read("log://pulses"), ev.read("log://logs")
    axis = edges("position", [0, 1])
    with pytest.raises(UsageError, match="no region"):
        scan(pulses, logs, motor="omega", position=axis, regions={})
    with pytest.raises(UsageError, match="'position'"):
        scan(pulses, logs, motor="omega", position=edges("angle", [0, 1]), regions={"all": [True]})


def test_the_edge_cases_of_the_file_writer_in_any_order(data_dir):
    """Messages before, after and out of order, and told twice: the same values, whatever the order of arrival."""
    folder = data_dir / "neutron" / "filewriter"
    for path in sorted(folder.glob("*.json")):
        told = [
            m for m in json.loads(path.read_text()) if m["schema"] == "f144" and isinstance(m["value"], int | float)
        ]
        rows = [(m["timestamp"] * 10**6, m["source_name"], float(m["value"])) for m in told]
        times = [t * 10**6 for t in range(4000, 13_000, 7)]
        pulses = pa.table({"event_time": pa.array(times, LOGS.field("event_time").type)})
        for source in sorted({s for _, s, _ in rows}):
            expected = [newest(rows, source, t) for t in times]
            for seed in range(5):
                mixed = random.Random(seed).sample(rows, len(rows))
                sent = [f144.write(f144.LogValue(s, v, t)) for t, s, v in mixed]
                batches = [decode_logs(pa.record_batch({"value": pa.array([m], pa.binary())})) for m in sent]
                values = value_of(ev.read(MemorySource(batches)), source).event_time("event_time", lateness="1h")
                timed = ev.from_table(pulses).event_time("event_time", lateness="1h")
                made = with_value(timed, values, name="delay", key=("log", source), columns=["event_time"])
                assert ev.fetch(made).sort_by("event_time")["delay"].to_pylist() == expected, (path.name, source)


def test_the_command(tmp_path):
    log = str(tmp_path / "log")
    pulses = simulate("amor", seconds=3, rate=2000, seed=9)
    sent = [f144.write(f144.LogValue("omega", 0.5 + k, START + k * 10**9)) for k in range(3)]
    messages = pa.table(
        {
            "timestamp": pa.array([START] * 3).cast(LOGS.field("event_time").type),
            "value": pa.array(sent, pa.large_binary()),
        }
    )
    ev.run(ev.from_table(pulses).write("log://pulses", log=log))
    ev.run(ev.from_table(messages).write("log://logs", log=log))
    told = [
        "--motor",
        "omega",
        "--low",
        "0",
        "--high",
        "3",
        "--bins",
        "3",
        "--region",
        "low=0-16383",
        "--region",
        "all=0-32767",
    ]
    done = CliRunner().invoke(app, ["scan", *told, "--instrument", "amor", "--log", log])
    assert done.exit_code == 0, done.output
    found = ev.fetch(ev.read("log://scan", log=log, follow=False))
    last = dict(zip(found["product"].to_pylist(), found["counts"].to_pylist(), strict=True))
    rows = [(START + k * 10**9, "omega", 0.5 + k) for k in range(3)]
    regions = {"low": np.arange(AMOR.pixels) < 16384, "all": np.ones(AMOR.pixels, bool)}
    for name, mask in regions.items():
        expected = [0, 0, 0]
        for time, pixels in zip(
            pulses["event_time"].cast(pa.int64()).to_pylist(), pulses["pixel_id"].to_pylist(), strict=True
        ):
            place = newest(rows, "omega", time)
            expected[int(place)] += sum(bool(mask[p]) for p in pixels or ())
        assert last[name] == expected
    assert ev.fetch(ev.read("log://scan-pulses", log=log, follow=False)).num_rows
