"""The array of a file of ctapipe: telescopes, optics and cameras, to and from a `Site`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.dl1.cameras import CAMERAS
from eventide.apps.gamma.dl1.tables import Column, opened, write_table
from eventide.apps.gamma.site import Kind, Site, Telescope, camera_of
from eventide.errors import DataError

__all__ = ["read_site", "write_instrument"]

_INSTRUMENT: Final = "/configuration/instrument"
_LAYOUT: Final = f"{_INSTRUMENT}/subarray/layout"
_AXIS, _FLATTENING = 6_378_137.0, 1 / 298.257223563  # of the Earth (WGS 84), m
_MOST_TELESCOPES: Final = 10_000


def write_instrument(file: Any, site: Site) -> None:
    """Write an array into an open file of h5py.

    What this application does not know of a telescope (mirrors, the shape of pulses) is unknown in the file.

    Parameters
    ----------
    file
        An ``h5py.File`` that can be written.
    site
        The array.
    """
    number = {kind.name: place for place, kind in enumerate(site.kinds)}
    kinds = [site.kind(t.kind) for t in site.telescopes]
    cameras = [camera_of(k) for k in site.kinds]
    names = [c.name for c in cameras]
    columns = {
        "tel_id": Column(np.array([t.tel_id for t in site.telescopes], np.uint16)),
        "name": _text([f"tel-{t.tel_id}" for t in site.telescopes]),
        "type": _text([k.name for k in kinds]),
        **{
            f"pos_{axis}": Column(np.array([t.position[at] for t in site.telescopes]), unit="m")
            for at, axis in enumerate("xyz")
        },
        "camera_name": _text([names[number[k.name]] for k in kinds]),
        "optics_name": _text([k.name for k in kinds]),
        "camera_index": Column(np.array([number[k.name] for k in kinds])),
        "optics_index": Column(np.array([number[k.name] for k in kinds])),
        "tel_description": _text([f"{k.name}_{k.name}_{names[number[k.name]]}" for k in kinds]),
    }
    place = dict(zip("xyz", _itrs(site), strict=True))
    write_table(
        file,
        _LAYOUT,
        columns,
        attributes={
            "TAB_TYPE": "subarray", "TAB_VER": "2.0", "SUBARRAY": site.name, "name": site.name,
            **{f"reference_itrs_{axis}": value for axis, value in place.items()},
        },
    )  # fmt: skip
    optics = {
        "optics_name": _text([k.name for k in site.kinds]),
        "size_type": _text(["UNKNOWN"] * len(site.kinds)),
        "reflector_shape": _text(["UNKNOWN"] * len(site.kinds)),
        "mirror_area": Column(np.array([k.mirror_area for k in site.kinds]), unit="m**2"),
        "n_mirrors": Column(np.ones(len(site.kinds), np.int64)),
        "n_mirror_tiles": Column(np.zeros(len(site.kinds), np.int64)),
        "equivalent_focal_length": Column(np.array([k.focal_length for k in site.kinds]), unit="m"),
        "effective_focal_length": Column(np.array([k.focal_length for k in site.kinds]), unit="m"),
    }
    attributes = {"TAB_TYPE": "optics", "TAB_VER": "4.0", "SUBARRAY": site.name}
    write_table(file, f"{_INSTRUMENT}/telescope/optics", optics, attributes=attributes)
    for at, (kind, seen) in enumerate(zip(site.kinds, cameras, strict=True)):
        _write_camera(file, at, seen=seen, kind=kind)


def _write_camera(file: Any, at: int, *, seen: Camera, kind: Kind) -> None:
    # The telescope frame has the axes of the camera exchanged, see `in_telescope_frame`.
    scale = kind.focal_length * math.pi / 180.0
    geometry = {
        "pix_id": Column(np.arange(seen.pixels)),
        "pix_x": Column(seen.y * scale, unit="m"),
        "pix_y": Column(seen.x * scale, unit="m"),
        "pix_area": Column(seen.area * scale * scale, unit="m**2"),
    }
    told = {"CAM_ID": seen.name, "PIX_TYPE": seen.shape, "PIX_ROT": 0.0, "CAM_ROT": 0.0}
    attributes = {"TAB_TYPE": "ctapipe.instrument.CameraGeometry", "TAB_VER": "2.0", **told}
    write_table(file, f"{CAMERAS}/geometry_{at}", geometry, attributes=attributes)
    # ctapipe opens no array without pulses: one of a single sample stands for what is not known.
    pulse = {
        "reference_pulse_shape_channel0": Column(np.ones(1)),
        "reference_pulse_sample_time": Column(np.zeros(1), unit="ns"),
    }
    known = {"CAM_ID": seen.name, "NCHAN": 1, "NPIXELS": seen.pixels, "NSAMPLES": 1, "SAMPFREQ": 1.0, "REFWIDTH": 1.0}
    attributes = {"TAB_TYPE": "ctapipe.instrument.CameraReadout", "TAB_VER": "3.0", **known}
    write_table(file, f"{CAMERAS}/readout_{at}", pulse, attributes=attributes)


def _text(values: list[str]) -> Column:
    return Column(np.array([v.encode() or b" " for v in values]))


def _itrs(site: Site) -> tuple[float, float, float]:
    lon, lat = math.radians(site.longitude), math.radians(site.latitude)
    square = _FLATTENING * (2 - _FLATTENING)
    curve = _AXIS / math.sqrt(1 - square * math.sin(lat) ** 2)
    out = (curve + site.height) * math.cos(lat)
    return out * math.cos(lon), out * math.sin(lon), (curve * (1 - square) + site.height) * math.sin(lat)


def _geodetic(x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return latitude, longitude (degrees) and height (m) of a place, the inverse of `_itrs`."""
    square, flat = _FLATTENING * (2 - _FLATTENING), math.hypot(x, y)
    lat, height = math.atan2(z, flat * (1 - square)), 0.0
    for _ in range(20):  # each turn adds more than two digits
        curve = _AXIS / math.sqrt(1 - square * math.sin(lat) ** 2)
        height = flat * math.cos(lat) + z * math.sin(lat) - _AXIS * _AXIS / curve
        lat = math.atan2(z, flat * (1 - square * curve / (curve + height)))
    return math.degrees(lat), math.degrees(math.atan2(y, x)), height


