"""Schemas of the three streams of this application: readings, anomalies, incidents.

The quality flag follows the QARTOD numbering of the U.S. Integrated Ocean Observing System (1 pass,
2 not evaluated, 3 suspect, 4 fail, 9 missing), so that the columns mean the same for every instrument.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from eventide.model.time import EVENT_TIME

__all__ = [
    "ALARMS",
    "ANOMALIES",
    "FAIL",
    "INCIDENTS",
    "MISSING",
    "NOT_EVALUATED",
    "PASS",
    "READINGS",
    "REASONS",
    "SCORED",
    "SUSPECT",
    "TEXT_READINGS",
]

PASS: Final = 1
NOT_EVALUATED: Final = 2
SUSPECT: Final = 3
FAIL: Final = 4
MISSING: Final = 9

REASONS: Final = {
    "malformed": "the record itself could not be read",
    "bad_timestamp": "no timestamp, or none that can be read; such a row has no place in event time",
    "sentinel": "the instrument's code for no value, such as 65535",
    "missing": "no value: empty, NA, NaN, null",
    "not_finite": "infinite, or too large for a 64-bit number",
    "not_numeric": "text that is not a number, such as a hexadecimal identifier",
    "out_of_range": "outside the range that the instrument can measure",
}
"""Why a reading is bad, in the order in which they are looked for; a good reading has no reason."""

TEXT_READINGS: Final = pa.schema(
    [
        ("timestamp", pa.string()),
        ("node_id", pa.string()),
        ("sensor", pa.string()),
        ("parameter", pa.string()),
        ("value", pa.string()),
    ]
)
"""Readings as they are sent: every field is text."""

READINGS: Final = pa.schema(
    [
        pa.field("timestamp", EVENT_TIME),
        pa.field("node_id", pa.string()),
        pa.field("sensor", pa.string()),
        pa.field("parameter", pa.string()),
        pa.field("stream", pa.string(), metadata={"meaning": "sensor_parameter, the key"}),
        pa.field("value", pa.float64(), metadata={"meaning": "null where the text is not a finite number"}),
        pa.field("value_raw", pa.string(), metadata={"meaning": "the value as it was sent"}),
        pa.field(
            "quality", pa.uint8(), metadata={"meaning": "QARTOD flag: 1 pass, 2 not evaluated, 4 fail, 9 missing"}
        ),
        pa.field("reason", pa.string(), metadata={"meaning": "why the reading is bad; null where it is good"}),
    ]
)
"""Decoded readings; nothing is left out, a bad reading says why in `reason`."""

ANOMALIES: Final = pa.schema(
    [
        pa.field("timestamp", EVENT_TIME),
        pa.field("node_id", pa.string()),
        pa.field("stream", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("prediction", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field(
            "score", pa.float64(), metadata={"meaning": "distance from the prediction in half widths of the band"}
        ),
        pa.field("detector", pa.string()),
    ]
)
"""Readings that a detector flagged, with what it expected."""

ALARMS: Final = ANOMALIES.append(
    pa.field("suppressed", pa.int64(), metadata={"meaning": "anomalies held back since the alarm before"})
)
"""Anomalies that were let through: the first of a stream, and the first after each silence."""

SCORED: Final = ANOMALIES.insert(len(ANOMALIES), pa.field("flag", pa.bool_(), metadata={"meaning": "an anomaly"}))
"""Every judged reading, with what was expected: what plots are made of."""

INCIDENTS: Final = pa.schema(
    [
        pa.field("stream", pa.string()),
        pa.field("start", EVENT_TIME, metadata={"meaning": "first anomaly"}),
        pa.field("end", EVENT_TIME, metadata={"meaning": "last anomaly"}),
        pa.field("n", pa.int64(), metadata={"meaning": "anomalies"}),
        pa.field("peak_score", pa.float64()),
    ]
)
"""Runs of anomalies of one stream that lie less than a gap apart."""
