"""The job that Flink runs: a head, its buckets, and files of results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from eventide.engines._dataflow import Dataflow
from eventide.engines.flink import jvm
from eventide.engines.flink.clusters import python_path
from eventide.engines.flink.folders import Folders
from eventide.engines.flink.options import FlinkOptions
from eventide.engines.flink.rest import Job, Rest
from eventide.errors import CheckpointError, RunError

__all__ = ["submit"]


def submit(dataflow: Dataflow, options: FlinkOptions, folders: Folders, *, cluster: Rest, before: Path | None) -> Job:
    """Hand the job to a cluster.

    Parameters
    ----------
    dataflow
        What it does.
    options
        How.
    folders
        Where it keeps things.
    cluster
        Where it runs.
    before
        The checkpoint or savepoint to begin from.

    Raises
    ------
    CheckpointError
        The checkpoint cannot be used.
    RunError
        The cluster refuses the job.
    """
    from pyflink.common import Configuration
    from pyflink.datastream import StreamExecutionEnvironment

    configuration = Configuration()
    for name, value in _settings(dataflow, options, folders, cluster=cluster, before=before).items():
        configuration.set_string(name, str(value))
    java = jvm.gateway().jvm.org.apache.flink.streaming.api.environment
    environment = StreamExecutionEnvironment(java.StreamExecutionEnvironment(configuration._j_configuration))
    _graph(environment, dataflow, folders, mode=options.mode)
    try:
        client = environment.execute_async(dataflow.pipeline.name)
    except Exception as error:
        said = str(error)
        told = next((line for line in said.splitlines() if "Caused by" in line and "Completion" not in line), said)
        msg = f"Flink does not take the job: {told.strip()[:400]}"
        if before is not None and ("avepoint" in said or "heckpoint" in said):
            msg = f"{msg} (from {before})"
            raise CheckpointError(msg, hint="begin again (--fresh), or from another savepoint") from error
        raise RunError(msg, hint="the log of Flink's job manager has more") from error
    return Job(cluster, str(client.get_job_id()))


def _graph(environment: Any, dataflow: Dataflow, folders: Folders, *, mode: str) -> None:
    from pyflink.common import Types
    from pyflink.common.serialization import Encoder
    from pyflink.datastream.connectors.file_system import (
        BucketAssigner,
        FileSink,
        RollingPolicy,
    )
    from pyflink.datastream.data_stream import KeyedStream

    from eventide.engines.flink.functions import MESSAGE, BucketFunction, HeadFunction

    keys = _keys(dataflow.count)
    begin = _begin(environment, folders)
    # A row of key and value is what PyFlink makes of an element to key it, in a Python process of its own.
    java = jvm.gateway().jvm
    keyed = begin._j_data_stream.keyBy(java.KeyByKeySelector(), Types.ROW([Types.INT()]).get_java_type_info())
    head = KeyedStream(keyed, Types.STRING(), begin).process(HeadFunction(dataflow, keys, mode), MESSAGE)
    head = head.set_parallelism(1).name("head").uid("head")
    buckets = head.key_by(_key, Types.INT()).process(BucketFunction(dataflow, str(folders.ended), mode), Types.STRING())
    buckets = buckets.name("buckets").uid("buckets")
    encoder = Encoder.simple_string_encoder("ISO-8859-1")
    files = FileSink.for_row_format(folders.spool.as_uri(), encoder)
    files = files.with_rolling_policy(RollingPolicy.on_checkpoint_rolling_policy())
    files = files.with_bucket_assigner(BucketAssigner.base_path_bucket_assigner())
    buckets.sink_to(files.build()).name("spool").uid("spool")


def _begin(environment: Any, folders: Folders) -> Any:
    """Return a stream of one row, (0, "begin"), that does not end: the folder that is watched stays empty."""
    from pyflink.common import Row, Types, WatermarkStrategy
    from pyflink.common.time import Duration
    from pyflink.datastream.connectors.file_system import FileSource, StreamFormat

    kind = Types.ROW([Types.INT(), Types.STRING()])
    lines = FileSource.for_record_stream_format(StreamFormat.text_line_format(), folders.control.as_uri())
    watched = lines.monitor_continuously(Duration.of_seconds(3600)).build()
    nothing = environment.from_source(watched, WatermarkStrategy.no_watermarks(), "nothing", kind).set_parallelism(1)
    return environment.from_collection([Row(0, "begin")], kind).set_parallelism(1).union(nothing)


def _key(message: Any) -> int:
    return int(message[0])


def _keys(count: int) -> list[int]:
    """Return a key for each bucket, such that any number of workers gets as many buckets each as can be."""
    flink = jvm.gateway().jvm.org.apache.flink
    ranges = flink.runtime.state.KeyGroupRangeAssignment
    found: dict[int, int] = {}
    key = 0
    while len(found) < count:
        row = flink.types.Row(1)  # PyFlink keys by a row of the key
        row.setField(0, key)
        found.setdefault(ranges.assignToKeyGroup(row, count), key)
        key += 1
    return [found[group] for group in range(count)]


def _settings(
    dataflow: Dataflow, options: FlinkOptions, folders: Folders, *, cluster: Rest, before: Path | None
) -> dict[str, Any]:
    jars = [Path(jar).absolute().as_uri() for jar in options.jars]
    if options.address is not None:
        jars += [p.as_uri() for p in sorted((jvm.site() / "opt").glob("flink-python-*.jar"))]
    found = {
        "execution.target": "remote",
        "rest.address": cluster.host,
        "rest.port": cluster.port,
        "execution.runtime-mode": "STREAMING",
        "parallelism.default": options.parallelism(dataflow.count),
        "pipeline.max-parallelism": dataflow.count,
        "pipeline.object-reuse": "true",
        "python.executable": options.python or sys.executable,
        "python.client.executable": sys.executable,
        "python.pythonpath": python_path(),
        "python.execution-mode": options.mode,
        # A message is large, and a turn of the head waits for no other.
        "python.fn-execution.bundle.size": 1,
        "python.fn-execution.bundle.time": 20,
        "python.fn-execution.memory.managed": "false",
        "execution.checkpointing.interval": f"{options.interval_ms} ms",
        "execution.checkpointing.dir": folders.checkpoints.as_uri(),
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": options.keep,
        "execution.checkpointing.tolerable-failed-checkpoints": 10,
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "200 ms",
        "restart-strategy.exponential-delay.max-backoff": f"{options.longest_wait_ms} ms",
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": options.retries or 2**31 - 1,
    }
    if jars:
        found["pipeline.jars"] = ";".join(jars)
    if before is not None:
        found["execution.state-recovery.path"] = before.as_uri()
        ours = before.is_relative_to(folders.checkpoints.absolute())
        found["execution.state-recovery.claim-mode"] = "CLAIM" if ours else "NO_CLAIM"
    return found | dict(options.settings)
