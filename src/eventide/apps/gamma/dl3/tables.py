"""Binary tables of FITS files, by `astropy.io.fits`: damaged and hostile files end in an error that says where.

Needs astropy (``pip install eventide[gamma]``), when a file is read or written.
"""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.offline import astropy_for
from eventide.errors import DataError, EventideError, near_names

__all__ = ["FitsTable", "HeaderValue", "OpenTable", "opened", "write_fits"]

HeaderValue: TypeAlias = bool | int | float | str
Array: TypeAlias = npt.NDArray[Any]

_LIMIT = 1 << 31
"""Bytes that a compressed file may hold once it is unpacked."""

_MAX_AXES = _MAX_COLUMNS = 999  # by the standard
_MAX_TABLES = 1000
_MAX_HEADER = 1000 * 2880
_LAYOUT = re.compile(
    r"|COMMENT|HISTORY|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|EXTNAME|T(TYPE|FORM|UNIT|SCAL|ZERO|NULL|DISP|DIM)\d+"
)


@dataclass(frozen=True, slots=True)
class FitsTable:
    """One binary table to write.

    Parameters
    ----------
    name
        EXTNAME.
    columns
        By name, in order: numbers, truth values or text of one length.
    header
        Other keywords, such as ``{"RA_PNT": 83.6}``.
    units
        Units of columns that have one.

    Examples
    --------
    >>> FitsTable("GTI", {"START": np.zeros(1), "STOP": np.ones(1)}, units={"START": "s"}).header
    {}
    """

    name: str
    columns: Mapping[str, Array]
    header: Mapping[str, HeaderValue] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)


class OpenTable:
    """One binary table of a file that was opened.

    Examples
    --------
    >>> data = write_fits([FitsTable("EVENTS", {"TIME": np.array([1.5])}, {"OBS_ID": 7})])
    >>> with opened(data, "EVENTS") as (events,):
    ...     events.names, events.column("TIME", "f").tolist(), events.header["OBS_ID"]
    (['TIME'], [1.5], 7)
    """

    def __init__(self, hdu: Any, where: str) -> None:
        self.where = f"{where}: the table {hdu.name}"
        if hdu.columns.dtype.itemsize != hdu.header["NAXIS1"]:
            msg = f"{self.where}: columns of {hdu.columns.dtype.itemsize} bytes, in rows of {hdu.header['NAXIS1']}"
            raise DataError(msg, hint="the file is damaged; get it again")
        self.names: list[str] = hdu.columns.names
        self.header = _plain(hdu.header)
        self._hdu = hdu

    def column(self, name: str, kinds: str, *, of: str = "numbers") -> Array:
        """Return a column, one value a row, in the byte order of this machine; `kinds` are those of numpy's types.

        Raises
        ------
        DataError
            There is none of this name and these kinds.
        """
        values = np.asarray(self._hdu.data.field(name)) if name in self.names else None
        if values is None or values.ndim != 1 or values.dtype.kind not in kinds:
            msg = f"{self.where} has no column {name} of {of}"
            raise DataError(msg, hint=near_names(name, self.names))
        return values.astype(values.dtype.newbyteorder("="))


def _plain(header: Any) -> dict[str, HeaderValue]:
    """Return the keywords that say more than how the table is laid out; those that cannot be read are left out."""
    from astropy.io.fits import VerifyError

    out: dict[str, HeaderValue] = {}
    for card in header.cards:
        try:
            value = card.value
        except VerifyError:
            continue
        if isinstance(value, (bool, int, float, str)) and not _LAYOUT.fullmatch(card.keyword):
            out.setdefault(card.keyword, value)
    return out


@contextmanager
def opened(source: str | Path | bytes, *names: str) -> Iterator[list[OpenTable]]:
    """Open a FITS file, or its bytes, which may be compressed with gzip, and hand out binary tables of these names.

    Whatever goes wrong in reading them meanwhile becomes a `DataError` with the name of the file. Other tables, and
    what follows the last that is wanted, are not read. Nothing is mapped: rows have the columns side by side, so all
    is read in any case, and a mapped file that is cut short meanwhile would end the process.

    Parameters
    ----------
    source
        Path of a file, or its bytes.
    names
        EXTNAME of tables; of several with one name the first counts.

    Raises
    ------
    DataError
        These bytes are no FITS, are cut short, lack a table, or a table or column cannot be read.
    MissingDependencyError
        astropy is not installed.

    Examples
    --------
    >>> with opened(b"SIMPLE") as tables:
    ...     pass
    Traceback (most recent call last):
    eventide.errors.DataError: these bytes: this is not a FITS file
      hint: its first bytes should be SIMPLE =; was it unpacked, or saved as something else?
    """
    astropy_for("FITS files")
    where = "these bytes" if isinstance(source, bytes) else f"{source}"
    try:
        # What astropy would only warn about is either checked here or does not matter.
        with _stream(source, where) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield _tables(file, names, where)
    except EventideError:
        raise
    except Exception as error:  # damaged headers end in errors of all kinds
        msg = f"{where}: this cannot be read as FITS ({type(error).__name__}: {error})"
        raise DataError(msg, hint="the file is damaged; get it again") from None


