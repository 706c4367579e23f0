"""The pipeline of this application: images of telescopes in, events on the sky and alerts out.

``eventide run gamma`` reads the topic ``images`` of the embedded log and writes the topics

- ``parameters``: every image of an array event, measured, with what models say of it;
- ``events``: array events, reconstructed, on the sky;
- ``gammas``: those that look like gamma rays, as the gamma-astro data formats have them;
- ``significance`` and ``light_curve`` and ``sky``: of the position that is watched;
- ``alerts``: excesses on any time scale from ten seconds to two hours;
- ``unwatched``: gamma-like events that came too late for alerts;
- ``monitors``: rate, pedestal, night sky and dead pixels of every telescope;
- ``orphans``, ``duplicates``, ``late``, ``excluded``: images that went nowhere else, so that none is lost.

Images may be waveforms (``level="r1"``), which are calibrated first.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from eventide.apps._log_options import log_options
from eventide.apps.gamma.building.operator import array_events
from eventide.apps.gamma.building.triggered import triggered_events
from eventide.apps.gamma.models.files import load
from eventide.apps.gamma.models.schedule import Schedule, score
from eventide.apps.gamma.operators import (
    AVERAGES,
    EXCLUDED,
    PARAMETERS,
    Cleaning,
    aimed,
    dl3,
    gamma_like,
    on_sky,
    only,
    parameters,
    unfit,
)
from eventide.apps.gamma.schema import DL1_IMAGE, DL2_TEL, MEASURED, TIMED, TRIGGERED
from eventide.apps.gamma.science.hurry import hurry
from eventide.apps.gamma.science.light_curve import light_curve
from eventide.apps.gamma.science.regions import OnOff, add_regions
from eventide.apps.gamma.science.rolling import watch
from eventide.apps.gamma.science.sky_map import sky_map
from eventide.apps.gamma.site import Site
from eventide.apps.gamma.site import site as named
from eventide.apps.gamma.slow_control.gate import Limits, gate
from eventide.apps.gamma.slow_control.monitors import monitor
from eventide.apps.gamma.slow_control.pixels import calibrated, mended
from eventide.apps.gamma.slow_control.streams import SlowControl
from eventide.apps.gamma.stereo.operator import stereo
from eventide.apps.gamma.timed import timed
from eventide.errors import ConfigError, near_names
from eventide.model.pipeline import Pipeline
from eventide.model.pipeline import pipeline as joined
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream, read

__all__ = ["Analysis", "Results", "analyse", "pipeline"]


class Results(NamedTuple):
    """What comes of images: streams that can be written, joined or looked at."""

    parameters: Stream
    events: Stream
    gammas: Stream
    significance: Stream
    light_curve: Stream
    sky: Stream
    alerts: Stream
    orphans: Stream
    duplicates: Stream
    late: Stream
    excluded: Stream
    monitors: Stream
    unwatched: Stream


class Analysis(NamedTuple):
    """How images are analysed.

    Attributes
    ----------
    site
        The array.
    position
        What is watched.
    window
        How far apart triggers of an event may be.
    min_tels
        How many telescopes an event must have.
    lateness
        How late an image may arrive.
    gammaness, energy
        Models of images; None where there are none.
    min_gammaness, max_width, max_length
        What a gamma ray looks like: with a model its least gammaness, without one the largest mean width and length of
        its images, degrees.
    threshold, period
        Significance of an alert after the trials of so long an observation.
    every
        Length of the intervals of the light curve, and how often the map of the sky is published.
    astrometry
        ``"mean"`` or ``"astropy"``, see `eventide.apps.gamma.operators.on_sky`.
    level
        What comes in: ``"dl1"``, images, or ``"r1"``, waveforms.
    cleaning
        How images are cleaned.
    limits
        Under what conditions images are used.
    monitor_every
        Length of the intervals in which telescopes are watched over.
    triggered
        Whether images have the columns `eventide.apps.gamma.schema.TRIGGERED`: then an event leaves as soon as all of
        its images have come, and not only when the watermark has passed it.
    alert_lateness
        How late an event may be for alerts, where that is less than an image may be late; what is later is in all other
        results. Empty: alerts wait as long as all others do.
    timing
        Whether peak times are measured too: ``parameters`` then has the columns `eventide.apps.gamma.schema.TIMED`.
    """

    site: Site
    position: OnOff
    window: str = "1us"
    min_tels: int = 2
    lateness: str = "1s"
    gammaness: Schedule | None = None
    energy: Schedule | None = None
    min_gammaness: float = 0.7
    max_width: float = 0.1
    max_length: float = 0.35
    threshold: float = 5.0
    period: str = "8h"
    every: str = "1m"
    astrometry: str = "mean"
    level: str = "dl1"
    cleaning: Cleaning = Cleaning()
    limits: Limits = Limits()
    monitor_every: str = "10s"
    triggered: bool = False
    alert_lateness: str = ""
    timing: bool = False


LEVELS = ("dl1", "r1")
"""What may come in: images, or waveforms."""


def pipeline(
    source: str = "log://images",
    *,
    sink: str = "log://",
    array: str = "made-12",
    pointing: str = "",
    states: str = "",
    weather: str = "",
    calibration: str = "",
    level: str = "dl1",
    triggered: str = "false",
    alert_lateness: str = "",
    subarray: str = "",
    cleaning: str = "tailcuts",
    cleaning_options: str = "",
    timing: str = "false",
    min_transparency: str = "0.8",
    max_wind: str = "15",
    max_humidity: str = "95",
    max_dead: str = "0.2",
    target: str = "83.63308,22.0145",
    radius: str = "0.17",
    name: str = "Crab",
    window: str = "1us",
    min_tels: str = "2",
    lateness: str = "1s",
    gammaness: str = "",
    energy: str = "",
    min_gammaness: str = "0.7",
    max_width: str = "0.1",
    max_length: str = "0.35",
    threshold: str = "5",
    period: str = "8h",
    every: str = "1m",
    astrometry: str = "mean",
    log: str = "",
    follow: str = "false",
) -> Pipeline:
    """Return the pipeline, from an address to topics.

    Parameters
    ----------
    source
        Where the images are (`DL1_IMAGE`), or waveforms (`R1`).
    sink
        Address that topic names are added to, such as ``log://`` or ``memory://``.
    array
        ``made-12`` or another made array, or a file in JSON (`eventide.apps.gamma.site`).
    pointing
        Where the pointings of the telescopes are, such as ``log://pointings``; left out, images have their own.
    states, weather, calibration
        Where the states of telescopes, the weather and the calibrations are; left out, nobody asks.
    level
        ``dl1`` or ``r1``.
    triggered
        ``true`` where images say which trigger of the array they are of, and how many that asked for.
    alert_lateness
        How late an event may be for alerts; left out, as late as images may make it.
    subarray
        Telescopes of this sub-array only.
    cleaning
        A file of the folder ``cleaning``: ``tailcuts``, ``nsb``, ``fact``, ``time_constrained`` or ``compat``.
    cleaning_options
        Of it, in JSON, beside the thresholds of the array's kinds of telescopes: ``{"time_limit": 3}``.
    timing
        ``true`` to measure peak times too, and to have them in ``parameters``.
    min_transparency, max_wind, max_humidity, max_dead
        As in `eventide.apps.gamma.slow_control.gate.Limits`.
    target
        Right ascension and declination that are watched, degrees.
    radius
        Of the on region, degrees.
    name
        Of what is there.
    window, min_tels, lateness, min_gammaness, max_width, max_length, threshold, period, every, astrometry
        As in `Analysis`.
    gammaness, energy
        Files of models (`eventide.apps.gamma.models.files`).
    log
        Folder of the log, where source or sink is ``log://``; left out, the configured one.
    follow
        ``"true"`` to go on when the end of a log topic is reached.

    Raises
    ------
    ConfigError
        A number is none, or there is no such array.
    DataError
        A file holds no model.

    Examples
    --------
    >>> [write.uri for write in pipeline().writes][:3]
    ['log://parameters', 'log://events', 'log://gammas']
    """

    def opened(uri: str, label: str) -> Stream:
        return read(uri, name=label, **log_options(uri, log, follow=follow == "true"))

    ra, _, dec = target.partition(",")
    where = named(array)
    how = Analysis(
        where,
        OnOff(_number("target", ra), _number("target", dec), radius=_number("radius", radius), name=name),
        window=window,
        min_tels=int(_number("min_tels", min_tels)),
        lateness=lateness,
        gammaness=_model("gammaness", gammaness),
        energy=_model("energy", energy),
        min_gammaness=_number("min_gammaness", min_gammaness),
        max_width=_number("max_width", max_width),
        max_length=_number("max_length", max_length),
        threshold=_number("threshold", threshold),
        period=period,
        every=every,
        astrometry=astrometry,
        level=level,
        triggered=triggered == "true",
        timing=timing == "true",
        alert_lateness=alert_lateness,
        cleaning=Cleaning(cleaning, _options(cleaning_options)),
        limits=Limits(
            subarray=subarray,
            members=where.members(subarray),
            min_transparency=_number("min_transparency", min_transparency),
            max_wind=_number("max_wind", max_wind),
            max_humidity=_number("max_humidity", max_humidity),
            max_dead=_number("max_dead", max_dead),
        ),
    )
    given = {"pointings": pointing, "states": states, "weather": weather, "calibration": calibration}
    slow = {label: opened(uri, label) for label, uri in given.items() if uri}
    found = analyse(opened(source, "images"), how, **slow)
    into = log_options(sink, log)
    writes = [stream.write(f"{sink}{topic}", **into) for topic, stream in found._asdict().items()]
    return joined(*writes, name="gamma")


def analyse(
    images: Stream,
    how: Analysis,
    *,
    pointings: Stream | None = None,
    states: Stream | None = None,
    weather: Stream | None = None,
    calibration: Stream | None = None,
) -> Results:
    """Make events, and alerts, of images.

    Parameters
    ----------
    images
        `DL1_IMAGE`, or `R1`, in any order within the lateness.
    how
        The array, what is watched, and the numbers.
    pointings, states, weather, calibration
        Slow control: see `eventide.apps.gamma.slow_control.streams.SlowControl`. Left out, images have their own
        pointings, and nothing else is asked; waveforms need a calibration.

    Raises
    ------
    ConfigError
        There is no such level, cleaning or astrometry, or waveforms have no calibration.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.simulate.night import CRAB
    >>> from eventide.apps.gamma.site import made
    >>> night = Night(made(5), seed=1, hadrons=0.0, gammas=30.0)
    >>> images = ev.from_table(night.table(1))
    >>> found = analyse(images, Analysis(made(5), OnOff(*CRAB, radius=0.17)))
    >>> events = ev.fetch(found.events)
    >>> events.num_rows > 3, any(events["is_valid"].to_pylist())
    (True, True)
    """
    arriving = images.event_time("time", lateness=how.lateness)
    given = (pointings, states, weather, calibration)
    slow = SlowControl(*(None if s is None else s.event_time("time", lateness=how.lateness) for s in given))
    ready, excluded, late = _images(arriving, how, slow)
    timed_columns = TIMED if how.timing else pa.schema([])
    more = pa.schema([*(TRIGGERED if how.triggered else ()), *timed_columns])
    measured = timed(ready, how.site, cleaning=how.cleaning) if how.timing else ready
    rows = parameters(measured, how.site, cleaning=how.cleaning, more=more)
    at = gate(rows, slow, how.limits, columns=[*PARAMETERS.names, *more.names])
    excluded += [unfit(ready, how.site, cleaning=how.cleaning), only(at.excluded, EXCLUDED.names, name="unused")]
    if at.late is not None:
        late.append(only(at.late, PARAMETERS.names, name="late-unused"))
    if how.triggered:
        # Images that are excluded come along, so that their events do not wait for them.
        names = [*PARAMETERS.names, *more.names]
        whole = _marked(at.good, names, usable=True).union(_marked(at.excluded, names, usable=False), name="all-images")
        built = triggered_events(whole, window=how.window, min_tels=how.min_tels, usable="usable")
    else:
        built = array_events(at.good, window=how.window, min_tels=how.min_tels)
    ends = {port: only(built.side(port), PARAMETERS.names, name=port) for port in ("orphans", "duplicates", "late")}
    scored, averages, logs = built, list(AVERAGES), []
    if how.gammaness is not None:
        scored = score(scored, how.gammaness, by="event_time")
        averages.append("gammaness")
    if how.energy is not None:
        scored = score(scored, how.energy, by="event_time")
        logs.append("energy")
    showers = stereo(aimed(scored), how.site.subarray(), averages=averages, logs=logs)
    events = on_sky(showers, how.site, astrometry=how.astrometry)
    gammas = _gammas(events, how)
    # Alerts may be in a hurry: the watermark then follows all events, as gamma-like ones are few.
    fast = hurry(events, how.alert_lateness) if how.alert_lateness else None
    soon = gammas if fast is None else _gammas(fast, how, prefix="soon-")
    alerts = watch(soon, how.position, threshold=how.threshold, period=how.period)
    behind = alerts.side("late") if fast is None else _gammas(fast.side("late"), how, prefix="behind-")
    return Results(
        parameters=_telescopes(scored, pa.schema([*DL2_TEL, *timed_columns])),
        events=events,
        gammas=dl3(gammas),
        significance=alerts.side("curve"),
        light_curve=light_curve(gammas, how.position, every=how.every),
        sky=sky_map(gammas, ra=how.position.ra, dec=how.position.dec, every=how.every),
        alerts=alerts,
        orphans=ends["orphans"],
        duplicates=ends["duplicates"],
        late=ends["late"].union(*late, name="late-images") if late else ends["late"],
        excluded=excluded[0].union(*excluded[1:], name="excluded"),
        monitors=monitor(arriving if how.level == "dl1" else ready, how.site, every=how.monitor_every),
        unwatched=dl3(behind, name="dl3-unwatched"),
    )


def _marked(rows: Stream, names: list[str], *, usable: bool) -> Stream:
    def mark(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        return batch.select(names).append_column("usable", pa.array(np.full(batch.num_rows, usable))), None

    return rows.map_batches(RowWise(mark), name="usable-images" if usable else "other-images")


def _gammas(events: Stream, how: Analysis, *, prefix: str = "") -> Stream:
    chosen = gamma_like(
        events,
        gammaness=None if how.gammaness is None else how.min_gammaness,
        width=how.max_width,
        length=how.max_length,
        name=f"{prefix}gamma-like",
    )
    return add_regions(chosen, how.position, name=f"{prefix}regions")


def _images(timed: Stream, how: Analysis, slow: SlowControl) -> tuple[Stream, list[Stream], list[Stream]]:
    """Return calibrated images, streams of those that cannot be used, and of those that came too late to tell."""
    if how.level not in LEVELS:
        msg = f"there is no level {how.level!r}"
        raise ConfigError(msg, hint=near_names(how.level, LEVELS))
    dead = how.limits.max_dead
    if how.level == "r1":
        if slow.calibration is None:
            msg = "waveforms need a calibration"
            raise ConfigError(msg, hint="calibration=log://calibration, for example")
        found = calibrated(timed, slow.calibration, how.site, schema=DL1_IMAGE, max_dead=dead)
    elif slow.calibration is not None:
        found = mended(timed, slow.calibration, how.site, max_dead=dead)
    else:
        return timed, [], []
    nothing = {f.name: pl.lit(None, pl.Float64) for f in PARAMETERS if f.name in MEASURED.names}
    names = [n for n in PARAMETERS.names if n not in nothing]
    late = [] if found.late is None else [found.late.select(*names, **nothing, name="late-for-calibration")]
    return found.good, [only(found.excluded, EXCLUDED.names, name="not-calibrated")], late


def _telescopes(rows: Stream, schema: pa.Schema) -> Stream:
    """Return `DL2_TEL`, and what is wanted beside: null where there is no model."""

    def filled(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        none = pa.nulls(batch.num_rows, pa.float64())
        names = set(batch.schema.names)
        arrays = [batch.column(f.name) if f.name in names else none for f in schema]
        return pa.RecordBatch.from_arrays(arrays, schema=schema), None

    return rows.map_batches(RowWise(filled), schema=schema, name="telescopes")


def _model(name: str, path: str) -> Schedule | None:
    if not path:
        return None
    forest = load(path)
    if forest.name != name:
        msg = f"{path} says {forest.name!r}, not {name!r}"
        raise ConfigError(msg, hint=f"save a forest with name={name!r}, of columns of the topic parameters")
    return Schedule(forest)


def _options(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = f"cleaning_options={text!r} are no options"
        raise ConfigError(msg, hint='an object in JSON, for example {"time_limit": 3}')
    return found


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        msg = f"{name}={value!r} is no number"
        raise ConfigError(msg, hint="target=83.63308,22.0145 or threshold=5, for example") from None
