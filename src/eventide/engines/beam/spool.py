"""Results of a Beam job on their way from its workers to the sinks: files in a folder that both can use.

A file holds outputs of one bucket that follow each other and is named after them. A bundle that Beam runs again
writes the same outputs again, perhaps cut otherwise; the outlet drops by number what it has taken already.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from eventide.engines._dataflow import Output
from eventide.errors import RunError

__all__ = ["each_output", "put"]

_SCHEMA = pa.schema([("bucket", pa.int32()), ("seq", pa.int64()), ("data", pa.binary())])
_END = ".outputs"


def put(folder: str, outputs: Sequence[Output]) -> None:
    """Write outputs of one bucket, in order, as one file, which appears whole or not at all."""
    first, last = outputs[0], outputs[-1]
    name = f"{first.bucket:04d}-{first.seq:012d}-{last.seq:012d}"
    made = FileSystems.join(folder, f"{name}.{uuid.uuid4().hex}")
    with (
        FileSystems.create(made, mime_type="application/octet-stream") as file,
        pa.ipc.new_stream(file, _SCHEMA) as writer,
    ):
        for output in outputs:  # one batch each, so that the reader holds one at a time
            writer.write_batch(pa.RecordBatch.from_pylist([output._asdict()], schema=_SCHEMA))
    FileSystems.rename([made], [f"{made}{_END}"])


def each_output(folder: str) -> Iterator[Output]:
    """Go through all outputs in a folder, those of a bucket in order; some may come twice."""
    (matched,) = FileSystems.match([FileSystems.join(folder, f"*{_END}")])
    # Names begin with bucket and first number, padded: their order is that of the outputs.
    for path in sorted(m.path for m in matched.metadata_list):
        try:
            with FileSystems.open(path, mime_type="application/octet-stream") as file:
                for batch in pa.ipc.open_stream(file):
                    bucket, seq, data = (column[0].as_py() for column in batch.columns)
                    yield Output(bucket, seq, data)
        except (OSError, pa.ArrowInvalid) as error:
            msg = f"results of the job cannot be read: {path}: {error}"
            raise RunError(msg, hint="nothing was committed; run it again") from error
