"""Statistics over the chosen pixels of an image: of their light, or of their peak times (``ctapipe``'s formulas)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.parameters.chosen import Chosen

__all__ = ["statistics"]

Float64Array = npt.NDArray[np.float64]


def statistics(pixels: Chosen, values: Float64Array) -> list[Float64Array]:
    """Return greatest, least, mean, standard deviation, skewness and kurtosis (0 for a normal distribution).

    NaN where an image has no parameters, or a value of it is not finite; equal values have no skewness.

    Parameters
    ----------
    pixels
        The chosen pixels.
    values
        One number for each of them.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> from eventide.apps.gamma.parameters.chosen import chosen
    >>> some = chosen(hexagonal(3, pitch=1.0), np.array([[1, 2, 3]], np.float32), np.arange(3))
    >>> [round(float(column[0]), 3) for column in statistics(some, some.light)]
    [3.0, 1.0, 2.0, 0.816, 0.0, -1.5]
    """
    counts, some = pixels.counts, pixels.counts > 0
    begins = (np.cumsum(counts) - counts)[some]
    most, least = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    with np.errstate(all="ignore"):
        if some.any():
            most[some], least[some] = np.maximum.reduceat(values, begins), np.minimum.reduceat(values, begins)
        mean = pixels.sums(values) / counts
        d = values - mean[pixels.row]
        s = d * d
        m2, m3, m4 = pixels.sums(s) / counts, pixels.sums(s * d) / counts, pixels.sums(s * s) / counts
        std = np.sqrt(m2)
        spread = m2 * m2 != 0.0
        columns = [
            most,
            least,
            mean,
            std,
            np.where(spread, m3 / (m2 * std), np.nan),
            np.where(spread, m4 / (m2 * m2) - 3.0, np.nan),
        ]
    good = pixels.measurable() & np.isfinite(mean)
    return [np.where(good, column, np.nan) for column in columns]
