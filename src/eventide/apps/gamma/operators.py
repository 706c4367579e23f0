"""The steps of this application between images and alerts, each a function from stream to stream.

The larger ones have folders of their own: `building` (array events), `stereo`, `models`, `science`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps.gamma.gather import gathered
from eventide.apps.gamma.images import parametrise
from eventide.apps.gamma.known import Known, known
from eventide.apps.gamma.numbers import integers_of, numbers_of
from eventide.apps.gamma.parameters.measure import STANDARD, tailcut_lists
from eventide.apps.gamma.schema import DL1_IMAGE, DL2_EVENT, DL3_EVENT, MEASURED, TRIGGER
from eventide.apps.gamma.site import Kind, Site, camera_of
from eventide.apps.gamma.stereo.operator import POINTING
from eventide.errors import ConfigError, SchemaError, near_names
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream

__all__ = [
    "ASTROMETRY",
    "AVERAGES",
    "EXCLUDED",
    "PARAMETERS",
    "Cleaning",
    "aimed",
    "deviations",
    "dl3",
    "gamma_like",
    "lengths_and_holes",
    "on_sky",
    "only",
    "parameters",
]

PARAMETERS = pa.schema([*TRIGGER, *(DL1_IMAGE.field(name) for name in POINTING), *MEASURED])
"""An image's parameters, before it belongs to an array event."""

EXCLUDED = pa.schema([*TRIGGER, pa.field("reason", pa.string())])
"""Images that cannot be used, and why."""

_NONE: Final = pa.schema([])
_REASONS = pa.array(["no such telescope", "no image", "image of another camera", "no peak times", None], pa.string())
_FITS = len(_REASONS) - 1

AVERAGES = ("hillas_width", "hillas_length", "obs_id", "aim_north", "aim_west", "aim_up")
"""Columns of images of which an event gets the mean."""


class Cleaning(NamedTuple):
    """How images are cleaned: the name of a cleaning, and its options beside the thresholds of the kinds of telescopes.

    Examples
    --------
    >>> Cleaning("fact", {"time_limit": 3.0}).timed
    True
    """

    name: str = "tailcuts"
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def timed(self) -> bool:
        """Whether it needs peak times."""
        return self.name in ("fact", "time_constrained") or self.options.get("time_limit") is not None

    def of(self, kind: Kind) -> dict[str, Any]:
        """Return the options for a kind of telescopes."""
        levels = {} if self.name == "compat" else {"picture": kind.picture, "boundary": kind.boundary}
        return {**levels, **self.options}


_TAILCUTS = Cleaning()


def unfit(images: Stream, site: Site, *, cleaning: Cleaning = _TAILCUTS) -> Stream:
    """Return images that have no camera or do not fit it (`EXCLUDED`): those that `parameters` leaves out.

    Parameters
    ----------
    images
        `DL1_IMAGE`; further columns are passed over.
    site
        The array.
    cleaning
        One that goes by time needs peak times too.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> images = Night(made(5), seed=1).table(1)
    >>> set(ev.fetch(unfit(ev.from_table(images), made(4)))["reason"].to_pylist())
    {'no such telescope'}
    """
    function = functools.partial(_unfit, known=known(site), timed=cleaning.timed)
    return images.map_batches(RowWise(function), schema=EXCLUDED, name="unfit")


def parameters(
    images: Stream,
    site: Site,
    *,
    cleaning: Cleaning = _TAILCUTS,
    more: pa.Schema = _NONE,
) -> Stream:
    """Clean images and measure them (`PARAMETERS`).

    Parameters
    ----------
    images
        `DL1_IMAGE`; those that do not fit their cameras are left out, see `unfit`. The column ``noise``, where it is
        there, is the deviation of every pixel for the cleaning ``nsb``.
    site
        The array.
    cleaning
        How.
    more
        Further columns that are kept.

    Raises
    ------
    ConfigError
        There is no such cleaning, or it does not take these options.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> found = ev.fetch(parameters(ev.from_table(Night(made(5), seed=1).table(1)), made(5)))
    >>> found.schema == PARAMETERS, max(found["morphology_n_pixels"].to_pylist()) > 3
    (True, True)
    """
    for kind in site.kinds:  # an option that is none is told before a run
        camera = camera_of(kind)
        empty = np.zeros((0, camera.pixels), np.float32)
        parametrise(camera, empty, empty, cleaning=cleaning.name, options=cleaning.of(kind))
    schema = pa.schema([*PARAMETERS, *more])
    function = functools.partial(_measured, site=site, known=known(site), cleaning=cleaning, schema=schema)
    return images.map_batches(RowWise(function, in_parts=True), schema=schema, name="parameters")


