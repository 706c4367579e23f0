"""Settings of the service: as options, or in the file that just-bin-it takes, unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from eventide.errors import ConfigError, near_names

__all__ = ["Settings", "from_file", "merged", "pairs"]

_OWN: Final = {
    "brokers": "brokers",
    "config-topic": "command_topic",
    "response-topic": "response_topic",
    "hb-topic": "heartbeat_topic",
}
_CLIENT: Final = {
    "security-protocol": "security.protocol",
    "sasl-mechanism": "sasl.mechanism",
    "sasl-username": "sasl.username",
    "sasl-password": "sasl.password",
    "ssl-cafile": "ssl.ca.location",
}
_WITHOUT_EFFECT: Final = ("graphite-config-file", "log-level", "simulation-mode")
_MOST = 1 << 20
_HINT: Final = "for example --set security.protocol=SASL_SSL; the names are librdkafka's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the service is told when it starts.

    Parameters
    ----------
    brokers
        ``host:port``, several with commas.
    command_topic, response_topic, heartbeat_topic
        Topics; "" for none.
    client
        Settings of librdkafka.
    ignored
        Names in the file that have no meaning here.
    """

    brokers: str = ""
    command_topic: str = ""
    response_topic: str = ""
    heartbeat_topic: str = ""
    client: Mapping[str, str] = field(default_factory=dict, repr=False)
    ignored: tuple[str, ...] = ()


def from_file(path: str | Path) -> Settings:
    r"""Return the settings of a file of just-bin-it: lines such as ``config-topic = hist_commands``.

    A name may begin with ``--`` and is followed by ``=``, ``:`` or a blank; lists are ``[a, b]``; lines that begin with
    ``#``, ``;`` or ``[`` (a heading) and ``---`` tell nothing: the form of configargparse, which reads it there.

    Raises
    ------
    ConfigError
        The file cannot be read, or has a line or a name that means nothing.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
    ...     print("brokers = [a:9092, b:9092]", "config-topic: hist_commands", sep="\n", file=file, flush=True)
    ...     found = from_file(file.name)
    >>> found.brokers, found.command_topic
    ('a:9092,b:9092', 'hist_commands')
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(_MOST)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise ConfigError(msg, hint="name the file that just-bin-it was given with --config-file") from None
    own: dict[str, str] = {}
    client: dict[str, str] = {}
    ignored = []
    for number, line in enumerate(text.splitlines(), 1):
        name, value = _split(line)
        if name in _OWN:
            own[_OWN[name]] = ",".join(_listed(value)) if name == "brokers" else value
        elif name in _CLIENT:
            client[_CLIENT[name]] = value
        elif name in _WITHOUT_EFFECT:
            ignored.append(name)
        elif name:
            msg = f"{path}, line {number}: there is no setting {name!r}"
            raise ConfigError(msg, hint=near_names(name, [*_OWN, *_CLIENT, *_WITHOUT_EFFECT]))
    return Settings(**own, client=client, ignored=tuple(ignored))


def _split(line: str) -> tuple[str, str]:
    """Return name and value of a line, "" for one that tells nothing."""
    text = line.strip()
    if not text or text[0] in "#;[" or text.startswith("---"):
        return "", ""
    text = text.removeprefix("--")
    end = next((at for at, sign in enumerate(text) if sign in "=: \t"), len(text))
    value = text[end:].lstrip(" \t")
    value = value[1:] if value[:1] in ("=", ":") else value
    return text[:end].replace("_", "-"), _unquoted(value.partition(" #")[0].strip())


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _listed(value: str) -> list[str]:
    parts = value.strip("[]").replace(",", " ").split() if value.startswith("[") else value.replace(",", " ").split()
    return [_unquoted(part) for part in parts]


def pairs(given: Iterable[str], *, option: str = "--set", hint: str = _HINT) -> dict[str, str]:
    """Return settings from texts ``name=value``.

    Parameters
    ----------
    given
        The texts.
    option, hint
        For errors: which option they are of, and what to do.

    Raises
    ------
    ConfigError
        A text has no name, or no ``=``.

    Examples
    --------
    >>> pairs(["security.protocol=SASL_SSL", "sasl.password=env:KAFKA_PASSWORD"])
    {'security.protocol': 'SASL_SSL', 'sasl.password': 'env:KAFKA_PASSWORD'}
    """
    out = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            msg = f"{option} {text.partition('=')[0]!r} is not of the form name=value"
            raise ConfigError(msg, hint=hint)
        out[name] = value
    return out


def merged(base: Settings, *, client: Mapping[str, str], **own: str) -> Settings:
    """Return settings with what options say instead, where they say anything.

    Raises
    ------
    ConfigError
        There are no brokers, or no topic of commands.

    Examples
    --------
    >>> merged(Settings(brokers="a:9092"), client={}, command_topic="commands").command_topic
    'commands'
    """
    said: dict[str, Any] = {name: value for name, value in own.items() if value}
    made = replace(base, client={**base.client, **client}, **said)
    if not made.brokers or not made.command_topic:
        msg = f"the service does not know {'the brokers' if not made.brokers else 'the topic of commands'}"
        raise ConfigError(msg, hint="pass --brokers HOST:PORT and --config-topic TOPIC, or --config-file FILE")
    return made
