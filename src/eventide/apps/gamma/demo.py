"""The demonstration: a simulated flare through the log to an alert and a page, with no server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from eventide import registry
from eventide.apps.gamma.pipeline import pipeline
from eventide.apps.gamma.plot import draw
from eventide.apps.gamma.schema import DL1_IMAGE, POINTINGS
from eventide.apps.gamma.science.gcn import gcn_notices
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate import Flare, Night
from eventide.apps.gamma.simulate.night import CRAB
from eventide.apps.gamma.simulate.source import Seconds
from eventide.apps.gamma.site import site
from eventide.model.pipeline import Pipeline
from eventide.model.stream import read

__all__ = ["POSITION", "TOPICS", "brightest", "run_demo", "topic"]

Say = Callable[[str], None]

POSITION = OnOff(*CRAB, radius=0.17, name="Crab")
"""What the demonstration watches."""

TOPICS = ("parameters", "events", "gammas", "significance", "light_curve", "sky", "alerts", "monitors")
"""What a page is drawn of."""

_SHARE = 0.4  # of the night before the flare, which lasts for a quarter of it


def run_demo(out: Path, *, array: str, seconds: float, seed: int, say: Say) -> dict[str, Any]:
    """Simulate a night with a flare, analyse it from the log, draw it, and return what happened.

    Parameters
    ----------
    out
        Folder for the log and the plots.
    array
        The array, such as ``made-12``.
    seconds
        How long the night is.
    seed
        The same seed gives the same night.
    say
        Takes lines of text for the person who watches.
    """
    where = site(array)
    flare = Flare(_SHARE * seconds, (_SHARE + 0.25) * seconds, max(60.0, 60.0 * 240.0 / seconds))
    late = where.telescopes[min(1, len(where.telescopes) - 1)].tel_id
    night = Night(where, seed=seed, hadrons=20.0, flares=[flare], joins={late: 0.1 * seconds}, pointed=False)
    folder = out / "gamma-log"
    shutil.rmtree(folder, ignore_errors=True)
    written = [
        _run(read(Seconds(made, int(seconds), schema)).write(f"log://{name}", log=str(folder)), folder)
        for name, made, schema in (("images", night.second, DL1_IMAGE), ("pointings", night.pointings, POINTINGS))
    ]
    count = written[0].rows_out
    say(
        f"Simulated {seconds:g} s of {len(where.telescopes)} telescopes: {count:,} images; telescope {late} tracks "
        f"only after {0.1 * seconds:g} s; the source is {flare.factor:.0f} times as bright "
        f"from {flare.start:g} to {flare.stop:g} s."
    )
    result = _run(pipeline(array=array, pointing="log://pointings", log=str(folder)), folder)
    tables = {name: topic(name, folder) for name in TOPICS}
    ends = {name: topic(name, folder).num_rows for name in ("orphans", "duplicates", "late", "excluded")}
    say(
        f"Analysed them from the log in {result.seconds:.2f} s ({count / result.seconds:,.0f} images/s): "
        f"{tables['events'].num_rows:,} array events, {tables['gammas'].num_rows:,} gamma-like."
    )
    alerts = tables["alerts"].sort_by([("time", "ascending"), ("scale", "ascending")])
    since = (alerts["time"].cast(pa.int64()).to_numpy() - night.start) / 1e9
    delay = float(since.min() - flare.start) if alerts.num_rows else None
    said = alerts.select(["id", "n_on", "n_off", "significance_post"]).to_pylist()
    for at, row in zip(since.tolist(), said, strict=True):
        say(f"  {at:6.1f} s  {row['id']}: {row['n_on']} on, {row['n_off']} off, {row['significance_post']:.1f} sigma")
    tables["image"] = brightest(tables["parameters"], folder)
    title = f"{where.name}, simulated: {seconds:g} s with a flare"
    files = [draw(tables, where, out / f"gamma.{kind}", position=POSITION, title=title) for kind in ("png", "html")]
    if alerts.num_rows:
        notice = gcn_notices(alerts.combine_chunks().to_batches()[0].slice(0, 1), mission="eventide", instrument=array)[
            0
        ]
        files.append(out / "alert.json")
        files[-1].write_bytes(notice)
    say("Files: " + ", ".join(str(file) for file in files))
    whole = tables["parameters"].num_rows + sum(ends.values())
    return {
        "images": count,
        "seconds": round(result.seconds, 3),
        "images_per_second": round(count / result.seconds),
        "events": tables["events"].num_rows,
        "gammas": tables["gammas"].num_rows,
        **ends,
        "alerts": alerts.num_rows,
        "alert_after_onset": None if delay is None else round(delay, 1),
        "quarantined": result.quarantined,
        "files": [str(file) for file in files],
        "ok": whole == count
        and result.quarantined == 0
        and delay is not None
        and 0 <= delay <= flare.stop - flare.start,
    }


def topic(name: str, folder: Path | str, where: pl.Expr | None = None) -> pa.Table:
    """Return what a topic of a log holds.

    Parameters
    ----------
    name
        Of the topic.
    folder
        Of the log; empty: the configured one.
    where
        Which rows.
    """
    place = {"log": str(folder)} if str(folder) else {}
    rows = read(f"log://{name}", follow=False, **place)
    sink = registry.resolve("connector", "memory").MemorySink()
    registry.resolve("engine", "local").run((rows if where is None else rows.filter(where)).write(sink))
    table: pa.Table = sink.table()
    return table


def brightest(parameters: pa.Table, folder: Path | str) -> pa.Table:
    """Return the row of the topic ``images`` that has the most light without a large part at the camera's edge."""
    light = parameters["hillas_intensity"].fill_null(0.0).to_numpy()
    edge = parameters["leakage_intensity_width_2"].fill_null(1.0).to_numpy()
    if not light.size:
        return DL1_IMAGE.empty_table()
    at = int(np.argmax(np.where((edge < 0.05) & np.isfinite(light), light, -1.0)))
    tel, number = (parameters[n][at].as_py() for n in ("tel_id", "tel_event_id"))
    found = topic("images", folder, (pl.col("tel_id") == tel) & (pl.col("tel_event_id") == number))
    return found.filter(pc.is_valid(found["image"])).slice(0, 1)


def _run(job: Pipeline, folder: Path) -> Any:
    return registry.resolve("engine", "local").run(job, quarantine=str(folder))
