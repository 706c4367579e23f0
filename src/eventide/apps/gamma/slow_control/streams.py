"""The streams of slow control, and how rows get what was in force at their time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import polars as pl
import pyarrow as pa

from eventide.model.stream import Stream
from eventide.model.time import EVENT_TIME
from eventide.operators.asof_join import asof_join

__all__ = ["CALIBRATION", "POINTINGS", "TELESCOPE_STATE", "WEATHER", "Checked", "SlowControl", "in_force"]

POINTINGS: Final = pa.schema(
    [
        pa.field("time", EVENT_TIME),
        pa.field("tel_id", pa.int16()),
        pa.field("altitude", pa.float64(), metadata={"unit": "deg"}),
        pa.field("azimuth", pa.float64(), metadata={"unit": "deg"}),
        pa.field("is_tracking", pa.bool_()),
    ]
)
"""Where a telescope points, and whether it is where it should be."""

TELESCOPE_STATE: Final = pa.schema(
    [
        pa.field("time", EVENT_TIME),
        pa.field("tel_id", pa.int16()),
        pa.field("state", pa.string(), metadata={"meaning": "tracking, or what it does instead: slewing, parked ..."}),
        pa.field("subarray", pa.string(), metadata={"meaning": "that it belongs to; null: as the array says"}),
    ]
)
"""A telescope's state from a time on."""

WEATHER: Final = pa.schema(
    [
        pa.field("time", EVENT_TIME),
        pa.field("transparency", pa.float64(), metadata={"meaning": "of the atmosphere: 1 is a clear sky"}),
        pa.field("wind", pa.float64(), metadata={"unit": "m/s"}),
        pa.field("humidity", pa.float64(), metadata={"unit": "%"}),
    ]
)
"""The weather of the site from a time on; null where nobody measured."""

CALIBRATION: Final = pa.schema(
    [
        pa.field("time", EVENT_TIME),
        pa.field("tel_id", pa.int16()),
        pa.field("dead", pa.list_(pa.int32()), metadata={"meaning": "pixels that take the mean of their neighbours"}),
        pa.field("noise", pa.list_(pa.float32()), metadata={"unit": "photo-electrons", "meaning": "of the night sky"}),
        pa.field("rate", pa.float64(), metadata={"unit": "1/ns", "meaning": "samples"}),
        pa.field("pedestal", pa.list_(pa.float32()), metadata={"unit": "counts", "meaning": "gain after gain"}),
        pa.field("factor", pa.list_(pa.float32()), metadata={"meaning": "photo-electrons of a count"}),
        pa.field("time_shift", pa.list_(pa.float32()), metadata={"unit": "ns", "meaning": "null: none"}),
        pa.field("pulse", pa.list_(pa.float64()), metadata={"meaning": "shape, gain after gain; null: not known"}),
        pa.field("pulse_step", pa.float64(), metadata={"unit": "ns"}),
    ]
)
"""What is known of the pixels of a camera from a time on; calibrated images need the first four columns only."""


class SlowControl(NamedTuple):
    """Streams beside the images, each with event time; those that are left out are not asked.

    Attributes
    ----------
    pointings
        `POINTINGS`, for images that do not say where their telescope pointed.
    states
        `TELESCOPE_STATE`.
    weather
        `WEATHER`.
    calibration
        `CALIBRATION`; waveforms need it.
    """

    pointings: Stream | None = None
    states: Stream | None = None
    weather: Stream | None = None
    calibration: Stream | None = None


class Checked(NamedTuple):
    """Rows that can be used, the others (with ``reason``), and those that came too late to tell, where that can be."""

    good: Stream
    excluded: Stream
    late: Stream | None = None


def in_force(
    rows: Stream,
    slow: Stream,
    columns: Mapping[str, str],
    *,
    key: str = "tel_id",
    tolerance: str = "0",
    direction: Literal["backward", "forward"] = "backward",
) -> tuple[Stream, Stream]:
    """Add to rows what was in force at their time, and return those that came too late beside them.

    Parameters
    ----------
    rows
        With event time.
    slow
        With event time.
    columns
        What to add, and under which name.
    key
        The column that must be equal; a row without it gets nulls.
    tolerance
        How old that may be; "0" is any age.
    direction
        ``"forward"``: what comes next instead.

    Examples
    --------
    >>> import eventide as ev
    >>> rows = ev.from_table({"t": ["2026-01-01T00:00:05"], "tel_id": [1]}).event_time("t")
    >>> slow = ev.from_table({"u": ["2026-01-01"], "tel_id": [1], "state": ["parked"]}).event_time("u")
    >>> ev.fetch(in_force(rows, slow, {"state": "is"})[0])["is"].to_pylist()
    ['parked']
    """
    right = slow.select(slow.time, key, *(pl.col(name).alias(to) for name, to in columns.items()))
    both = asof_join(rows.key_by(key), right.key_by(key), tolerance=tolerance, direction=direction, suffix="_slow")
    time = slow.time + "_slow" * (slow.time == rows.time)
    return both.select(pl.exclude(time)), both.side("late")
