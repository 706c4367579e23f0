"""Where a topic is and how its cluster is reached: the address, security, and what stands in for both in Azure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from eventide.config import secret
from eventide.connectors._kafka_client import is_secret
from eventide.errors import ConfigError, UsageError

__all__ = ["Address", "address", "event_hub"]

_OURS = {
    "bootstrap.servers": "the address",
    "group.id": "group",
    "isolation.level": "isolation",
    "transactional.id": "name",
    "partitioner": "partitioner",
    "auto.offset.reset": "start",
    "enable.auto.commit": "",
    "enable.auto.offset.store": "",
    "enable.idempotence": "",
    "enable.partition.eof": "",
}
"""Settings that are made here, and the option that is for them."""

_PREFIXES = ("ssl_", "sasl_", "security_", "ssl.", "sasl.", "security.")
_EVENT_HUB_PORT = 9093


@dataclass(frozen=True, slots=True)
class Address:
    """Servers, topic, settings of the client, what messages call it, and the options that are left."""

    servers: str
    topic: str
    settings: Mapping[str, Any]
    where: str
    rest: Mapping[str, Any]


def address(uri: str, options: Mapping[str, Any]) -> Address:
    """Return what an address and its options say.

    Raises
    ------
    UsageError
        There is no host or topic, a password is in the address, or a secret is given as such.
    ConfigError
        The connection string is not there, or not one.

    Examples
    --------
    >>> found = address("kafka://a:9092,b:9092/readings", {"sasl_username": "observer", "start": "latest"})
    >>> found.servers, found.topic, found.settings, found.rest
    ('a:9092,b:9092', 'readings', {'sasl.username': 'observer'}, {'start': 'latest'})
    """
    hosts, _, topic = uri.partition("://")[2].partition("/")
    if "@" in hosts:
        msg = f"kafka://{hosts.rpartition('@')[2]}/{topic}: user and password do not belong in the address"
        raise UsageError(msg, hint="pass sasl_username='...' and sasl_password='env:NAME' or 'file:PATH'")
    rest, settings = dict(options), dict(options.get("settings") or {})
    rest.pop("settings", None)
    for name in [n for n in rest if n.startswith(_PREFIXES)]:
        settings[name.replace("_", ".")] = rest.pop(name)
    where = f"kafka://{hosts}/{topic}"
    for name, value in settings.items():
        if name in _OURS:
            msg = f"{where}: the setting {name} is made by the connector"
            raise UsageError(msg, hint=f"use {_OURS[name]} for that" if _OURS[name] else "leave it out")
        if is_secret(name) and not str(value).startswith(("env:", "file:")):
            msg = f"{where}: {name} must say where the secret is, not what it is"
            raise UsageError(msg, hint=f"{name.replace('.', '_')}='env:NAME' or 'file:PATH'")
    if "connection_string" in rest:
        place = str(rest.pop("connection_string"))
        hosts, topic, made = event_hub(place, hosts, topic)
        settings, where = {**made, **settings}, f"kafka://{hosts}/{topic}"
    if not hosts or not topic or "/" in topic:
        msg = f"{where} names no {'topic' if hosts else 'broker'}"
        raise UsageError(msg, hint="write it as kafka://host:9092/topic")
    return Address(hosts, topic, settings, where, rest)


def event_hub(place: str, hosts: str = "", topic: str = "") -> tuple[str, str, dict[str, Any]]:
    """Return servers, topic and settings for the connection string of an Event Hub.

    It is ``Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=...;SharedAccessKey=...`` and may end in
    ``;EntityPath=HUB``. What Kafka's clients need: the namespace on port 9093, TLS, SASL PLAIN, the user
    ``$ConnectionString``, and the whole string as password.

    Parameters
    ----------
    place
        Where the string is: ``env:NAME`` or ``file:PATH``.
    hosts, topic
        Those of the address, which win.

    Raises
    ------
    UsageError
        The string itself is given.
    ConfigError
        It is not there, or not one.
    """
    if not place.startswith(("env:", "file:")):
        msg = "kafka:// option connection_string must say where the string is, not what it is: it has a key in it"
        raise UsageError(msg, hint="connection_string='env:NAME' or 'file:PATH'")
    fields = dict(part.partition("=")[::2] for part in secret(place).strip().split(";") if part)
    host = urlsplit(fields.get("Endpoint", "")).hostname
    if not host or ("SharedAccessKey" not in fields and "SharedAccessSignature" not in fields):
        msg = f"kafka:// option connection_string: what is in {place} is not the connection string of an Event Hub"
        raise ConfigError(msg, hint="it begins with Endpoint=sb://... and has a SharedAccessKey")
    settings = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "$ConnectionString",
        "sasl.password": place,
    }
    return hosts or f"{host}:{_EVENT_HUB_PORT}", topic or fields.get("EntityPath", ""), settings