def _stream(source: str | Path | bytes, where: str) -> BinaryIO:
    """Return the file, unpacked."""
    try:
        file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
    except OSError as error:
        msg = f"{where}: the file cannot be opened ({error.strerror})"
        raise DataError(msg, hint="name a GADF file (.fits, .fits.gz)") from None
    start = file.read(9)
    if start.startswith(b"\x1f\x8b"):
        with file:
            file.seek(0)
            data = _unpacked(file, where)
        file, start = io.BytesIO(data), data[:9]
    if start != b"SIMPLE  =":
        file.close()
        msg = f"{where}: this is not a FITS file"
        raise DataError(msg, hint="its first bytes should be SIMPLE =; was it unpacked, or saved as something else?")
    file.seek(0)
    return file


def _unpacked(packed: BinaryIO, where: str) -> bytes:
    """Return the content of a gzip file: never more than a limit, of which astropy has none."""
    try:
        with gzip.open(packed) as file:
            out = file.read(_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{where}: the compressed file is damaged ({error})"
        raise DataError(msg, hint="get the file again") from None
    if len(out) > _LIMIT:
        msg = f"{where}: unpacked it is larger than {_LIMIT >> 20} MiB"
        raise DataError(msg, hint="unpack it first, and split it")
    return out


def _tables(file: BinaryIO, names: tuple[str, ...], where: str) -> list[OpenTable]:
    """Return tables, from header to header: `astropy.io.fits.open` goes on for ever in some that lie."""
    from astropy.io import fits

    length = file.seek(0, io.SEEK_END)
    found: dict[str, OpenTable] = {}
    seen: list[str] = []
    at = 0
    while at < length and not found.keys() >= set(names):
        file.seek(at)
        head = io.BytesIO(file.read(_MAX_HEADER))
        header = fits.Header.fromfile(head)
        begin = at + head.tell()
        size = _size(header, where)
        if size > length - begin:
            msg = f"{where}: data of {size} bytes at byte {begin} are cut short"
            raise DataError(msg, hint="the file was not written or copied to its end; get it again")
        if len(seen) > _MAX_TABLES:
            msg = f"{where}: there are more than {_MAX_TABLES} tables and images"
            raise DataError(msg, hint="a GADF file has a few; the file is damaged")
        seen.append(str(header.get("EXTNAME", "")).strip().upper())
        if header.get("XTENSION") == "BINTABLE" and seen[-1] in names and seen[-1] not in found:
            file.seek(at)
            hdu = fits.BinTableHDU.fromstring(file.read(begin + size - at), uint=True)
            found[seen[-1]] = OpenTable(hdu, where)
        at = begin + header.data_size_padded
    for name in names:
        if name not in found:
            msg = f"{where}: there is no table {name}"
            raise DataError(msg, hint=near_names(name, seen))
    return [found[name] for name in names]


def _size(header: Any, where: str) -> int:
    """Return how many bytes of data follow a header, once its numbers can be true: astropy takes them as they are."""
    axes = header["NAXIS"]
    if isinstance(axes, int) and 0 <= axes <= _MAX_AXES:
        told = {key: header[key] for key in ("NAXIS", *(f"NAXIS{n}" for n in range(1, axes + 1)))}
        told |= {key: header.get(key, 0) for key in ("PCOUNT", "GCOUNT", "TFIELDS")}
        whole = all(type(v) is int and v >= 0 for v in told.values())
        table = header.get("XTENSION") != "BINTABLE" or (axes == 2 and header["BITPIX"] == 8)
        if whole and table and told["TFIELDS"] <= _MAX_COLUMNS:
            size: int = header.data_size
            return size
    said = {k: header.get(k) for k in ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS")}
    msg = f"{where}: a header cannot have {', '.join(f'{k} = {v}' for k, v in said.items())}"
    raise DataError(msg, hint="the file is damaged; get it again")


def write_fits(tables: list[FitsTable]) -> bytes:
    """Return a FITS file of binary tables; the same tables give the same bytes.

    Raises
    ------
    DataError
        A column or a keyword is nothing that FITS can hold.
    MissingDependencyError
        astropy is not installed.

    Examples
    --------
    >>> len(write_fits([])) % 2880
    0
    """
    astropy_for("FITS files")
    from astropy.io import fits

    hdus = fits.HDUList([fits.PrimaryHDU()])
    out = io.BytesIO()
    for table in tables:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # such as of a keyword that is cut
                kinds: Any = [(name, values.dtype) for name, values in table.columns.items()]
                rows = np.rec.fromarrays(list(table.columns.values()), dtype=kinds)
                hdu = fits.BinTableHDU(rows, name=table.name)
                for name, unit in table.units.items():
                    hdu.columns[name].unit = unit
                hdu.header.update(table.header)
                hdu.verify("exception")
                hdus.append(hdu)
        except (ValueError, TypeError, KeyError, IndexError, Warning, fits.VerifyError) as error:
            msg = f"table {table.name!r} cannot be written as FITS: {error}"
            raise DataError(msg, hint="columns hold numbers or text, of one length; keywords have plain text") from None
    hdus.writeto(out)
    return out.getvalue()
