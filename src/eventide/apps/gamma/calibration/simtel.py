"""Waveforms and calibrations from files of sim_telarray (needs eventio: ``pip install 'eventide[gamma-simtel]'``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.calibration.readout import Readout, readout
from eventide.apps.gamma.cameras.camera import Camera, camera
from eventide.errors import DataError, MissingDependencyError

__all__ = ["TelescopeEvent", "read_simtel"]

_SHAPES = {0: "circle", 1: "hexagon", 2: "square", 3: "hexagon"}


@dataclass(frozen=True, slots=True)
class TelescopeEvent:
    """One telescope's part of an array event."""

    obs_id: int
    event_id: int
    tel_id: int
    kind: str
    readout: Readout
    raw: npt.NDArray[np.uint16] = field(repr=False)


def read_simtel(path: str | Path) -> Iterator[TelescopeEvent]:
    """Yield what telescopes saw, in the order of the file, with the calibration that the file has for it.

    Pixel positions are rotated into the frame of the camera. A pixel without high voltage counts as broken.

    Parameters
    ----------
    path
        A file of sim_telarray, compressed or not.

    Raises
    ------
    MissingDependencyError
        eventio is not installed.
    DataError
        The file cannot be read.
    """
    try:
        import eventio
    except ImportError:
        msg = "files of sim_telarray are read with eventio, which is not installed"
        raise MissingDependencyError(msg, hint="pip install 'eventide[gamma-simtel]'") from None
    try:
        with eventio.SimTelFile(str(path)) as file:
            if file.header is None or not file.telescope_descriptions:
                msg = f"{path} has no telescopes"
                raise DataError(msg, hint="give a file as sim_telarray writes it")
            cameras = {tel: _camera(tel, found) for tel, found in file.telescope_descriptions.items()}
            for event in file:
                for tel, part in sorted(event["telescope_events"].items()):
                    raw = part.get("adc_samples")
                    if raw is None:  # sums instead of samples
                        raw = part["adc_sums"][..., None]
                    yield TelescopeEvent(
                        int(file.header["run"]), int(event["event_id"]), int(tel), str(event["type"]),
                        _readout(cameras[tel], file.telescope_descriptions[tel], event, tel=tel), raw,
                    )  # fmt: skip
    except DataError:
        raise
    except Exception as error:  # what a damaged file makes the parser raise is not documented
        msg = f"{path} cannot be read as a file of sim_telarray: {type(error).__name__}: {error}"
        raise DataError(msg, hint="give a file as sim_telarray writes it") from error


def _camera(tel: int, found: dict[str, Any]) -> Camera:
    given = found["camera_settings"]
    turn = float(given["cam_rot"])
    x, y = (np.asarray(given[name], np.float64) for name in ("pixel_x", "pixel_y"))
    shape = _SHAPES.get(int(given["pixel_shape"][0]), "hexagon")
    cos, sin = np.cos(turn), np.sin(turn)
    return camera(f"telescope {tel}", x * cos - y * sin, x * sin + y * cos, area=given["pixel_area"], shape=shape)


def _readout(made: Camera, found: dict[str, Any], event: dict[str, Any], *, tel: int) -> Readout:
    monitored, laser = event["camera_monitorings"][tel], event["laser_calibrations"][tel]
    settings = found["pixel_settings"]
    broken = np.zeros(made.pixels, bool)
    broken[found["disabled_pixels"]["HV_disabled"]] = True
    return readout(
        made,
        rate=1.0 / float(settings["time_slice"]),
        pedestal=monitored["pedestal"] / monitored["n_ped_slices"],
        factor=laser["calib"],
        time_shift=laser["tm_calib"],
        broken=broken,
        pulse=settings["ref_shape"],
        pulse_step=float(settings["ref_step"]),
    )
