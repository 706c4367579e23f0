"""Array events reconstructed, compared with what ctapipe's HillasReconstructor made of the same images.

Data: ``gamma/golden/simtel_stereo_ctapipe-0.28.0.json``. Where the telescopes of its three files stand is told here, as
the headers of the sim_telarray files say it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from eventide.apps.gamma.stereo.planes import Images, reconstruct
from eventide.errors import DataError

__all__ = ["LIMITS", "verify_stereo"]

LIMITS: Final = {"alt": 1e-9, "az": 1e-9, "core": 1e-6, "h_max": 1e-3}
"""Deviations that are allowed: degrees and m."""

_COLUMNS = ("fov_lon", "fov_lat", "psi", "length", "width", "intensity")
_LARGE, _MEDIUM = 2.2656239284067565, 3.964841739118875  # radius of the camera, degrees

# north, west, up (m), as float32 in the files
_NORTH: Final = (
    *((-70.93, -52.07, 43.0), (-35.27, 66.14, 32.0), (75.28, 50.49, 28.7), (30.91, -64.54, 32.0)),
    *((-211.54, 5.66, 50.3), (-153.26, 169.01, 24.0), (27.07, 198.71, 12.2), (175.61, 73.06, 9.0)),
    *((140.0, -189.0, 29.0), (-75.63, -189.0, 42.2), (-215.69, -167.36, 63.1), (-99.01, 331.6, 9.7)),
    *((221.62, -355.25, 47.0), (20.19, -352.46, 62.3), (-197.3, -335.09, 77.1), (-303.75, 339.75, 22.3)),
    *((-345.89, 130.16, 58.0), (-375.89, -78.24, 81.6), (0.0, 0.0, 29.0)),
)
_FOUR: Final = ((0.0, -84.85, 7.5), (84.85, 0.0, 7.5), (0.0, 84.85, 7.5), (-84.85, 0.0, 7.5))
_SITES: Final = {
    "camsettings_v6.simtel.zst": (_NORTH, 2157.9999999991924),
    "history_meta_75.simtel.zst": (_NORTH, 2157.9999999991924),
    "test_lasercal_v3.simtel.gz": (_FOUR, 1800.0000000004782),
}


def verify_stereo(data_dir: Path) -> dict[str, Any]:
    """Compare direction, core and height of the golden array events.

    Parameters
    ----------
    data_dir
        Folder with ``gamma/``.

    Returns
    -------
    dict
        ``ok``; ``events`` compared; ``columns``: for each the largest deviation and the one that is allowed.

    Raises
    ------
    DataError
        The file is missing or has another form.
    """
    path = data_dir / "gamma" / "golden" / "simtel_stereo_ctapipe-0.28.0.json"
    try:
        golden = [e for e in json.loads(path.read_text("utf-8")) if e["is_valid"]]
        largest = dict.fromkeys(LIMITS, 0.0)
        for event in golden:
            for name, apart in _deviations(event).items():
                largest[name] = max(largest[name], apart)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        msg = f"{path} cannot be compared with: {error!r}"
        raise DataError(msg, hint="point EVENTIDE_DATA at the folder that holds gamma/") from None
    return {
        "ok": len(golden) > 0 and all(largest[n] <= limit for n, limit in LIMITS.items()),
        "events": len(golden),
        "columns": {name: (largest[name], limit) for name, limit in LIMITS.items()},
    }


def _deviations(event: dict[str, Any]) -> dict[str, float]:
    places, height = _SITES[event["file"]]
    tels = event["telescopes"]
    shapes = {n: np.array([event["hillas"][str(t)][n] for t in tels], np.float64) for n in _COLUMNS}
    position = np.array([places[t - 1] for t in tels], np.float32).astype(np.float64)
    radius = np.array([_LARGE if t <= len(_FOUR) else _MEDIUM for t in tels])
    # The files have pointings as float32 radians.
    alt, az = (float(np.degrees(np.float64(np.float32(np.radians(event[f"array_{n}_deg"]))))) for n in ("alt", "az"))
    aims = {n: np.full(len(tels), v) for n, v in (("alt", alt), ("az", az))}
    images = Images(np.array([0, len(tels)]), **shapes, **aims, position=position, radius=radius)
    found = reconstruct(images, array_alt=alt, array_az=az, height=height)
    turn = (found.az[0] - event["az_deg"] + 180.0) % 360.0 - 180.0
    apart = {
        "alt": abs(found.alt[0] - event["alt_deg"]),
        "az": abs(turn),
        "core": np.hypot(found.core_x[0] - event["core_x_m"], found.core_y[0] - event["core_y_m"]),
        "h_max": abs(found.h_max[0] - event["h_max_m"]),
    }
    return {name: float("inf") if np.isnan(v) else float(v) for name, v in apart.items()}
