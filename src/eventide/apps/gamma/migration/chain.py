"""The chain that other programs have: images cleaned and measured, put together, reconstructed, written.

`eventide.apps.gamma.pipeline` does more. This one takes any cleaning, with thresholds by type or number of a telescope,
and cuts on parameters before the reconstruction, as the configurations have them that are converted.
"""

from __future__ import annotations

import fnmatch
import functools
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from eventide.apps.gamma.building.operator import array_events
from eventide.apps.gamma.images import add_parameters
from eventide.apps.gamma.models.files import load
from eventide.apps.gamma.models.schedule import Schedule, score
from eventide.apps.gamma.schema import DL1_IMAGE, MEASURED, TRIGGER
from eventide.apps.gamma.site import Site, Telescope, camera_of
from eventide.apps.gamma.site import site as named
from eventide.apps.gamma.sources.prod3 import read_prod3, read_site
from eventide.apps.gamma.sources.replay import Replay
from eventide.apps.gamma.stereo.operator import POINTING, stereo
from eventide.errors import ConfigError, near_names
from eventide.model.pipeline import Pipeline
from eventide.model.pipeline import pipeline as joined
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream, read

__all__ = ["COMPARISONS", "Chain", "Found", "chain", "converted", "threshold_of"]

COMPARISONS: Final[Mapping[str, Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
"""What a cut may ask."""

_MEASURED: Final = pa.schema([*TRIGGER, *(DL1_IMAGE.field(n) for n in POINTING), *MEASURED])
_TIMED: Final = ("fact", "time_constrained")


@dataclass(frozen=True, slots=True)
class Chain:
    """What a chain does.

    Parameters
    ----------
    cleaning
        One of `eventide.apps.gamma.images.CLEANINGS`.
    options
        Of the cleaning. A list of ``[scope, which, value]`` is a value for each telescope, as ctapipe has it: of the
        scope ``"type"`` for names of types (with ``*``), ``"id"`` for a telescope; later ones win. Telescopes that no
        entry of an option names have the array's own thresholds, or the option's default.
    cuts
        What an image must have: ``("hillas_intensity", ">", 50.0)``.
    telescopes
        The only ones that are used; empty for all.
    min_tels
        How many telescopes an event must have.
    window, lateness
        As in `eventide.apps.gamma.pipeline.Analysis`.
    columns
        What is written of each event, by patterns such as ``"core_*"``; empty for all numbers.
    """

    cleaning: str = "tailcuts"
    options: Mapping[str, Any] | None = None
    cuts: tuple[tuple[str, str, float], ...] = ()
    telescopes: tuple[int, ...] = ()
    min_tels: int = 2
    window: str = "1us"
    lateness: str = "1s"
    columns: tuple[str, ...] = ()


class Found(NamedTuple):
    """The streams of a chain."""

    parameters: Stream
    showers: Stream


def threshold_of(value: Any, telescope: int, names: tuple[str, ...]) -> Any:
    """Return what an option is for a telescope; None where none of its entries names it.

    Examples
    --------
    >>> rules = [["type", "*", 10.0], ["type", "LST*", 8.0], ["id", 3, 7.0]]
    >>> [threshold_of(rules, tel, (kind,)) for tel, kind in ((1, "LST_LSTCam"), (3, "LST_LSTCam"), (5, "MST"))]
    [8.0, 7.0, 10.0]
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, (list, tuple)) and len(v) == 3 for v in value):
        return value
    found = None
    for scope, which, one in value:
        if scope == "id":
            hit = str(which) == str(telescope)
        else:
            hit = any(fnmatch.fnmatchcase(name, str(which)) for name in names)
        found = one if hit else found
    return found


def chain(
    images: Stream, site: Site, how: Chain, *, gammaness: Schedule | None = None, energy: Schedule | None = None
) -> Found:
    """Make showers of images.

    Parameters
    ----------
    images
        `DL1_IMAGE`. Those of telescopes that the array does not have, or with other pixels, are left out.
    site
        The array.
    how
        What is done.
    gammaness, energy
        Models of images.

    Raises
    ------
    ConfigError
        A cut is none.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> images = ev.from_table(Night(made(5), seed=1, hadrons=0.0, gammas=30.0).table(1))
    >>> how = Chain("compat", {"levels": [10.0, 8.0, 4.5]}, (("morphology_n_pixels", ">", 4),))
    >>> found = chain(images, made(5), how)
    >>> any(ev.fetch(found.showers)["is_valid"].to_pylist())
    True
    """
    timed = images.event_time("time", lateness=how.lateness)
    measured = timed.map_batches(RowWise(_Measured(site, how)), schema=_MEASURED, name="parameters")
    rows = array_events(measured, window=how.window, min_tels=how.min_tels)
    logs: list[str] = []
    averages: list[str] = []
    if gammaness is not None:
        rows, averages = score(rows, gammaness, by="event_time"), ["gammaness"]
    if energy is not None:
        rows, logs = score(rows, energy, by="event_time"), ["energy"]
    parts = [_cut(c) for c in how.cuts]
    kept = rows.filter(functools.reduce(operator.and_, parts), name="cuts") if parts else rows
    return Found(rows, stereo(kept, site.subarray(), min_intensity=0.0, averages=averages, logs=logs))


def _cut(cut: tuple[str, str, float]) -> pl.Expr:
    name, comparison, value = cut
    if comparison not in COMPARISONS or name not in MEASURED.names:
        msg = f"there is no cut {name} {comparison} {value}"
        raise ConfigError(msg, hint=near_names(name, MEASURED.names) + f"; {' '.join(COMPARISONS)}")
    # NaN is above everything for Polars, and no number of an image.
    chosen: pl.Expr = pl.col(name).is_not_nan() & COMPARISONS[comparison](pl.col(name), float(value))
    return chosen


@dataclass(frozen=True, slots=True)
class _Measured:
    """The function that cleans and measures; it says which rows it kept."""

    site: Site
    how: Chain

    def __call__(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Array]:
        aims = {n: pa.nulls(batch.num_rows, pa.float64()) for n in POINTING}
        used = [n for n in (*TRIGGER.names, *POINTING, "image") if n in batch.schema.names]
        used += ["peak_time"] * (self.how.cleaning in _TIMED)
        rows = pa.RecordBatch.from_pydict({**aims, **{n: batch.column(n) for n in used}})
        tels = rows.column("tel_id").cast(pa.int64()).fill_null(-1).to_numpy()
        sizes = rows.column("image").value_lengths().cast(pa.int64()).fill_null(-1).to_numpy()
        parts: list[pa.RecordBatch] = [pa.RecordBatch.from_pylist([], schema=_MEASURED)]
        places = [np.zeros(0, np.int64)]
        for telescopes, options in self._alike():
            camera = camera_of(self.site.kind(telescopes[0].kind))
            at = np.flatnonzero(np.isin(tels, [t.tel_id for t in telescopes]) & (sizes == camera.pixels))
            if at.size:
                cameras = {t.tel_id: camera for t in telescopes}
                found = add_parameters(rows.take(pa.array(at)), cameras, cleaning=self.how.cleaning, options=options)
                parts.append(found.select(_MEASURED.names).cast(_MEASURED))
                places.append(at)
        place = np.concatenate(places)
        order = np.argsort(place, kind="stable")
        table = pa.Table.from_batches(parts).take(pa.array(order)).combine_chunks()
        made = table.to_batches()[0] if table.num_rows else parts[0]
        kept = np.zeros(batch.num_rows, bool)
        kept[place] = True
        return made, pa.array(kept)

    def _alike(self) -> Iterator[tuple[list[Telescope], dict[str, Any]]]:
        """Yield telescopes of one camera that are cleaned alike, and how."""
        groups: dict[str, tuple[list[Telescope], dict[str, Any]]] = {}
        for telescope in self.site.telescopes:
            if self.how.telescopes and telescope.tel_id not in self.how.telescopes:
                continue
            kind = self.site.kind(telescope.kind)
            names = (kind.name, f"{kind.name}_{kind.name}_{camera_of(kind).name}", camera_of(kind).name)
            asked = self.how.options or {}
            options = {n: threshold_of(v, telescope.tel_id, names) for n, v in asked.items()}
            options = {n: v for n, v in options.items() if v is not None}
            if self.how.cleaning == "tailcuts":
                options = {"picture": kind.picture, "boundary": kind.boundary, **options}
            groups.setdefault(f"{kind.name} {sorted(options.items())}", ([], options))[0].append(telescope)
        yield from groups.values()


def converted(
    how: Chain,
    *,
    source: str,
    array: str,
    sink: str,
    gammaness: str = "",
    energy: str = "",
    log: str = "",
    follow: str = "false",
    name: str = "converted",
) -> Pipeline:
    """Return a chain as a pipeline, from an address to an address.

    Parameters
    ----------
    how
        What is done.
    source
        Images: an address (``log://images``, ``file://images.parquet``), or the benchmark's ``images.json.gz``.
    array
        ``made-12``, a file in JSON (`eventide.apps.gamma.site`), or ``ARRAY.csv,CAMERAS.json.gz`` of the benchmark.
    sink
        Where events go to, such as ``file://showers.csv`` or ``log://showers``.
    gammaness, energy
        Files of models (`eventide.apps.gamma.models.files`).
    log
        Folder of the log.
    follow
        ``"true"`` to go on when the end of a log topic is reached.
    name
        Of the pipeline.

    Raises
    ------
    EventideError
        There is no such array, model, connector or cut.

    Examples
    --------
    >>> converted(Chain(), source="log://images", array="made-4", sink="log://showers").name
    'converted'
    """
    table, _, cameras = array.partition(",")
    site = read_site(table, cameras) if cameras else named(array)
    place: dict[str, Any] = {"log": log} if log else {}
    start: dict[str, Any] = {**place, "follow": follow == "true"} if source.startswith("log://") else {}
    images = read(_images(source), name="images", **start)
    models = {n: Schedule(load(path)) for n, path in (("gammaness", gammaness), ("energy", energy)) if path}
    showers = chain(images, site, how, **models).showers
    showers = showers.map_batches(_Selected(how.columns), name="columns")
    return joined(showers.write(sink, **(place if sink.startswith("log://") else {})), name=name)


def _images(source: str) -> Any:
    if not source.removeprefix("file://").endswith((".json", ".json.gz")):
        return source
    return Replay(functools.partial(_benchmark, source.removeprefix("file://")), DL1_IMAGE)


def _benchmark(path: str) -> Iterator[pa.RecordBatch]:
    yield from read_prod3(path)[0].to_batches()


@dataclass(frozen=True, slots=True)
class _Selected:
    """Columns by patterns; lists cannot go to a table of text."""

    patterns: tuple[str, ...]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        plain = [f.name for f in batch.schema if not pa.types.is_nested(f.type)]
        chosen = [n for n in plain if any(fnmatch.fnmatchcase(n, p) for p in self.patterns)]
        return batch.select(chosen or plain)
