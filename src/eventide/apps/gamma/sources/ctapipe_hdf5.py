"""DL1 images of ctapipe's HDF5 files (``ctapipe-process --write-images``), read with h5py and without ctapipe.

Files of data model v6 and v7 are read. Blosc, with which ctapipe compresses, needs hdf5plugin: both are in
``pip install 'eventide[gamma-hdf5]'``. The array of a file is `eventide.apps.gamma.dl1.instrument.read_site`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.cameras.camera import MOST_PIXELS
from eventide.apps.gamma.dl1.tables import Table, Tables, opened
from eventide.apps.gamma.schema import DL1_IMAGE, from_stamps
from eventide.errors import DataError

__all__ = ["read_dl1"]

Array = npt.NDArray[Any]

_TRIGGER: Final = "/dl1/event/telescope/trigger"
_IMAGES: Final = "/dl1/event/telescope/images"
_MONITORED: Final = "/dl0/monitoring/telescope/pointing"
_FIXED: Final = "/configuration/telescope/pointing"


def read_dl1(path: str | Path, *, rows: int = 200) -> Iterator[pa.RecordBatch]:
    """Yield the images of a file (`DL1_IMAGE`), in the order of its events.

    ``tel_event_id`` is the number of the array event. Where a telescope pointed comes from the monitoring table
    (interpolated), or from the configuration, whichever the file has.

    Parameters
    ----------
    path
        A file of ctapipe with images.
    rows
        How many a batch has at most.

    Raises
    ------
    DataError
        The file cannot be read, or has no images; the message says which table.
    MissingDependencyError
        h5py, or astropy for the leap seconds, is not installed.
    """
    with opened(path) as tables:
        trigger = tables.table(_TRIGGER)
        obs, event, tel, time = trigger.read("obs_id", "event_id", "tel_id", "time")
        kind = trigger.read("event_type")[0] if "event_type" in trigger.names else np.full(obs.size, 32)
        if trigger.attribute(f"CTAFIELD_{trigger.names.index('time')}_TIME_FORMAT") != "ctao_high_res":
            msg = f"{trigger.where} has times of another form than seconds and quarters of a ns"
            raise DataError(msg, hint="write the file with ctapipe 0.24 or newer")
        if time.ndim != 2 or time.shape[1] != 2:
            msg = f"{trigger.where} has times of the shape {time.shape}"
            raise DataError(msg, hint="give a file as ctapipe writes it")
        times = from_stamps(time[:, 0], time[:, 1])
        seen = {
            number: _Telescope(tables, int(number), obs=obs[mine], event=event[mine], times=times[mine])
            for number, mine in ((n, tel == n) for n in np.unique(tel))
        }
        for start in range(0, obs.size, rows):
            some = slice(start, start + rows)
            yield _batch(seen, obs[some], event[some], tels=tel[some], times=times[some], kinds=kind[some])


def _batch(
    seen: dict[Any, _Telescope], obs: Array, event: Array, *, tels: Array, times: Array, kinds: Array
) -> pa.RecordBatch:
    parts: list[tuple[Array, tuple[Array, Array, Array, Array]]] = []
    for number in np.unique(tels):
        at = np.flatnonzero(tels == number)
        parts.append((at, seen[number].next(at.size)))
    sizes = np.zeros(tels.size, np.int64)
    for at, (light, *_) in parts:
        sizes[at] = light.shape[1]
    ends = np.concatenate(([0], np.cumsum(sizes)))
    flat = np.empty(ends[-1], np.float32), np.empty(ends[-1], np.float32)
    aims = np.full((2, tels.size), np.nan)
    for at, (light, peak, alt, az) in parts:
        place = ends[at][:, None] + np.arange(light.shape[1])
        flat[0][place], flat[1][place] = light, peak
        aims[:, at] = alt, az
    offsets = pa.array(ends.astype(np.int32))
    columns = {
        "time": pa.array(times).cast(DL1_IMAGE.field("time").type),
        "obs_id": pa.array(obs.astype(np.int64)),
        "tel_id": pa.array(tels.astype(np.int16)),
        "tel_event_id": pa.array(event.astype(np.int64)),
        "event_type": pa.array((kinds % 256).astype(np.uint8)),
        "image": pa.ListArray.from_arrays(offsets, pa.array(flat[0])),
        "peak_time": pa.ListArray.from_arrays(offsets, pa.array(flat[1])),
        "telescope_pointing_altitude": pa.array(aims[0], mask=np.isnan(aims[0])),
        "telescope_pointing_azimuth": pa.array(aims[1] % 360.0, mask=np.isnan(aims[1])),
    }
    return pa.RecordBatch.from_arrays([columns[f.name] for f in DL1_IMAGE], schema=DL1_IMAGE)


class _Telescope:
    """The images of a telescope, one after the other, and where it pointed."""

    def __init__(self, tables: Tables, number: int, *, obs: Array, event: Array, times: Array) -> None:
        self._table = tables.table(f"{_IMAGES}/tel_{number:03d}")
        self._obs, self._event, self._row = obs, event, 0
        if self._table.rows != obs.size:
            msg = f"{self._table.where} has {self._table.rows} rows, and there are {obs.size} triggers of the telescope"
            raise DataError(msg, hint="give a file with images of all events")
        self._alt, self._az = _pointing(tables, number, obs=obs, times=times)

    def next(self, count: int) -> tuple[Array, Array, Array, Array]:
        """Return the next images, peak times, altitudes and azimuths."""
        some = slice(self._row, self._row + count)
        self._row += count
        table = self._table
        names = ["obs_id", "event_id", "image"] + ["peak_time"] * ("peak_time" in table.names)
        obs, event, light, *peak = table.read(*names, start=some.start, stop=some.stop)
        if not (np.array_equal(obs, self._obs[some]) and np.array_equal(event, self._event[some])):
            msg = f"{table.where}: rows {some.start} to {some.stop} are of other events than the triggers"
            raise DataError(msg, hint="give a file as ctapipe writes it: images in the order of the triggers")
        if light.ndim != 2 or not 1 <= light.shape[1] <= MOST_PIXELS or (peak and peak[0].shape != light.shape):
            msg = f"{table.where} has images of the shape {light.shape[1:]}"
            raise DataError(msg, hint="a gain must have been selected: one number for each pixel")
        times = peak[0] if peak else np.full(light.shape, np.nan)
        return light.astype(np.float32), times.astype(np.float32), self._alt[some], self._az[some]


def _pointing(tables: Tables, number: int, *, obs: Array, times: Array) -> tuple[Array, Array]:
    """Return altitudes and azimuths, degrees; NaN where they are not known."""
    name = f"{_MONITORED}/tel_{number:03d}"
    if name in tables:
        table = tables.table(name)
        stamp, *angles = table.read("time", "altitude", "azimuth")
        if stamp.ndim != 2 or stamp.shape[1] != 2:
            msg = f"{table.where} has times of the shape {stamp.shape}"
            raise DataError(msg, hint="give a file as ctapipe writes it")
        known = from_stamps(stamp[:, 0], stamp[:, 1])
        alt, az = (_degrees(table, n, a) for n, a in zip(("altitude", "azimuth"), angles, strict=True))
        order = np.argsort(known, kind="stable")
        if not known.size:
            return np.full(times.size, np.nan), np.full(times.size, np.nan)
        since, at = (known[order] - known[order[0]]).astype(float), (times - known[order[0]]).astype(float)
        # Round by whole turns, so that 359 and 1 degrees are 2 apart.
        turned = np.degrees(np.unwrap(np.radians(az[order])))
        return tuple(np.interp(at, since, v, left=np.nan, right=np.nan) for v in (alt[order], turned))
    name = f"{_FIXED}/tel_{number:03d}"
    if name not in tables:
        return np.full(times.size, np.nan), np.full(times.size, np.nan)
    table = tables.table(name)
    names = [next((n for n in (f"telescope_pointing_{a}", a) if n in table.names), a) for a in ("altitude", "azimuth")]
    of, *angles = table.read("obs_id", *names)
    alt, az = (_degrees(table, n, a) for n, a in zip(names, angles, strict=True))
    order = np.argsort(of, kind="stable")
    if not of.size:
        return np.full(times.size, np.nan), np.full(times.size, np.nan)
    place = order[np.minimum(np.searchsorted(of[order], obs), of.size - 1)]
    found = of[place] == obs
    return np.where(found, alt[place], np.nan), np.where(found, az[place], np.nan)


def _degrees(table: Table, name: str, values: Array) -> Array:
    unit = table.unit(name)
    if unit not in {"rad", "deg"}:
        msg = f"{table.where} has {name} in {unit!r}"
        raise DataError(msg, hint="angles are in rad or deg")
    wide = np.asarray(values, np.float64)
    return np.degrees(wide) if unit == "rad" else wide
