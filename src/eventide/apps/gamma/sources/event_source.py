"""Whatever an EventSource of ctapipe reads, as images (needs ctapipe: ``pip install 'eventide[gamma-ctapipe]'``).

ctapipe finds the plug-in for a file (sim_telarray, its own HDF5, LST, NectarCam, ...). Where a file has images they are
taken as they are, else ctapipe's own calibration makes them of the waveforms. That goes event by event in Python, some
hundred images a second: for files, not for a live array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eventide.apps.gamma.sources._rows import image_row, images
from eventide.errors import DataError, MissingDependencyError

__all__ = ["read_event_source"]

_MJD_1970 = 40_587
_DAY = 86_400_000_000_000


def read_event_source(
    path: str | Path, *, rows: int = 200, options: Mapping[str, Any] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the images of a file that ctapipe reads (`DL1_IMAGE`), event by event, in each by telescope.

    ``tel_event_id`` is the number of the array event.

    Parameters
    ----------
    path
        The file.
    rows
        How many a batch has at most.
    options
        For the source, such as ``{"focal_length_choice": "EQUIVALENT", "max_events": 100}``.

    Raises
    ------
    MissingDependencyError
        ctapipe is not installed.
    DataError
        ctapipe cannot read the file; the message has its reason.
    """
    try:
        from ctapipe.calib import CameraCalibrator
        from ctapipe.io import EventSource
    except ImportError:
        msg = "files by the plug-ins of ctapipe need ctapipe, which is not installed"
        raise MissingDependencyError(msg, hint="pip install 'eventide[gamma-ctapipe]'") from None
    waiting: list[dict[str, Any]] = []
    try:
        with EventSource(str(path), **(options or {})) as source:
            calibrate = CameraCalibrator(subarray=source.subarray)
            for event in source:
                if not any(camera.image is not None for camera in event.dl1.tel.values()):
                    calibrate(event)
                waiting += _rows(event)
                while len(waiting) >= rows:
                    yield images(waiting[:rows])
                    waiting = waiting[rows:]
    except (DataError, GeneratorExit):
        raise
    except Exception as error:  # plug-ins raise what they like
        msg = f"ctapipe cannot read {path}: {type(error).__name__}: {error}"
        raise DataError(msg, hint="try `ctapipe-process` on it; its options are given as options={...}") from error
    if waiting:
        yield images(waiting)


def _rows(event: Any) -> list[dict[str, Any]]:
    out = []
    for tel, camera in sorted(event.dl1.tel.items()):
        light = camera.image
        if light is None:
            continue
        if np.ndim(light) != 1:
            msg = f"telescope {tel} has an image of the shape {np.shape(light)} in event {event.index.event_id}"
            raise DataError(msg, hint="a gain must be selected: skip calibration events of two gains")
        when = event.trigger.tel[tel].time if tel in event.trigger.tel else event.trigger.time
        pointing = event.monitoring.tel[tel].pointing
        aim = tuple(float(getattr(pointing, n).to_value("deg")) for n in ("altitude", "azimuth"))
        kind = getattr(event.trigger.event_type, "value", event.trigger.event_type)
        out.append(
            image_row(
                time=_utc(when),
                obs_id=int(event.index.obs_id),
                tel_id=int(tel),
                event_id=int(event.index.event_id),
                kind=int(kind),
                image=light,
                peak_time=camera.peak_time,
                aim=(aim[0], aim[1]),
            )
        )
    return out


def _utc(time: Any) -> int:
    """Return a time of astropy as ns since 1970-01-01 UTC; a leap second is one with the second after it."""
    utc = time.utc
    # Both parts of a time apart: together they are good to 80 ns only.
    whole = int(np.floor(utc.jd1 - 2_400_000.5 - _MJD_1970))
    rest = (utc.jd1 - 2_400_000.5 - _MJD_1970 - whole) + utc.jd2
    out: int = whole * _DAY + min(round(float(rest) * _DAY), _DAY)
    return out
