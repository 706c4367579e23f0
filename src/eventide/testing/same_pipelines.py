"""Pipelines whose results must be the same on every engine, and the events that they read.

The events are made once, from a seed, and lie in files: libraries of different environments may draw different random
numbers, but they read the same bytes. Every pipeline's results depend on its events alone, not on how an engine cuts
them into batches; that is why nothing here reads a clock or asks for panes at a count of events.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.pipeline import Analysis
from eventide.apps.gamma.pipeline import analyse as showers
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate import Flare, Night
from eventide.apps.gamma.simulate.night import CRAB
from eventide.apps.gamma.site import made as made_array
from eventide.apps.neutron.instruments import AMOR
from eventide.apps.neutron.pipeline import reduce
from eventide.apps.neutron.simulate import simulate as pulses
from eventide.apps.sensors.pipeline import analyse, decode
from eventide.apps.sensors.simulate import simulate
from eventide.apps.sensors.verify import DAY, read_text
from eventide.formats import arrow
from eventide.model import aggregate as agg
from eventide.model.graph import AsofJoin, IntervalJoin
from eventide.model.stream import Stream, read
from eventide.model.time import EVENT_TIME
from eventide.model.window import count_window, global_window, session, sliding, tumbling
from eventide.testing._compare import rows_of
from eventide.testing.crash.bursts import BURSTS, Bursts

__all__ = ["CASES", "PARSED", "Case", "parse_lines", "write_inputs"]

_SECOND = 1_000_000_000
_START = 1_767_225_600 * _SECOND  # 2026-01-01
_DISORDER = 5  # seconds by which an event may arrive after a younger one
PARSED = pa.schema([("time", EVENT_TIME), ("station", pa.string()), ("energy", pa.float64()), ("sign", pa.int64())])

Case: TypeAlias = Callable[[Path], Mapping[str, Stream]]
"""From the folder of the events to streams by the names of their results."""


def write_inputs(folder: Path, *, rows: int = 12_000, seed: int = 17) -> None:
    """Write the events that the pipelines read, as Arrow files.

    Parameters
    ----------
    folder
        Where they go; it is made.
    rows
        Number of events of the largest stream that is made up.
    seed
        The same seed gives the same events, with the same numpy.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_inputs(Path(folder), rows=100)
    ...     sorted(p.name for p in Path(folder).iterdir())
    ['events.arrow', 'images.arrow', 'lines.arrow', 'marks.arrow', 'pulses.arrow', 'readings.arrow']
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    events = _events(rng, rows, keys=37)
    files = {
        "events": events,
        "marks": _events(rng, rows // 5, keys=41),
        "lines": _lines(events),
        "readings": _readings(rows),
        "pulses": _pulses(rng),
        "images": _images(rng),
    }
    for name, batch in files.items():
        (folder / f"{name}.arrow").write_bytes(arrow.encode(batch))


def _events(rng: np.random.Generator, rows: int, *, keys: int) -> pa.RecordBatch:
    """Return events of ten minutes, no two at one time, each up to some seconds out of order."""
    spacing = 600 * _SECOND // max(rows, 1)
    times = _START + np.arange(rows) * spacing + rng.integers(0, spacing, rows)
    arrival = np.argsort(times + rng.integers(0, _DISORDER * _SECOND, rows), kind="stable")
    # Sensors pause now and then, so that sessions end in the middle and not only at the end.
    sensor = (rng.integers(0, keys, rows) * ((times // (7 * _SECOND)) % 5 + 1)) % keys
    value = np.round(rng.normal(20.0, 5.0, rows), 3) * 10.0 ** rng.integers(-3, 3, rows)
    names = pa.array([f"s{n:02d}" for n in range(keys)]).take(pa.array(sensor))
    columns = {
        "time": pa.array(times, EVENT_TIME),
        "name": names,
        "sensor": sensor,
        "value": value,
        "id": np.arange(rows),
    }
    return pa.record_batch(columns).take(pa.array(arrival))


def _lines(events: pa.RecordBatch) -> pa.RecordBatch:
    """Return the events as text that takes some Python to read; every fiftieth is no event."""
    lines = []
    for moment, name, _, value, number in rows_of(events):
        record = {"t": moment, "at": {"station": name}, "p": [value, number % 17 - 8.0, 1.5]}
        lines.append(json.dumps(record) if number % 50 else f"# {number}")
    return pa.record_batch({"line": pa.array(lines, pa.string())})


def _readings(rows: int) -> pa.RecordBatch:
    """Return a day of sensor readings: the real one where EVENTIDE_DATA has it, else a simulated one."""
    real = Path(os.environ.get("EVENTIDE_DATA", "")) / "sensors" / "aot" / DAY
    if os.environ.get("EVENTIDE_DATA") and real.is_file():
        return read_text(real).combine_chunks().to_batches()[0]
    return simulate(10, incidents=6).readings.slice(0, 15 * rows // 2)  # half of the day, with incidents in it


def _pulses(rng: np.random.Generator) -> pa.RecordBatch:
    """Return pulses of a reflectometer, out of order, some of them lost and some sent twice."""
    made = pulses("amor", seconds=20, rate=5_000).combine_chunks()
    times = made["event_time"].cast(pa.int64()).to_numpy()
    there = np.flatnonzero(rng.random(times.size) > 0.05)
    there = np.append(there, rng.choice(there, there.size // 10, replace=False))
    arrival = np.argsort(times[there] + rng.integers(0, _DISORDER * _SECOND, there.size), kind="stable")
    return made.take(pa.array(there[arrival])).combine_chunks().to_batches()[0]


def _images(rng: np.random.Generator) -> pa.RecordBatch:
    """Return images of an array that sees a flare: some come twice, some late, of a telescope that joins late."""
    night = Night(made_array(5), hadrons=30.0, gammas=1.0, flares=[Flare(2.0, 10.0, 15.0)], joins={5: 4.0})
    made = night.table(12).combine_chunks()
    made = made.set_column(6, made.field(6), pa.nulls(made.num_rows, made.field(6).type))  # peak times: not used
    order = np.append(np.arange(made.num_rows), rng.choice(made.num_rows, made.num_rows // 20, replace=False))
    times = made["time"].cast(pa.int64()).to_numpy()[order]
    delay = np.where(rng.random(order.size) < 0.05, 6 * _SECOND, rng.integers(0, _SECOND, order.size))
    return made.take(pa.array(order[np.argsort(times + delay, kind="stable")])).combine_chunks().to_batches()[0]


def parse_lines(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the events of lines of JSON, read and reckoned line by line in plain Python.

    Examples
    --------
    >>> line = '{"t": 5, "at": {"station": "s1"}, "p": [3.0, 4.0, 0.0]}'
    >>> parse_lines(pa.record_batch({"line": [line, "# a remark"]}))["energy"].to_pylist()
    [5.0]
    """
    rows = []
    for line in batch["line"].to_pylist():
        if line.startswith("#"):
            continue
        record = json.loads(line)
        energy = math.sqrt(sum(p * p for p in record["p"]))
        rows.append((record["t"], record["at"]["station"], energy, 1 if record["p"][1] > 0 else -1))
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return pa.RecordBatch.from_arrays(
        [pa.array(list(c), f.type) for c, f in zip(columns, PARSED, strict=True)], schema=PARSED
    )


def _stream(folder: Path, name: str, *, lateness: str = f"{_DISORDER}s") -> Stream:
    timed = read(f"file://{folder}/{name}.arrow", name=name).event_time("time", lateness=lateness)
    return timed.key_by("name")


def _sensors(folder: Path) -> Mapping[str, Stream]:
    """The job of the sensor application: anomalies, alarms, incidents and what cannot be used."""
    found = analyse(decode(read(f"file://{folder}/readings.arrow", name="readings")))
    return {"anomalies": found.anomalies, "alarms": found.alarms, "incidents": found.incidents, "dirty": found.dirty}


def _windows(folder: Path) -> Mapping[str, Stream]:
    """Every kind of window, and windows of windows."""
    events = _stream(folder, "events")
    tumbling_ = events.window(tumbling("10s")).aggregate(
        n=agg.count(), total=agg.sum_("value"), mean=agg.mean("value"), std=agg.std("value")
    )
    return {
        "tumbling": tumbling_,
        "sliding": events.window(sliding("10s", "2s")).aggregate(n=agg.count(), high=agg.max_("value")),
        "session": events.window(session("2s")).aggregate(n=agg.count(), middle=agg.quantile("value", 0.5)),
        "count": events.window(count_window(100)).aggregate(first=agg.first("id"), total=agg.sum_("value")),
        "global": events.window(global_window()).aggregate(n=agg.count(), last=agg.last("id"), var=agg.var("value")),
        "windows": tumbling_.key_by("name").window(tumbling("60s")).aggregate(n=agg.count(), events=agg.sum_("n")),
    }


def _late_sessions(folder: Path) -> Mapping[str, Stream]:
    """Sessions of events of which some come late: late panes, and those that are too late."""
    events = _stream(folder, "events", lateness="1s")
    sessions = events.window(session("2s"), allowed_lateness="1s").aggregate(n=agg.count(), total=agg.sum_("value"))
    return {"sessions": sessions, "late": sessions.side("late")}


def _interval_join(folder: Path) -> Mapping[str, Stream]:
    """Events and marks of one sensor that are near in time."""
    events, marks = _stream(folder, "events"), _stream(folder, "marks")
    return {"pairs": events.join(marks, IntervalJoin(-_SECOND, _SECOND // 2), how="left")}


def _asof_join(folder: Path) -> Mapping[str, Stream]:
    """Every event with the newest mark before it."""
    events, marks = _stream(folder, "events"), _stream(folder, "marks")
    return {"newest": events.join(marks, AsofJoin(3 * _SECOND), how="left")}


def _timers(folder: Path) -> Mapping[str, Stream]:
    """A process with a value, rows and a timer for each key."""
    events = read(f"file://{folder}/events.arrow", name="events").event_time("time", lateness=f"{_DISORDER}s")
    return {"bursts": events.key_by("sensor").process(Bursts(2 * _SECOND), schema=BURSTS, name="collected")}


def _python_map(folder: Path) -> Mapping[str, Stream]:
    """A function in plain Python, line by line, and windows of what it returns."""
    parsed = read(f"file://{folder}/lines.arrow", name="lines").map_batches(parse_lines, schema=PARSED, name="parse")
    timed = parsed.event_time("time", lateness=f"{_DISORDER}s").key_by("station", "sign")
    return {"energies": timed.window(tumbling("15s")).aggregate(n=agg.count(), mean=agg.mean("energy"))}


def _neutron(folder: Path) -> Mapping[str, Stream]:
    """The job of the neutron application: histograms with their ledgers, monitors, messages that are missing."""
    source = read(f"file://{folder}/pulses.arrow", name="pulses")
    found = reduce(source, AMOR, bins=100, volume_every="10s", lateness=f"{_DISORDER}s")
    assert found.gaps is not None
    streams = {"histograms": found.histograms, "volumes": found.volumes, "monitors": found.monitors}
    return streams | {"gaps": found.gaps}


def _gamma(folder: Path) -> Mapping[str, Stream]:
    """The job of the gamma application: images to showers, to gamma rays, to alerts, and images that went elsewhere."""
    how = Analysis(made_array(5), OnOff(*CRAB, radius=0.17), period="1m", threshold=4.0, every="5s")
    found = showers(read(f"file://{folder}/images.arrow", name="images"), how)._asdict()
    return {name: stream for name, stream in found.items() if name != "unwatched"}  # of runs that hurry only


CASES: Mapping[str, Case] = {
    "sensors": _sensors,
    "windows": _windows,
    "late-sessions": _late_sessions,
    "interval-join": _interval_join,
    "asof-join": _asof_join,
    "timers": _timers,
    "python-map": _python_map,
    "neutron": _neutron,
    "gamma": _gamma,
}
