"""Plausible ranges of sensor parameters: built in for the simulated network, or read from a table.

A range is what the instrument can measure (the gross range test of QARTOD), not what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eventide.errors import DataError, SchemaError

__all__ = ["BUILT_IN", "Ranges", "read_ranges"]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges by sensor and parameter; names are compared without regard to case.

    Parameters
    ----------
    limits
        (sensor, parameter) in lower case to (minimum, maximum); infinite where open.

    Examples
    --------
    >>> Ranges.of([("TSYS01", "temperature", -40, 125)]).limits
    {('tsys01', 'temperature'): (-40.0, 125.0)}
    """

    limits: dict[tuple[str, str], tuple[float, float]]

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str, float, float]]) -> Ranges:
        """Return ranges from rows (sensor, parameter, minimum, maximum); of several rows for one pair the widest."""
        limits: dict[tuple[str, str], tuple[float, float]] = {}
        for sensor, parameter, low, high in rows:
            key = (sensor.lower(), parameter.lower())
            was_low, was_high = limits.get(key, (math.inf, -math.inf))
            limits[key] = (min(was_low, float(low)), max(was_high, float(high)))
        return cls(limits)

    def with_(self, other: Ranges) -> Ranges:
        """Return these ranges, with those of `other` in their place where both have one."""
        return Ranges({**self.limits, **other.limits})


def read_ranges(path: str | Path) -> Ranges:
    """Read ranges from a CSV file with the columns sensor, parameter and a minimum and a maximum.

    The limits may be called ``minimum``/``maximum``, ``min``/``max`` or, as in the Array of Things
    archive, ``hrf_minval``/``hrf_maxval``; an empty cell leaves that side open.

    Raises
    ------
    DataError
        The file cannot be read.
    SchemaError
        A column is missing.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"the table of ranges {path} cannot be read: {error}"
        raise DataError(msg, hint="it is a CSV file with the columns sensor, parameter, minimum, maximum") from None
    names = {name.strip().lower(): name for name in table.columns}
    low = next((names[n] for n in ("minimum", "min", "hrf_minval") if n in names), None)
    high = next((names[n] for n in ("maximum", "max", "hrf_maxval") if n in names), None)
    if low is None or high is None or not {"sensor", "parameter"} <= names.keys():
        msg = f"the table of ranges {path} has the columns {table.columns}"
        raise SchemaError(msg, hint="it needs sensor, parameter, minimum and maximum")
    rows = table.select(
        pl.col(names["sensor"]).fill_null(""),
        pl.col(names["parameter"]).fill_null(""),
        pl.col(low).str.strip_chars().cast(pl.Float64, strict=False).fill_null(-math.inf),
        pl.col(high).str.strip_chars().cast(pl.Float64, strict=False).fill_null(math.inf),
    )
    return Ranges.of(row for row in rows.iter_rows() if row[2:] != (-math.inf, math.inf))


BUILT_IN = Ranges.of(
    [
        ("TSYS01", "temperature", -40, 125),
        ("HTU21D", "temperature", -40, 125),
        ("HTU21D", "humidity", 0, 100),
        ("HIH4030", "humidity", 0, 100),
        ("HIH6130", "temperature", -25, 85),
        ("HIH6130", "humidity", 0, 100),
        ("BMP180", "temperature", -40, 85),
        ("BMP180", "pressure", 300, 1100),
        ("LPS25H", "temperature", -30, 105),
        ("LPS25H", "pressure", 260, 1260),
        ("PR103J2", "temperature", -55, 80),
        ("TMP112", "temperature", -40, 125),
        ("TMP421", "temperature", -55, 127),
        ("SHT25", "temperature", -40, 125),
        ("SHT25", "humidity", 0, 100),
        ("AT0", "temperature", -40, 125),
        ("AT1", "temperature", -40, 125),
        ("AT2", "temperature", -40, 125),
        ("AT3", "temperature", -40, 125),
        ("TSL250RD", "intensity", 0, 65534),
        ("TSL260RD", "intensity", 0, 65534),
        ("MLX75305", "intensity", 0, 65534),
        ("APDS9006", "intensity", 0, 65534),
        ("ML8511", "intensity", 0, 65534),
        ("SI1145", "visible_light_intensity", 0, 65534),
        ("SI1145", "ir_intensity", 0, 65534),
        ("SI1145", "uv_intensity", 0, 65534),
        ("SPV1840", "intensity", 0, 140),
        ("HMC5883L", "magnetic_field_x", -8000, 8000),
        ("HMC5883L", "magnetic_field_y", -8000, 8000),
        ("HMC5883L", "magnetic_field_z", -8000, 8000),
        ("MMA8452Q", "acceleration_x", -8000, 8000),
        ("MMA8452Q", "acceleration_y", -8000, 8000),
        ("MMA8452Q", "acceleration_z", -8000, 8000),
        ("OPCN2", "pm1", 0, 2000),
        ("OPCN2", "pm2_5", 0, 2000),
        ("OPCN2", "pm10", 0, 5000),
        ("Chemsense", "co", 0, 65534),
        ("Chemsense", "h2s", 0, 65534),
        ("Chemsense", "no2", 0, 65534),
        ("Chemsense", "o3", 0, 65534),
        ("Chemsense", "so2", 0, 65534),
        ("Chemsense", "oxidizing_gases", 0, 65534),
        ("Chemsense", "reducing_gases", 0, 65534),
        ("Wagman", "battery", -55, 125),
        ("Wagman", "brainplate", -55, 125),
        ("Wagman", "powersupply", -55, 125),
        ("Wagman", "current", 0, 10000),
        ("LoadAvg", "loadavg1", 0, 1000),
        ("LoadAvg", "loadavg5", 0, 1000),
    ]
)
"""Ranges of the simulated network; chemical and light sensors in raw counts."""
