"""Forty mistakes that users make, and what they are told: what happened, where, what to do.

Each case is a mistake and the whole message, reviewed by eye; a change of wording is a change of this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import eventide as ev
from eventide import registry
from eventide.cli.target import load_target, parse_params
from eventide.config import load_config, secret
from eventide.errors import EventideError
from eventide.model.time import EVENT_TIME

TABLE = pa.table(
    {
        "time": pa.array([1, 2, 3], EVENT_TIME),
        "value": [1.0, 2.0, 3.0],
        "count": [1, 2, 3],
        "sensor": ["a", "b", "a"],
    }
)


def plain() -> ev.Stream:
    return ev.from_table(TABLE)


def timed() -> ev.Stream:
    return plain().event_time("time", lateness="1s")


def windowed(**aggregates: Any) -> Any:
    return ev.fetch(timed().key_by("sensor").window(ev.tumbling("1m")).aggregate(**aggregates))


def batch_of(_: pa.RecordBatch) -> Any:
    return {"not": "a batch"}


CASES: dict[str, tuple[Callable[[], Any], str, str]] = {
    "wrong column in filter": (
        lambda: ev.fetch(timed().filter(pl.col("valeu") > 1)),
        "there is no column 'valeu' for filter (filter-2, test_messages.py:N)",
        "did you mean 'value'?",
    ),
    "wrong column in select": (
        lambda: ev.fetch(plain().select("sensr")),
        "there is no column 'sensr' for the expressions (project-1, test_messages.py:N)",
        "did you mean 'sensor'?",
    ),
    "wrong column in with_columns": (
        lambda: ev.fetch(plain().with_columns(x=pl.col("val") * 2)),
        "there is no column 'val' for the expressions (project-1, test_messages.py:N)",
        "did you mean 'value'?",
    ),
    "wrong key": (
        lambda: ev.fetch(timed().key_by("sensors")),
        "there is no column 'sensors' to key by (keyby-2, test_messages.py:N)",
        "did you mean 'sensor'?",
    ),
    "wrong column in an aggregate": (
        lambda: windowed(m=ev.mean("vlaue")),
        "there is no column 'vlaue' for mean(vlaue) (window-3, test_messages.py:N)",
        "did you mean 'value'?",
    ),
    "mean of text": (
        lambda: windowed(m=ev.mean("sensor")),
        "mean(sensor) cannot be computed of string (window-3, test_messages.py:N)",
        "convert the column first: .with_columns(pl.col('x').cast(pl.Float64))",
    ),
    "text compared with a number": (
        lambda: ev.fetch(plain().filter(pl.col("sensor") > 3)),
        "an expression cannot be computed: cannot compare string with numeric type (i32) (filter-1, test_messages.py:N)",
        "the columns are time: timestamp[ns, tz=UTC], value: double, count: int64, sensor: string",
    ),
    "a filter that is not a condition": (
        lambda: ev.fetch(plain().filter(pl.col("value") + 1)),
        """filter() needs true or false, but [(col("value")) + (dyn int: 1)] gives Float64 (filter-1, test_messages.py:N)""",
        "compare it with something: pl.col('x') > 0",
    ),
    "an expression over the whole batch": (
        lambda: ev.fetch(plain().with_columns(x=pl.col("value").max())),
        """the expression col("value").max().alias("x") takes all rows of a batch together (project-1, test_messages.py:N)""",
        "put it into a window: .window(ev.tumbling('1m')).aggregate(x=...)",
    ),
    "no event time before a window": (
        lambda: plain().window(ev.tumbling("1m")),
        "a window needs event time, and this stream has none (test_messages.py:N)",
        "call .event_time('column', lateness='30s') before it",
    ),
    "the event-time column does not exist": (
        lambda: ev.fetch(plain().event_time("tiem")),
        "there is no column 'tiem' for the event time (assigntime-1, test_messages.py:N)",
        "did you mean 'time'?",
    ),
    "the event-time column is a number": (
        lambda: ev.fetch(plain().event_time("count")),
        "the event-time column 'count' is int64, not a timestamp (assigntime-1, test_messages.py:N)",
        "convert it first: .with_columns(pl.from_epoch('count', time_unit='s'))",
    ),
    "the event-time column was dropped": (
        lambda: ev.fetch(timed().select("value").window(ev.tumbling("1m")).aggregate(n=ev.count())),
        "the event-time column 'time' is gone or was changed before window (window-3, test_messages.py:N)",
        "keep it in select(): .select('time', ...)",
    ),
    "event_time without a name": (
        lambda: plain().event_time(pl.col("time")),  # type: ignore[arg-type]
        'event_time() takes the name of a column, not the expression col("time")',
        "for example .event_time('timestamp', lateness='30s')",
    ),
    "a window by its name": (
        lambda: timed().window("tumbing"),  # type: ignore[arg-type]
        "'tumbing' is not a window",
        "did you mean 'tumbling'?",
    ),
    "a duration without a unit": (
        lambda: ev.tumbling(60),  # type: ignore[arg-type]
        "window size 60 has no unit",
        "write a number and a unit, such as '250ms', '30s', '20m', '1h30m' or '7d', or pass a timedelta",
    ),
    "a negative duration": (
        lambda: ev.tumbling("-5s"),
        "window size '-5s' is negative",
        "write a number and a unit, such as '250ms', '30s', '20m', '1h30m' or '7d', or pass a timedelta",
    ),
    "a negative timedelta": (
        lambda: ev.session(timedelta(seconds=-1)),
        "session gap must be more than zero, not datetime.timedelta(days=-1, seconds=86399)",
        "write a number and a unit, such as '250ms', '30s', '20m', '1h30m' or '7d', or pass a timedelta",
    ),
    "a duration that cannot be read": (
        lambda: timed().event_time("time", lateness="a while"),
        "lateness 'a while' is not a duration",
        "write a number and a unit, such as '250ms', '30s', '20m', '1h30m' or '7d', or pass a timedelta",
    ),
    "a slide longer than the window": (
        lambda: ev.sliding("10s", "1m"),
        "the slide 1m is longer than the window 10s",
        "make the slide at most the size; for gaps, filter the events first",
    ),
    "a count window in time": (
        lambda: ev.count_window("10s"),  # type: ignore[arg-type]
        "count window size must be a whole number of events of at least 1, not '10s'",
        "for windows in time use ev.tumbling('10s')",
    ),
    "an unknown accumulation": (
        lambda: timed().window(ev.tumbling("1m"), accumulation="accumulate"),  # type: ignore[arg-type]
        "accumulation 'accumulate' is not known",
        "did you mean 'accumulating'?",
    ),
    "no aggregate": (
        lambda: timed().window(ev.tumbling("1m")).aggregate(),
        "aggregate() was asked to compute nothing",
        "for example .aggregate(n=ev.count(), mean=ev.mean('value'))",
    ),
    "an aggregate that was not called": (
        lambda: timed().window(ev.tumbling("1m")).aggregate(m=ev.mean),  # type: ignore[arg-type]
        "aggregate m=<function mean at 0xN> is neither an aggregate nor a Polars expression",
        "for example m=ev.mean('value') (call it, with the name of a column)",
    ),
    "an aggregate of an expression": (
        lambda: ev.mean(pl.col("value") * 2),  # type: ignore[arg-type]
        'mean() takes the name of a column, not the expression [(col("value")) * (dyn int: 2)]',
        "compute the column first: .with_columns(x=pl.col('a') * 2), then use 'x'",
    ),
    "an aggregate named as a key": (
        lambda: windowed(sensor=ev.count()),
        "the window would have two columns 'sensor' (window-3, test_messages.py:N)",
        "rename the aggregate: .aggregate(other_name=...)",
    ),
    "a quantile in percent": (
        lambda: ev.quantile("value", 95),
        "quantile 95 is not between 0 and 1",
        "the median is 0.5, the 95th percentile 0.95",
    ),
    "key_by without columns": (
        lambda: timed().key_by(),
        "key_by() takes the names of columns, not ()",
        "for example .key_by('node_id'); compute a key with .with_columns() first",
    ),
    "a join without keys": (
        lambda: timed().join(timed(), ev.interval("-1s", "1s")),
        "a join needs as many keys on both sides, not () and ()",
        "call .key_by(...) on both streams before .join()",
    ),
    "an empty interval": (
        lambda: ev.interval("5s", "-5s"),
        "the interval [5s, -5s] is empty",
        "the lower bound comes first: ev.interval('-5s', '5s')",
    ),
    "a join per session": (
        lambda: timed().key_by("sensor").join(timed().key_by("sensor"), ev.session("5s")),
        "streams cannot be joined per session(5s)",
        "use ev.tumbling(...), ev.sliding(...), ev.interval(...) or ev.asof(...)",
    ),
    "a union of different columns": (
        lambda: ev.fetch(plain().select("value").union(plain().select("count"))),
        "union() of streams with different columns: ['value: double'] and ['count: int64'] (union-4, test_messages.py:N)",
        "bring them to the same columns with .select(...) first",
    ),
    "two sinks of one name": (
        lambda: ev.run(plain().write("memory://a", name="out"), plain().write("memory://b", name="out")),
        "two sinks have the name 'out' (test_messages.py:N; test_messages.py:N)",
        "write both through .union(), or give each sink an address of its own",
    ),
    "two sinks with one address": (
        lambda: ev.run(plain().write("memory://a"), plain().write("memory://a")),
        "two sinks have the address 'memory://a' (test_messages.py:N; test_messages.py:N)",
        "write both through .union(), or give each sink an address of its own",
    ),
    "a stream that is not a pipeline": (
        lambda: ev.run(plain()),  # type: ignore[arg-type]
        "Stream is not a pipeline",
        "end the stream with .write('log://topic'): without a sink it does nothing",
    ),
    "an unknown scheme": (
        lambda: ev.run(ev.read("kafak://broker/topic").write("memory://a")),
        "there is no connector 'kafak' (kafak://broker/topic, test_messages.py:N)",
        "*",
    ),
    "an unknown format": (
        lambda: ev.run(ev.read("file://x.csv", format="cvs").write("memory://a")),
        "there is no format 'cvs' (file://x.csv, test_messages.py:N)",
        "did you mean 'csv'?",
    ),
    "an unknown operator": (
        lambda: ev.op.dedupe,
        "there is no operator 'dedupe'",
        "did you mean 'dedup'?",
    ),
    "an unknown engine": (
        lambda: ev.run(plain().write("memory://a"), engine="locale"),
        "there is no engine 'locale'",
        "did you mean 'local'?",
    ),
    "an unknown option of a source": (
        lambda: ev.run(ev.read("generator://events", row=3).write("memory://a")),
        "generator://events has no option 'row' (generator://events, test_messages.py:N)",
        "did you mean 'rows'?",
    ),
    "a side output that does not exist": (
        lambda: timed().window(ev.tumbling("1m")).aggregate(n=ev.count()).side("lates"),
        "window has no output 'lates'",
        "did you mean 'late'?",
    ),
    "a function that returns no batch": (
        lambda: ev.fetch(plain().map_batches(batch_of)),
        "batch_of returned dict for an empty batch, so its schema is not known (mapbatches-1, test_messages.py:N)",
        "return a record batch, or declare it: .map_batches(f, schema=pa.schema([...]))",
    ),
    "a parameter without a value": (
        lambda: parse_params(["band"]),
        "--param 'band' is not of the form name=value",
        "for example --param band=textbook",
    ),
    "a file that is not there": (
        lambda: load_target("/nowhere/pipe.py", {}),
        "there is no file /nowhere/pipe.py",
        "`eventide init` writes a project that runs",
    ),
    "a target that is nothing": (
        lambda: load_target("sensor", {}),
        "'sensor' is neither an application nor a file",
        "*did you mean 'sensors'?",
    ),
    "a wrong environment value": (
        lambda: load_config(environ={"EVENTIDE_RUN_LANES": "two"}),
        "eventide.toml: Expected `int`, got `str` - at `$.run.lanes`",
        "`eventide config schema` prints what is allowed",
    ),
    "a secret that is not set": (
        lambda: secret("env:EVENTIDE_NO_SUCH"),
        "the environment variable EVENTIDE_NO_SUCH is not set",
        "export EVENTIDE_NO_SUCH=... before starting eventide",
    ),
}


def _normal(text: str) -> str:
    return re.sub(r"0x[0-9a-fA-F]+", "0xN", re.sub(r"(\.py:)\d+", r"\1N", text))


@pytest.mark.parametrize("case", CASES)
def test_message(case: str) -> None:
    mistake, message, hint = CASES[case]
    with pytest.raises(EventideError) as caught:
        mistake()
    assert _normal(caught.value.message) == message
    if hint.startswith("*"):
        assert hint[1:] in caught.value.hint
        assert caught.value.hint
    else:
        assert caught.value.hint == hint


def test_there_are_forty() -> None:
    assert len(CASES) >= 40
    assert registry.names("engine")
