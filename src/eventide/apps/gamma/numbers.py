"""A column of a batch or of a table as numbers, without a copy, or a call of Arrow, where there need be none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["integers_of", "numbers_of"]


def numbers_of(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return a column as float64, NaN where it is null.

    Parameters
    ----------
    column
        Numbers of any type. A column of float64 without nulls is not copied: do not write to what is returned.

    Examples
    --------
    >>> numbers_of(pa.array([1, None], pa.int16())).tolist()
    [1.0, nan]
    """
    if column.type != pa.float64():
        column = column.cast(pa.float64(), safe=False)
    if column.null_count:
        column = column.fill_null(np.nan)
    made: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return made


def integers_of(column: pa.Array, *, none: int = 0) -> npt.NDArray[np.int64]:
    """Return a column as int64, and a number in place of null.

    Parameters
    ----------
    column
        Whole numbers of any type up to 63 bits. A column of int64 without nulls is not copied: do not write to what is
        returned.
    none
        In place of null.

    Examples
    --------
    >>> integers_of(pa.array([1, None], pa.int16()), none=-1).tolist()
    [1, -1]
    """
    if column.null_count:
        column = column.cast(pa.int64()).fill_null(none)
    made: npt.NDArray[np.int64] = column.to_numpy(zero_copy_only=False)
    return made if made.dtype == np.int64 else made.astype(np.int64)
