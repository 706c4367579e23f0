"""Schemas of the streams of this application: pulses of events, messages as they came, and those that are broken.

A row of `PULSES` is what one source (a bank, a monitor) saw of one pulse: its events are lists, so that the time of the
pulse is there once and not for each event. Times of flight are whole ns after the pulse.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from eventide.model.time import EVENT_TIME

__all__ = ["BROKEN", "DECODED", "MESSAGES", "PULSES"]

PULSES: Final = pa.schema(
    [
        pa.field("event_time", EVENT_TIME, metadata={"meaning": "time of the pulse"}),
        pa.field("source", pa.string(), metadata={"meaning": "bank or monitor"}),
        pa.field("message_id", pa.int64(), metadata={"meaning": "consecutive for a source: gaps are losses"}),
        pa.field("pulse", pa.int32(), metadata={"meaning": "number of the pulse in its message"}),
        pa.field("time_of_flight", pa.list_(pa.int32()), metadata={"unit": "ns"}),
        pa.field("pixel_id", pa.list_(pa.int32()), metadata={"meaning": "null for a monitor, which has no pixels"}),
        pa.field("period", pa.int64(), metadata={"meaning": "of ISIS; null where none is told"}),
        pa.field("running", pa.bool_(), metadata={"meaning": "of ISIS; null where nothing is told"}),
        pa.field("proton_charge", pa.float32(), metadata={"unit": "uAh"}),
    ]
)
"""What a source saw of a pulse."""

MESSAGES: Final = pa.schema(
    [
        pa.field("timestamp", EVENT_TIME, metadata={"meaning": "when it was sent"}),
        pa.field("value", pa.large_binary()),
    ]
)
"""Messages as they came; there may be more columns, which are passed over."""

BROKEN: Final = pa.schema([pa.field("value", pa.large_binary()), pa.field("reason", pa.string())])
"""Messages that cannot be read, and why."""

DECODED: Final = pa.schema([*PULSES, *BROKEN])
"""What comes of decoding: pulses, whose `value` and `reason` are null, and broken messages, which have only these."""