def aimed(rows: Stream) -> Stream:
    """Add where each image's telescope points as a vector, so that events can have the mean.

    Examples
    --------
    >>> import eventide as ev
    >>> ev.fetch(aimed(ev.from_table({POINTING[0]: [90.0], POINTING[1]: [0.0]})))["aim_up"].to_pylist()
    [1.0]
    """
    return rows.map_batches(RowWise(_aimed), name="aim")


def _aimed(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
    # In numpy: a Polars expression takes a millisecond however few rows there are, and these steps come at every batch.
    alt, az = (np.radians(numbers_of(batch.column(name))) for name in POINTING)
    level = np.cos(alt)
    vector = {"aim_north": level * np.cos(az), "aim_west": -(level * np.sin(az)), "aim_up": np.sin(alt)}
    for name, values in vector.items():
        batch = batch.append_column(name, pa.array(values, mask=np.isnan(values)))
    return batch, None


ASTROMETRY = ("mean", "astropy")
"""How directions come to the sky: see `on_sky`."""


def on_sky(events: Stream, site: Site, *, astrometry: str = "mean") -> Stream:
    """Give reconstructed events their place on the sky, and that of the pointing (`DL2_EVENT`).

    Parameters
    ----------
    events
        What `eventide.apps.gamma.stereo.operator.stereo` makes of images with `AVERAGES`; ``gammaness`` and ``energy``
        where there are models.
    site
        The array.
    astrometry
        ``"mean"``: precession and mean sidereal time, within 0.01 degrees, needs nothing; ``"astropy"``: all that
        astropy knows (see `eventide.apps.gamma.sky`).

    Raises
    ------
    ConfigError
        There is no such astrometry.
    """
    if astrometry not in ASTROMETRY:
        msg = f"there is no astrometry {astrometry!r}"
        raise ConfigError(msg, hint=near_names(astrometry, ASTROMETRY))
    function = functools.partial(_on_sky, site=site, exact=astrometry == "astropy")
    return events.map_batches(RowWise(function, in_parts=True), schema=DL2_EVENT, name="sky")


def gamma_like(
    events: Stream, *, gammaness: float | None, width: float, length: float, name: str = "gamma-like"
) -> Stream:
    """Keep the events that look like gamma rays, with the columns of `DL3_EVENT` beside their own.

    Parameters
    ----------
    events
        `DL2_EVENT`.
    gammaness
        The least gammaness; None where there is no model: then the shape decides.
    width, length
        The largest mean width and length, degrees.
    name
        Of the step.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.model.time import EVENT_TIME
    >>> one = pa.Table.from_pylist([{"event_time": 0, "is_valid": True, "mean_width": w, "mean_length": 0.2, "ra": 1.0,
    ...                              "dec": 1.0} for w in (0.07, 0.2)], schema=DL2_EVENT)
    >>> ev.fetch(gamma_like(ev.from_table(one), gammaness=None, width=0.1, length=0.3)).num_rows
    1
    """
    cuts = {"mean_width": (-math.inf, width), "mean_length": (-math.inf, length)}
    if gammaness is not None:
        cuts = {"gammaness": (gammaness, math.inf)}
    return events.map_batches(RowWise(functools.partial(_gamma_like, cuts=cuts)), name=name)


def _gamma_like(batch: pa.RecordBatch, *, cuts: Mapping[str, tuple[float, float]]) -> tuple[pa.RecordBatch, pa.Array]:
    kept = np.asarray(batch.column("is_valid").fill_null(False))
    for name, (least, most) in {**cuts, "ra": (-math.inf, math.inf), "dec": (-math.inf, math.inf)}.items():
        values = numbers_of(batch.column(name))
        kept = kept & (values >= least) & (values <= most)  # NaN is in no range
    rows = pa.array(kept, pa.bool_())
    some = batch if kept.all() else batch.filter(rows)
    some = some.append_column("time", some.column("event_time")).append_column("multiplicity", some.column("n_tels"))
    return some, rows


def dl3(events: Stream, *, name: str = "dl3-event") -> Stream:
    """Return gamma-like events with the columns of `DL3_EVENT` only."""
    return only(events, DL3_EVENT.names, name=name)


def only(rows: Stream, names: Sequence[str], *, name: str) -> Stream:
    """Return rows with some of their columns.

    Examples
    --------
    >>> import eventide as ev
    >>> ev.fetch(only(ev.from_table({"a": [1], "b": [2]}), ["b"], name="b")).column_names
    ['b']
    """
    wanted = list(names)
    return rows.map_batches(RowWise(lambda batch: (batch.select(wanted), None)), name=name)


def _unfit(batch: pa.RecordBatch, *, known: Known, timed: bool) -> tuple[pa.RecordBatch, pa.Array]:
    _need(batch.schema, timed=timed)
    reasons = _reasons(batch, *known.of(batch), known=known, timed=timed)
    bad = np.flatnonzero(reasons != _FITS)
    some = batch.select(TRIGGER.names).take(pa.array(bad))
    told = _REASONS.take(pa.array(reasons[bad]))
    return pa.RecordBatch.from_arrays([*some.columns, told], schema=EXCLUDED), pa.array(reasons != _FITS)


def _reasons(
    batch: pa.RecordBatch,
    place: npt.NDArray[np.int64],
    there: npt.NDArray[np.bool_],
    *,
    known: Known,
    timed: bool,
) -> npt.NDArray[np.int8]:
    """Return why each image cannot be used, as a place in `_REASONS`; `_FITS` where it can."""
    pixels = known.pixels[place]
    length, holes = lengths_and_holes(batch.column("image"))
    wrong = [~there, length < 0, (length != pixels) | holes]
    if timed:
        length, holes = lengths_and_holes(batch.column("peak_time"))
        wrong.append((length != pixels) | holes)
    out = np.full(batch.num_rows, _FITS, np.int8)
    for reason in reversed(range(len(wrong))):
        out[wrong[reason]] = reason
    return out


def lengths_and_holes(lists: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the lengths of lists, -1 for null, and which have nulls in them."""
    length = integers_of(pc.list_value_length(lists), none=-1)
    holes = np.zeros(length.size, bool)
    values = lists.flatten()
    if values.null_count:
        owner = pc.list_parent_indices(lists).to_numpy()
        holes[owner[np.asarray(values.is_null())]] = True
    return length, holes


def _need(schema: pa.Schema, *, timed: bool) -> None:
    missing = [name for name in (*TRIGGER.names, "image", *["peak_time"] * timed) if name not in schema.names]
    if missing:
        msg = f"images have no column {missing[0]!r}"
        raise SchemaError(msg, hint=near_names(missing[0], schema.names))


def _measured(
    batch: pa.RecordBatch, *, site: Site, known: Known, cleaning: Cleaning, schema: pa.Schema
) -> tuple[pa.RecordBatch, pa.Array]:
    """Return the parameters of images that can be used, and which these are."""
    _need(batch.schema, timed=cleaning.timed)
    place, there = known.of(batch)
    fits = _reasons(batch, place, there, known=known, timed=cleaning.timed) == _FITS
    kinds = np.where(fits, known.kinds[place], -1)
    out = np.full((len(MEASURED), batch.num_rows), np.nan)
    for number, kind in enumerate(site.kinds):
        at = np.flatnonzero(kinds == number)
        if at.size:
            _of_kind(batch, at, kind, cleaning=cleaning, out=out)
    values = dict(zip(MEASURED.names, map(pa.array, out), strict=True))
    none, names = pa.nulls(batch.num_rows, pa.float64()), set(batch.schema.names)
    given = [values.get(f.name, batch.column(f.name) if f.name in names else none) for f in schema]
    arrays = [a if a.type == f.type else a.cast(f.type) for a, f in zip(given, schema, strict=True)]
    made, rows = pa.RecordBatch.from_arrays(arrays, schema=schema), pa.array(fits)
    return made if fits.all() else made.filter(rows), rows


def _of_kind(batch: pa.RecordBatch, at: np.ndarray, kind: Kind, *, cleaning: Cleaning, out: np.ndarray) -> None:
    """Write the parameters (`MEASURED`) of some images of one kind of telescopes."""
    camera, options = camera_of(kind), cleaning.of(kind)
    if cleaning == _TAILCUTS:
        tailcut_lists(camera, *_pixels(batch.column("image"), at), groups=STANDARD, into=(out, at), **options)
        return
    if cleaning.name == "nsb" and "noise" in batch.schema.names:
        options["pedestal_std"] = deviations(batch.column("noise").take(pa.array(at)), camera.pixels)
    images = gathered(batch.column("image"), at, pixels=camera.pixels)
    times = gathered(batch.column("peak_time"), at, pixels=camera.pixels) if cleaning.timed else None
    found = parametrise(camera, images, times, cleaning=cleaning.name, options=options)
    for row, name in zip(out, MEASURED.names, strict=True):
        row[at] = found[name]


def _pixels(images: pa.Array, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of all images, and where some of them begin."""
    if not pa.types.is_list(images.type) or images.type.value_type != pa.float32():
        images = images.cast(pa.list_(pa.float32()))
    values: np.ndarray = images.values.to_numpy(zero_copy_only=False)
    return values, images.offsets.to_numpy()[at].astype(np.int64)


def deviations(noise: pa.Array, pixels: int) -> np.ndarray:
    """Return the deviation of every pixel; 0, which asks for nothing, where there is none."""
    out = np.zeros((len(noise), pixels))
    length, holes = lengths_and_holes(noise)
    for row in np.flatnonzero((length == pixels) & ~holes).tolist():
        out[row] = noise[row].values.to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(out) & (out > 0), out, 0.0)


def _on_sky(batch: pa.RecordBatch, *, site: Site, exact: bool) -> tuple[pa.RecordBatch, None]:
    times = batch.column("event_time").cast(pa.int64()).to_numpy()

    def numbers(name: str) -> np.ndarray:
        return numbers_of(batch.column(name))

    north, west, up = (numbers(f"aim_{n}") for n in ("north", "west", "up"))
    alt = np.degrees(np.arctan2(up, np.hypot(north, west)))
    az = np.degrees(np.arctan2(-west, north)) % 360.0

    # Events and pointings at once: most of the steps to the sky take as long for few directions as for many.
    directions = (np.concatenate(pair) for pair in ((numbers("alt"), alt), (numbers("az"), az)))
    place = site.place
    found = (place.to_sky_exact if exact else place.to_sky)(np.concatenate((times, times)), *directions)
    (ra, ra_pnt), (dec, dec_pnt) = (np.split(values, 2) for values in found)
    sky = {
        "ra": ra,
        "dec": dec,
        "ra_pnt": ra_pnt,
        "dec_pnt": dec_pnt,
        "alt_pnt": alt,
        "az_pnt": az,
        "mean_width": numbers("hillas_width"),
        "mean_length": numbers("hillas_length"),
    }
    columns = {name: pa.array(values, mask=np.isnan(values)) for name, values in sky.items()}
    obs = np.rint(numbers("obs_id"))
    columns["obs_id"] = pa.array(np.nan_to_num(obs).astype(np.int64), mask=np.isnan(obs))
    none, names = pa.nulls(batch.num_rows, pa.float64()), set(batch.schema.names)
    arrays = []
    for field in DL2_EVENT:
        given = columns.get(field.name, batch.column(field.name) if field.name in names else none)
        arrays.append(given if given.type == field.type else given.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=DL2_EVENT), None
