"""Files as a sink: parts under hidden names, synced by `prepare`, renamed by `commit`.

One file is made of parts too, in a hidden folder beside it (``.name.parts``), and put together when the
sink is closed with everything committed. A run that goes on from a checkpoint after that takes the
file, cut to what the checkpoint had, for its first part.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide.connectors._file_form import COMPRESSED, Form
from eventide.errors import CheckpointError, UsageError
from eventide.log.layout import make_folder
from eventide.model.batch import empty, visible
from eventide.model.protocols import Delivery

__all__ = ["FileSink"]

_PART = re.compile(r"part-(\d{8,})\.")
_WRITING = ".writing.tmp"


class FileSink:
    """Writes files; made by `eventide.connectors.file.sink`.

    Parameters
    ----------
    path
        The folder, or the one file.
    form
        Format and its options.
    single
        Whether `path` is the one file.
    mode
        What a fresh run does with parts that are there: ``"replace"``, ``"append"`` or ``"new"``.
    """

    delivery: Delivery = "exactly_once"

    def __init__(self, path: Path, form: Form, *, single: bool, mode: str) -> None:
        self._path, self._form, self._single, self._mode = path, form, single, mode
        self._folder = path.parent / f".{path.name}.parts" if single else path
        self._suffix = "".join(path.suffixes[-2:]) if path.suffix in COMPRESSED else path.suffix
        if not single or not self._suffix:
            self._suffix = form.module.SUFFIXES[0]
        self._schema: pa.Schema | None = None
        self._writer: Any = None
        self._base = self._rows = self._bytes = 0
        self._replaces: list[str] = []
        self._open = self._clean = False

    def open(self, schema: pa.Schema, state: Mapping[str, Any] | None) -> None:
        """Start anew, or remove what was written after the checkpoint."""
        self._schema = visible(schema)
        self._open, self._clean = True, False
        if state is None:
            self._begin()
        else:
            self._resume(state)
        (self._folder / _WRITING).unlink(missing_ok=True)

    def _begin(self) -> None:
        if self._single and self._folder.exists():
            shutil.rmtree(self._folder)
        make_folder(self._folder)
        self._base = self._rows = self._bytes = 0
        there = self._parts()
        if there and self._mode == "new":
            msg = f"there are {len(there)} parts in {self._folder} already"
            raise UsageError(msg, hint="write to another folder, or pass mode='replace' or mode='append'")
        if there and self._mode == "append":
            self._base = max(_number(p) for p in there)
        self._replaces = [p.name for p in there] if self._mode == "replace" else []
        for hidden in self._folder.glob(".part-*.tmp"):
            hidden.unlink()

    def _resume(self, state: Mapping[str, Any]) -> None:
        self._base, self._rows, self._bytes = (int(state[k]) for k in ("base", "rows", "bytes"))
        self._replaces = []
        if self._single and self._rows and self._size_of_parts(state) != self._bytes:
            self._reopen()
        make_folder(self._folder)
        for hidden in self._folder.glob(".part-*.tmp"):
            if hidden.name != _hidden(state["part"]):
                hidden.unlink()
        for part in self._parts():
            if _number(part) > int(state["number"]) and part.name not in state["replaces"]:
                part.unlink()

    def _size_of_parts(self, state: Mapping[str, Any]) -> int:
        """Return the bytes of the parts up to a checkpoint; some are missing once an earlier run finished the file."""
        last = self._folder / _hidden(str(state["part"]))
        parts = [p for p in self._parts() if _number(p) <= int(state["number"])]
        return sum(p.stat().st_size for p in ([*parts, last] if last.is_file() else parts))

    def _reopen(self) -> None:
        """Take the file that an earlier run finished for the first part, as it was at the checkpoint."""
        spare = self._folder.with_name(f"{self._folder.name}.new")  # until it is whole, what there is stays
        shutil.rmtree(spare, ignore_errors=True)
        make_folder(spare)
        part = spare / f"part-{0:08d}{self._suffix}"
        try:
            if hasattr(self._form.module, "open_writer"):
                left = self._copy_rows([self._path], part, rows=self._rows)
            else:
                shutil.copyfile(self._path, part)
                left = self._bytes - part.stat().st_size
                os.truncate(part, self._bytes)
        except FileNotFoundError:
            left = self._rows
        if left > 0:
            shutil.rmtree(spare)
            msg = f"{self._path} is not there, or lacks events that the checkpoint says it has"
            raise CheckpointError(msg, hint="restore the file, or run afresh (resume=False)")
        self._bytes = part.stat().st_size
        _sync(part)
        _sync(spare)
        shutil.rmtree(self._folder, ignore_errors=True)
        spare.rename(self._folder)
        _sync(self._folder.parent)

    def _parts(self) -> list[Path]:
        return sorted(p for p in self._folder.glob("part-*") if _PART.match(p.name) and p.name.endswith(self._suffix))

    def write(self, batch: pa.RecordBatch) -> None:
        """Write one batch to the part of the next checkpoint."""
        if not batch.num_rows:
            return
        assert self._schema is not None
        self._clean = False
        if self._writer is None:
            self._writer = self._open_writer(self._folder / _WRITING, first=not self._single or not self._rows)
        self._writer.write(batch.select(self._schema.names))
        self._rows += batch.num_rows

    def _open_writer(self, path: Path, *, first: bool) -> Any:
        if hasattr(self._form.module, "open_writer"):
            return self._form.module.open_writer(path, self._schema)
        return _TextWriter(path, self._form, compression=COMPRESSED.get(self._path.suffix), first=first)

    def prepare(self, checkpoint: int) -> Mapping[str, Any]:
        """Finish the part under its hidden name and sync it."""
        number = self._base + checkpoint
        name = ""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            name = f"part-{number:08d}{self._suffix}"
            written = self._folder / _WRITING
            self._bytes += written.stat().st_size
            _sync(written)
            written.rename(self._folder / _hidden(name))
            _sync(self._folder)
        state = {"part": name, "number": number, "base": self._base, "rows": self._rows, "bytes": self._bytes}
        return {**state, "replaces": self._replaces}

    def commit(self, checkpoint: int, state: Mapping[str, Any]) -> None:
        """Give the part its name; a second time does nothing."""
        part = str(state["part"])
        if part and (self._folder / _hidden(part)).exists():
            (self._folder / _hidden(part)).replace(self._folder / part)
        for old in state["replaces"]:
            if old != part:
                (self._folder / str(old)).unlink(missing_ok=True)
        self._replaces = []
        _sync(self._folder)
        self._clean = self._writer is None

    def close(self) -> None:
        """Drop what was not prepared; one file, all of whose parts are committed, gets its name."""
        if not self._open:
            return
        self._open = False
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            (self._folder / _WRITING).unlink(missing_ok=True)
        if self._single and self._clean:
            self._publish()

    def abandon(self) -> None:
        """Close after a failure: one file that is not whole does not get its name."""
        self._clean = False
        self.close()

    def _publish(self) -> None:
        parts = self._parts()
        whole = parts[0] if len(parts) == 1 else self._folder / _WRITING
        if not parts:
            writer = self._open_writer(whole, first=True)
            writer.write(empty(self._schema))
            writer.close()
        elif len(parts) > 1 and hasattr(self._form.module, "open_writer"):
            self._copy_rows(parts, whole, rows=self._rows)
        elif len(parts) > 1:
            with whole.open("wb") as out:
                for part in parts:
                    with part.open("rb") as piece:
                        shutil.copyfileobj(piece, out, 1 << 20)
        _sync(whole)
        whole.replace(self._path)
        _sync(self._path.parent)
        shutil.rmtree(self._folder)

    def _copy_rows(self, parts: list[Path], into: Path, *, rows: int) -> int:
        """Copy the first `rows` rows of some containers into one; return how many are missing."""
        writer = self._open_writer(into, first=True)
        for part in parts:
            for batch in self._form.module.open_file(part):
                if rows:
                    writer.write(
                        batch.slice(0, rows).select(self._schema.names if self._schema else batch.schema.names)
                    )
                rows -= min(rows, batch.num_rows)
        writer.close()
        return rows


class _TextWriter:
    """Writes text, record after record; what begins a file only comes first."""

    def __init__(self, path: Path, form: Form, *, compression: str | None, first: bool) -> None:
        self._file: Any = pa.OSFile(str(path), "wb")
        if compression == "gzip":
            # Arrow's own choice of level 9 is five times slower and hardly smaller; no name and no time in
            # the header, so that a repeat gives the same bytes.
            self._stream: Any = gzip.GzipFile("", "wb", 6, self._file, mtime=0)
        else:
            self._stream = pa.output_stream(self._file, compression=compression)
        self._form, self._first = form, first

    def write(self, batch: pa.RecordBatch) -> None:
        after = {} if self._first else getattr(self._form.module, "CONTINUATION", {})
        self._stream.write(self._form.module.encode(batch, **{**self._form.options, **after}))
        self._first = False

    def close(self) -> None:
        self._stream.close()
        self._file.close()


def _number(part: Path) -> int:
    found = _PART.match(part.name)
    return int(found.group(1)) if found else 0


def _hidden(part: str) -> str:
    return f".{part}.tmp"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
