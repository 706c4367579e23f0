"""Scans: counts of regions of pixels against the position of a motor, joined in event time with its log.

A pulse counts at the position that was newest when it happened. What comes while the motor moves is vetoed: it is in
the ledger and in no bin. The number of pulses at each position is counted too, for counts by pulse.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.ledger import with_ledger
from eventide.apps.neutron.logs import value_of, with_value
from eventide.apps.neutron.numbered import numbered
from eventide.apps.neutron.operators import SEEN, with_pixels
from eventide.errors import UsageError
from eventide.kernel.histogram.axes import Axis, rows
from eventide.kernel.histogram.products import product
from eventide.model.batch import column
from eventide.model.stream import Stream
from eventide.operators.histogram import histogram

__all__ = ["Scan", "scan"]

_SEEN = SEEN[False]
_JOINED = pa.schema([*_SEEN, pa.field("motor", pa.string()), pa.field("position", pa.float64())])
_PULSE = pa.schema([_JOINED.field(n) for n in ("event_time", "vetoed", "motor", "position")])


class Scan(NamedTuple):
    """A scan: publications of counts, one product for each region, and of pulses (product ``pulses``)."""

    counts: Stream
    pulses: Stream


def scan(
    pulses: Stream,
    logs: Stream,
    *,
    motor: str,
    position: Axis,
    regions: Mapping[str, npt.ArrayLike],
    first: int = 0,
    idle: str = "",
    every: str | timedelta = "1s",
    lateness: str | timedelta = "1s",
) -> Scan:
    """Count events of regions against the position of a motor.

    Parameters
    ----------
    pulses
        Pulses (`PULSES`).
    logs
        Values of logs (`eventide.apps.neutron.logs.LOGS`).
    motor
        Source of the positions.
    position
        The axis, of the column ``position``.
    regions
        By name, which pixels belong to it: a boolean for each, from number `first` on; they may overlap.
    first
        Number of the first pixel.
    idle
        Source of a value that is not 0 while the motor stands still; without it, whatever has a position counts.
    every, lateness
        Interval of publications, and how late pulses and values may come.

    Returns
    -------
    Publications, whose column ``motor`` names it, with the ledger; before the first position of the motor, and outside
    of the axis, events are ``nan``, ``below`` or ``above``.

    Raises
    ------
    UsageError
        There is no region, or the axis is not of ``position``.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.neutron.simulate import simulate
    >>> from eventide.kernel.histogram.axes import edges
    >>> times = ["2025-12-31", "2026-01-01T00:00:01"]
    >>> logs = ev.from_table({"event_time": times, "source": ["omega"] * 2, "value": [0.5, 1.5]})
    >>> pulses = ev.from_table(simulate("amor", seconds=2, rate=1000))
    >>> axis = edges("position", [0, 1, 2])
    >>> made = scan(pulses, logs, motor="omega", position=axis, regions={"all": np.ones(32768, bool)})
    >>> ev.fetch(made.pulses)["counts"].to_pylist()
    [[15, 0], [15, 13]]
    """
    if not regions:
        msg = "scan() has no region"
        raise UsageError(msg, hint="for example regions={'all': np.ones(pixels, bool)}")
    if getattr(getattr(position, "value", None), "name", None) != "position":
        msg = "the axis of a scan is of the column 'position'"
        raise UsageError(msg, hint="for example uniform('position', 0, 10, 100)")
    known = numbered(pulses.event_time("event_time", lateness=lateness))
    banks = known.map_batches(with_pixels, schema=_SEEN, name="banks")
    timed = functools.partial(Stream.event_time, column="event_time", lateness=lateness)
    key = ("motor", motor)
    made = with_value(banks, timed(value_of(logs, motor)), name="position", key=key, columns=_SEEN.names)
    if idle:
        values = timed(value_of(logs, idle))
        made = with_value(made, values, name="idle", key=key, columns=[*_SEEN.names, "position"])
        made = made.map_batches(_moving, schema=_JOINED, name="moving")
    tables = {name: np.where(np.asarray(mask, np.bool_), 0, -1) for name, mask in regions.items()}
    products = {name: product(position, rows("pixel_id", table, bins=1, first=first)) for name, table in tables.items()}
    counts = with_ledger(histogram(made, products=products, every=every, vetoed="vetoed", track=["message_id"]))
    plain = made.map_batches(_pulses, schema=_PULSE, name="without events")
    return Scan(counts, histogram(plain, products={"pulses": position}, every=every, vetoed="vetoed"))


def _moving(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Veto what came while the motor moved, or before anybody said that it does not."""
    idle = column(batch, "idle").fill_null(0).to_numpy(zero_copy_only=False)
    vetoed = column(batch, "vetoed").to_numpy(zero_copy_only=False) | ~(np.nan_to_num(idle) != 0)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True)) | {"vetoed": pa.array(vetoed)}
    return pa.RecordBatch.from_arrays([columns[n] for n in _JOINED.names], schema=_JOINED)


def _pulses(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return pulses without their events, and without those that stand for others."""
    left = [column(batch, n).to_numpy() > 0 for n in ("duplicate", "late")]
    return batch.select(_PULSE.names).filter(pa.array(~(left[0] | left[1])))
