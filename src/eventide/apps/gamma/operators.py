"""The steps of this application between images and alerts, each a function from stream to stream.

The larger ones have folders of their own: `building` (array events), `stereo`, `models`, `science`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps.gamma.numbers import numbers_of
from eventide.apps.gamma.parameters.measure import STANDARD, tailcut_lists
from eventide.apps.gamma.schema import DL1_IMAGE, DL2_EVENT, DL3_EVENT, MEASURED, TRIGGER
from eventide.apps.gamma.science.sky import Observatory
from eventide.apps.gamma.site import Site, camera_of
from eventide.apps.gamma.stereo.operator import POINTING
from eventide.errors import ConfigError, SchemaError, near_names
from eventide.model.stream import Stream
from eventide.operators.asof_join import asof_join

__all__ = [
    "ASTROMETRY",
    "AVERAGES",
    "EXCLUDED",
    "MEASURED_ROWS",
    "PARAMETERS",
    "Checked",
    "aimed",
    "dl3",
    "gamma_like",
    "measured",
    "on_sky",
    "parameters",
    "pointed",
]

PARAMETERS = pa.schema([*TRIGGER, *(DL1_IMAGE.field(name) for name in POINTING), *MEASURED])
"""An image's parameters, before it belongs to an array event."""

EXCLUDED = pa.schema([*TRIGGER, pa.field("reason", pa.string())])
"""Images that cannot be used, and why."""

MEASURED_ROWS = pa.schema([*PARAMETERS, pa.field("reason", pa.string(), metadata={"meaning": "null if usable"})])
"""The parameters of images where those that cannot be used have kept their rows."""

_REASONS = pa.array(["no such telescope", "no image", "image of another camera", None], pa.string())

AVERAGES = ("hillas_width", "hillas_length", "obs_id", "aim_north", "aim_west", "aim_up")
"""Columns of images of which an event gets the mean."""


class Checked(NamedTuple):
    """Rows that can be used, the others (`EXCLUDED`), and those that came too late to tell, where that can be."""

    good: Stream
    excluded: Stream
    late: Stream | None = None


def unfit(images: Stream, site: Site) -> Stream:
    """Return images that have no camera or do not fit it (`EXCLUDED`): those that `parameters` leaves out.

    Parameters
    ----------
    images
        `DL1_IMAGE`; further columns are passed over.
    site
        The array.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> images = Night(made(5), seed=1).table(1)
    >>> set(ev.fetch(unfit(ev.from_table(images), made(4)))["reason"].to_pylist())
    {'no such telescope'}
    """
    return images.map_batches(functools.partial(_unfit, site=site), schema=EXCLUDED, name="unfit")


def parameters(images: Stream, site: Site) -> Stream:
    """Clean images with the thresholds of their kind of telescope, and measure them (`PARAMETERS`).

    Parameters
    ----------
    images
        `DL1_IMAGE`; those that do not fit their cameras are left out, see `unfit`.
    site
        The array.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> found = ev.fetch(parameters(ev.from_table(Night(made(5), seed=1).table(1)), made(5)))
    >>> found.schema == PARAMETERS, max(found["morphology_n_pixels"].to_pylist()) > 3
    (True, True)
    """
    return images.map_batches(functools.partial(_measured, site=site), schema=PARAMETERS, name="parameters")


def pointed(rows: Stream, pointings: Stream | None, *, tolerance: str = "10s") -> Checked:
    """Part rows of telescopes that track from the others.

    Parameters
    ----------
    rows
        `PARAMETERS` with event time ``time``. A row that says where its telescope pointed is believed.
    pointings
        `POINTINGS` with event time, for the other rows: the newest one at or before the time of a row counts. Left out,
        telescopes of these rows do not track.
    tolerance
        How old a pointing may be.

    Examples
    --------
    >>> import eventide as ev
    >>> row = pa.Table.from_pylist([{"time": 0, "tel_id": 1}], schema=PARAMETERS)
    >>> found = pointed(ev.from_table(row).event_time("time"), None)
    >>> ev.fetch(found.excluded)["reason"].to_pylist()
    ['does not track']
    """
    alt, az = POINTING
    known = pl.col(alt).is_not_null() & pl.col(az).is_not_null()
    joined, late = (rows, None) if pointings is None else _joined(rows, known, pointings, tolerance=tolerance)
    lost = joined.filter(~known, name="not-tracking").with_columns(reason=pl.lit("does not track"))
    excluded = lost.select(*EXCLUDED.names, name="why-not-tracking")
    return Checked(joined.filter(known, name="tracking"), excluded, late)


