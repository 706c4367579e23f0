"""Values of motors and sample environment (f144, f142) joined with pulses, each as it was at the time of the pulse."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eventide import registry
from eventide.errors import UsageError, near_names
from eventide.model.batch import as_event_time, column
from eventide.model.stream import Stream
from eventide.model.time import EVENT_TIME
from eventide.operators.asof_join import asof_join

__all__ = ["FORMS", "LOGS", "decode_logs", "value_of", "with_value"]

LOGS: Final = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("source", pa.string(), metadata={"meaning": "which motor, which sensor"}),
        pa.field("value", pa.float64(), metadata={"meaning": "null for an array or a text"}),
    ]
)
"""Values of logs, one a row."""

FORMS: Final = ("f144", "f142")
"""The formats of logs."""


def decode_logs(batch: pa.RecordBatch, form: str = "f144") -> pa.RecordBatch:
    """Return the values in messages (`LOGS`); messages that cannot be read are left out.

    Parameters
    ----------
    batch
        Messages in a column ``value``.
    form
        ``"f144"`` or ``"f142"``.

    Raises
    ------
    UsageError
        There is no such form.

    Examples
    --------
    >>> from eventide.formats import f144
    >>> messages = [f144.write(f144.LogValue("omega", 4.25, 10**18)), b"?"]
    >>> decode_logs(pa.record_batch({"value": pa.array(messages, pa.binary())})).select(["source", "value"]).to_pylist()
    [{'source': 'omega', 'value': 4.25}]
    """
    if form not in FORMS:
        msg = f"{form!r} is no format of logs"
        raise UsageError(msg, hint=near_names(form, FORMS))
    values = column(batch, "value", where="of messages")
    made: pa.RecordBatch = registry.resolve("format", form).decode_many(values, schema=LOGS).batch
    return made


def value_of(logs: Stream, source: str) -> Stream:
    """Return the values of one source: ``event_time`` and ``value``.

    Parameters
    ----------
    logs
        Values (`LOGS`) with or without event time.
    source
        Of the motor or sensor.
    """
    schema = pa.schema([LOGS.field("event_time"), LOGS.field("value")])
    return logs.map_batches(functools.partial(_of, source), schema=schema, name=f"log of {source}")


def _of(source: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    named = column(batch, "source", where="of logs")
    keep = np.array([n == source for n in named.to_pylist()], np.bool_)
    times, values = as_event_time(column(batch, "event_time")), column(batch, "value").cast(pa.float64())
    return pa.RecordBatch.from_arrays([times, values], ["event_time", "value"]).filter(pa.array(keep))


def with_value(
    pulses: Stream,
    values: Stream,
    *,
    name: str,
    key: tuple[str, str],
    columns: Sequence[str],
    tolerance: str | timedelta = "0",
    label: str = "",
) -> Stream:
    """Return pulses with the value that was newest at the time of each, null where there was none yet.

    Pulses wait until no value before them can come any more: where values are rare and pulses do not end, the source
    of the values must promise that (`eventide.apps.neutron.awake`).

    Parameters
    ----------
    pulses
        Rows with the event time ``event_time``.
    values
        Rows with the event time ``event_time``, and a column ``value``.
    name
        Of the new column.
    key
        Name of another new column, which the result is keyed by, and what stands in it everywhere.
    columns
        Those of `pulses` that are kept, ``event_time`` among them.
    tolerance
        How old a value may be; "0" is any age.
    label
        Of the join, where a pipeline has several for one name.

    Examples
    --------
    >>> import eventide as ev
    >>> pulses = ev.from_table({"event_time": ["2026-01-01T00:00:01", "2026-01-01T00:00:03"]}).event_time("event_time")
    >>> moved = ev.from_table({"event_time": ["2026-01-01T00:00:02"], "value": [1.5]}).event_time("event_time")
    >>> made = with_value(pulses, moved, name="omega", key=("motor", "m1"), columns=["event_time"])
    >>> ev.fetch(made)["omega"].to_pylist()
    [None, 1.5]
    """
    label = f"{label} {name}".strip()
    kept = tuple(n for n in columns if n != key[0])
    left = _mapped(pulses, _keyed, key, {n: n for n in kept}, name=f"to {label}").key_by(key[0])
    right = _mapped(values, _keyed, key, {"event_time": "event_time", name: "value"}, name=f"values of {label}").key_by(
        key[0]
    )
    both = left.pipe(asof_join, right, tolerance=tolerance, suffix="_of_value")
    return _mapped(both, _selected, (*kept, key[0], name), name=f"with {label}")


def _mapped(stream: Stream, function: Any, *given: Any, name: str) -> Stream:
    """Apply a function that returns as many rows as it gets, so that each keeps the watermark that it met."""
    made = functools.partial(function, *given)
    made.follows_rows = True  # type: ignore[attr-defined]
    return stream.map_batches(made, name=name)


def _keyed(key: tuple[str, str], names: dict[str, str], batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return some columns under new names, and a column that says the same everywhere."""
    columns = {new: column(batch, old) for new, old in names.items()}
    columns[key[0]] = pa.array([key[1]] * batch.num_rows, pa.string())
    columns |= {n: batch.column(n) for n in batch.schema.names if n.startswith("_")}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _selected(names: tuple[str, ...], batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select([*names, *(n for n in batch.schema.names if n.startswith("_"))])
