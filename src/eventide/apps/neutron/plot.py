"""The views of an instrument as a picture, or as one HTML page that needs nothing else.

Needs matplotlib (``pip install eventide[plot]``), which is imported when a plot is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps._page import PageTable, new_figure, write_figure
from eventide.apps.neutron.instruments import Instrument
from eventide.apps.neutron.views import VIEWS, View
from eventide.errors import DataError
from eventide.kernel.histogram.publication import LEDGER, read_metadata

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["axis_edges", "draw"]

Float64Array = npt.NDArray[np.float64]

_LINE, _GRID = ("#12355b", "#d1331c", "#3b8a5a", "#b8860b"), "#e6e6e6"
_CELLS = 220
_UNITS = {
    "angstrom": "\N{ANGSTROM SIGN}",
    "1/angstrom": "1/\N{ANGSTROM SIGN}",
    "us": "\N{MICRO SIGN}s",
    "uAh": "\N{MICRO SIGN}Ah",
    "deg": "\N{DEGREE SIGN}",
}


def draw(tables: Mapping[str, pa.Table], one: Instrument, path: str | Path, *, title: str = "") -> Path:
    """Draw the newest histograms of an instrument into a file.

    Parameters
    ----------
    tables
        What the topics ``histograms`` and ``monitors`` hold, by their names, with the metadata of their schemas; and
        ``normalised``, where that is written.
    one
        The instrument.
    path
        Where to: ``.png``, ``.svg`` or ``.pdf`` for a picture, ``.html`` for one page that needs nothing else.
    title
        Heading; left out, the name of the instrument.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    DataError
        There is nothing to draw.
    """
    target = Path(path)
    views = [v for v in VIEWS if one.method in v.methods and _rows(tables, v).num_rows]
    if not views:
        msg = f"there is nothing to draw in {target}: no histogram was published"
        raise DataError(msg, hint="let the pipeline run first, on pulses with events")
    figure = _figure(tables, one, views)
    return write_figure(figure, target, title or one.name, below=[_ledger(tables["histograms"])])


def axis_edges(described: Mapping[str, Any]) -> Float64Array:
    """Return the edges of an axis from what the metadata of a topic says of it.

    Examples
    --------
    >>> axis_edges({"kind": "uniform", "low": 0.0, "high": 4.0, "bins": 2}).tolist()
    [0.0, 2.0, 4.0]
    """
    kind, bins = described["kind"], described["bins"]
    out: Float64Array = np.arange(bins + 1, dtype=np.float64) + described.get("first", 0)
    if kind == "edges":
        out = np.array(described["edges"], np.float64)
    elif kind in ("uniform", "logarithmic"):
        ends = described["low"], described["high"], bins + 1
        out = np.linspace(*ends) if kind == "uniform" else np.geomspace(*ends)
    return out


def _rows(tables: Mapping[str, pa.Table], view: View) -> pa.Table:
    table = tables.get(view.topic)
    if table is None:
        return pa.table({"until": []})
    mine = pc.and_(pc.equal(table.column("product"), view.product), pc.is_valid(table.column(view.y.column)))
    return table.filter(mine).sort_by("until")


def _figure(tables: Mapping[str, pa.Table], one: Instrument, views: list[View]) -> Figure:
    rows = (len(views) + 1) // 2
    figure = new_figure(13, 3.6 * rows + 0.4)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for panel in panels[len(views) :]:
        panel.set_visible(False)
    for panel, view in zip(panels, views, strict=False):
        rows_of_view = _rows(tables, view)
        if view.kind == "timeseries":
            _rate(panel, rows_of_view, period=one.period)
        elif view.kind == "image":
            _image(panel, view.layout, one=one, counts=_newest(rows_of_view))
        else:
            _spectrum(panel, view, rows_of_view)
        panel.set_title(view.title, loc="left", fontsize=10, fontweight="bold")
        for axis, label in ((view.x, panel.set_xlabel), (view.y, panel.set_ylabel)):
            unit = _UNITS.get(axis.unit, axis.unit)
            name = _sent(rows_of_view) if view.topic == "normalised" and axis is view.y else axis.label
            label(f"{name} ({unit})" if unit else name, fontsize=9)
        panel.tick_params(labelsize=8, length=3, color="#999999")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    return figure


def _newest(rows: pa.Table, column: str = "counts") -> Float64Array:
    return np.asarray(rows.column(column)[rows.num_rows - 1].values, np.float64)


def _sent(rows: pa.Table) -> str:
    """Return what the values are: counts by the charge, or by a monitor."""
    by = rows.column("by")[rows.num_rows - 1].as_py()
    return f"counts per {_UNITS['uAh']}" if by == "charge" else f"counts per count of {by}"


def _spectrum(panel: Axes, view: View, rows: pa.Table) -> None:
    described = read_metadata(rows.schema)[view.product]["axes"][0]
    edges = axis_edges(described) * view.x.scale
    kinds = dict.fromkeys(rows.column(view.per).to_pylist()) if view.per else {"": None}
    for number, name in enumerate(kinds):
        mine = rows.filter(pc.equal(rows.column(view.per), name)) if view.per else rows
        values = _newest(mine, view.y.column)
        colour = _LINE[number % len(_LINE)]
        panel.stairs(values, edges, color=colour, lw=1.0, label=str(name) or None)
        for layer in view.layers:
            if layer.kind == "errors":
                errors = _newest(mine, layer.columns[0])
                low, high = values - errors, values + errors
                panel.stairs(high, edges, baseline=low, fill=True, color=colour, lw=0, alpha=0.25)
    panel.set_xscale(view.x.form)
    _scale(panel, view, rows)
    panel.set_ylim(bottom=0)
    panel.grid(color=_GRID, lw=0.6)
    if view.per:
        panel.legend(frameon=False, fontsize=8)


def _scale(panel: Axes, view: View, rows: pa.Table) -> None:
    if view.y.form == "linear":
        return
    values = _newest(rows, view.y.column)
    least = float(np.min(values, where=values > 0, initial=np.inf))
    # Linear below the least value there is: of counts that is 1, of normalised ones anything.
    panel.set_yscale("symlog", linthresh=2.0 if view.y.column == "counts" else least if np.isfinite(least) else 1.0)


def _rate(panel: Axes, rows: pa.Table, *, period: int) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    until, events = (rows.column(n).cast(pa.int64()).to_numpy() for n in ("until", "events"))
    first, last = (rows.column(n).cast(pa.int64()).to_numpy() for n in ("first", "last"))
    ends = np.append(first[:1], until)
    ends[-1] = min(ends[-1], last[-1] + period)  # the input may end within an interval
    rates = np.diff(events, prepend=0) / np.maximum(np.diff(ends) / 1e9, 1e-9)
    panel.plot(
        ends.astype("datetime64[ns]").astype("datetime64[us]"),
        np.append(rates[:1], rates),
        color=_LINE[0],
        drawstyle="steps-pre",
    )
    panel.set_ylim(0, 1.15 * max(float(rates.max(initial=0)), 1.0))
    locator = AutoDateLocator(maxticks=6)
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    panel.grid(color=_GRID, lw=0.6)


def _image(panel: Axes, layout: str, *, one: Instrument, counts: Float64Array) -> None:
    if layout == "ring":
        panel.bar(np.arange(counts.size) + one.first, counts, color=_LINE[0], width=0.9)
        return
    where = np.concatenate([b.positions() for b in one.banks])
    mine = np.concatenate([counts[b.first - one.first : b.first - one.first + b.pixels] for b in one.banks])
    x, y = where[:, 0], where[:, 1]
    if layout == "cylinder":
        x = np.degrees(np.arctan2(where[:, 0], where[:, 2]))
    spread, x_edges, y_edges = np.histogram2d(x, y, bins=_CELLS, weights=mine)
    pixels, _, _ = np.histogram2d(x, y, bins=(x_edges, y_edges))
    with np.errstate(all="ignore"):
        mean = spread / pixels  # a cell may have more pixels than its neighbour: sums would show stripes
    least = min(mean[mean > 0], default=1.0)
    shown = np.log10(np.maximum(mean, least))
    extent = (x_edges[0], x_edges[-1], y_edges[0], y_edges[-1])
    made = panel.imshow(shown.T, origin="lower", extent=extent, cmap="viridis", interpolation="nearest")
    panel.set_aspect("equal" if layout == "plane" else "auto")
    figure = panel.get_figure()
    assert figure is not None
    bar = figure.colorbar(made, ax=panel, shrink=0.9)
    bar.set_label("log10 (counts per pixel)", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _ledger(table: pa.Table) -> PageTable:
    until = pc.cast(table.column("until"), pa.timestamp("us", "UTC"), safe=False)
    plain = table.select(["product", *LEDGER]).append_column("until", until).sort_by("until")
    newest = {row["product"]: row for row in plain.to_pylist()}
    rows = [[name, *(f"{row[n]:,}" for n in LEDGER)] for name, row in newest.items()]
    last = max((f"{row['until']:%Y-%m-%d %H:%M:%S}" for row in newest.values()), default="")
    note = "events = binned + below + above + unknown + masked + nan + vetoed, of each histogram."
    return PageTable(f"Where the events went, until {last} UTC", ("histogram", *LEDGER), rows, note=note)