def _joined(rows: Stream, known: pl.Expr, pointings: Stream, *, tolerance: str) -> tuple[Stream, Stream]:
    alt, az = POINTING
    right = pointings.select("time", "tel_id", "altitude", "azimuth", "is_tracking", name="tracking-of").key_by(
        "tel_id"
    )
    both = asof_join(rows.filter(~known, name="without-pointing").key_by("tel_id"), right, tolerance=tolerance)
    tracks = pl.col("is_tracking").fill_null(value=False)
    found = both.select(
        *(pl.col(f.name) for f in PARAMETERS if f.name not in POINTING),
        **{to: pl.when(tracks).then(pl.col(name)) for to, name in {alt: "altitude", az: "azimuth"}.items()},
        name="found-pointing",
    ).select(*PARAMETERS.names, name="pointed")
    # Put together with rows that have no key, the stream has none either: events are built of all telescopes.
    whole = rows.filter(known, name="with-pointing").union(found, name="all-pointed")
    return whole, both.side("late").select(*PARAMETERS.names, name="late-for-pointing")


def aimed(rows: Stream) -> Stream:
    """Add where each image's telescope points as a vector, so that events can have the mean.

    Examples
    --------
    >>> import eventide as ev
    >>> ev.fetch(aimed(ev.from_table({POINTING[0]: [90.0], POINTING[1]: [0.0]})))["aim_up"].to_pylist()
    [1.0]
    """
    return rows.map_batches(_aimed, name="aim")


def _aimed(batch: pa.RecordBatch) -> pa.RecordBatch:
    alt, az = (np.radians(numbers_of(batch.column(name))) for name in POINTING)
    level = np.cos(alt)
    aim = {"aim_north": level * np.cos(az), "aim_west": -(level * np.sin(az)), "aim_up": np.sin(alt)}
    for name, values in aim.items():
        batch = batch.append_column(name, pa.array(values, mask=np.isnan(values)))
    return batch


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
        ``"mean"``: precession and mean sidereal time, within 0.01 degrees, needs nothing (`eventide.apps.gamma.sky`);
        ``"astropy"``: all that astropy knows (`eventide.apps.gamma.science.sky`).

    Raises
    ------
    ConfigError
        There is no such astrometry.
    """
    if astrometry not in ASTROMETRY:
        msg = f"there is no astrometry {astrometry!r}"
        raise ConfigError(msg, hint=near_names(astrometry, ASTROMETRY))
    function = functools.partial(_on_sky, site=site, exact=astrometry == "astropy")
    return events.map_batches(function, schema=DL2_EVENT, name="sky")


def gamma_like(events: Stream, *, gammaness: float | None, width: float, length: float) -> Stream:
    """Keep the events that look like gamma rays, with the columns of `DL3_EVENT` beside their own.

    Parameters
    ----------
    events
        `DL2_EVENT`.
    gammaness
        The least gammaness; None where there is no model: then the shape decides.
    width, length
        The largest mean width and length, degrees.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.model.time import EVENT_TIME
    >>> one = pa.Table.from_pylist([{"event_time": 0, "is_valid": True, "mean_width": w, "mean_length": 0.2, "ra": 1.0,
    ...                              "dec": 1.0} for w in (0.07, 0.2)], schema=DL2_EVENT)
    >>> ev.fetch(gamma_like(ev.from_table(one), gammaness=None, width=0.1, length=0.3)).num_rows
    1
    """
    if gammaness is None:
        chosen = (pl.col("mean_width") <= width) & (pl.col("mean_length") <= length)
    else:
        chosen = pl.col("gammaness") >= gammaness
    placed = pl.col("is_valid") & pl.col("ra").is_not_null() & pl.col("dec").is_not_null()
    kept = events.filter(placed & chosen, name="gamma-like")
    return kept.with_columns(time=pl.col("event_time"), multiplicity=pl.col("n_tels"), name="dl3")


def dl3(events: Stream) -> Stream:
    """Return gamma-like events with the columns of `DL3_EVENT` only."""
    return events.select(*DL3_EVENT.names, name="dl3-event")


def _unfit(batch: pa.RecordBatch, *, site: Site) -> pa.RecordBatch:
    if _is_measured(batch.schema):
        return batch.filter(batch.column("reason").is_valid()).select(EXCLUDED.names)
    _need(batch.schema)
    reasons = _reasons(batch, site)
    arrays = [*(batch.column(name) for name in TRIGGER.names), reasons]
    small = pa.RecordBatch.from_arrays(arrays, schema=EXCLUDED)
    return small.filter(reasons.is_valid())


def _reasons(batch: pa.RecordBatch, site: Site) -> pa.Array:
    """Return why each image cannot be used, null where it can."""
    images = batch.column("image")
    known = np.array(sorted(t.tel_id for t in site.telescopes))
    pixels = np.array([c.pixels for _, c in sorted(site.cameras().items())])
    tel = batch.column("tel_id").cast(pa.int64()).fill_null(-1).to_numpy()
    place = np.minimum(np.searchsorted(known, tel), known.size - 1)
    length = pc.list_value_length(images).cast(pa.int64()).fill_null(-1).to_numpy()
    holes = np.zeros(tel.size, bool)
    values = images.flatten()
    if values.null_count:
        owner = pc.list_parent_indices(images).to_numpy()
        holes[owner[np.asarray(values.is_null())]] = True
    number = np.select([known[place] != tel, length < 0, (length != pixels[place]) | holes], [0, 1, 2], 3)
    return _REASONS.take(pa.array(number))


def _need(schema: pa.Schema) -> None:
    missing = [name for name in (*TRIGGER.names, "image") if name not in schema.names]
    if missing:
        msg = f"images have no column {missing[0]!r}"
        raise SchemaError(msg, hint=near_names(missing[0], schema.names))


def _measured(batch: pa.RecordBatch, *, site: Site) -> pa.RecordBatch:
    every = batch if _is_measured(batch.schema) else measured(batch, site)
    good = every.column("reason").is_null()
    kept = every.select(PARAMETERS.names)
    return kept if every.column("reason").null_count == every.num_rows else kept.filter(good)


def _is_measured(schema: pa.Schema) -> bool:
    return "image" not in schema.names and all(name in schema.names for name in MEASURED_ROWS.names)


def measured(batch: pa.RecordBatch, site: Site) -> pa.RecordBatch:
    """Return the parameters of images, every row in its place (`MEASURED_ROWS`).

    Parameters
    ----------
    batch
        `DL1_IMAGE`.
    site
        The array.

    Raises
    ------
    SchemaError
        A column is missing.

    Examples
    --------
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> images = Night(made(5), seed=1).table(1).combine_chunks().to_batches()[0]
    >>> measured(images, made(4)).num_rows == images.num_rows
    True
    """
    _need(batch.schema)
    reasons = _reasons(batch, site)
    tels = np.where(np.asarray(reasons.is_null()), batch.column("tel_id").fill_null(-1).to_numpy(), -1)
    values, begins = _pixels(batch.column("image"))
    out = np.full((len(MEASURED), batch.num_rows), np.nan)
    for kind in site.kinds:
        at = np.flatnonzero(np.isin(tels, [t.tel_id for t in site.telescopes if t.kind == kind.name]))
        if at.size:
            found = tailcut_lists(
                camera_of(kind), values, begins[at], picture=kind.picture, boundary=kind.boundary, groups=STANDARD
            )
            for row, name in zip(out, MEASURED.names, strict=True):
                row[at] = found[name]
    none = pa.nulls(batch.num_rows, pa.float64())
    given = [batch.column(n) if n in batch.schema.names else none for n in (*TRIGGER.names, *POINTING)]
    kept = [a.cast(f.type) for a, f in zip(given, PARAMETERS, strict=False)]
    return pa.RecordBatch.from_arrays([*kept, *map(pa.array, out), reasons], schema=MEASURED_ROWS)


def _pixels(images: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of all images, where they are, and where each begins."""
    if not pa.types.is_list(images.type) or images.type.value_type != pa.float32():
        images = images.cast(pa.list_(pa.float32()))
    values: np.ndarray = images.values.to_numpy(zero_copy_only=False)
    return values, images.offsets.to_numpy()[:-1].astype(np.int64)


