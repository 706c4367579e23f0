"""The embedded engine: runs a pipeline in this process, with no server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from eventide.engines.local.guarantee import guarantee
from eventide.engines.local.options import options_of
from eventide.engines.local.plan import plan
from eventide.engines.local.result import Progress, RunResult
from eventide.engines.local.supervise import supervise
from eventide.model.machine import MAIN
from eventide.model.pipeline import Pipeline

__all__ = ["check", "guarantee", "run"]


def run(
    pipeline: Pipeline,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> RunResult:
    """Run a pipeline until its input ends or `stop` is set.

    Parameters
    ----------
    pipeline
        What to run.
    stop
        Set it from another thread (or a signal handler) to stop cleanly: what was read is finished, a
        checkpoint is written where one is kept, and the result says that the run was stopped.
    on_progress
        Called about five times a second with what has been done so far.
    **options
        The fields of `eventide.engines.local.options.LocalOptions`.

    Raises
    ------
    EventideError
        The pipeline or an option is wrong, or a part of it failed.
    """
    return supervise(pipeline, options_of(options), stop=stop or threading.Event(), on_progress=on_progress)


def check(pipeline: Pipeline) -> dict[str, pa.Schema]:
    """Return the schema of each node's main output by the node's name; nothing is run or written."""
    made = plan(pipeline, options_of({}), dry=True)
    labels = pipeline.labels
    return {labels[id(n)]: made.schemas[id(n), MAIN] for n in pipeline.nodes}
