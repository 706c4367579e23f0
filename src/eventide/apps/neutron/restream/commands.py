"""The commands of the service: ``eventide neutron restream``, and ``command``, which sends it one."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from eventide.apps._log_options import log_options
from eventide.apps._stopping import Stop
from eventide.errors import ConfigError

__all__ = ["command", "restream"]


def restream(
    brokers: Annotated[str, typer.Option("--brokers", "-b", help="Of commands: HOST:PORT,... or log://FOLDER.")] = "",
    config_topic: Annotated[str, typer.Option("--config-topic", "-t", help="Topic of commands.")] = "",
    response_topic: Annotated[str, typer.Option(help="Topic of answers; left out, there are none.")] = "",
    hb_topic: Annotated[str, typer.Option(help="Topic of heartbeats (x5f2); left out, there are none.")] = "",
    config_file: Annotated[str, typer.Option("--config-file", "-c", help="A file of just-bin-it, as it is.")] = "",
    state: Annotated[
        str, typer.Option(metavar="FOLDER", help="Where configuration and counts survive a stop and a kill.")
    ] = "",
    command: Annotated[
        list[str] | None, typer.Option(metavar="FILE.json", help="A command to follow at once; repeatable.")
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of librdkafka (TLS, SASL); secrets as env:NAME."),
    ] = None,
) -> None:
    """Make histograms by the commands of just-bin-it, through Kafka or the log, until it is stopped."""
    from eventide.apps.neutron.restream.service import restream as serve
    from eventide.apps.neutron.restream.settings import Settings, from_file, merged, pairs

    settings = merged(
        from_file(config_file) if config_file else Settings(),
        brokers=brokers,
        command_topic=config_topic,
        response_topic=response_topic,
        heartbeat_topic=hb_topic,
        client=pairs(client or ()),
    )
    for name in settings.ignored:
        _note(f"{name} of {config_file} has no meaning here")
    first = [_read(path) for path in command or ()]
    with Stop() as stop:
        serve(
            settings.brokers,
            command_topic=settings.command_topic,
            response_topic=settings.response_topic,
            heartbeat_topic=settings.heartbeat_topic,
            settings=settings.client,
            commands=first,
            state=state,
            on_begin=lambda: _note(f"commands come from {settings.command_topic} at {settings.brokers}"),
            stop=stop.event,
        )
    raise typer.Exit(stop.exit_code)


def command(
    file: Annotated[str, typer.Argument(metavar="FILE.json", help="The command, as just-bin-it takes it.")],
    to: Annotated[str, typer.Argument(help="Topic of commands: log://topic or kafka://host:port/topic.")],
    log: Annotated[str, typer.Option(help="Folder of the log; left out, the configured one.")] = "",
) -> None:
    """Send a command of just-bin-it to a service; one that cannot be followed is not sent."""
    from eventide import registry
    from eventide.apps.neutron.restream.command import read_command
    from eventide.apps.neutron.schema import MESSAGES
    from eventide.model.stream import read

    data, now = _read(file), time.time_ns()
    read_command(data, now=now // 1_000_000)
    row = pa.record_batch([pa.array([now]).cast(MESSAGES.field(0).type), pa.array([data], pa.large_binary())], MESSAGES)
    options = log_options(to, log)
    if to.startswith("kafka://"):
        options = {"format": "raw", "rows_per_message": 1, "timestamp": "timestamp"}
    source = registry.resolve("connector", "memory").MemorySource([row])
    registry.resolve("engine", "local").run(read(source).write(to, **options))


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        msg = f"the command {path} cannot be read: {error}"
        raise ConfigError(msg, hint="name a file with the JSON of a command, such as just-bin-it takes") from None


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
