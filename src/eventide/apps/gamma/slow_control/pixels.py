"""Calibrations in force: waveforms to images, dead pixels to the mean of their neighbours."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps.gamma.calibration.broken import mend
from eventide.apps.gamma.calibration.calibrate import calibrate
from eventide.apps.gamma.calibration.readout import Readout, readout
from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.site import Site
from eventide.apps.gamma.slow_control.streams import CALIBRATION, Checked, in_force
from eventide.errors import DataError
from eventide.model.stream import Stream

__all__ = ["calibrated", "calibration_row", "mended"]

_SINCE: Final = "slow_calibrated"
_LISTS: Final = ("dead", "noise", "pedestal", "factor", "time_shift", "pulse")


def mended(images: Stream, calibration: Stream, site: Site, *, max_dead: float = 0.2) -> Checked:
    """Give dead pixels of images the mean of their neighbours, as of the calibration in force.

    Parameters
    ----------
    images
        ``tel_id``, ``image`` and ``peak_time`` with event time; as they are before the first calibration.
    calibration
        `eventide.apps.gamma.slow_control.streams.CALIBRATION` with event time.
    site
        The array.
    max_dead
        Share of the pixels that may be dead: images with more are left out, ``too many dead pixels``.

    Returns
    -------
    Checked
        Images have the column ``noise`` of their calibration.
    """
    columns = {"dead": "slow_dead", "noise": "noise"}
    both, late = in_force(images, calibration, columns)
    share = pl.col("slow_dead").list.len() / pl.col("tel_id").replace_strict(_pixels(site), default=None)
    bad = (share > max_dead).fill_null(value=False)
    lost = both.filter(bad, name="dead").with_columns(reason=pl.lit("too many dead pixels"), name="why-dead")
    function = functools.partial(_mended, site=site)
    return Checked(both.filter(~bad, name="alive").map_batches(function, name="mend"), lost, late)


def calibrated(
    waveforms: Stream,
    calibration: Stream,
    site: Site,
    *,
    schema: pa.Schema,
    max_dead: float = 0.2,
    extractor: str = "neighbor_peak",
) -> Checked:
    """Make images of waveforms, with the calibration in force at their time.

    Parameters
    ----------
    waveforms
        Images without ``image`` and ``peak_time``, with ``waveform``: counts as one list, gain after gain, pixel after
        pixel, sample after sample.
    calibration
        `eventide.apps.gamma.slow_control.streams.CALIBRATION` with event time.
    site
        The array.
    schema
        Of images.
    max_dead
        Share of the pixels that may be dead.
    extractor
        Where the light of a pixel is looked for: `eventide.apps.gamma.calibration.calibrate.EXTRACTORS`.

    Returns
    -------
    Checked
        Images; those left out because of ``no calibration``, ``calibration of another camera``, ``waveform of another
        camera`` or ``too many dead pixels``.
    """
    columns = {name: f"slow_{name}" for name in CALIBRATION.names if name not in ("time", "tel_id")}
    both, late = in_force(waveforms, calibration, {**columns, calibration.time: _SINCE})
    out = pa.schema([*schema, pa.field("noise", CALIBRATION.field("noise").type), pa.field("reason", pa.string())])
    function = functools.partial(_calibrated, site=site, max_dead=max_dead, extractor=extractor, schema=out)
    judged = both.map_batches(function, schema=out, name="calibrate")
    good = judged.filter(pl.col("reason").is_null(), name="calibrated").select(
        pl.exclude("reason"), name="calibrated-images"
    )
    return Checked(good, judged.filter(pl.col("reason").is_not_null(), name="uncalibrated"), late)


def calibration_row(time: int, tel_id: int, given: Readout, *, noise: npt.ArrayLike | None = None) -> dict[str, Any]:
    """Return a row of `eventide.apps.gamma.slow_control.streams.CALIBRATION`.

    Parameters
    ----------
    time
        From when on it is in force, ns.
    tel_id
        Of which telescope.
    given
        What turns its counts into photo-electrons; pixels broken in any gain count as dead.
    noise
        Photo-electrons of the night sky in each pixel.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> camera = hexagonal(3, pitch=0.1)
    >>> given = readout(camera, rate=1.0, pedestal=[300.0] * 3, factor=0.5, broken=[False, True, False])
    >>> calibration_row(0, 1, given)["dead"]
    [1]
    """
    return {
        "time": time,
        "tel_id": tel_id,
        "dead": np.flatnonzero(given.broken.any(axis=0)).tolist(),
        "noise": None if noise is None else np.asarray(noise, np.float32).tolist(),
        "rate": given.rate,
        "pedestal": given.pedestal.ravel().tolist(),
        "factor": given.factor.ravel().tolist(),
        "time_shift": given.time_shift.ravel().tolist(),
        "pulse": None if given.pulse is None else given.pulse.ravel().tolist(),
        "pulse_step": given.pulse_step,
    }


def _pixels(site: Site) -> dict[int, int]:
    return {tel: camera.pixels for tel, camera in site.cameras().items()}


def _mended(batch: pa.RecordBatch, *, site: Site) -> pa.RecordBatch:
    """Return images, mended, without the list of dead pixels."""
    dead = batch.column("slow_dead")
    rest = [name for name in batch.schema.names if name != "slow_dead"]
    some = np.flatnonzero(pc.list_value_length(dead).fill_null(0).to_numpy() > 0)
    made = {name: batch.column(name) for name in rest}
    cameras = site.cameras()
    for name in ("image", "peak_time"):
        column = made.get(name)
        if column is None or not some.size:
            continue
        column = column.cast(pa.list_(pa.float32()))
        offsets, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False).copy()
        for row in some.tolist():
            camera = cameras.get(batch.column("tel_id")[row].as_py())
            begin, end = offsets[row], offsets[row + 1]
            if camera is None or end - begin != camera.pixels:
                continue  # told apart later, as of another camera
            mend(camera, values[None, begin:end], _broken(camera, dead[row].values))
        nulls = column.is_null() if column.null_count else None
        made[name] = pa.ListArray.from_arrays(column.offsets, pa.array(values), mask=nulls)
    return pa.RecordBatch.from_arrays(list(made.values()), names=rest)


def _broken(camera: Camera, dead: pa.Array) -> npt.NDArray[np.bool_]:
    at = dead.drop_null().cast(pa.int64()).to_numpy()
    out = np.zeros(camera.pixels, bool)
    out[at[(at >= 0) & (at < camera.pixels)]] = True
    return out


def _calibrated(
    batch: pa.RecordBatch, *, site: Site, max_dead: float, extractor: str, schema: pa.Schema
) -> pa.RecordBatch:
    cameras = site.cameras()
    lists = batch.column("waveform")
    count = batch.num_rows
    reason: list[str | None] = [None] * count
    images: list[Any] = [None] * count
    times: list[Any] = [None] * count
    for tel, rows in _alike(batch):
        camera = cameras.get(tel)
        given, why = _readout(camera, batch, rows[0], max_dead=max_dead)
        for row in rows:
            reason[row] = why
        if given is None:
            continue
        size = given.gains * given.camera.pixels
        lengths = pc.list_value_length(lists.take(pa.array(rows))).fill_null(0).to_numpy()
        whole = np.array([lists[row].is_valid and not lists[row].values.null_count for row in rows])
        fits = (lengths > 0) & (lengths % size == 0) & whole
        for row in np.asarray(rows)[~fits].tolist():
            reason[row] = "waveform of another camera"
        for length in np.unique(lengths[fits]).tolist():
            mine = np.asarray(rows)[fits & (lengths == length)]
            flat = lists.take(pa.array(mine)).flatten().to_numpy()
            raw = flat.reshape(mine.size, given.gains, given.camera.pixels, length // size)
            found = calibrate(given, raw, extractor=extractor)
            for row, image, time in zip(mine.tolist(), found.image, found.peak_time, strict=True):
                images[row], times[row] = image, time
    columns = {"image": pa.array(images, pa.list_(pa.float32())), "peak_time": pa.array(times, pa.list_(pa.float32()))}
    columns |= {"reason": pa.array(reason, pa.string()), "noise": batch.column("slow_noise")}
    arrays = [columns[f.name] if f.name in columns else batch.column(f.name) for f in schema]
    return pa.RecordBatch.from_arrays([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema)


def _alike(batch: pa.RecordBatch) -> Iterator[tuple[int, list[int]]]:
    """Yield telescopes and the rows that one calibration of theirs is for."""
    tels = batch.column("tel_id").cast(pa.int64()).fill_null(-1).to_numpy()
    since = batch.column(_SINCE).cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
    for tel, time in sorted(set(zip(tels.tolist(), since.tolist(), strict=True))):
        yield tel, np.flatnonzero((tels == tel) & (since == time)).tolist()


def _readout(
    camera: Camera | None, batch: pa.RecordBatch, row: int, *, max_dead: float
) -> tuple[Readout | None, str | None]:
    """Return the calibration of a row, or why there is none."""
    if camera is None:
        return None, "no such telescope"
    values = {n: batch.column(f"slow_{n}")[row] for n in CALIBRATION.names if n not in ("time", "tel_id")}
    if not values["pedestal"].is_valid or not values["factor"].is_valid or not values["rate"].is_valid:
        return None, "no calibration"
    arrays = {n: values[n].values.to_numpy(zero_copy_only=False) for n in _LISTS if values[n].is_valid}
    gains = max(arrays["pedestal"].size // camera.pixels, 1)
    broken = _broken(camera, values["dead"].values) if values["dead"].is_valid else np.zeros(camera.pixels, bool)
    if broken.sum() > max_dead * camera.pixels:
        return None, "too many dead pixels"
    pulse = arrays.get("pulse")
    try:
        return readout(
            camera,
            rate=values["rate"].as_py(),
            pedestal=arrays["pedestal"].reshape(gains, camera.pixels),
            factor=arrays["factor"].reshape(gains, camera.pixels),
            time_shift=arrays["time_shift"].reshape(gains, camera.pixels) if "time_shift" in arrays else 0.0,
            broken=broken,
            pulse=None if pulse is None else pulse.reshape(gains, -1),
            pulse_step=values["pulse_step"].as_py() or 1.0,
        ), None
    except (ValueError, DataError):
        return None, "calibration of another camera"
