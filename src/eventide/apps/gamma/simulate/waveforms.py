"""Waveforms of simulated images: what cameras with two gains would have read out."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.calibration.readout import Readout, readout
from eventide.apps.gamma.schema import CALIBRATION, R1
from eventide.apps.gamma.simulate.night import Night
from eventide.apps.gamma.site import Site
from eventide.apps.gamma.slow_control.pixels import calibration_row

__all__ = ["Waveforms", "camera_readout"]

FloatArray = npt.NDArray[np.float64]

_SAMPLES: Final = 40
_WIDTH: Final = 1.5  # ns, standard deviation of a pulse
_EARLY: Final = 5.0  # ns of samples before the first time at which light comes
_MOST: Final = 4095.0  # of a sample of the high gain


def camera_readout(site: Site, tel_id: int, *, seed: int) -> Readout:
    """Return how a telescope's camera reads out: two gains, a sample a ns; pedestals and gains differ by pixel.

    Parameters
    ----------
    site
        The array.
    tel_id
        Of which telescope.
    seed
        The same for the same camera.

    Examples
    --------
    >>> from eventide.apps.gamma.site import made
    >>> camera_readout(made(1), 1, seed=1).gains
    2
    """
    camera = site.cameras()[tel_id]
    random = np.random.default_rng([seed, tel_id])
    pedestal = random.normal(300.0, 5.0, (2, camera.pixels))
    factor = np.array([[0.02], [0.4]]) * random.normal(1.0, 0.03, (2, camera.pixels))
    steps = np.arange(0.0, 12 * _WIDTH, 0.25)
    pulse = np.exp(-0.5 * ((steps - 6 * _WIDTH) / _WIDTH) ** 2)
    shift = random.normal(_EARLY, 0.3, camera.pixels)
    return readout(
        camera, rate=1.0, pedestal=pedestal, factor=factor, time_shift=[shift, shift], pulse=[pulse, pulse],
        pulse_step=0.25,
    )  # fmt: skip


class Waveforms:
    """The waveforms of a night, and the calibration that turns them into its images again.

    The light of a pixel is a pulse at its peak time; its noise is in that light already, as it is in images. A sample
    is a whole number of counts, and the high gain ends at 4,095.

    Parameters
    ----------
    night
        The night.
    seed
        The same for the same cameras.

    Examples
    --------
    >>> from eventide.apps.gamma.site import made
    >>> camera = Waveforms(Night(made(2), seed=1, hadrons=60.0))
    >>> rows = camera.second(0)
    >>> rows.schema == R1, len(rows.column("waveform")[0]) == 2 * 1855 * 40, camera.calibration().num_rows
    (True, True, 2)
    """

    def __init__(self, night: Night, *, seed: int = 1) -> None:
        self._night = night
        self._cameras = {t.tel_id: camera_readout(night.site, t.tel_id, seed=seed) for t in night.site.telescopes}

    def second(self, number: int) -> pa.RecordBatch:
        """Return the waveforms (`R1`) of a second in order of arrival."""
        images = self._night.second(number)
        tels = images.column("tel_id").to_pylist()
        rows = [
            self._waveform(tel, image.values.to_numpy(), times.values.to_numpy())
            for tel, image, times in zip(tels, images.column("image"), images.column("peak_time"), strict=True)
        ]
        ends = np.concatenate(([0], np.cumsum([row.size for row in rows], dtype=np.int64))).astype(np.int32)
        flat = np.concatenate([*rows, np.empty(0, np.uint16)])
        column = pa.ListArray.from_arrays(pa.array(ends), pa.array(flat))
        arrays = [column if f.name == "waveform" else images.column(f.name) for f in R1]
        return pa.RecordBatch.from_arrays(arrays, schema=R1)

    def calibration(self, number: int = 0) -> pa.RecordBatch:
        """Return the calibrations (`CALIBRATION`), in force from a second before the night on; `number` is not used."""
        time = self._night.start - 1_000_000_000
        kinds = {t.tel_id: self._night.site.kind(t.kind) for t in self._night.site.telescopes}
        rows = [
            calibration_row(time, tel, given, noise=np.full(given.camera.pixels, kinds[tel].noise))
            for tel, given in self._cameras.items()
        ]
        return pa.RecordBatch.from_pylist(rows, schema=CALIBRATION)

    def _waveform(
        self, tel: int, image: npt.NDArray[np.float32], times: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.uint16]:
        given = self._cameras[tel]
        # The pulse of a late pixel comes late; the calibration takes that off again.
        at = times.astype(np.float64) + given.time_shift[0]
        pulse = np.exp(-0.5 * ((np.arange(_SAMPLES)[None] - at[:, None]) / _WIDTH) ** 2)
        pulse /= pulse.sum(axis=1, keepdims=True)
        counts = given.pedestal[..., None] + (image[:, None] * pulse)[None] / given.factor[..., None]
        counts[0] = np.minimum(counts[0], _MOST)
        out: npt.NDArray[np.uint16] = np.clip(np.rint(counts), 0, 65535).astype(np.uint16).ravel()
        return out
