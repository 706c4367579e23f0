"""Rows out of a column of images, as a matrix: several times faster than Arrow takes lists of thousands of numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["gathered"]


def gathered(lists: pa.Array, rows: npt.NDArray[np.integer], *, pixels: int) -> npt.NDArray[np.float32]:
    """Return some lists of a column as rows of float32.

    Parameters
    ----------
    lists
        Lists of numbers, of a fixed size or not, in which no number is null.
    rows
        Which of them: valid ones that have as many numbers as there are pixels.
    pixels
        How many.

    Examples
    --------
    >>> gathered(pa.array([[1.0, 2.0], [3.0], None, [4.0, 5.0]]), np.array([3, 0]), pixels=2).tolist()
    [[4.0, 5.0], [1.0, 2.0]]
    """
    values = lists.values.to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(lists.type):
        starts = (np.arange(len(lists)) + lists.offset) * pixels
    else:
        starts = lists.offsets.to_numpy()
    out = np.empty((rows.size, pixels), np.float32)
    for row, start in zip(out, starts[rows].tolist(), strict=True):
        row[:] = values[start : start + pixels]
    return out
