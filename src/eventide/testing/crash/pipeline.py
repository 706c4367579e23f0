"""The pipeline of the crash suites: windows, a join, sessions, keyed state, repeats, to every transactional sink.

What it writes depends on its input alone, row for row: late rows come from a topic of one partition, sums and
quantiles do not depend on the order of events, and everything else waits for the watermark.
"""

from __future__ import annotations

from pathlib import Path

from eventide import registry
from eventide.model import aggregate as agg
from eventide.model.pipeline import Pipeline
from eventide.model.pipeline import pipeline as together
from eventide.model.stream import Stream, read
from eventide.model.window import session, sliding, tumbling
from eventide.operators.dedup import dedup
from eventide.testing.crash.bursts import BURSTS, Bursts
from eventide.testing.crash.ending import EndingSource

__all__ = ["NAME", "pipeline", "sinks"]

NAME = "torture"


def pipeline(folder: str, *, rows: str = "60", tables: str = "1", plain: str = "0") -> Pipeline:
    """Return the pipeline over the topics of a folder; all values may be text, as the command line gives them.

    Parameters
    ----------
    folder
        Where the log is and the output goes.
    rows
        Most events taken at once.
    tables
        Whether to write SQL tables too, where there is such a connector.
    plain
        Whether to leave out what needs Polars: a process that forks others must not have used it.
    """
    place = Path(folder)
    readings = read(EndingSource(place, "readings", rows=int(rows)), name="readings")
    marks = read(EndingSource(place, "marks", rows=int(rows)), name="marks")
    if plain != "1":
        import polars as pl

        readings = readings.with_columns(celsius=pl.col("value") - 273.15, name="celsius")
        marks = marks.filter(pl.col("mark") != "none", name="marked")
    timely = readings.event_time("timestamp", lateness="3s", max_jump="1h")
    ends = sinks(place, tables=tables == "1")
    if plain == "1":
        text = {name: f"{uri}.parquet" for name, (uri, _) in ends.items() if not uri.startswith("log://")}
        ends |= {name: (uri, {}) for name, uri in text.items()}
    parts = [stream.write(ends[name][0], name=name, **ends[name][1]) for name, stream in _streams(timely, marks)]
    return together(*parts, name=NAME)


def _streams(timely: Stream, marks: Stream) -> list[tuple[str, Stream]]:
    by_sensor = timely.key_by("sensor")
    panes = by_sensor.window(sliding("4s", "2s"), allowed_lateness="2s").aggregate(
        n=agg.count(), mean=agg.mean("value"), high=agg.max_("value")
    )
    kept = timely.pipe(dedup, by="id", within="30s")
    single = kept.key_by("sensor")
    counts = single.window(tumbling("5s")).aggregate(
        n=agg.count(), total=agg.sum_("value"), middle=agg.quantile("value", 0.5), spread=agg.std("value")
    )
    marked = marks.event_time("timestamp", lateness="3s").key_by("sensor")
    pairs = single.join(marked, tumbling("2s"))
    visits = marked.window(session("1s")).aggregate(n=agg.count(), first=agg.first("mark"), last=agg.last("mark"))
    bursts = single.process(Bursts(600_000_000), schema=BURSTS, name="collected")
    return [
        ("panes", panes),
        ("late", panes.side("late")),
        ("counts", counts),
        ("duplicates", kept.side("duplicates")),
        ("dropped", kept.side("late")),
        ("pairs", pairs),
        ("visits", visits),
        ("bursts", bursts),
    ]


def sinks(folder: Path, *, tables: bool) -> dict[str, tuple[str, dict[str, object]]]:
    """Return the address and the options of every sink by its name.

    Parameters
    ----------
    folder
        Where the output goes.
    tables
        Whether to write SQL tables, if there is such a connector.
    """
    log = {"log": str(folder / "log")}
    out: dict[str, tuple[str, dict[str, object]]] = {
        name: (f"log://{name}", {**log, "partitions": 1}) for name in ("panes", "late", "counts", "dropped", "bursts")
    }
    out["duplicates"] = (f"file://{folder}/duplicates", {"format": "csv"})
    out["pairs"] = (f"file://{folder}/pairs", {"format": "parquet"})
    out["visits"] = (f"file://{folder}/visits.json", {})
    if tables and "sqlite" in registry.names("connector"):
        out["counts"] = (f"sqlite://{folder}/tables.sqlite?table=counts", {"times": "ns"})
        out["visits"] = (f"sqlite://{folder}/tables.sqlite?table=visits", {"key": "sensor,window_start"})
    return out
