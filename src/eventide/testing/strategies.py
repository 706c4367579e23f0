"""Hypothesis strategies for schemas, batches and how events reach a pipeline: order, cuts, partitions, repeats.

>>> from hypothesis import find
>>> find(batches(pa.schema([("n", pa.int64())])), lambda b: b.num_rows > 1).schema.names
['n']
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from eventide.model.time import EVENT_TIME
from eventide.testing._libraries import DrawFn, SearchStrategy, st

__all__ = [
    "NAMES",
    "NESTED",
    "SCALARS",
    "SECOND",
    "TYPES",
    "Schedule",
    "arrivals",
    "batches",
    "duplicates",
    "events",
    "schedules",
    "schemas",
    "values",
    "watermarks",
]

SECOND = 1_000_000_000
"""Nanoseconds."""

SCALARS: Mapping[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date32": pa.date32(),
    "timestamp[s]": pa.timestamp("s", "UTC"),
    "timestamp[ms]": pa.timestamp("ms", "UTC"),
    "timestamp[us]": pa.timestamp("us", "UTC"),
    "event_time": EVENT_TIME,
}
"""Column types that hold one value a row, by the name that suites use."""

NESTED: Mapping[str, pa.DataType] = {
    "list<int64>": pa.list_(pa.int64()),
    "list<string>": pa.list_(pa.string()),
    "list<list<float64>>": pa.list_(pa.list_(pa.float64())),
    "struct": pa.struct([("x", pa.float64()), ("label", pa.string())]),
}
"""Column types that hold several."""

TYPES: Mapping[str, pa.DataType] = {**SCALARS, **NESTED, "dictionary": pa.dictionary(pa.int32(), pa.string())}
"""All of them."""

NAMES = (
    "with space",
    " ",
    "semi;colon",
    "comma,",
    'quote"',
    "apostrophe'",
    "back\\slash",
    "bracket[0]",
    "brace{}",
    "dot.ted",
    "percent%s",
    "colon:",
    "dollar$1",
    "question?",
    "select",
    "MixedCase",
    "mixedcase",
    "42",
    "-- comment",
    "x); DROP TABLE events; --",
    "größe",
    "時刻",
    "e\u0301",
    "\U0001f30a",
    "n" * 60,
)
"""Column names that break programs which paste them into other languages."""

_LOW, _HIGH = -8_520_336_000, 8_835_955_200
"""Seconds: the years 1700 and 2250, which nanoseconds in 64 bits can hold."""
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def values(kind: pa.DataType) -> SearchStrategy[Any]:
    """Return values of a type as `pyarrow.array` takes them (times as integers), nulls not among them.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(values(pa.int8()), lambda v: True)
    0
    """
    if pa.types.is_dictionary(kind):
        return values(kind.value_type)
    if pa.types.is_struct(kind):
        members = {f.name: st.none() | values(f.type) for f in kind}
        return st.fixed_dictionaries(members)
    if pa.types.is_list(kind):
        return st.lists(st.none() | values(kind.value_type), max_size=3)
    if pa.types.is_timestamp(kind):
        return st.integers(_LOW * _UNITS[kind.unit], _HIGH * _UNITS[kind.unit])
    if pa.types.is_integer(kind):
        signed = pa.types.is_signed_integer(kind)
        top = 2 ** (kind.bit_width - signed)
        return st.sampled_from([0, top - 1, -top * signed]) | st.integers(-top * signed, top - 1)
    return _PLAIN[kind]


_PLAIN: Mapping[pa.DataType, SearchStrategy[Any]] = {
    pa.bool_(): st.booleans(),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.string(): st.text(max_size=12) | st.text("ab,;\"'\n\r\t\\ #\0ü{}[]:", max_size=8),
    pa.binary(): st.binary(max_size=12),
    pa.date32(): st.integers(_LOW // 86_400, _HIGH // 86_400),
}


@st.composite
def schemas(
    draw: DrawFn,
    types: Sequence[str] = tuple(SCALARS),
    *,
    max_columns: int = 4,
    names: Sequence[str] = ("a", "b", "c", "d", "e", "f"),
) -> pa.Schema:
    """Draw a schema.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    types
        Names of `TYPES`.
    max_columns
        Most columns.
    names
        Names of columns to choose from, as many at least.
    """
    kinds = draw(st.lists(st.sampled_from(list(types)), min_size=1, max_size=max_columns))
    chosen = draw(st.permutations(list(names)))[: len(kinds)]
    return pa.schema([pa.field(n, TYPES[k]) for n, k in zip(chosen, kinds, strict=True)])


@st.composite
def batches(draw: DrawFn, schema: pa.Schema, *, max_rows: int = 12, nulls: bool = True) -> pa.RecordBatch:
    """Draw a batch of a schema, with nulls, NaN, infinities, the ends of every range and any text.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    schema
        Its columns.
    max_rows
        Most rows; none is possible.
    nulls
        Whether there are nulls.
    """
    rows = draw(st.integers(0, max_rows))
    columns = []
    for field in schema:
        one = values(field.type)
        column = draw(st.lists(st.none() | one if nulls else one, min_size=rows, max_size=rows))
        columns.append(pa.array(column, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


@st.composite
def events(
    draw: DrawFn, *, max_rows: int = 40, min_rows: int = 0, keys: Sequence[str] = ("a", "b", "c"), span: int = 100
) -> pa.Table:
    """Draw events in event-time order: ``time``, ``key``, ``value`` (eighths, some null), ``n`` (small, some null).

    Sums of eighths are exact in binary, so that expected values need no tolerance.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    max_rows, min_rows
        How many.
    keys
        The values of ``key``.
    span
        Seconds between the first and the last event, at most; equal times are frequent.
    """
    size = draw(st.integers(min_rows, max_rows))
    seconds = sorted(draw(st.lists(st.integers(0, span), min_size=size, max_size=size)))
    eighths = st.none() | st.integers(-800, 800).map(lambda v: v / 8)
    return pa.table(
        {
            "time": pa.array(np.array(seconds, np.int64) * SECOND, EVENT_TIME),
            "key": pa.array(draw(st.lists(st.sampled_from(list(keys)), min_size=size, max_size=size)), pa.string()),
            "value": pa.array(draw(st.lists(eighths, min_size=size, max_size=size)), pa.float64()),
            "n": pa.array(
                draw(st.lists(st.none() | st.integers(-9, 9), min_size=size, max_size=size)),
                pa.int64(),
            ),
        }
    )


@st.composite
def arrivals(draw: DrawFn, times: Sequence[int], *, lateness: int) -> tuple[int, ...]:
    """Draw an order of arrival in which no event comes more than `lateness` behind a younger one.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    times
        Event times, ns.
    lateness
        Most disorder, ns.

    Returns
    -------
    The numbers of the events in order of arrival.
    """
    delays = draw(st.lists(st.integers(0, 64), min_size=len(times), max_size=len(times)))
    arrival = [t + lateness * d // 64 for t, d in zip(times, delays, strict=True)]
    return tuple(sorted(range(len(times)), key=lambda i: (arrival[i], i)))


@dataclass(frozen=True, slots=True)
class Schedule:
    """How events reach a pipeline.

    Parameters
    ----------
    order
        Numbers of the events, in order of arrival.
    cuts
        Rows of the batches, in turn.
    partitions
        Into how many partitions the rows are dealt out, in turn.
    lanes
        Lanes of each leg of the run, in turn.
    stops
        After how many events each leg is stopped; the next one goes on from its checkpoint.
    """

    order: tuple[int, ...]
    cuts: tuple[int, ...] = (1 << 30,)
    partitions: int = 1
    lanes: tuple[int, ...] = (1,)
    stops: tuple[int, ...] = ()

    def batches(self, table: pa.Table) -> list[pa.RecordBatch]:
        """Return the events of a table in order of arrival, cut into batches."""
        whole = table.take(pa.array(self.order, pa.int64())).combine_chunks()
        made: list[pa.RecordBatch] = []
        start = 0
        for size in itertools.cycle(self.cuts):
            if start >= whole.num_rows:
                return made or [pa.RecordBatch.from_pylist([], schema=table.schema)]
            made += whole.slice(start, size).to_batches()
            start += size
        return made


@st.composite
def schedules(
    draw: DrawFn,
    times: Sequence[int],
    *,
    lateness: int = 0,
    vary: Sequence[str] = ("order", "cuts", "partitions", "lanes", "stops"),
) -> Schedule:
    """Draw a schedule.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    times
        Event times, ns.
    lateness
        Most disorder, ns.
    vary
        What is drawn; the rest is as plain as can be.
    """
    size = len(times)
    plain = tuple(range(size))
    cuts = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))) if "cuts" in vary else (1 << 30,)
    stops = tuple(sorted(draw(st.lists(st.integers(1, max(1, size)), min_size=1, max_size=2))))
    return Schedule(
        order=draw(arrivals(times, lateness=lateness)) if "order" in vary else plain,
        cuts=cuts,
        partitions=draw(st.sampled_from([1, 2, 8])) if "partitions" in vary else 1,
        lanes=tuple(draw(st.lists(st.sampled_from([1, 2, 3, 8]), min_size=1, max_size=3))) if "lanes" in vary else (1,),
        stops=stops if "stops" in vary else (),
    )


@st.composite
def duplicates(draw: DrawFn, table: pa.Table, *, most: int = 5) -> pa.Table:
    """Draw a table that has some rows of `table` once more, next to where they stand."""
    if not table.num_rows:
        return table
    again = draw(st.lists(st.integers(0, table.num_rows - 1), max_size=most))
    return table.take(pa.array(sorted([*range(table.num_rows), *again]), pa.int64()))


def watermarks(*, most: int = 100 * SECOND, max_size: int = 10) -> SearchStrategy[list[int]]:
    """Return rising sequences of watermarks, ns, some of which stand still.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(watermarks(), lambda w: len(w) == 2)
    [0, 0]
    """
    return st.lists(st.integers(0, most), max_size=max_size).map(sorted)
