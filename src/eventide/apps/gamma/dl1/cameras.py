"""The cameras of a file of ctapipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.cameras.camera import MOST_PIXELS, Camera, camera
from eventide.apps.gamma.dl1.tables import Table, opened
from eventide.errors import DataError, near_names

__all__ = ["CAMERAS", "read_camera_of"]

CAMERAS: Final = "/configuration/instrument/telescope/camera"
"""The group of their tables."""


def read_camera_of(path: str | Path, number: str) -> Camera:
    """Return a camera of a file, positions in m.

    Parameters
    ----------
    path
        A file of ctapipe.
    number
        Of its geometry: ``"0"`` is the first one.

    Raises
    ------
    DataError
        The file cannot be read, or has no such camera.
    MissingDependencyError
        h5py is not installed.
    """
    with opened(path) as tables:
        known = [n.removeprefix("geometry_") for n in tables.children(CAMERAS) if n.startswith("geometry_")]
        if number not in known:
            msg = f"{path} has no camera {number!r}"
            raise DataError(msg, hint=near_names(number, known))
        return _camera(tables.table(f"{CAMERAS}/geometry_{number}"))


def _camera(table: Table) -> Camera:
    name = str(table.attribute("CAM_ID", "camera"))
    turned = table.attribute("CAM_ROT", 0.0)
    units = [table.unit(n) for n in ("pix_x", "pix_y") if n in table.names]
    if turned not in (0, 0.0) or set(units) - {"m"} or table.rows > MOST_PIXELS:
        msg = f"{table.where}: {table.rows} pixels in {units}, rotated by {turned!r}"
        raise DataError(msg, hint=f"up to {MOST_PIXELS:,} pixels in m, not rotated")
    x, y, area = table.read("pix_x", "pix_y", "pix_area")
    return camera(name, *_floats(x, y), area=_floats(area)[0], shape=str(table.attribute("PIX_TYPE", "hexagon")))


def _floats(*arrays: npt.NDArray[Any]) -> list[npt.NDArray[np.float64]]:
    return [np.asarray(a, np.float64) for a in arrays]
