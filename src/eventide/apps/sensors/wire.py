"""The two wire forms of an Array of Things reading, from bytes to columns of text.

Form A is a record: ``{"NodeID": .., "timestamp": "2016-11-10 00:00:20.143000", "sensor": ..,
"parameter": .., "value": "27.6"}``. Form B is the notebook's single-key object:
``{"TSYS01_temperature": ["2016-11-10 00:00:20.143000", 27.6]}``.

Whole columns are taken apart at the quotation marks, then, where that does not fit, by a regular expression;
only payloads that neither can read (another order of fields, escapes, damage) are looked at one by one. A
damaged payload becomes a row marked ``malformed`` that holds the payload's text; it never raises.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa

from eventide.apps.sensors.ranges import Ranges

__all__ = ["TextColumns", "columns_a", "columns_b", "payload_text", "split_stream"]

TextColumns = pl.DataFrame
"""Columns timestamp, node_id, sensor, parameter, value (text) and malformed (boolean)."""

_NAMES = ("timestamp", "node_id", "sensor", "parameter", "value")
_FIELDS_A = ("NodeID", "timestamp", "sensor", "parameter", "value")
_COLON, _COMMA = (":", ": "), (",", ", ")
_FRAME = (("{",), _COLON, _COMMA, _COLON, _COMMA, _COLON, _COMMA, _COLON, _COMMA, _COLON, ("}",))
"""What stands between the strings of a record whose values are all text."""
_TEXT = r'"([^"\\]*)"'
_VALUE = r'("[^"\\]*"|[^\s"\[\]{},]+)'
_FORM_A = (
    r"^\s*\{\s*"
    + r"\s*,\s*".join(rf'"{name}"\s*:\s*{_VALUE if name == "value" else _TEXT}' for name in _FIELDS_A)
    + r"\s*\}\s*$"
)
_FORM_B = rf"^\s*\{{\s*{_TEXT}\s*:\s*\[\s*{_TEXT}\s*,\s*{_VALUE}\s*\]\s*\}}\s*$"
_ALIASES = {"NodeID": "node_id", "nodeid": "node_id", "node": "node_id"}


def columns_a(payloads: pa.Array) -> TextColumns:
    """Take records of form A apart.

    Parameters
    ----------
    payloads
        binary or text, one JSON record each.

    Examples
    --------
    >>> one = b'{"value": "27.6", "sensor": "TSYS01", "parameter": "temperature"}'
    >>> columns_a(pa.array([one])).select("sensor", "value", "malformed").row(0)
    ('TSYS01', '27.6', False)
    """
    text = payload_text(payloads)
    rows = _filled(_at_quotes(text), text, _by_pattern)
    return _with_slow_rows(text, rows, _record)


def columns_b(payloads: pa.Array, ranges: Ranges) -> TextColumns:
    """Take single-key objects of form B apart.

    Parameters
    ----------
    payloads
        binary or text, one JSON object each.
    ranges
        Known sensors and parameters, which decide where a key is cut; see `split_stream`.

    Examples
    --------
    >>> one = b'{"TSYS01_temperature": ["2016-11-10 00:00:20.143000", 27.6]}'
    >>> columns_b(pa.array([one]), Ranges({})).select("sensor", "parameter", "value").row(0)
    ('TSYS01', 'temperature', '27.6')
    """
    text = payload_text(payloads)
    groups = text.str.extract_groups(_FORM_B).struct.unnest()
    groups.columns = ["sensor", "timestamp", "value"]
    rows = groups.with_columns(
        pl.col("value").str.strip_chars('"'), node_id=pl.lit(None, pl.String), parameter=pl.lit(None, pl.String)
    ).select(_NAMES)
    whole = _with_slow_rows(text, rows, _single_key)
    cut = {stream: split_stream(stream, ranges) for stream in whole["sensor"].unique().to_list() if stream is not None}
    sensors, parameters = {s: c[0] for s, c in cut.items()}, {s: c[1] for s, c in cut.items()}
    return whole.with_columns(
        sensor=pl.col("sensor").replace_strict(sensors, default=None, return_dtype=pl.String),
        parameter=pl.col("sensor").replace_strict(parameters, default=None, return_dtype=pl.String),
    )


def split_stream(stream: str, ranges: Ranges) -> tuple[str, str]:
    """Cut a key ``sensor_parameter`` in two: where a known pair says, else at the last underscore.

    Examples
    --------
    >>> split_stream("OPCN2_pm2_5", Ranges.of([("OPCN2", "pm2_5", 0, 1)]))
    ('OPCN2', 'pm2_5')
    >>> split_stream("spv1840lr5h_b_intensity", Ranges({}))
    ('spv1840lr5h_b', 'intensity')
    """
    cuts = [i for i, letter in enumerate(stream) if letter == "_"]
    for i in cuts:
        if (stream[:i].lower(), stream[i + 1 :].lower()) in ranges.limits:
            return stream[:i], stream[i + 1 :]
    return (stream[: cuts[-1]], stream[cuts[-1] + 1 :]) if cuts else (stream, "")


def payload_text(payloads: pa.Array) -> pl.Series:
    """Return payloads as text; bytes that are not UTF-8 are shown as escapes.

    Examples
    --------
    >>> payload_text(pa.array([b"abc", None])).to_list()
    ['abc', None]
    """
    try:
        text = payloads.cast(pa.large_string())
    except pa.ArrowInvalid:
        rows = [None if p is None else p.decode("utf-8", "backslashreplace") for p in payloads.to_pylist()]
        text = pa.array(rows, pa.large_string())
    return pl.Series(text)


def _at_quotes(text: pl.Series) -> pl.DataFrame:
    """Cut at every quotation mark; what lies between the names and the values must be what JSON has there."""
    pieces = text.str.splitn('"', 2 * len(_FRAME) - 1).struct.unnest()
    pieces.columns = [str(i) for i in range(pieces.width)]
    fits = pl.all_horizontal(
        *(pl.col(str(2 * i)).is_in(allowed) for i, allowed in enumerate(_FRAME)),
        *(pl.col(str(4 * i + 1)) == name for i, name in enumerate(_FIELDS_A)),
        ~text.str.contains("\\", literal=True),
    )
    columns = {_ALIASES.get(name, name): pl.col(str(4 * i + 3)) for i, name in enumerate(_FIELDS_A)}
    return pieces.select(**{name: pl.when(fits).then(columns[name]) for name in _NAMES})


def _by_pattern(text: pl.Series) -> pl.DataFrame:
    groups = text.str.extract_groups(_FORM_A).struct.unnest()
    groups.columns = [_ALIASES.get(name, name) for name in _FIELDS_A]
    return groups.select(_NAMES).with_columns(pl.col("value").str.strip_chars('"'))


def _filled(rows: pl.DataFrame, text: pl.Series, take: Callable[[pl.Series], pl.DataFrame]) -> pl.DataFrame:
    """Return `rows` with those that have no timestamp taken from the text in another way."""
    open_rows = rows["timestamp"].is_null().arg_true()
    if not len(open_rows):
        return rows
    patch = take(text.gather(open_rows))
    order = pl.Series(range(len(rows)), dtype=pl.UInt32)
    order = order.scatter(open_rows, range(len(rows), len(rows) + len(open_rows)))
    return pl.concat([rows, patch])[order]


def _with_slow_rows(text: pl.Series, rows: pl.DataFrame, read: Callable[[str], dict[str, str | None]]) -> TextColumns:
    def one_by_one(payloads: pl.Series) -> pl.DataFrame:
        found: list[dict[str, Any]] = []
        for payload in payloads.to_list():
            try:
                found.append({**dict.fromkeys(_NAMES), **read(payload), "malformed": False})
            except (ValueError, TypeError, RecursionError):
                found.append({**dict.fromkeys(_NAMES), "value": payload, "malformed": True})
        return pl.DataFrame(found, schema=marked.schema)

    marked = rows.with_columns(malformed=pl.lit(value=False))
    return _filled(marked, text, one_by_one)


def _record(payload: str) -> dict[str, str | None]:
    record = json.loads(payload)
    if not isinstance(record, dict) or not record:
        msg = "not a record"
        raise TypeError(msg)
    named = {_ALIASES.get(name, name): value for name, value in record.items()}
    return {name: _as_text(named.get(name)) for name in _NAMES}


def _single_key(payload: str) -> dict[str, str | None]:
    record = json.loads(payload)
    if not isinstance(record, dict):
        msg = "not an object"
        raise TypeError(msg)
    ((stream, pair),) = record.items()
    timestamp, value = pair
    return {"sensor": _as_text(stream), "timestamp": _as_text(timestamp), "value": _as_text(value)}


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        # A lone surrogate can be written in JSON but is no text.
        return value if value is None else value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(value)
