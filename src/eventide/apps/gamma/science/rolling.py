"""Rolling on/off significance on many time scales, in event time, and the alerts that come of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.science.alerts import ALERTS, alert_id
from eventide.apps.gamma.science.regions import NOWHERE, ON, OnOff
from eventide.apps.gamma.science.significance import li_ma, p_value, post_trial, pre_trial
from eventide.apps.gamma.science.windows import Counts, Excess, alerts_of, rising_edges, window_counts
from eventide.errors import PipelineError, SchemaError, UsageError
from eventide.kernel.keyed.node import field_of
from eventide.model.batch import empty
from eventide.model.graph import Process, ProcessContext, Ref
from eventide.model.keyed import Context, Events, StateSpec, Timers, TimerState, buffer_state, list_state, value_state
from eventide.model.stream import Stream, origin
from eventide.model.time import EVENT_TIME, duration

__all__ = ["CURVE", "SCALES", "Watch", "watch"]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SCALES = ("10s", "20s", "50s", "100s", "200s", "500s", "1000s", "30m", "1h", "2h")
"""Lengths of the windows: ten seconds to two hours, each about twice the one before."""

OVERSAMPLING = 8.0
"""So many independent looks are in one length of window, as it ends at every event instead of side by side.

Measured with `eventide.apps.gamma.science.false_alarms`: 4 to 9 at three standard deviations where there are 27 to
3,000 events an hour in a region, and fewer for windows that hold hardly an event.
"""

_EXCESS = ("since", "scale", "alerts")
"""What is remembered of an excess: time and length of the window of its first alert, ns, and how many it has had."""

_KEPT = pa.schema([("time", pa.int64()), ("on", pa.bool_()), ("obs_id", pa.int64())])
_ALL = np.zeros(1, np.int32)  # the slot of a stream without keys
_HOUR = 3_600_000_000_000

CURVE = pa.schema(
    [
        pa.field("time", EVENT_TIME),
        pa.field("n_on", pa.int64(), metadata={"meaning": "since the stream began"}),
        pa.field("n_off", pa.int64(), metadata={"meaning": "since the stream began"}),
        pa.field("significance", pa.float64(), metadata={"meaning": "of all events so far"}),
        pa.field("best_scale", pa.duration("ns"), metadata={"meaning": "the window with the largest significance"}),
        pa.field("best_n_on", pa.int64()),
        pa.field("best_n_off", pa.int64()),
        pa.field("best_significance", pa.float64(), metadata={"meaning": "before trials"}),
    ]
)
"""Port ``curve``: one row for every on or off event."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The process behind `watch`.

    Parameters
    ----------
    position
        What is tested.
    scales
        Lengths of windows, ns, ascending.
    threshold
        Significance of an alert after trials.
    period
        In which time one false alarm of that significance is as likely as it says, ns.
    has_obs_id
        Whether the input has a column ``obs_id``.

    Examples
    --------
    >>> crab = OnOff(83.63308, 22.0145, radius=0.17)
    >>> Watch(crab, scales=(3_600_000_000_000,), threshold=5.0, period=8 * 3_600_000_000_000).trials
    64.0
    """

    position: OnOff
    scales: tuple[int, ...]
    threshold: float
    period: int
    has_obs_id: bool = False

    def bind(self, context: ProcessContext) -> Watch:
        """Return the process for the columns of an input."""
        schema = context.schemas[0]
        if not pa.types.is_integer(field_of(schema, "region", what="watch()").type):
            msg = f"the column 'region' for watch() holds {schema.field('region').type}, not numbers of regions"
            raise SchemaError(msg, hint="make it with OnOff.regions: 0 on, 1 and more off, -1 in none")
        known = "obs_id" in schema.names
        if known and not pa.types.is_integer(schema.field("obs_id").type):
            msg = f"the column 'obs_id' for watch() holds {schema.field('obs_id').type}, not whole numbers"
            raise SchemaError(msg, hint="cast it to a whole number, or leave it out")
        return Watch(self.position, self.scales, self.threshold, self.period, known)

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """The events of the longest window, the counts so far, and on which scales an alert is on."""
        return {
            "window": list_state(_KEPT),
            "n_on": value_state("int64"),
            "n_off": value_state("int64"),
            "up": buffer_state("bool", len(self.scales)),
            "excess": buffer_state("int64", len(_EXCESS)),
            "best": value_state("float64"),
            "seen": buffer_state("bool", len(self.scales)),
            "over": TimerState(after=self.scales[-1]),
        }

    @property
    def trials(self) -> float:
        """How many independent looks are taken in the period."""
        return max(1.0, OVERSAMPLING * sum(self.period / scale for scale in self.scales))

    @property
    def pipeline(self) -> str:
        """A hash of the settings."""
        settings = f"{self.position}\0{self.scales}\0{self.threshold}\0{self.period}\0{OVERSAMPLING}"
        return hashlib.sha256(settings.encode()).hexdigest()[:16]

    def on_events(self, context: Context, events: Events) -> Mapping[str, pa.RecordBatch]:
        """Count the windows that end at each event."""
        region = events.batch.column("region").fill_null(NOWHERE).to_numpy(zero_copy_only=False)
        inside = np.flatnonzero(region >= ON)
        if not inside.size:
            return {"main": empty(ALERTS), "curve": empty(CURVE)}
        times, on = events.times[inside], region[inside] == ON
        obs = events.batch.column("obs_id").take(pa.array(inside)) if self.has_obs_id else pa.nulls(inside.size)
        arrays = [pa.array(times), pa.array(on), obs.cast(pa.int64())]
        new = pa.RecordBatch.from_arrays(arrays, schema=_KEPT)
        _, old = context.rows("window", _ALL)
        both = pa.concat_tables([old, pa.Table.from_batches([new])]).combine_chunks()
        counts = window_counts(
            both.column("time").to_numpy(),
            np.asarray(both.column("on")),
            since=old.num_rows,
            scales=self.scales,
            alpha=self.position.alpha,
        )
        curve = self._curve(context, times, on, counts=counts)
        alerts = self._alerts(context, both, counts=counts)
        self._remember(context, both)
        return {"main": alerts, "curve": curve}

    def on_timers(self, context: Context, timers: Timers) -> None:
        """No later window reaches back to the last event."""
        context.clear("window", timers.slots)
        for name in ("up", "excess", "best", "seen"):
            context.clear(name, timers.slots)

    def _curve(self, context: Context, times: Int64Array, on: BoolArray, *, counts: Counts) -> pa.RecordBatch:
        sums = []
        for name, hit in (("n_on", on), ("n_off", ~on)):
            total = context.value(name)
            sums.append(total[0] + np.cumsum(hit))
            total[0] = sums[-1][-1]
        best = np.argmax(counts.significance, axis=1)
        row = np.arange(best.size)
        columns = [
            times,
            *sums,
            li_ma(sums[0], sums[1], self.position.alpha),
            np.array(self.scales, np.int64)[best],
            counts.n_on[row, best],
            counts.n_off[row, best],
            counts.significance[row, best],
        ]
        arrays = [pa.array(c).cast(f.type) for c, f in zip(columns, CURVE, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=CURVE)

    def _alerts(self, context: Context, both: pa.Table, *, counts: Counts) -> pa.RecordBatch:
        level = pre_trial(self.threshold, self.trials)
        up, best = context.value("up"), context.value("best")
        excess, seen = context.value("excess")[0], context.value("seen")[0]
        rises, states = np.zeros((2, *counts.significance.shape), np.bool_)
        for number in range(len(self.scales)):
            values = np.ascontiguousarray(counts.significance[:, number])
            rises[:, number], states[:, number] = rising_edges(
                values, up=bool(up[0, number]), level=level, release=level - 1.0
            )
        told, after = alerts_of(
            counts.significance,
            rises,
            states,
            up=bool(up[0].any()),
            excess=Excess(int(excess[2]), float(best[0]), seen),
        )
        up[0] = states[-1]
        rows: list[dict[str, object]] = []
        for at, number, update in told:
            row = self._alert(at, number, counts=counts, both=both)
            if not update:
                excess[:2] = row["time"], self.scales[number]
            since, scale, _ = excess.tolist()
            first = alert_id(self.position.name, scale, since, pipeline=self.pipeline)
            rows.append({**row, "excess": first, "update": update})
        excess[2], best[0], seen[:] = after
        return pa.RecordBatch.from_pylist(rows, schema=ALERTS)

    def _alert(self, at: int, number: int, *, counts: Counts, both: pa.Table) -> dict[str, object]:
        n_on, n_off = int(counts.n_on[at, number]), int(counts.n_off[at, number])
        rows = both.slice(int(counts.first[at, number]), n_on + n_off)
        time, scale = rows.column("time")[-1].as_py(), self.scales[number]
        sigma = float(counts.significance[at, number])
        looks = self.trials / (self.period / _HOUR)
        return {
            "time": time,
            "id": alert_id(self.position.name, scale, time, pipeline=self.pipeline),
            "source": self.position.name,
            "ra": self.position.ra,
            "dec": self.position.dec,
            "error": self.position.radius,
            "scale": scale,
            "start": rows.column("time")[0].as_py(),
            "n_on": n_on,
            "n_off": n_off,
            "alpha": self.position.alpha,
            "significance": sigma,
            "trials": self.trials,
            "significance_post": post_trial(sigma, self.trials),
            "false_alarms_per_hour": looks * p_value(sigma),
            "inputs": sorted({v for v in rows.column("obs_id").to_pylist() if v is not None}),
            "pipeline": self.pipeline,
        }

    def _remember(self, context: Context, both: pa.Table) -> None:
        times = both.column("time").to_numpy()
        last = times[-1:]
        context.set_timer("over", _ALL, last + self.scales[-1])
        context.clear("window", _ALL)
        for batch in both.filter(pa.array(times > last - self.scales[-1])).combine_chunks().to_batches():
            context.append("window", np.zeros(batch.num_rows, np.int32), batch)


def watch(
    stream: Stream,
    position: OnOff,
    *,
    scales: Sequence[str | timedelta] = SCALES,
    threshold: float = 5.0,
    period: str | timedelta = "8h",
) -> Stream:
    """Watch a position: the significance of its excess in windows of many lengths that end at every event.

    The main output has alerts (`ALERTS`). An excess begins when the significance of a window reaches the threshold
    after trials, and lasts until all windows have been a standard deviation below it. It makes one alert, and then
    updates (``update``, with the id of the first alert in ``excess``): when the window of another length reaches the
    threshold with a standard deviation more than any before, or is shorter than any before (the source has become
    brighter), and when one does so again that had been below. The side output ``curve`` (`CURVE`) has for every on and
    off event the counts so far and the best window. Events are counted at their event time, so both are the same in
    whatever order and batches events arrive within the lateness; those behind it leave by the port ``late``.

    Parameters
    ----------
    stream
        Events with event time and a column ``region`` (see `OnOff.regions`: 0 on, 1 and more off, others are passed
        over); a column ``obs_id``, where there is one, tells what an alert was made of.
    position
        What is tested.
    scales
        Lengths of the windows, ``(t - length, t]``.
    threshold
        Significance of an alert, in standard deviations after trials.
    period
        Trials are those of so long an observation: usually a night.

    Raises
    ------
    PipelineError
        The stream has no event time, or has keys.
    UsageError
        There is no scale, or the threshold is not above one.
    SchemaError
        (when the pipeline is checked) There is no column ``region``.

    Notes
    -----
    A period has ``8 * sum(period / scale)`` independent looks; a significance of 5 after 8 hours on the built-in
    scales takes one of 6.8 in a window. The excess and the background are taken from the same window, so a rate
    that changes with zenith angle or weather changes neither.

    Examples
    --------
    >>> import eventide as ev
    >>> crab = OnOff(83.63308, 22.0145, radius=0.17, name="Crab")
    >>> times = [f"2026-01-01T00:00:{s:02d}" for s in range(20)]
    >>> events = ev.from_table({"t": times, "region": [2, 4] + 18 * [0]}).event_time("t")
    >>> alerts = ev.fetch(watch(events, crab, scales=["10s", "1m"]))
    >>> alerts.select(["scale", "n_on", "n_off"]).to_pylist()[0]
    {'scale': datetime.timedelta(seconds=60), 'n_on': 16, 'n_off': 2}
    """
    if not stream.time or stream.keys:
        msg = f"watch() takes a stream with event time and without keys ({origin()})"
        raise PipelineError(msg, hint="call .event_time('time', lateness='30s') before it, and key_by after it")
    lengths = tuple(sorted({duration(s, what="scale") for s in scales}))
    if not lengths:
        msg = "watch() needs at least one scale"
        raise UsageError(msg, hint="for example scales=['10s', '1m', '10m']")
    if not threshold > 1:
        msg = f"watch() threshold must be above one standard deviation, not {threshold}"
        raise UsageError(msg, hint="5.0 is usual")
    process = Watch(position, lengths, float(threshold), duration(period, what="period"))
    node = Process(stream.ref, process, {"main": ALERTS, "curve": CURVE}, "event_time", "time", "", origin())
    return Stream(Ref(node), (), "time")
