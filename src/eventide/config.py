"""Configuration: one file ``eventide.toml``, typed and checked; command line > environment > file > defaults.

Environment variables are ``EVENTIDE_`` and the path in capitals: ``EVENTIDE_LOG_ROOT``, ``EVENTIDE_RUN_LANES``.
A value ``env:NAME`` or ``file:PATH`` is a reference to a secret, resolved by `secret` at the moment of use and
never written back.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from eventide.errors import ConfigError, near_names

__all__ = ["Config", "LogConfig", "RunConfig", "load_config", "schema", "secret"]

FILE = "eventide.toml"


class LogConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``[log]``: the embedded log; ``root`` is its folder."""

    root: str = ".eventide/log"


class RunConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``[run]``: how ``eventide run`` runs.

    ``checkpoint`` is a folder ("" keeps none), ``checkpoint_interval`` the time between two checkpoints; ``lanes``
    is the number of workers of stateful operators, 0 is one per processor. ``metrics`` is where figures are served,
    ``HOST:PORT`` ("" nowhere), ``metrics_remote`` allows an address that other machines can reach; ``log_level``
    (``debug info warning error off``; "" is ``info`` for JSON, else ``off``) and ``log_format`` (``text json``) say how
    much of what happens is logged, and how.
    """

    engine: str = "local"
    checkpoint: str = ".eventide/checkpoints"
    checkpoint_interval: str = "10s"
    lanes: int = 0
    metrics: str = ""
    metrics_remote: bool = False
    log_level: str = ""
    log_format: str = "text"


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole of ``eventide.toml``.

    ``pipeline`` is what a command runs that is given this file; ``name`` is the pipeline's (else that of its file),
    under which checkpoints are kept; ``[params]`` are given to the pipeline's function.
    """

    pipeline: str = ""
    name: str = ""
    log: LogConfig = LogConfig()
    run: RunConfig = RunConfig()
    params: dict[str, Any] = {}


_SECTIONS: dict[str, type[msgspec.Struct]] = {"log": LogConfig, "run": RunConfig}
_FOLDERS = (("log", "root"), ("run", "checkpoint"))
_SHORT = {
    "EVENTIDE_LOG": ("log", "root"),
    "EVENTIDE_LOG_LEVEL": ("run", "log_level"),
    "EVENTIDE_LOG_FORMAT": ("run", "log_format"),
}


def load_config(path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> Config:
    """Return the configuration.

    Parameters
    ----------
    path
        The file; left out, ``eventide.toml`` in the current folder if it is there. Folders that are not absolute
        begin at the file's folder.
    environ
        Environment variables; left out, those of the process.

    Raises
    ------
    ConfigError
        The file is not TOML, a name is unknown, a value has the wrong type; says where.

    Examples
    --------
    >>> load_config(environ={"EVENTIDE_RUN_LANES": "2"}).run.lanes
    2
    """
    file = Path(path) if path is not None else Path(FILE)
    values: dict[str, Any] = {}
    if path is not None or file.is_file():
        values = _parse(file)
    _check_names(values, file)
    _anchor(values, file.parent)
    _overlay(values, os.environ if environ is None else environ)
    try:
        return msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as error:
        msg = f"{file}: {error}"
        raise ConfigError(msg, hint="`eventide config schema` prints what is allowed") from None


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        msg = f"there is no configuration file {file}"
        raise ConfigError(msg, hint="`eventide init` writes a project with one") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{file} is not a TOML file: {error}"
        raise ConfigError(msg, hint="text values need quotes: root = '.eventide/log'") from None


def _anchor(values: dict[str, Any], parent: Path) -> None:
    """Let folders begin at the file's folder, so that a project works from wherever it is run."""
    for section, name in _FOLDERS:
        place = values.setdefault(section, {})
        default = getattr(_SECTIONS[section](), name)
        folder = place.get(name, default) if isinstance(place, dict) else None
        if isinstance(folder, str) and folder:
            place[name] = str(parent / Path(folder).expanduser())


def _overlay(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    # Short names, which connectors and services know too; the long ones win.
    for variable, place in _SHORT.items():
        if variable in environ:
            _put(values, place, environ[variable])
    for variable, value in environ.items():
        for section, struct in _SECTIONS.items():
            start = f"EVENTIDE_{section}_".upper()
            if not variable.startswith(start) or variable in _SHORT:
                continue
            name = variable.removeprefix(start).lower()
            if name not in struct.__struct_fields__:
                msg = f"the environment variable {variable} is not known"
                raise ConfigError(msg, hint=near_names(variable, [start + f.upper() for f in struct.__struct_fields__]))
            _put(values, (section, name), value)


def _put(values: dict[str, Any], place: tuple[str, str], value: str) -> None:
    section, name = place
    if isinstance(values.get(section), dict):  # else the file is wrong, and is told so afterwards
        values[section][name] = value


def _check_names(values: Mapping[str, Any], file: Path) -> None:
    top = Config.__struct_fields__
    for name, value in values.items():
        if name not in top:
            msg = f"{file}: {name!r} is not known at the top level"
            inside = [s for s, struct in _SECTIONS.items() if name in struct.__struct_fields__]
            raise ConfigError(msg, hint=f"write it below [{inside[0]}]" if inside else near_names(name, top))
        if name in _SECTIONS and isinstance(value, Mapping):
            known = _SECTIONS[name].__struct_fields__
            for inner in value:
                if inner not in known:
                    msg = f"{file}: {inner!r} is not known in [{name}]"
                    raise ConfigError(msg, hint=near_names(inner, known))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``eventide.toml``, for editors.

    Examples
    --------
    >>> "$defs" in schema()
    True
    """
    return msgspec.json.schema(Config)


def secret(value: str) -> str:
    """Return a secret that a configuration value refers to: ``env:NAME``, ``file:PATH``, or the value itself.

    Raises
    ------
    ConfigError
        The variable is not set, or the file cannot be read.

    Examples
    --------
    >>> secret("plain")
    'plain'
    """
    kind, _, rest = value.partition(":")
    if kind == "env":
        if rest not in os.environ:
            msg = f"the environment variable {rest} is not set"
            raise ConfigError(msg, hint=f"export {rest}=... before starting eventide")
        return os.environ[rest]
    if kind == "file":
        try:
            return Path(rest).read_text("utf-8").strip()
        except OSError as error:
            msg = f"the secret file {rest} cannot be read: {error}"
            raise ConfigError(msg, hint="see that it exists and that you may read it") from None
    return value
