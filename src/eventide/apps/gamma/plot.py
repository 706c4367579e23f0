"""The views of a night as a picture, or as one HTML page that needs nothing else.

Needs matplotlib (``pip install eventide[plot]``), which is imported when a plot is drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps._page import PageTable, new_figure, write_figure
from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.monitor_plot import MONITORED, health, lines
from eventide.apps.gamma.numbers import numbers_of
from eventide.apps.gamma.science.regions import OnOff, separation
from eventide.apps.gamma.site import Site
from eventide.apps.gamma.views import VIEWS
from eventide.errors import DataError
from eventide.model.time import format_duration, format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "outlines"]

FloatArray = npt.NDArray[np.float64]
Tables = Mapping[str, pa.Table]

_BLUE, _RED, _GREY, _GRID = "#12355b", "#d1331c", "#8a97a6", "#e6e6e6"
_NS = 1e9
_MOST_ALERTS = 50


def draw(tables: Tables, site: Site, path: str | Path, *, position: OnOff, title: str = "") -> Path:
    """Draw what a night's topics hold into a file.

    Parameters
    ----------
    tables
        Topics by their names: ``events``, ``gammas``, ``parameters``, ``significance``, ``light_curve``, ``sky``,
        ``alerts``; where they are wanted ``monitors``; and under ``image`` one row of ``images``, or none, to show a
        camera.
    site
        The array.
    path
        Where to: ``.png``, ``.svg`` or ``.pdf`` for a picture, ``.html`` for one page that needs nothing else.
    position
        What was watched.
    title
        Heading; left out, the names of the array and the position.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    DataError
        There are no events to draw.
    """
    target = Path(path)
    if not tables["events"].num_rows:
        msg = f"there is nothing to draw in {target}: no array event was built"
        raise DataError(msg, hint="let the pipeline run first, on images of two telescopes and more")
    figure = _figure(tables, site, position)
    heading = title or f"{site.name}, {position.name}"
    below = [health(tables["monitors"])] if _watched(tables) else []
    return write_figure(figure, target, heading, above=[_alerts(tables["alerts"]), _counted(tables)], below=below)


def outlines(camera: Camera) -> FloatArray:
    """Return the corners of every pixel, (pixels, corners, 2), in the camera's unit; the sides face the neighbours.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import chec_like, hexagonal
    >>> outlines(hexagonal(7, pitch=0.05)).shape, outlines(chec_like()).shape
    ((7, 6, 2), (2048, 4, 2))
    """
    corners = 4 if camera.shape == "square" else 6
    turn = np.pi / corners
    first = camera.neighbours[: camera.starts[1]]
    if first.size:
        turn += float(np.arctan2(camera.y[first[0]] - camera.y[0], camera.x[first[0]] - camera.x[0]))
    angle = turn + 2 * np.pi * np.arange(corners) / corners
    reach = camera.width[:, None] / 2 / np.cos(np.pi / corners)
    return np.stack([camera.x[:, None] + reach * np.cos(angle), camera.y[:, None] + reach * np.sin(angle)], axis=2)


def _figure(tables: Tables, site: Site, position: OnOff) -> Figure:
    monitored = MONITORED if _watched(tables) else ()
    rows = 4 + (len(monitored) + 1) // 2
    figure = new_figure(13, 3.6 * rows)
    panels = figure.subplots(rows, 2).ravel()
    titles = {v.name: v.title for v in VIEWS}
    labels = {v.name: [f"{a.label} ({a.unit})" if a.unit else a.label for a in (v.x, v.y)] for v in VIEWS}
    drawn: list[tuple[str, Any]] = [
        ("significance", lambda p: _significance(p, tables)),
        ("light_curve", lambda p: _light_curve(p, tables)),
        ("sky", lambda p: _sky(p, tables, position)),
        ("theta2", lambda p: _theta2(p, tables, position)),
        ("camera", lambda p: _camera(p, tables, site)),
        ("array", lambda p: _array(p, tables, site)),
        ("rates", lambda p: _rates(p, tables)),
        ("telescopes", lambda p: _telescopes(p, tables)),
        *((name, functools.partial(_monitor, tables=tables, column=name)) for name in monitored),
    ]
    for panel, (name, paint) in zip(panels, drawn, strict=True):
        if name in titles:
            panel.set_title(titles[name], loc="left", fontsize=10, fontweight="bold")
            panel.set_xlabel(labels[name][0], fontsize=9)
            panel.set_ylabel(labels[name][1], fontsize=9)
        paint(panel)
        panel.tick_params(labelsize=8, length=3, color="#999999")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    return figure


def _significance(panel: Axes, tables: Tables) -> None:
    rows = tables["significance"].sort_by("time")
    at = _clock(rows.column("time"))
    panel.plot(at, numbers_of(rows["best_significance"]), color=_BLUE, lw=1.2, label="best window, before trials")
    panel.plot(at, numbers_of(rows["significance"]), color=_GREY, lw=1.0, label="all so far")
    _alerts_in(panel, tables)
    panel.legend(frameon=False, fontsize=8, loc="upper left")
    _in_time(panel)


def _light_curve(panel: Axes, tables: Tables) -> None:
    rows = tables["light_curve"].sort_by("start")
    start, end = (rows.column(n).cast(pa.int64()).to_numpy() for n in ("start", "end"))
    middle = ((start + end) // 2).astype("datetime64[ns]").astype("datetime64[us]")
    panel.errorbar(
        middle, numbers_of(rows["excess"]), yerr=numbers_of(rows["error"]), fmt="o", ms=3.5, color=_BLUE, lw=1.0
    )
    panel.axhline(0, color=_GREY, lw=0.8)
    _alerts_in(panel, tables)
    _in_time(panel)


def _sky(panel: Axes, tables: Tables, position: OnOff) -> None:
    rows = tables["sky"].sort_by("until")
    if not rows.num_rows:
        return
    counts = np.asarray(rows.column("counts")[rows.num_rows - 1].values, np.float64)
    bins = round(np.sqrt(counts.size))
    half = 1.5
    extent = (-half, half, -half, half)
    made = panel.imshow(
        counts.reshape(bins, bins), origin="lower", extent=extent, cmap="viridis", interpolation="nearest"
    )
    turn = np.linspace(0, 2 * np.pi, 60)
    panel.plot(position.radius * np.cos(turn), position.radius * np.sin(turn), color="white", lw=1.0)
    panel.invert_xaxis()  # east is left on the sky
    figure = panel.get_figure()
    assert figure is not None
    beside = panel.inset_axes((1.03, 0.0, 0.04, 1.0))
    figure.colorbar(made, cax=beside).ax.tick_params(labelsize=7)


def _theta2(panel: Axes, tables: Tables, position: OnOff) -> None:
    rows = tables["gammas"]
    away = separation(numbers_of(rows["ra"]), numbers_of(rows["dec"]), ra0=position.ra, dec0=position.dec) ** 2
    panel.hist(away, bins=np.linspace(0, 0.4, 41).tolist(), color=_BLUE, alpha=0.85)
    panel.axvline(position.radius**2, color=_RED, lw=1.0)
    panel.grid(color=_GRID, lw=0.6)


def _camera(panel: Axes, tables: Tables, site: Site) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Ellipse

    rows = tables.get("image")
    if rows is None or not rows.num_rows:
        panel.set_visible(False)
        return
    tel, number = (rows.column(n)[0].as_py() for n in ("tel_id", "tel_event_id"))
    camera = site.cameras()[tel]
    light = np.asarray(rows.column("image")[0].values, np.float64)
    top = max(float(np.nanmax(light)), 1.0)
    shown = PolyCollection(list(outlines(camera)), array=np.clip(light, 0, top), cmap="viridis", linewidths=0)
    panel.add_collection(shown)
    edge = 1.05 * float(np.hypot(camera.x, camera.y).max())
    panel.set_xlim(-edge, edge)
    panel.set_ylim(-edge, edge)
    panel.set_aspect("equal")
    panel.set_title(f"Image of telescope {tel}, and its ellipse", loc="left", fontsize=10, fontweight="bold")
    panel.set_xlabel("fov_lon (deg)", fontsize=9)
    panel.set_ylabel("fov_lat (deg)", fontsize=9)
    known = tables["parameters"]
    mine = known.filter(pc.and_(pc.equal(known["tel_id"], tel), pc.equal(known["tel_event_id"], number)))
    for row in mine.select([f"hillas_{n}" for n in ("fov_lon", "fov_lat", "length", "width", "psi")]).to_pylist():
        middle, length = (row["hillas_fov_lon"], row["hillas_fov_lat"]), 4 * row["hillas_length"]
        panel.add_patch(
            Ellipse(middle, length, 4 * row["hillas_width"], angle=row["hillas_psi"], fill=False, ec=_RED, lw=1.5)
        )


def _array(panel: Axes, tables: Tables, site: Site) -> None:
    events = tables["events"]
    events = events.filter(events["is_valid"])
    north, west = numbers_of(events["core_x"]), numbers_of(events["core_y"])
    panel.scatter(-west, north, s=4, color=_GREY, alpha=0.35, linewidths=0, label="cores of showers")
    for number, kind in enumerate(site.kinds):
        mine = np.array([t.position for t in site.telescopes if t.kind == kind.name]).reshape(-1, 3)
        panel.scatter(
            -mine[:, 1],
            mine[:, 0],
            s=70 - 22 * number,
            marker="^",
            color=(_BLUE, _RED, "#3b8a5a")[number % 3],
            label=kind.name,
        )
    panel.set_xlim(-500, 500)
    panel.set_ylim(-500, 500)
    panel.set_aspect("equal")
    panel.set_title("The array", loc="left", fontsize=10, fontweight="bold")
    panel.set_xlabel("east (m)", fontsize=9)
    panel.set_ylabel("north (m)", fontsize=9)
    panel.legend(frameon=False, fontsize=8, loc="upper left")


def _rates(panel: Axes, tables: Tables) -> None:
    events = tables["events"]
    kinds = [
        ("images", tables["parameters"].column("time"), _GREY),
        ("array events", events.column("event_time"), _BLUE),
        ("reconstructed", events.filter(events["is_valid"]).column("event_time"), _RED),
    ]
    every = [c.cast(pa.int64()).to_numpy() for _, c, _ in kinds]
    first, last = min(v.min(initial=2**62) for v in every), max(v.max(initial=0) for v in every)
    edges = np.linspace(first, last, 61)
    at = edges.astype(np.int64).astype("datetime64[ns]").astype("datetime64[us]")
    for (label, _, color), values in zip(kinds, every, strict=True):
        counts, _ = np.histogram(values, edges)
        rate = counts / np.maximum(np.diff(edges) / _NS, 1e-9)
        panel.plot(at, np.append(rate[:1], rate), drawstyle="steps-pre", color=color, lw=1.0, label=label)
    panel.set_ylim(bottom=0)
    panel.legend(frameon=False, fontsize=8)
    _in_time(panel)


def _telescopes(panel: Axes, tables: Tables) -> None:
    tels, counts = np.unique(tables["parameters"].column("tel_id").to_numpy(), return_counts=True)
    panel.bar(tels, counts, color=_BLUE, width=0.8)


def _watched(tables: Tables) -> bool:
    return "monitors" in tables and tables["monitors"].num_rows > 0


def _monitor(panel: Axes, *, tables: Tables, column: str) -> None:
    lines(panel, tables["monitors"], column)
    _in_time(panel)


def _alerts_in(panel: Axes, tables: Tables) -> None:
    for at in _clock(tables["alerts"].column("time")):
        panel.axvline(at, color=_RED, lw=0.8, alpha=0.6)


def _in_time(panel: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=12)
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    panel.grid(color=_GRID, lw=0.6)


def _clock(column: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    ns = column.cast(pa.int64()).to_numpy()
    out: npt.NDArray[np.datetime64] = ns.astype("datetime64[ns]").astype("datetime64[us]")
    return out


def _counted(tables: Tables) -> PageTable:
    counted = [
        ("images in array events", tables["parameters"].num_rows),
        ("array events", tables["events"].num_rows),
        ("reconstructed", pc.sum(tables["events"]["is_valid"]).as_py() or 0),
        ("gamma-like", tables["gammas"].num_rows),
        ("alerts", tables["alerts"].num_rows),
    ]
    return PageTable("Counts", (), [[label, f"{value:,}"] for label, value in counted])


def _alerts(alerts: pa.Table) -> PageTable:
    whole = pa.schema([f.with_type(pa.int64()) if f.name in ("time", "start", "scale") else f for f in alerts.schema])
    rows = [
        [
            format_time(r["time"]),
            r["source"],
            format_duration(r["scale"]),
            f"{r['n_on']}",
            f"{r['n_off']}",
            f"{r['significance']:.2f}",
            f"{r['significance_post']:.2f}",
            r["id"],
        ]
        for r in alerts.sort_by("time").cast(whole).slice(0, _MOST_ALERTS).to_pylist()
    ]
    return PageTable("Alerts", ("time", "position", "window", "on", "off", "sigma", "after trials", "id"), rows, left=8)
