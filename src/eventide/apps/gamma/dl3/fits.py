"""FITS binary tables, as much of them as event lists need: fixed-width columns, read from and made as bytes.

The layout is that of the FITS standard 4.0 (2018, sections 3, 4 and 7.3): blocks of 2,880 bytes, headers of cards of
80 characters, big-endian rows. A reader of our own answers hostile files with an error that says where, gives the same
bytes for the same tables, and costs no import of a library; columns of variable length and images are left alone.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eventide.errors import DataError

__all__ = ["FitsTable", "HeaderValue", "read_fits", "write_fits"]

_BLOCK = 2880
_CARD = 80
_LIMIT = 1 << 31
"""Bytes that a compressed file may hold once it is unpacked."""

_MAX_COLUMNS = 999
_MAX_CARDS = 36_000

_CODES = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_FORMS = {"b1": "L", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
_UNSIGNED = {"I": 1 << 15, "J": 1 << 31, "K": 1 << 63}
_TFORM = re.compile(r"(\d*)([A-Z])")
_STRING = re.compile(r"'((?:[^']|'')*)'")

HeaderValue: TypeAlias = bool | int | float | str
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class FitsTable:
    """One binary table.

    Parameters
    ----------
    name
        EXTNAME.
    columns
        By name, in order: numbers, truth values or text of one length; one dimension more where a cell has several.
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


