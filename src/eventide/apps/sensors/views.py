"""The views of this application, as data: what to draw of which stream, on which axes, in which units.

Nothing here draws. `eventide.apps.sensors.plot` makes files of these views, a portal can show them live.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from eventide.apps.sensors.signals import SIGNALS

__all__ = ["VIEWS", "Axis", "Layer", "View", "unit_of"]


class Axis(msgspec.Struct, frozen=True):
    """One axis: the column it shows and its unit; an empty unit is that of the stream's parameter."""

    column: str
    label: str
    unit: str = ""


class Layer(msgspec.Struct, frozen=True):
    """One layer of a view: a line, a filled band between two columns, points, or shaded spans of time."""

    kind: Literal["line", "band", "points", "spans"]
    label: str
    columns: tuple[str, ...]
    topic: str
    where: str = ""


class View(msgspec.Struct, frozen=True):
    """A plot of a stream; one panel per value of `per`."""

    name: str
    title: str
    kind: Literal["timeseries", "table"]
    topic: str
    per: str
    x: Axis
    y: Axis
    layers: tuple[Layer, ...] = ()


VIEWS: Final = (
    View(
        name="band",
        title="Readings, prediction, band and anomalies",
        kind="timeseries",
        topic="scored",
        per="stream",
        x=Axis("timestamp", "time", "UTC"),
        y=Axis("value", "value"),
        layers=(
            Layer("spans", "incident", ("start", "end"), "incidents"),
            Layer("band", "band", ("low", "high"), "scored"),
            Layer("line", "reading", ("value",), "scored"),
            Layer("line", "prediction", ("prediction",), "scored"),
            Layer("points", "anomaly", ("value",), "scored", where="flag"),
        ),
    ),
    View(
        name="incidents",
        title="Incidents",
        kind="table",
        topic="incidents",
        per="",
        x=Axis("start", "start", "UTC"),
        y=Axis("peak_score", "peak score", "half widths of the band"),
    ),
)
"""The first is the chapter's figure 9.3: raw values, prediction and band, with what was found."""

_UNITS: Final = {f"{s.sensor}_{s.parameter}": s.unit for s in SIGNALS}


def unit_of(stream: str) -> str:
    """Return the unit of a stream of the simulated network or of the chapter's day, "" where it is not known.

    Examples
    --------
    >>> unit_of("TSYS01_temperature")
    'degC'
    """
    return _UNITS.get(stream, "")