def _on_sky(batch: pa.RecordBatch, *, site: Site, exact: bool) -> pa.RecordBatch:
    times = batch.column("event_time").cast(pa.int64()).to_numpy()

    def numbers(name: str) -> np.ndarray:
        return numbers_of(batch.column(name))

    north, west, up = (numbers(f"aim_{n}") for n in ("north", "west", "up"))
    alt = np.degrees(np.arctan2(up, np.hypot(north, west)))
    az = np.degrees(np.arctan2(-west, north)) % 360.0

    def radec(high: np.ndarray, around: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if exact:
            return Observatory(site.longitude, site.latitude, site.height).radec(times, alt=high, az=around)
        return site.place.to_sky(times, high, around)

    sky = {
        **dict(zip(("ra", "dec"), radec(numbers("alt"), numbers("az")), strict=True)),
        **dict(zip(("ra_pnt", "dec_pnt"), radec(alt, az), strict=True)),
        "alt_pnt": alt,
        "az_pnt": az,
        "mean_width": numbers("hillas_width"),
        "mean_length": numbers("hillas_length"),
    }
    columns = {name: pa.array(values, mask=np.isnan(values)) for name, values in sky.items()}
    obs = np.rint(numbers("obs_id"))
    columns["obs_id"] = pa.array(np.nan_to_num(obs).astype(np.int64), mask=np.isnan(obs))
    none = pa.nulls(batch.num_rows, pa.float64())
    arrays = []
    for field in DL2_EVENT:
        given = batch.column(field.name) if field.name in batch.schema.names else none
        arrays.append(columns.get(field.name, given).cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=DL2_EVENT)
