"""Decoding once more what could not be decoded, after the format's options, the schema or the file was mended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide.connectors._file_form import Form, stream_of
from eventide.connectors._file_read import open_one, unreadable
from eventide.errors import EventideError
from eventide.model.batch import concat, empty
from eventide.model.protocols import BadInput, Decoded

__all__ = ["decode_again"]

_HEAD_BYTES = 1 << 20
_ROWS = 65_536
_PLACE = re.compile(r"(?:(?P<path>.*): )?(?P<unit>byte|from) (?P<at>\d+)", re.DOTALL)
_NO_HEADER = "the header line of this input was not kept: give header=False and columns=[...] to decode it again"


def decode_again(form: Form, bad: Sequence[BadInput]) -> Decoded:
    """Return what can be decoded now, and what still cannot, each under the position that it had.

    Parameters
    ----------
    form
        The format with its options, and the schema.
    bad
        Lines of text, pieces of another format, or (without data) files that could not be read.
    """
    made: list[Decoded] = []
    for (path, whole), items in groupby(bad, key=_place):
        if whole:
            made += [_file(path, form, item) for item in items]
        elif hasattr(form.module, "cut"):
            made += _lines(path, form, list(items))
        else:
            made += [_piece(form, item, form.options) for item in items]
    assert form.schema is not None
    batches = [d.batch for d in made if d.batch.num_rows]
    still = tuple(b for d in made for b in d.bad)
    return Decoded(concat(batches) if batches else empty(form.schema), still)


def _place(item: BadInput) -> tuple[str, bool]:
    """Return the path that a position names, and whether it is all of that file, from some place on."""
    found = _PLACE.fullmatch(item.position)
    if found and (item.data or found["unit"] == "from"):
        return found["path"] or "", not item.data
    return item.position, not item.data


def _lines(path: str, form: Form, items: list[BadInput]) -> list[Decoded]:
    try:
        options = _options(path, form)
    except (EventideError, OSError, pa.ArrowException) as error:
        reason = error.message if isinstance(error, EventideError) else str(error)
        return [Decoded(empty(form.schema), tuple(BadInput(i.data, i.position, reason) for i in items))]
    if options is None:
        return [Decoded(empty(form.schema), tuple(BadInput(i.data, i.position, _NO_HEADER) for i in items))]
    lines = [i.data.rstrip(b"\r\n") + b"\n" for i in items]
    together: Decoded = form.module.decode(b"".join(lines), schema=form.schema, where=path, **options)
    if not together.bad and together.batch.num_rows == len(lines):
        return [together]
    # One that is still bad may swallow its neighbours: each alone.
    return [_piece(form, item, options, end=b"\n") for item in items]


def _options(path: str, form: Form) -> Mapping[str, Any] | None:
    """Return the options for rows without what stands before them; None where that is needed and gone."""
    options = dict(form.options)
    if not hasattr(form.module, "preamble"):
        return options
    if not options.get("header", True) or options.get("columns"):
        return {**options, "header": False}
    if not path:
        return None
    with stream_of(Path(path)) as stream:
        head = stream.read(_HEAD_BYTES)
    _, rest = form.module.preamble(head, schema=form.schema, where=path, **options)
    return {**options, **rest}


def _piece(form: Form, item: BadInput, options: Mapping[str, Any], *, end: bytes = b"") -> Decoded:
    data = item.data.rstrip(b"\r\n") + end if end else item.data
    try:
        decoded: Decoded = form.module.decode(data, schema=form.schema, **options)
    except (EventideError, pa.ArrowException) as error:
        reason = error.message if isinstance(error, EventideError) else str(error)
        return Decoded(empty(form.schema), (BadInput(item.data, item.position, reason),))
    if not decoded.bad:
        return decoded
    # Where it stood is what the first attempt said; whatever part of it is bad is bad with the whole.
    return Decoded(empty(form.schema), (BadInput(item.data, item.position, decoded.bad[0].reason),))


def _file(path: str, form: Form, item: BadInput) -> Decoded:
    """Read a file that could not be read, or the rest of it."""
    found = _PLACE.fullmatch(item.position)
    at = int(found["at"]) if found else 0
    batches: list[pa.RecordBatch] = []
    bad: list[BadInput] = []
    try:
        file = open_one(Path(path), form, at)
        try:
            while (decoded := file.next(_ROWS, final=True)) is not None:
                batches.append(decoded.batch)
                bad += decoded.bad
                at = file.at
        finally:
            file.close()
    except (EventideError, OSError, pa.ArrowException) as error:
        bad.append(unreadable(Path(path), error, at))
    return Decoded(concat(batches) if batches else empty(form.schema), tuple(bad))
