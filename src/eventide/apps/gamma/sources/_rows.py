"""Rows of images, made one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.model.time import EVENT_TIME

__all__ = ["image_row", "images"]


def image_row(
    *,
    time: int,
    obs_id: int,
    tel_id: int,
    event_id: int,
    kind: int,
    image: npt.ArrayLike,
    peak_time: npt.ArrayLike | None,
    aim: tuple[float, float] | None,
) -> dict[str, Any]:
    """Return a row of `DL1_IMAGE`; `aim` is altitude and azimuth, degrees."""
    known = aim is not None and bool(np.isfinite(aim).all())
    return {
        "time": time,
        "obs_id": obs_id,
        "tel_id": tel_id,
        "tel_event_id": event_id,
        "event_type": kind & 0xFF,
        "image": np.asarray(image, np.float32),
        "peak_time": None if peak_time is None else np.asarray(peak_time, np.float32),
        "telescope_pointing_altitude": float(aim[0]) if known and aim else None,
        "telescope_pointing_azimuth": float(aim[1]) % 360.0 if known and aim else None,
    }


def images(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Return rows as a batch of `DL1_IMAGE`."""
    made = {
        f.name: pa.array([r[f.name] for r in rows], pa.int64() if f.type == EVENT_TIME else f.type) for f in DL1_IMAGE
    }
    return pa.RecordBatch.from_arrays([made[f.name].cast(f.type) for f in DL1_IMAGE], schema=DL1_IMAGE)
