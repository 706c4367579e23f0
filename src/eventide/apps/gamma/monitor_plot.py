"""What telescopes do, drawn: lines against time, one for each telescope, and a table of their health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps._page import PageTable
from eventide.apps.gamma.numbers import numbers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MONITORED", "health", "lines"]

FloatArray = npt.NDArray[np.float64]

MONITORED: Final = ("rate", "pedestal", "night_sky", "dead_pixels")
"""Columns of `eventide.apps.gamma.slow_control.monitors.MONITOR` that are drawn."""

# Colours that people who do not see red or green tell apart, after M. Okabe and K. Ito's.
_COLORS: Final = ("#12355b", "#d1331c", "#2a9d8f", "#e0a100", "#7b4ea3", "#56b4e9", "#8c510a", "#c2569b")
_GREY, _BLACK = "#c3cad2", "#1c2733"
_MOST_ROWS = 100
_FEW = 40  # intervals up to which each is a dot


def lines(panel: Axes, monitors: pa.Table, column: str) -> None:
    """Draw a column against time, a line for each telescope.

    Where a telescope had no images its rate is 0, and its other lines are broken; all are where none had any. Of more
    than eight telescopes only those have a colour that are farthest from the median, which is black; the others are
    grey.

    Parameters
    ----------
    panel
        Where to.
    monitors
        `eventide.apps.gamma.slow_control.monitors.MONITOR`.
    column
        One of `MONITORED`.
    """
    grid = _grid(monitors, column)
    if not grid.at.size:
        return
    dots: dict[str, Any] = {"marker": "o", "ms": 2.5} if grid.at.size <= _FEW else {}
    marked = np.arange(grid.tels.size)
    if marked.size > len(_COLORS):
        middle = _median(grid.values)
        marked = np.sort(_farthest(grid.values - middle)[: len(_COLORS)])
        for row in np.setdiff1d(np.arange(grid.tels.size), marked).tolist():
            panel.plot(*grid.line(row), color=_GREY, lw=0.7)
        panel.plot(grid.at, middle, color=_BLACK, lw=1.6, label=f"median of {grid.tels.size}", zorder=4)
    for color, row in zip(_COLORS, marked.tolist(), strict=False):
        panel.plot(*grid.line(row), color=color, lw=1.0, label=f"{grid.tels[row]}", **dots)
    if column in ("rate", "dead_pixels"):
        top = np.nanmax(grid.values, initial=0.0)
        panel.set_ylim(-0.02 * max(top, 1.0), 1.06 * max(top, 1.0))
    panel.legend(
        frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=len(_COLORS) + 1,
        handlelength=0.9, handletextpad=0.3, columnspacing=0.7, borderpad=0.2,
    )  # fmt: skip


def health(monitors: pa.Table) -> PageTable:
    """Return a table with a row for each telescope: over all its intervals, and when it was seen last.

    Examples
    --------
    >>> from eventide.apps.gamma.slow_control.monitors import MONITOR
    >>> seen = {"start": 0, "stop": 10**10, "tel_id": 3, "night_sky": 1.5}
    >>> rows = [{**seen, "images": n, "rate": n / 10} for n in (5, 7)]
    >>> health(pa.Table.from_pylist(rows, schema=MONITOR)).rows
    [['3', '12', '0.60', '-', '1.50', '-', '00:00:10']]
    """
    tels, images = numbers_of(monitors["tel_id"]), numbers_of(monitors["images"])
    stops = monitors["stop"].cast(pa.int64()).to_numpy()
    columns = {name: numbers_of(monitors[name]) for name in MONITORED}
    rows = []
    for tel in np.unique(tels)[:_MOST_ROWS].tolist():
        mine = tels == tel
        some = {name: v[mine][np.isfinite(v[mine])] for name, v in columns.items()}
        means = [f"{some[n].mean():.2f}" if some[n].size else "-" for n in ("rate", "pedestal", "night_sky")]
        dead = f"{some['dead_pixels'].max():.0f}" if some["dead_pixels"].size else "-"
        last = str(np.datetime64(int(stops[mine].max()), "ns").astype("datetime64[s]")).partition("T")[2]
        rows.append([f"{tel:.0f}", f"{images[mine].sum():,.0f}", *means, dead, last])
    head = (
        "telescope",
        "images",
        "rate (1/s)",
        "pedestal (p.e.)",
        "night sky (p.e.)",
        "dead pixels",
        "last seen (UTC)",
    )
    note = "Means of intervals in which there were images; of dead pixels the most."
    return PageTable("Telescopes", head, rows, note=note)


class _Grid(NamedTuple):
    """Middles of intervals, telescopes, and by telescope and interval a value and whether there were images."""

    at: npt.NDArray[np.datetime64]
    tels: npt.NDArray[np.int64]
    values: FloatArray
    seen: npt.NDArray[np.bool_]

    def line(self, row: int) -> tuple[npt.NDArray[np.datetime64], FloatArray]:
        """Return the points of a telescope: none where it had images of which none was looked at."""
        kept = np.isfinite(self.values[row]) | ~self.seen[row]
        return self.at[kept], self.values[row][kept]


def _grid(monitors: pa.Table, column: str) -> _Grid:
    start, stop = (monitors[n].cast(pa.int64()).to_numpy() for n in ("start", "stop"))
    length = int((stop - start).max(initial=0))
    known = np.unique(start)
    # After a pause of all telescopes one interval without values breaks the lines.
    edges = np.unique(np.append(known, known[:-1][np.diff(known) > length] + length))
    tels, row = np.unique(monitors["tel_id"].to_numpy(), return_inverse=True)
    values, seen = np.full((tels.size, edges.size), np.nan), np.zeros((tels.size, edges.size), bool)
    place = np.searchsorted(edges, start)
    if column == "rate":
        values[:, np.isin(edges, known)] = 0.0
    values[row, place], seen[row, place] = numbers_of(monitors[column]), True
    middles = (edges + length // 2).astype("datetime64[ns]").astype("datetime64[us]")
    return _Grid(middles, tels.astype(np.int64), values, seen)


def _median(values: FloatArray) -> FloatArray:
    some = np.isfinite(values).any(axis=0)
    out = np.full(values.shape[1], np.nan)
    out[some] = np.nanmedian(values[:, some], axis=0)
    return out


def _farthest(away: FloatArray) -> npt.NDArray[np.int64]:
    """Return rows with the largest mean distance first, without those that have none."""
    count = np.isfinite(away).sum(axis=1)
    mean = np.nansum(np.abs(away), axis=1) / np.maximum(count, 1)
    order = np.argsort(-mean, kind="stable").astype(np.int64)
    made: npt.NDArray[np.int64] = order[mean[order] > 0]
    return made
