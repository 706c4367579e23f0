"""A simulated night: any second of it can be had, as rows in the order in which they arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.schema import DL1_IMAGE, POINTINGS, TELESCOPE_STATE
from eventide.apps.gamma.simulate.pixels import drawn
from eventide.apps.gamma.simulate.showers import Images, Showers, images_of, thrown
from eventide.apps.gamma.site import Site, camera_of
from eventide.errors import UsageError
from eventide.model.time import EVENT_TIME, instant

__all__ = ["CRAB", "Clouds", "DeadPixels", "Flare", "Night"]

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

CRAB: Final = (83.63308, 22.0145)
"""Where the simulated source is, ICRS degrees."""

_SECOND: Final = 1_000_000_000
_SUBARRAY: Final = 32  # ctapipe's event type of a shower
_LOST: Final = 2.0  # how far a slewing telescope is off, degrees
_IDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Flare:
    """When the source is brighter, seconds after the start, and how many times."""

    start: float
    stop: float
    factor: float


@dataclass(frozen=True, slots=True)
class Clouds:
    """When less light comes through the atmosphere, seconds after the start, and which share."""

    start: float
    stop: float
    transparency: float


@dataclass(frozen=True, slots=True)
class DeadPixels:
    """Pixels of a telescope that give nothing from so many seconds after the start on."""

    start: float
    tel_id: int
    pixels: tuple[int, ...]


class Night:
    """A night of an array that tracks a source 0.5 degrees beside the middle of its field.

    Parameters
    ----------
    site
        The array.
    seed
        The same seed gives the same night, whichever seconds are asked for, and in whatever order.
    start
        When it begins.
    hadrons, gammas
        Showers per second over the array, of hadrons from all of the field, and of gamma rays of the source at rest;
        many of them trigger nothing.
    flares
        When the source is brighter.
    singles
        Accidental triggers per second of single telescopes.
    jitter
        Of triggers of an event, ns (at most three times as much).
    delay
        Mean time that rows take to arrive, ns; those of a second arrive in that second, out of order.
    dead_time
        After every trigger of a telescope, ns.
    joins
        By number of a telescope: seconds after the start until it tracks. Before, it points beside.
    away
        By number of a telescope: further times when it does not track, from so many seconds after the start to so many.
    clouds, dead
        What dims the light, and which pixels give none.
    pointed
        Whether images say where their telescope points; else `pointings` does.
    obs_id
        Number of the observation.

    Raises
    ------
    UsageError
        A number is out of its range, or a telescope is none.

    Examples
    --------
    >>> from eventide.apps.gamma.site import made
    >>> night = Night(made(5), seed=1, hadrons=40.0)
    >>> second = night.second(3)
    >>> second.schema == DL1_IMAGE, second.equals(Night(made(5), seed=1, hadrons=40.0).second(3))
    (True, True)
    """

    def __init__(
        self,
        site: Site,
        *,
        seed: int = 2026,
        start: str = "2026-01-01T00:30",
        hadrons: float = 40.0,
        gammas: float = 0.05,
        flares: Sequence[Flare] = (),
        singles: float = 0.5,
        jitter: float = 50.0,
        delay: float = 5e6,
        dead_time: int = 5_000,
        joins: Mapping[int, float] | None = None,
        away: Mapping[int, Sequence[tuple[float, float]]] | None = None,
        clouds: Sequence[Clouds] = (),
        dead: Sequence[DeadPixels] = (),
        pointed: bool = True,
        obs_id: int = 1,
    ) -> None:
        rates = {"hadrons": hadrons, "gammas": gammas, "singles": singles, "jitter": jitter, "delay": delay}
        bad = [n for n, v in {**rates, "dead_time": dead_time}.items() if not 0 <= v <= 1e9]
        unknown = {*(joins or {}), *(away or {}), *(d.tel_id for d in dead)} - {t.tel_id for t in site.telescopes}
        wrong: list[object] = [f for f in flares if not (f.start < f.stop and 0 <= f.factor <= 1e6)]
        wrong += [c for c in clouds if not (c.start < c.stop and 0 <= c.transparency <= 1)]
        wrong += [d for d in dead if not unknown and not set(d.pixels) <= set(range(site.cameras()[d.tel_id].pixels))]
        if bad or unknown or wrong:
            said = bad or [f"telescope {t}" for t in sorted(unknown)] or [str(f) for f in wrong]
            msg = f"a night cannot be simulated with that: {', '.join(said)}"
            raise UsageError(
                msg, hint="rates and times from 0 to 1e9; telescopes of the array; flares start before they stop"
            )
        self.site, self.start = site, instant(start)
        self._pointed = pointed
        self._seed, self._obs_id, self._flares = seed, obs_id, tuple(flares)
        self._hadrons, self._gammas, self._singles = hadrons, gammas, singles
        self._jitter, self._delay, self._dead_time = jitter, delay, dead_time
        joined = {tel: ((-np.inf, at),) for tel, at in (joins or {}).items() if at > 0}
        self._away = [(*joined.get(t.tel_id, ()), *(away or {}).get(t.tel_id, ())) for t in site.telescopes]
        self._clouds, self._dead = tuple(clouds), tuple(dead)
        self._tel_ids = np.array([t.tel_id for t in site.telescopes], np.int16)
        self.pointing = (CRAB[0], CRAB[1] + 0.5)

    def second(self, number: int) -> pa.RecordBatch:
        """Return the images (`DL1_IMAGE`) of a second in order of arrival.

        Parameters
        ----------
        number
            0 is the first one.
        """
        random = np.random.default_rng([self._seed, number])
        showers = self._showers(random, number)
        shift = np.where(self._lost(showers.times), _LOST, 0.0)
        images = images_of(random, showers, self.site, shift=shift, clear=self._transparency(showers.times))
        images, times = self._triggered(random, number, showers=showers, images=images)
        return self._batch(random, number, images=images, times=times)

    def batches(self, seconds: float, *, first: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield the images of some seconds, a second in each batch."""
        for number in range(first, first + int(np.ceil(seconds))):
            yield self.second(number)

    def table(self, seconds: float) -> pa.Table:
        """Return the images of the first seconds."""
        return pa.Table.from_batches(self.batches(seconds), DL1_IMAGE)

    def pointings(self, number: int) -> pa.RecordBatch:
        """Return where every telescope points at the beginning of a second (`POINTINGS`)."""
        at = np.full(self._tel_ids.size, self.start + number * _SECOND)
        alt, az = self._aim(at)
        tracks = ~self._lost(at[:1])[0]
        arrays = [pa.array(at), pa.array(self._tel_ids), pa.array(alt), pa.array(az), pa.array(tracks)]
        return pa.RecordBatch.from_arrays(
            [a.cast(f.type) for a, f in zip(arrays, POINTINGS, strict=True)], schema=POINTINGS
        )

    def truth(self, number: int) -> pa.Table:
        """Return the showers of a second, seen or not: ``time``, ``is_gamma`` and ``true_energy`` (TeV)."""
        showers = self._showers(np.random.default_rng([self._seed, number]), number)
        return pa.table(
            {
                "time": pa.array(showers.times).cast(EVENT_TIME),
                "is_gamma": pa.array(showers.gamma),
                "true_energy": pa.array(showers.energy),
            }
        )

    def states(self) -> pa.Table:
        """Return when telescopes began to slew and to track (`TELESCOPE_STATE`)."""
        rows = []
        for tel, away in zip(self._tel_ids.tolist(), self._away, strict=True):
            edges = sorted({0.0, *(t for times in away for t in times if t > 0)})
            for at in edges:
                time = self.start + round(at * _SECOND)
                lost = any(begin <= at < end for begin, end in away)
                rows.append({"time": time, "tel_id": tel, "state": "slewing" if lost else "tracking"})
        return pa.Table.from_pylist(rows, schema=TELESCOPE_STATE).sort_by(
            [("time", "ascending"), ("tel_id", "ascending")]
        )

    def _lost(self, times: Int64Array) -> npt.NDArray[np.bool_]:
        """Return by time and telescope whether it does not track."""
        at = self._seconds(times)
        out = np.zeros((at.size, len(self._away)), bool)
        for place, away in enumerate(self._away):
            for begin, end in away:
                out[:, place] |= (begin <= at) & (at < end)
        return out

    def _transparency(self, times: Int64Array) -> FloatArray:
        at, clear = self._seconds(times), np.ones(times.size)
        for cloud in self._clouds:
            clear = np.where((cloud.start <= at) & (at < cloud.stop), np.minimum(clear, cloud.transparency), clear)
        return clear

    def _seconds(self, times: Int64Array) -> FloatArray:
        return (times - self.start) / _SECOND

    def _aim(self, times: Int64Array) -> tuple[FloatArray, FloatArray]:
        return self.site.place.to_horizon(times, *self.pointing)

    def _showers(self, random: np.random.Generator, number: int) -> Showers:
        most = max([1.0, *(f.factor for f in self._flares)])
        counts = random.poisson([self._hadrons, self._gammas * most])
        times = self.start + number * _SECOND + random.integers(0, _SECOND, int(counts.sum()))
        gamma = np.arange(times.size) >= counts[0]
        bright = np.ones(times.size)
        for flare in self._flares:
            at = self._seconds(times)
            bright = np.where((flare.start <= at) & (at < flare.stop), np.maximum(bright, flare.factor), bright)
        kept = ~gamma | (random.random(times.size) * most < bright)
        order = np.flatnonzero(kept)[np.argsort(times[kept], kind="stable")]
        times, gamma = times[order], gamma[order]
        aim = self._aim(times)
        source = self.site.place.to_horizon(times, *CRAB)
        return thrown(random, times, gamma, pointing=aim, source=source)

    def _triggered(
        self, random: np.random.Generator, number: int, *, showers: Showers, images: Images
    ) -> tuple[Images, Int64Array]:
        """Add accidental triggers, then jitter and dead time."""
        count, tels = int(random.poisson(self._singles)), self._tel_ids.size
        alone = Images(
            shower=np.full(count, -1),
            telescope=random.integers(0, tels, count),
            lon=random.uniform(-1.0, 1.0, count),
            lat=random.uniform(-1.0, 1.0, count),
            psi=random.uniform(-90.0, 90.0, count),
            length=np.full(count, 0.15),
            width=np.full(count, 0.07),
            size=random.uniform(50.0, 150.0, count),
        )
        both = Images(*(np.concatenate([getattr(images, n), getattr(alone, n)]) for n in images.__dataclass_fields__))
        first = self.start + number * _SECOND
        late = np.rint(np.clip(random.standard_normal(both.size.size), -3, 3) * self._jitter).astype(np.int64)
        times = np.concatenate([showers.times[images.shower], random.integers(first, first + _SECOND, count)]) + late
        order = np.lexsort((times, both.telescope))
        tel, at = both.telescope[order], times[order]
        # A trigger within the dead time of another one is lost, whether that one was recorded or not.
        alive = np.append(True, (np.diff(tel) != 0) | (np.diff(at) > self._dead_time))[: order.size]
        order = order[alive]
        return both.take(order), times[order]

    def _batch(self, random: np.random.Generator, number: int, *, images: Images, times: Int64Array) -> pa.RecordBatch:
        rows = times.size
        number_of = number * _IDS + np.arange(rows)  # images lie by telescope and time here
        arrives = np.argsort(times + random.exponential(self._delay, rows), kind="stable")
        images, times = images.take(arrives), times[arrives]
        kinds = [self.site.kind(t.kind) for t in self.site.telescopes]
        pixels = np.array([camera_of(k).pixels for k in kinds])[images.telescope]
        ends = np.concatenate(([0], np.cumsum(pixels)))
        flat = np.empty(ends[-1], np.float32), np.empty(ends[-1], np.float32)
        for kind in self.site.kinds:
            mine = np.flatnonzero(np.array([k == kind for k in kinds])[images.telescope])
            drawn(random, camera_of(kind), images.take(mine), noise=kind.noise, out=flat, starts=ends[mine])
        offsets = pa.array(ends.astype(np.int32))
        alt, az = self._aim(times)
        self._kill(images.telescope, times, flat[0], starts=ends)
        slewing = self._lost(times)[np.arange(rows), images.telescope] | (not self._pointed)
        columns = {
            "time": pa.array(times).cast(EVENT_TIME),
            "obs_id": pa.array(np.full(rows, self._obs_id)),
            "tel_id": pa.array(self._tel_ids[images.telescope]),
            "tel_event_id": pa.array(number_of[arrives]),
            "event_type": pa.array(np.full(rows, _SUBARRAY, np.uint8)),
            "image": pa.ListArray.from_arrays(offsets, pa.array(flat[0])),
            "peak_time": pa.ListArray.from_arrays(offsets, pa.array(flat[1])),
            "telescope_pointing_altitude": pa.array(alt, mask=slewing),
            "telescope_pointing_azimuth": pa.array(az, mask=slewing),
        }
        return pa.RecordBatch.from_arrays([columns[f.name] for f in DL1_IMAGE], schema=DL1_IMAGE)

    def _kill(
        self, telescope: Int64Array, times: Int64Array, flat: npt.NDArray[np.float32], *, starts: Int64Array
    ) -> None:
        for dead in self._dead:
            mine = (self._tel_ids[telescope] == dead.tel_id) & (self._seconds(times) >= dead.start)
            flat[(starts[:-1][mine][:, None] + np.array(dead.pixels, np.int64)).ravel()] = 0.0
