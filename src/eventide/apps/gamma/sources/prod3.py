"""The images of the benchmarks of streams-cta and jayct (Bruegge et al., ADASS XXVII, ASP 522 p. 319), and their array.

The file is a list of array events in JSON, each with calibrated images of its telescopes and the true shower; it has no
times, so events are given some, one after the other.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.apps.gamma.site import Kind, Site, Telescope
from eventide.errors import DataError
from eventide.model.time import EVENT_TIME, duration, instant

__all__ = ["TRUTH", "read_prod3", "read_site"]

TRUTH: Final = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("true_alt", pa.float64(), metadata={"unit": "deg"}),
        pa.field("true_az", pa.float64(), metadata={"unit": "deg"}),
        pa.field("true_energy", pa.float64(), metadata={"unit": "TeV"}),
        pa.field("true_core_x", pa.float64(), metadata={"unit": "m"}),
        pa.field("true_core_y", pa.float64(), metadata={"unit": "m"}),
        pa.field("images", pa.int64()),
    ]
)
"""What was simulated."""

_SUBARRAY: Final = 32
_CUTS: Final = {"LSTCam": (9.6, 4.8), "NectarCam": (13.4, 6.7), "CHEC": (5.2, 2.6)}
"""Thresholds of the cleaning: 2.7 times the noise of the pixels of each camera, and half of that."""


def read_prod3(path: str | Path, *, start: str = "2017-10-22", apart: str = "10ms") -> tuple[pa.Table, pa.Table]:
    """Return the images (`DL1_IMAGE`) and the truth (`TRUTH`) of a file.

    Parameters
    ----------
    path
        ``images.json`` or ``images.json.gz``.
    start, apart
        The time of the first event, and from one event to the next.

    Raises
    ------
    DataError
        The file cannot be read or has another form; the message says which event.
    """
    found = _decoded(path)
    first, step = instant(start), duration(apart, what="apart")
    rows: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    for number, event in enumerate(found):
        try:
            true, images = event["mc"], event["images"]
            time = first + number * step
            alt, az = (float(np.degrees(float(true[n]))) for n in ("alt", "az"))
            common: dict[str, Any] = {"time": time, "obs_id": 1, "tel_event_id": number, "event_type": _SUBARRAY}
            common |= {"telescope_pointing_altitude": alt, "telescope_pointing_azimuth": az % 360.0}
            for tel, image in sorted(images.items(), key=lambda pair: int(pair[0])):
                rows.append({**common, "tel_id": int(tel), "image": np.asarray(image, np.float32)})
            values = {n: float(true[n]) for n in ("energy", "core_x", "core_y")}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            msg = f"{path}, event {number}: {error!r}"
            raise DataError(
                msg, hint="an event has images {telescope: [photo-electrons]} and mc {alt, az, energy ...}"
            ) from None
        named = {f"true_{n}": v for n, v in {"alt": alt, "az": az % 360.0, **values}.items()}
        truth.append({"event_time": time, "images": len(images), **named})
    try:
        return pa.Table.from_pylist(rows, schema=DL1_IMAGE), pa.Table.from_pylist(truth, schema=TRUTH)
    except (pa.ArrowException, OverflowError) as error:
        msg = f"{path} holds images that are none: {error}"
        raise DataError(msg, hint="images are lists of numbers, telescopes have numbers up to 32767") from None


def read_site(array: str | Path, cameras: str | Path) -> Site:
    """Return the array of the images.

    Parameters
    ----------
    array
        CSV file with tel_id, camera, focal_length_m, x_m, y_m and z_m.
    cameras
        File of definitions, see `eventide.apps.gamma.cameras.definitions`.

    Raises
    ------
    DataError
        The file cannot be read, or a column is missing.
    """
    kinds: dict[str, Kind] = {}
    telescopes = []
    try:
        with Path(array).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                name = row["camera"]
                picture, boundary = _CUTS.get(name, (10.0, 5.0))
                kinds[name] = Kind(name, f"{cameras}#{name}", float(row["focal_length_m"]), 1.0, picture, boundary)
                x, y, z = (float(row[n]) for n in ("x_m", "y_m", "z_m"))
                telescopes.append(Telescope(int(row["tel_id"]), name, (x, y, z)))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        msg = f"{array} describes no array: {error!r}"
        raise DataError(msg, hint="give a CSV file with tel_id, camera, focal_length_m, x_m, y_m and z_m") from None
    if not telescopes:
        msg = f"{array} has no telescopes"
        raise DataError(msg, hint="give one line for each telescope")
    return Site(Path(array).stem, -24.68, -70.32, 2150.0, tuple(kinds.values()), tuple(telescopes))


def _decoded(path: str | Path) -> list[Any]:
    try:
        data = Path(path).read_bytes()
        found = json.loads(gzip.decompress(data) if str(path).endswith(".gz") else data)
    except (OSError, EOFError, ValueError, RecursionError) as error:
        msg = f"{path} holds no images: {error}"
        raise DataError(msg, hint="give images.json.gz of jayct or streams-cta") from None
    if not isinstance(found, list):
        msg = f"{path} holds no list of array events, but a {type(found).__name__}"
        raise DataError(msg, hint="give images.json.gz of jayct or streams-cta")
    return found
