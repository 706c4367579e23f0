"""Files as a source: which ones, in which order, and how far each was read."""

from __future__ import annotations

import glob
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from eventide.connectors._decode_again import decode_again
from eventide.connectors._file_form import COMPRESSED, Form, schema_of
from eventide.connectors._file_read import OneFile, open_one, unreadable
from eventide.errors import DataError, SchemaError, UsageError, near_names
from eventide.model.batch import concat, empty
from eventide.model.protocols import BadInput, Chunk, Decoded, Position

__all__ = ["FileReader", "FileSource"]

_PARTITION = "files"
_POLL_S = 0.05
_SETTLED_S = 5.0
_TOGETHER_ROWS = 8192
_BAD_BYTES = 1 << 24
_BROKEN = (DataError, SchemaError, OSError, pa.ArrowException)


class FileSource:
    """The events of some files, one partition, files in the order of their names.

    Parameters
    ----------
    pattern
        A path, a pattern (``*``, ``?``, ``[...]``, ``**``) or a folder (all its files that are not hidden).
    form
        How they are read.
    follow
        Whether to go on with what is appended to text files and with files that appear.
    """

    def __init__(self, pattern: str, form: Form, *, follow: bool) -> None:
        self._pattern, self._form, self._follow = pattern, form, follow

    def files(self) -> list[str]:
        """Return the paths that are there now, in order."""
        if Path(self._pattern).is_dir():
            return sorted(str(p) for p in Path(self._pattern).iterdir() if p.is_file() and p.name[0] not in "._")
        if Path(self._pattern).is_file():
            return [self._pattern]
        found = glob.glob(self._pattern, recursive=True)  # noqa: PTH207 - the pattern may be absolute
        return sorted(p for p in found if Path(p).is_file())

    def schema(self) -> pa.Schema:
        """Return the schema: the declared one, or that of the first file.

        Raises
        ------
        UsageError
            There is no file.
        DataError
            The first file cannot be read.
        """
        if self._form.schema is None:
            files = self.files()
            if not files:
                msg = f"there is no file {self._pattern}"
                folder = Path(self._pattern).parent
                hint = "pass schema={'column': 'type', ...} to wait for files" if self._follow else ""
                known = [p.name for p in folder.iterdir()] if folder.is_dir() else []
                raise UsageError(msg, hint=hint or near_names(Path(self._pattern).name, known[:20]))
            self._form = replace(self._form, schema=schema_of(Path(files[0]), self._form))
        return self._form.schema

    @property
    def unbounded(self) -> bool:
        """Whether it waits for more at the end."""
        return self._follow

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return [_PARTITION]

    def again(self, bad: Sequence[BadInput]) -> Decoded:
        """Decode once more what could not be decoded, with the schema and the options as they are now."""
        self.schema()
        return decode_again(self._form, bad)

    def open(self, positions: Mapping[str, Position]) -> FileReader:
        """Open at the start, or after the chunk that had the position."""
        self.schema()
        return FileReader(self, self._form, positions.get(_PARTITION, {}), follow=self._follow)


class FileReader:
    """Reads files in turn.

    Bounded, a position is the file and how far it was read; files before it in the order are done. When
    following, it is how far every file was read, so that a file with an earlier name may appear later.
    """

    def __init__(self, source: FileSource, form: Form, position: Position, *, follow: bool) -> None:
        self._source, self._form, self._follow = source, form, follow
        self._at: dict[str, int] = {str(p): int(n) for p, n in position.get("files", {}).items()}
        self._done: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._todo: list[str] = []
        self._path = ""
        self._file: OneFile | None = None
        if not follow:
            first = str(position.get("file", ""))
            self._todo = [p for p in source.files() if p >= first]
            self._at = {first: int(position["at"])} if first else {}

    @property
    def finished(self) -> bool:
        """Whether all files were read; never when following."""
        return not self._follow and self._file is None and not self._todo

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the next events as one chunk; small files are read together."""
        deadline = time.monotonic() + timeout
        while True:
            chunk = self._gather(max_rows)
            if chunk is not None:
                return [chunk]
            rest = deadline - time.monotonic()
            if not self._follow or rest <= 0:
                return []
            time.sleep(min(_POLL_S, rest))

    def _gather(self, max_rows: int) -> Chunk | None:
        if self._follow and self._file is None and not self._todo:
            self._todo = [p for p in self._source.files() if self._has_more(p)]
        batches: list[pa.RecordBatch] = []
        bad: list[BadInput] = []
        rows = held = 0
        while rows < min(max_rows, _TOGETHER_ROWS) and held < _BAD_BYTES and (self._file is not None or self._todo):
            try:
                if self._file is None:
                    self._path = self._todo.pop(0)
                    self._file = open_one(Path(self._path), self._form, self._at.get(self._path, 0))
                decoded = self._file.next(max_rows - rows, final=not self._follow)
            except _BROKEN as error:
                if isinstance(error, SchemaError) and not self._at:
                    raise  # the first file already: it is the declaration that is wrong
                bad += self._give_up(error)
                continue
            if decoded is None:
                self._leave()
                continue
            self._at[self._path] = self._file.at
            rows += decoded.batch.num_rows + len(decoded.bad)
            held += sum(len(b.data) for b in decoded.bad)
            bad += decoded.bad
            if decoded.batch.num_rows:
                batches.append(decoded.batch)
        if not batches and not bad:
            return None
        assert self._form.schema is not None
        batch = concat(batches) if len(batches) > 1 else batches[0] if batches else empty(self._form.schema)
        return Chunk(_PARTITION, batch, self._position(), tuple(bad))

    def _position(self) -> Position:
        if self._follow:
            return {"files": dict(self._at)}
        return {"file": self._path, "at": self._at.get(self._path, 0)}

    def _has_more(self, path: str) -> bool:
        """Tell whether a file has something that was not read: text may grow, a container is read once."""
        if path in self._done:
            return False
        if not hasattr(self._form.module, "cut"):
            return True
        try:
            size = Path(path).stat().st_size
        except FileNotFoundError:
            return False
        if size < self._sizes.get(path, 0 if Path(path).suffix in COMPRESSED else self._at.get(path, 0)):
            self._at[path] = 0  # the file was begun anew, as log rotation does
        grown = size != self._sizes.get(path)
        self._sizes[path] = size
        return grown

    def _leave(self) -> None:
        """Close a file that has come to its end (for now)."""
        if self._file is not None:
            self._at[self._path] = self._file.at
            self._file.close()
            self._file = None
        if not hasattr(self._form.module, "cut"):
            self._done.add(self._path)

    def _give_up(self, error: Exception) -> list[BadInput]:
        """Put a file that cannot be read aside; when following, only once nobody writes it any more."""
        path = Path(self._path)
        if self._file is not None:
            self._file.close()
            self._file = None
        try:
            fresh = self._follow and time.time() - path.stat().st_mtime < _SETTLED_S
        except FileNotFoundError:
            fresh = False
        if fresh:
            self._sizes.pop(self._path, None)
            return []
        self._done.add(self._path)
        return [unreadable(path, error, self._at.get(self._path, 0))]

    def backlog(self) -> int | None:
        """Return None: how many events wait in files is not known before they are read."""
        return None

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._todo = []
