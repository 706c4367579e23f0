"""`Stream`: the few methods that build the closed graph. Everything else is a function passed to `.pipe`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

import pyarrow as pa

from eventide.errors import PipelineError, UsageError, near_names
from eventide.model.aggregate import Aggregate
from eventide.model.graph import (
    WINDOW_START,
    AssignTime,
    BatchFunction,
    Filter,
    Join,
    JoinSpec,
    KeyBy,
    MachineFactory,
    MapBatches,
    Process,
    Project,
    Read,
    Ref,
    Union,
    Window,
    WindowJoin,
    Write,
)
from eventide.model.machine import MAIN
from eventide.model.pipeline import Pipeline
from eventide.model.time import EventTime, duration
from eventide.model.trigger import Accumulation, Trigger
from eventide.model.window import CountWindow, GlobalWindow, Session, Sliding, Tumbling, WindowSpec

if TYPE_CHECKING:
    import polars as pl

    from eventide.model.keyed import KeyedProcess
    from eventide.model.protocols import Sink, Source

__all__ = ["Stream", "Windowed", "read"]

P = ParamSpec("P")
T = TypeVar("T")
_PACKAGE = str(Path(__file__).resolve().parent.parent)
_WINDOWS = (Tumbling, Sliding, Session, CountWindow, GlobalWindow)


def origin() -> str:
    """Return ``file.py:line`` of the user's code that is building the graph, for messages."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def read(uri: str | Source, *, name: str = "", **options: Any) -> Stream:
    """Return the stream of a source.

    Parameters
    ----------
    uri
        An address such as ``log://readings``, ``file://data/*.csv`` or a path; or a source object.
    name
        Name of the source in messages and metrics.
    **options
        What the connector takes, such as ``format="csv"`` or ``start="earliest"``.

    Examples
    --------
    >>> import eventide as ev
    >>> ev.read("log://readings")
    <Stream of read-0>
    """
    if isinstance(uri, str):
        if not uri:
            msg = "a source needs an address"
            raise UsageError(msg, hint="for example ev.read('log://readings') or ev.read('file://data/*.csv')")
        return Stream(Ref(Read(uri, options, None, name, origin())))
    return Stream(Ref(Read(f"object://{type(uri).__name__}", options, uri, name, origin())))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stream:
    """An unbounded sequence of batches, as a place in the graph. Immutable: every method returns a new one.

    Examples
    --------
    >>> import eventide as ev, polars as pl
    >>> hot = ev.read("log://readings").event_time("timestamp", lateness="30s").filter(pl.col("sensor") == "TSYS01")
    >>> hot
    <Stream of filter-2>
    """

    ref: Ref
    keys: tuple[str, ...] = ()
    time: str = ""

    def __repr__(self) -> str:
        from eventide.model.graph import walk
        from eventide.model.pipeline import label

        return f"<Stream of {label(self.ref.node, len(walk(self.ref.node)) - 1)}>"

    def event_time(
        self,
        column: str,
        *,
        lateness: str | timedelta = "0",
        idle: str | timedelta = "0",
        max_jump: str | timedelta = "0",
    ) -> Stream:
        """Declare which column says when an event happened, and how late events may arrive.

        Parameters
        ----------
        column
            A timestamp, date or ISO 8601 text column; it becomes ``timestamp[ns, UTC]``. Events without
            a time go to quarantine.
        lateness
            How far behind the newest event of its partition an event may arrive.
        idle
            After this long without events a partition stops holding the others back; "0" is never.
        max_jump
            An event that leaps further ahead than this is not believed: it moves no watermark and goes to
            quarantine, until a hundred such events in a row say that the gap is real; "0" is no limit.

        Examples
        --------
        >>> import eventide as ev
        >>> ev.read("log://readings").event_time("timestamp", lateness="30s").time
        'timestamp'
        """
        spec = EventTime(
            column,
            duration(lateness, what="lateness", zero=True),
            duration(idle, what="idle timeout", zero=True),
            duration(max_jump, what="max_jump", zero=True),
        )
        if not isinstance(column, str) or not column:
            given = f"the expression {column}" if hasattr(column, "meta") else repr(column)
            msg = f"event_time() takes the name of a column, not {given}"
            raise UsageError(msg, hint="for example .event_time('timestamp', lateness='30s')")
        return Stream(Ref(AssignTime(self.ref, spec, origin=origin())), self.keys, column)

    def filter(self, predicate: pl.Expr, *, name: str = "") -> Stream:
        """Keep the events for which a Polars expression is true (null counts as false).

        Examples
        --------
        >>> import eventide as ev, polars as pl
        >>> ev.read("log://a").filter(pl.col("value") > 0)
        <Stream of filter-1>
        """
        return replace(self, ref=Ref(Filter(self.ref, _expr(predicate, "filter"), name, origin())))

    def select(self, *exprs: str | pl.Expr, name: str = "", **named: pl.Expr) -> Stream:
        """Replace the columns by Polars expressions, row by row.

        Examples
        --------
        >>> import eventide as ev, polars as pl
        >>> ev.read("log://a").select("time", double=pl.col("value") * 2)
        <Stream of project-1>
        """
        return replace(self, ref=Ref(Project(self.ref, _exprs(exprs, named, "select"), False, name, origin())))

    def with_columns(self, *exprs: pl.Expr, name: str = "", **named: pl.Expr) -> Stream:
        """Add or replace columns by Polars expressions, row by row.

        Examples
        --------
        >>> import eventide as ev, polars as pl
        >>> ev.read("log://a").with_columns(celsius=(pl.col("f") - 32) / 1.8)
        <Stream of project-1>
        """
        return replace(self, ref=Ref(Project(self.ref, _exprs(exprs, named, "with_columns"), True, name, origin())))

    def map_batches(self, function: BatchFunction, *, schema: pa.Schema | None = None, name: str = "") -> Stream:
        """Apply a pure function to every Arrow batch; it returns a batch, several, or None.

        Parameters
        ----------
        function
            Batch in, batch(es) out. How events are cut into batches is not defined, so it must treat rows
            alone.
        schema
            What it returns; left out, it is called once with an empty batch to find out.
        name
            Name in messages and metrics.

        Examples
        --------
        >>> import eventide as ev
        >>> ev.read("log://a").map_batches(lambda b: b.slice(0, 1))
        <Stream of mapbatches-1>
        """
        if not callable(function):
            msg = f"map_batches() takes a function of a record batch, not {function!r}"
            raise UsageError(msg, hint="pass the function itself, without calling it")
        return replace(self, ref=Ref(MapBatches(self.ref, function, schema, name, origin())))

    def key_by(self, *columns: str) -> Stream:
        """Say which events belong together: windows, joins and processes work per key.

        Examples
        --------
        >>> import eventide as ev
        >>> ev.read("log://a").key_by("node_id", "sensor").keys
        ('node_id', 'sensor')
        """
        if not columns or not all(isinstance(c, str) for c in columns):
            msg = f"key_by() takes the names of columns, not {columns!r}"
            raise UsageError(msg, hint="for example .key_by('node_id'); compute a key with .with_columns() first")
        if len(set(columns)) < len(columns):
            msg = f"key_by() names a column twice: {columns!r}"
            raise UsageError(msg, hint="name each key column once")
        return Stream(Ref(KeyBy(self.ref, columns, origin=origin())), columns, self.time)

    def window(
        self,
        window: WindowSpec,
        *,
        trigger: Trigger | None = None,
        accumulation: Accumulation = "accumulating",
        allowed_lateness: str | timedelta = "0",
        timestamp: Literal["start", "end", "earliest", "latest"] = "start",
    ) -> Windowed:
        """Cut the stream into windows; `.aggregate` says what is computed of each.

        Parameters
        ----------
        window
            `ev.tumbling`, `ev.sliding`, `ev.session`, `ev.count_window` or `ev.global_window`.
        trigger
            When panes are emitted; left out, once, when the watermark passes the window's end.
        accumulation
            What a later pane of the same window holds: only what is new ("discarding"), everything
            ("accumulating"), or everything after taking back the pane before ("retracting").
        allowed_lateness
            How long after its end a window still takes late events, each of which makes a late pane.
        timestamp
            The event time of the results: the window's start, its end (minus 1 ns), or that of its
            earliest or latest event.

        Examples
        --------
        >>> import eventide as ev
        >>> s = ev.read("log://a").event_time("t").window(ev.tumbling("20m")).aggregate(n=ev.count())
        >>> s
        <Stream of window-2>
        """
        self._need_time("a window")
        if not isinstance(window, _WINDOWS):
            known = ["tumbling", "sliding", "session", "count_window", "global_window"]
            hint = near_names(window, known) if isinstance(window, str) else "for example ev.tumbling('20m')"
            msg = f"{window!r} is not a window"
            raise UsageError(msg, hint=hint)
        modes = ("discarding", "accumulating", "retracting")
        if accumulation not in modes:
            msg = f"accumulation {accumulation!r} is not known"
            raise UsageError(msg, hint=near_names(str(accumulation), modes))
        lateness = duration(allowed_lateness, what="allowed_lateness", zero=True)
        return Windowed(self, window, trigger, accumulation, lateness, timestamp)

    def process(
        self,
        process: KeyedProcess | MachineFactory,
        *,
        schema: pa.Schema | Mapping[str, pa.Schema],
        event_time: str | None = None,
        order: Literal["event_time", "arrival"] = "event_time",
        name: str = "",
    ) -> Stream:
        """Run a process of one's own with state and timers per key.

        Parameters
        ----------
        process
            An object with ``state``, ``on_events`` and ``on_timers`` (see `KeyedProcess`), or a factory of
            machines (see `Machine`).
        schema
            Schema of the results, or one per port: ``{"main": ..., "alarms": ...}``.
        event_time
            Event-time column of the results; left out, the input's name when the results have it.
        order
            ``"event_time"``: events wait for the watermark and come in order, so that results do not
            depend on the order of arrival. ``"arrival"``: at once, as they come.
        name
            Name in messages and metrics.
        """
        self._need_time("a process")
        schemas = {MAIN: schema} if isinstance(schema, pa.Schema) else dict(schema)
        if MAIN not in schemas:
            msg = f"process() has no schema for the port {MAIN!r}"
            raise UsageError(msg, hint="pass schema={'main': ..., 'other': ...}")
        time = event_time if event_time is not None else (self.time if self.time in schemas[MAIN].names else "")
        node = Process(self.ref, process, schemas, order, time, name, origin())
        keys = self.keys if all(k in schemas[MAIN].names for k in self.keys) else ()
        return Stream(Ref(node), keys, time)

    def join(
        self,
        right: Stream,
        on: JoinSpec | WindowSpec,
        *,
        how: Literal["inner", "left"] = "inner",
        suffix: str = "_right",
        name: str = "",
    ) -> Stream:
        """Join with another stream by equal keys, in event time.

        Parameters
        ----------
        right
            The other stream, keyed by as many columns.
        on
            A window (pairs in the same window), `ev.interval(lower, upper)` or `ev.asof(tolerance)`.
        how
            ``"left"`` keeps left events without a partner.
        suffix
            Added to right columns whose name the left has too.
        name
            Name in messages and metrics.
        """
        self._need_time("a join")
        right._need_time("the right side of a join")
        if not self.keys or len(self.keys) != len(right.keys):
            msg = f"a join needs as many keys on both sides, not {self.keys!r} and {right.keys!r}"
            raise PipelineError(msg, hint="call .key_by(...) on both streams before .join()")
        spec: JoinSpec = WindowJoin(on) if isinstance(on, _WINDOWS) else on
        if isinstance(spec, WindowJoin) and not isinstance(spec.window, Tumbling | Sliding):
            msg = f"streams cannot be joined per {spec.window}"
            raise UsageError(msg, hint="use ev.tumbling(...), ev.sliding(...), ev.interval(...) or ev.asof(...)")
        if how not in ("inner", "left"):
            msg = f"how={how!r} is not a kind of join"
            raise UsageError(msg, hint=near_names(str(how), ["inner", "left"]))
        return Stream(Ref(Join(self.ref, right.ref, spec, how, suffix, name, origin())), self.keys, self.time)

    def union(self, *others: Stream, name: str = "") -> Stream:
        """Put streams of one schema together; the watermark is the lowest of theirs.

        Examples
        --------
        >>> import eventide as ev
        >>> ev.read("log://a").union(ev.read("log://b"))
        <Stream of union-2>
        """
        for other in others:
            if other.time != self.time:
                msg = f"union() of streams with event time {self.time!r} and {other.time!r}"
                raise PipelineError(msg, hint="call .event_time() with the same column on each, or on the union")
        keys = self.keys if all(o.keys == self.keys for o in others) else ()
        return Stream(Ref(Union((self.ref, *(o.ref for o in others)), name, origin())), keys, self.time)

    def side(self, port: str) -> Stream:
        """Return another output of the operator that this stream comes from, such as ``"late"``.

        Examples
        --------
        >>> import eventide as ev
        >>> w = ev.read("log://a").event_time("t").window(ev.tumbling("1m")).aggregate(n=ev.count())
        >>> w.side("late").time
        't'
        """
        node = self.ref.node
        if isinstance(node, Window):
            ports = {"late"}
        elif isinstance(node, Join):
            ports = {"late", "late_right"}
        elif isinstance(node, Process):
            ports = {*node.schemas, "late"} - {MAIN}
        else:
            ports = set()
        if port not in ports:
            msg = f"{type(node).__name__.lower()} has no output {port!r}"
            raise UsageError(msg, hint=near_names(port, ports) if ports else "only windows, joins and processes have")
        return Stream(Ref(node, port), (), _side_time(node, port))

    def write(self, uri: str | Sink, *, name: str = "", **options: Any) -> Pipeline:
        """End the stream in a sink, which makes it a pipeline.

        Examples
        --------
        >>> import eventide as ev
        >>> ev.read("log://a").write("log://b").name
        'pipeline'
        """
        if isinstance(uri, str):
            if not uri:
                msg = "a sink needs an address"
                raise UsageError(msg, hint="for example .write('log://results') or .write('file://out.parquet')")
            return Pipeline((Write(self.ref, uri, options, None, name, origin()),))
        return Pipeline((Write(self.ref, f"object://{type(uri).__name__}", options, uri, name, origin()),))

    def pipe(self, function: Callable[Concatenate[Stream, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``function(self, ...)``: how operators that are not methods are applied.

        Examples
        --------
        >>> import eventide as ev
        >>> ev.read("log://a").pipe(lambda s, column: s.key_by(column), "id").keys
        ('id',)
        """
        return function(self, *args, **kwargs)

    def _need_time(self, what: str) -> None:
        if not self.time:
            msg = f"{what} needs event time, and this stream has none ({origin()})"
            raise PipelineError(msg, hint="call .event_time('column', lateness='30s') before it")


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """A stream cut into windows, waiting to be told what to compute of each."""

    stream: Stream
    window: WindowSpec
    trigger: Trigger | None
    accumulation: Accumulation
    allowed_lateness: int
    timestamp: Literal["start", "end", "earliest", "latest"]

    def aggregate(self, *, name: str = "", **aggregates: Aggregate | pl.Expr) -> Stream:
        """Return the results: the keys, ``window_start``, ``window_end`` and one column per aggregate.

        Parameters
        ----------
        name
            Name in messages and metrics.
        **aggregates
            ``column=ev.mean("value")``, or any Polars expression that gives one value per group.

        Examples
        --------
        >>> import eventide as ev
        >>> w = ev.read("log://a").event_time("t").key_by("id").window(ev.tumbling("1m"))
        >>> w.aggregate(mean=ev.mean("value"), n=ev.count()).time
        'window_start'
        """
        if not aggregates:
            msg = "aggregate() was asked to compute nothing"
            raise UsageError(msg, hint="for example .aggregate(n=ev.count(), mean=ev.mean('value'))")
        node = Window(
            self.stream.ref,
            self.window,
            tuple((column, _aggregate(value, column)) for column, value in aggregates.items()),
            self.trigger,
            self.accumulation,
            self.allowed_lateness,
            self.timestamp,
            name,
            origin(),
        )
        time = WINDOW_START if self.timestamp == "start" else "event_time"
        return Stream(Ref(node), self.stream.keys, time)


def _aggregate(value: Any, column: str) -> Aggregate:
    if isinstance(value, Aggregate):
        return value
    if hasattr(value, "meta"):
        from eventide.model.aggregate import expression

        return expression(value)
    msg = f"aggregate {column}={value!r} is neither an aggregate nor a Polars expression"
    raise UsageError(msg, hint=f"for example {column}=ev.mean('value') (call it, with the name of a column)")


def _expr(value: Any, where: str) -> pl.Expr:
    if not hasattr(value, "meta"):
        msg = f"{where}() takes a Polars expression, not {value!r}"
        raise UsageError(msg, hint="for example pl.col('value') > 0, with import polars as pl")
    expr: pl.Expr = value
    return expr


def _exprs(values: tuple[Any, ...], named: Mapping[str, Any], where: str) -> tuple[pl.Expr, ...]:
    import polars as pl

    plain = [pl.col(v) if isinstance(v, str) else _expr(v, where) for v in values]
    out = [*plain, *(_expr(v, where).alias(k) for k, v in named.items())]
    if not out:
        msg = f"{where}() was given no column"
        raise UsageError(msg, hint=f"for example .{where}(double=pl.col('value') * 2)")
    return tuple(out)


def _side_time(node: Any, port: str) -> str:
    """Return the event-time column of a side output: late events keep that of the input they came by."""
    from eventide.model.graph import inputs

    if isinstance(node, Process) and port in node.schemas:
        schema = node.schemas[port]
        return node.event_time if callable(schema) or node.event_time in schema.names else ""
    ref = inputs(node)[1 if port == "late_right" else 0]
    return time_column(ref)


def time_column(ref: Ref) -> str:
    """Return the event-time column at a place in the graph, "" where none was declared."""
    from eventide.model.graph import inputs

    node = ref.node
    if isinstance(node, AssignTime):
        return node.event_time.column
    if isinstance(node, Read):
        return ""
    if ref.port != MAIN:
        return _side_time(node, ref.port)
    if isinstance(node, Window):
        return WINDOW_START if node.timestamp == "start" else "event_time"
    if isinstance(node, Process):
        return node.event_time
    return time_column(inputs(node)[0])
