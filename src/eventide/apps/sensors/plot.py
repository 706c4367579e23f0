"""The plot of the chapter's figure 9.3, as a picture or as one HTML page: readings, prediction, band, anomalies.

Needs matplotlib (``pip install eventide[plot]``), which is imported when a plot is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from eventide.apps._page import PageTable, new_figure, write_figure
from eventide.apps.sensors.views import VIEWS, unit_of
from eventide.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_READING, _PREDICTION, _BAND, _ANOMALY, _SPAN = "#7f9bb3", "#12355b", "#c9d8e6", "#d1331c", "#f6c177"
_MAX_PANELS = 6
_UNIT_SIGNS = {"degC": "\N{DEGREE SIGN}C", "ug/m3": "\N{MICRO SIGN}g/m\N{SUPERSCRIPT THREE}"}


def draw(
    scored: pa.Table,
    incidents: pa.Table,
    path: str | Path,
    *,
    streams: list[str] | None = None,
    title: str = "",
) -> Path:
    """Draw judged readings and incidents into a file.

    Parameters
    ----------
    scored
        Rows of schema `SCORED`.
    incidents
        Rows of schema `INCIDENTS`.
    path
        Where to: ``.png``, ``.svg`` or ``.pdf`` for a picture, ``.html`` for one page that needs nothing else.
    streams
        Which streams, from top to bottom; left out, those with the strongest incidents, at most six.
    title
        Heading; left out, that of the view.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    DataError
        There is nothing to draw.
    """
    target = Path(path)
    table, runs = pl.DataFrame(scored), pl.DataFrame(incidents)
    chosen = streams if streams is not None else _strongest(table, runs)
    chosen = [stream for stream in chosen if stream in set(table["stream"].unique().to_list())]
    if not chosen:
        msg = f"there is nothing to draw in {target}: no judged reading of the streams asked for"
        raise DataError(msg, hint="let the pipeline write the judged readings, and check the names of the streams")
    figure = _figure(table, runs, chosen)
    below = [_incidents(runs)]
    return write_figure(figure, target, title or VIEWS[0].title, caption=title, below=below, dpi=120)


def _strongest(table: pl.DataFrame, runs: pl.DataFrame) -> list[str]:
    if len(runs):
        order = runs.group_by("stream").agg(pl.col("n").sum(), pl.col("start").min())
        top = order.sort(["n", "stream"], descending=[True, False]).head(_MAX_PANELS)
        return top.sort("start", "stream")["stream"].to_list()
    return table["stream"].unique(maintain_order=True).to_list()[:_MAX_PANELS]


def _figure(table: pl.DataFrame, runs: pl.DataFrame, streams: list[str]) -> Figure:
    figure = new_figure(12, 2.4 * len(streams) + 0.8)
    from matplotlib import dates

    panels = figure.subplots(len(streams), 1, sharex=True, squeeze=False)[:, 0]
    for panel, stream in zip(panels, streams, strict=True):
        mine = table.filter(pl.col("stream") == stream).sort("timestamp")
        _panel(panel, mine, runs.filter(pl.col("stream") == stream))
        panel.set_title(stream, loc="left", fontsize=10, fontweight="bold")
        unit = unit_of(stream)
        panel.set_ylabel(_UNIT_SIGNS.get(unit, unit), fontsize=9)
    locator = dates.AutoDateLocator(minticks=5, maxticks=12)
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, show_offset=False))
    days = table.select(pl.col("timestamp").dt.strftime("%Y-%m-%d")).to_series().unique().sort().to_list()
    panels[-1].set_xlabel(f"time (UTC), {' to '.join(dict.fromkeys((days[0], days[-1])))}", fontsize=9)
    handles, labels = _legend(panels)
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _panel(panel: Axes, mine: pl.DataFrame, runs: pl.DataFrame) -> None:
    times = mine["timestamp"].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
    column = {name: mine[name].to_numpy() for name in ("value", "prediction", "low", "high")}
    for i, (start, end) in enumerate(runs.select("start", "end").iter_rows()):
        panel.axvspan(start, end, color=_SPAN, alpha=0.45, lw=1.2, label="incident" if i == 0 else None)
    panel.fill_between(times, column["low"], column["high"], color=_BAND, alpha=0.75, lw=0, label="band")
    panel.plot(times, column["value"], color=_READING, lw=0.6, label="reading")
    panel.plot(times, column["prediction"], color=_PREDICTION, lw=1.3, label="prediction")
    flagged = mine["flag"].to_numpy()
    if flagged.any():
        panel.plot(times[flagged], column["value"][flagged], ".", color=_ANOMALY, ms=4, label="anomaly")
    panel.margins(x=0.005)
    panel.grid(axis="both", color="#e6e6e6", lw=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=8, length=3, color="#999999")
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color("#999999")


def _legend(panels: Any) -> tuple[list[Any], list[str]]:
    found: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    order: list[str] = [label for label in ("reading", "prediction", "band", "anomaly", "incident") if label in found]
    return [found[label] for label in order], order


def _incidents(runs: pl.DataFrame) -> PageTable:
    rows = [_cells(row) for row in runs.sort("start", "stream").iter_rows(named=True)]
    columns = ("stream", "first anomaly (UTC)", "last anomaly (UTC)", "minutes", "anomalies", "peak score")
    note = "A score is the distance from the prediction in half widths of the band: above 1 a reading lies outside."
    return PageTable(f"Incidents ({len(runs)})", columns, rows, left=3, note=note)


def _cells(row: dict[str, Any]) -> list[str]:
    start, end = (f"{row[name]:%Y-%m-%d %H:%M:%S}" for name in ("start", "end"))
    minutes = (row["end"] - row["start"]).total_seconds() / 60
    return [row["stream"], start, end, f"{minutes:.1f}", str(row["n"]), f"{row['peak_score']:.2f}"]
