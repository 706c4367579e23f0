"""Waveforms and calibrations from files of sim_telarray (needs eventio: ``pip install 'eventide[gamma-simtel]'``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eventide.apps.gamma.calibration.readout import Readout, readout
from eventide.apps.gamma.cameras.camera import Camera, camera
from eventide.errors import DataError, MissingDependencyError

__all__ = ["TelescopeEvent", "opened", "read_simtel", "simtel_camera"]

_SHAPES = {0: "circle", 1: "hexagon", 2: "square", 3: "hexagon"}
_SECOND: Final = 1_000_000_000
_SHOWER, _OTHER = 32, 15  # ctapipe's numbers of types of events
_CALIBRATIONS: Final = {0: 3, 1: 5, 2: 1, 3: 0}
"""The file's types of calibration as ctapipe's types of events: dark, pedestal, single photo-electrons, flat field."""


@dataclass(frozen=True, slots=True)
class TelescopeEvent:
    """One telescope's part of an array event.

    Attributes
    ----------
    obs_id, event_id, tel_id
        Numbers of the run, of the array event and of the telescope.
    kind
        ``data`` or ``calibration``.
    event_type
        As in ctapipe: 32 for a shower.
    time
        Of the telescope's trigger, ns since 1970-01-01 UTC: when it was simulated. Calibration events have none: they
        follow the beginning of the run, a second apart.
    aim
        Altitude and azimuth, degrees.
    readout, raw
        The calibration, and the waveforms: gains, pixels, samples.
    """

    obs_id: int
    event_id: int
    tel_id: int
    kind: str
    event_type: int
    time: int
    aim: tuple[float, float]
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
    with opened(path) as file:
        cameras = {tel: simtel_camera(tel, found) for tel, found in file.telescope_descriptions.items()}
        for number, event in enumerate(file):
            trigger = event["trigger_information"]
            shift = dict(zip(trigger["triggered_telescopes"], trigger["trigger_times"], strict=True))
            seconds, rest = (int(v) for v in trigger["gps_time"])
            central = seconds * _SECOND + rest or (int(file.header["time"]) + number) * _SECOND
            for tel, part in sorted(event["telescope_events"].items()):
                raw = part.get("adc_samples")
                if raw is None:  # sums instead of samples
                    raw = part["adc_sums"][..., None]
                aim = event["tracking_positions"][tel]
                alt, az = (float(np.degrees(aim[f"{axis}_raw"])) for axis in ("altitude", "azimuth"))
                yield TelescopeEvent(
                    obs_id=int(file.header["run"]),
                    event_id=int(event["event_id"]),
                    tel_id=int(tel),
                    kind=str(event["type"]),
                    event_type=_event_type(event),
                    time=central + round(float(shift.get(tel, 0.0))),
                    aim=(alt, az),
                    readout=_readout(cameras[tel], file.telescope_descriptions[tel], event, tel=tel),
                    raw=raw,
                )


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Open a file of sim_telarray, as a `eventio.SimTelFile`; whatever goes wrong inside of ``with`` is a `DataError`.

    Raises
    ------
    MissingDependencyError
        eventio is not installed.
    DataError
        The file cannot be read, or has no telescopes.
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
            yield file
    except DataError:
        raise
    except Exception as error:  # what a damaged file makes the parser raise is not documented
        msg = f"{path} cannot be read as a file of sim_telarray: {type(error).__name__}: {error}"
        raise DataError(msg, hint="give a file as sim_telarray writes it") from error


def _event_type(event: dict[str, Any]) -> int:
    return _SHOWER if event["type"] == "data" else _CALIBRATIONS.get(event.get("calibration_type", -1), _OTHER)


def simtel_camera(tel: int, found: dict[str, Any]) -> Camera:
    """Return the camera of a telescope, by what the file says of it; positions are turned into the camera's frame.

    Parameters
    ----------
    tel
        Number of the telescope.
    found
        One of the file's ``telescope_descriptions``.
    """
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
