"""Alerts as JSON notices with the words of the General Coordinates Network's unified schema (core, version 4)."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from eventide.apps.gamma.science.alerts import alert_rows
from eventide.model.time import format_time

__all__ = ["gcn_notices"]

_TENSE = {"observation": "current", "test": "test"}


def gcn_notices(
    alerts: pa.RecordBatch, *, mission: str, instrument: str = "", role: str = "test", sent: int | None = None
) -> list[bytes]:
    """Return one notice for every alert, as JSON in UTF-8.

    Parameters
    ----------
    alerts
        `ALERTS`.
    mission, instrument
        Who saw it.
    role
        ``"observation"`` or ``"test"``.
    sent
        When the notice is made, ns UTC; left out, the time of the alert, so that a replay makes the same bytes.

    Raises
    ------
    UsageError
        The batch is not of alerts, or the role is unknown.

    Notes
    -----
    ``rate_snr`` is the significance of the window before trials, ``rate_duration`` its length, ``far`` what background
    alone would make in a second on all scales. Counts and provenance, for which the schema has no words, are in
    ``additional_info`` as JSON.

    Examples
    --------
    >>> from eventide.apps.gamma.science.alerts import example_alert
    >>> notice = json.loads(gcn_notices(example_alert(), mission="Example")[0])
    >>> notice["trigger_time"], notice["ra"], notice["rate_duration"], notice["alert_tense"]
    ('2026-01-01T00:01:00Z', 83.63308, 60.0, 'test')
    """
    rows = alert_rows(alerts, role=role, roles=tuple(_TENSE))
    who = {"mission": mission, **({"instrument": instrument} if instrument else {})}
    return [_notice(row, who, tense=_TENSE[role], sent=sent) for row in rows]


def _notice(row: dict[str, Any], who: dict[str, str], *, tense: str, sent: int | None) -> bytes:
    more = {n: row[n] for n in ("n_on", "n_off", "alpha", "trials", "significance_post", "inputs", "pipeline")}
    notice = {
        **who,
        "id": [row["excess"]] if row["excess"] == row["id"] else [row["excess"], row["id"]],
        "event_name": [row["source"]],
        "alert_datetime": format_time(row["time"] if sent is None else sent),
        "alert_tense": tense,
        "alert_type": "update" if row["update"] else "initial",
        "trigger_time": format_time(row["time"]),
        "ra": row["ra"],
        "dec": row["dec"],
        "ra_dec_error": row["error"],
        "rate_snr": row["significance"],
        "rate_duration": row["scale"] / 1e9,
        "far": row["false_alarms_per_hour"] / 3600.0,
        "additional_info": json.dumps(more),
    }
    return json.dumps(notice).encode()
