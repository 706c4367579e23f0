"""Calibrations in files: HDF5 as Mantid's SaveDiffCal writes it, or a table of the same columns as CSV or Parquet."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.reduction.calibration import Calibration
from eventide.errors import DataError, MissingDependencyError

__all__ = ["MOST_PIXELS", "read_calibration"]

Float64Array = npt.NDArray[np.float64]

MOST_PIXELS = 2**28
"""Pixels that a calibration file may span: a number beyond is damage."""

_COLUMNS: Final = ("detid", "difc", "difa", "tzero", "use", "offset")
_HINT: Final = "detid, difc, difa, tzero and use need one value for each pixel"


def read_calibration(path: str | Path, *, difc: npt.ArrayLike | None = None, first: int = 0) -> Calibration:
    r"""Read a calibration.

    Parameters
    ----------
    path
        The file: ``.csv`` or ``.parquet`` with columns, else HDF5 with a group ``calibration``. It has ``detid`` and
        ``difc``, and if they are there ``difa``, ``tzero`` and ``use`` (0: masked), of one length. Without ``difc`` it
        has ``offset``: by how much of itself each d-spacing is more than by the geometry. Where it has both, `difc`
        holds.
    difc, first
        For files with offsets alone: DIFC by the geometry, us / Angstrom, of the pixels from `first` on.

    Raises
    ------
    MissingDependencyError
        h5py is not installed, and the file is HDF5.
    DataError
        The file is no such calibration.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder, "mine.csv")
    ...     _ = place.write_text("detid,difc,tzero,use\n7,1000.0,1.5,1\n9,1010.0,1.5,0\n")
    ...     read_calibration(place).usable.tolist()
    [True, False, False]
    """
    where = Path(path)
    try:
        found = _of_table(where) if where.suffix in (".csv", ".parquet") else _of_hdf5(where)
    except (OSError, KeyError, TypeError, ValueError) as error:  # those of Arrow are ValueErrors too
        msg = f"{where} is no calibration: {error}"
        raise DataError(msg, hint="HDF5 with a group 'calibration', or CSV or Parquet with its columns") from None
    if "difc" not in found and "offset" in found and difc is not None:
        found["difc"] = _of_offsets(found, np.asarray(difc, np.float64), first)
    return _of_columns(found, where)


def _of_hdf5(where: Path) -> dict[str, Any]:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        msg = f"{where} cannot be read: h5py is not installed"
        raise MissingDependencyError(msg, hint="pip install h5py") from None
    with h5py.File(where, "r") as file:
        held = file["calibration"]
        return {n: np.asarray(held[n]) for n in _COLUMNS if n in held}


def _of_table(where: Path) -> dict[str, Any]:
    kind = where.suffix[1:]
    module: Any = importlib.import_module(f"pyarrow.{kind}")
    table: pa.Table = module.read_csv(where) if kind == "csv" else module.read_table(where)
    table = table.select([n for n in table.column_names if n in _COLUMNS])
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and name in ("detid", "use"):
            msg = f"{name} has {column.null_count} empty values"
            raise ValueError(msg)
        plain = column.cast(pa.float64()) if column.null_count else column
        found[name] = plain.to_numpy()
    return found


def _of_offsets(found: dict[str, Any], difc: Float64Array, first: int) -> Any:
    number, offset = found.get("detid"), found["offset"]
    if number is None or number.dtype.kind not in "iu" or number.shape != offset.shape or offset.dtype.kind != "f":
        return offset  # which is then refused with the reason
    at = number.astype(np.int64) - first
    known = (at >= 0) & (at < difc.size)
    geometric = np.where(known, difc[np.where(known, at, 0)], np.nan)
    with np.errstate(all="ignore"):
        return np.where(offset > -1.0, geometric / (1.0 + offset), np.nan)


def _of_columns(found: dict[str, Any], where: Path) -> Calibration:
    wrong = _why_not(found)
    if wrong:
        msg = f"{where} is no calibration: {wrong}"
        raise DataError(msg, hint=_HINT)
    number = found["detid"]
    first, last = int(number.min()), int(number.max())
    at = number.astype(np.int64) - first
    columns = {}
    for name, default in (("difc", np.nan), ("difa", 0.0), ("tzero", 0.0)):
        columns[name] = np.full(last - first + 1, default)
        columns[name][at] = found.get(name, default)
    use = np.zeros(last - first + 1, np.bool_)
    use[at] = found["use"] != 0 if "use" in found else True
    return Calibration(**columns, use=use, first=first)


def _why_not(found: dict[str, Any]) -> str:
    """Return what is wrong with columns, "" for nothing."""
    if "detid" not in found or "difc" not in found:
        return "it has no detid or no difc" + (", and offsets need a geometry" if "offset" in found else "")
    number = found["detid"]
    if number.dtype.kind not in "iu" or any(a.dtype.kind not in "iufb" for a in found.values()):
        return "its columns are not numbers"
    if number.ndim != 1 or not number.size or any(a.shape != number.shape for a in found.values()):
        return f"its columns have the shapes {[a.shape for a in found.values()]}"
    first, last = int(number.min()), int(number.max())
    if first < -MOST_PIXELS or last > 2**62 or last - first >= MOST_PIXELS or np.unique(number).size != number.size:
        return f"its {number.size} pixels from {first} to {last} are not one row each, or span too many numbers"
    return ""
