"""Event-time stream analysis for science.

Write an analysis once as a pipeline over event streams; run it on a laptop against an embedded log with no
server, or unchanged on another engine.

>>> import eventide as ev
>>> events = ev.read("generator://events", rows=1000, keys=4, seed=1)
>>> means = (
...     events.event_time("timestamp", lateness="2s")
...     .key_by("key")
...     .window(ev.tumbling("10s"))
...     .aggregate(mean=ev.mean("value"), n=ev.count())
... )
>>> ev.fetch(means).column_names
['key', 'window_start', 'window_end', 'mean', 'n']

Triggers are in `ev.trigger`, further operators in `ev.op`, errors in `eventide.errors`, keyed state in
`eventide.model.keyed`.
"""

from __future__ import annotations

from eventide import operators as op
from eventide.facade import asof, check, fetch, from_table, interval, run
from eventide.model import trigger
from eventide.model.aggregate import (
    collect,
    count,
    first,
    last,
    linear_fit,
    mean,
    n_unique,
    quantile,
    std,
    top_k,
    var,
)
from eventide.model.aggregate import max_ as max
from eventide.model.aggregate import min_ as min
from eventide.model.aggregate import sum_ as sum
from eventide.model.pipeline import pipeline
from eventide.model.stream import Stream, read
from eventide.model.window import count_window, global_window, session, sliding, tumbling

__all__ = [
    "Stream",
    "asof",
    "check",
    "collect",
    "count",
    "count_window",
    "fetch",
    "first",
    "from_table",
    "global_window",
    "interval",
    "last",
    "linear_fit",
    "max",
    "mean",
    "min",
    "n_unique",
    "op",
    "pipeline",
    "quantile",
    "read",
    "run",
    "session",
    "sliding",
    "std",
    "sum",
    "top_k",
    "trigger",
    "tumbling",
    "var",
]
