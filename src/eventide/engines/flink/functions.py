"""The two functions that run inside Flink: one reads, the other computes.

Elements go from one to the other packed together, one message a bucket and turn: what Flink does costs by the message.
Their state is in Flink's checkpoints. A bucket's is what it was at some time, and the messages since: to write all of
it after each message would cost more than the message.
"""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ListState, ListStateDescriptor

from eventide.engines._dataflow import Dataflow, Element
from eventide.engines.flink.failure import carried
from eventide.engines.flink.spool import CHARSET, frame

__all__ = ["BYTES", "MESSAGE", "BucketFunction", "HeadFunction"]

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
MESSAGE = Types.TUPLE([Types.INT(), Types.INT(), BYTES])
"""Key, bucket, elements."""

_TURN = 0.05  # seconds that one turn of the head may take, and bytes that it may bring
_TURN_BYTES = 4 << 20
_WATCH = (1_000, 60_000)  # ms; a turn may take long
_ALIVE = 1.0  # seconds since the last turn within which the next one comes by itself
_IDLE = 1.0  # seconds after which it is noted that a head that brings nothing has got further
_LEAST_LOG = 1 << 16  # bytes of messages after which a bucket is written anew at the earliest


class _Bytes:
    """Bytes in Flink's state. In threads PyFlink loses the type of an array of bytes, so there they are text."""

    def __init__(self, context: RuntimeContext, name: str, mode: str) -> None:
        self._text = mode == "thread"
        kind = Types.STRING() if self._text else BYTES
        self._list: ListState = context.get_list_state(ListStateDescriptor(name, kind))

    def get(self) -> list[bytes]:
        """Return what is there, in the order in which it was added."""
        found = self._list.get() or ()
        return [b.encode(CHARSET) if self._text else bytes(b) for b in found]

    def add(self, data: bytes) -> None:
        """Add to what is there."""
        self._list.add(data.decode(CHARSET) if self._text else data)

    def set(self, data: bytes) -> None:
        """Put this in the place of what is there."""
        self._list.update([data.decode(CHARSET) if self._text else data])

    def clear(self) -> None:
        """Leave nothing."""
        self._list.clear()


