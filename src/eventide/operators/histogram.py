"""Histograms of events, published while they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from eventide.errors import PipelineError, SchemaError, UsageError
from eventide.kernel.histogram.axes import Axis, Edges, axis_columns
from eventide.kernel.histogram.columns import check_number
from eventide.kernel.histogram.machine import HistogramPlan
from eventide.kernel.histogram.products import Product, checked
from eventide.kernel.histogram.values import Column
from eventide.kernel.keyed.node import field_of
from eventide.model.graph import Process, Ref
from eventide.model.machine import MAIN
from eventide.model.stream import Stream, origin
from eventide.model.time import duration

if TYPE_CHECKING:
    from eventide.model.keyed import PortSchema

__all__ = ["histogram"]


def histogram(
    stream: Stream,
    *,
    products: Mapping[str, Product | Axis],
    every: str | timedelta | None = None,
    reset: str | timedelta | None = None,
    vetoed: str = "",
    track: Sequence[str] = (),
    sparse: bool = False,
) -> Stream:
    """Count events into histograms, and publish these at the end of every interval of event time and of the input.

    One publication per key, interval and product; an interval without events of a key has none. It holds the events
    before `until` since counting began, exactly those, in whatever order and batches they came (late ones leave by
    the port ``late``). Bins are half-open, and counts are exact integers. A row of the input is an event, or, where
    columns are lists, as many events as these have entries (a pulse).

    The columns: the keys; ``until`` (the event time: the end of the interval; without intervals, the first full
    microsecond after the last event), ``since`` (when counting began, null: with the input), ``first`` and ``last``
    (event times that are in it); ``product``; ``sequence`` (from 0, since counting began); the ledger ``events =
    binned + below + above + unknown + masked + nan + vetoed``; ``counts`` (a list of int64 in C order). The schema's
    metadata has the axes (`eventide.kernel.histogram.publication.read_metadata`).

    Parameters
    ----------
    stream
        A stream with event time; keyed, each key has histograms of its own.
    products
        What to fill, by name: an axis, or a `product` of several. All are filled in one pass.
    every
        The intervals, which begin with multiples of this since 1970. Left out: one publication, at the end.
    reset
        Counting begins anew with every multiple of this, which is one of `every`. The same as `every`: publications
        hold what is new in them. Left out: they hold all events.
    vetoed
        A boolean column: events for which it is true are counted as vetoed, and in no bin.
    track
        Integer columns (message numbers, offsets) whose least and greatest values each publication tells, as
        ``NAME_first`` and ``NAME_last``.
    sparse
        Publish only bins with events: ``bins`` has their numbers, ``counts`` their counts.

    Raises
    ------
    PipelineError
        The stream has no event time.
    SchemaError
        (when the pipeline is checked) A column is missing, or of a type that the axis cannot take.
    UsageError
        `reset` is no multiple of `every`, or nothing is to be filled.

    Notes
    -----
    Products with weights also have ``sums`` and ``squares`` (of the weights, float64), which are added in the order of
    arrival: another order may change their last digits. Events after the open interval wait, as rows, so keep the
    allowed lateness short where events are many.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.kernel.histogram.axes import uniform
    >>> times = ["2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:00:02"]
    >>> events = ev.from_table({"t": times, "tof": [10, 70, 300]}).event_time("t")
    >>> live = events.pipe(ev.op.histogram, products={"tof": uniform("tof", 0, 100, 2)}, every="2s")
    >>> ev.fetch(live).select(["events", "binned", "above", "counts"]).to_pylist()[-1]
    {'events': 3, 'binned': 2, 'above': 1, 'counts': [1, 1]}
    """
    if not stream.time:
        msg = f"histogram() needs event time, and this stream has none ({origin()})"
        raise PipelineError(msg, hint="call .event_time('column', lateness='1s') before it")
    interval = 0 if every is None else duration(every, what="every")
    window = 0 if reset is None else duration(reset, what="reset")
    if window and (not interval or window % interval):
        msg = f"histogram() cannot begin anew every {reset}, as it publishes every {every}"
        raise UsageError(msg, hint="reset= must be a multiple of every=, for example every='1s', reset='1m'")
    plan = HistogramPlan(checked(products), interval, window, vetoed, tuple(track), sparse)
    keys = stream.keys

    def main(source: pa.Schema) -> pa.Schema:
        _check(plan, source)
        return plan.schema(source, keys)

    schemas: dict[str, PortSchema] = {MAIN: main}
    node = Process(stream.ref, plan, schemas, "arrival", "until", "", origin())
    return Stream(Ref(node), keys, "until")


def _check(plan: HistogramPlan, source: pa.Schema) -> None:
    for name, each in plan.products.items():
        for axis in each.axes:
            what = f"the axis {axis.name!r} of {name!r}"
            plain = isinstance(axis, Edges) and isinstance(axis.value, Column)
            for at, column in enumerate(axis_columns(axis)):
                check_number(field_of(source, column, what=what), what=what, whole=not plain and at == 0)
        if each.weights:
            check_number(field_of(source, each.weights, what=f"weights of {name!r}"), what=f"weights of {name!r}")
    for column in plan.track:
        check_number(field_of(source, column, what="track="), what="track=", whole=True)
    if plan.vetoed:
        field = field_of(source, plan.vetoed, what="vetoed=")
        kind = field.type.value_type if pa.types.is_list(field.type) else field.type
        if not pa.types.is_boolean(kind):
            msg = f"the column {plan.vetoed!r} for vetoed= holds {field.type}, not true and false"
            raise SchemaError(msg, hint="make one: .with_columns(veto=pl.col('period') == 2)")
