"""Rows that come by ZeroMQ while they are taken (needs pyzmq: ``pip install 'eventide[gamma-zmq]'``).

A message is an Arrow IPC stream, as ``eventide.formats.arrow.encode`` makes it; a message of two parts has its number
first, eight bytes in network order, by which messages that are lost can be told.

What ZeroMQ does with messages is not what a log does:

- A socket of the kind ``pull`` holds its sender back when too many messages wait (1,000 here). With ``sub`` the sender
  drops what is too many, and what it sent before the socket had connected: numbered messages tell how many.
- Nothing can be read again. Messages that were received and not yet in a checkpoint are gone when the process dies; a
  run that goes on continues with what comes next, and numbers tell what is missing between two messages that came
  to one process, not what a process that died had taken.
- A sender that is away is waited for, and connected to again when it is back.

So a durable pipeline has two runs: from here to a topic of the log, which keeps all that came, and from that topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import pyarrow as pa

from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.errors import ConfigError, DataError, MissingDependencyError, SchemaError, UsageError
from eventide.formats import arrow
from eventide.model.batch import concat, empty
from eventide.model.protocols import BadInput, Chunk, Position
from eventide.model.time import duration

__all__ = ["LiveZmq"]

_NUMBER: Final = 8
_WAITING: Final = 1_000
_LARGEST: Final = 1 << 28  # bytes of a message
_PARTITION: Final = "zmq"


class LiveZmq:
    """A source of messages that come to a socket.

    Parameters
    ----------
    address
        Where to connect to, such as ``tcp://camera-server:5555``.
    kind
        ``"pull"`` or ``"sub"`` (all topics).
    schema
        Of the rows; columns of a message are taken by name.
    bind
        Whether the address is this machine's, to which senders connect.
    ends_after
        The source ends where nothing came for so long; left out, never.

    Raises
    ------
    UsageError
        There is no such kind of socket, or the address is none.

    Examples
    --------
    >>> LiveZmq("tcp://127.0.0.1:5555").partitions()
    ['zmq']
    """

    replayable = False

    def __init__(
        self,
        address: str,
        *,
        kind: Literal["pull", "sub"] = "pull",
        schema: pa.Schema = DL1_IMAGE,
        bind: bool = False,
        ends_after: str | None = None,
    ) -> None:
        if kind not in ("pull", "sub"):
            msg = f"LiveZmq has no sockets of the kind {kind!r}"
            raise UsageError(msg, hint="'pull', which holds senders back, or 'sub'")
        if "://" not in address:
            msg = f"{address!r} is no address of ZeroMQ"
            raise UsageError(msg, hint="for example tcp://camera-server:5555 or ipc:///run/images")
        self._address, self._kind, self._schema, self._bind = address, kind, schema, bind
        self._patience = None if ends_after is None else duration(ends_after, what="ends_after") / 1e9
        self.unbounded = ends_after is None

    def schema(self) -> pa.Schema:
        """Return the schema of the rows."""
        return self._schema

    def partitions(self) -> list[str]:
        """Return the one partition."""
        return [_PARTITION]

    def open(self, positions: Mapping[str, Position]) -> _Reader:
        """Go on with what comes next, whatever the position.

        Raises
        ------
        ConfigError
            The address cannot be had.
        MissingDependencyError
            pyzmq is not installed.
        """
        zmq = _zmq()
        context = zmq.Context()
        socket = context.socket(zmq.PULL if self._kind == "pull" else zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, _WAITING)
        socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST)
        if self._kind == "sub":
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            (socket.bind if self._bind else socket.connect)(self._address)
        except zmq.ZMQError as error:
            socket.close()
            context.term()
            msg = f"the address {self._address} cannot be had: {error}"
            raise ConfigError(msg, hint="is it another process's, or misspelt?") from None
        begun = int(positions.get(_PARTITION, {}).get("messages", 0))
        return _Reader(context, socket, schema=self._schema, messages=begun, patience=self._patience)


class _Reader:
    def __init__(self, context: Any, socket: Any, *, schema: pa.Schema, messages: int, patience: float | None) -> None:
        self._context, self._socket, self._schema = context, socket, schema
        self._messages, self._patience, self._quiet = messages, patience, 0.0
        self._next: int | None = None
        self._rest: pa.RecordBatch | None = None
        self.finished = False

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return the rows of messages that have come, else wait for one."""
        batches: list[pa.RecordBatch] = []
        bad: list[BadInput] = []
        rows = 0
        if self._rest is not None:
            batches, rows, self._rest = [self._rest], self._rest.num_rows, None
        elif not self._wait(timeout):
            return []
        while rows < max_rows and self._socket.poll(0):
            parts = self._socket.recv_multipart()
            found = self._decoded(parts, bad)
            self._messages += 1
            if found is not None and found.num_rows:
                batches.append(found)
                rows += found.num_rows
        whole = concat(batches) if batches else empty(self._schema)
        if whole.num_rows > max_rows:
            whole, self._rest = whole.slice(0, max_rows), whole.slice(max_rows)
        return [Chunk(_PARTITION, whole, {"messages": self._messages}, tuple(bad))]

    def _wait(self, timeout: float) -> bool:
        if self._socket.poll(round(timeout * 1000)):
            self._quiet = 0.0
            return True
        self._quiet += timeout
        self.finished = self._patience is not None and self._quiet >= self._patience
        return False

    def _decoded(self, parts: list[bytes], bad: list[BadInput]) -> pa.RecordBatch | None:
        where = f"message {self._messages}"
        if len(parts) > 2 or (len(parts) == 2 and len(parts[0]) != _NUMBER):
            bad.append(
                BadInput(b"".join(parts), where, f"a message of {len(parts)} parts, or a number of other than 8 bytes")
            )
            return None
        if len(parts) == 2:
            number = int.from_bytes(parts[0], "big")
            if self._next is not None and number > self._next:
                bad.append(BadInput(b"", where, f"messages {self._next} to {number - 1} did not come"))
            self._next = number + 1
        try:
            found = arrow.decode(parts[-1], schema=self._schema, where=where)
        except (DataError, SchemaError) as error:
            bad.append(BadInput(parts[-1], where, str(error)))
            return None
        bad += found.bad
        return found.batch

    def backlog(self) -> int | None:
        """Nobody knows how many wait in sockets."""
        return None if self._rest is None else self._rest.num_rows

    def close(self) -> None:
        """Close the socket; what waits in it is gone."""
        if not self._socket.closed:
            self._socket.close()
            self._context.term()
        self.finished = True


def _zmq() -> Any:
    try:
        import zmq
    except ImportError:
        msg = "messages by ZeroMQ need pyzmq, which is not installed"
        raise MissingDependencyError(msg, hint="pip install 'eventide[gamma-zmq]'") from None
    return zmq