class HeadFunction(KeyedProcessFunction):  # type: ignore[misc]
    """Reads the sources, turn by turn: a timer sets off the next turn, so that none waits in a queue.

    Parameters
    ----------
    dataflow
        The pipeline.
    keys
        Flink's key of each bucket.
    mode
        How Python runs.
    """

    def __init__(self, dataflow: Dataflow, keys: list[int], mode: str) -> None:
        self._dataflow, self._keys, self._mode = dataflow, keys, mode

    def open(self, context: RuntimeContext) -> None:
        """Begin, or go on from a checkpoint."""
        _findable_print()
        self._state = _Bytes(context, "head", self._mode)
        self._head: Any = None
        self._saved = 0.0
        self._turned = -_ALIVE

    def close(self) -> None:
        """Let go of the sources."""
        if self._head is not None:
            self._head.close()

    def process_element(self, value: Any, context: Any) -> Iterator[Any]:
        """Set off the first turn of a new job; later ones set off each other."""
        if self._head is None and not self._state.get():
            self._again(context)
        yield from ()

    def on_timer(self, timestamp: int, context: Any) -> Iterator[Any]:
        """Read, and send what there is to the buckets."""
        if timestamp % _WATCH[0] == 0 and time.monotonic() - self._turned < _ALIVE:
            self._watch(context)
            return
        try:
            messages = self._turn()
        except Exception as error:
            raise carried(error) from error
        self._turned = time.monotonic()
        yield from messages
        if not self._head.finished:
            self._again(context)

    def _again(self, context: Any) -> None:
        timers = context.timer_service()
        now = timers.current_processing_time()
        timers.register_processing_time_timer(now if now % _WATCH[0] else now + 1)
        self._watch(context)

    def _watch(self, context: Any) -> None:
        """Set timers for later on, at whole seconds: a timer that was set just now may be missing in a checkpoint.

        PyFlink sets it a moment after the turn, and a checkpoint may come between.
        """
        timers = context.timer_service()
        if self._head is None or not self._head.finished:
            for step in _WATCH:
                timers.register_processing_time_timer((timers.current_processing_time() // step + 2) * step)

    def _turn(self) -> list[tuple[int, int, bytes]]:
        if self._head is None:
            before = self._state.get()
            self._head = self._dataflow.head(before[0] if before else None)
        begun, size = time.monotonic(), 0
        found: list[list[tuple[int, bytes]]] = [[] for _ in self._keys]
        while not self._head.finished and size < _TURN_BYTES and time.monotonic() - begun < _TURN:
            elements = self._head.read(_TURN)
            for element in elements:
                found[element.bucket].append((element.seq, element.data))
                size += len(element.data)
            if not elements:
                break
        if size or begun - self._saved > _IDLE:
            self._state.set(self._head.state())
            self._saved = begun
        packed = [(b, msgspec.msgpack.encode(some)) for b, some in enumerate(found) if some]
        return [(self._keys[b], b, data) for b, data in packed]


class _Held:
    """A bucket, and how large its state and the messages since then are in bytes."""

    __slots__ = ("bucket", "log", "state")

    def __init__(self, bucket: Any, state: int, log: int) -> None:
        self.bucket, self.state, self.log = bucket, state, log


class BucketFunction(KeyedProcessFunction):  # type: ignore[misc]
    """Computes what is behind the first key.

    Parameters
    ----------
    dataflow
        The pipeline.
    ended
        Folder in which a bucket that has ended leaves a file.
    mode
        How Python runs.
    """

    def __init__(self, dataflow: Dataflow, ended: str, mode: str) -> None:
        self._dataflow, self._ended, self._mode = dataflow, ended, mode

    def open(self, context: RuntimeContext) -> None:
        """Begin, or go on from a checkpoint."""
        _findable_print()
        self._state = _Bytes(context, "bucket", self._mode)
        self._log = _Bytes(context, "since", self._mode)
        self._held: dict[int, _Held] = {}

    def process_element(self, value: Any, context: Any) -> Iterator[str]:
        """Give a message to its bucket and send what comes out."""
        try:
            outputs = self._push(value[1], bytes(value[2]))
        except Exception as error:
            raise carried(error) from error
        yield from outputs

    def _push(self, number: int, message: bytes) -> list[str]:
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = self._restored(number)
        outputs = [frame(o) for e in _elements(number, message) for o in held.bucket.push(e)]
        held.log += len(message)
        if held.log > max(_LEAST_LOG, 2 * held.state):
            state = held.bucket.state()
            self._state.set(state)
            self._log.clear()
            held.state, held.log = len(state), 0
        else:
            self._log.add(message)
        if held.bucket.ended:
            (Path(self._ended) / str(number)).touch()
        return outputs

    def _restored(self, number: int) -> _Held:
        states = self._state.get()
        bucket = self._dataflow.bucket(number, states[0] if states else None)
        size = 0
        for message in self._log.get():
            size += len(message)
            for element in _elements(number, message):
                bucket.push(element)  # what comes out was sent before the checkpoint
        return _Held(bucket, len(states[0]) if states else 0, size)


def _findable_print() -> None:
    """PyFlink puts a `print` of its own in the place of Python's, which numba looks for where it says it is from."""
    module = sys.modules.get(getattr(builtins.print, "__module__", "builtins"))
    if module is not None and not hasattr(module, "print"):
        vars(module)["print"] = builtins.print


def _elements(bucket: int, message: bytes) -> list[Element]:
    pairs = msgspec.msgpack.decode(message, type=list[tuple[int, bytes]])
    return [Element(bucket, seq, data) for seq, data in pairs]
