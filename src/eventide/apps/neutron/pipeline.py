"""The pipeline of this application: pulses in, live histograms out.

``eventide run neutron`` reads the topic ``pulses`` of the embedded log and writes the topics ``histograms`` (what all
banks saw together: time of flight, image, and wavelength, Q or d-spacing), ``volumes`` (pixel by time of flight, only
bins with counts), ``monitors`` (time of flight of each) and ``gaps`` (messages that are missing). From messages it also
writes ``broken``: those that cannot be read, with the reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps._log_options import log_options
from eventide.apps.neutron.awake import rare
from eventide.apps.neutron.calibrated import calibration_of, without_calibration
from eventide.apps.neutron.chopped import by_choppers
from eventide.apps.neutron.instruments import Instrument
from eventide.apps.neutron.instruments import instrument as named
from eventide.apps.neutron.ledger import with_ledger
from eventide.apps.neutron.logs import with_value
from eventide.apps.neutron.messages import FORMS, broken_of, decode
from eventide.apps.neutron.normalised import (
    CHARGE,
    CHARGES,
    charges,
    divisors_of_charge,
    divisors_of_monitor,
    normalised,
)
from eventide.apps.neutron.normalised import wanted as divided_by
from eventide.apps.neutron.numbered import numbered
from eventide.apps.neutron.operators import SEEN, good, with_pixels, without_pixels
from eventide.apps.neutron.per_run import per_run
from eventide.apps.neutron.products import image, longest, masked_of, products
from eventide.apps.neutron.reduction.arrivals import Arrivals, subframes_of
from eventide.apps.neutron.reduction.calibration import Calibration
from eventide.apps.neutron.reduction.lookup import LookedUp
from eventide.apps.neutron.run_changes import run_changes
from eventide.apps.neutron.run_messages import RUNS, decode_runs
from eventide.apps.neutron.schema import BROKEN, DECODED, PULSES
from eventide.errors import ConfigError, near_names
from eventide.kernel.histogram.axes import Axis, uniform
from eventide.kernel.histogram.products import Product, product
from eventide.model.batch import as_event_time, column
from eventide.model.pipeline import Pipeline
from eventide.model.pipeline import pipeline as joined
from eventide.model.stream import Stream, read
from eventide.model.time import duration, instant
from eventide.operators.histogram import histogram

__all__ = ["Live", "Read", "longest", "masked_of", "pipeline", "products", "read_in", "reduce"]

_N = TypeVar("_N", int, float)
_INPUTS = ("pulses", "events", *FORMS)


class Read(NamedTuple):
    """What was read: pulses or events, and messages that are broken (None where there are no messages)."""

    pulses: Stream
    broken: Stream | None


class Live(NamedTuple):
    """Histograms while they grow: streams of publications (see ``ev.op.histogram``).

    Attributes
    ----------
    histograms
        Of all banks together.
    volumes
        Pixel by time of flight, only bins with counts.
    monitors
        Time of flight, of each monitor.
    gaps
        Messages that are missing (`eventide.apps.neutron.numbered.GAPS`); None of events one by one.
    normalised
        Histograms divided by what was sent (`eventide.apps.neutron.normalised.NORMALISED`), where that is asked for.
    """

    histograms: Stream
    volumes: Stream
    monitors: Stream
    gaps: Stream | None
    normalised: Stream | None = None


def pipeline(
    source: str = "log://pulses",
    *,
    sink: str = "log://",
    form: str = "pulses",
    instrument: str = "loki",
    every: str = "1s",
    volume_every: str = "1m",
    bins: str = "1000",
    time_bins: str = "20",
    lateness: str = "1s",
    within: str = "10s",
    per: str = "",
    runs: str = "log://runs",
    silent: str = "0",
    least_charge: str = "0",
    mask: str = "",
    calibration: str = "",
    since: str = "",
    publish_from: str = "",
    products: str = "",
    frames: str = "",
    normalise: str = "",
    log: str = "",
    follow: str = "false",
) -> Pipeline:
    """Return the pipeline, from an address to topics.

    Parameters
    ----------
    source
        Where the pulses are.
    sink
        Address that topic names are added to, such as ``log://`` or ``memory://``.
    form
        ``"pulses"`` or ``"events"`` for columns, ``"ev42"``, ``"ev44"`` or ``"an44"`` for messages in a column
        ``value``.
    instrument
        loki, dream, amor, sans2d, muons, or the name of a file: ``mine.toml``.
    every, volume_every
        How often histograms, and volumes, are published, in event time; volumes of "0" are not counted at all.
    bins, time_bins
        Bins of time of flight, of spectra and of volumes.
    lateness
        How late a pulse may come.
    within
        For how long a message is remembered: it is a duplicate when it comes again, and missing when it does not come.
    per
        ``"run"`` or ``"period"``: counts of each by themselves; left out: of all together.
    runs
        With ``per="run"``, where the messages of runs (pl72, 6s4t) are, in a column ``value``.
    silent
        Of a run that goes on, how far back by this machine's clock a message of runs may lie when it comes: pulses
        wait no longer for one. "0": they wait for the next message, as they must where old data are played back.
    least_charge
        Pulses with a smaller proton charge, uAh, are vetoed.
    mask
        Pixels that do not count, such as ``"1-512,700"``.
    calibration
        File with DIFC, DIFA, TZERO of the pixels, HDF5, CSV or Parquet; left out, that of the instrument, if it has
        one. What it does not use is masked; d-spacings and momentum transfers are those of the calibration.
    since
        Pulses before this time are passed over.
    publish_from
        Publications until before this time are not written; what they had is in those that come after them.
    products
        What is counted of all banks, such as ``"image,wavelength=1-12,energy"``: of ``time_of_flight`` (ns), ``image``,
        ``wavelength``, ``d_spacing``, ``q``, ``energy`` (meV), with a range or without; left out: what the method of
        the instrument looks at.
    frames
        Times are those of arrival after any pulse, and become times of flight: by the choppers of the instrument
        (``"choppers"``), by the shortest wavelength, Angstrom, that they let through (``"2.5"``), or by subframes
        (``"0:1-2.5,15000:2.5-4"``: us after the pulse, Angstrom).
    normalise
        ``"charge"`` or the name of a monitor: histograms divided by it go to the topic ``normalised`` too.
    log
        Folder of the log, where source or sink is ``log://``; left out, the configured one.
    follow
        ``"true"`` to go on when the end of a log topic is reached.

    Raises
    ------
    ConfigError
        There is no such form, a number is none, or `per` is something else.
    DataError
        The file of the calibration is none.
    UsageError
        There is no such instrument.

    Examples
    --------
    >>> [write.uri for write in pipeline().writes]
    ['log://histograms', 'log://volumes', 'log://monitors', 'log://gaps']
    """
    one = named(instrument)
    target, goes_on = log_options(sink, log), follow == "true"
    came = read_in(read(source, name="pulses", **log_options(source, log, follow=goes_on)), form=form)
    began = came.pulses
    if since:
        began = began.map_batches(functools.partial(_from, instant(since, what="since=")), name="since")
    told = None
    if per == "run":
        there = log_options(runs, log, follow=goes_on)
        told = _read_runs(runs, form, there, silent=duration(silent, what="silent=", zero=True))
    live = reduce(
        began,
        one,
        mask=masked_of(mask, one),
        calibration=calibration_of(calibration, one) if calibration else None,
        per=per,
        runs=told,
        least_charge=_number("least_charge", least_charge, float),
        one_by_one=form == "events",
        bins=_number("bins", bins),
        time_bins=_number("time_bins", time_bins),
        every=every,
        volume_every=every if volume_every == "0" else volume_every,
        lateness=lateness,
        within=within,
        chosen=products,
        frames=frames,
        normalise=normalise,
    )
    counted = {"histograms": live.histograms, "volumes": live.volumes, "monitors": live.monitors}
    if volume_every == "0":
        del counted["volumes"]
    counted |= {} if live.normalised is None else {"normalised": live.normalised}
    if publish_from:
        late = functools.partial(_from, instant(publish_from, what="publish_from="), time="until")
        counted = {kind: each.map_batches(late, name=f"late {kind}") for kind, each in counted.items()}
    parts = [each.write(f"{sink}{kind}", **target) for kind, each in counted.items()]
    if live.gaps is not None:
        parts.append(live.gaps.write(f"{sink}gaps", **target))
    if came.broken is not None:
        parts.append(came.broken.write(f"{sink}broken", **target))
    return joined(*parts, name="neutron")


def read_in(source: Stream, *, form: str = "pulses") -> Read:
    """Return pulses or events, decoded where they are messages.

    Parameters
    ----------
    source
        Columns as `PULSES` or events have them, or messages in a column ``value``.
    form
        ``"pulses"``, ``"events"``, ``"ev42"``, ``"ev44"`` or ``"an44"``.

    Raises
    ------
    ConfigError
        There is no such form.
    """
    if form not in _INPUTS:
        msg = f"there is no form {form!r} of pulses"
        raise ConfigError(msg, hint=near_names(form, _INPUTS))
    if form not in FORMS:
        return Read(source, None)
    decoded = source.map_batches(functools.partial(decode, form=form), schema=DECODED, name="decode")
    broken = decoded.map_batches(broken_of, schema=BROKEN, name="broken")
    return Read(decoded.map_batches(good, schema=PULSES, name="good"), broken)


def reduce(
    pulses: Stream,
    one: Instrument,
    *,
    one_by_one: bool = False,
    bins: int = 1000,
    time_bins: int = 20,
    every: str = "1s",
    volume_every: str = "1m",
    lateness: str = "1s",
    within: str = "10s",
    per: str = "",
    runs: Stream | None = None,
    least_charge: float = 0.0,
    mask: npt.NDArray[np.bool_] | None = None,
    calibration: Calibration | None = None,
    chosen: str = "",
    frames: str = "",
    normalise: str = "",
) -> Live:
    """Count pulses into the histograms of an instrument.

    Parameters
    ----------
    pulses
        Pulses, or with `one_by_one` events.
    one
        The instrument.
    bins, time_bins, every, volume_every, lateness, within, per, least_charge
        As for `pipeline`.
    runs
        With ``per="run"``, beginnings and ends (`eventide.apps.neutron.run_messages.RUNS`).
    mask
        Of each pixel, from the first one on, whether it does not count.
    calibration
        Of its pixels (`eventide.apps.neutron.calibrated.calibration_of`); left out, that of the instrument's file.
    chosen, frames, normalise
        As `products`, `frames` and `normalise` of `pipeline`.

    Raises
    ------
    ConfigError
        `per` is something else, or there are no runs; or a setting cannot be followed.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.neutron.instruments import AMOR
    >>> from eventide.apps.neutron.simulate import simulate
    >>> live = reduce(ev.from_table(simulate("amor", seconds=2, rate=1000)), AMOR)
    >>> found = ev.fetch(live.histograms)
    >>> found["product"].to_pylist()[:3], set(found["events"].to_pylist()[-3:]) == {found["events"].to_pylist()[-1]}
    (['time_of_flight', 'image', 'wavelength'], True)
    """
    if per not in ("", "run", "period") or (per == "run" and (runs is None or one_by_one)):
        msg = f"counts cannot be per {per!r} here"
        raise ConfigError(msg, hint="'run' (of pulses, with a stream of runs), 'period', or nothing")
    if calibration is None and one.calibration:
        calibration = calibration_of(one.calibration, one)
    mask = without_calibration(mask, calibration)
    schema = SEEN[one_by_one]
    timed = functools.partial(Stream.event_time, column="event_time", lateness=lateness)
    known = pulses if one_by_one else numbered(timed(pulses), within=within)
    banks, monitors = (
        known.map_batches(functools.partial(f, least_charge=least_charge), schema=schema, name=name)
        for f, name in ((with_pixels, "banks"), (without_pixels, "others"))
    )
    if frames:
        arrivals = _arrivals(one, frames)
        banks = banks.map_batches(arrivals, name="unwrap")
        monitors = monitors.map_batches(arrivals, name="unwrap monitors")
    if one_by_one:
        banks, monitors = timed(banks), timed(monitors)
    keyed = ("period",) if per == "period" else ()
    charge = None
    if normalise and divided_by(normalise, one, one_by_one=one_by_one) == "charge":
        charge = charges(known, within=within, keyed=keyed, least_charge=least_charge)
    if per == "run" and runs is not None:
        changes = run_changes(timed(runs))
        keys, value = ("instrument", one.name), functools.partial(with_value, values=changes, columns=schema.names)
        banks = value(banks, name="run", key=keys)
        monitors = value(monitors, name="run", key=keys, label="monitors")
        if charge is not None:
            with_run = functools.partial(with_value, values=changes, columns=CHARGES.names)
            charge = with_run(charge, name="run", key=keys, label="charge").key_by("sent")
    banks = banks.key_by(*keyed) if keyed else banks
    monitors = monitors.key_by("source", *keyed)
    flight = functools.partial(uniform, "time_of_flight", 0, longest(one), unit="ns")
    volume = {"pixel_time": product(image(one, mask), flight(time_bins))}
    common: dict[str, Any] = {"vetoed": "vetoed", "track": ["message_id"]}

    def count(of: Stream, every: str, axes: Mapping[str, Product | Axis], **how: Any) -> Stream:
        found = with_ledger(histogram(of, products=axes, every=every, **how))
        return per_run(found, every=duration(every, what="every")) if per == "run" else found

    made = products(one, bins=bins, mask=mask, chosen=chosen, calibration=calibration)
    histograms = count(banks, every, made, **common)
    counted = count(monitors, every, {"time_of_flight": flight(bins)}, **common)
    divided = None
    if normalise:
        told = (*keyed, *(("run",) if per == "run" else ()))
        sent = (
            divisors_of_monitor(counted, normalise, told)
            if charge is None
            else divisors_of_charge(count(charge, every, CHARGE), told)
        )
        divided = normalised(histograms, sent, by=normalise, keys=told, products=made)
    return Live(
        histograms,
        count(banks, volume_every, volume, sparse=True, **common),
        counted,
        None if one_by_one else known.side("gaps"),
        divided,
    )


def _arrivals(one: Instrument, frames: str) -> Arrivals | LookedUp:
    if frames == "choppers":
        return by_choppers(one)
    distances = {m.name: m.distance for m in one.monitors}
    return Arrivals(subframes_of(frames), one.period / 1000, one.geometry().path, one.first, distances)


def _from(since: int, batch: pa.RecordBatch, time: str = "event_time") -> pa.RecordBatch:
    times = as_event_time(column(batch, time)).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return batch.filter(pa.array(times >= since))


def _read_runs(address: str, form: str, options: Mapping[str, Any], *, silent: int) -> Stream:
    if form == "events":
        msg = "counts of events one by one cannot be per run"
        raise ConfigError(msg, hint="read pulses or messages: --param form=ev44")
    return rare(address, options, silent=silent, name="runs").map_batches(decode_runs, schema=RUNS, name="decode runs")


def _number(name: str, value: str, kind: Callable[[str], _N] = int) -> _N:
    try:
        return kind(value)
    except ValueError:
        msg = f"{name}={value!r} is no {'whole ' if kind is int else ''}number"
        raise ConfigError(msg, hint=f"for example {name}=100") from None
