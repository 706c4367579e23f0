"""A pipeline as a streaming source of Spark: what it reads is elements, what it gives to Spark is outputs.

The head lives where Spark plans: it reads ahead of a micro-batch, writes its elements to the spool, and names them
in the offset, together with its own state. Spark notes the offset before it runs the micro-batch. Its tasks each take
some buckets from their states through the elements to their next states, and yield what came out. A micro-batch that
runs again finds the same elements and the same states, whatever the sources would bring by then.
"""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark import cloudpickle
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition

# Spark starts four Pythons for a query one after the other, of which two only look at the source: what a pipeline
# needs is imported where it is used.
from eventide.engines._failure import worker_error

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.streaming.datasource import ReadLimit

    from eventide.engines._dataflow import Dataflow, Output
    from eventide.engines._dataflow.bucket import Bucket
    from eventide.engines._dataflow.head import Head
    from eventide.engines.spark.spool import Spool

__all__ = ["NAME", "data_source"]

NAME = "eventide"
# Buckets of this worker, each with the file of the elements that it took last: the name of that is like no other, of
# any job. Spark gives a bucket to another worker whenever it likes; then its state is in the spool.
_alive: dict[int, tuple[str, Bucket]] = {}
_LONGEST = 1.0  # seconds that events are gathered under load


class _Some(InputPartition):  # type: ignore[misc]
    """What one task does: some buckets, through one micro-batch."""

    def __init__(self, buckets: list[int], step: int, *, before: str, elements: str) -> None:
        super().__init__(buckets)
        self.buckets, self.step, self.before, self.elements = buckets, step, before, elements


class _Reader(DataSourceStreamReader):  # type: ignore[misc]
    """Reads in the driver's planner, and computes in tasks."""

    def __init__(self, sent: bytes, folder: Path, *, batch_bytes: int, tasks: list[list[int]]) -> None:
        self._sent, self._folder, self._batch_bytes, self._tasks = sent, folder, batch_bytes, tasks
        self._head: Head | None = None
        self._at: dict[str, Any] | None = None

    def _flow(self) -> Dataflow:
        # What Spark sent to this worker, as all code that it runs.
        flow: Dataflow = cloudpickle.loads(self._sent)
        return flow

    def _spool(self) -> Spool:
        from eventide.engines.spark.spool import Spool

        return Spool(self._folder)

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
            self._head = self._flow().head(base64.b64decode(start["head"]) or None)
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
        name = self._spool().put(start["step"], elements)
        state = base64.b64encode(self._head.state()).decode()
        self._at = {"step": start["step"] + 1, "head": state, "elements": name}
        return self._at

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> Sequence[InputPartition]:
        """Share the buckets out to tasks."""
        if end["step"] == start["step"]:
            return []
        files = {"before": start["elements"], "elements": end["elements"]}
        return [_Some(buckets, start["step"], **files) for buckets in self._tasks]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Take buckets through a micro-batch; runs in a worker."""
        assert isinstance(partition, _Some)
        try:
            spool = self._spool()
            for bucket in partition.buckets:
                # Taken away until it has done this step: one that failed half way is never used again.
                before, part = _alive.pop(bucket, ("", None))
                if part is None or not before or before != partition.before:
                    part = self._flow().bucket(bucket, spool.state(partition.step, bucket))
                outputs: list[Output] = []
                for element in spool.elements(partition.elements, bucket):
                    outputs += part.push(element)
                spool.keep(partition.step + 1, bucket, part.state())
                _alive[bucket] = (partition.elements, part)
                yield from map(_as_batch, outputs)
        except Exception as error:
            raise worker_error(error) from error

    def commit(self, end: dict[str, Any]) -> None:
        """Forget what no micro-batch after this needs."""
        self._spool().forget(end["step"])

    def stop(self) -> None:
        """Let go of the sources."""
        if self._head is not None:
            self._head.close()
        self._head = None


def _as_batch(output: Output) -> pa.RecordBatch:
    import pyarrow as pa

    columns = {"bucket": pa.int32(), "seq": pa.int64(), "data": pa.binary()}
    arrays = [pa.array([value], type_) for value, type_ in zip(output, columns.values(), strict=True)]
    return pa.record_batch(arrays, names=list(columns))


def data_source(flow: Dataflow, folder: Path, *, batch_bytes: int, tasks: int) -> type[DataSource]:
    """Return a source for Spark that runs a pipeline. Spark sends it, and the pipeline in it, to its workers."""
    for name, module in list(sys.modules.items()):
        if name.startswith("eventide_target_"):  # what a command loaded by path is in no module that a worker has
            cloudpickle.register_pickle_by_value(module)
    sent = cloudpickle.dumps(flow)
    tasks = min(tasks, flow.count)
    shares = [list(range(t, flow.count, tasks)) for t in range(tasks)]

    # Made here, so that it is sent by value, with the pipeline: options of a source are text only.
    class EventideSource(DataSource):  # type: ignore[misc]
        @classmethod
        def name(cls) -> str:
            return NAME

        def schema(self) -> str:
            return "bucket int, seq bigint, data binary"

        def streamReader(self, schema: Any) -> DataSourceStreamReader:  # noqa: N802
            return _Reader(sent, folder, batch_bytes=batch_bytes, tasks=shares)

    return EventideSource
