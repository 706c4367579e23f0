"""The service: reads commands and events from Kafka or the log, and sends what the machine answers.

Where reading begins follows just-bin-it: commands from now on; events from now on, or from the first message of the
start time. A start time of which messages were deleted is an error of the histogram. No offset is committed to Kafka:
with a folder for its state, a service goes on where it was, else what is counted is gone with it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventide.apps.neutron.restream.kept import Kept, Store
from eventide.apps.neutron.restream.machine import Outgoing, Restream, Subscription
from eventide.apps.neutron.restream.place import Place, Positions, Reading, Stamp, place_of
from eventide.errors import UnavailableError, UsageError
from eventide.formats import x5f2

__all__ = ["Service", "restream"]

_LOG = logging.getLogger("eventide.neutron")
_COMMANDS = "commands"
"""What the place of commands is called among those of events, which are called by their addresses."""


def restream(  # what a process runs
    brokers: str,
    *,
    command_topic: str,
    response_topic: str = "",
    heartbeat_topic: str = "",
    settings: Mapping[str, Any] | None = None,
    commands: Sequence[bytes] = (),
    state: str = "",
    on_begin: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve until told to stop. Without `state`, what runs then is published once more, as FINISHED.

    Parameters
    ----------
    brokers
        Where commands come from: ``host:port``, several with commas, or ``log://FOLDER`` (``log://``: the configured
        log). The ``data_brokers`` of commands take the same.
    command_topic, response_topic, heartbeat_topic
        Topics; without the last two there are no answers and no heartbeats.
    settings
        More settings of librdkafka, as for ``kafka://``: of secrets the place, ``env:NAME`` or ``file:PATH``.
    commands
        Followed before those of the topic, and answered like them; those that the state has already are not repeated.
    state
        Folder in which configuration and counts survive a stop and a kill; "": they do not.
    on_begin
        Called when the topic of commands is read.
    stop
        Ends it when it is set.

    Raises
    ------
    MissingDependencyError
        confluent-kafka is not installed.
    UnavailableError
        The topic of commands cannot be read.
    UsageError
        One of `commands` is refused.
    CheckpointError
        The state is damaged, or the disk refuses it.

    Examples
    --------
    >>> restream("localhost:9092", command_topic="hist_commands")  # doctest: +SKIP
    """
    machine = Restream(response_topic=response_topic, heartbeat_topic=heartbeat_topic, identity=_identity())
    service = Service(brokers, command_topic, machine, settings=settings, store=Store(state) if state else None)
    ended = stop or threading.Event()
    try:
        if on_begin is not None:
            on_begin()
        for data in commands:
            service.follow(data)
        while not ended.is_set():
            service.step(0.05)
        service.end()
    finally:
        service.close()


