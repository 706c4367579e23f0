"""Events of FACT as lists of single photons (the photon stream, ``.phs.jsonl``), as images, and FACT's camera.

One event a line, in JSON: for each pixel the slices of 0.5 ns in which photons came. The image is how many came, the
peak time the mean of when they came.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.cameras.camera import Camera, camera, in_telescope_frame
from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.errors import DataError
from eventide.model.time import EVENT_TIME

__all__ = ["KINDS", "PIXELS", "read_camera", "read_photon_stream"]

PIXELS: Final = 1440
"""Of FACT's camera."""

KINDS: Final = {4: 32, 1024: 2}
"""FACT's triggers as ctapipe's event types: showers, and pedestals; others are 254."""

_OTHER: Final = 254
_SLICE: Final = 0.5  # ns
_PITCH, _FOCAL_LENGTH = 0.0095, 4.889  # m
_MOST: Final = 1 << 24  # characters of a line


def read_photon_stream(path: str | Path, *, tel_id: int = 1, rows: int = 100) -> Iterator[pa.RecordBatch]:
    """Yield the events of a file as images (`DL1_IMAGE`), pixels in the order of the file (CHID).

    Pixels without a photon have the peak time NaN.

    Parameters
    ----------
    path
        ``.phs.jsonl`` or ``.phs.jsonl.gz``.
    tel_id
        Number that the telescope gets.
    rows
        How many a batch has at most.

    Raises
    ------
    DataError
        The file cannot be read, or a line is no event; the message says which.

    Examples
    --------
    >>> import tempfile
    >>> event = {"Night": 20170119, "Run": 229, "Event": 1, "UnixTime_s_us": [1484895178, 532244], "Trigger": 4,
    ...          "Az_deg": -63.25, "Zd_deg": 33.0, "PhotonArrivals_500ps": [[60, 80]] + 1439 * [[]]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "one.phs.jsonl"
    ...     _ = file.write_text(json.dumps(event))
    ...     batch = next(read_photon_stream(file))
    >>> batch.column("image")[0].as_py()[:2], batch.column("peak_time")[0].as_py()[0]
    ([2.0, 0.0], 35.0)
    """
    waiting: list[dict[str, Any]] = []
    number = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if str(path).endswith(".gz")
            else Path(path).open(encoding="utf-8") as file
        ):
            while line := file.readline(_MOST):
                number += 1
                if line.strip():
                    waiting.append(_row(line, tel_id))
                if len(waiting) >= rows:
                    yield _batch(waiting)
                    waiting = []
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        msg = f"{path}, line {number}: {error!r}"
        raise DataError(msg, hint="give a file of FACT's photon stream, one event in JSON on each line") from None
    if waiting:
        yield _batch(waiting)


def read_camera(path: str | Path) -> Camera:
    """Return FACT's camera in the telescope frame, pixels in the order of CHID.

    Parameters
    ----------
    path
        ``pixel-map.csv`` of FACT, or the same with ``.gz``: columns CHID, pos_X and pos_Y.

    Raises
    ------
    DataError
        The file cannot be read, or has not each of the 1,440 pixels once.
    """
    try:
        data = Path(path).read_bytes()
        text = (gzip.decompress(data) if str(path).endswith(".gz") else data).decode()
        places = {int(r["CHID"]): (float(r["pos_X"]), float(r["pos_Y"])) for r in csv.DictReader(text.splitlines())}
        where = np.array([places[n] for n in range(PIXELS)]) * _PITCH
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, csv.Error) as error:
        msg = f"{path} holds no map of FACT's pixels: {error!r}"
        raise DataError(msg, hint="give pixel-map.csv of fact-tools: CHID from 0 to 1439, pos_X and pos_Y") from None
    area = _PITCH * _PITCH * np.sqrt(3) / 2
    return in_telescope_frame(camera("FACT", where[:, 0], where[:, 1], area=area), _FOCAL_LENGTH)


def _row(line: str, tel_id: int) -> dict[str, Any]:
    event = json.loads(line)
    arrivals = event["PhotonArrivals_500ps"]
    if len(arrivals) != PIXELS:
        msg = f"{len(arrivals)} pixels instead of {PIXELS}"
        raise ValueError(msg)
    seconds, micro = event["UnixTime_s_us"]
    counts = np.array([len(a) for a in arrivals])
    slices = np.array([s for a in arrivals for s in a], np.float64)
    if slices.size and not (np.isfinite(slices).all() and slices.min() >= 0 and slices.max() < 1 << 16):
        msg = "arrivals that are no slices"
        raise ValueError(msg)
    sums = np.bincount(np.repeat(np.arange(PIXELS), counts), slices, PIXELS)
    mean = np.divide(sums * _SLICE, counts, out=np.full(PIXELS, np.nan), where=counts > 0)
    return {
        "time": np.int64((int(seconds) * 1_000_000 + int(micro)) * 1_000),
        "obs_id": np.int64(int(event["Night"]) * 1_000 + int(event["Run"])),
        "tel_id": tel_id,
        "tel_event_id": np.int64(int(event["Event"])),
        "event_type": KINDS.get(event["Trigger"], _OTHER),
        "image": counts.astype(np.float32),
        "peak_time": mean.astype(np.float32),
        "telescope_pointing_altitude": 90.0 - float(event["Zd_deg"]),
        "telescope_pointing_azimuth": float(event["Az_deg"]) % 360.0,
    }


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    made = {
        f.name: pa.array([r[f.name] for r in rows], pa.int64() if f.type == EVENT_TIME else f.type) for f in DL1_IMAGE
    }
    return pa.RecordBatch.from_arrays([made[f.name].cast(f.type) for f in DL1_IMAGE], schema=DL1_IMAGE)
