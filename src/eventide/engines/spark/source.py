"""A pipeline as a streaming source of Spark: what it reads is elements, what it gives to Spark is outputs.

The head lives where Spark plans: it reads ahead of a micro-batch, writes its elements to the spool, and names them
in the offset, together with its own state. Spark notes the offset before it runs the micro-batch. Its tasks each take
some buckets from their states through the elements to their next states, and yield what came out. A micro-batch that
runs again finds the same elements and the same states, whatever the sources would bring by then.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit

from eventide.engines._failure import worker_error
from eventide.engines.dataflow import Dataflow, Output
from eventide.engines.dataflow.head import Head
from eventide.engines.spark.spool import Spool

__all__ = ["NAME", "data_source"]

NAME = "eventide"
_SCHEMA = pa.schema([("bucket", pa.int32()), ("seq", pa.int64()), ("data", pa.binary())])
_LONGEST = 1.0  # seconds that events are gathered under load


class _Some(InputPartition):
    """What one task does: some buckets, through one micro-batch."""

    def __init__(self, buckets: Sequence[int], steps: Sequence[tuple[int, str]]) -> None:
        super().__init__(list(buckets))
        self.buckets, self.steps = list(buckets), list(steps)


class _Reader(DataSourceStreamReader):
    """Reads in the driver's planner, and computes in tasks."""

    def __init__(self, flow: Dataflow, folder: Path, *, batch_bytes: int, tasks: int) -> None:
        self._flow, self._spool, self._batch_bytes = flow, Spool(folder), batch_bytes
        self._tasks = min(tasks, flow.count)
        self._head: Head | None = None
        self._at: dict[str, Any] | None = None

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802
        """Return where a job begins."""
        return {"step": 0, "head": "", "elements": ""}

    def latestOffset(self, start: dict[str, Any], limit: ReadLimit) -> dict[str, Any]:  # noqa: N802
        """Read what makes a micro-batch, keep it, and return where reading stands then; `start` when nothing came."""
        try:
            return self._latest(start)
        except Exception as error:
            raise worker_error(error) from error

    def _latest(self, start: dict[str, Any]) -> dict[str, Any]:
        if self._head is None or self._at != start:
            self.stop()
            self._head = self._flow.head(base64.b64decode(start["head"]) or None)
            self._at = start
        until, size, elements = time.monotonic() + _LONGEST, 0, []
        timeout = 0.1
        while size < self._batch_bytes and (some := self._head.read(timeout)):
            elements += some
            size += sum(len(e.data) for e in some)
            timeout = 0.0
            if time.monotonic() >= until:
                break
        if not elements:
            return start
        name = self._spool.put(start["step"], elements)
        state = base64.b64encode(self._head.state()).decode()
        self._at = {"step": start["step"] + 1, "head": state, "elements": name}
        return self._at

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> Sequence[InputPartition]:
        """Share the buckets out to tasks."""
        if end["step"] == start["step"]:
            return []
        steps = [(start["step"], end["elements"])]
        return [_Some(range(t, self._flow.count, self._tasks), steps) for t in range(self._tasks)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:  # type: ignore[override]
        """Take buckets through a micro-batch; runs in a worker."""
        assert isinstance(partition, _Some)
        try:
            for bucket in partition.buckets:
                for step, name in partition.steps:
                    yield from self._step(bucket, step, name)
        except Exception as error:
            raise worker_error(error) from error

    def _step(self, bucket: int, step: int, name: str) -> Iterator[pa.RecordBatch]:
        part = self._flow.bucket(bucket, self._spool.state(step, bucket))
        outputs: list[Output] = []
        for element in self._spool.elements(name, bucket):
            outputs += part.push(element)
        self._spool.keep(step + 1, bucket, part.state())
        for output in outputs:
            columns = [[output.bucket], [output.seq], [output.data]]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
            yield pa.record_batch(arrays, schema=_SCHEMA)

    def commit(self, end: dict[str, Any]) -> None:
        """Forget what no micro-batch after this needs."""
        self._spool.forget(end["step"])

    def stop(self) -> None:
        """Let go of the sources."""
        if self._head is not None:
            self._head.close()
        self._head = None


def data_source(flow: Dataflow, folder: Path, *, batch_bytes: int, tasks: int) -> type[DataSource]:
    """Return a source for Spark that runs a pipeline. Spark sends it, and the pipeline in it, to its workers."""

    # Made here, so that it is sent by value, with the pipeline: options of a source are text only.
    class EventideSource(DataSource):
        @classmethod
        def name(cls) -> str:
            return NAME

        def schema(self) -> str:
            return "bucket int, seq bigint, data binary"

        def streamReader(self, schema: Any) -> DataSourceStreamReader:  # noqa: N802
            return _Reader(flow, folder, batch_bytes=batch_bytes, tasks=tasks)

    return EventideSource
