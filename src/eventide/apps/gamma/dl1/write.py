"""Results as a file of ctapipe: DL1 images and parameters, and DL2, that its ``TableLoader`` opens."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps.gamma.cleaning.tailcuts import tailcuts
from eventide.apps.gamma.dl1.instrument import write_instrument
from eventide.apps.gamma.dl1.tables import Column, h5py_for, write_attributes, write_table
from eventide.apps.gamma.numbers import numbers_of
from eventide.apps.gamma.parameters.columns import GROUPS, UNIT_DEGREES
from eventide.apps.gamma.parameters.measure import measure
from eventide.apps.gamma.schema import DL2_EVENT, DL2_TEL, stamps
from eventide.apps.gamma.site import Site, camera_of
from eventide.apps.gamma.stereo.operator import POINTING
from eventide.errors import DataError, SchemaError, near_names
from eventide.model.time import format_time

__all__ = ["MODEL", "write_ctapipe"]

MODEL: Final = "v7.1.0"
"""The version of ctapipe's data model that is written."""

Array = npt.NDArray[Any]

_GEOMETRY: Final = "HillasReconstructor"
_OURS: Final = "eventide"
_IN_DEGREES: Final = {"fov_lon", "fov_lat", "r", "length", "length_uncertainty", "width", "width_uncertainty"} | {
    *UNIT_DEGREES, "transverse_cog_uncertainty",
}  # fmt: skip
_RENAMED: Final = {"hillas_x": "hillas_fov_lon", "hillas_y": "hillas_fov_lat"}


def _column(group: str, name: str) -> str:
    return _RENAMED.get(f"{group}_{name}", f"{group}_{name}")


_PARAMETERS: Final = [_column(group, name) for group, names in GROUPS.items() for name in names]
_STEREO: Final = {
    "alt": "deg", "alt_uncert": "deg", "az": "deg", "az_uncert": "deg", "ang_distance_uncert": "deg",
    "core_x": "m", "core_y": "m", "core_uncert_x": "m", "core_uncert_y": "m", "core_tilted_x": "m",
    "core_tilted_y": "m", "core_tilted_uncert_x": "m", "core_tilted_uncert_y": "m", "h_max": "m", "h_max_uncert": "m",
    "is_valid": "", "average_intensity": "", "goodness_of_fit": "", "telescopes": "",
}  # fmt: skip


def write_ctapipe(
    path: str | Path, site: Site, *, parameters: pa.Table, events: pa.Table, images: pa.Table | None = None
) -> int:
    """Write parameters, and images where given, and reconstructed events; the file is there whole or not at all.

    Parameters
    ----------
    path
        Where to, such as ``night.dl2.h5``.
    site
        The array.
    parameters
        `DL2_TEL`, the topic ``parameters``.
    events
        `DL2_EVENT`, the topic ``events``: one for each event of `parameters`.
    images
        `DL1_IMAGE`, the topic ``images``, in any order, with those of `parameters` among them. Masks are those of tail
        cuts with the thresholds of the array, and must have as many pixels as the parameters say. Groups that
        `parameters` do not have (timing, statistics of peak times and of light) are measured of them.

    Returns
    -------
    The number of events written: those that are in both.

    Raises
    ------
    SchemaError
        A column is missing.
    DataError
        There are images of telescopes that the array does not have, an image is missing or was cleaned otherwise, or
        a telescope has two images of one event.
    MissingDependencyError
        h5py or astropy (which has the leap seconds) is not installed.

    Notes
    -----
    Numbers of events are int64, as those of this application are (ctapipe's are, too). What is not known (pulse shapes,
    mirrors, muons, true showers; without images the groups that `parameters` do not have) is not in the file, or
    unknown there. Enumerations are numbers, without the pickled class that ctapipe puts beside them.
    """
    for table, schema, what in ((parameters, DL2_TEL, "parameters"), (events, DL2_EVENT, "events")):
        _need(table, schema.names, what)
    h5py = h5py_for("files of ctapipe")
    tels, showers = _matched(parameters, events)
    known = np.array([t.tel_id for t in site.telescopes])
    strange = set(tels["tel_id"].to_pylist()) - set(known.tolist())
    if strange:
        msg = f"there are images of telescopes {sorted(strange)[:10]}, which {site.name} does not have"
        raise DataError(msg, hint="give the array that the images were analysed with")
    place = Path(path)
    part = place.with_name(place.name + ".part")
    try:
        with h5py.File(part, "w") as file:
            _write_head(file, site, showers, levels=images is not None)
            write_instrument(file, site)
            _write_triggers(file, tels, showers, known=known)
            _write_telescopes(file, site, tels, images=images)
            _write_showers(file, showers, known)
        with part.open("rb+") as whole:
            os.fsync(whole.fileno())
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
    return int(showers.num_rows)


