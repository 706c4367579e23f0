"""Which images may be used: of the sub-array, by telescopes that track, under a clear sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps.gamma.slow_control.streams import Checked, SlowControl, in_force
from eventide.apps.gamma.stereo.operator import POINTING
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream

__all__ = ["Limits", "gate"]


class Limits(NamedTuple):
    """Under what conditions images are used.

    Attributes
    ----------
    subarray
        Telescopes of this sub-array only; empty: all.
    members
        Its telescopes, where no `TELESCOPE_STATE` says otherwise.
    min_transparency, max_wind, max_humidity
        Of the weather: share, m/s and %.
    pointing_age, weather_age
        How old a pointing, or the weather, may be.
    max_dead
        Share of a camera's pixels that may be dead.
    """

    subarray: str = ""
    members: tuple[int, ...] = ()
    min_transparency: float = 0.8
    max_wind: float = 15.0
    max_humidity: float = 95.0
    pointing_age: str = "10s"
    weather_age: str = "5m"
    max_dead: float = 0.2


_ANY = Limits()
_WEATHER = {
    "slow_site": "slow_weather",
    "transparency": "slow_transparency",
    "wind": "slow_wind",
    "humidity": "slow_humidity",
}


def gate(rows: Stream, slow: SlowControl, limits: Limits = _ANY, *, columns: Sequence[str]) -> Checked:
    """Part rows that can be used from the others, by what slow control says of their times.

    The first reason of these counts: ``no such telescope``; ``state not known``, ``not in the sub-array`` or ``is
    STATE``; ``weather not known``, ``clouds``, ``wind`` or ``humidity``; ``does not track``.

    Parameters
    ----------
    rows
        With event time, ``tel_id`` and where the telescope pointed, null where the row does not say: then the pointings
        before and after it are interpolated (azimuth by the shorter turn), and the one before must say that it tracks.
    slow
        The streams. Telescopes whose rows do not say where they pointed do not track where there are no pointings.
    limits
        What is asked for.
    columns
        Those of the rows that the results have.

    Returns
    -------
    Checked
        The rows, those that are left out with the further column ``reason``, and those that came behind the watermark.

    Examples
    --------
    >>> import eventide as ev
    >>> rows = ev.from_table({"t": ["2026-01-01"], "tel_id": [1], POINTING[0]: [70.0], POINTING[1]: [180.0]})
    >>> states = ev.from_table({"t": ["2025-12-31"], "tel_id": [1], "state": ["slewing"], "subarray": ["south"]})
    >>> slow = SlowControl(states=states.event_time("t"))
    >>> found = gate(rows.event_time("t"), slow, columns=["tel_id"])
    >>> ev.fetch(found.excluded).to_pylist()
    [{'tel_id': 1, 'reason': 'is slewing'}]
    """
    asks = (slow.states, slow.weather, slow.pointings) != (None, None, None) or bool(limits.subarray)
    if not asks and not rows.keys:
        return _tracking(rows, columns)
    alt, az = (pl.col(name) for name in POINTING)
    known = alt.is_not_null() & az.is_not_null()
    late: list[Stream] = []
    reasons: list[tuple[pl.Expr, pl.Expr]] = []
    names = list(columns)
    out = rows.filter(pl.col("tel_id").is_not_null(), name="of-telescopes")
    if slow.states is not None:
        out, behind = in_force(out, slow.states, {"state": "slow_state", "subarray": "slow_subarray"})
        late.append(behind)
        names += ["slow_state", "slow_subarray"]
        reasons.append((pl.col("slow_state").is_null(), pl.lit("state not known")))
    if limits.subarray:
        mine = pl.col("tel_id").is_in(list(limits.members))
        if slow.states is not None:
            mine = pl.coalesce(pl.col("slow_subarray") == limits.subarray, mine)
        reasons.append((~mine, pl.lit("not in the sub-array")))
    if slow.states is not None:
        state = pl.col("slow_state")
        reasons.append((state != "tracking", pl.concat_str(pl.lit("is "), state)))
    if slow.weather is not None:
        out, behind = _under(out, slow.weather, age=limits.weather_age)
        late.append(behind)
        names += _WEATHER.values()
        reasons += _weather(limits)
    if slow.pointings is not None:
        out, more = _aim(out, known, slow.pointings, names=names, age=limits.pointing_age)
        late += more
    reasons.append((~known, pl.lit("does not track")))
    reason = pl.lit(None, pl.String)
    for wrong, why in reversed(reasons):
        reason = pl.when(wrong).then(why).otherwise(reason)
    nobody = rows.filter(pl.col("tel_id").is_null(), name="of-none").select(
        *columns, reason=pl.lit("no such telescope"), name="of-nobody"
    )
    # Put together with rows of another key, the stream has none: events are built of all telescopes.
    judged = nobody.key_by("reason").union(out.select(*columns, reason=reason, name="judged"), name="all-judged")
    good = judged.map_batches(_those(None, columns), name="used")
    excluded = judged.map_batches(_those("", [*columns, "reason"]), name="unusable")
    behind_all = [stream.select(*columns, name=f"late-{n}") for n, stream in enumerate(late)]
    whole = behind_all[0].union(*behind_all[1:], name="late-for-slow-control") if behind_all else None
    return Checked(good, excluded, whole)


def _tracking(rows: Stream, columns: Sequence[str]) -> Checked:
    """Part rows by their own pointings alone."""
    judged = rows.map_batches(RowWise(_own_pointing), name="own-pointing")
    good = judged.map_batches(_those(None, columns), name="used")
    excluded = judged.map_batches(_those("", [*columns, "reason"]), name="unusable")
    return Checked(good, excluded)


def _own_pointing(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
    alt, az = (batch.column(name).is_valid() for name in POINTING)
    reason = pc.if_else(pc.and_(alt, az), pa.scalar(None, pa.string()), pa.scalar("does not track"))
    return batch.append_column("reason", reason), None


def _those(reason: str | None, columns: Sequence[str]) -> RowWise:
    """Return what keeps the rows without a reason, or those with one."""
    wanted = list(columns)

    def kept(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Array]:
        given, some = batch.column("reason"), batch.select(wanted)
        rows = given.is_null() if reason is None else given.is_valid()
        out = given.null_count if reason is not None else len(given) - given.null_count
        if not out or out == len(given):  # mostly all rows are of one sort
            return some.slice(0, 0 if out else None), rows
        return some.filter(rows), rows

    return RowWise(kept)


def _under(rows: Stream, weather: Stream, *, age: str) -> tuple[Stream, Stream]:
    here = pl.lit(0, pl.Int8)
    of_site = weather.with_columns(slow_site=here, name="weather-of-site")
    return in_force(
        rows.with_columns(slow_site=here, name="at-site"), of_site, _WEATHER, key="slow_site", tolerance=age
    )


def _weather(limits: Limits) -> list[tuple[pl.Expr, pl.Expr]]:
    clear = pl.col("slow_transparency").fill_nan(0.0)
    wind, humidity = (pl.col(name).fill_nan(math.inf) for name in ("slow_wind", "slow_humidity"))
    return [
        (pl.col("slow_weather").is_null(), pl.lit("weather not known")),
        (clear < limits.min_transparency, pl.lit("clouds")),
        (wind > limits.max_wind, pl.lit("wind")),
        (humidity > limits.max_humidity, pl.lit("humidity")),
    ]


def _aim(
    rows: Stream, known: pl.Expr, pointings: Stream, *, names: Sequence[str], age: str
) -> tuple[Stream, list[Stream]]:
    """Fill in where telescopes pointed, interpolated; null where they did not track."""
    both, late = rows.filter(~known, name="without-pointing"), []
    columns = {pointings.time: "at", "altitude": "alt", "azimuth": "az", "is_tracking": "tracks"}
    directions: tuple[Literal["backward", "forward"], ...] = ("backward", "forward")
    for end, direction in enumerate(directions):
        found = {name: f"slow_{to}{end}" for name, to in columns.items()}
        both, behind = in_force(both, pointings, found, tolerance=age, direction=direction)
        late.append(behind)
    at, before, after = (pl.col(name).cast(pl.Int64) for name in (rows.time, "slow_at0", "slow_at1"))
    goes_on = pl.col("slow_tracks1").fill_null(value=False) & (after > before)
    share = pl.when(goes_on).then((at - before) / (after - before)).otherwise(0.0)
    rise = (pl.col("slow_alt1") - pl.col("slow_alt0")).fill_null(0.0)
    turn = ((pl.col("slow_az1") - pl.col("slow_az0") + 180.0) % 360.0 - 180.0).fill_null(0.0)
    aim = pl.col("slow_alt0") + share * rise, (pl.col("slow_az0") + share * turn) % 360.0
    tracks = pl.col("slow_tracks0").fill_null(value=False)
    aimed = {name: pl.when(tracks).then(value) for name, value in zip(POINTING, aim, strict=True)}
    pointed = both.with_columns(name="interpolate", **aimed).select(*names, name="interpolated")
    own = rows.filter(known, name="with-pointing").select(*names, name="own-pointing").key_by("tel_id")
    return own.union(pointed.key_by("tel_id"), name="all-pointed"), late