def read_fits(source: str | Path | bytes) -> list[FitsTable]:
    """Return the binary tables of a file, which may be compressed with gzip.

    Parameters
    ----------
    source
        Path of a file, or its bytes.

    Raises
    ------
    DataError
        These bytes are no FITS, are cut short, or hold a column that cannot be read.

    Examples
    --------
    >>> table = FitsTable("EVENTS", {"TIME": np.array([1.5, 2.5])}, {"OBS_ID": 7}, {"TIME": "s"})
    >>> back, = read_fits(write_fits([table]))
    >>> back.name, back.columns["TIME"].tolist(), back.header["OBS_ID"], back.units
    ('EVENTS', [1.5, 2.5], 7, {'TIME': 's'})
    """
    where = "these bytes" if isinstance(source, bytes) else f"{source}"
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    data = _unpacked(data, where)
    if not data.startswith(b"SIMPLE  ="):
        msg = f"{where}: this is not a FITS file"
        raise DataError(msg, hint="its first bytes should be SIMPLE =; was it unpacked, or saved as something else?")
    tables: list[FitsTable] = []
    at = 0
    while at < len(data):
        header, begin = _read_header(data, at, where)
        size = _size(header, where)
        if begin + size > len(data):
            msg = f"{where}: data of {size} bytes at byte {begin} are cut short"
            raise DataError(msg, hint="the file was not written or copied to its end; get it again")
        if header.get("XTENSION") == "BINTABLE":
            tables.append(_read_table(memoryview(data)[begin : begin + size], header, where))
        at = begin + -(-size // _BLOCK) * _BLOCK
    return tables


def _unpacked(data: bytes, where: str) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.open(io.BytesIO(data)) as file:
            out = file.read(_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{where}: the compressed file is damaged ({error})"
        raise DataError(msg, hint="get the file again") from None
    if len(out) > _LIMIT:
        msg = f"{where}: unpacked it is larger than {_LIMIT >> 20} MiB"
        raise DataError(msg, hint="unpack it first, and split it")
    return out


# -- headers


def _read_header(data: bytes, at: int, where: str) -> tuple[dict[str, HeaderValue], int]:
    """Return keywords and the place where the data begin."""
    header: dict[str, HeaderValue] = {}
    for number in range(_MAX_CARDS):
        card = data[at + number * _CARD : at + (number + 1) * _CARD]
        if len(card) < _CARD:
            break
        key = card[:8].rstrip()
        if key == b"END":
            used = (number + 1) * _CARD
            return header, at + -(-used // _BLOCK) * _BLOCK
        if card[8:10] == b"= ":
            header[key.decode("ascii", "replace")] = _value(card[10:].decode("latin-1"))
    msg = f"{where}: the header at byte {at} has no end"
    raise DataError(msg, hint="the file is cut short, or is not FITS from there on")


def _value(text: str) -> HeaderValue:
    text = text.strip()
    if text.startswith("'"):
        found = _STRING.match(text)
        return found.group(1).replace("''", "'").rstrip() if found else text.strip("' ")
    plain = text.split("/", 1)[0].strip()
    if plain in ("T", "F"):
        return plain == "T"
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        return float(plain.replace("D", "E"))
    except ValueError:
        return plain


def _whole(header: Mapping[str, HeaderValue], key: str, where: str, *, default: int | None = None) -> int:
    value = header.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        msg = f"{where}: the header has {key} = {value!r}, which should be a whole number"
        raise DataError(msg, hint="the file is damaged; get it again")
    return value


def _size(header: Mapping[str, HeaderValue], where: str) -> int:
    axes = _whole(header, "NAXIS", where)
    if not axes:
        return 0
    if axes > _MAX_COLUMNS:
        msg = f"{where}: the header has NAXIS = {axes}"
        raise DataError(msg, hint="the file is damaged; get it again")
    bits = header.get("BITPIX")
    if not isinstance(bits, int) or abs(bits) not in (8, 16, 32, 64):
        msg = f"{where}: the header has BITPIX = {bits!r}"
        raise DataError(msg, hint="the file is damaged; get it again")
    cells = 1
    for axis in range(1, axes + 1):
        cells *= _whole(header, f"NAXIS{axis}", where)
    more = _whole(header, "PCOUNT", where, default=0)
    return (cells + more) * _whole(header, "GCOUNT", where, default=1) * abs(bits) // 8


# -- tables


def _read_table(data: memoryview, header: dict[str, HeaderValue], where: str) -> FitsTable:
    name = str(header.get("EXTNAME", ""))
    place = f"{where}, table {name!r}"
    count = _whole(header, "TFIELDS", place)
    width, rows = _whole(header, "NAXIS1", place), _whole(header, "NAXIS2", place)
    if count > _MAX_COLUMNS:
        msg = f"{place}: the header has TFIELDS = {count}"
        raise DataError(msg, hint=f"a FITS table has at most {_MAX_COLUMNS} columns; the file is damaged")
    names: list[str] = []
    kinds: list[tuple[str, str, int]] = []
    for number in range(1, count + 1):
        names.append(str(header.get(f"TTYPE{number}", f"COL{number}")))
        kinds.append(_kind(header, number, place))
    offsets = np.cumsum([0, *(np.dtype(d).itemsize * n for _, d, n in kinds)]).tolist()
    if offsets[-1] != width or len(set(names)) != count:
        msg = f"{place}: columns of {offsets[-1]} bytes do not fill rows of {width}, or two have one name"
        raise DataError(msg, hint="the file is damaged; get it again")
    raw = np.frombuffer(data, np.uint8, rows * width).reshape(rows, width)
    columns: dict[str, Array] = {}
    units: dict[str, str] = {}
    for number, (column, (code, dtype, repeat)) in enumerate(zip(names, kinds, strict=True), 1):
        begin, end = offsets[number - 1], offsets[number]
        cells = np.ascontiguousarray(raw[:, begin:end]).reshape(-1)
        array = cells.view(dtype).reshape((rows,) if repeat == 1 else (rows, repeat))
        scaling = header.get(f"TSCAL{number}", 1), header.get(f"TZERO{number}", 0)
        columns[column] = _native(array, code, scaling, where=f"{place}: column {number}")
        if f"TUNIT{number}" in header:
            units[column] = str(header[f"TUNIT{number}"])
    kept = {k: v for k, v in header.items() if not _STRUCTURE.fullmatch(k)}
    return FitsTable(name, columns, kept, units)


_STRUCTURE = re.compile(r"(XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|EXTNAME|T(TYPE|FORM|UNIT|SCAL|ZERO)\d+)")


def _kind(header: Mapping[str, HeaderValue], number: int, place: str) -> tuple[str, str, int]:
    """Return the code, numpy type and number of values of a cell of a column."""
    form = str(header.get(f"TFORM{number}", "")).strip()
    found = _TFORM.fullmatch(form)
    code = found.group(2) if found else ""
    repeat = int(found.group(1) or 1) if found and len(found.group(1)) < 9 else -1
    if code == "A" and repeat > 0:
        return code, f"S{repeat}", 1
    if code == "X" and repeat > 0:
        return code, "u1", -(-repeat // 8)
    if code not in _CODES or repeat < 1:
        msg = f"{place}: column {number} has the form {form!r}, which cannot be read"
        raise DataError(msg, hint="columns of numbers, truth values and text of one width can be")
    return code, _CODES[code], repeat


def _native(array: Array, code: str, scaling: tuple[HeaderValue, HeaderValue], *, where: str) -> Array:
    """Return values in the byte order of this machine, with scale and zero point."""
    if code == "L":
        return np.asarray(array == b"T")
    if code in "AX":
        return array
    scale, zero = scaling
    if not (_number(scale) and _number(zero)):
        msg = f"{where} has the scale {scale!r} and the zero point {zero!r}"
        raise DataError(msg, hint="both must be numbers; the file is damaged")
    array = array.astype(array.dtype.newbyteorder("="))
    if scale == 1 and zero == 0:
        return array
    if scale == 1 and zero == _UNSIGNED.get(code):
        unsigned = np.dtype(f"u{array.dtype.itemsize}")
        return np.asarray(array.view(unsigned) ^ unsigned.type(_UNSIGNED[code]))
    return np.asarray(array.astype(np.float64) * float(scale) + float(zero))


def _number(value: HeaderValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# -- writing


def write_fits(tables: Sequence[FitsTable], header: Mapping[str, HeaderValue] | None = None) -> bytes:
    """Return a FITS file of binary tables; the same tables give the same bytes.

    Parameters
    ----------
    tables
        What it holds.
    header
        Further keywords of the file itself.

    Raises
    ------
    DataError
        A column is neither of numbers nor of truth values nor text, or columns differ in length.

    Examples
    --------
    >>> len(write_fits([])) % 2880
    0
    """
    primary: dict[str, HeaderValue] = {"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True}
    out = [_cards(primary | dict(header or {}))]
    for table in tables:
        head, data = _made(table)
        out += [_cards(head), data, b"\0" * (-len(data) % _BLOCK)]
    return b"".join(out)


def _made(table: FitsTable) -> tuple[dict[str, HeaderValue], bytes]:
    fields: list[tuple[str, str, int]] = []
    forms: dict[str, HeaderValue] = {}
    arrays: list[Array] = []
    rows = {len(a) for a in table.columns.values()}
    if len(rows) > 1:
        msg = f"table {table.name!r}: columns have {sorted(rows)} rows"
        raise DataError(msg, hint="columns of one table must be of one length")
    for number, (name, array) in enumerate(table.columns.items(), 1):
        form, dtype, values, zero = _stored(table.name, name, np.asarray(array))
        width = int(np.prod(values.shape[1:]))
        fields.append((f"f{number}", dtype, width))
        arrays.append(values.reshape(len(values), width))
        forms |= {f"TTYPE{number}": name, f"TFORM{number}": form}
        if name in table.units:
            forms[f"TUNIT{number}"] = table.units[name]
        if zero:
            forms |= {f"TSCAL{number}": 1, f"TZERO{number}": zero}
    packed = np.zeros(max(rows, default=0), np.dtype([(n, d, (w,)) for n, d, w in fields]))
    for (name, _, _), values in zip(fields, arrays, strict=True):
        packed[name] = values
    head: dict[str, HeaderValue] = {
        "XTENSION": "BINTABLE",
        "BITPIX": 8,
        "NAXIS": 2,
        "NAXIS1": packed.dtype.itemsize,
        "NAXIS2": len(packed),
        "PCOUNT": 0,
        "GCOUNT": 1,
        "TFIELDS": len(fields),
        **forms,
        "EXTNAME": table.name,
        **table.header,
    }
    return head, packed.tobytes()


def _stored(table: str, name: str, array: Array) -> tuple[str, str, Array, int]:
    """Return TFORM, the type on disk, values and zero point of a column."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    repeat = int(np.prod(array.shape[1:]))
    times = "" if repeat == 1 else f"{repeat}"
    if kind == "b":
        return f"{times}L", "S1", np.where(array, b"T", b"F"), 0
    if kind == "U":
        array = np.char.encode(array, "ascii", "replace")
        kind, size = "S", array.dtype.itemsize
    if kind == "S" and array.ndim == 1:
        return f"{max(size, 1)}A", f"S{max(size, 1)}", array, 0
    if kind == "u" and size > 1:
        signed, top = np.dtype(f"i{size}"), 1 << (8 * size - 1)
        values = (array ^ array.dtype.type(top)).view(signed)
        return times + _FORMS[f"i{size}"], f">i{size}", values, top
    form = _FORMS.get(f"{kind}{size}")
    if form is None:
        msg = f"table {table!r}: column {name!r} holds {array.dtype}, which FITS has no form for"
        raise DataError(msg, hint="convert it to 8 to 64-bit integers, to floats or to text")
    return times + form, array.dtype.newbyteorder(">").str if size > 1 else "u1", array, 0


def _cards(header: Mapping[str, HeaderValue]) -> bytes:
    text = "".join(_card(key, value) for key, value in header.items()) + "END".ljust(_CARD)
    return text.ljust(-(-len(text) // _BLOCK) * _BLOCK).encode("ascii", "replace")


def _card(key: str, value: HeaderValue) -> str:
    if len(key) > 8 or not re.fullmatch(r"[A-Z0-9_-]+", key):
        msg = f"{key!r} cannot be a FITS keyword"
        raise DataError(msg, hint="use up to eight capital letters, digits, - and _")
    if isinstance(value, bool):
        shown = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        shown = "'" + value.replace("'", "''").ljust(8) + "'"
    elif isinstance(value, float) and not np.isfinite(value):
        msg = f"the keyword {key} cannot be {value}"
        raise DataError(msg, hint="FITS headers have no such number; leave the keyword out")
    else:
        shown = f"{repr(value).upper():>20}"
    card = f"{key:<8}= {shown}"
    if len(card) > _CARD or not card.isprintable():
        msg = f"the value of the keyword {key} is too long, or is not plain text: {value!r}"
        raise DataError(msg, hint="at most 68 printable characters fit")
    return card.ljust(_CARD)