def read_site(path: str | Path, *, picture: float = 10.0, boundary: float = 5.0) -> Site:
    """Return the array of a file, so that its images can be analysed.

    Parameters
    ----------
    path
        A file of ctapipe. Cameras are read from it again whenever the site is used.
    picture, boundary
        Thresholds of the cleaning of every kind: the file does not have them.

    Raises
    ------
    DataError
        The file cannot be read, or describes no array.
    MissingDependencyError
        h5py is not installed.
    """
    with opened(path) as tables:
        layout = tables.table(_LAYOUT)
        optics = tables.table(f"{_INSTRUMENT}/telescope/optics")
        if not 1 <= layout.rows <= _MOST_TELESCOPES or not optics.rows:
            msg = f"{path} has {layout.rows} telescopes with {optics.rows} kinds of optics"
            raise DataError(msg, hint="give a file as ctapipe writes it")
        tel_id, type_, x, y, z, camera_name, of_camera, of_optics = layout.read(
            "tel_id", "type", "pos_x", "pos_y", "pos_z", "camera_name", "camera_index", "optics_index"
        )
        area, nominal, effective = optics.read("mirror_area", "equivalent_focal_length", "effective_focal_length")
        focal = np.where(np.isfinite(effective), effective, nominal)
        where = [layout.attribute(f"reference_itrs_{axis}") for axis in "xyz"]
        name = str(layout.attribute("SUBARRAY", "array"))
    kinds: dict[tuple[int, int], Kind] = {}
    telescopes = []
    for row in range(tel_id.size):
        key = (int(of_camera[row]), int(of_optics[row]))
        if not (0 <= key[1] < area.size and math.isfinite(focal[key[1]]) and focal[key[1]] > 0):
            msg = f"{path}: telescope {tel_id[row]} has optics {key[1]} without a focal length"
            raise DataError(msg, hint="give a file as ctapipe writes it")
        if key not in kinds:
            label = "_".join(str(bytes(v), "utf-8", "replace") for v in (type_[row], camera_name[row]))
            label = label if label not in {k.name for k in kinds.values()} else f"{label}_{len(kinds)}"
            size = float(area[key[1]])
            kinds[key] = Kind(
                label, f"{path}#{key[0]}", float(focal[key[1]]), size if size > 0 else 1.0, picture, boundary
            )
        telescopes.append(Telescope(int(tel_id[row]), kinds[key].name, (float(x[row]), float(y[row]), float(z[row]))))
    if len({t.tel_id for t in telescopes}) < len(telescopes):
        msg = f"{path} has telescopes of one number"
        raise DataError(msg, hint="give a file as ctapipe writes it")
    numbers = [float(v) if isinstance(v, (int, float)) else 0.0 for v in where]
    lat, lon, height = _geodetic(*numbers) if any(numbers) else (0.0, 0.0, 0.0)
    return Site(name, lat, lon, height, tuple(kinds.values()), tuple(telescopes))