def _need(table: pa.Table, names: list[str], what: str) -> None:
    missing = [n for n in names if n not in table.schema.names]
    if missing:
        msg = f"{what} lack the column {missing[0]!r}"
        raise SchemaError(msg, hint=near_names(missing[0], table.schema.names))


def _matched(parameters: pa.Table, events: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return images and events that belong together, by their numbers (which are times), images by telescope."""
    showers = events.sort_by([("event_id", "ascending")])
    shower_ids, tel_ids = showers["event_id"], parameters["event_id"]
    showers = showers.filter(pc.is_in(shower_ids, value_set=tel_ids.combine_chunks()))
    tels = parameters.filter(pc.is_in(tel_ids, value_set=shower_ids.combine_chunks()))
    tels = tels.sort_by([("event_id", "ascending"), ("tel_id", "ascending")])
    ids, numbers = _whole(tels, "event_id"), _whole(tels, "tel_id")
    twice = np.flatnonzero((np.diff(ids) == 0) & (np.diff(numbers) == 0))
    alone = pc.count_distinct(showers["event_id"]).as_py() < showers.num_rows
    if twice.size or alone:
        msg = (
            f"telescope {numbers[twice[0]]} has two images of event {ids[twice[0]]}" if twice.size else "events repeat"
        )
        raise DataError(msg, hint="give the topics of one run of the pipeline")
    # An event that could not be reconstructed has no number of the observation: its images have.
    first = np.searchsorted(ids, _whole(showers, "event_id"))
    runs = pa.array(_whole(tels, "obs_id")[first])
    showers = showers.set_column(showers.schema.get_field_index("obs_id"), "obs_id", runs)
    return tels.combine_chunks(), showers.combine_chunks()


def _whole(table: pa.Table, name: str, kind: Any = np.int64) -> Array:
    """Return a column as whole numbers, times as ns; 0 where it is null."""
    column = table[name]
    if pa.types.is_timestamp(column.type) or pa.types.is_boolean(column.type):
        column = column.cast(pa.int64())
    return np.asarray(column.fill_null(0).to_numpy()).astype(kind)


def _write_head(file: Any, site: Site, showers: pa.Table, *, levels: bool) -> None:
    times = _whole(showers, "event_time")
    first = format_time(int(times[0])).rstrip("Z") if times.size else "1970-01-01T00:00:00"
    said = {
        "CLASS": "GROUP", "TITLE": "", "VERSION": "1.0", "PYTABLES_FORMAT_VERSION": "2.1", "CTA REFERENCE VERSION": "1",
        "CTA CONTACT NAME": "unknown", "CTA CONTACT EMAIL": "unknown", "CTA CONTACT ORGANIZATION": "unknown",
        "CTA PRODUCT DESCRIPTION": "eventide gamma", "CTA PRODUCT CREATION TIME": first,
        "CTA PRODUCT ID": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{site.name} {first} {showers.num_rows}")),
        "CTA PRODUCT DATA CATEGORY": "Other", "CTA PRODUCT DATA ASSOCIATION": "Subarray",
        "CTA PRODUCT DATA LEVELS": "DL1_IMAGES,DL1_PARAMETERS,DL2" if levels else "DL1_PARAMETERS,DL2",
        "CTA PRODUCT DATA MODEL NAME": "ASWG", "CTA PRODUCT DATA MODEL VERSION": MODEL,
        "CTA PRODUCT DATA MODEL URL": "", "CTA PRODUCT FORMAT": "hdf5", "CTA PROCESS TYPE": "Observation",
        "CTA PROCESS SUBTYPE": "", "CTA PROCESS ID": "", "CTA ACTIVITY NAME": "eventide gamma",
        "CTA ACTIVITY TYPE": "software", "CTA ACTIVITY ID": "",
        "CTA ACTIVITY START TIME": first, "CTA ACTIVITY STOP TIME": first,
        "CTA ACTIVITY SOFTWARE NAME": "eventide", "CTA ACTIVITY SOFTWARE VERSION": "0.1",
        "CTA INSTRUMENT SITE": "Other", "CTA INSTRUMENT CLASS": "Subarray", "CTA INSTRUMENT TYPE": "unspecified",
        "CTA INSTRUMENT SUBTYPE": "unspecified", "CTA INSTRUMENT VERSION": "unspecified",
        "CTA INSTRUMENT ID": site.name,
    }  # fmt: skip
    write_attributes(file, said)
    runs = np.unique(_whole(showers, "obs_id"))
    unknown, nothing = Column(np.full(runs.size, -1)), Column(np.full(runs.size, np.nan))
    ids = runs.astype(np.uint64)
    write_table(
        file,
        "/configuration/observation/scheduling_block",
        {
            "sb_id": Column(ids), "sb_type": unknown, "producer_id": Column(np.full(runs.size, b"unknown")),
            "observing_mode": unknown, "pointing_mode": unknown,
        },
    )  # fmt: skip
    write_table(
        file,
        "/configuration/observation/observation_block",
        {
            "obs_id": Column(ids), "sb_id": Column(ids), "producer_id": Column(np.full(runs.size, b"unknown")),
            "state": unknown, "subarray_pointing_lat": nothing._replace(unit="deg"),
            "subarray_pointing_lon": nothing._replace(unit="deg"), "subarray_pointing_frame": unknown,
            "scheduled_duration": nothing._replace(unit="min"), "scheduled_start_time": nothing,
            "actual_start_time": nothing, "actual_duration": nothing._replace(unit="min"),
        },
    )  # fmt: skip


def _stamped(times: Array) -> Column:
    return Column(np.stack(stamps(times), axis=1) if times.size else np.zeros((0, 2), np.uint32), kind="time")


def _write_triggers(file: Any, tels: pa.Table, showers: pa.Table, *, known: Array) -> None:
    ids = _whole(tels, "event_id")
    begins = np.searchsorted(ids, _whole(showers, "event_id"))
    triggered = np.zeros((showers.num_rows, known.size), bool)
    order = np.argsort(known)
    column = order[np.searchsorted(known[order], _whole(tels, "tel_id"))]
    triggered[np.searchsorted(_whole(showers, "event_id"), ids), column] = True
    kinds = _whole(tels, "event_type")
    event = {
        "obs_id": Column(_whole(showers, "obs_id")),
        "event_id": Column(_whole(showers, "event_id")),
        "time": _stamped(_whole(showers, "event_time")),
        "tels_with_trigger": Column(triggered, kind="tels"),
        "event_type": Column(kinds[begins] if begins.size else kinds),
    }
    write_table(file, "/dl1/event/subarray/trigger", event)
    telescope = {
        **_index(tels),
        "time": _stamped(_whole(tels, "time")),
        "event_type": Column(kinds),
        "n_trigger_pixels": Column(np.full(tels.num_rows, -1)),
    }
    write_table(file, "/dl1/event/telescope/trigger", telescope)


def _index(tels: pa.Table) -> dict[str, Column]:
    whole = {n: Column(_whole(tels, n)) for n in ("obs_id", "event_id")}
    return {**whole, "tel_id": Column(_whole(tels, "tel_id", np.int16))}


def _write_telescopes(file: Any, site: Site, tels: pa.Table, *, images: pa.Table | None) -> None:
    seen = _Images(images) if images is not None else None
    wanted = [g for g in GROUPS if not all(_column(g, n) in tels.schema.names for n in GROUPS[g])]
    for tel in sorted(t.tel_id for t in site.telescopes):
        mine = tels.filter(pc.equal(tels["tel_id"], pa.scalar(tel, tels.schema.field("tel_id").type)))
        if not mine.num_rows:
            continue
        table = f"tel_{tel:03d}"
        more: Mapping[str, Array] = {}
        if seen is not None:
            kind = site.kind(next(t.kind for t in site.telescopes if t.tel_id == tel))
            light, times = seen.of(mine, camera_of(kind).pixels, tel)
            masks = tailcuts(camera_of(kind), light, picture=kind.picture, boundary=kind.boundary)
            more = measure(camera_of(kind), light, masks, peak_times=times, groups=wanted)
            if not np.array_equal(masks.sum(axis=1), numbers_of(mine["morphology_n_pixels"])):
                msg = f"images of telescope {tel} were not cleaned by tail cuts at {kind.picture} and {kind.boundary}"
                raise DataError(msg, hint="give the array that they were analysed with, or leave images out")
            columns = {"image": light, "peak_time": times, "image_mask": masks, "is_valid": np.ones(len(light), bool)}
            made = {**_index(mine), **{n: Column(v) for n, v in columns.items()}}
            write_table(file, f"/dl1/event/telescope/images/{table}", made)
        measured = {n: Column(_measured(mine, n, more), unit=_unit(n), name=_short(n)) for n in _PARAMETERS}
        write_table(file, f"/dl1/event/telescope/parameters/{table}", {**_index(mine), **measured})
        _write_pointing(file, mine, table)
        _write_models(file, mine, table)


def _measured(tels: pa.Table, name: str, more: Mapping[str, Array]) -> Array:
    known = numbers_of(tels[name]) if name in tels.schema.names else more.get(name)
    values = np.full(tels.num_rows, np.nan) if known is None else known
    return values.astype(np.int64) if name.startswith("morphology_") and np.isfinite(values).all() else values


def _short(name: str) -> str:
    return next(name.removeprefix(f"{g}_") for g in GROUPS if name.startswith(f"{g}_"))


def _unit(name: str) -> str:
    if name == "timing_slope":
        return "deg**-1"
    return "deg" if name.startswith("hillas_") and _short(name) in _IN_DEGREES else ""


def _write_pointing(file: Any, tels: pa.Table, table: str) -> None:
    alt, az = (numbers_of(tels[n]) for n in POINTING)
    times = _whole(tels, "time")
    order = np.argsort(times, kind="stable")
    order = order[np.isfinite(alt[order]) & np.isfinite(az[order])]
    kept = order[np.diff(times[order], prepend=-1) != 0]
    if kept.size < 2:  # ctapipe interpolates
        return
    columns = {
        "time": _stamped(times[kept]),
        "azimuth": Column(np.radians(az[kept]), unit="rad"),
        "altitude": Column(np.radians(alt[kept]), unit="rad"),
    }
    write_table(file, f"/dl0/monitoring/telescope/pointing/{table}", columns)


_MODELS: Final[Mapping[str, tuple[str, str, str]]] = {
    "gammaness": ("classification", "prediction", ""),
    "energy": ("energy", "energy", "TeV"),
}


def _write_models(file: Any, tels: pa.Table, table: str) -> None:
    for ours, (group, theirs, unit) in _MODELS.items():
        values = numbers_of(tels[ours])
        if np.isfinite(values).any():
            made = _scored(values, f"{_OURS}_tel", theirs, unit=unit)
            write_table(file, f"/dl2/event/telescope/{group}/{_OURS}/{table}", {**_index(tels), **made})


def _scored(values: Array, prefix: str, name: str, *, unit: str) -> dict[str, Column]:
    return {
        f"{prefix}_{name}": Column(values, unit=unit, name=name),
        f"{prefix}_is_valid": Column(np.isfinite(values), name="is_valid"),
    }


def _write_showers(file: Any, showers: pa.Table, known: Array) -> None:
    index = {n: Column(_whole(showers, n)) for n in ("obs_id", "event_id")}
    lists = showers["telescopes"].combine_chunks()
    used = np.zeros((showers.num_rows, known.size), bool)
    rows, tels = pc.list_parent_indices(lists).to_numpy(), lists.flatten().to_numpy()
    for column, tel in enumerate(known.tolist()):
        used[rows[tels == tel], column] = True
    stereo: dict[str, Column] = {}
    for name, unit in _STEREO.items():
        values: Array
        if name == "telescopes":
            stereo[f"{_GEOMETRY}_{name}"] = Column(used, kind="tels", name=name)
            continue
        if name == "is_valid":
            values = _whole(showers, name).astype(bool)
        elif name in showers.schema.names:
            values = numbers_of(showers[name])
        else:
            values = np.full(showers.num_rows, np.nan)
        stereo[f"{_GEOMETRY}_{name}"] = Column(values, unit=unit, name=name)
    write_table(file, f"/dl2/event/subarray/geometry/{_GEOMETRY}", {**index, **stereo})
    for ours, (group, theirs, unit) in _MODELS.items():
        values = numbers_of(showers[ours])
        if np.isfinite(values).any():
            made = _scored(values, _OURS, theirs, unit=unit)
            write_table(file, f"/dl2/event/subarray/{group}/{_OURS}", {**index, **made})


class _Images:
    """Images by telescope, time and number."""

    def __init__(self, images: pa.Table) -> None:
        _need(images, ["time", "tel_id", "tel_event_id", "image"], "images")
        self._images = images
        times = images["time"].cast(pa.int64()).to_pylist()
        keys = zip(images["tel_id"].to_pylist(), times, images["tel_event_id"].to_pylist(), strict=True)
        self._place = {key: place for place, key in enumerate(keys)}

    def of(self, tels: pa.Table, pixels: int, tel: int) -> tuple[Array, Array]:
        """Return the images and peak times of some rows of one telescope."""
        times = tels["time"].cast(pa.int64()).to_pylist()
        keys = list(zip(tels["tel_id"].to_pylist(), times, tels["tel_event_id"].to_pylist(), strict=True))
        lost = [key for key in keys if key not in self._place]
        if lost:
            msg = f"{len(lost)} images of telescope {tel} are missing, the first of {format_time(lost[0][1])}"
            raise DataError(msg, hint="give all images that were analysed, or none")
        some = self._images.take(pa.array([self._place[key] for key in keys], pa.int64()))
        light = self._rows(some["image"], pixels, tel)
        late = np.full(light.shape, np.nan, np.float32)
        if "peak_time" in some.schema.names:
            known = pc.is_valid(some["peak_time"])
            if pc.any(known).as_py():
                late[known.to_numpy()] = self._rows(some["peak_time"].filter(known), pixels, tel)
        return light, late

    @staticmethod
    def _rows(column: pa.ChunkedArray, pixels: int, tel: int) -> Array:
        lists = column.combine_chunks()
        if isinstance(lists, pa.ChunkedArray):
            lists = pa.concat_arrays(lists.chunks)
        flat = lists.flatten()
        if (
            len(flat) != len(lists) * pixels
            or flat.null_count
            or not pc.all(pc.equal(pc.list_value_length(lists), pixels)).as_py()
        ):
            msg = f"images of telescope {tel} do not have {pixels} pixels each"
            raise DataError(msg, hint="give the array that they were analysed with")
        return np.asarray(flat.to_numpy()).astype(np.float32).reshape(-1, pixels)
