"""Where messages are: what the service needs of Kafka and of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from eventide.apps.neutron.restream.machine import Outgoing, Received, Subscription
from eventide.errors import UsageError

__all__ = ["Place", "Positions", "Reading", "Stamp", "place_of"]

Positions = dict[str, dict[int, int]]
"""By topic and partition, the offset of the next message."""

Stamp = tuple[str, int]
"""Who sends, and the number of what is sent together."""


class Reading(Protocol):
    """Topics of one place, read together."""

    @property
    def behind(self) -> set[tuple[str, int]]:
        """Topics and partitions that may have messages which were not read yet."""

    @property
    def positions(self) -> Positions:
        """The next message of each."""

    def begin(self, several: Sequence[Subscription], positions: Positions) -> dict[str, str]:
        """Begin to read, where `positions` says or else the subscription; return what cannot be read, and why."""

    def read(self, timeout: float) -> tuple[list[Received], dict[str, str]]:
        """Return messages, waiting for the first at most `timeout` s, and topics that cannot be read any more."""

    def close(self) -> None:
        """Let go."""


class Place(Protocol):
    """A cluster of Kafka, or a log."""

    def has(self, topic: str) -> bool:
        """Tell whether there is such a topic."""

    def prepare(self, topic: str) -> None:
        """Make a topic of commands where there is none and nobody else makes it."""

    def reading(self) -> Reading:
        """Return what reads topics."""

    def send(self, messages: Sequence[Outgoing], stamp: Stamp | None) -> None:
        """Send messages; those with a stamp may be sent again, with the same one.

        Raises
        ------
        UnavailableError
            One with a stamp of before was not taken.
        """

    def poll(self) -> None:
        """Do what has to be done now and then."""

    def settle(self) -> None:
        """Wait until everything is where it was sent.

        Raises
        ------
        UnavailableError
            Something with a stamp was not taken.
        """

    def close(self) -> None:
        """Settle, and let go."""


def place_of(address: str, settings: Mapping[str, Any]) -> Place:
    """Return the place of an address: ``log://``, ``log://FOLDER``, or brokers of Kafka.

    Raises
    ------
    UsageError
        It is several places.
    """
    if "log://" not in address:
        from eventide.apps.neutron.restream.kafka_place import KafkaPlace

        return KafkaPlace(address, settings)
    if not address.startswith("log://") or "," in address:
        msg = f"{address} is several places"
        raise UsageError(msg, hint="name the log alone, as log:// or log://FOLDER, or brokers of Kafka")
    from eventide.apps.neutron.restream.log_place import LogPlace

    return LogPlace(address.removeprefix("log://"))
