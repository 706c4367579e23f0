"""What an anomaly detector is, and how one is found by name.

A detector keeps state per key and judges each value against what it expected of that key. It is a
pure function of the values of a key in event-time order: how they were cut into batches, and whether
the compiled loop or numpy ran, never changes a bit of the answer.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.sensors import detectors
from eventide.apps.sensors.slots import Array, Field, Float64Array, Int64Array, SlotState, rounds
from eventide.errors import ConfigError, UnknownNameError, near_names
from eventide.kernel.compiled import compiled, have_compiler

__all__ = ["Detector", "Rows", "ScanDetector", "Verdict", "around", "check_options", "detector_names", "make_detector"]


class Rows(NamedTuple):
    """Rows to judge, in event-time order within each key.

    Attributes
    ----------
    slots
        Dense key slot of each row, int64 from 0.
    times
        Event time, int64 ns.
    values
        float64; a value that is not finite is not judged and leaves the state as it was.
    """

    slots: Int64Array
    times: Int64Array
    values: Float64Array


class Verdict(NamedTuple):
    """What a detector says of each row.

    Attributes
    ----------
    score
        How far the value lies from the prediction in units of the half width of the band: above 1 it is
        outside. NaN where nothing was judged.
    low, high
        The band that the value was held against, in the value's unit.
    prediction
        What was expected, in the value's unit.
    flag
        Whether this is an anomaly; never during the warm-up.
    """

    score: Float64Array
    low: Float64Array
    high: Float64Array
    prediction: Float64Array
    flag: npt.NDArray[np.bool_]


class Detector(Protocol):
    """An anomaly detector over keyed values."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """What is kept per key: name to (dtype, width)."""
        ...

    def update(self, slots: Int64Array, times: Int64Array, values: Float64Array) -> Verdict:
        """Judge rows that are in event-time order within each key, and learn from them."""
        ...

    def judge(self, arrays: Sequence[Array], rows: Rows) -> Verdict:
        """Judge rows against state that is kept elsewhere, one array per field, and change it in place."""
        ...

    def snapshot(self) -> pa.Table:
        """Return the state, one row per key slot."""
        ...

    def restore(self, table: pa.Table) -> None:
        """Replace the state by a snapshot of the same detector with the same options."""
        ...


class ScanDetector:
    """A detector made of state per slot and one loop, written twice: compiled and in numpy.

    Parameters
    ----------
    state
        Named tuple type: first the state arrays in the order of `fields`, then `options` by name.
    fields
        What is kept per key.
    options
        Numbers that the loop needs.
    scan
        Loop over rows that writes into a `Verdict`, ``scan(rows, state, out)``; it skips values that are
        not finite.
    step
        The same for finite rows of distinct slots at once, ``step(rows, state)``.
    """

    def __init__(
        self,
        state: Callable[..., Any],
        fields: Mapping[str, Field],
        options: Mapping[str, float],
        *,
        scan: Callable[..., None],
        step: Callable[..., Verdict],
    ) -> None:
        self._fields = dict(fields)
        self._state = SlotState(fields)
        self._bind = functools.partial(state, **options)
        self._scan = scan
        self._step = step

    @property
    def fields(self) -> Mapping[str, Field]:
        """What is kept per key: name to (dtype, width)."""
        return self._fields

    def update(self, slots: Int64Array, times: Int64Array, values: Float64Array) -> Verdict:
        """Judge rows that are in event-time order within each key, and learn from them."""
        self._state.reserve(int(slots.max(initial=-1)) + 1)
        return self.judge(self._state.arrays(), Rows(slots, times, values))

    def judge(self, arrays: Sequence[Array], rows: Rows) -> Verdict:
        """Judge rows against state that is kept elsewhere, and change it in place.

        Parameters
        ----------
        arrays
            One array per field, in their order, indexed by slot.
        rows
            Rows in event-time order within each key.
        """
        state = self._bind(*arrays)
        nan = np.full((4, len(rows.values)), np.nan)
        out = Verdict(nan[0], nan[1], nan[2], nan[3], np.zeros(len(rows.values), np.bool_))
        if have_compiler():
            _kernel(self._scan)(rows, state, out)
            return out
        finite = np.flatnonzero(np.isfinite(rows.values))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for index in rounds(rows.slots[finite]):
                at = finite[index]
                part = self._step(Rows(rows.slots[at], rows.times[at], rows.values[at]), state)
                for whole, piece in zip(out, part, strict=True):
                    whole[at] = piece
        return out

    def snapshot(self) -> pa.Table:
        """Return the state, one row per key slot."""
        return self._state.snapshot()

    def restore(self, table: pa.Table) -> None:
        """Replace the state by a snapshot of the same detector with the same options."""
        self._state.restore(table)


def around(
    values: Float64Array, prediction: Float64Array, *, half: Float64Array, armed: npt.NDArray[np.bool_]
) -> Verdict:
    """Return the verdict on values held against prediction plus and minus `half`.

    Parameters
    ----------
    values, prediction, half
        In the value's unit.
    armed
        Where the warm-up is over.

    Examples
    --------
    >>> around(np.array([3.0]), np.array([1.0]), half=np.array([1.0]), armed=np.array([True])).score.tolist()
    [2.0]
    """
    low, high = prediction - half, prediction + half
    away = np.abs(values - prediction)
    score = np.where(half > 0, away / half, np.where(away == 0, 0.0, np.inf))
    return Verdict(score, low, high, prediction, armed & ((values < low) | (values > high)))


@functools.cache
def _kernel(scan: Callable[..., None]) -> Callable[..., None]:
    return compiled(scan)


def check_options(detector: str, **limits: tuple[float, float, float]) -> None:
    """Check that options lie in their ranges.

    Parameters
    ----------
    detector
        Name for the message.
    limits
        Option to (value, smallest, largest).

    Raises
    ------
    ConfigError
        A value lies outside.

    Examples
    --------
    >>> check_options("band", k=(1.3, 0, 100))
    """
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            msg = f"the detector {detector!r} cannot use {name}={value!r}"
            raise ConfigError(msg, hint=f"{name} lies between {low:g} and {high:g}")


def detector_names() -> list[str]:
    """Return the names of the detectors there are.

    Examples
    --------
    >>> "band" in detector_names()
    True
    """
    return sorted(module.name for module in pkgutil.iter_modules(detectors.__path__))


def make_detector(name: str, **options: object) -> Detector:
    """Return a new detector by name.

    Parameters
    ----------
    name
        File name in ``detectors/``, such as ``"band"``.
    options
        Options of that detector; each file documents its own.

    Raises
    ------
    UnknownNameError
        There is no such detector.
    ConfigError
        The detector has no such option, or a value makes no sense.

    Examples
    --------
    >>> type(make_detector("band", band="textbook", k=2.0)).__name__
    'ScanDetector'
    """
    known = detector_names()
    if name not in known:
        msg = f"there is no detector {name!r}"
        raise UnknownNameError(msg, hint=near_names(name, known))
    module = importlib.import_module(f"{detectors.__name__}.{name}")
    build = getattr(module, name)
    takes = list(inspect.signature(build).parameters)
    for option in options:
        if option not in takes:
            msg = f"the detector {name!r} has no option {option!r}"
            raise ConfigError(msg, hint=near_names(option, takes))
    return cast("Detector", build(**options))
