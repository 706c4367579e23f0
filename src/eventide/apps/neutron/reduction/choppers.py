"""Choppers, and what of a pulse they let through: which wavelengths, sent when.

A neutron is a point: when it was sent, us after its pulse began, and its slowness, us/m (wavelength times m / h). It is
at the distance L at ``sent + slowness L``, so that an opening of a chopper, from one time to another, lets through what
lies between two parallel lines, and what passes all choppers is a number of convex polygons: a pulse, or subframes of
it. Nothing is sampled: corners are found by cutting (I. E. Sutherland and G. W. Hodgman, 1974).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.apps.neutron.reduction.constants import WAVELENGTH
from eventide.errors import ConfigError, UsageError

__all__ = ["Chopper", "Passed", "passed"]

Float64Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]

_NS = 1000.0
_MOST = 1000
_MOST_PULSES = 8
_LEAST = 1e-9
_BORDER = 1e-4  # us


@dataclass(frozen=True, slots=True)
class Chopper:
    """A disc that turns in the beam: where, how fast, and when it is open.

    Parameters
    ----------
    name
        What it is called.
    distance
        From the source, m.
    frequency
        Turns a second, above 0.
    openings
        Angles between which it is open, degrees: at the time t, s after a pulse, the angle ``360 frequency t - phase``
        is in the beam.
    phase
        Degrees.
    times
        In the place of `openings`: ns after a pulse between which it is open; again in every turn.

    Raises
    ------
    UsageError
        It is no chopper: openings overlap, or are longer than a turn.

    Examples
    --------
    >>> disc = Chopper("bw", 6.5, 14.0, openings=((0.0, 72.0),), phase=36.0)
    >>> [tuple(round(t) for t in each) for each in disc.windows(0.0, 80_000.0)]
    [(7143, 21429), (78571, 92857)]
    """

    name: str
    distance: float
    frequency: float
    openings: Pairs = ()
    phase: float = 0.0
    times: Pairs = ()

    def __post_init__(self) -> None:
        wrong = _why_not(self)
        if wrong:
            msg = f"the chopper {self.name!r} {wrong}"
            raise UsageError(
                msg, hint="give distance (m), frequency (Hz), and openings (degrees) or times (ns) in order"
            )

    @property
    def turn(self) -> float:
        """How long a turn takes, us."""
        return 1e6 / self.frequency

    def windows(self, begin: float, end: float) -> Iterator[tuple[float, float]]:
        """Yield the times, us after a pulse, at which it opens and closes, as far as they meet ``[begin, end]``."""
        by = self.turn / 360.0
        once = [(t / _NS, u / _NS) for t, u in self.times] or [
            ((a + self.phase) * by, (b + self.phase) * by) for a, b in self.openings
        ]
        for number in range(
            math.floor((begin - once[-1][1]) / self.turn), math.ceil((end - once[0][0]) / self.turn) + 1
        ):
            for opens, closes in once:
                window = opens + number * self.turn, closes + number * self.turn
                if window[1] >= begin and window[0] <= end:
                    yield window


def _why_not(one: Chopper) -> str:
    given = one.openings or one.times
    if bool(one.openings) == bool(one.times) or (one.times and one.phase):
        return "has neither openings nor times, or both, or times and a phase"
    if not (0 < one.distance < 10_000 and 0 < one.frequency < 10_000 and math.isfinite(one.phase)):
        return f"is at {one.distance} m, turns {one.frequency} times a second, and has the phase {one.phase}"
    ends = [end for pair in given for end in pair]
    turn = 360.0 if one.openings else one.turn * _NS
    if not all(map(math.isfinite, ends)) or sorted(set(ends)) != ends:
        return f"has openings that overlap, or are not in order: {given}"
    return "" if ends[-1] - ends[0] <= turn else f"has openings that take more than a turn: {given}"


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """Neutrons of one pulse that pass all choppers through the same openings: a convex polygon.

    Parameters
    ----------
    corners
        When they were sent, us after their pulse began, and slowness, us/m: an array of the shape (corners, 2),
        float64; the polygon is on the left from one to the next.

    Examples
    --------
    >>> whole, = passed((), length=1000.0, wavelengths=(2.0, 4.0), period=71_428.6)
    >>> [round(w, 6) for w in whole.wavelengths], [round(float(t)) for t in whole.arrivals(10.0)]
    ([2.0, 4.0], [5056, 11111])
    """

    corners: Float64Array

    @property
    def wavelengths(self) -> tuple[float, float]:
        """The shortest and the longest, Angstrom."""
        slow = self.corners[:, 1]
        return float(slow.min()) * WAVELENGTH, float(slow.max()) * WAVELENGTH

    def arrivals(self, distance: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Return when the first and the last of them are at distances, m: us after their pulse."""
        there = self.corners[:, 0] + np.asarray(distance, np.float64)[..., None] * self.corners[:, 1]
        return there.min(axis=-1), there.max(axis=-1)

    def slowness(self, distance: npt.ArrayLike, time: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Return the least and the greatest slowness, us/m, of those that are at a distance at a time.

        Parameters
        ----------
        distance, time
            m, and us after their pulse; they broadcast.

        Returns
        -------
        Arrays of float64; the least is greater than the greatest where none is there.
        """
        at, when = np.asarray(distance, np.float64), np.asarray(time, np.float64)
        shape = np.broadcast_shapes(at.shape, when.shape)
        low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
        ends = np.roll(self.corners, -1, axis=0)
        with np.errstate(all="ignore"):
            for (sent, slow), (to_sent, to_slow) in zip(self.corners.tolist(), ends.tolist(), strict=True):
                # On the left of a side, with sent = when - slowness at: a lower or an upper bound of the slowness.
                across, up = to_sent - sent, to_slow - slow
                factor = across + up * at
                bound = (across * slow + up * (when - sent)) / factor
                low = np.where(factor > 0, np.maximum(low, bound), low)
                high = np.where(factor < 0, np.minimum(high, bound), high)
                high = np.where((factor == 0) & (up * (when - sent) + across * slow > 0), -np.inf, high)
        return low, high


def passed(
    choppers: Iterable[Chopper], *, length: float, wavelengths: tuple[float, float], period: float
) -> tuple[Passed, ...]:
    """Return what of a pulse passes choppers, in the order in which it was sent and of the openings.

    Choppers may turn so slowly that they are as they were only after several pulses: then it is what passes of each of
    these pulses, every one with its own time.

    Parameters
    ----------
    choppers
        In any order; those at one distance too.
    length
        Of the pulse, us.
    wavelengths
        That the source sends, Angstrom: shortest and longest.
    period
        From pulse to pulse, us.

    Raises
    ------
    UsageError
        The pulse has no length, or there are no wavelengths.
    ConfigError
        Choppers are not in step with the source, or cut a pulse into more than a thousand parts.
    """
    low, high = wavelengths
    if not (0 < length < math.inf and 0 < low < high < math.inf and 0 < period < math.inf):
        msg = f"nothing passes of a pulse of {length} us with {low} to {high} Angstrom every {period} us"
        raise UsageError(msg, hint="the pulse has a length, and wavelengths from a shortest to a longest one")
    in_order = sorted(choppers, key=lambda c: c.distance)
    slow, fast = high / WAVELENGTH, low / WAVELENGTH
    whole = np.array([[0.0, fast], [length, fast], [length, slow], [0.0, slow]])
    least = _LEAST * length * (slow - fast)
    found: list[Float64Array] = []
    for pulse in range(_pulses(in_order, period)):
        parts = [whole]
        for chopper in in_order:
            parts = [cut for part in parts for cut in _cuts(part, chopper, pulse * period) if _area(cut) > least]
            if len(parts) > _MOST:
                msg = f"choppers up to {chopper.name!r} cut a pulse into more than {_MOST} parts"
                raise ConfigError(msg, hint="are frequencies Hz, and wavelengths those that come through?")
        found += parts
    return tuple(map(Passed, found))


def _pulses(choppers: Sequence[Chopper], period: float) -> int:
    """Return after how many pulses all choppers are as they were."""
    for count in range(1, _MOST_PULSES + 1):
        turns = [count * period / c.turn for c in choppers]
        if all(abs(t - round(t)) < 1e-4 * t and round(t) for t in turns):
            return count
    name = next(c.name for c in choppers if abs(period / c.turn - round(period / c.turn)) > 1e-4 * period / c.turn)
    msg = f"the chopper {name!r} is not in step with a pulse every {period:g} us"
    raise ConfigError(msg, hint="frequencies are multiples of that of the source, or it of them (up to 8 pulses)")


def _cuts(part: Float64Array, chopper: Chopper, begin: float) -> Iterator[Float64Array]:
    """Yield what of a polygon passes each opening of a chopper; its times are counted from `begin` on."""
    there = part[:, 0] + chopper.distance * part[:, 1]
    for opens, closes in chopper.windows(float(there.min()) + begin, float(there.max()) + begin):
        kept = _kept(part, there - (opens - begin))
        if len(kept):
            kept = _kept(kept, (closes - begin) - kept[:, 0] - chopper.distance * kept[:, 1])
        if len(kept) > 2:
            yield kept


def _kept(corners: Float64Array, above: Float64Array) -> Float64Array:
    """Return the part of a polygon on which a time, us, linear and given at its corners, is not below 0."""
    # A corner on the line is one as it is: a side too short to have a direction must not come of rounding.
    above = np.where(np.abs(above) < _BORDER, 0.0, above)
    out = []
    for at in range(len(corners)):
        after = (at + 1) % len(corners)
        if above[at] >= 0:
            out.append(corners[at])
        if above[at] * above[after] < 0:
            share = above[at] / (above[at] - above[after])
            out.append(corners[at] + share * (corners[after] - corners[at]))
    return np.array(out)


def _area(corners: Float64Array) -> float:
    x, y = (corners - corners[0]).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
