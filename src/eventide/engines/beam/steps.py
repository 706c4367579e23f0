"""The steps of a Beam job: read, work on the keys of a bucket, leave the results for the driver."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import Coder
from apache_beam.runners.worker.statecache import CacheAware
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from eventide.engines._dataflow import Dataflow, Element, Output
from eventide.engines._failure import WorkerError, worker_error
from eventide.engines.beam import spool

__all__ = ["BucketFn", "HeadFn", "SpoolFn", "stops"]

Numbered = tuple[int, tuple[int, bytes]]
_FILE_BYTES = 32 << 20

stops: dict[str, threading.Event] = {}
"""What ends the jobs of this process, by their names: a runner in this process copies its steps, but not this."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except WorkerError:
        raise
    except Exception as error:
        raise worker_error(error) from error


class HeadFn(beam.DoFn):  # type: ignore[misc]
    """Reads all sources to their end."""

    def __init__(self, flow: Dataflow, job: str) -> None:
        self._flow, self._job = flow, job

    def process(self, element: bytes) -> Iterator[Numbered]:
        """Yield the elements of the buckets, by bucket."""
        stop = stops.get(self._job)
        with _told(), contextlib.closing(self._flow.head(None)) as head:
            while not head.finished and not (stop and stop.is_set()):
                for bucket, seq, data in head.read():
                    yield bucket, (seq, data)


class Kept(CacheAware):  # type: ignore[misc]
    """State of a bucket: at work, or as the bytes that Beam keeps.

    A bucket works on as an object while Beam gives it one bundle, and becomes bytes once, at the bundle's end. After
    that the object is not used again: another bundle begins from the bytes, so that one that fails leaves no trace.
    """

    def __init__(self, data: bytes | None, bucket: Any = None) -> None:
        self._data, self.bucket = data, bucket

    def as_bytes(self) -> bytes:
        """Return the bytes, and let go of the object."""
        if self._data is None:
            self._data, self.bucket = self.bucket.state(), None
        return self._data

    def get_referents_for_cache(self) -> list[Any]:
        """Return what counts in Beam's cache: not everything that a bucket holds."""
        return [self._data]


class KeptCoder(Coder):  # type: ignore[misc]
    """Turns such state into bytes, and back."""

    def encode(self, value: Kept) -> bytes:
        """Return the bytes."""
        with _told():
            return value.as_bytes()

    def decode(self, encoded: bytes) -> Kept:
        """Return the state."""
        return Kept(encoded)

    def is_deterministic(self) -> bool:
        """Nothing is grouped by it."""
        return False


class BucketFn(beam.DoFn):  # type: ignore[misc]
    """Everything behind the cut, for the keys of a bucket."""

    STATE = ReadModifyWriteStateSpec("bucket", KeptCoder())

    def __init__(self, flow: Dataflow) -> None:
        self._flow = flow

    def process(self, element: Numbered, state: Any = beam.DoFn.StateParam(STATE)) -> Iterator[Output]:  # noqa: B008
        """Yield the outputs of a bucket."""
        number, (seq, data) = element
        with _told():
            kept: Kept | None = state.read()
            if kept is None or kept.bucket is None:
                kept = Kept(None, self._flow.bucket(number, kept.as_bytes() if kept else None))
            outputs = kept.bucket.push(Element(number, seq, data))
            # Written after every element, which most runners only note: they ask for the bytes at the bundle's end.
            state.write(kept)
            yield from outputs


class SpoolFn(beam.DoFn):  # type: ignore[misc]
    """Leaves outputs in files for the driver."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._waiting: dict[int, list[Output]] = {}

    def start_bundle(self) -> None:
        """Begin with nothing, whatever became of the bundle before."""
        self._waiting = {}

    def process(self, element: Output) -> None:
        """Keep an output until there is enough for a file."""
        mine = self._waiting.setdefault(element.bucket, [])
        mine.append(element)
        if sum(len(o.data) for o in mine) >= _FILE_BYTES:
            self._write(element.bucket)

    def finish_bundle(self) -> None:
        """Write what is left."""
        for bucket in list(self._waiting):
            self._write(bucket)

    def _write(self, bucket: int) -> None:
        with _told():
            spool.put(self._folder, self._waiting.pop(bucket))
