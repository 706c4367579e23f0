"""Apache Spark as engine: a pipeline as a Structured Streaming query, on one machine or a cluster.

The query has a source that reads (`eventide.engines._dataflow.head.Head`) and whose tasks run the operators; its
results go to eventide's sinks at every micro-batch, exactly once. Spark's checkpoint holds the positions; the states of
operators lie beside it: see `eventide.engines.spark.source`. What Spark's own streaming does otherwise does not show:
windows close at the end of the input, watermarks move inside of a micro-batch, and rows are judged late one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eventide.errors import PipelineError

# Spark's Pythons import this before `source`: all else is imported where it is used.
if TYPE_CHECKING:
    import pyarrow as pa

    from eventide.engines.local.result import Progress, RunResult
    from eventide.model.pipeline import Pipeline

__all__ = ["check", "notes", "run"]

# Sources of this process; a query reads in another.
_HERE = {"memory": "what is in the memory of this process", "stdio": "the standard input of this process"}


def run(
    pipeline: Pipeline,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> RunResult:
    """Run a pipeline on Spark until its input ends or `stop` is set.

    Parameters
    ----------
    pipeline
        What to run.
    stop
        Set it from another thread to stop: the micro-batch that is being written is committed, and the next run with
        the same checkpoint folder goes on after it.
    on_progress
        Called about five times a second with what has been committed so far.
    **options
        The fields of `eventide.engines.spark.options.SparkOptions`.

    Raises
    ------
    EventideError
        The pipeline or an option is wrong, something that Spark needs is not here, or a part of it failed.
    """
    from eventide.engines.spark.options import options_of

    chosen = options_of(options)
    check(pipeline)
    from eventide.engines.spark.session import needed

    needed()
    from eventide.engines.spark.job import run_job

    return run_job(pipeline, chosen, stop=stop or threading.Event(), on_progress=on_progress)


def check(pipeline: Pipeline) -> dict[str, pa.Schema]:
    """Return the schema of each node's main output by the node's name; nothing is run, and Spark is not needed.

    Raises
    ------
    PipelineError
        Spark cannot run it.
    EventideError
        A column is missing, a type does not fit, a plug-in does not exist.

    Examples
    --------
    >>> import eventide as ev
    >>> check(ev.read("memory://hot").write("memory://copy"))
    Traceback (most recent call last):
    eventide.errors.PipelineError: read-0 is what is in the memory of this process, and Spark reads in another
      hint: pass the data itself (ev.from_table), or read a file, a log or a database
    """
    from eventide.engines.local import check as check_graph
    from eventide.model.graph import Read

    labels = pipeline.labels
    for node in pipeline.nodes:
        scheme = node.uri.partition("://")[0] if isinstance(node, Read) else ""
        if scheme in _HERE:
            msg = f"{labels[id(node)]} is {_HERE[scheme]}, and Spark reads in another"
            raise PipelineError(msg, hint="pass the data itself (ev.from_table), or read a file, a log or a database")
    return check_graph(pipeline)


def notes(pipeline: Pipeline) -> list[str]:
    """Return what is slower on this engine than it might be."""
    from eventide.engines._dataflow import cut

    return cut.notes(pipeline)
