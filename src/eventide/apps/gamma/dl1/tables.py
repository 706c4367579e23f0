"""Tables of ctapipe in HDF5: columns of numbers with units, written so that PyTables takes them, and read.

ctapipe writes tables by PyTables: a compound data set, with attributes that say what a column is. True and false are
bits there (not the enumeration that h5py makes of them), times are pairs of uint32 (see `stamps` of
`eventide.apps.gamma.schema`). Enumerations of ctapipe are written as their numbers, without the pickled class beside
them: tables that are loaded are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from eventide.errors import DataError, MissingDependencyError, near_names

__all__ = ["MOST_ROWS", "Column", "Table", "opened", "truths", "write_table"]

Array = npt.NDArray[Any]

MOST_ROWS: Final = 50_000_000
"""Rows that a table that is read may have."""

_MOST_BYTES: Final = 1 << 24  # of a row
_CHUNK: Final = 1 << 17  # bytes
_TIME: Final = {"TIME_FORMAT": "ctao_high_res", "TIME_SCALE": "tai", "TRANSFORM": "time"}


class Column(NamedTuple):
    """A column to write.

    Attributes
    ----------
    values
        Numbers, truths or bytes; a second axis makes each row an array.
    unit
        As astropy spells it, such as ``deg``.
    kind
        ``"time"`` for pairs of uint32, ``"tels"`` for a truth for each telescope.
    name
        What ctapipe calls it within its group; left out, as the column.
    """

    values: Array
    unit: str = ""
    kind: str = ""
    name: str = ""


def h5py_for(what: str) -> Any:
    """Return h5py.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import h5py
    except ImportError:
        msg = f"{what} are read and written with h5py, which is not installed"
        raise MissingDependencyError(msg, hint="pip install 'eventide[gamma-hdf5]'") from None
    return h5py


