"""Files through which the parts of a job on Spark remember: elements of a micro-batch, states of buckets.

They lie in the checkpoint folder beside Spark's own files, and are named after the *step*, the number of the
micro-batch as the source counts. A file appears whole or not at all and is durable before anything names it. What a
step reads never changes: elements are in a file of their own whose name Spark's offset holds, and the states of step
n come from those of step n - 1 and these elements alone. So a step may run again, or twice at once, and leave the
same states.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from eventide.engines._dataflow import Element
from eventide.engines.local.durable_files import write_file
from eventide.errors import CheckpointError
from eventide.log.layout import sync_folder

__all__ = ["Spool"]

_SCHEMA = pa.schema([("bucket", pa.int32()), ("seq", pa.int64()), ("data", pa.large_binary())])
_HINT = "is the checkpoint folder one that driver and workers share? Otherwise restore it from a copy, or begin anew"


class Spool:
    """The files of one job.

    Examples
    --------
    >>> import tempfile
    >>> spool = Spool(Path(tempfile.mkdtemp()))
    >>> name = spool.put(0, [Element(0, 0, b"a"), Element(1, 0, b"b")])
    >>> [(e.seq, bytes(e.data)) for e in spool.elements(name, 1)]
    [(0, b'b')]
    """

    def __init__(self, folder: Path) -> None:
        self._elements, self._states = folder / "elements", folder / "states"

    def put(self, step: int, elements: Sequence[Element]) -> str:
        """Write the elements of a step and return the name of the file."""
        self._elements.mkdir(parents=True, exist_ok=True)
        # A driver that was killed may live for a moment: what it still writes has another name.
        name = f"{step:012d}-{uuid.uuid4().hex}.arrow"
        with (self._elements / name).open("wb") as file:
            with pa.ipc.new_file(file, _SCHEMA) as writer:
                for element in sorted(elements, key=lambda e: (e.bucket, e.seq)):
                    columns = [[element.bucket], [element.seq], [element.data]]
                    arrays = [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
                    writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._elements)
        return name

    def elements(self, name: str, bucket: int) -> Iterator[Element]:
        """Go through the elements of a bucket, in order, in such a file; their bytes are not copied."""
        path = self._elements / name
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
        except (OSError, pa.ArrowInvalid) as error:
            msg = f"the events of a micro-batch cannot be read: {path}: {error}"
            raise CheckpointError(msg, hint=_HINT) from error
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            if batch["bucket"][0].as_py() == bucket:
                yield Element(bucket, batch["seq"][0].as_py(), memoryview(batch["data"][0].as_buffer()))  # type: ignore[arg-type]

    def state(self, step: int, bucket: int) -> bytes | None:
        """Return the state of a bucket before a step; there is none before the first."""
        if step == 0:
            return None
        path = self._state(step, bucket)
        try:
            return path.read_bytes()
        except OSError as error:
            msg = f"the state of a bucket cannot be read: {path}: {error}"
            raise CheckpointError(msg, hint=_HINT) from error

    def keep(self, step: int, bucket: int, state: bytes) -> None:
        """Write the state of a bucket before a step, durably; one that is there is the same."""
        path = self._state(step, bucket)
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        write_file(made, state)
        made.replace(path)
        sync_folder(path.parent)

    def forget(self, step: int) -> None:
        """Remove what no step from this one on needs."""
        for path in (*self._elements.glob("*"), *self._states.glob("*")):
            # Another that forgets at the same time is no harm.
            if int(path.name.partition("-")[0]) < step:
                path.unlink(missing_ok=True)

    def _state(self, step: int, bucket: int) -> Path:
        return self._states / f"{step:012d}-{bucket:03d}.state"
