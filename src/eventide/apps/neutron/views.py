"""The views of this application, as data: what to draw of which histogram, on which axes, in which units.

Nothing here draws. `eventide.apps.neutron.plot` makes files of these views, a portal can show them live.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["VIEWS", "Axis", "Layer", "View"]


class Axis(msgspec.Struct, frozen=True):
    """One axis: the column it shows, and its unit.

    Of a histogram, `column` is that of the counts (of a normalised one, of the values) and `dimension` the axis of the
    histogram (see the metadata of the topic), whose values are multiplied by `scale` to be in `unit`.
    """

    column: str
    label: str
    unit: str = ""
    dimension: str = ""
    scale: float = 1.0
    form: Literal["linear", "log"] = "linear"


class Layer(msgspec.Struct, frozen=True):
    """One layer of a view; errors are those of the steps before them."""

    kind: Literal["line", "steps", "errors", "image"]
    label: str
    columns: tuple[str, ...]
    topic: str
    where: str = ""


class View(msgspec.Struct, frozen=True):
    """A plot of the newest publication of a histogram (`product`), or of one column of all publications in time.

    An image shows every pixel where it is: `layout` plane (seen along the beam), cylinder (angle around the vertical
    axis, and height) or ring (by number). One panel, or one line, per value of `per`.
    """

    name: str
    title: str
    kind: Literal["spectrum", "image", "timeseries"]
    topic: str
    product: str
    x: Axis
    y: Axis
    layers: tuple[Layer, ...] = ()
    per: str = ""
    methods: tuple[str, ...] = ("sans", "powder", "reflectometry", "muon")
    layout: Literal["", "plane", "cylinder", "ring"] = ""


def _spectrum(name: str, title: str, *, x: Axis, methods: tuple[str, ...], form: Literal["linear", "log"]) -> View:
    return View(
        name,
        title,
        "spectrum",
        "histograms",
        name,
        x,
        Axis("counts", "counts", form=form),
        (Layer("steps", "all banks", ("counts",), "histograms"),),
        methods=methods,
    )


def _normalised(view: View) -> View:
    """Return the view of the same histogram divided by what was sent, with its errors."""
    layers = (
        Layer("steps", "all banks", ("values",), "normalised"),
        Layer("errors", "errors", ("errors",), "normalised"),
    )
    return msgspec.structs.replace(
        view,
        name=f"normalised_{view.name}",
        title=f"{view.title}, normalised",
        topic="normalised",
        x=msgspec.structs.replace(view.x, column="values"),
        y=msgspec.structs.replace(view.y, column="values", label="counts per what was sent"),
        layers=layers,
    )


def _image(layout: Literal["plane", "cylinder", "ring"], *, x: Axis, y: Axis, methods: tuple[str, ...]) -> View:
    layers = (Layer("image", "counts", ("counts",), "histograms"),)
    title = "Counts of the pixels"
    return View(f"image_{layout}", title, "image", "histograms", "image", x, y, layers, methods=methods, layout=layout)


_NEUTRONS: Final = ("sans", "powder", "reflectometry")

_COUNTED: Final = (
    _image("plane", x=Axis("counts", "x", "m"), y=Axis("counts", "y", "m"), methods=("sans", "reflectometry")),
    _image("cylinder", x=Axis("counts", "angle", "deg"), y=Axis("counts", "height", "m"), methods=("powder",)),
    _image("ring", x=Axis("counts", "counter"), y=Axis("counts", "counts"), methods=("muon",)),
    _spectrum(
        "time_of_flight",
        "Time of flight",
        x=Axis("counts", "time of flight", "ms", "time_of_flight", 1e-6),
        methods=_NEUTRONS,
        form="linear",
    ),
    View(
        "decay",
        "Time after the frame",
        "spectrum",
        "histograms",
        "time_of_flight",
        Axis("counts", "time", "us", "time_of_flight", 1e-3),
        Axis("counts", "counts", form="log"),
        (Layer("steps", "all counters", ("counts",), "histograms"),),
        methods=("muon",),
    ),
    _spectrum(
        "d_spacing",
        "d-spacing",
        x=Axis("counts", "d", "angstrom", "d_spacing"),
        methods=_NEUTRONS,
        form="linear",
    ),
    _spectrum(
        "q",
        "Momentum transfer",
        x=Axis("counts", "Q", "1/angstrom", "q", form="log"),
        methods=_NEUTRONS,
        form="log",
    ),
    _spectrum(
        "energy",
        "Energy",
        x=Axis("counts", "energy", "meV", "energy", form="log"),
        methods=_NEUTRONS,
        form="log",
    ),
    _spectrum(
        "wavelength",
        "Wavelength",
        x=Axis("counts", "wavelength", "angstrom", "wavelength"),
        methods=_NEUTRONS,
        form="linear",
    ),
    View(
        "monitors",
        "Monitors",
        "spectrum",
        "monitors",
        "time_of_flight",
        Axis("counts", "time of flight", "ms", "time_of_flight", 1e-6),
        Axis("counts", "counts"),
        (Layer("steps", "monitor", ("counts",), "monitors"),),
        per="source",
        methods=_NEUTRONS,
    ),
    View(
        "rate",
        "Rate",
        "timeseries",
        "histograms",
        "time_of_flight",
        Axis("until", "time", "UTC"),
        Axis("events", "events", "1/s"),
        (Layer("line", "all banks", ("events",), "histograms"),),
    ),
)

VIEWS: Final = (
    *_COUNTED,
    *(_normalised(v) for v in _COUNTED if v.topic == "histograms" and v.kind == "spectrum" and v.name != "decay"),
)
"""For each method of measuring, what people at such an instrument look at; drawn is what was counted."""
