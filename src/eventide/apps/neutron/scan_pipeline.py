"""The pipeline of a scan: pulses and messages of logs at their addresses, to topics."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from eventide.apps._log_options import log_options
from eventide.apps.neutron.awake import rare
from eventide.apps.neutron.instruments import Instrument
from eventide.apps.neutron.logs import LOGS, decode_logs
from eventide.apps.neutron.products import masked_of
from eventide.apps.neutron.scan import scan
from eventide.kernel.histogram.axes import uniform
from eventide.model.pipeline import Pipeline
from eventide.model.pipeline import pipeline as joined
from eventide.model.stream import read
from eventide.model.time import duration

__all__ = ["scan_pipeline"]


def scan_pipeline(
    pulses: str,
    logs: str,
    *,
    out: str,
    one: Instrument,
    motor: str,
    axis: tuple[float, float, int],
    idle: str = "",
    regions: Mapping[str, str] | None = None,
    form: str = "f144",
    every: str = "1s",
    lateness: str = "1s",
    silent: str = "0",
    follow: bool = False,
    log: str = "",
) -> Pipeline:
    """Return the pipeline of a scan, from addresses to topics.

    Parameters
    ----------
    pulses, logs
        Where pulses are, and messages of logs (in a column ``value``).
    out
        Address of the counts; that of the pulses has ``-pulses`` behind it.
    one
        The instrument.
    motor, idle, every, lateness
        As for `scan`.
    axis
        Low, high and number of bins of the positions.
    regions
        Pixels by name, such as ``"1-512,700"``; none: all.
    form
        Of the logs, ``"f144"`` or ``"f142"``.
    silent
        Of a run that goes on, how far back by this machine's clock a message of logs may lie when it comes; "0": pulses
        wait for the next one.
    follow
        Go on when the end of a topic of the log is reached.
    log
        Folder of the log; left out, the configured one.

    Examples
    --------
    >>> from eventide.apps.neutron.instruments import AMOR
    >>> made = scan_pipeline("log://a", "log://b", out="log://scan", one=AMOR, motor="omega", axis=(0, 10, 5))
    >>> [write.uri for write in made.writes]
    ['log://scan', 'log://scan-pulses']
    """
    goes_on = log_options(logs, log, follow=follow)
    messages = rare(logs, goes_on, silent=duration(silent, what="silent=", zero=True), name="logs")
    values = messages.map_batches(functools.partial(decode_logs, form=form), schema=LOGS, name="decode logs")
    masks = {name: masked_of(text, one) for name, text in (regions or {}).items()}
    made = scan(
        read(pulses, name="pulses", **log_options(pulses, log, follow=follow)),
        values,
        motor=motor,
        idle=idle,
        position=uniform("position", *axis),
        regions={n: m for n, m in masks.items() if m is not None} or {"all": np.ones(one.pixels, np.bool_)},
        first=one.first,
        every=every,
        lateness=lateness,
    )
    target = log_options(out, log)
    return joined(made.counts.write(out, **target), made.pulses.write(f"{out}-pulses", **target), name="neutron-scan")
