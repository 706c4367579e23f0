"""The pipeline of the chapter: readings in, anomalies, alarms and incidents out.

``eventide run sensors`` reads the topic ``readings`` of the embedded log and writes the topics ``anomalies``,
``alarms`` (the first anomaly of a stream, then silence for a while), ``incidents`` and ``dirty`` (readings
that cannot be used, with the reason).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from eventide.apps._log_options import log_options
from eventide.apps.sensors.decode import Rules, decode_a, decode_b, decode_table
from eventide.apps.sensors.operators import Detect
from eventide.apps.sensors.ranges import BUILT_IN, read_ranges
from eventide.apps.sensors.schema import ANOMALIES, READINGS, SCORED
from eventide.errors import ConfigError, near_names
from eventide.model.aggregate import count, max_
from eventide.model.graph import WINDOW_END, WINDOW_START
from eventide.model.pipeline import Pipeline
from eventide.model.pipeline import pipeline as joined
from eventide.model.stream import Stream, read
from eventide.model.time import duration
from eventide.model.window import session
from eventide.operators.suppress import suppress

__all__ = ["Findings", "analyse", "decode", "pipeline"]

_FORMS = ("columns", "a", "b")
_PAYLOAD = "payload"


class Findings(NamedTuple):
    """What comes of readings: streams that can be written, joined or looked at.

    Attributes
    ----------
    dirty
        Readings that cannot be used, with the reason (`READINGS`).
    scored
        Every judged reading with prediction and band (`SCORED`).
    anomalies
        Those that were flagged (`ANOMALIES`).
    alarms
        Anomalies of which further ones are held back for a while and counted in ``suppressed``.
    incidents
        Anomalies of a stream less than the gap apart (`INCIDENTS`).
    """

    dirty: Stream
    scored: Stream
    anomalies: Stream
    alarms: Stream
    incidents: Stream


def pipeline(
    source: str = "log://readings",
    *,
    sink: str = "log://",
    form: str = "columns",
    detector: str = "band",
    band: str = "notebook17",
    gap: str = "12m",
    hold: str = "30m",
    lateness: str = "35m",
    zone: str = "UTC",
    ranges: str = "",
    scored: str = "",
    log: str = "",
    follow: str = "false",
) -> Pipeline:
    """Return the pipeline, from an address to topics.

    Parameters
    ----------
    source
        Where the readings are.
    sink
        Address that topic names are added to, such as ``log://`` or ``memory://``.
    form
        ``"columns"`` for readings in columns, ``"a"`` or ``"b"`` for payloads in a wire form.
    detector
        Name of the detector, with its defaults.
    band
        Variant of the detector ``band``.
    gap
        Anomalies of a stream closer than this are one incident.
    hold
        How long further alarms of a stream are held back after one.
    lateness
        How late readings may arrive; nodes upload blocks of half an hour.
    zone
        Time zone of timestamps that name none.
    ranges
        CSV file of sensor ranges; left out, the built-in ones.
    scored
        Topic for every judged reading, which plots are made of; left out, they are not kept.
    log
        Folder of the log, where source or sink is ``log://``; left out, the configured one.
    follow
        ``"true"`` to go on when the end of a log topic is reached.

    Examples
    --------
    >>> [write.uri for write in pipeline().writes]
    ['log://anomalies', 'log://alarms', 'log://incidents', 'log://dirty']
    """
    rules = Rules(zone=zone, ranges=read_ranges(ranges) if ranges else BUILT_IN)
    options: dict[str, object] = {"band": band} if detector == "band" else {}
    target = log_options(sink, log)
    begun = read(source, name="readings", **log_options(source, log, follow=follow == "true"))
    readings = decode(begun, form=form, rules=rules)
    found = analyse(readings, detector, options=options, gap=gap, hold=hold, lateness=lateness)
    parts = [
        found.anomalies.write(f"{sink}anomalies", **target),
        found.alarms.write(f"{sink}alarms", **target),
        found.incidents.write(f"{sink}incidents", **target),
        found.dirty.write(f"{sink}dirty", **target),
    ]
    if scored:
        parts.append(found.scored.write(f"{sink}{scored}", **target))
    return joined(*parts, name="sensors")


def decode(source: Stream, *, form: str = "columns", rules: Rules | None = None) -> Stream:
    """Return decoded readings (`READINGS`), good and bad.

    Parameters
    ----------
    source
        Readings in columns, or payloads in a column ``payload`` (or the only column there is).
    form
        ``"columns"``, ``"a"`` or ``"b"``.
    rules
        What decides whether a reading is good.

    Raises
    ------
    ConfigError
        There is no such form.
    """
    if form not in _FORMS:
        msg = f"there is no wire form {form!r}"
        raise ConfigError(msg, hint=near_names(form, _FORMS))
    function = functools.partial(_decode_batch, form=form, rules=rules or Rules())
    return source.map_batches(function, schema=READINGS, name="decode")


def analyse(
    readings: Stream,
    detector: str = "band",
    *,
    options: dict[str, object] | None = None,
    gap: str = "12m",
    hold: str = "30m",
    lateness: str = "35m",
) -> Findings:
    """Judge decoded readings and group what was flagged.

    Parameters
    ----------
    readings
        Stream of schema `READINGS`.
    detector, options
        Name of the detector and its options.
    gap
        Anomalies of a stream closer than this are one incident.
    hold
        How long further alarms of a stream are held back after one.
    lateness
        How late readings may arrive.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.sensors.simulate import simulate, wire_b
    >>> day = simulate(50, incidents=1)
    >>> payloads = ev.from_table({"payload": wire_b(day.readings)})
    >>> found = analyse(decode(payloads, form="b"), gap="1h")
    >>> ev.fetch(found.incidents).sort_by([("n", "descending")]).column("stream").to_pylist()[0]
    'Chemsense_no2'
    """
    timed = readings.event_time("timestamp", lateness=lateness)
    dirty = timed.filter(pl.col("reason").is_not_null(), name="dirty")
    usable = timed.filter(pl.col("reason").is_null(), name="usable").key_by("stream")
    anomalies = usable.process(
        Detect(detector, options or {}), schema={"main": ANOMALIES, "scored": SCORED}, name="detect"
    )
    alarms = anomalies.pipe(suppress, hold=hold)
    return Findings(dirty, anomalies.side("scored"), anomalies, alarms, _incidents(anomalies, gap))


def _incidents(anomalies: Stream, gap: str) -> Stream:
    runs = anomalies.window(session(gap)).aggregate(n=count(), peak_score=max_("score"), name="group")
    last = pl.col(WINDOW_END) - pl.duration(nanoseconds=duration(gap, what="gap"))
    return runs.select(
        "stream", pl.col(WINDOW_START).alias("start"), last.alias("end"), "n", "peak_score", name="incidents"
    )


def _decode_batch(batch: pa.RecordBatch, *, form: str, rules: Rules) -> pa.RecordBatch:
    if form == "columns":
        return decode_table(batch, rules)
    payloads = batch.column(_PAYLOAD if _PAYLOAD in batch.schema.names else 0)
    return decode_a(payloads, rules) if form == "a" else decode_b(payloads, rules)
