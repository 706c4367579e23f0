"""Files of sim_telarray as images, calibrated here (needs eventio: ``pip install 'eventide[gamma-simtel]'``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.calibration.calibrate import calibrate
from eventide.apps.gamma.calibration.simtel import opened, read_simtel, simtel_camera
from eventide.apps.gamma.cameras.definitions import definition
from eventide.apps.gamma.site import Kind, Site, Telescope
from eventide.apps.gamma.sources._rows import image_row, images

__all__ = ["read_simtel_images", "read_site"]


def read_simtel_images(
    path: str | Path, *, rows: int = 100, extractor: str = "neighbor_peak"
) -> Iterator[pa.RecordBatch]:
    """Yield the images of a file (`DL1_IMAGE`), in its order; of two gains one is chosen for each pixel.

    ``tel_event_id`` is the number of the array event, for calibration events -1 less that number, so that it is no
    shower's. Times are those at which events were simulated.

    Parameters
    ----------
    path
        A file of sim_telarray, compressed or not.
    rows
        How many a batch has at most.
    extractor
        Of the window of light, see `eventide.apps.gamma.calibration.calibrate.calibrate`.

    Raises
    ------
    MissingDependencyError
        eventio is not installed.
    DataError
        The file cannot be read.
    """
    waiting: list[dict[str, Any]] = []
    for event in read_simtel(path):
        found = calibrate(event.readout, event.raw[None], extractor=extractor)
        waiting.append(
            image_row(
                time=event.time,
                obs_id=event.obs_id,
                tel_id=event.tel_id,
                event_id=event.event_id if event.kind == "data" else -1 - event.event_id,
                kind=event.event_type,
                image=found.image[0],
                peak_time=found.peak_time[0],
                aim=event.aim,
            )
        )
        if len(waiting) >= rows:
            yield images(waiting)
            waiting = []
    if waiting:
        yield images(waiting)


def read_site(path: str | Path, definitions: str | Path, *, picture: float = 10.0, boundary: float = 5.0) -> Site:
    """Return the array of a file, so that its images can be analysed, and write its cameras into a file.

    Parameters
    ----------
    path
        A file of sim_telarray, compressed or not.
    definitions
        Where the cameras go: a file of definitions in JSON, which the array refers to.
    picture, boundary
        Thresholds of the cleaning of every kind: the file does not have them.

    Raises
    ------
    MissingDependencyError
        eventio is not installed.
    DataError
        The file cannot be read.
    """
    cameras: dict[str, dict[str, Any]] = {}
    kinds: dict[tuple[Any, ...], Kind] = {}
    telescopes = []
    with opened(path) as file:
        places = dict(zip(file.header["tel_id"].tolist(), file.header["tel_pos"].tolist(), strict=True))
        for tel, found in sorted(file.telescope_descriptions.items()):
            settings, seen = found["camera_settings"], simtel_camera(tel, found)
            effective = float(settings.get("effective_focal_length", np.nan))
            focal = effective if np.isfinite(effective) and effective > 0 else float(settings["focal_length"])
            key = (focal, seen.shape, *(v.tobytes() for v in (seen.x, seen.y, seen.area)))
            if key not in kinds:
                name = _name(file, tel, taken=cameras)
                cameras[name] = definition(seen)
                area = float(settings["mirror_area"])
                kinds[key] = Kind(name, f"{definitions}#{name}", focal, area if area > 0 else 1.0, picture, boundary)
            north, west, up = places[tel]
            telescopes.append(Telescope(int(tel), kinds[key].name, (north, west, up)))
        where = _where(file)
        called = (file.global_meta or {}).get(b"ARRAY_CONFIG_NAME", b"").decode() or Path(path).name
    Path(definitions).write_text(json.dumps(cameras), encoding="utf-8")
    return Site(called, *where, tuple(kinds.values()), tuple(telescopes))


def _name(file: Any, tel: int, *, taken: dict[str, Any]) -> str:
    """Return a name for the kind of a telescope that no other one has."""
    said = (file.telescope_meta or {}).get(tel, {}).get(b"CAMERA_CONFIG_NAME", b"").decode()
    name = said or f"kind-{len(taken) + 1}"
    return name if name not in taken else f"{name}-{len(taken) + 1}"


def _where(file: Any) -> tuple[float, float, float]:
    """Return latitude, longitude (0 where the file does not say) and height."""
    said = file.global_meta or {}
    if all(name in said for name in (b"*LATITUDE", b"*LONGITUDE", b"ALTITUDE")):
        lat, lon, height = (float(said[name]) for name in (b"*LATITUDE", b"*LONGITUDE", b"ALTITUDE"))
        return lat, lon, height
    return 0.0, 0.0, float(file.mc_run_headers[-1]["obsheight"]) if file.mc_run_headers else 0.0
