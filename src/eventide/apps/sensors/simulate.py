"""A simulated day of an Array-of-Things-like network, with known incidents, dirty values and late blocks.

The shape is that of the chapter: 172,800 events over 24 hours, from 50 streams every 25 s or from 40
streams every 20 s, numbers sent as text, each node storing its readings and uploading them in blocks of about
half an hour. What was put in is known: a table of incidents and a table of dirty values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from eventide.apps.sensors.schema import TEXT_READINGS
from eventide.apps.sensors.signals import SIGNALS, Signal
from eventide.apps.sensors.slots import Float64Array, Int64Array
from eventide.errors import ConfigError
from eventide.model.time import EVENT_TIME, duration, instant

__all__ = ["TRUE_INCIDENTS", "Simulation", "simulate", "wire_a", "wire_b"]

Texts = npt.NDArray[np.object_]
_DAY = duration("1d")
_TRUTH_FROM = 0.4
"""Incidents lie after this part of the day, when every detector has seen its warm-up."""

TRUE_INCIDENTS: Final = pa.schema(
    [
        pa.field("stream", pa.string()),
        pa.field("kind", pa.string(), metadata={"meaning": "dip, spikes, drift or stuck"}),
        pa.field("start", EVENT_TIME),
        pa.field("end", EVENT_TIME),
        pa.field("size", pa.float64(), metadata={"meaning": "largest change, in the value's unit"}),
    ]
)

_DIRT: Final = {
    "missing": ("NA", "NaN", ""),
    "sentinel": ("65535",),
    "not_numeric": ("ffff", "000017e2bc12"),
    "out_of_range": ("-99999.0", "1e9"),
}


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulated day.

    Parameters
    ----------
    readings
        All readings as text (`TEXT_READINGS`), in order of arrival.
    uploaded
        When each arrived, ns; never before it happened.
    incidents
        What happened (`TRUE_INCIDENTS`).
    dirty
        Dirty values: row number in `readings` and the reason that decoding must give.
    """

    readings: pa.RecordBatch
    uploaded: Int64Array
    incidents: pa.Table
    dirty: pa.Table

    def batches(self, rows: int = 10_000) -> Iterator[pa.RecordBatch]:
        """Yield the readings in order of arrival, in batches of at most `rows`."""
        for start in range(0, self.readings.num_rows, rows):
            yield self.readings.slice(start, rows)

    @property
    def lateness(self) -> int:
        """How far behind the newest reading that had arrived the most belated one came, ns."""
        times = pl.Series(self.readings.column("timestamp")).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns")
        moments = times.to_physical().to_numpy()
        return int(np.max(np.maximum.accumulate(moments) - moments, initial=0))


def simulate(
    streams: int = 50,
    *,
    seed: int = 2016,
    start: str = "2016-11-10T00:00:00",
    upload_every: str = "30m",
    dirty: float = 0.002,
    incidents: int | None = None,
    nodes: int = 5,
) -> Simulation:
    """Simulate one day.

    Parameters
    ----------
    streams
        Number of streams, at most the number of signals there are (50). The day holds 172,800 events
        or slightly less, 3,456 a stream for 50 and 4,320 for 40.
    seed
        The same seed gives the same day, to the byte.
    start
        Beginning of the day, UTC.
    upload_every
        Length of the blocks in which a node uploads; "0" for no blocks: every reading arrives at once.
    dirty
        Share of values that are replaced by something that is no good value.
    incidents
        Number of incidents, spread over as many streams; left out, eight, or one a stream where there are fewer.
    nodes
        Number of nodes that the streams are shared out to.

    Raises
    ------
    ConfigError
        A number is out of its range.

    Examples
    --------
    >>> day = simulate(40, incidents=4)
    >>> day.readings.num_rows
    172800
    >>> day.incidents.column("stream").to_pylist()[0]
    'Chemsense_no2'
    """
    events = min(8, streams) if incidents is None else incidents
    _check(
        streams=(streams, 1, len(SIGNALS)),
        dirty=(dirty, 0, 0.5),
        incidents=(events, 0, streams),
        nodes=(nodes, 1, 1000),
    )
    rng = np.random.default_rng(seed)
    per_stream = 172_800 // streams
    begin, spacing = instant(start), _DAY // per_stream
    signals = SIGNALS[:streams]
    times = _times(rng, (streams, per_stream), begin=begin, spacing=spacing)
    values = _values(rng, signals, (times - begin) / _DAY)
    truth = _add_incidents(rng, signals, values, count=events)
    text = _texts(signals, values)
    reasons = _add_dirt(rng, text, share=dirty)
    node = np.repeat(np.arange(streams) % nodes, per_stream)
    uploaded = _uploads(rng, times.ravel(), node, every=duration(upload_every, what="upload_every", zero=True))
    order = np.lexsort((np.repeat(np.arange(streams), per_stream), times.ravel(), node, uploaded))
    readings = _readings(signals, times, text=text, node=node, order=order)
    return Simulation(
        readings, uploaded[order], _incident_table(truth, times, signals), _dirt_table(reasons.ravel()[order])
    )


