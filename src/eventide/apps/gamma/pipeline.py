"""The pipeline of this application: images of telescopes in, events on the sky and alerts out.

``eventide run gamma`` reads the topic ``images`` of the embedded log and writes the topics

- ``parameters``: every image of an array event, measured, with what models say of it;
- ``events``: array events, reconstructed, on the sky;
- ``gammas``: those that look like gamma rays, as the gamma-astro data formats have them;
- ``significance`` and ``light_curve`` and ``sky``: of the position that is watched;
- ``alerts``: excesses on any time scale from ten seconds to two hours;
- ``orphans``, ``duplicates``, ``late``, ``excluded``: images that went nowhere else, so that none is lost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa

from eventide.apps.gamma.ahead import MeasuredSource
from eventide.apps.gamma.building.operator import array_events
from eventide.apps.gamma.models.files import load
from eventide.apps.gamma.models.schedule import Schedule, score
from eventide.apps.gamma.operators import AVERAGES, aimed, dl3, gamma_like, on_sky, parameters, pointed, unfit
from eventide.apps.gamma.schema import DL2_TEL
from eventide.apps.gamma.science.light_curve import light_curve
from eventide.apps.gamma.science.regions import OnOff, add_regions
from eventide.apps.gamma.science.rolling import watch
from eventide.apps.gamma.science.sky_map import sky_map
from eventide.apps.gamma.site import Site
from eventide.apps.gamma.site import site as named
from eventide.apps.gamma.stereo.operator import stereo
from eventide.errors import ConfigError
from eventide.model.pipeline import Pipeline
from eventide.model.pipeline import pipeline as joined
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


def pipeline(
    source: str = "log://images",
    *,
    sink: str = "log://",
    array: str = "made-12",
    pointing: str = "",
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
    ahead: str = "false",
    log: str = "",
    follow: str = "false",
) -> Pipeline:
    """Return the pipeline, from an address to topics.

    Parameters
    ----------
    source
        Where the images are (`DL1_IMAGE`).
    sink
        Address that topic names are added to, such as ``log://`` or ``memory://``.
    array
        ``made-12`` or another made array, or a file in JSON (`eventide.apps.gamma.site`).
    pointing
        Where the pointings of the telescopes are, such as ``log://pointings``; left out, images have their own.
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
    ahead
        ``"true"`` to measure images as they are read, so that a second core has work; the results are the same. For the
        embedded engine, and not where messages are decoded.
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
    place: dict[str, Any] = {"log": log} if log else {}

    def opened(uri: str, label: str, *, measured: Site | None = None) -> Stream:
        start: dict[str, Any] = {**place, "follow": follow == "true"} if uri.startswith("log://") else {}
        if measured is not None:
            return read(MeasuredSource(uri, measured, start), name=label)
        return read(uri, name=label, **start)

    ra, _, dec = target.partition(",")
    how = Analysis(
        named(array),
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
    )
    images = opened(source, "images", measured=how.site if ahead == "true" else None)
    found = analyse(images, how, pointings=opened(pointing, "pointings") if pointing else None)
    target_options = place if sink.startswith("log://") else {}
    writes = [stream.write(f"{sink}{topic}", **target_options) for topic, stream in found._asdict().items()]
    return joined(*writes, name="gamma")


def analyse(images: Stream, how: Analysis, *, pointings: Stream | None = None) -> Results:
    """Make events, and alerts, of images.

    Parameters
    ----------
    images
        `DL1_IMAGE`, in any order within the lateness.
    how
        The array, what is watched, and the numbers.
    pointings
        `POINTINGS`; left out, images have their own.

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
    timed = images.event_time("time", lateness=how.lateness)
    times = None if pointings is None else pointings.event_time("time", lateness=how.lateness)
    at = pointed(parameters(timed, how.site), times)
    built = array_events(at.good, window=how.window, min_tels=how.min_tels)
    scored, averages, logs = built, list(AVERAGES), []
    if how.gammaness is not None:
        scored = score(scored, how.gammaness, by="event_time")
        averages.append("gammaness")
    if how.energy is not None:
        scored = score(scored, how.energy, by="event_time")
        logs.append("energy")
    showers = stereo(aimed(scored), how.site.subarray(), averages=averages, logs=logs)
    events = on_sky(showers, how.site, astrometry=how.astrometry)
    gammas = add_regions(
        gamma_like(
            events,
            gammaness=None if how.gammaness is None else how.min_gammaness,
            width=how.max_width,
            length=how.max_length,
        ),
        how.position,
    )
    late = built.side("late")
    alerts = watch(gammas, how.position, threshold=how.threshold, period=how.period)
    return Results(
        parameters=_telescopes(scored),
        events=events,
        gammas=dl3(gammas),
        significance=alerts.side("curve"),
        light_curve=light_curve(gammas, how.position, every=how.every),
        sky=sky_map(gammas, ra=how.position.ra, dec=how.position.dec, every=how.every),
        alerts=alerts,
        orphans=built.side("orphans"),
        duplicates=built.side("duplicates"),
        late=late if at.late is None else late.union(at.late, name="late-images"),
        excluded=unfit(timed, how.site).union(at.excluded, name="excluded"),
    )


def _telescopes(rows: Stream) -> Stream:
    """Return `DL2_TEL`: null where there is no model."""

    def filled(batch: pa.RecordBatch) -> pa.RecordBatch:
        none = pa.nulls(batch.num_rows, pa.float64())
        arrays = [batch.column(f.name) if f.name in batch.schema.names else none for f in DL2_TEL]
        return pa.RecordBatch.from_arrays(arrays, schema=DL2_TEL)

    return rows.map_batches(filled, schema=DL2_TEL, name="telescopes")


def _model(name: str, path: str) -> Schedule | None:
    if not path:
        return None
    forest = load(path)
    if forest.name != name:
        msg = f"{path} says {forest.name!r}, not {name!r}"
        raise ConfigError(msg, hint=f"save a forest with name={name!r}, of columns of the topic parameters")
    return Schedule(forest)


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        msg = f"{name}={value!r} is no number"
        raise ConfigError(msg, hint="target=83.63308,22.0145 or threshold=5, for example") from None
