"""What two outputs must hold, computed from the input without an engine: counts in windows, and bursts.

Late events, repeats and events without a believable time never count, so all that counts is `plain_readings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventide.testing.crash.events import STEP, plain_readings

__all__ = ["Model", "WINDOW", "check"]

WINDOW = 5_000_000_000
PAUSE = 600_000_000
_BEHIND = 2_500_000_000
_SAME = 1e-9

Int64Array = npt.NDArray[np.int64]
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Model:
    """The rows that are certain once so many batches were written.

    Parameters
    ----------
    counts
        By sensor and end of the window, ns: number of readings and their sum.
    bursts
        By sensor and time of the report, ns: the ids, in order.
    """

    counts: dict[Key, tuple[int, float]]
    bursts: dict[Key, str]

    @classmethod
    def of(cls, batches: int, *, seed: int) -> Model:
        """Return the model of the first batches of an input.

        Examples
        --------
        >>> model = Model.of(20, seed=1)
        >>> sum(n for n, _ in model.counts.values()) <= 20 * 24
        True
        """
        parts = [plain_readings(number, seed=seed) for number in range(batches)]
        if not parts:
            return cls({}, {})
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        # Events of later batches may be so far behind the newest one.
        certain = int(parts[0]["timestamp"].min()) // STEP * STEP + (batches - 2) * STEP - _BEHIND
        order = np.lexsort((columns["timestamp"], columns["sensor"]))
        times, sensors = columns["timestamp"][order], columns["sensor"][order]
        ids, values = columns["id"][order], columns["value"][order]
        counts = {
            (int(sensors[rows[0]]), end): (rows.size, float(values[rows].sum()))
            for rows in _runs(sensors, times // WINDOW)
            if (end := (int(times[rows[0]]) // WINDOW + 1) * WINDOW) <= certain
        }
        silent = np.cumsum(np.concatenate([[0], np.diff(times) >= PAUSE]))
        bursts = {
            (int(sensors[rows[0]]), report): " ".join(map(str, ids[rows]))
            for rows in _runs(sensors, silent)
            if (report := int(times[rows[-1]]) + PAUSE) <= certain
        }
        return cls(counts, bursts)


def _runs(*columns: Int64Array) -> Iterator[Int64Array]:
    """Return the rows of each run of equal values."""
    changes = np.logical_or.reduce([np.diff(column) != 0 for column in columns])
    yield from np.split(np.arange(columns[0].size), np.flatnonzero(changes) + 1)


def check(model: Model, *, counts: list[tuple[Key, int, float]], bursts: list[tuple[Key, str]]) -> list[str]:
    """Return in words what is wrong with rows that are visible now; rows that the model is not sure of are left out.

    Whatever is visible, nothing before it may be missing.

    Examples
    --------
    >>> check(Model({(1, 10): (2, 3.0)}, {}), counts=[((1, 10), 2, 3.0), ((1, 10), 2, 3.0)], bursts=[])
    ['counts (1, 10) is there 2 times']
    """
    wrong = _doubled("counts", [key for key, *_ in counts]) + _doubled("bursts", [key for key, _ in bursts])
    for key, number, total in counts:
        should = model.counts.get(key)
        if should is not None and (number != should[0] or abs(total - should[1]) > _SAME * (1 + abs(total))):
            wrong.append(f"counts {key} is {number, total}, not {should}")
    for key, ids in bursts:
        if model.bursts.get(key, ids) != ids:
            wrong.append(f"bursts {key} is {ids!r}, not {model.bursts[key]!r}")
    wrong += _missing("counts", {key for key, *_ in counts}, set(model.counts))
    return wrong + _missing("bursts", {key for key, _ in bursts}, set(model.bursts))


def _doubled(output: str, keys: list[Key]) -> list[str]:
    return [f"{output} {key} is there {n} times" for key, n in Counter(keys).items() if n > 1]


def _missing(output: str, found: set[Key], known: set[Key]) -> list[str]:
    newest = max((time for _, time in found), default=0)
    horizon = max((time for _, time in known), default=0)
    lost = [f"{output} {key} is missing" for key in sorted(known - found) if key[1] < newest]
    foreign = [f"{output} {key} should not be" for key in sorted(found - known) if key[1] <= horizon]
    return lost + foreign
