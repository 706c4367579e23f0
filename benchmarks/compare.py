"""Are two results the same? Rows exactly, means to 1e-9 relative, deviations to 1e-9 where that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

RELATIVE = 1e-9
# One-pass formulas (sum of squares) lose digits when the spread is small against the mean; they are held to this
# many times the mean square on the variance, a few hundred roundings. No other difference is let pass.
ONE_PASS = 1e-13

WIDTH_MS = {"w2": 10_000, "w3": 10_000, "w4": 1_000}
COLUMNS = {
    "w1": ("ts", "key", "value"),
    "w2": ("window_start", "key", "n", "mean", "std"),
    "w3": ("window_start", "key", "n", "mean", "std"),
    "w4": ("window_start", "key", "left_value", "right_value"),
}


class DifferentError(Exception):
    """Two results differ; the message says where."""


def check(job: str, truth: pa.Table, other: pa.Table, *, complete_until: int | None = None) -> int:
    """Compare the result of a job with the truth, in any row order; the number of rows compared.

    With `complete_until` (ms) the other result holds no window that ends later, and those are left out of the truth.
    """
    expected, found = _arrays(job, truth), _arrays(job, other)
    if complete_until is not None:
        expected = _until(expected, complete_until - WIDTH_MS[job])
        found = _until(found, complete_until - WIDTH_MS[job])
    rows, others = len(expected["key"]), len(found["key"])
    if rows != others:
        msg = f"{job}: {others} rows, {rows} expected"
        raise DifferentError(msg)
    for name in COLUMNS[job]:
        _compare_column(job, name, expected, found)
    return rows


def _compare_column(job: str, name: str, expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> None:
    left, right = expected[name], found[name]
    if name == "std":
        undefined = expected["n"] < 2  # null, NaN or, from Flink SQL 2.3, -1.0: nothing to compare
        left, right = np.where(undefined, 0.0, left), np.where(undefined, 0.0, right)
        limit = 2 * RELATIVE * left**2 + ONE_PASS * (expected["mean"] ** 2 + left**2)
        same = np.abs(left**2 - right**2) <= limit
    elif left.dtype.kind == "f":
        same = np.abs(left - right) <= RELATIVE * np.abs(left)
    else:
        same = left == right
    if not np.all(same):
        at = int(np.argmin(same))
        where = ", ".join(f"{key} {expected[key][at]} and {found[key][at]}" for key in COLUMNS[job])
        msg = f"{job}: column {name} differs in {np.sum(~same)} of {len(same)} rows; expected and found, first: {where}"
        raise DifferentError(msg)


def _arrays(job: str, table: pa.Table) -> dict[str, np.ndarray]:
    arrays = {}
    for name in COLUMNS[job]:
        column = table.column(name).combine_chunks()
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms", tz=column.type.tz)).cast(pa.int64())
        if pa.types.is_integer(column.type):
            arrays[name] = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
        else:
            arrays[name] = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False)
    order = _order(job, arrays)
    return {name: values[order] for name, values in arrays.items()}


def _order(job: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    names: Sequence[str] = COLUMNS[job][:2] if job in {"w2", "w3"} else COLUMNS[job]
    return np.lexsort([arrays[name] for name in reversed(names)])


def _until(arrays: dict[str, np.ndarray], last_start: int) -> dict[str, np.ndarray]:
    keep = arrays["window_start"] <= last_start
    return {name: values[keep] for name, values in arrays.items()}