class Service:
    """A machine with its transport; `step` does everything once.

    Parameters
    ----------
    brokers, command_topic
        Where commands come from; answers and heartbeats go to the same place.
    machine
        The machine.
    settings
        As for `restream`.
    store
        What is kept on disk; None: nothing.
    """

    def __init__(
        self,
        brokers: str,
        command_topic: str,
        machine: Restream,
        *,
        settings: Mapping[str, Any] | None = None,
        store: Store | None = None,
    ) -> None:
        self.machine = machine
        machine.check = self._check
        self._brokers, self._settings, self._store = brokers, dict(settings or {}), store
        self._places: dict[str, Place] = {}
        self._readers: dict[str, Reading] = {}
        self._followed: set[str] = set()
        kept = store.load() if store is not None else None
        positions = _positions(kept.said["positions"] if kept is not None else {})
        self._identity = kept.said["identity"] if kept is not None else uuid.uuid4().hex
        place = self._place(brokers)
        place.prepare(command_topic)
        self._commands = place.reading()
        reason = self._commands.begin([Subscription((brokers,), command_topic, None)], positions.get(_COMMANDS, {}))
        if reason:
            self.close()
            msg = f"the topic {command_topic} of commands cannot be read: {'; '.join(reason.values())}"
            raise UnavailableError(msg, hint=f"is there a topic of that name at {brokers}?")
        if kept is not None:
            self._take_over(kept)
        self._generation = machine.generation
        self._send(self._subscribe(positions))

    def _take_over(self, kept: Kept) -> None:
        """Go on from a state: what was on its way is sent once more, for nobody knows whether it was."""
        self.machine.restore(kept.said["machine"], kept.tables)
        self._followed = set(kept.said["followed"])
        again = zip(kept.said["outgoing"], kept.messages, strict=True)
        self._give([Outgoing(t, value, tuple(brokers)) for (t, brokers), value in again], self._stamp)

    @property
    def _stamp(self) -> Stamp | None:
        """Of what stands in the newest state as on its way."""
        return (self._identity, self._store.number) if self._store is not None else None

    def step(self, timeout: float) -> None:
        """Follow commands, count events (waiting for them at most so many s), and send what is due."""
        out: list[Outgoing] = []
        for message in self._commands.read(0.0 if self._readers else timeout)[0]:
            out += self.machine.command(bytes(message.value), _now())  # type: ignore[arg-type]
        if self.machine.generation != self._generation:
            self._generation = self.machine.generation
            out += self._subscribe({})
        for reader in self._readers.values():
            messages, failed = reader.read(timeout / len(self._readers))
            self.machine.events(messages)
            for topic, reason in failed.items():
                out += self.machine.failed(topic, reason, _now())
        behind = [place for reader in self._readers.values() for place in reader.behind]
        out += self.machine.tick(_now(), behind)
        self._send(out)
        for place in self._places.values():
            place.poll()

    def follow(self, data: bytes) -> None:
        """Follow a command that did not come through the topic; one that the state followed already is passed over.

        Raises
        ------
        UsageError
            It is refused; the answer says so too.
        """
        known = hashlib.sha256(data).hexdigest()
        if known in self._followed:
            _LOG.info("a command was followed before the service was stopped, and is not repeated")
            return
        refused = self.machine.refused
        out = self.machine.command(data, _now())
        if self.machine.refused == refused:
            self._followed.add(known)
        self._generation = self.machine.generation
        self._send(out + self._subscribe({}))
        if self.machine.refused != refused:
            msg = f"a command is refused: {self.machine.reason}"
            raise UsageError(msg, hint="mend it: see the documentation of just-bin-it for its fields")

    def end(self) -> None:
        """Publish what runs: for the last time, or as it is where the state is kept."""
        self._send(self.machine.publish(_now()) if self._store is not None else self.machine.end(_now()))

    def close(self) -> None:
        """Send what is on its way, and close the connections."""
        for reader in (*self._readers.values(), self._commands):
            reader.close()
        for place in self._places.values():
            place.close()
        self._places, self._readers = {}, {}

    def _place(self, address: str) -> Place:
        if address not in self._places:
            self._places[address] = place_of(address, self._settings)
        return self._places[address]

    def _check(self, asked: Subscription) -> None:
        """Refuse a topic that is not there: a command gets an answer instead of a histogram that stays empty."""
        if not self._place(",".join(asked.brokers)).has(asked.topic):
            msg = f"there is no topic {asked.topic!r} at {', '.join(asked.brokers)}"
            raise UsageError(msg)

    def _subscribe(self, positions: Mapping[str, Positions]) -> list[Outgoing]:
        for reader in self._readers.values():
            reader.close()
        self._readers = {}
        by_place: dict[str, list[Subscription]] = {}
        for asked in self.machine.subscriptions:
            by_place.setdefault(",".join(asked.brokers), []).append(asked)
        out: list[Outgoing] = []
        for address, several in by_place.items():
            reader = self._place(address).reading()
            self._readers[address] = reader
            for topic, reason in reader.begin(several, dict(positions.get(address, {}))).items():
                out += self.machine.failed(topic, reason, _now())
        return out

    def _send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages; what must not be lost stands in the state before, with everything that came of it."""
        kept = [each for each in messages if each.kept]
        if kept and self._store is not None:
            for place in self._places.values():
                place.settle()  # the state before this one is forgotten, and with it what was on its way
            positions = {address: reader.positions for address, reader in self._readers.items()}
            machine, tables = self.machine.snapshot()
            said = {
                "identity": self._identity,
                "positions": {_COMMANDS: self._commands.positions, **positions},
                "machine": machine,
                "followed": sorted(self._followed),
                "outgoing": [(each.topic, each.brokers) for each in kept],
            }
            self._store.save(Kept(said, tables, tuple(each.value for each in kept)))
        self._give(kept, self._stamp)
        self._give([each for each in messages if not each.kept], None)

    def _give(self, messages: Sequence[Outgoing], stamp: Stamp | None) -> None:
        by_place: dict[str, list[Outgoing]] = {}
        for each in messages:
            by_place.setdefault(",".join(each.brokers) or self._brokers, []).append(each)
        for address, several in by_place.items():
            self._place(address).send(several, stamp)


def _positions(said: Mapping[str, Any]) -> dict[str, Positions]:
    """Return positions as JSON had them."""
    return {
        where: {topic: {int(partition): offset for partition, offset in at.items()} for topic, at in topics.items()}
        for where, topics in said.items()
    }


def _identity() -> x5f2.Heartbeat:
    return x5f2.Heartbeat(
        software_name="eventide restream",
        host_name=socket.gethostname(),
        process_id=os.getpid(),
        update_interval=1000,
    )


def _now() -> int:
    return time.time_ns() // 1_000_000
