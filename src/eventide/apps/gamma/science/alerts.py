"""Alerts: the record of an excess, with what it was made of, so that it can be made again."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import pyarrow as pa

from eventide.errors import UsageError, near_names
from eventide.model.time import EVENT_TIME, format_duration

__all__ = ["ALERTS", "ROLES", "alert_id", "alert_rows", "example_alert"]

ROLES: Final = ("observation", "test", "prediction", "utility")
"""What a packet is for (VOEvent 2.0, section 3.1)."""

ALERTS: Final = pa.schema(
    [
        pa.field("time", EVENT_TIME, metadata={"meaning": "the event that decided"}),
        pa.field("id", pa.string(), metadata={"meaning": "the same for the same events and settings"}),
        pa.field("excess", pa.string(), metadata={"meaning": "id of the first alert of this excess"}),
        pa.field("update", pa.int64(), metadata={"meaning": "0 for the first alert of an excess, then counted"}),
        pa.field("source", pa.string(), metadata={"meaning": "name of the position that is tested"}),
        pa.field("ra", pa.float64(), metadata={"unit": "deg"}),
        pa.field("dec", pa.float64(), metadata={"unit": "deg"}),
        pa.field("error", pa.float64(), metadata={"unit": "deg", "meaning": "radius of the on region"}),
        pa.field("scale", pa.duration("ns"), metadata={"meaning": "length of the window that ends at time"}),
        pa.field("start", EVENT_TIME, metadata={"meaning": "first event in the window"}),
        pa.field("n_on", pa.int64()),
        pa.field("n_off", pa.int64()),
        pa.field("alpha", pa.float64(), metadata={"meaning": "ratio of the exposures, on to off"}),
        pa.field("significance", pa.float64(), metadata={"meaning": "Li and Ma 1983 eq. 17, before trials"}),
        pa.field("trials", pa.float64(), metadata={"meaning": "independent looks in the declared period"}),
        pa.field("significance_post", pa.float64(), metadata={"meaning": "after trials"}),
        pa.field("false_alarms_per_hour", pa.float64(), metadata={"unit": "1/h", "meaning": "expected of background"}),
        pa.field("inputs", pa.list_(pa.int64()), metadata={"meaning": "obs_id of the events in the window"}),
        pa.field("pipeline", pa.string(), metadata={"meaning": "hash of the settings"}),
    ]
)
"""What an alert says."""

_TIMES = ("time", "start", "scale")
_PLAIN = pa.schema([f.with_type(pa.int64()) if f.name in _TIMES else f for f in ALERTS])


def alert_id(source: str, scale: int, time: int, *, pipeline: str) -> str:
    """Return the name of an alert, the same whenever it is made of the same events with the same settings.

    Parameters
    ----------
    source
        Name of the position.
    scale, time
        Length and end of the window, ns.
    pipeline
        Hash of the settings.

    Examples
    --------
    >>> alert_id("Crab", 60_000_000_000, 0, pipeline="ab")
    'Crab-1m-c3e524d1f8e3'
    """
    length = format_duration(scale)
    digest = hashlib.sha256(f"{source}\0{scale}\0{time}\0{pipeline}".encode()).hexdigest()
    return f"{source or 'position'}-{length}-{digest[:12]}".replace(" ", "_")


def alert_rows(alerts: pa.RecordBatch, *, role: str, roles: tuple[str, ...] = ROLES) -> list[dict[str, Any]]:
    """Return alerts as dicts with times in ns, for an encoder.

    Raises
    ------
    UsageError
        These are no alerts, or the role is none of `roles`.

    Examples
    --------
    >>> alert_rows(example_alert(), role="test")[0]["scale"]
    60000000000
    """
    if role not in roles:
        msg = f"there is no role {role!r} of an alert here"
        raise UsageError(msg, hint=near_names(role, roles))
    missing = [n for n in ALERTS.names if n not in alerts.schema.names]
    if missing:
        msg = f"these rows are no alerts: they have no column {missing[0]!r}"
        raise UsageError(msg, hint="take them from the main output of watch()")
    rows: list[dict[str, Any]] = alerts.select(ALERTS.names).cast(_PLAIN).to_pylist()
    return rows


def example_alert() -> pa.RecordBatch:
    """Return one alert, for examples and tests.

    Examples
    --------
    >>> example_alert().num_rows
    1
    """
    minute = 60_000_000_000
    row = {
        "time": 1_767_225_600_000_000_000 + minute,
        "id": "Crab-1m-0123456789ab",
        "excess": "Crab-1m-0123456789ab",
        "update": 0,
        "source": "Crab",
        "ra": 83.63308,
        "dec": 22.0145,
        "error": 0.17,
        "scale": minute,
        "start": 1_767_225_600_000_000_000,
        "n_on": 20,
        "n_off": 3,
        "alpha": 0.2,
        "significance": 7.9,
        "trials": 1000.0,
        "significance_post": 6.9,
        "false_alarms_per_hour": 1e-9,
        "inputs": [7, 8],
        "pipeline": "0123456789abcdef",
    }
    return pa.RecordBatch.from_pylist([row], schema=ALERTS)
