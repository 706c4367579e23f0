"""The demonstration: a simulated instrument through the log to histograms and a page, with no server; and SANS2D."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eventide import registry
from eventide.apps.neutron.instruments import Instrument, instrument
from eventide.apps.neutron.nexus import read_pulses
from eventide.apps.neutron.pipeline import pipeline
from eventide.apps.neutron.playback import Playback
from eventide.apps.neutron.plot import draw
from eventide.apps.neutron.simulate import Beam
from eventide.errors import MissingDependencyError
from eventide.model.pipeline import Pipeline
from eventide.model.stream import read
from eventide.model.time import instant

__all__ = ["run_demo", "run_real", "topic"]

Say = Callable[[str], None]


def run_demo(out: Path, *, name: str, seconds: float, rate: float, seed: int, say: Say) -> dict[str, Any]:
    """Simulate an instrument, count its events into histograms, draw them, and return what happened.

    Parameters
    ----------
    out
        Folder for the log and the plots.
    name
        Of the instrument.
    seconds, rate, seed
        How long, how many events a second, and which ones.
    say
        Takes lines of text for the person who watches.
    """
    one = instrument(name)
    beam = Beam(one, rate=rate, seed=seed, start=instant("2026-01-01"))
    by = one.monitors[0].name if one.monitors else ""
    title = f"{name}, simulated: {seconds:g} s at {rate:,.0f} events/s"
    return _shown(out, one, Playback(lambda: beam.batches(seconds)), title=title, stem=name, by=by, say=say)


def run_real(data: Path, out: Path, *, say: Say) -> dict[str, Any]:
    """Do the same with the real run of SANS2D.

    Parameters
    ----------
    data
        Folder with ``neutron/sans2d/``.
    out, say
        As for `run_demo`.
    """
    path = data / "neutron" / "sans2d" / "SANS_test_reduced.hdf5"
    title = "SANS2D at ISIS, 2016-04-12"
    try:
        pulses, one = Playback(lambda: read_pulses(path)), instrument("sans2d")
        return _shown(out, one, pulses, title=title, stem="real-sans2d", by="charge", say=say)
    except MissingDependencyError as error:
        say(f"SANS2D was left out: {error.message}")
        return {"ok": True, "left_out": error.message}


def _shown(out: Path, one: Instrument, pulses: Playback, *, title: str, stem: str, by: str, say: Say) -> dict[str, Any]:
    folder = out / f"{stem}-log"
    shutil.rmtree(folder, ignore_errors=True)
    written = _run(read(pulses).write("log://pulses", log=str(folder)), folder)
    say(f"{title}: {written.rows_in:,} pulses in the topic pulses, {written.seconds:.2f} s.")
    job = pipeline(instrument=one.name, every="2s", normalise=by, log=str(folder))
    result = _run(job, folder)
    tables = {name: topic(name, folder) for name in ("histograms", "monitors", *(["normalised"] if by else []))}
    spectrum = tables["histograms"].filter(pc.equal(tables["histograms"]["product"], "time_of_flight"))
    counted = max(spectrum["events"].to_pylist(), default=0)
    say(
        f"Counted {counted:,} events of the banks in {result.seconds:.2f} s "
        f"({counted / result.seconds:,.0f} events/s) into {len(set(tables['histograms']['product'].to_pylist()))} "
        f"histograms, {spectrum.num_rows} publications each."
    )
    files = [draw(tables, one, out / f"{stem}.{kind}", title=title) for kind in ("png", "html")]
    say("Plots: " + ", ".join(str(file) for file in files))
    say(f"Topics: `eventide log list --root {folder}`, `eventide neutron plot {stem}.html --log {folder}`.")
    return {
        "events": counted,
        "seconds": round(result.seconds, 3),
        "late": result.late,
        "quarantined": result.quarantined,
        "plots": [str(file) for file in files],
        "ok": counted > 0 and result.late == result.quarantined == 0,
    }


def topic(name: str, folder: Path | str) -> pa.Table:
    """Return what a topic of a log holds.

    Parameters
    ----------
    name
        Of the topic.
    folder
        Of the log; empty: the configured one.
    """
    sink = registry.resolve("connector", "memory").MemorySink()
    place = {"log": str(folder)} if str(folder) else {}
    registry.resolve("engine", "local").run(read(f"log://{name}", follow=False, **place).write(sink))
    table: pa.Table = sink.table()
    return table


def _run(job: Pipeline, folder: Path) -> Any:
    return registry.resolve("engine", "local").run(job, quarantine=str(folder))