def wire_a(batch: pa.RecordBatch) -> pa.Array:
    """Return readings in wire form A, one JSON record each (binary).

    Examples
    --------
    >>> one = pa.RecordBatch.from_arrays([pa.array([v]) for v in ("t", "n", "s", "p", "1")], schema=TEXT_READINGS)
    >>> wire_a(one).to_pylist()[0].decode()
    '{"NodeID": "n", "timestamp": "t", "sensor": "s", "parameter": "p", "value": "1"}'
    """
    pattern = '{"NodeID": "{}", "timestamp": "{}", "sensor": "{}", "parameter": "{}", "value": "{}"}'
    return _formatted(batch, pattern, ["node_id", "timestamp", "sensor", "parameter", "value"])


def wire_b(batch: pa.RecordBatch) -> pa.Array:
    """Return readings in wire form B, one single-key object each (binary); values stay text.

    Examples
    --------
    >>> one = pa.RecordBatch.from_arrays([pa.array([v]) for v in ("t", "n", "s", "p", "1")], schema=TEXT_READINGS)
    >>> wire_b(one).to_pylist()
    [b'{"s_p": ["t", "1"]}']
    """
    return _formatted(batch, '{"{}_{}": ["{}", "{}"]}', ["sensor", "parameter", "timestamp", "value"])


def _formatted(batch: pa.RecordBatch, pattern: str, names: list[str]) -> pa.Array:
    # No name, time or number of a simulated reading holds a character that JSON would escape.
    pieces = pattern.split("{}")
    parts = [part for piece, name in zip(pieces, names, strict=False) for part in (pl.lit(piece), pl.col(name))]
    text = pl.DataFrame(batch).select(t=pl.concat_str([*parts, pl.lit(pieces[-1])])).to_series()
    return text.cast(pl.Binary).to_arrow().cast(pa.binary())


