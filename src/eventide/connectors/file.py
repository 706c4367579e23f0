"""``file://path``, or just a path: files of any format as source and as sink.

Source: a file, a pattern or a folder; the format from the suffix (before ``.gz``, ``.bz2``, ``.zst`` or ``.lz4``)
or the option. One partition, ``files``, in the order of the names, so that the order of events is the same in
every run. With ``follow=True`` it goes on with what is appended to text files (a last line without its line
break waits) and with files that appear. A position is a place in a file: bytes of text, rows of a container.

Sink: exactly once. A folder gets one part file for each checkpoint that has events, named after it, so
that a repeat replaces it; each is written under a hidden name, synced, and renamed by the commit. A path with
a suffix is one file, which appears, whole, when the run ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventide.connectors._file_form import form_of, has_format
from eventide.connectors._file_sink import FileSink
from eventide.connectors._file_source import FileSource
from eventide.errors import UsageError
from eventide.model.protocols import Options

__all__ = ["sink", "source"]


def _path(uri: str) -> str:
    path = uri.partition("://")[2]
    if not path:
        msg = f"{uri} names no file"
        raise UsageError(msg, hint="write it as file://data/events.csv, or just data/events.csv")
    return str(Path(path).expanduser()) if path.startswith("~") else path


def source(uri: str, options: Mapping[str, Any]) -> FileSource:
    r"""Return a source of the events of files.

    Parameters
    ----------
    uri
        ``file://`` and a path, a pattern (``*``, ``?``, ``[...]``, ``**`` for folders below) or a folder.
    options
        ``format``: its name (from the suffix). ``schema``: a `pyarrow.Schema` or ``{"column": "type"}`` (that
        of the first file). ``follow``: whether to wait for more (false). The rest are options of the
        format, for CSV ``header``, ``columns``, ``delimiter``, ``nulls``, ``multiline``.

    Raises
    ------
    UsageError
        An option is unknown, or nothing says what the format is.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text("t,v\n1,0.5\n2,oops\n")
    >>> reader = source(f"file://{path}", {"schema": {"t": "int64", "v": "float64"}}).open({})
    >>> (chunk,) = reader.read(max_rows=10, timeout=0)
    >>> chunk.batch.to_pylist(), len(chunk.bad)
    ([{'t': 1, 'v': 0.5}], 1)
    """
    path = _path(uri)
    given = Options(options, where="file://")
    follow = bool(given.take("follow", False))
    form = form_of(_first(path) if "format" not in options else path, given)
    given.finish()
    return FileSource(path, form, follow=follow)


def sink(uri: str, options: Mapping[str, Any]) -> FileSink:
    """Return a sink that writes files.

    Parameters
    ----------
    uri
        ``file://`` and a folder, or a path with a suffix for one file.
    options
        ``format``: its name (from the suffix; a folder needs it). ``mode``: what a fresh run does with the parts
        of an earlier one in the same folder: ``"replace"`` (at its first commit), ``"append"``, or ``"new"`` (refuse).
        The rest are options of the format, for CSV ``header`` and ``delimiter``.

    Raises
    ------
    UsageError
        An option is unknown, or nothing says what the format is.

    Examples
    --------
    >>> import pyarrow as pa, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> out = sink(f"file://{folder}/means.csv", {})
    >>> out.open(pa.schema([("mean", pa.float64())]), None)
    >>> out.write(pa.record_batch({"mean": [0.5]}))
    >>> out.commit(1, out.prepare(1))
    >>> out.close()
    >>> (folder / "means.csv").read_text().split()
    ['mean', '0.5']
    """
    path = _path(uri)
    given = Options(options, where="file://")
    mode = given.take("mode", "replace")
    if mode not in ("replace", "append", "new"):
        msg = f"file:// option mode={mode!r}"
        raise UsageError(msg, hint="choose 'replace', 'append' or 'new'")
    folder = path.endswith("/") or Path(path).is_dir() or not (has_format(path) or Path(path).suffix)
    form = form_of(path, given, side="encode")
    given.finish()
    return FileSink(Path(path), form, single=not folder, mode=mode)


def _first(path: str) -> str:
    """Return the path whose suffix says the format: for a folder its first file."""
    if Path(path).is_dir():
        files = sorted(p for p in Path(path).iterdir() if p.is_file() and p.name[0] not in "._")
        return str(files[0]) if files else path
    return path
