"""The service without its transport: commands, events and the time go in, messages come out.

It reads no clock and does no I/O, so everything it does can be tested and repeated: `now` is given, in ms since 1970.
Whoever carries the messages reads the topics of `subscriptions`, anew whenever `generation` has changed, and may set
`check`, which raises an `EventideError` for topics that cannot be read: the command is refused then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from eventide.apps.neutron.restream.command import INPUTS, Configure, Reset, message_id, read_command
from eventide.apps.neutron.restream.count import Count
from eventide.errors import EventideError
from eventide.formats import an44, ev42, ev44, x5f2
from eventide.formats.ev44 import BrokenMessageError, EventMessage

__all__ = ["Outgoing", "Received", "Restream", "Subscription"]

_LOG = logging.getLogger("eventide.neutron")
_READERS = {"ev42": ev42.read, "ev44": ev44.read, "an44": an44.read}


class Received(NamedTuple):
    """A message of a topic of events, with its own time, ms since 1970; its bytes, or what they would hold."""

    topic: str
    partition: int
    time: int
    value: bytes | EventMessage


class Outgoing(NamedTuple):
    """A message to be sent; without brokers it goes to those of the commands. One that may be lost is not kept."""

    topic: str
    value: bytes
    brokers: tuple[str, ...] = ()
    kept: bool = True


class Subscription(NamedTuple):
    """A topic to be read, from messages of the time `start` on (ms since 1970), or from now on where it is None."""

    brokers: tuple[str, ...]
    topic: str
    start: int | None


@dataclass(slots=True)
class _Clock:
    """Says when an interval is over; intervals begin with multiples of themselves, as just-bin-it's do."""

    interval: int
    due: int = 0

    def strikes(self, now: int) -> bool:
        if now < self.due:
            return False
        self.due = (now // self.interval + 1) * self.interval
        return True


class Restream:
    r"""Histograms on request.

    Parameters
    ----------
    response_topic
        Where answers to commands go; "" for nowhere.
    heartbeat_topic
        Where a heartbeat (x5f2) goes every second; "" for nowhere.
    identity
        What the heartbeat says of this program.
    every
        How often histograms are published, ms.

    Examples
    --------
    >>> service = Restream(response_topic="answers")
    >>> service.command(b'{"cmd": "stop", "msg_id": "7"}', now=0)[0].value
    b'{"msg_id": "7", "response": "ACK"}'
    >>> service.command(b'{"cmd": "begin", "msg_id": "8"}', now=0)[0].value
    b'{"msg_id": "8", "response": "ERR", "message": "Unknown command type \'begin\'"}'
    """

    def __init__(
        self,
        *,
        response_topic: str = "",
        heartbeat_topic: str = "",
        identity: x5f2.Heartbeat | None = None,
        every: int = 500,
    ) -> None:
        self.generation = 0
        self.subscriptions: tuple[Subscription, ...] = ()
        self.broken = self.refused = 0
        self.reason = ""
        self.check: Callable[[Subscription], None] = _nothing
        self._response_topic, self._heartbeat_topic = response_topic, heartbeat_topic
        own = identity or x5f2.Heartbeat(software_name="eventide restream", update_interval=1000)
        self._heartbeat = x5f2.write(own)
        self._beats, self._publishes = _Clock(own.update_interval or 1000), _Clock(every)
        self._counts: list[Count] = []
        self._input = ""
        self._configured: dict[str, Any] | None = None

    @property
    def states(self) -> list[str]:
        """The state of each histogram."""
        return [each.state for each in self._counts]

    def command(self, data: bytes, now: int) -> list[Outgoing]:
        """Follow a command; what cannot be followed changes nothing.

        Returns
        -------
        The last histograms of those that it ends, the first ones of those that it begins, and the answer.
        """
        number = message_id(data)
        try:
            out = self._follow(data, now)
        except EventideError as error:
            _LOG.warning("a command was refused: %s", error)
            self.refused, self.reason = self.refused + 1, error.message
            return self._answer({"msg_id": number, "response": "ERR", "message": error.message})
        return out + self._answer({"msg_id": number, "response": "ACK"})

    def _follow(self, data: bytes, now: int) -> list[Outgoing]:
        command = read_command(data, now=now)
        if isinstance(command, Reset):
            for each in self._counts:
                each.reset()
            return []
        if not isinstance(command, Configure):
            return self.end(now)
        # Made before anything ends: a histogram that cannot be made leaves everything as it is.
        counts = [Count(wanted, command) for wanted in command.histograms]
        subscriptions = _subscriptions(counts, command)
        for one in subscriptions:
            self.check(one)
        out = self.end(now)
        self._counts, self._input, self.subscriptions = counts, command.input_schema, subscriptions
        self._configured = {"command": data.decode("utf-8", "surrogateescape"), "now": now}
        return out + [_published(each, now) for each in counts]

    def end(self, now: int) -> list[Outgoing]:
        """End all histograms, and return the last ones of those that run."""
        out = []
        for each in self._counts:
            if each.running:
                each.finish()
                out.append(_published(each, now))
        self._counts, self.subscriptions, self._configured = [], (), None
        self.generation += 1
        return out

    def publish(self, now: int) -> list[Outgoing]:
        """Return the histograms of those that run, as they are."""
        return [_published(each, now) for each in self._counts if each.running]

    def snapshot(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Return the state: plain data (the command that holds, and what came of it), and the counts as tables."""
        said, tables = [], {}
        for number, each in enumerate(self._counts):
            one, counts = each.snapshot()
            said.append(one)
            tables.update({f"{number}:{name}": table for name, table in counts.items()})
        kept = {"configured": self._configured, "counts": said, "broken": self.broken, "refused": self.refused}
        return kept, tables

    def restore(self, said: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
        """Take over a state, in place of what is held; topics are not checked again.

        Raises
        ------
        CheckpointError
            Its counts are of histograms with other bins.
        UsageError
            Its command is one that this version does not follow.
        """
        self.broken, self.refused, self._configured = said["broken"], said["refused"], said["configured"]
        self._counts, self.subscriptions = [], ()
        self.generation += 1
        if self._configured is None:
            return
        data = self._configured["command"].encode("utf-8", "surrogateescape")
        command = read_command(data, now=self._configured["now"])
        if not isinstance(command, Configure):
            return
        self._input, self._counts = command.input_schema, [Count(wanted, command) for wanted in command.histograms]
        for number, (each, one) in enumerate(zip(self._counts, said["counts"], strict=True)):
            mine = f"{number}:"
            each.restore(one, {n.removeprefix(mine): t for n, t in tables.items() if n.startswith(mine)})
        self.subscriptions = _subscriptions(self._counts, command)

    def _answer(self, said: dict[str, object]) -> list[Outgoing]:
        if said["msg_id"] is None or not self._response_topic:
            return []
        return [Outgoing(self._response_topic, json.dumps(said).encode())]

    def events(self, messages: Iterable[Received]) -> None:
        """Count the events of messages; those that cannot be read are counted in `broken`."""
        running = [each for each in self._counts if each.running]
        read = []
        for each in messages:
            message = self._read(each.value)
            if message is not None:
                read.append(((each.topic, each.partition), each.time, message))
        for count in running:
            count.add(read)

    def _read(self, data: bytes | EventMessage) -> EventMessage | None:
        if isinstance(data, EventMessage):
            return data
        schema = self._input or bytes(data[4:8]).decode("latin-1")
        try:
            if schema not in INPUTS:
                msg = f"the message is of the schema {schema!r}"
                raise BrokenMessageError(msg)
            return _READERS[schema](data)
        except BrokenMessageError as error:
            self.broken += 1
            _LOG.debug("a message of events cannot be read: %s", error)
            return None

    def tick(self, now: int, behind: Iterable[tuple[str, int]] = ()) -> list[Outgoing]:
        """Return what is due.

        Parameters
        ----------
        now
            ms since 1970.
        behind
            Topics and partitions that have messages which were not given to `events` yet.
        """
        out = []
        if self._heartbeat_topic and self._beats.strikes(now):
            out.append(Outgoing(self._heartbeat_topic, self._heartbeat, kept=False))
        waiting = frozenset(behind)
        due = self._publishes.strikes(now)
        for each in self._counts:
            if not each.running:
                continue
            over = each.is_over(now, waiting)
            if over:
                each.finish()
            if over or due:
                out.append(_published(each, now))
        return out

    def failed(self, topic: str, reason: str, now: int) -> list[Outgoing]:
        """End the histograms that need a topic which cannot be read, and return what they had, with the reason."""
        out = []
        for each in self._counts:
            if each.running and topic in each.wanted.data_topics:
                each.finish(reason)
                out.append(_published(each, now))
        return out


def _subscriptions(counts: Sequence[Count], command: Configure) -> tuple[Subscription, ...]:
    asked = [Subscription(c.wanted.brokers, t, command.start) for c in counts for t in c.wanted.data_topics]
    return tuple(dict.fromkeys(asked))


def _published(each: Count, now: int) -> Outgoing:
    return Outgoing(each.wanted.topic, each.message(now), each.wanted.brokers)


def _nothing(asked: Subscription) -> None:
    """Check nothing."""
