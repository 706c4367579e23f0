"""Apache Flink: the same pipeline on a cluster, or on a small one that this program starts.

What is before the first key runs as one task that reads, everything else in buckets that share the keys
(`eventide.engines._dataflow`). Positions and state are in Flink's checkpoints; results go through files that Flink
makes visible with a checkpoint to the sinks, which are in this program: exactly once from end to end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from eventide.engines._dataflow import Dataflow
from eventide.engines._dataflow.cut import notes
from eventide.engines.flink.options import FlinkOptions, options_of
from eventide.engines.local import check as check_graph
from eventide.engines.local.result import Progress, RunResult
from eventide.errors import PipelineError
from eventide.model.graph import Read
from eventide.model.pipeline import Pipeline
from eventide.registry import split_uri

__all__ = ["check", "notes", "run"]

_OWN = ("stdio", "memory")


def run(
    pipeline: Pipeline,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> RunResult:
    """Run a pipeline on Flink until its input ends or `stop` is set.

    Parameters
    ----------
    pipeline
        What to run.
    stop
        Set it to stop cleanly: a checkpoint (or a savepoint, where one is asked for) is taken first.
    on_progress
        Called about five times a second with what the sinks have.
    **options
        The fields of `eventide.engines.flink.options.FlinkOptions`.

    Raises
    ------
    MissingDependencyError
        PyFlink or Java is missing.
    EventideError
        The pipeline or an option is wrong, or a part of it failed.
    """
    from eventide.engines.flink.folders import folders_for
    from eventide.engines.flink.jvm import need_flink

    chosen = options_of(options)
    dataflow = dataflow_of(pipeline, chosen)
    check(pipeline)
    need_flink()
    folders = folders_for(chosen, pipeline.name)
    try:
        return _run(dataflow, chosen, folders, stop=stop or threading.Event(), on_progress=on_progress)
    finally:
        if folders.temporary:
            folders.remove()


def _run(
    dataflow: Dataflow,
    options: FlinkOptions,
    folders: Any,
    *,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] | None,
) -> RunResult:
    from eventide.engines.flink.clusters import cluster_for
    from eventide.engines.flink.drive import Driver
    from eventide.engines.flink.job import submit
    from eventide.engines.local.requests import Requests

    before = folders.prepare(options)
    outlet = dataflow.outlet(folders.outlet)
    failed = True
    try:
        restarts, going = 0, not outlet.ended
        requests = Requests(None if folders.temporary else folders.root)
        while going:
            cluster = cluster_for(options, options.parallelism(dataflow.count))
            job = submit(dataflow, options, folders, cluster=cluster, before=before)
            driver = Driver(job, outlet, options, folders, dataflow.count, stop, on_progress, requests)
            before = driver.follow()
            restarts += driver.restarts
            going = before is not None
        if outlet.ended:
            folders.remove()
        failed = False
        return replace(outlet.result(stopped=not outlet.ended), restarts=restarts)
    finally:
        outlet.close(failed=failed)


def check(pipeline: Pipeline) -> dict[str, pa.Schema]:
    """Return the schema of each node's main output by the node's name; nothing is run, and Flink is not needed.

    Raises
    ------
    PipelineError
        The workers of Flink cannot read a source.
    EventideError
        The pipeline is wrong.

    Examples
    --------
    >>> import eventide as ev
    >>> check(ev.read("stdio://", format="csv", schema={"a": "int64"}).write("log://copy"))
    Traceback (most recent call last):
    eventide.errors.PipelineError: read-0 is stdio://, which is of this program alone: workers of Flink cannot read it
      hint: write it to a topic or a file that they see, and read that
    """
    made = check_graph(pipeline)
    for node, label in ((n, pipeline.labels[id(n)]) for n in pipeline.nodes if isinstance(n, Read)):
        scheme = split_uri(node.uri)[0] if node.source is None else ""
        if scheme in _OWN:
            msg = f"{label} is {scheme}://, which is of this program alone: workers of Flink cannot read it"
            raise PipelineError(msg, hint="write it to a topic or a file that they see, and read that")
    return made


def dataflow_of(pipeline: Pipeline, options: FlinkOptions) -> Dataflow:
    """Return the pipeline cut for this engine."""
    more = {"batch_rows": options.batch_rows} if options.batch_rows else {}
    quarantine = None if options.quarantine is None else str(options.quarantine)
    return Dataflow(
        pipeline, buckets=options.buckets, tick=options.tick, clock=options.clock, quarantine=quarantine, **more
    )
