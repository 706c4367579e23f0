"""Readings as they are sent (all text) into typed readings in which every bad value says why it is bad.

Nothing is dropped and nothing raises because of data: a value that cannot be used is flagged with one
of `eventide.apps.sensors.schema.REASONS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
import pyarrow as pa

from eventide.apps.sensors.ranges import BUILT_IN, Ranges
from eventide.apps.sensors.schema import FAIL, MISSING, NOT_EVALUATED, PASS, READINGS
from eventide.apps.sensors.wire import columns_a, columns_b
from eventide.errors import ConfigError, SchemaError

__all__ = ["Rules", "decode_a", "decode_b", "decode_table", "good"]

_NUMBER = r"^[+-]?(?:0|[1-9][0-9]*|[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$"
"""A number. Whole numbers with leading zeros are identifiers, among them hexadecimal ones that hold one 'e'."""

_MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "nil")
_INFINITE = r"^[+-]?inf(inity)?$"
_NAMES = {
    "timestamp": ("timestamp", "date"),
    "node_id": ("node_id", "NodeID", "node"),
    "sensor": ("sensor",),
    "parameter": ("parameter",),
    "value": ("value_hrf", "value"),
    "value_raw": ("value_raw",),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether a reading is good.

    Parameters
    ----------
    zone
        Time zone of timestamps that name none, such as ``"America/Chicago"``. Of the two instants of an
        hour that a clock shows twice the earlier is taken.
    sentinels
        Numbers by which instruments say that there is no value.
    identifiers
        Parameters whose values are identifiers even where they look like numbers.
    ranges
        Ranges of the instruments.

    Raises
    ------
    ConfigError
        There is no such time zone.
    """

    zone: str = "UTC"
    sentinels: tuple[float, ...] = (65535.0,)
    identifiers: tuple[str, ...] = ("id", "fw")
    ranges: Ranges = BUILT_IN

    def __post_init__(self) -> None:
        """Check the time zone."""
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError):
            msg = f"there is no time zone {self.zone!r}"
            raise ConfigError(
                msg, hint="use a name of the IANA time zone database, such as 'America/Chicago'"
            ) from None


def decode_a(payloads: pa.Array, rules: Rules | None = None) -> pa.RecordBatch:
    """Decode readings in wire form A, one JSON record with named fields each.

    Parameters
    ----------
    payloads
        binary or text.
    rules
        What decides whether a reading is good.

    Returns
    -------
    Batch of schema `READINGS`, one row per payload, in their order.

    Examples
    --------
    >>> record = b'{"NodeID": "01", "timestamp": "2016-11-10 00:00:20.143000", "sensor": "TSYS01",'
    >>> record += b' "parameter": "temperature", "value": "214.75"}'
    >>> batch = decode_a(pa.array([record]))
    >>> batch.column("value").to_pylist(), batch.column("reason").to_pylist()
    ([214.75], ['out_of_range'])
    """
    return _readings(columns_a(payloads), rules or Rules())


def decode_b(payloads: pa.Array, rules: Rules | None = None) -> pa.RecordBatch:
    """Decode readings in wire form B, one object ``{"sensor_parameter": [timestamp, value]}`` each.

    Examples
    --------
    >>> batch = decode_b(pa.array([b'{"TSYS01_temperature": ["2016-11-10 00:00:20.143000", 27.6]}']))
    >>> batch.column("stream").to_pylist(), batch.column("value").to_pylist()
    (['TSYS01_temperature'], [27.6])
    """
    rules = rules or Rules()
    return _readings(columns_b(payloads, rules.ranges), rules)


def decode_table(table: pa.Table | pa.RecordBatch, rules: Rules | None = None) -> pa.RecordBatch:
    """Decode readings that come as columns, such as the CSV files of the archive read as text.

    Columns are found by name: timestamp, node_id or NodeID, sensor, parameter, value_hrf or value,
    value_raw. Only timestamp and a value are needed. Where both are there, the value in physical units
    (``value_hrf``) is the value; the raw one is kept and looked at for sentinels.

    Raises
    ------
    SchemaError
        There is no timestamp or no value column.

    Examples
    --------
    >>> rows = pa.table({"timestamp": ["2018/09/28 16:35:43"], "sensor": ["metsense"], "parameter": ["id"],
    ...                  "value_raw": ["0000171e1234"], "value_hrf": ["0000171e1234"]})
    >>> batch = decode_table(rows)
    >>> batch.column("value_raw").to_pylist(), batch.column("reason").to_pylist()
    (['0000171e1234'], ['not_numeric'])
    """
    found = {
        name: next((alias for alias in aliases if alias in table.column_names), None)
        for name, aliases in _NAMES.items()
    }
    for name in ("timestamp", "value"):
        if found[name] is None:
            msg = f"readings need a column {name!r}; there are {table.column_names}"
            raise SchemaError(msg, hint=f"rename one of the columns to {' or '.join(_NAMES[name])}")
    columns = {name: table.column(alias) for name, alias in found.items() if alias is not None}
    frame = pl.DataFrame(pa.table(columns)).with_columns(malformed=pl.lit(value=False))
    texts = [name for name in columns if name != "timestamp"]
    frame = frame.with_columns(
        *(pl.col(name).cast(pl.String, strict=False) for name in texts),
        *(pl.lit(None, pl.String).alias(name) for name in ("node_id", "sensor", "parameter") if name not in columns),
    )
    return _readings(frame, rules or Rules())


