"""Images compared with what ctapipe 0.28 made of the same ones: the largest deviation of every column.

Data: a folder with ``gamma/`` in it: ``prod3/`` (the images of the paper and the cameras), ``golden/`` (what ctapipe
gives: 651 rows of parameters, 54 calibrated images) and ``simtel/`` (the raw waveforms of these).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.calibration.calibrate import calibrate
from eventide.apps.gamma.calibration.simtel import read_simtel
from eventide.apps.gamma.cameras.camera import Camera, camera, in_telescope_frame
from eventide.apps.gamma.cameras.definitions import read_definitions
from eventide.apps.gamma.cleaning.tailcuts import tailcuts
from eventide.apps.gamma.parameters.measure import tailcut
from eventide.errors import DataError

__all__ = ["LIMITS", "golden_columns", "paper_images", "verify_images"]

Float64Array = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

_GOLDEN = "prod3_images_ctapipe-0.28.0.csv.gz"
_IMAGES = "simtel_dl1_ctapipe-0.28.0.npz"
_STEREO = "simtel_stereo_ctapipe-0.28.0.json"
_FOCAL_LENGTHS = {"LSTCam_1855": 28.0, "LSTcam_1855": 28.0, "NectarCam_1855": 16.0}  # m
_OTHERWISE_ORDERED = {"lst_muons_with_true_photons.simtel.zst"}  # its pixels are not those of the camera of that name
_HILLAS = "camera_frame_hillas_"
_COLUMNS = {
    "leak_pix1": "leakage_pixels_width_1",
    "leak_pix2": "leakage_pixels_width_2",
    "leak_int1": "leakage_intensity_width_1",
    "leak_int2": "leakage_intensity_width_2",
    "conc_cog": "concentration_cog",
    "conc_core": "concentration_core",
    "conc_pixel": "concentration_pixel",
    "n_pixels": "morphology_n_pixels",
    "n_islands": "morphology_n_islands",
    "n_small": "morphology_n_small_islands",
    "n_medium": "morphology_n_medium_islands",
    "n_large": "morphology_n_large_islands",
}

LIMITS = {"hillas": 1e-9, "leakage": 1e-6, "concentration": 1e-6, "morphology": 0.0, "dl1": 1e-5}
"""Deviations that are allowed: relative ones, and in photo-electrons and ns for ``dl1``."""


def verify_images(data_dir: Path) -> dict[str, Any]:
    """Compare cleaning, parameters and calibration with the golden files.

    Parameters
    ----------
    data_dir
        Folder with ``gamma/``.

    Returns
    -------
    ``ok``; ``rows`` of golden parameters and ``masks`` that differ; ``columns``: for each the largest deviation,
    relative (of widths absolute where that is less); ``telescopes`` and ``telescope_columns``: the same for calibrated
    images in the telescope frame; ``dl1``: images compared and the largest deviations of image (relative where above 1)
    and peak time (ns), or why there are none.

    Raises
    ------
    DataError
        A file is missing or cannot be read.
    """
    folder = data_dir / "gamma"
    rows, masks, columns = _parameters(folder)
    telescopes, seen = _telescopes(folder / "golden")
    dl1 = _calibration(folder)
    good = not masks and all(found <= LIMITS[_group(name)] for name, found in (columns | seen).items())
    return {
        "ok": good and min(rows, telescopes) > 0 and dl1.get("ok", True),
        "rows": rows,
        "masks": masks,
        "columns": columns,
        "telescopes": telescopes,
        "telescope_columns": seen,
        "dl1": dl1,
    }


def paper_images(folder: Path) -> list[dict[int, Float32Array]]:
    """Return the calibrated images of the paper's array events, by telescope.

    Parameters
    ----------
    folder
        The folder ``gamma``.

    Raises
    ------
    DataError
        The file is missing or has another form.
    """
    found = _read(folder / "prod3" / "images.json.gz", lambda data: json.loads(gzip.decompress(data)))
    return [{int(tel): np.array(image, np.float32) for tel, image in event["images"].items()} for event in found]


def golden_columns(row: dict[str, str]) -> dict[str, float]:
    """Return the parameters of a golden row by our names, angles in degrees.

    Examples
    --------
    >>> golden_columns({"psi_rad": "0.0", "width_m": "0.5", "leak_pix1": "", "camera": "LSTCam"})
    {'camera_frame_hillas_psi': 0.0, 'camera_frame_hillas_width': 0.5, 'leakage_pixels_width_1': nan}
    """
    skipped = {"set", "event_index", "tel_id", "camera", "picture", "boundary", "min_neighbors", "mask_sha"}
    made = {}
    for name, text in row.items():
        if name in skipped:
            continue
        value = float(text) if text else np.nan
        base = name.removesuffix("_rad").removesuffix("_m")
        made[_COLUMNS.get(name, _HILLAS + base)] = float(np.rad2deg(value)) if name.endswith("_rad") else value
    return made


def _parameters(folder: Path) -> tuple[int, int, dict[str, float]]:
    cameras = read_definitions(folder / "prod3" / "cta_camera_definitions.json.gz")
    events = paper_images(folder)
    lines = _read(folder / "golden" / _GOLDEN, lambda data: gzip.decompress(data).decode().splitlines())
    wrong, compared, largest = 0, 0, dict[str, float]()
    for made, cuts, rows in _sets(list(csv.DictReader(lines)), cameras):
        images = np.array([events[int(row["event_index"])][int(row["tel_id"])] for row in rows])
        masks = tailcuts(made, images, **cuts)
        found = tailcut(made, images, **cuts)
        for i, row in enumerate(rows):
            wrong += hashlib.sha256(np.packbits(masks[i]).tobytes()).hexdigest()[:16] != row["mask_sha"]
            compared += 1
            if int(row["n_pixels"]) < 3:
                continue
            for name, wanted in golden_columns(row).items():
                largest[name] = max(largest.get(name, 0.0), _deviation(name, float(found[name][i]), wanted))
    return compared, wrong, largest


def _sets(
    rows: list[dict[str, str]], cameras: dict[str, Camera]
) -> Iterator[tuple[Camera, dict[str, Any], list[dict[str, str]]]]:
    by: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        by.setdefault((row["camera"], row["picture"], row["boundary"], row["min_neighbors"]), []).append(row)
    for (name, picture, boundary, least), some in by.items():
        cuts = {
            "picture": float(picture),
            "boundary": float(boundary),
            "min_number_picture_neighbors": int(least),
        }
        yield cameras[name], cuts, some


def _deviation(name: str, found: float, wanted: float) -> float:
    if np.isnan(found) and np.isnan(wanted):
        return 0.0
    apart = abs(found - wanted)
    relative = apart / abs(wanted) if wanted else apart
    deviation = min(relative, apart) if name.endswith("hillas_width") else relative
    return float("inf") if np.isnan(deviation) else deviation


def _group(name: str) -> str:
    return next((group for group in LIMITS if name.startswith((group, f"camera_frame_{group}"))), "hillas")


def _telescopes(folder: Path) -> tuple[int, dict[str, float]]:
    """Compare Hillas parameters of calibrated images in the telescope frame, cleaned as ctapipe does it by default."""
    wanted = {
        (event["file"], int(event["event_id"]), int(tel)): hillas
        for event in _read(folder / _STEREO, json.loads)
        for tel, hillas in event["hillas"].items()
    }
    compared, largest = 0, dict[str, float]()
    with _archive(folder / _IMAGES) as found:
        for i, row in enumerate(found["index"].tolist()):
            hillas = wanted.get((row[0], int(row[2]), int(row[3])))
            if hillas is None or row[0] in _OTHERWISE_ORDERED:
                continue
            x, y, area = found[f"geom_{row[4]}"]
            seen = in_telescope_frame(camera(row[4], x, y, area=area), _FOCAL_LENGTHS[row[4]])
            ours = tailcut(seen, found[f"image_{i:03d}"][None], groups=["hillas"])
            compared += 1
            for name, value in hillas.items():
                column = f"hillas_{name}"
                deviation = _deviation(column, float(ours[column][0]), float(value))
                largest[column] = max(largest.get(column, 0.0), deviation)
    return compared, largest


def _calibration(folder: Path) -> dict[str, Any]:
    if importlib.util.find_spec("eventio") is None:
        return {"why": "eventio is not installed, waveforms cannot be read"}
    golden = _golden_images(folder / "golden" / _IMAGES)
    compared, image_deviation, time_deviation = 0, 0.0, 0.0
    for file in sorted({key[0] for key in golden}):
        for event in read_simtel(folder / "simtel" / file):
            # ctapipe counts calibration events downwards from -1.
            number = event.event_id if event.kind == "data" else -1 - event.event_id
            wanted = golden.pop((file, number, event.tel_id), None)
            if wanted is None:
                continue
            image, time = wanted
            both = image.ndim == 2
            for gain in range(len(image)) if both else [None]:
                found = calibrate(event.readout, event.raw[None], gain=gain)
                right, late = (image[gain], np.broadcast_to(time, image.shape)[gain]) if both else (image, time)
                apart = np.abs(found.image[0] - right) / np.maximum(1.0, np.abs(right))
                image_deviation = max(image_deviation, float(apart.max()))
                time_deviation = max(time_deviation, float(np.abs(found.peak_time[0] - late).max()))
            compared += 1
    good = not golden and max(image_deviation, time_deviation) <= LIMITS["dl1"]
    return {
        "ok": good,
        "images": compared,
        "missing": len(golden),
        "image": image_deviation,
        "peak_time": time_deviation,
    }


def _golden_images(path: Path) -> dict[tuple[str, int, int], tuple[Float32Array, Float32Array]]:
    with _archive(path) as found:
        return {
            (str(row[0]), int(row[2]), int(row[3])): (found[f"image_{i:03d}"], found[f"peak_time_{i:03d}"])
            for i, row in enumerate(found["index"])
        }


@contextmanager
def _archive(path: Path) -> Iterator[Any]:
    try:
        with np.load(path) as found:
            yield found
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from None


def _read(path: Path, take: Callable[[bytes], Any]) -> Any:
    try:
        return take(path.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    msg = f"{path} cannot be read: {error}"
    return DataError(msg, hint="point EVENTIDE_DATA at the folder that holds gamma/")
