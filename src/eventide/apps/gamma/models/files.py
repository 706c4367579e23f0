"""Forests in files: our own form, numbers in an archive of numpy without any object in it."""

from __future__ import annotations

import io
import json
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from eventide.apps.gamma.models.forest import Forest
from eventide.errors import DataError

__all__ = ["load", "save"]

_FORM = "eventide-forest-1"
_ARRAYS = ("starts", "feature", "threshold", "kid", "value")
_MOST_BYTES = 1 << 32
_DAMAGED = (
    *(AttributeError, EOFError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError),
    *(struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What reading an archive of numpy may raise when it is none."""


def save(forest: Forest, path: str | Path) -> None:
    """Write a forest to a file (``.npz``).

    Parameters
    ----------
    forest
        What to write.
    path
        Where.

    Examples
    --------
    >>> import tempfile
    >>> from eventide.apps.gamma.models.forest import Tree, forest_of
    >>> leaf = Tree(np.array([-1]), np.array([0.0]), np.array([0]), np.array([0]), np.array([4.0]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(forest_of([leaf], ["width"]), f"{folder}/model.npz")
    ...     load(f"{folder}/model.npz").predict([[1.0]]).tolist()
    [4.0]
    """
    about = {
        "form": _FORM,
        "features": list(forest.features),
        "base": forest.base,
        "scale": forest.scale,
        "link": forest.link,
        "single": forest.single,
        "name": forest.name,
    }
    arrays = {name: getattr(forest, name) for name in _ARRAYS}
    out = io.BytesIO()
    np.savez_compressed(out, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    Path(path).write_bytes(out.getvalue())


def load(path: str | Path) -> Forest:
    """Read a forest that `save` wrote.

    Raises
    ------
    DataError
        The file is none, or is damaged; whatever is in it, nothing of it is run.

    Examples
    --------
    >>> load("nowhere.npz")
    Traceback (most recent call last):
    eventide.errors.DataError: nowhere.npz: there is no such file
      hint: give the path of a file that was saved with models.files.save
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(i.file_size for i in archive.infolist()) > _MOST_BYTES:
                msg = "it unpacks to more than 4 GiB"
                raise ValueError(msg)
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            arrays = [stored[name] for name in _ARRAYS]
        return _forest(about, arrays)
    except DataError as error:
        msg = f"{path}: {error.message}"
        raise DataError(msg, hint=error.hint) from None
    except _DAMAGED as error:
        if isinstance(error, OSError) and not Path(path).is_file():
            msg = f"{path}: there is no such file"
            raise DataError(msg, hint="give the path of a file that was saved with models.files.save") from None
        msg = f"{path}: this is no forest ({error})"
        raise DataError(msg, hint="write it with models.files.save; models in pickles are not read") from None


def _forest(about: Any, arrays: list[np.ndarray]) -> Forest:
    if not isinstance(about, dict) or about.get("form") != _FORM:
        msg = f"its form is not {_FORM}"
        raise ValueError(msg)
    features, link, name, single = (about[k] for k in ("features", "link", "name", "single"))
    if not (isinstance(features, list) and all(isinstance(f, str) for f in features)):
        msg = "its features are no list of names"
        raise TypeError(msg)
    if not (isinstance(link, str) and isinstance(name, str) and isinstance(single, bool)):
        msg = "its link, name or precision is not what it should be"
        raise TypeError(msg)
    numbers: dict[str, Any] = {"base": float(about["base"]), "scale": float(about["scale"])}
    columns: dict[str, Any] = dict(zip(_ARRAYS, arrays, strict=True))
    return Forest(tuple(features), **columns, **numbers, link=link, single=single, name=name)
