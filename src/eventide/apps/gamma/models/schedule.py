"""Which model is in force when: models change at times of events, so that no event is judged by two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.models.forest import Forest
from eventide.apps.gamma.numbers import integers_of, numbers_of
from eventide.errors import PipelineError, SchemaError, UsageError, near_names
from eventide.model.batch import Int64Array
from eventide.model.row_wise import RowWise
from eventide.model.stream import Stream, origin
from eventide.model.time import EVENT_TIME, MIN_TIME, format_time, instant

__all__ = ["Schedule", "score"]

FloatArray = npt.NDArray[np.float64]


class Schedule:
    """Models by the time from which on they are in force.

    Parameters
    ----------
    models
        A forest for all times, or forests by the event time at which each begins (ISO 8601, datetime, or ns).

    Raises
    ------
    UsageError
        There is no model, or two say different things or take different features.

    Examples
    --------
    >>> from eventide.apps.gamma.models.forest import Tree, forest_of
    >>> one, two = (forest_of([Tree(*(np.array([v]) for v in (-1, 0, 0, 0, said)))], ["width"]) for said in (0.1, 0.9))
    >>> models = Schedule({"2026-01-01": one, "2026-02-01": two})
    >>> at = [instant(t) for t in ("2025-12-31", "2026-01-31", "2026-02-01")]
    >>> models.predict(np.ones((3, 1)), np.array(at)).tolist()
    [nan, 0.1, 0.9]
    """

    def __init__(self, models: Forest | Mapping[str | datetime | int, Forest]) -> None:
        given = {MIN_TIME: models} if isinstance(models, Forest) else models
        found = sorted(((instant(t, what="start of a model"), f) for t, f in given.items()), key=lambda m: m[0])
        starts = [t for t, _ in found]
        if not found or len(set(starts)) < len(starts):
            msg = f"a schedule of {len(found)} models, of which two may begin at one time"
            raise UsageError(msg, hint="give at least one model, and every one a time of its own")
        self.forests = tuple(f for _, f in found)
        self.starts = np.array(starts, np.int64)
        self.name, self.features = self.forests[0].name, self.forests[0].features
        for start, forest in found:
            if (forest.name, forest.features) != (self.name, self.features):
                msg = f"the model from {format_time(start)} says {forest.name!r} of {', '.join(forest.features)}"
                raise UsageError(msg, hint=f"models of one schedule all say {self.name!r} of the same features")

    def of(self, times: Int64Array) -> Int64Array:
        """Return the number of the model in force at each time, ns; -1 before the first one."""
        return np.searchsorted(self.starts, times, side="right") - 1

    def predict(self, rows: npt.ArrayLike, times: Int64Array) -> FloatArray:
        """Return what the model in force at the time of each row says of it; NaN before the first one."""
        given = np.asarray(rows)
        number = self.of(times)
        if number.size and number[0] >= 0 and (number == number[0]).all():
            only: Forest = self.forests[int(number[0])]
            return only.predict(given)
        out = np.full(number.size, np.nan)
        for model in np.unique(number[number >= 0]).tolist():
            mine = number == model
            out[mine] = self.forests[model].predict(given if mine.all() else given[mine])
        return out


def score(stream: Stream, schedule: Schedule, *, by: str = "", features: Sequence[str] | None = None) -> Stream:
    """Add what models say of each row, and which one said it.

    Parameters
    ----------
    stream
        Rows with the models' features.
    schedule
        The models. A row is judged by the one in force at its time, whatever batch it comes in.
    by
        The column that says when; left out, the event time. Name the time of the array event where rows are telescopes'
        images, so that all of an event are judged by one model.
    features
        Columns to use instead of those with the features' names, in the same order.

    Returns
    -------
    Stream
        The rows with a column named as the schedule (float64; null where a feature is null or not finite, or no model
        is in force) and ``NAME_model``: the first 16 digits of the model's hash.

    Raises
    ------
    PipelineError
        The stream has no event time, and no column is named.
    SchemaError
        (when the pipeline is checked) A column is missing, or there already.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.models.forest import Tree, forest_of
    >>> forest = forest_of([Tree(*(np.array([v]) for v in (-1, 0, 0, 0, 0.9)))], ["width"], name="gammaness")
    >>> events = ev.from_table({"t": ["2026-01-01"], "width": [0.1]}).event_time("t")
    >>> ev.fetch(score(events, Schedule(forest))).column("gammaness").to_pylist()
    [0.9]
    """
    when = by or stream.time
    if not when:
        msg = f"score() needs a time, and this stream has none ({origin()})"
        raise PipelineError(msg, hint="call .event_time('time') before it, or name a column: by='event_time'")
    columns = tuple(features or schedule.features)
    if len(columns) != len(schedule.features):
        msg = f"score(): {len(columns)} columns for the {len(schedule.features)} features of {schedule.name!r}"
        raise UsageError(msg, hint=f"the features are {', '.join(schedule.features)}")
    digests = pa.array([*(f.digest[:16] for f in schedule.forests), None], pa.string())

    def judge(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, None]:
        _check(batch.schema, (*columns, when), schedule.name)
        if batch.schema.field(when).type != EVENT_TIME:
            msg = f"the column {when!r} for score() holds {batch.schema.field(when).type}, not times of events"
            raise SchemaError(msg, hint="name a column of timestamp[ns, UTC]")
        times = integers_of(batch.column(when).cast(pa.int64()), none=MIN_TIME - 1)
        table = [numbers_of(batch.column(c)) for c in columns]
        # Columns stay side by side: forests take them so.
        said = schedule.predict(np.stack(table).T, times) if batch.num_rows else np.empty(0)
        number = schedule.of(times) % (len(schedule.forests) + 1)
        one = bool(number.size) and bool((number == number[0]).all())
        model = pa.repeat(digests[int(number[0])], number.size) if one else digests.take(pa.array(number))
        out = batch.append_column(schedule.name, pa.array(said, mask=np.isnan(said)))
        return out.append_column(f"{schedule.name}_model", model), None

    return stream.map_batches(RowWise(judge, in_parts=True), name=f"score-{schedule.name}")


def _check(schema: pa.Schema, columns: Sequence[str], name: str) -> None:
    for column in columns:
        if column not in schema.names:
            msg = f"there is no column {column!r} for score()"
            raise SchemaError(msg, hint=near_names(column, schema.names))
    double = [n for n in (name, f"{name}_model") if n in schema.names]
    if double:
        msg = f"score() adds a column {double[0]!r}, and there is one already"
        raise SchemaError(msg, hint="rename yours first")
