"""W1 to W4 in the embedded engine (or another, ``--engine``), from the durable log, in code as a user would write it.

A measurement runs the whole pipeline: open the log, decode the frames, compute, hand every result batch to the sink.
``--batch`` is the number of rows that were appended to the log at a time (0: 65,536), each append a frame of its own.
The engine takes what waits, as it does for a user, and puts small frames together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from benchmarks.ours.events import OWN_FRAMES, TOPIC, CountingSink, log_folder, versions
from benchmarks.ours.steps import close_figures
from benchmarks.worker import Job, NotRunnableError, Prepared, Result, Run, main, timed

import eventide as ev
from eventide.errors import EventideError

if TYPE_CHECKING:
    from eventide.model.stream import Stream


def events(job: Job, rows: int, seed: int = 0) -> Stream:
    """One stream of events from its log."""
    folder = log_folder(rows, keys=job.keys, seed=seed, batch=job.batch or OWN_FRAMES)
    return ev.read(f"log://{TOPIC}", log=str(folder), follow=False).event_time("ts", lateness="2s")


def stream(job: Job, rows: int) -> Stream:
    """The pipeline of a job over the first `rows` rows, without its sink."""
    if job.name == "w1":
        kept = events(job, rows).filter(pl.col("value") > 0.5)
        return kept.select("ts", "key", value=pl.col("value") * 1.8 + 32)
    if job.name == "w4":
        left, right = (events(job, rows // 2, seed).key_by("key") for seed in (0, 1))
        return left.join(right, ev.tumbling("1s"))
    window = ev.tumbling("10s") if job.name == "w2" else ev.sliding("10s", "2s")
    keyed = events(job, rows).key_by("key").window(window)
    return keyed.aggregate(n=ev.count(), mean=ev.mean("value"), std=ev.std("value"))


def prepare(job: Job) -> Prepared:
    """Make the logs."""
    made = _pipelines(job)

    def run(rows: int) -> Run:
        sink = CountingSink()

        def whole() -> tuple[int, None]:
            found = ev.run(made[rows].write(sink), engine=job.engine)
            if found.late or found.quarantined:
                msg = f"{found.late} late and {found.quarantined} quarantined events, none expected"
                raise AssertionError(msg)
            return sink.rows, None

        ran = timed(whole)
        if job.keys >= 100_000 and rows == job.long_rows:
            return Run(ran.seconds, ran.result_rows, None, close_figures(made[rows], job))
        return ran

    return run


def _pipelines(job: Job) -> dict[int, Stream]:
    try:
        made = {rows: stream(job, rows) for rows in (job.short_rows, job.long_rows)}
        ev.check(made[job.short_rows].write(CountingSink()))
    except (EventideError, ImportError) as error:
        msg = f"eventide cannot run {job.name}: {error}"
        raise NotRunnableError(msg) from error
    return made


def result(job: Job) -> Result:
    """The whole result."""
    try:
        whole = ev.fetch(stream(job, job.rows), engine=job.engine)
    except (ImportError, EventideError) as error:
        msg = f"eventide cannot run {job.name}: {error}"
        raise NotRunnableError(msg) from error
    if job.name == "w4":
        names = {"value": "left_value", "value_right": "right_value"}
        whole = whole.rename_columns([names.get(name, name) for name in whole.column_names])
    return Result(whole)


if __name__ == "__main__":
    main(prepare, result, versions=versions)
