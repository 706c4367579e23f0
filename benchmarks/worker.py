"""The command line that every measured program shares, ours and the peers'.

One rule of time holds for all. A program starts, makes its input, and runs the job over ``N/4`` and ``5/4 N`` rows to
warm up. A measurement is then the same two runs again in that warm process: the seconds of the longer minus those of
the shorter, for ``N`` rows. So start-up, compilation and the fixed cost of starting and ending a job are left out for
everybody. That cost is what the shorter run takes beyond its rows: ``start_seconds``, and of the very first run, which
may compile and start a cluster, ``first_start_seconds``. What a program starts while it makes its input, as Spark's own
does with its session, is in neither.

    python -m benchmarks.peers.flink --job w2 --rows 4000000                 # one measurement
    python -m benchmarks.peers.flink --job w2 --rows 500000 --out r.parquet  # no timing: the result, to compare
    python -m benchmarks.peers.flink --job w2 --rows 4000000 --interactive   # one measurement per line of input

Each measurement prints one line of JSON. Only these lines reach standard output: whatever the engine itself prints
goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import pyarrow as pa

JOBS = ("w1", "w2", "w3", "w4")


@dataclass(frozen=True)
class Job:
    """What to run: name, rows over all input streams, number of distinct keys, rows per batch, engine of ours."""

    name: str
    rows: int
    keys: int
    batch: int
    engine: str = "local"

    @property
    def long_rows(self) -> int:
        """Rows of the longer run of a measurement."""
        return self.rows + self.short_rows

    @property
    def short_rows(self) -> int:
        """Rows of the shorter run of a measurement."""
        return self.rows // 4


@dataclass(frozen=True)
class Run:
    """One run: wall seconds, and what is known of its result."""

    seconds: float
    result_rows: int | None = None
    checksum: float | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A whole result to compare; windows that end after `complete_until` (ms) are not in it, None: all are."""

    table: pa.Table
    complete_until: int | None = None


Prepared = Callable[[int], Run]
Figures = dict[str, object]


class NotRunnableError(Exception):
    """The program cannot run this job here; the message says why."""


def timed(run: Callable[[], tuple[int | None, float | None]]) -> Run:
    """Run a function that returns (result rows, checksum) and time it."""
    started = time.perf_counter()
    result_rows, checksum = run()
    return Run(time.perf_counter() - started, result_rows, checksum)


def main(
    prepare: Callable[[Job], Prepared],
    result: Callable[[Job], Result],
    *,
    versions: Callable[[], dict[str, str]],
    jobs: tuple[str, ...] = JOBS,
) -> None:
    """Read the command line, run the job, print JSON lines.

    `prepare` starts the engine and makes the input for ``job.long_rows`` and ``job.short_rows``, and returns the
    function that runs the job over that many rows; `result` runs it over ``job.rows`` and returns the rows.
    """

    def warm(job: Job) -> Callable[[], Figures]:
        run = prepare(job)
        first = run(job.short_rows).seconds
        run(job.long_rows)
        return lambda: _measure(run, job, first=first)

    _serve(warm, result, versions=versions, jobs=jobs)


def main_figures(
    prepare: Callable[[Job], Callable[[], Figures]], *, versions: Callable[[], dict[str, str]], jobs: tuple[str, ...]
) -> None:
    """Do the same for a program that measures figures of its own instead of a rate: `prepare` warms up."""
    _serve(prepare, None, versions=versions, jobs=jobs)


def _serve(
    prepare: Callable[[Job], Callable[[], Figures]],
    result: Callable[[Job], Result] | None,
    *,
    versions: Callable[[], dict[str, str]],
    jobs: tuple[str, ...],
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", required=True, choices=jobs)
    parser.add_argument("--rows", type=int, required=True, help="events, over all input streams")
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--batch", type=int, default=10_000, help="rows per batch, for engines that have batches")
    parser.add_argument("--engine", default="local", help="what runs our side")
    parser.add_argument("--out", help="write the result here as Parquet, do not time")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--interactive", action="store_true", help="one measurement per line of standard input")
    args = parser.parse_args()
    job = Job(args.job, args.rows, args.keys, args.batch, args.engine)
    answers = _own_standard_output()
    status = 0
    try:
        if args.out not in {None, "none"}:
            if result is None:
                parser.error(f"{args.job} has no result to write")
            _answer(answers, _write_result(result(job), args.out, versions()))
        else:
            measure = prepare(job)
            _answer(answers, {"ready": True, "versions": versions()})
            for _ in sys.stdin if args.interactive else range(args.repeat):
                _answer(answers, measure())
    except NotRunnableError as error:
        _answer(answers, {"error": str(error)})
        status = 3
    except Exception:
        traceback.print_exc()
        status = 1
    answers.flush()
    sys.stderr.flush()
    os._exit(status)  # engines leave threads that would keep the process alive


def _measure(run: Prepared, job: Job, *, first: float) -> Figures:
    short = run(job.short_rows)
    long = run(job.long_rows)
    seconds = long.seconds - short.seconds
    return {
        "job": job.name,
        "seconds": round(seconds, 6),
        "rows": job.rows,
        "rate": round(job.rows / seconds, 1) if seconds > 0 else None,
        "long_seconds": round(long.seconds, 6),
        "short_seconds": round(short.seconds, 6),
        "start_seconds": round(short.seconds - seconds * job.short_rows / job.rows, 6),
        "first_start_seconds": round(first - seconds * job.short_rows / job.rows, 6),
        "result_rows": long.result_rows,
        "checksum": long.checksum,
        **long.figures,
    }


def _write_result(result: Result, path: str, versions: dict[str, str]) -> dict[str, object]:
    import pyarrow.parquet as pq

    pq.write_table(result.table, path)
    return {"result_rows": result.table.num_rows, "complete_until": result.complete_until, "versions": versions}


def _own_standard_output() -> TextIO:
    """Keep standard output for the answers and send everything else that writes to it to standard error."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, line: dict[str, object]) -> None:
    answers.write(json.dumps(line) + "\n")
    answers.flush()
