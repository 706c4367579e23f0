"""From a name to the plug-in of that name: one function for operators, formats, connectors, engines, apps, services.

A plug-in is a file in the plural folder of its kind, and the file name is its name everywhere. There is no
list to edit: the folder is the list. Packages outside eventide offer plug-ins by an entry point of the
group ``eventide.<kind>s``.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from eventide.errors import MissingDependencyError, UnknownNameError, UsageError, near_names

__all__ = ["names", "open_sink", "open_source", "plain_value", "resolve", "shown", "split_uri"]

_KINDS = ("operator", "format", "connector", "engine", "app", "service")
# What plug-ins of a kind share, in a package of their folder.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_QUERY = re.compile(r"\?(\w+=[^?]*)$")
_PASSWORD = re.compile(r"(://[^/?#:@]*):[^/?#]*@")


def names(kind: str) -> dict[str, str]:
    """Return the plug-ins of a kind and where each is found.

    Parameters
    ----------
    kind
        ``"operator"``, ``"format"``, ``"connector"``, ``"engine"``, ``"app"`` or ``"service"``.

    Examples
    --------
    >>> names("format")["csv"]
    'eventide.formats.csv'
    """
    folder = _folder(kind)
    found = {p.name: p.value for p in metadata.entry_points(group=folder)}
    try:
        paths = importlib.import_module(folder).__path__
    except ModuleNotFoundError:
        return found
    built_in = [m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_")]
    return dict(sorted((found | {n: f"{folder}.{n}" for n in built_in}).items()))


def resolve(kind: str, name: str) -> Any:
    """Return the plug-in of a kind and name, as the module that it is.

    Raises
    ------
    UnknownNameError
        There is none; the hint names near ones, or the command that installs it.
    MissingDependencyError
        The plug-in is there, a library that it needs is not; the hint is the command that installs it.

    Examples
    --------
    >>> resolve("connector", "memory").__name__
    'eventide.connectors.memory'
    """
    folder = _folder(kind)
    file_name = name.replace("-", "_").replace("+", "_").lower() if isinstance(name, str) else ""
    known = f"_{file_name}".isidentifier() and not file_name.startswith("_")  # some begin with a digit: 6s4t
    if known and _is_there(f"{folder}.{file_name}"):
        return _load(kind, name, module=f"{folder}.{file_name}")
    for entry in metadata.entry_points(group=folder):
        if entry.name == name:
            return _load(kind, name, entry=entry)
    msg = f"there is no {kind} {name!r}"
    hint = _install(name) if name in _extras() else near_names(str(name), names(kind))
    raise UnknownNameError(msg, hint=hint)


def split_uri(uri: str) -> tuple[str, str, dict[str, Any]]:
    """Return the scheme, the address without its query, and the options in the query.

    A path without a scheme is a file, ``-`` is standard input or output. A question mark begins a
    query only where ``name=value`` follows, so that it can stand for a character in a file pattern.

    Examples
    --------
    >>> split_uri("generator://events?rows=10&seed=1")
    ('generator', 'generator://events', {'rows': 10, 'seed': 1})
    >>> split_uri("data/part-?.csv")
    ('file', 'file://data/part-?.csv', {})
    """
    if not isinstance(uri, str) or not uri.strip():
        msg = f"{uri!r} is not an address"
        raise UsageError(msg, hint="write it as scheme://name, for example log://readings or file://data/*.csv")
    if uri == "-":
        return "stdio", "stdio://", {}
    query = _QUERY.search(uri)
    pairs = [p.partition("=") for p in query.group(1).split("&")] if query else []
    bare = uri[: query.start()] if query else uri
    found = _SCHEME.match(bare)
    scheme, path = (found.group(1).lower(), found.group(2)) if found else ("file", bare)
    return scheme, f"{scheme}://{path}", {k: plain_value(v) for k, _, v in pairs}


def shown(uri: str) -> str:
    """Return an address for messages and manifests: without the password that somebody wrote into it.

    Examples
    --------
    >>> shown("postgresql://observer:hunter2@archive/sky?table=alerts")
    'postgresql://observer:***@archive/sky?table=alerts'
    """
    return _PASSWORD.sub(r"\1:***@", uri)


def open_source(uri: str, options: Mapping[str, Any] | None = None) -> Any:
    """Return the source (`eventide.model.protocols.Source`) at an address.

    Parameters
    ----------
    uri
        ``scheme://address``, with options as ``?name=value&...`` where that is handy.
    options
        Options of the connector; they win over those in the address.

    Raises
    ------
    UnknownNameError, UsageError
        No connector of that scheme, one that cannot be read from, or an option that it does not have.

    Examples
    --------
    >>> open_source("generator://events", {"rows": 10}).partitions()
    ['0']
    """
    return _open("source", uri, options or {})


def open_sink(uri: str, options: Mapping[str, Any] | None = None) -> Any:
    """Return the sink (`eventide.model.protocols.Sink`) at an address; the rest is as in `open_source`.

    Examples
    --------
    >>> open_sink("memory://results").delivery
    'exactly_once'
    """
    return _open("sink", uri, options or {})


def _open(side: str, uri: str, options: Mapping[str, Any]) -> Any:
    scheme, address, given = split_uri(uri)
    connector = resolve("connector", scheme)
    make = getattr(connector, side, None)
    if make is None:
        msg = f"{scheme}:// cannot be {'read from' if side == 'source' else 'written to'}"
        can = "a sink only" if side == "source" else "a source only"
        raise UsageError(msg, hint=f"the connector {scheme!r} is {can}")
    return make(address, given | dict(options))


def _folder(kind: str) -> str:
    if kind not in _KINDS:
        msg = f"there is no kind of plug-in {kind!r}"
        raise UnknownNameError(msg, hint=near_names(kind, _KINDS))
    return f"eventide.{kind}s"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _load(kind: str, name: str, *, module: str = "", entry: metadata.EntryPoint | None = None) -> Any:
    try:
        return entry.load() if entry else importlib.import_module(module)
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "eventide"):  # a fault of the plug-in itself, not a library that is missing
            raise
        msg = f"{kind} {name!r} needs the library {library!r}, which is not installed"
        raise MissingDependencyError(msg, hint=_install(name)) from error


def _extras() -> set[str]:
    try:
        return set(metadata.metadata("eventide").get_all("Provides-Extra") or [])
    except metadata.PackageNotFoundError:
        return set()


def _install(name: str) -> str:
    return f"pip install 'eventide[{name}]'"


def plain_value(text: str) -> Any:
    """Return what an option that was written as text means: a truth value, a number, else the text.

    Examples
    --------
    >>> plain_value("true"), plain_value("8"), plain_value("127.0.0.1:8081")
    (True, 8, '127.0.0.1:8081')
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
