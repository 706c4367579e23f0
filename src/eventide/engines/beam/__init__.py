"""Apache Beam as engine: a pipeline over bounded input as a Beam job, on the local runner or any other.

The local runner is Beam's own in Python, in this process. It takes one stage after the other: what crosses the cut
in front of the first operators with a key (`eventide.engines._dataflow`) is held in memory, and results appear at the
end, all at once. What Beam's local runners cannot do is refused before anything runs: input that never ends,
savepoints, and checkpoints in the middle of a run. Other runners need a place for results that driver and workers
share (``spool``); they are documented and not tested here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from eventide.engines._dataflow.cut import notes
from eventide.engines.beam.options import BeamOptions, options_of
from eventide.engines.local.options import LocalOptions
from eventide.engines.local.plan import plan
from eventide.engines.local.result import Progress, RunResult
from eventide.errors import MissingDependencyError, PipelineError
from eventide.model.machine import MAIN
from eventide.model.pipeline import Pipeline

__all__ = ["check", "notes", "run"]


def run(
    pipeline: Pipeline,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> RunResult:
    """Run a pipeline over bounded input to its end, as one Beam job.

    Parameters
    ----------
    pipeline
        What to run.
    stop
        Set it from another thread to end the job (on the local runner); nothing is written then.
    on_progress
        Taken as other engines take it and never called: Beam tells nothing before the end of a stage.
    **options
        The fields of `eventide.engines.beam.options.BeamOptions`.

    Raises
    ------
    EventideError
        The pipeline or an option is wrong, Beam cannot run it, or a part of it failed.
    """
    chosen = options_of(options)
    check(pipeline)
    return _job()(pipeline, chosen, stop or threading.Event())


def _job() -> Callable[[Pipeline, BeamOptions, threading.Event], RunResult]:
    """Import Beam, which warns of cloud libraries that nobody asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        from eventide.engines.beam.job import run_job
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "eventide"):
            raise
        msg = f"the engine 'beam' needs the library {library!r}, which is not installed"
        raise MissingDependencyError(msg, hint="pip install 'eventide[beam]'") from error
    finally:
        logging.disable(before)
    return run_job


def check(pipeline: Pipeline) -> dict[str, pa.Schema]:
    """Return the schema of each node's main output by the node's name; nothing is run, and Beam is not needed.

    Raises
    ------
    PipelineError
        Beam cannot run it.
    EventideError
        A column is missing, a type does not fit, a plug-in does not exist.

    Examples
    --------
    >>> import eventide as ev
    >>> endless = ev.read("file:///var/log/*.csv", follow=True, schema={"a": "int64"})
    >>> check(endless.write("memory://copy"))
    Traceback (most recent call last):
    eventide.errors.PipelineError: read-0 never ends, and the engine 'beam' takes bounded input only
      hint: read it with follow=False, or run it on another engine
    """
    made = plan(pipeline, LocalOptions(), dry=True)
    for label, source in made.sources.items():
        if getattr(source, "unbounded", False):
            msg = f"{label} never ends, and the engine 'beam' takes bounded input only"
            raise PipelineError(msg, hint="read it with follow=False, or run it on another engine")
    labels = pipeline.labels
    return {labels[id(n)]: made.schemas[id(n), MAIN] for n in pipeline.nodes}