def good(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the readings without a reason to distrust them.

    Examples
    --------
    >>> payloads = [b'{"T_t": ["2016-11-10 00:00:20", %s]}' % v for v in (b"27.6", b'"NA"')]
    >>> good(decode_b(pa.array(payloads))).num_rows
    1
    """
    return batch.filter(batch.column("reason").is_null())


def _readings(frame: pl.DataFrame, rules: Rules) -> pa.RecordBatch:
    with_raw = "value_raw" in frame.columns
    raw = pl.col("value_raw") if with_raw else pl.lit(None, pl.String)
    text, raw_text = pl.col("value").str.strip_chars(), raw.str.strip_chars()
    key = (
        pl.col("sensor").fill_null("").str.to_lowercase() + "\n" + pl.col("parameter").fill_null("").str.to_lowercase()
    )
    limits = {f"{sensor}\n{parameter}": pair for (sensor, parameter), pair in rules.ranges.limits.items()}
    frame = frame.with_columns(
        timestamp=_event_times(frame["timestamp"], rules.zone),
        number=_number(text, pl.col("parameter"), rules.identifiers),
        raw_number=_number(raw_text, pl.col("parameter"), rules.identifiers),
        text=text,
        low=key.replace_strict({k: v[0] for k, v in limits.items()}, default=None, return_dtype=pl.Float64),
        high=key.replace_strict({k: v[1] for k, v in limits.items()}, default=None, return_dtype=pl.Float64),
        value_raw=pl.when(_is_missing(raw_text)).then("value").otherwise(raw) if with_raw else pl.col("value"),
        stream=_stream(),
    )
    number, sentinels = pl.col("number"), list(rules.sentinels)
    # Few values are no numbers: what their text says need not be asked of the others.
    odd = pl.when(number.is_null()).then("text")
    reason = (
        pl.when("malformed")
        .then(pl.lit("malformed"))
        .when(pl.col("timestamp").is_null())
        .then(pl.lit("bad_timestamp"))
        .when(
            number.is_in(sentinels).fill_null(value=False)
            | pl.col("raw_number").is_in(sentinels).fill_null(value=False)
        )
        .then(pl.lit("sentinel"))
        .when(number.is_null() & _is_missing(odd))
        .then(pl.lit("missing"))
        .when(number.is_infinite() | odd.str.to_lowercase().str.contains(_INFINITE))
        .then(pl.lit("not_finite"))
        .when(number.is_null())
        .then(pl.lit("not_numeric"))
        .when((number < pl.col("low")) | (number > pl.col("high")))
        .then(pl.lit("out_of_range"))
    )
    frame = frame.with_columns(reason=reason, value=pl.when(number.is_finite() & ~pl.col("malformed")).then(number))
    quality = (
        pl.when(pl.col("reason") == "missing")
        .then(MISSING)
        .when(pl.col("reason").is_not_null())
        .then(FAIL)
        .when(pl.col("low").is_null())
        .then(NOT_EVALUATED)
        .otherwise(PASS)
    )
    # Text that is no number survives even where there is a raw value beside it.
    kept = pl.when(pl.col("reason") == "not_numeric").then("text").otherwise("value_raw")
    out = frame.with_columns(quality=quality.cast(pl.UInt8), value_raw=kept).select(READINGS.names)
    return out.to_arrow().cast(READINGS).combine_chunks().to_batches(max_chunksize=None)[0] if len(out) else _none()


def _stream() -> pl.Expr:
    parts = [pl.when(pl.col(name) != "").then(name) for name in ("sensor", "parameter")]
    stream = pl.concat_str(parts, separator="_", ignore_nulls=True)
    return pl.when(stream != "").then(stream)


def _none() -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in READINGS], schema=READINGS)


def _is_missing(text: pl.Expr) -> pl.Expr:
    lower = text.str.to_lowercase()
    return lower.is_null() | lower.is_in(_MISSING) | lower.str.contains("^n{4,}$")


def _number(text: pl.Expr, parameter: pl.Expr, identifiers: tuple[str, ...]) -> pl.Expr:
    plain = text.str.contains(_NUMBER) & ~parameter.str.to_lowercase().is_in(identifiers).fill_null(value=False)
    return pl.when(plain).then(text.str.strip_prefix("+").cast(pl.Float64, strict=False))


def _event_times(times: pl.Series, zone: str) -> pl.Series:
    if times.dtype == pl.Datetime:
        return _in_zone(times, zone)
    if times.dtype != pl.String:
        times = times.cast(pl.String, strict=False)
    text = times.str.strip_chars()
    for mark, plain in (("/", "-"), ("T", " ")):
        if text.str.contains(mark, literal=True).any():
            text = text.str.replace_all(mark, plain, literal=True)
    # 64-bit nanoseconds reach from 1677 to 2262; the parser would wrap around outside.
    text = (
        text.to_frame("t").select(pl.when(pl.col("t").is_between(pl.lit("1678"), pl.lit("2262"))).then("t")).to_series()
    )
    found = _in_zone(text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False), zone)
    if found.null_count() > times.null_count():
        offset = text.str.replace("Z$", "+00:00").str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f%:z", time_unit="ns", time_zone="UTC", strict=False
        )
        found = found.zip_with(found.is_not_null(), offset)
    return found


def _in_zone(times: pl.Series, zone: str) -> pl.Series:
    if times.dtype.time_zone is None:  # type: ignore[attr-defined]
        times = times.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return times.dt.cast_time_unit("ns").dt.convert_time_zone("UTC")
