"""Finding the pipeline that a command line names: an application, ``file.py``, ``module:name`` or ``file.toml``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventide import registry
from eventide.config import load_config
from eventide.errors import (
    ConfigError,
    EventideError,
    MissingDependencyError,
    PipelineError,
    UnknownNameError,
    UsageError,
    near_names,
)
from eventide.model.pipeline import Pipeline, pipeline

__all__ = ["load_target", "parse_params"]


def parse_params(values: list[str]) -> dict[str, str]:
    """Return ``k=v`` arguments as a dict.

    Raises
    ------
    UsageError
        One has no equals sign.

    Examples
    --------
    >>> parse_params(["band=textbook"])
    {'band': 'textbook'}
    """
    out = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name:
            msg = f"--param {value!r} is not of the form name=value"
            raise UsageError(msg, hint="for example --param band=textbook")
        out[name] = rest
    return out


def load_target(target: str, params: Mapping[str, Any]) -> Pipeline:
    """Return the pipeline that `target` names.

    Parameters
    ----------
    target
        ``sensors`` (an application), ``file.py``, ``file.py:name``, ``module:name`` or ``file.toml``.
    params
        Given to the function that makes the pipeline.

    Raises
    ------
    EventideError
        There is no such file, module, application or name, or it is not a pipeline.
    """
    if target.endswith(".toml"):
        config = load_config(target)
        if not config.pipeline:
            msg = f"{target} names no pipeline"
            raise ConfigError(msg, hint="add a line such as pipeline = 'pipeline.py' at its top")
        inner = config.pipeline
        if ".py" in inner:
            inner = str(Path(target).parent / inner)
        elif inner.endswith(".toml"):
            msg = f"{target} names another TOML file as its pipeline"
            raise ConfigError(msg, hint="name the pipeline itself, such as pipeline = 'pipeline.py'")
        made = load_target(inner, {**config.params, **params})
        return made.named(config.name) if config.name else made
    place, _, name = target.partition(":")
    if place.endswith(".py"):
        return _pick(_file(Path(place)), name, params, where=place)
    if name:
        return _pick(_module(place), name, params, where=place)
    return _app(target, params)


def _app(target: str, params: Mapping[str, Any]) -> Pipeline:
    try:
        registry.resolve("app", target)
    except UnknownNameError as error:
        msg = f"{target!r} is neither an application nor a file"
        raise UnknownNameError(msg, hint=f"{error.hint}; or name a file.py, a file.toml or module:pipeline") from None
    module = importlib.import_module(f"eventide.apps.{target}.pipeline")
    return _pick(vars(module), "pipeline", params, where=target)


def _file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        here = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        msg = f"there is no file {path}"
        raise UsageError(
            msg, hint=near_names(path.name, here) if here else "`eventide init` writes a project that runs"
        )
    name = f"eventide_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except EventideError:
        raise
    except Exception as error:
        raise _mistake(error, f"{path} cannot be imported") from error
    return vars(module)


def _mistake(error: Exception, what: str) -> EventideError:
    """Return an error that says where in the user's own code something went wrong."""
    if isinstance(error, ModuleNotFoundError):
        msg = f"{what}: there is no module {error.name!r}"
        return MissingDependencyError(msg, hint=f"install it for this Python: {sys.executable} -m pip install ...")
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or '').name}:{error.lineno}"
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
    msg = f"{what}: {type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error} ({where})"
    return UsageError(msg, hint="--debug shows how it came there")


def _module(name: str) -> dict[str, Any]:
    sys.path.insert(0, "")
    try:
        return vars(importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0] and error.name != name:
            raise
        msg = f"there is no module {name!r}"
        raise UsageError(msg, hint="name a file as path/file.py, or a module that Python can import") from None


def _pick(names: Mapping[str, Any], name: str, params: Mapping[str, Any], *, where: str) -> Pipeline:
    if name or ("pipeline" in names and (isinstance(names["pipeline"], Pipeline) or _made_here(names))):
        wanted = name or "pipeline"
        if wanted not in names:
            msg = f"{where} has no {wanted!r}"
            raise UsageError(msg, hint=near_names(wanted, [n for n in names if not n.startswith("_")]))
        return _call(names[wanted], wanted, params, where=where)
    found = {n: v for n, v in names.items() if isinstance(v, Pipeline)}
    if not found:
        msg = f"{where} holds no pipeline"
        raise PipelineError(msg, hint="end a stream with .write(...) and keep what it returns in a variable")
    _no_params(params, where)
    unique = list({id(v): v for v in found.values()}.values())
    stem = Path(where).stem
    made = pipeline(*unique)
    return made.named(stem) if made.name == "pipeline" else made


def _made_here(names: Mapping[str, Any]) -> bool:
    """Whether ``pipeline`` is a function of the user's, not the one imported from eventide."""
    return callable(names["pipeline"]) and names["pipeline"] is not pipeline


def _call(value: Any, name: str, params: Mapping[str, Any], *, where: str) -> Pipeline:
    if isinstance(value, Pipeline):
        _no_params(params, where)
        made = value
    elif callable(value):
        known = inspect.signature(value).parameters
        for param in params:
            if param not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                msg = f"{name}() of {where} has no parameter {param!r}"
                raise UsageError(msg, hint=near_names(param, known))
        try:
            made = value(**params)
        except EventideError:
            raise
        except Exception as error:
            raise _mistake(error, f"{name}() of {where} failed") from error
    else:
        made = value
    if not isinstance(made, Pipeline):
        msg = f"{name!r} of {where} is {type(made).__name__}, not a pipeline"
        raise PipelineError(msg, hint="end the stream with .write('log://topic') and return that")
    stem = Path(where).stem
    return made.named(stem) if made.name == "pipeline" else made


def _no_params(params: Mapping[str, Any], where: str) -> None:
    if params:
        msg = f"{where} takes no --param: its pipeline is not made by a function"
        raise UsageError(msg, hint="write `def pipeline(name='default'): ...` that returns the pipeline")
