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
    """``[log]``: the embedded log.

    ``root`` is its folder; ``fsync`` is "each", "group" or "os" (see the log's documentation).
    """

    root: str = ".eventide/log"
    fsync: str = "each"


class RunConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``[run]``: how ``eventide run`` runs.

    ``checkpoint`` is a folder ("" keeps none); ``lanes`` 0 is one per processor.
    """

    engine: str = "local"
    checkpoint: str = ".eventide/checkpoints"
    checkpoint_interval: str = "10s"
    lanes: int = 0


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole of ``eventide.toml``. ``[params]`` are given to the pipeline's function."""

    pipeline: str = ""
    log: LogConfig = LogConfig()
    run: RunConfig = RunConfig()
    params: dict[str, Any] = {}


_SECTIONS: dict[str, type[msgspec.Struct]] = {"log": LogConfig, "run": RunConfig}


def load_config(path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> Config:
    """Return the configuration.

    Parameters
    ----------
    path
        The file; left out, ``eventide.toml`` in the current folder if it is there.
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
    _overlay(values, os.environ if environ is None else environ)
    _check_names(values, file)
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


def _overlay(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    for section, struct in _SECTIONS.items():
        for name in struct.__struct_fields__:
            value = environ.get(f"EVENTIDE_{section}_{name}".upper())
            if value is not None:
                values.setdefault(section, {})[name] = value
    # The short name that connectors know too.
    if "EVENTIDE_LOG" in environ and "EVENTIDE_LOG_ROOT" not in environ:
        values.setdefault("log", {})["root"] = environ["EVENTIDE_LOG"]


def _check_names(values: Mapping[str, Any], file: Path) -> None:
    known: dict[str, tuple[str, ...]] = {"": Config.__struct_fields__}
    known |= {name: struct.__struct_fields__ for name, struct in _SECTIONS.items()}
    for name, value in values.items():
        if name not in known[""]:
            msg = f"{file}: {name!r} is not known at the top level"
            raise ConfigError(msg, hint=near_names(name, known[""]))
        if name in known and isinstance(value, Mapping):
            for inner in value:
                if inner not in known[name]:
                    msg = f"{file}: {inner!r} is not known in [{name}]"
                    raise ConfigError(msg, hint=near_names(inner, known[name]))


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
