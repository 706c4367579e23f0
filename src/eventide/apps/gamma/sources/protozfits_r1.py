"""R1 events in protobuf-zfits files of CTAO's data model R1 v1 (needs ``pip install 'eventide[gamma-protozfits]'``).

Waveforms are calibrated already in such files: what is stored is (photo-electrons + offset) x scale. The window of
light is found as for other waveforms (`eventide.apps.gamma.calibration.calibrate`).

The library reads by C++ that does not check everything: a file that was damaged on purpose may end the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.calibration.calibrate import calibrate
from eventide.apps.gamma.calibration.readout import Readout, readout
from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.schema import from_stamps
from eventide.apps.gamma.sources._rows import image_row, images
from eventide.errors import DataError, MissingDependencyError

__all__ = ["read_r1"]

_STORED: Final = (0b0100, 0b1000)  # bits of the status of a pixel: its high gain is there, its low one
_MOST: Final = 1 << 28  # numbers of a waveform


def read_r1(
    path: str | Path, camera: Camera, *, rate: float = 1.0, rows: int = 100, extractor: str = "neighbor_peak"
) -> Iterator[pa.RecordBatch]:
    """Yield the events of one telescope's file as images (`DL1_IMAGE`), pixels in the order of the camera.

    Where the telescope pointed is not in such files: join the topic of pointings.

    Parameters
    ----------
    path
        ``.fits.fz`` with the tables DataStream, CameraConfiguration and Events.
    camera
        Its pixels, in the order of their numbers in the file's ``pixel_id_map``. Pixels that the file does not have,
        or of which an event stored no gain, get the mean of their neighbours.
    rate
        Samples in a ns.
    rows
        How many a batch has at most.
    extractor
        Of the window, see `calibrate`.

    Raises
    ------
    MissingDependencyError
        protozfits is not installed.
    DataError
        The file cannot be read, or an event does not fit the camera; the message says which.
    """
    try:
        from protozfits import File
    except ImportError:
        msg = "protobuf-zfits files are read with protozfits, which is not installed"
        raise MissingDependencyError(msg, hint="pip install 'eventide[gamma-protozfits]'") from None
    if not Path(path).is_file():
        msg = f"there is no file {path}"
        raise DataError(msg, hint="give a file of one telescope")
    waiting: list[dict[str, Any]] = []
    number = -1
    try:
        with File(str(path)) as file:
            stream, setup = file.DataStream[0], file.CameraConfiguration[0]
            pixels = _pixels(setup, camera)
            made: dict[bytes, Readout] = {}
            for event in file.Events:
                number = int(event.event_id)
                waiting.append(_row(event, stream, pixels, camera=camera, rate=rate, made=made, extractor=extractor))
                if len(waiting) >= rows:
                    yield images(waiting)
                    waiting = []
    except (DataError, GeneratorExit):
        raise
    except Exception as error:  # what the library raises is not documented
        msg = f"{path}, after event {number}: {type(error).__name__}: {error}"
        raise DataError(msg, hint="give a file of R1 v1, with DataStream, CameraConfiguration and Events") from error
    if waiting:
        yield images(waiting)


def _pixels(setup: Any, camera: Camera) -> npt.NDArray[np.int64]:
    """Return the pixel of the camera of each pixel of the file."""
    given = np.atleast_1d(np.asarray(setup.pixel_id_map, np.int64))
    count = int(setup.num_pixels)
    if given.size != count or not given.size or given.min() < 0 or given.max() >= camera.pixels:
        msg = f"the file has {count} pixels with {given.size} numbers up to {given.max(initial=-1)}"
        raise DataError(msg, hint=f"the camera {camera.name!r} has {camera.pixels} pixels, numbered from 0")
    if np.unique(given).size < given.size:
        msg = "the file has two pixels of one number"
        raise DataError(msg, hint="give a file of R1 v1")
    return given


def _row(
    event: Any,
    stream: Any,
    pixels: npt.NDArray[np.int64],
    *,
    camera: Camera,
    rate: float,
    made: dict[bytes, Readout],
    extractor: str,
) -> dict[str, Any]:
    gains, samples = int(event.num_channels), int(event.num_samples)
    flat = np.atleast_1d(np.asarray(event.waveform)).ravel()
    status = np.atleast_1d(np.asarray(event.pixel_status, np.uint8))
    fits = 1 <= gains <= 2 and samples >= 1 and gains * samples * camera.pixels <= _MOST
    if not fits or flat.size != gains * pixels.size * samples or status.size != pixels.size:
        msg = (
            f"event {event.event_id} has {flat.size} numbers for {gains} gains, {pixels.size} pixels, {samples} samples"
        )
        raise DataError(msg, hint="events with fewer pixels than the camera configuration says cannot be read")
    raw = np.zeros((1, gains, camera.pixels, samples), flat.dtype)
    raw[0, :, pixels] = flat.reshape(gains, pixels.size, samples).transpose(1, 0, 2)
    broken = np.ones((gains, camera.pixels), bool)
    for gain in range(gains):
        # With one channel a pixel has whichever gain was chosen for it.
        stored = status & (_STORED[gain] if gains == 2 else _STORED[0] | _STORED[1])
        broken[gain, pixels] = stored == 0
    key = bytes([gains]) + np.packbits(broken).tobytes()
    if key not in made:
        if len(made) > 1000:
            made.clear()
        made[key] = _readout(camera, stream, broken, rate=rate)
    found = calibrate(made[key], raw, extractor=extractor)
    time = from_stamps([int(event.event_time_s)], [int(event.event_time_qns)])[0]
    return image_row(
        time=int(time),
        obs_id=int(stream.obs_id),
        tel_id=int(event.tel_id) or int(stream.tel_id),
        event_id=int(event.event_id),
        kind=int(event.event_type),
        image=found.image[0],
        peak_time=found.peak_time[0],
        aim=None,
    )


def _readout(camera: Camera, stream: Any, broken: npt.NDArray[np.bool_], *, rate: float) -> Readout:
    scale, offset = float(stream.waveform_scale), float(stream.waveform_offset)
    if not (np.isfinite(scale) and scale > 0):
        msg = f"the file says that waveforms have the scale {scale}"
        raise DataError(msg, hint="give a file whose waveforms are calibrated")
    pedestal = np.full(broken.shape, offset * scale)
    return readout(camera, rate=rate, pedestal=pedestal, factor=1.0 / scale, broken=broken)