def _times(rng: np.random.Generator, shape: tuple[int, int], *, begin: int, spacing: int) -> Int64Array:
    """Return sampling times: every stream at its own phase, jittered by some tens of milliseconds."""
    streams, count = shape
    phase = rng.integers(0, spacing // 2, streams)[:, None]
    jitter = rng.integers(0, duration("60ms"), shape)
    times = begin + phase + np.arange(count) * spacing + jitter
    return times // 1000 * 1000  # microseconds, as the network sends them


def _values(rng: np.random.Generator, signals: tuple[Signal, ...], day: Float64Array) -> Float64Array:
    """Return level + daily wave + slow wander + noise; `day` is the part of the day that has passed."""
    level, wave, peak, noise, wander = (
        np.array([getattr(s, name) for s in signals])[:, None] for name in ("level", "wave", "peak", "noise", "wander")
    )
    values = level + wave * np.cos(2 * np.pi * (day - peak)) + 0.3 * wave * np.cos(4 * np.pi * (day - peak))
    # Slow wander: a few waves of random phase with periods between two hours and half a day.
    for cycles in (2.3, 3.7, 5.9, 11.3):
        values += wander / cycles * np.cos(2 * np.pi * (cycles * day + rng.random((len(signals), 1))))
    values += noise * rng.standard_normal(day.shape)
    low, high = (np.array([getattr(s, name) for s in signals])[:, None] for name in ("low", "high"))
    clipped: Float64Array = np.clip(values, low, high)
    return clipped


def _add_incidents(
    rng: np.random.Generator, signals: tuple[Signal, ...], values: Float64Array, *, count: int
) -> list[tuple[int, str, slice, float]]:
    """Change `values` in place; return (stream, kind, samples, size) of what was done.

    The first streams are taken in turn, and dips, spikes, drifts and stuck values in turn, so that two
    days of different seeds are alike in kind and differ in time and size.
    """
    steps = values.shape[1]
    minute = steps / 1440
    done = []
    for stream in range(count):
        kind = ("dip", "spikes", "drift", "stuck")[stream % 4]
        length = int(minute * {"dip": 30, "spikes": 12, "drift": 90, "stuck": 40}[kind])
        first = int(rng.uniform(_TRUTH_FROM, 0.95) * (steps - length))
        at = slice(first, first + length)
        signal = signals[stream]
        scale = max(signal.noise, 0.15 * signal.wander)
        size = scale * float(rng.uniform(14, 20)) * (1.0 if rng.random() < 0.5 else -1.0)
        part = np.linspace(0, 1, length)
        if kind == "dip":
            values[stream, at] += size * np.minimum(1, 4 * np.minimum(part, 1 - part))
        elif kind == "spikes":
            values[stream, at] += np.where(np.arange(length) % 3 == 0, size, 0)
        elif kind == "drift":
            values[stream, at] += size * part
        else:
            values[stream, at] = values[stream, first]
            size = 0.0
        done.append((stream, kind, at, size))
    return done


def _texts(signals: tuple[Signal, ...], values: Float64Array) -> Texts:
    rows = [pl.Series(row).round(s.decimals) for s, row in zip(signals, values, strict=True)]
    texts = [
        (row.cast(pl.Int64) if s.decimals == 0 else row).cast(pl.String).to_numpy()
        for s, row in zip(signals, rows, strict=True)
    ]
    return np.array(texts, dtype=object)


def _add_dirt(rng: np.random.Generator, text: Texts, *, share: float) -> Texts:
    """Replace a share of the values in place; return the reason of each that was, None elsewhere."""
    reasons = np.full(text.shape, None, object)
    at = np.flatnonzero(rng.random(text.size) < share)
    choices = [(reason, value) for reason, values in _DIRT.items() for value in values]
    picked = rng.integers(0, len(choices), len(at))
    reasons.ravel()[at] = np.array([reason for reason, _ in choices], object)[picked]
    text.ravel()[at] = np.array([value for _, value in choices], object)[picked]
    return reasons


def _uploads(rng: np.random.Generator, times: Int64Array, node: Int64Array, *, every: int) -> Int64Array:
    """Return when each reading arrives: at the end of its node's block, and a few seconds later."""
    if every == 0:
        return times
    offset = rng.integers(0, every, int(node.max(initial=0)) + 1)[node]
    block = (times - offset) // every
    delay = duration("2s") + block * duration("1s") % duration("7s")
    uploaded: Int64Array = (block + 1) * every + offset + delay
    return uploaded


def _readings(
    signals: tuple[Signal, ...], times: Int64Array, *, text: Texts, node: Int64Array, order: Int64Array
) -> pa.RecordBatch:
    streams, count = times.shape
    moments = pl.Series(times.ravel()[order]).cast(pl.Datetime("ns")).dt.strftime("%Y-%m-%d %H:%M:%S%.6f")
    stream = np.repeat(np.arange(streams), count)[order]
    nodes = np.array([f"001e0610{0xBA00 + i:04x}" for i in range(int(node.max(initial=0)) + 1)], object)
    names = [np.array([getattr(s, name) for s in signals], object) for name in ("sensor", "parameter")]
    columns = [moments.to_arrow(), nodes[node[order]], *(name[stream] for name in names), text.ravel()[order]]
    return pa.RecordBatch.from_arrays([pa.array(column).cast(pa.string()) for column in columns], schema=TEXT_READINGS)


def _incident_table(
    truth: list[tuple[int, str, slice, float]], times: Int64Array, signals: tuple[Signal, ...]
) -> pa.Table:
    rows = [
        {
            "stream": f"{signals[stream].sensor}_{signals[stream].parameter}",
            "kind": kind,
            "start": int(times[stream, at.start]),
            "end": int(times[stream, at.stop - 1]),
            "size": size,
        }
        for stream, kind, at, size in truth
    ]
    return pa.Table.from_pylist(rows, schema=TRUE_INCIDENTS)


def _dirt_table(reasons: Texts) -> pa.Table:
    rows = np.flatnonzero(reasons != None)  # noqa: E711 - element by element
    return pa.table({"row": pa.array(rows), "reason": pa.array(reasons[rows], pa.string())})


def _check(**limits: tuple[float, float, float]) -> None:
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            msg = f"the simulation cannot use {name}={value!r}"
            raise ConfigError(msg, hint=f"{name} lies between {low:g} and {high:g}")
