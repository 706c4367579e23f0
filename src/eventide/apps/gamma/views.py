"""The views of this application, as data: what to draw of which stream, on which axes, in which units.

Nothing here draws. `eventide.apps.gamma.plot` makes files of these views, a portal can show them live.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["VIEWS", "Axis", "Layer", "View"]


class Axis(msgspec.Struct, frozen=True):
    """One axis: the column it shows, and its unit."""

    column: str
    label: str
    unit: str = ""


class Layer(msgspec.Struct, frozen=True):
    """One layer of a view: a line, points (with bars of a second column), counts in bins, a map, or marks in time.

    With `by` there is one of it for each value of that column.
    """

    kind: Literal["line", "points", "histogram", "map", "marks"]
    label: str
    columns: tuple[str, ...]
    topic: str
    where: str = ""
    by: str = ""


class View(msgspec.Struct, frozen=True):
    """A plot of a stream, or a table of it."""

    name: str
    title: str
    kind: Literal["timeseries", "histogram", "map", "table"]
    topic: str
    x: Axis
    y: Axis
    layers: tuple[Layer, ...] = ()


VIEWS: Final = (
    View(
        "significance",
        "Significance of the position",
        "timeseries",
        "significance",
        Axis("time", "time", "UTC"),
        Axis("best_significance", "significance", "sigma"),
        (
            Layer("line", "best window, before trials", ("best_significance",), "significance"),
            Layer("line", "all of the night", ("significance",), "significance"),
            Layer("marks", "alert", ("time",), "alerts"),
        ),
    ),
    View(
        "light_curve",
        "Light curve",
        "timeseries",
        "light_curve",
        Axis("start", "time", "UTC"),
        Axis("excess", "excess", "events per interval"),
        (Layer("points", "on - off", ("excess", "error"), "light_curve"), Layer("marks", "alert", ("time",), "alerts")),
    ),
    View(
        "sky",
        "Sky around the position",
        "map",
        "sky",
        Axis("counts", "east", "deg"),
        Axis("counts", "north", "deg"),
        (Layer("map", "gamma-like events", ("counts",), "sky"),),
    ),
    View(
        "theta2",
        "Distance from the position",
        "histogram",
        "gammas",
        Axis("ra", "squared distance", "deg2"),
        Axis("dec", "events"),
        (Layer("histogram", "gamma-like events", ("ra", "dec"), "gammas"),),
    ),
    View(
        "rates",
        "Array events and images",
        "timeseries",
        "events",
        Axis("event_time", "time", "UTC"),
        Axis("n_tels", "rate", "1/s"),
        (
            Layer("histogram", "images", ("time",), "parameters"),
            Layer("histogram", "array events", ("event_time",), "events"),
            Layer("histogram", "reconstructed", ("event_time",), "events", where="is_valid"),
        ),
    ),
    View(
        "telescopes",
        "Images of the telescopes",
        "histogram",
        "parameters",
        Axis("tel_id", "telescope"),
        Axis("hillas_intensity", "images"),
        (Layer("histogram", "in array events", ("tel_id",), "parameters"),),
    ),
    View(
        "rate",
        "Rates of the telescopes",
        "timeseries",
        "monitors",
        Axis("start", "time", "UTC"),
        Axis("rate", "images", "1/s"),
        (Layer("line", "images", ("rate",), "monitors", by="tel_id"),),
    ),
    View(
        "dead_pixels",
        "Dead pixels of the telescopes",
        "timeseries",
        "monitors",
        Axis("start", "time", "UTC"),
        Axis("dead_pixels", "pixels"),
        (Layer("line", "the most of an image", ("dead_pixels",), "monitors", by="tel_id"),),
    ),
    View(
        "night_sky",
        "Night sky of the telescopes",
        "timeseries",
        "monitors",
        Axis("start", "time", "UTC"),
        Axis("night_sky", "deviation of a pixel", "p.e."),
        (Layer("line", "night sky", ("night_sky",), "monitors", by="tel_id"),),
    ),
    View(
        "pedestal",
        "Pedestals of the telescopes",
        "timeseries",
        "monitors",
        Axis("start", "time", "UTC"),
        Axis("pedestal", "median of pixels", "p.e."),
        (Layer("line", "pedestal", ("pedestal",), "monitors", by="tel_id"),),
    ),
    View(
        "health",
        "Telescopes",
        "table",
        "monitors",
        Axis("start", "time", "UTC"),
        Axis("rate", "images", "1/s"),
    ),
    View(
        "excluded",
        "What was left out, and why",
        "table",
        "excluded",
        Axis("time", "time", "UTC"),
        Axis("tel_id", "telescope"),
    ),
    View(
        "alerts",
        "Alerts",
        "table",
        "alerts",
        Axis("time", "time", "UTC"),
        Axis("significance_post", "significance after trials", "sigma"),
    ),
)
"""What the people of a shift look at: is it there, how bright, where, and does the array work?"""