def write_table(
    file: Any, path: str, columns: Mapping[str, Column], *, attributes: Mapping[str, Any] | None = None
) -> None:
    """Write a table into an open file of h5py; groups on the way to it are made.

    Parameters
    ----------
    file
        An ``h5py.File`` that can be written.
    path
        Where in the file.
    columns
        By name, all equally long.
    attributes
        Of the table: text and numbers.

    Raises
    ------
    DataError
        The columns are not equally long.

    Examples
    --------
    >>> import h5py, io
    >>> with h5py.File(io.BytesIO(), "w") as file:
    ...     write_table(file, "/a/table", {"n": Column(np.arange(3)), "ok": Column(np.array([True, False, True]))})
    ...     file["/a/table"]["ok"].tolist()
    [1, 0, 1]
    """
    h5py = h5py_for("tables of ctapipe")
    rows = {len(c.values) for c in columns.values()}
    if len(rows) != 1:
        msg = f"the columns of {path} have {sorted(rows)} rows"
        raise DataError(msg, hint="give equally long columns")
    packed = _packed(columns)
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, packed.dtype.itemsize)
    for name, column in columns.items():
        part = h5py.h5t.STD_B8LE if column.values.dtype == bool else h5py.h5t.py_create(column.values.dtype)
        if column.values.ndim > 1:
            part = h5py.h5t.array_create(part, column.values.shape[1:])
        kind.insert(name.encode(), dict(packed.dtype.fields or {})[name][1], part)
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((max(1, _CHUNK // packed.dtype.itemsize),))
    made.set_shuffle()
    made.set_deflate(1)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5py.h5s.create_simple((len(packed),), (h5py.h5s.UNLIMITED,))
    data = h5py.h5d.create(file.id, path.encode(), kind, space, made, links)
    if len(packed):
        data.write(h5py.h5s.ALL, h5py.h5s.ALL, packed, mtype=kind)
    _describe(h5py.Dataset(data), columns, attributes or {})


def _packed(columns: Mapping[str, Column]) -> Array:
    plain = {n: c.values.view(np.uint8) if c.values.dtype == bool else c.values for n, c in columns.items()}
    dtype = np.dtype([(n, v.dtype, v.shape[1:]) for n, v in plain.items()])
    out = np.empty(len(next(iter(plain.values()))), dtype)
    for name, values in plain.items():
        out[name] = values
    return out


def _describe(data: Any, columns: Mapping[str, Column], attributes: Mapping[str, Any]) -> None:
    told: dict[str, Any] = {"CLASS": "TABLE", "VERSION": "2.7", "TITLE": "", "NROWS": len(data)}
    for place, (name, column) in enumerate(columns.items()):
        told[f"FIELD_{place}_NAME"] = name
        told[f"CTAFIELD_{place}_NAME"] = column.name or name
        more: Mapping[str, Any] = {}
        if column.unit:
            more = {"TRANSFORM": "quantity", "UNIT": column.unit}
        elif column.kind == "time":
            more = _TIME
        elif column.kind == "tels":
            more = {"TRANSFORM": "tel_list_to_mask"}
        elif column.values.dtype.kind == "S":
            more = {"TRANSFORM": "string", "MAXLEN": column.values.dtype.itemsize}
        told |= {f"CTAFIELD_{place}_{key}": value for key, value in more.items()}
    write_attributes(data, {**told, **attributes})


def write_attributes(node: Any, attributes: Mapping[str, Any]) -> None:
    """Write attributes as PyTables does: text of a fixed length in UTF-8, numbers as they are."""
    h5py = h5py_for("tables of ctapipe")
    for name, value in attributes.items():
        if isinstance(value, str):
            text = value.encode()
            kind = h5py.string_dtype("utf-8", max(1, len(text)))
            node.attrs.create(name, np.array(text, kind), dtype=kind)
        else:
            node.attrs[name] = value


class Table:
    """A table that is read: columns by name, rows from one to another.

    Parameters
    ----------
    data
        A data set of h5py.
    where
        Path of the file and of the table, for messages.

    Raises
    ------
    DataError
        It is no table, or larger than one may be.
    """

    def __init__(self, data: Any, where: str) -> None:
        shape, dtype = getattr(data, "shape", None), getattr(data, "dtype", np.dtype("u1"))
        if dtype.names is None or shape is None or len(shape) != 1:
            msg = f"{where} is no table"
            raise DataError(msg, hint="give a file as ctapipe writes it")
        if shape[0] > MOST_ROWS or dtype.itemsize > _MOST_BYTES:
            msg = f"{where} has {shape[0]:,} rows of {dtype.itemsize:,} bytes"
            raise DataError(msg, hint=f"up to {MOST_ROWS:,} rows of {_MOST_BYTES:,} bytes can be read")
        self._data, self.where = data, where
        self.rows, self.names = int(shape[0]), tuple(dtype.names)

    def need(self, *names: str) -> None:
        """Raise a `DataError` where a column is missing."""
        for name in names:
            if name not in self.names:
                msg = f"{self.where} has no column {name!r}"
                raise DataError(msg, hint=near_names(name, self.names))

    def read(self, *names: str, start: int = 0, stop: int | None = None) -> tuple[Array, ...]:
        """Return columns, of some rows.

        Raises
        ------
        DataError
            A column is missing, or the file is damaged.
        """
        self.need(*names)
        end = self.rows if stop is None else stop
        try:
            found = self._data.fields(list(names))[start:end]
        except (OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
            msg = f"{self.where} cannot be read: {error}"
            lost = "filter" in str(error) or "plugin" in str(error)
            hint = "pip install 'eventide[gamma-hdf5]': ctapipe compresses with Blosc, which hdf5plugin knows"
            raise DataError(msg, hint=hint if lost else "the file is damaged: write it again") from None
        return tuple(np.asarray(found[name]) for name in names)

    def unit(self, name: str) -> str:
        """Return the unit of a column as the file spells it, "" where there is none."""
        return str(self.attribute(f"CTAFIELD_{self.names.index(name)}_UNIT", ""))

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute: text, a number, or the default where it is not there or is neither."""
        try:
            value = self._data.attrs.get(name, default)
        except (OSError, ValueError, TypeError, RuntimeError, KeyError):
            return default
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, np.generic):
            value = value.item()
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return value if isinstance(value, (str, int, float)) else default


class Tables:
    """The tables of an open file."""

    def __init__(self, file: Any, path: str | Path) -> None:
        self._file, self.path = file, path

    def __contains__(self, name: str) -> bool:
        try:
            return name in self._file
        except (OSError, ValueError, RuntimeError):
            return False

    def children(self, group: str) -> list[str]:
        """Return what a group holds, ordered; nothing where there is no such group."""
        try:
            found = self._file.get(group)
            return sorted(found) if hasattr(found, "keys") else []
        except (OSError, ValueError, RuntimeError):
            return []

    def table(self, name: str) -> Table:
        """Return a table.

        Raises
        ------
        DataError
            There is none of that name.
        """
        try:
            data = self._file[name]
        except (KeyError, OSError, ValueError, RuntimeError):
            msg = f"{self.path} has no table {name}"
            raise DataError(msg, hint="give a file as ctapipe-process writes it, with --write-images") from None
        if getattr(data, "external", None) or getattr(data, "is_virtual", False) or data.file.id != self._file.id:
            msg = f"{self.path}: {name} lies in another file"
            raise DataError(msg, hint="give a file that holds its tables itself")
        return Table(data, f"{self.path}: {name}")


@contextmanager
def opened(path: str | Path) -> Iterator[Tables]:
    """Open a file for reading.

    Raises
    ------
    DataError
        It is no HDF5.
    MissingDependencyError
        h5py is not installed.
    """
    h5py = h5py_for("files of ctapipe")
    with suppress(ImportError):  # files without Blosc can be read
        import hdf5plugin  # noqa: F401  # makes filters known to h5py
    try:
        file = h5py.File(path, "r")
    except (OSError, ValueError, RuntimeError) as error:
        msg = f"{path} is no HDF5 file that can be read: {error}"
        raise DataError(msg, hint="give a file as ctapipe writes it") from None
    with file:
        yield Tables(file, path)


def truths(values: Array) -> npt.NDArray[np.bool_]:
    """Return bits as truths."""
    return np.asarray(values).astype(bool)
