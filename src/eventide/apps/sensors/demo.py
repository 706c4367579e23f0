"""The demonstration: a simulated day through the log, once as fast as it goes and once at a pace to watch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide import registry
from eventide.apps.sensors.pacing import Announce, PacedDay
from eventide.apps.sensors.pipeline import analyse, decode, pipeline
from eventide.apps.sensors.plot import draw
from eventide.apps.sensors.simulate import Simulation, simulate, wire_a
from eventide.apps.sensors.verify import real_day, run_through_engine, verify
from eventide.model.pipeline import Pipeline
from eventide.model.stream import Stream, read
from eventide.model.time import duration

__all__ = ["run_demo", "run_real_day"]

_BATCH = 10_000
_BOOK_SECONDS = 2400
Say = Callable[[str], None]


def run_demo(out: Path, *, streams: int, seed: int, seconds: float, say: Say) -> dict[str, Any]:
    """Simulate a day, analyse it twice, draw it, and return what happened.

    Parameters
    ----------
    out
        Folder for the log and the plots.
    streams, seed
        Of the simulated day.
    seconds
        How long the second, watchable run takes; 0 leaves it out.
    say
        Takes lines of text for the person who watches.
    """
    day = simulate(streams, seed=seed)
    rows = day.readings.num_rows
    say(
        f"Simulated one day: {rows:,} readings of {streams} streams, {day.incidents.num_rows} incidents, "
        f"{day.dirty.num_rows} dirty values, uploads in blocks of half an hour."
    )
    folder = out / "demo-log"
    shutil.rmtree(folder, ignore_errors=True)
    written = _run(
        _source([pa.record_batch({"payload": wire_a(b)}) for b in day.batches(_BATCH)]).write(
            "log://readings", log=str(folder)
        ),
        out,
    )
    say(f"Wrote them as JSON records to the topic readings in {written.seconds:.2f} s.")
    job = pipeline(form="a", scored="scored", log=str(folder))
    result = _run(job, out)
    say(
        f"Analysed the day from the log in {result.seconds:.2f} s ({rows / result.seconds:,.0f} readings/s); "
        f"the book's run took {_BOOK_SECONDS // 60} minutes."
    )
    incidents, dirty = _topic("incidents", folder), _topic("dirty", folder)
    found = _overlaps(day, incidents)
    say(
        f"Found {incidents.num_rows} incidents, among them {found} of the {day.incidents.num_rows} that were put in."
        f" {dirty.num_rows} readings could not be used, each with its reason in the topic dirty."
    )
    again = _watch(day, seconds, out, say=say) if seconds > 0 else incidents.num_rows
    files = [
        draw(_topic("scored", folder), incidents, out / f"day.{kind}", title="The simulated day")
        for kind in ("png", "html")
    ]
    say("Plots: " + ", ".join(str(file) for file in files))
    say(f"Topics: `eventide log list --root {folder}`, `eventide tail alarms --log {folder}`.")
    return {
        "events": rows,
        "seconds": round(result.seconds, 3),
        "events_per_second": round(rows / result.seconds),
        "incidents": incidents.num_rows,
        "true_incidents": day.incidents.num_rows,
        "true_incidents_found": found,
        "dirty": dirty.num_rows,
        "late": result.late,
        "quarantined": result.quarantined,
        "plots": [str(file) for file in files],
        "ok": dirty.num_rows == day.dirty.num_rows
        and result.late == result.quarantined == 0
        and again == incidents.num_rows,
    }


def run_real_day(data: Path, out: Path, *, say: Say) -> dict[str, Any]:
    """Analyse the digitised real day, draw it, and return the golden figures.

    Parameters
    ----------
    data
        Folder with ``sensors/aot/``.
    out
        Folder for the plots.
    say
        Takes lines of text.
    """
    figures = verify(data)
    scored, incidents = run_through_engine(real_day(data / "sensors" / "aot"), {"band": "notebook17"})
    title = "Chicago, 2016-11-10 (digitised from the published figure)"
    files = [draw(scored, incidents, out / f"real-day.{kind}", title=title) for kind in ("png", "html")]
    say(f"The real day of 2016-11-10: {incidents.num_rows} incidents. Plots: " + ", ".join(map(str, files)))
    for row in incidents.sort_by("start").to_pylist():
        say("  " + _line(row))
    return {"ok": figures["ok"], "incidents": incidents.num_rows, "plots": [str(file) for file in files]}


def _watch(day: Simulation, seconds: float, out: Path, *, say: Say) -> int:
    say(f"The same day again at a pace to watch: 24 hours in {seconds:g} s.")
    told: list[dict[str, Any]] = []

    def tell(row: dict[str, Any]) -> None:
        told.append(row)
        say(f"  {time.monotonic() - began:5.1f} s  {_line(row)}")

    found = analyse(decode(read(PacedDay(day, seconds=seconds))))
    began = time.monotonic()
    _run(found.incidents.write(Announce(tell)), out)
    return len(told)


def _line(row: dict[str, Any]) -> str:
    minutes = (row["end"] - row["start"]).total_seconds() / 60
    return (
        f"{row['stream']:<28} {row['start']:%H:%M:%S} to {row['end']:%H:%M:%S} ({minutes:5.1f} min), "
        f"{row['n']:3d} anomal{'y,  ' if row['n'] == 1 else 'ies,'} peak score {row['peak_score']:.2f}"
    )


def _overlaps(day: Simulation, incidents: pa.Table) -> int:
    """Count the true incidents that a found one touches, up to a quarter of an hour after their end."""
    slack = duration("15m")
    found = incidents.select(["stream", "start", "end"]).cast(_NS).to_pylist()
    truth = day.incidents.select(["stream", "start", "end"]).cast(_NS).to_pylist()
    return sum(
        any(f["stream"] == t["stream"] and f["start"] <= t["end"] + slack and f["end"] >= t["start"] for f in found)
        for t in truth
    )


_NS = pa.schema([("stream", pa.string()), ("start", pa.int64()), ("end", pa.int64())])


def _source(batches: list[pa.RecordBatch]) -> Stream:
    return read(registry.resolve("connector", "memory").MemorySource(batches))


def _topic(name: str, folder: Path) -> pa.Table:
    sink = registry.resolve("connector", "memory").MemorySink()
    _run(read(f"log://{name}", log=str(folder), follow=False).write(sink), folder.parent)
    table: pa.Table = sink.table()
    return table


def _run(job: Pipeline, out: Path) -> Any:
    return registry.resolve("engine", "local").run(job, quarantine=str(out / "demo-log"))
