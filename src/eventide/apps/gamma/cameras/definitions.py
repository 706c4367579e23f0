"""Cameras read from a file of definitions in JSON, as the benchmarks of jayct and streams-cta have it (MIT)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from eventide.apps.gamma.cameras.camera import Camera, camera
from eventide.errors import DataError

__all__ = ["definition", "read_definitions"]

_NAMES = ("pixel_x_positions", "pixel_y_positions", "pixel_area", "pixel_type", "camera_rotation")


def read_definitions(path: str | Path) -> dict[str, Camera]:
    """Return the cameras of a file by name; neighbours are computed from the positions.

    The file is one JSON object: the name of a camera and its ``pixel_x_positions`` and ``pixel_y_positions`` (m),
    ``pixel_area`` (m2), ``pixel_type`` (``hexagonal`` or ``rectangular``) and ``camera_rotation`` (0).

    Parameters
    ----------
    path
        File, compressed by gzip where its name ends in ``.gz``.

    Raises
    ------
    DataError
        The file cannot be read, or something of a camera is missing or wrong.

    Examples
    --------
    >>> import tempfile
    >>> row = {"pixel_x_positions": [0, 1], "pixel_y_positions": [0, 0], "pixel_area": [1, 1],
    ...        "pixel_type": "rectangular", "camera_rotation": 0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     at = Path(folder) / "cameras.json"
    ...     _ = at.write_text(json.dumps({"row": row}))
    ...     read_definitions(at)["row"]
    Camera(name='row', shape='square', unit='m')
    """
    try:
        data = Path(path).read_bytes()
        found = json.loads(gzip.decompress(data) if str(path).endswith(".gz") else data)
    except (OSError, EOFError, ValueError, RecursionError) as error:
        msg = f"{path} holds no definitions of cameras: {error}"
        raise DataError(msg, hint="give a JSON file with one object per camera") from None
    if not isinstance(found, dict):
        msg = f"{path} holds no definitions of cameras, but a {type(found).__name__}"
        raise DataError(msg, hint="give a JSON file with one object per camera")
    return {name: _camera(name, each, path) for name, each in found.items()}


def definition(given: Camera) -> dict[str, Any]:
    """Return what a file of definitions has of a camera, in m, so that `read_definitions` gives it back.

    Examples
    --------
    >>> definition(camera("row", [0, 1], [0, 0], area=1.0, shape="square"))["pixel_x_positions"]
    [0.0, 1.0]
    """
    return {
        "pixel_x_positions": given.x.tolist(),
        "pixel_y_positions": given.y.tolist(),
        "pixel_area": given.area.tolist(),
        "pixel_type": given.shape,
        "camera_rotation": 0,
    }


def _camera(name: str, given: Any, path: str | Path) -> Camera:
    missing = [n for n in _NAMES if not isinstance(given, dict) or n not in given]
    if missing:
        msg = f"the camera {name!r} of {path} lacks {', '.join(missing)}"
        raise DataError(msg, hint="positions in m, areas in m2, pixel_type hexagonal or rectangular")
    if given["camera_rotation"] != 0:
        msg = f"the camera {name!r} of {path} is rotated by {given['camera_rotation']!r}"
        raise DataError(msg, hint="rotate the positions, and set camera_rotation to 0")
    return camera(
        name,
        given["pixel_x_positions"],
        given["pixel_y_positions"],
        area=given["pixel_area"],
        shape=str(given["pixel_type"]),
    )
