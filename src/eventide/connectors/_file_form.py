"""What form files have: the format by name or suffix, its options, the schema of the events."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide import registry
from eventide.errors import DataError, MissingDependencyError, UsageError, near_names
from eventide.model.protocols import Options
from eventide.model.time import EVENT_TIME

__all__ = ["COMPRESSED", "Form", "form_of", "has_format", "schema_of", "schema_option", "stream_of"]

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_HEAD_BYTES = 1 << 20
_NOT_OPTIONS = ("data", "batch", "schema", "where", "offset")


@dataclass(frozen=True, slots=True)
class Form:
    """How files are read: a format, its options, and the schema of the events (None: as each file says)."""

    module: Any
    options: Mapping[str, Any]
    schema: pa.Schema | None


def form_of(path: str, given: Options, *, side: str = "decode") -> Form:
    """Return the form that the options and the suffix of a path say; `side` is what the options are for.

    Raises
    ------
    UsageError
        The suffix says nothing and there is no option ``format``.
    """
    name = given.take("format")
    module = registry.resolve("format", name) if name else _by_suffix(path)
    tab = {"delimiter": "\t"} if _suffix(path) == ".tsv" else {}
    parameters = inspect.signature(getattr(module, side)).parameters.values()
    known = [p.name for p in parameters if p.name not in _NOT_OPTIONS and p.kind is not p.VAR_KEYWORD]
    options = tab | {n: given.take(n) for n in known if n in given.values}
    for option in known:
        given.take(option)
    return Form(module, options, schema_option(given.take("schema")) if side == "decode" else None)


def has_format(path: str) -> bool:
    """Tell whether the suffix of a path is that of a format."""
    suffix = _suffix(path)
    return bool(suffix) and any(suffix in module.SUFFIXES for _, module in _formats(suffix))


def _formats(suffix: str) -> Iterator[tuple[str, Any]]:
    """Return the formats that are there; one that lacks its library is an error only where its suffix is meant."""
    for name in registry.names("format"):
        try:
            yield name, registry.resolve("format", name)
        except MissingDependencyError:
            if suffix == f".{name}":
                raise


def _suffix(path: str) -> str:
    bare = Path(path)
    return (bare.with_suffix("") if bare.suffix in COMPRESSED else bare).suffix.lower()


def _by_suffix(path: str) -> Any:
    suffix = _suffix(path)
    known: dict[str, str] = {}
    for name, module in _formats(suffix):
        known |= dict.fromkeys(module.SUFFIXES, name)
        if suffix in module.SUFFIXES:
            return module
    msg = f"{path}: the suffix {suffix!r} is of no format"
    raise UsageError(msg, hint=f"pass format=...; {near_names(suffix, known)}")


def schema_option(value: Any) -> pa.Schema | None:
    """Return the schema that an option gives: a schema, or column names and types as text.

    Examples
    --------
    >>> schema_option({"t": "event_time", "v": "float64"})
    t: timestamp[ns, tz=UTC]
    v: double
    """
    if value is None or isinstance(value, pa.Schema):
        return value
    if not isinstance(value, Mapping):
        msg = f"schema={value!r} is not a schema"
        raise UsageError(msg, hint="pass a pyarrow.Schema or {'column': 'type'}, for example {'value': 'float64'}")
    fields = []
    for name, kind in value.items():
        try:
            known = EVENT_TIME if kind == "event_time" else kind
            fields.append((name, known if isinstance(known, pa.DataType) else pa.type_for_alias(known)))
        except ValueError:
            msg = f"column {name!r}: there is no type {kind!r}"
            raise UsageError(msg, hint="for example int64, float64, string, bool, event_time") from None
    return pa.schema(fields)


def schema_of(path: Path, form: Form) -> pa.Schema:
    """Return the schema of the events of a file.

    Raises
    ------
    DataError
        The file cannot be read, or says nothing.
    """
    if form.schema is not None:
        return form.schema
    if hasattr(form.module, "file_schema"):
        schema: pa.Schema = form.module.file_schema(path)
        return schema
    try:
        with stream_of(path) as stream:
            head = stream.read(_HEAD_BYTES)
            if not hasattr(form.module, "cut"):
                head += stream.read()
    except (OSError, pa.ArrowException) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg, hint="is it another format, or was the file not finished?") from None
    if hasattr(form.module, "cut"):
        head = head[: form.module.cut(head, **form.options) or len(head)]
        schema = form.module.infer(head, **form.options)
    else:
        schema = form.module.decode(head, **form.options).batch.schema
    if not schema.names:
        msg = f"{path} is empty: nothing says which columns there are"
        raise DataError(msg, hint="pass schema={'column': 'type', ...}")
    return schema


def stream_of(path: Path) -> Any:
    """Return the bytes of a file as a stream, after decompression."""
    return pa.input_stream(str(path), compression=COMPRESSED.get(path.suffix))
