"""Files of sim_telarray as streams: waveforms and the calibrations that the files have for them (needs eventio)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from eventide.apps.gamma.calibration.simtel import read_simtel
from eventide.apps.gamma.cameras.definitions import definition
from eventide.apps.gamma.schema import CALIBRATION, R1
from eventide.apps.gamma.slow_control.pixels import calibration_row
from eventide.apps.gamma.stereo.operator import POINTING
from eventide.model.time import instant

__all__ = ["SimtelStreams", "simtel_streams"]

_SECOND = 1_000_000_000
_TYPES = {"data": 32}  # ctapipe's number of a shower
_CALIBRATION = 254  # and of everything else


class SimtelStreams(NamedTuple):
    """Waveforms (`R1`), calibrations (`CALIBRATION`), and cameras as the text of a file of definitions.

    The camera of telescope 3 has the name ``3`` there: a kind of telescopes with it has the camera ``FILE#3``.
    """

    waveforms: pa.Table
    calibration: pa.Table
    definitions: str


def simtel_streams(path: str | Path, *, pointing: tuple[float, float], start: str = "2026-01-01") -> SimtelStreams:
    """Return what a file holds as streams.

    The array events of a file are a second apart, whenever they were simulated.

    Parameters
    ----------
    path
        A file of sim_telarray, compressed or not.
    pointing
        Altitude and azimuth of the telescopes, degrees.
    start
        Time of the first event.

    Raises
    ------
    MissingDependencyError
        eventio is not installed.
    DataError
        The file cannot be read.
    """
    first = instant(start)
    order: dict[int, int] = {}
    rows: list[dict[str, Any]] = []
    calibrations: list[dict[str, Any]] = []
    cameras: dict[str, dict[str, Any]] = {}
    for event in read_simtel(path):
        time = first + order.setdefault(event.event_id, len(order)) * _SECOND
        common = {"time": time, "obs_id": event.obs_id, "tel_id": event.tel_id, "tel_event_id": event.event_id}
        kind = _TYPES.get(event.kind, _CALIBRATION)
        aim = dict(zip(POINTING, pointing, strict=True))
        rows.append({**common, "event_type": kind, "waveform": event.raw.ravel(), **aim})
        calibrations.append(calibration_row(time, event.tel_id, event.readout))
        cameras.setdefault(str(event.tel_id), definition(event.readout.camera))
    return SimtelStreams(
        pa.Table.from_pylist(rows, schema=R1),
        pa.Table.from_pylist(calibrations, schema=CALIBRATION),
        json.dumps(cameras),
    )
