"""Reconstruct streamed array events: the images of each, wherever batches were cut, make one row."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.building.whole import Gathering
from eventide.apps.gamma.models.average import Weights
from eventide.apps.gamma.numbers import integers_of, numbers_of
from eventide.apps.gamma.stereo.planes import Geometry, Images, reconstruct
from eventide.apps.gamma.stereo.subarray import Subarray
from eventide.errors import PipelineError, SchemaError
from eventide.kernel.keyed.node import field_of
from eventide.kernel.parts import Helpers, in_parts
from eventide.model.batch import concat, event_times
from eventide.model.graph import Process, ProcessContext, Ref
from eventide.model.machine import LATE, MAIN, Emit, Step
from eventide.model.state import State, select_groups
from eventide.model.stream import Stream, origin
from eventide.model.time import EVENT_TIME, MAX_TIME, MIN_TIME

__all__ = ["GEOMETRY", "HILLAS", "POINTING", "Stereo", "StereoMachine", "stereo"]

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

HILLAS: Final = ("fov_lon", "fov_lat", "psi", "length", "width", "intensity")
"""Columns of an image, each after ``hillas_``: angles in degrees, intensity in photo-electrons."""

POINTING: Final = ("telescope_pointing_altitude", "telescope_pointing_azimuth")
"""Columns that say where the telescope of a row pointed, degrees; without them it pointed as the array."""

GEOMETRY: Final = pa.schema(
    [
        pa.field("event_time", EVENT_TIME),
        pa.field("event_id", pa.int64()),
        pa.field("is_valid", pa.bool_()),
        pa.field("n_tels", pa.int32(), metadata={"meaning": "images that were used"}),
        pa.field("telescopes", pa.list_(pa.int64()), metadata={"meaning": "all that have an image"}),
        pa.field("alt", pa.float64(), metadata={"unit": "deg"}),
        pa.field("az", pa.float64(), metadata={"unit": "deg"}),
        pa.field("alt_uncert", pa.float64(), metadata={"unit": "deg"}),
        pa.field("az_uncert", pa.float64(), metadata={"unit": "deg"}),
        pa.field("core_x", pa.float64(), metadata={"unit": "m"}),
        pa.field("core_y", pa.float64(), metadata={"unit": "m"}),
        pa.field("core_tilted_x", pa.float64(), metadata={"unit": "m"}),
        pa.field("core_tilted_y", pa.float64(), metadata={"unit": "m"}),
        pa.field("h_max", pa.float64(), metadata={"unit": "m", "meaning": "above sea level"}),
        pa.field("average_intensity", pa.float64()),
    ]
)
"""One row for every array event; numbers of events that are not valid are null."""


_EVENTS = 2_048
"""Another thread is given at least so many events: the steps of fewer take longer than the events."""


@dataclass(frozen=True, slots=True)
class Stereo:
    """The process behind `stereo`.

    Examples
    --------
    >>> from eventide.apps.gamma.stereo.subarray import Subarray
    >>> Stereo(Subarray({1: (0.0, 0.0, 0.0)}, {1: 2.3}), (70.0, 0.0)).min_intensity
    50.0
    """

    subarray: Subarray
    pointing: tuple[float, float] | None
    min_intensity: float = 50.0
    averages: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()

    def __call__(self, context: ProcessContext) -> StereoMachine:
        """Return a machine."""
        return StereoMachine(self, context)

    def schema(self, source: pa.Schema) -> pa.Schema:
        """Return the schema of the events of an input, once its columns are found to be right.

        Raises
        ------
        SchemaError
            A column is missing or holds no numbers.
        """
        own = POINTING if POINTING[0] in source.names or self.pointing is None else ()
        numbers = [*(f"hillas_{n}" for n in HILLAS), *own, *self.averages, *self.logs]
        for name in [*numbers, "event_id", "tel_id"]:
            kind = field_of(source, name, what="stereo()").type
            whole = name in ("event_id", "tel_id")
            if not (pa.types.is_integer(kind) or (pa.types.is_floating(kind) and not whole)):
                msg = f"the column {name!r} for stereo() holds {kind}, not {'whole ' * whole}numbers"
                raise SchemaError(msg, hint="angles are in degrees, event_id and tel_id whole numbers")
        more = [pa.field(f"{n}{end}", pa.float64()) for n in (*self.averages, *self.logs) for end in ("", "_std")]
        return pa.schema([*GEOMETRY, *more])

    def measure(self, batch: pa.RecordBatch, times: Int64Array, order: Int64Array | slice) -> pa.RecordBatch:
        """Reconstruct the events of some rows, all of each, in this order: one event after the other."""
        ids, tels = _numbered(batch)
        ids, tels, times = ids[order], tels[order], times[order]
        begins = _begins(ids, times)
        offsets = np.append(begins, ids.size)

        def column(name: str) -> FloatArray:
            out: FloatArray = numbers_of(batch.column(name))[order]
            return out

        position, radius = self.subarray.of(tels)
        given = (np.nan, np.nan) if self.pointing is None else self.pointing
        alt, az = (
            (column(n) for n in POINTING)
            if POINTING[0] in batch.schema.names
            else (np.full(ids.size, p) for p in given)
        )
        # Without a pointing of the array, an event's first telescope says it: they all track the same position.
        array = (alt[begins], az[begins]) if self.pointing is None else self.pointing
        shape = {n: column(f"hillas_{n}") for n in HILLAS}
        images = Images(offsets, **shape, position=position, alt=alt, az=az, radius=radius)
        found = reconstruct(
            images,
            array_alt=array[0],
            array_az=array[1],
            height=self.subarray.height,
            min_intensity=self.min_intensity,
        )
        arrays = _columns(found, times[begins], ids[begins], telescopes=(offsets, tels))
        schema = GEOMETRY
        weights = Weights(images.intensity, offsets)
        for name in (*self.averages, *self.logs):
            mean = weights.average(column(name), log=name in self.logs)
            for end, values in (("", mean.mean), ("_std", mean.std)):
                arrays.append(pa.array(values, mask=np.isnan(values)))
                schema = schema.append(pa.field(f"{name}{end}", pa.float64()))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


class StereoMachine:
    """Reconstructs events when all of their images are there.

    An event is whole when it has as many rows as its column ``n_tels`` says; without that column, or where rows have
    been left out since, when the watermark has passed it.
    """

    def __init__(self, plan: Stereo, context: ProcessContext) -> None:
        self._plan, self._context = plan, context
        self._whole = "n_tels" in context.schemas[0].names
        self._helpers: Helpers | None = None
        self._clear()

    def _clear(self) -> None:
        context = self._context
        self._waiting = Gathering(context.schemas[0], context.event_time, number="event_id", groups=context.groups)
        self._input = MIN_TIME

    def share(self, helpers: Helpers) -> bool:
        """Have other threads measure some of the events of a large batch."""
        self._helpers = helpers
        return True

    @property
    def taken(self) -> int:
        """How many rows were taken in, for the ledger."""
        return self._waiting.taken

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        return self._input

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings."""
        out: list[Emit] = []
        late = None
        if step.batch is not None and step.batch.num_rows:
            late = self._waiting.add(step.batch, watermark=self._input)
        watermark = max(self._input, MAX_TIME if step.end else step.watermark)
        if watermark > self._input or (step.batch is not None and self._whole):
            self._input = watermark
            out = self._measured()
        if late is not None and late.num_rows:
            out.append(Emit(LATE, late))
        return out

    def _measured(self) -> list[Emit]:
        if not self._waiting.rows.num_rows:
            return []
        found = self._waiting.look()
        done = found.first < self._input if self._input < MAX_TIME else np.ones(found.first.size, bool)
        if self._whole:
            asked = integers_of(found.rows.column("n_tels"), none=np.iinfo(np.int32).max)
            most = np.zeros(found.first.size, np.int64)
            np.maximum.at(most, found.of, asked)
            done |= found.counts >= most
        if not done.any():
            return []
        rows = self._waiting.take(found, done)
        times = event_times(rows, self._context.event_time)
        measure = functools.partial(self._plan.measure, rows, times)
        return [Emit(MAIN, concat(in_parts(self._helpers, measure, self._cut(rows, times))))]

    def _cut(self, rows: pa.RecordBatch, times: Int64Array) -> Sequence[Int64Array | slice]:
        """Return the order of rows by events, in a part for each thread where there are many."""
        ids, tels = _numbered(rows)
        order: Int64Array | slice
        if _in_order(times, ids, tels):  # mostly they are: no column need be sorted
            order, begins = slice(0, times.size), _begins(ids, times)
        else:
            order = np.lexsort((tels, ids, times))
            begins = _begins(ids[order], times[order])
        threads = 1 if self._helpers is None else self._helpers.free + 1
        count = min(threads, begins.size // _EVENTS)
        if count < 2:
            return [order]
        edges = begins[[begins.size * k // count for k in range(1, count)]].tolist()
        parts = [slice(a, b) for a, b in itertools.pairwise([0, *edges, times.size])]
        return parts if isinstance(order, slice) else [order[part] for part in parts]

    def snapshot(self) -> State:
        """Return the rows that wait, and the watermark."""
        progress = pa.table({"input": pa.array([self._input], pa.int64())})
        return {"waiting": self._waiting.snapshot(), "progress": progress}

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns."""
        self._clear()
        mine = select_groups(state, self._context.groups)
        self._input = mine["progress"].column("input")[0].as_py()
        self._waiting.restore(mine["waiting"])


def _numbered(batch: pa.RecordBatch) -> tuple[Int64Array, Int64Array]:
    """Return the event and the telescope of each row."""
    ids, tels = (integers_of(batch.column(n), none=-1) for n in ("event_id", "tel_id"))
    return ids, tels


def _in_order(times: Int64Array, ids: Int64Array, tels: Int64Array) -> bool:
    """Tell whether rows are in the order of time, then event, then telescope."""
    after = tels[1:] >= tels[:-1]
    for column in (ids, times):
        after = (column[1:] > column[:-1]) | ((column[1:] == column[:-1]) & after)
    return bool(after.all())


def _begins(ids: Int64Array, times: Int64Array) -> Int64Array:
    """Return where events begin, of rows in their order."""
    new = (np.diff(ids, prepend=ids[0]) != 0) | (np.diff(times, prepend=times[0]) != 0)
    return np.concatenate(([0], np.flatnonzero(new)))


def _columns(
    found: Geometry, times: Int64Array, ids: Int64Array, *, telescopes: tuple[Int64Array, Int64Array]
) -> list[pa.Array]:
    offsets, tels = telescopes
    no = ~found.is_valid
    numbers = [
        *(found.alt, found.az, found.uncert, found.uncert, found.core_x, found.core_y),
        *(found.core_tilted_x, found.core_tilted_y, found.h_max, found.average_intensity),
    ]
    return [
        pa.array(times).cast(EVENT_TIME),
        pa.array(ids),
        pa.array(found.is_valid),
        pa.array(found.n_tels.astype(np.int32)),
        pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(tels)),
        *(pa.array(n, mask=no) for n in numbers),
    ]


def stereo(
    stream: Stream,
    subarray: Subarray,
    *,
    pointing: tuple[float, float] | None = None,
    min_intensity: float = 50.0,
    averages: Sequence[str] = (),
    logs: Sequence[str] = (),
) -> Stream:
    """Reconstruct direction, core and height of the showers of a stream of images.

    Parameters
    ----------
    stream
        Images of array events, as `eventide.apps.gamma.building.operator.array_events` makes them: event time, the same
        for all of an event; ``event_id``, ``tel_id``, the columns of `HILLAS` and, where there are, of `POINTING`.
    subarray
        Where the telescopes stand; images of others are not used.
    pointing
        Altitude and azimuth that the array points to, degrees: what the core is found across. Left out, it is where
        the first telescope of an event points (the columns of `POINTING` are then needed), as an array tracks.
    min_intensity
        An image must have more light than this, photo-electrons.
    averages, logs
        Columns of which each event gets the mean over its images, weighted by intensity, and its deviation
        (``NAME_std``); of `logs` the mean of the logarithms (energies).

    Returns
    -------
    Stream
        `GEOMETRY`, and the averages: one row an event, those that cannot be reconstructed marked in ``is_valid``.

    Raises
    ------
    PipelineError
        The stream has no event time, or has keys.
    SchemaError
        (when the pipeline is checked) A column is missing or holds no numbers.

    Examples
    --------
    >>> import eventide as ev
    >>> columns = {"fov_lon": [0.5, 0.0], "fov_lat": [0.0, 0.5], "psi": [0.0, 90.0], "length": [0.2, 0.2]}
    >>> columns |= {"width": [0.1, 0.1], "intensity": [100.0, 300.0]}
    >>> rows = {"t": ["2026-01-01"] * 2, "event_id": [7, 7], "tel_id": [1, 2], "gammaness": [0.9, 0.5]}
    >>> rows |= {f"hillas_{n}": c for n, c in columns.items()}
    >>> array = Subarray({1: (0.0, 100.0, 0.0), 2: (100.0, 0.0, 0.0)}, {1: 2.0, 2: 2.0}, height=2000.0)
    >>> images = ev.from_table(rows).event_time("t")
    >>> found = ev.fetch(stereo(images, array, pointing=(90.0, 0.0), averages=["gammaness"]))
    >>> found.select(["event_id", "is_valid", "n_tels", "gammaness"]).to_pylist()
    [{'event_id': 7, 'is_valid': True, 'n_tels': 2, 'gammaness': 0.6}]
    """
    if not stream.time or stream.keys:
        msg = f"stereo() takes a stream with event time and without keys ({origin()})"
        raise PipelineError(msg, hint="put array_events(...) before it")
    process = Stereo(subarray, pointing, min_intensity, tuple(averages), tuple(logs))
    node = Process(stream.ref, process, {"main": process.schema}, "arrival", "event_time", "", origin())
    return Stream(Ref(node), (), "event_time")
