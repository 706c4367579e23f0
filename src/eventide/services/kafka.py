"""Apache Kafka: one broker in KRaft mode on the loopback, with everything that it keeps in one folder.

It is the real broker, fetched from Maven Central at the first start (some 100 MB, kept under ``~/.cache/eventide``, or
``EVENTIDE_CACHE``; ``EVENTIDE_KAFKA_LIBS`` names a folder of jars to use instead). It needs Java 17.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventide.errors import RunError, UsageError
from eventide.services._java import java, libraries

__all__ = ["VERSION", "Broker", "at"]

VERSION = "4.2.0"
_ARTEFACTS = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3")
_HOST = "127.0.0.1"
_STARTED = "Kafka Server started"
_SECONDS = 90.0
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "num.partitions": 1,
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "auto.create.topics.enable": "false",
}
_LOGGING = """rootLogger.level = WARN
rootLogger.appenderRef.out.ref = OUT
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


def at(folder: str | Path, port: int = 0) -> Broker:
    """Return the broker whose data are in a folder; it is not started by that.

    Parameters
    ----------
    folder
        Where its data, settings and log are; made when it starts.
    port
        Of the loopback; 0 takes a free one, and that of before where the folder has been used.
    """
    return Broker(Path(folder), port=port)


class Broker:
    """One broker; `start` and `stop` as often as one likes, on the same ports and with the same data.

    Parameters
    ----------
    folder
        Where everything is that it keeps.
    port
        0 takes a free one at the first start.
    heap
        Of Java, as ``512m``.
    settings
        More settings of the broker, https://kafka.apache.org/documentation/#brokerconfigs.
    bound
        Whether it ends with the process that starts it, however that ends (on Linux).
    """

    name = "kafka"

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        heap: str = "512m",
        settings: Mapping[str, Any] | None = None,
        bound: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self._bound = bound
        self._heap, self._settings = heap, dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        known = self._known()
        if port and known and port != known["port"]:
            msg = f"{self.folder} belongs to a broker on port {known['port']}, not {port}"
            raise UsageError(msg, hint="leave the port out, or use another folder")
        self._ports: tuple[int, int] = (known["port"], known["controller"]) if known else (port, 0)

    def _known(self) -> dict[str, Any]:
        try:
            known: dict[str, Any] = json.loads((self.folder / "broker.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return known

    @property
    def port(self) -> int:
        """The port of the loopback, 0 before the first start."""
        return self._ports[0]

    @property
    def address(self) -> str:
        """Where clients find it: ``host:port``."""
        return f"{_HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._pid() is not None

    def start(self) -> None:
        """Start it, and return when it takes requests; one that runs already is left alone.

        Raises
        ------
        MissingDependencyError
            There is no Java, or no Maven to fetch Kafka with.
        RunError
            It does not come up; the message has the end of its log.
        """
        if self.running:
            return
        program = java(17, why=f"Kafka {VERSION}")
        jars = libraries(f"kafka-{VERSION}", _ARTEFACTS, override="EVENTIDE_KAFKA_LIBS")
        command = [program, f"-Xmx{self._heap}", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
        command.insert(1, f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}")
        self._prepare(command)
        log = self.folder / "server.log"
        before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [*command, "kafka.Kafka", str(self.folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C at a terminal is for us, not for it
                preexec_fn=_end_with_parent if self._bound and sys.platform == "linux" else None,  # noqa: PLW1509 - tests
            )
        (self.folder / "pid").write_text(str(self._process.pid), "utf-8")
        deadline = time.monotonic() + _SECONDS
        while _STARTED not in _text(log, before):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop(kill=True)
                said = "\n".join(_text(log, before).splitlines()[-8:])
                msg = f"the Kafka broker in {self.folder} did not come up:\n{said}"
                raise RunError(msg, hint=f"see {log}; is the port {self.port} taken?")
            time.sleep(0.05)

    def _prepare(self, java_command: list[str]) -> None:
        """Write the settings; the first time also choose ports and format the folder for data."""
        if not self._known():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._ports = _free_ports(self._ports[0])
        clients, controller = self._ports
        listeners = f"PLAINTEXT://{_HOST}:{clients},CONTROLLER://{_HOST}:{controller}"
        settings = {
            **_SETTINGS,
            "listeners": listeners,
            "advertised.listeners": f"PLAINTEXT://{_HOST}:{clients}",
            "controller.quorum.bootstrap.servers": f"{_HOST}:{controller}",
            "log.dirs": self.folder / "data",
            **self._settings,
        }
        lines = "".join(f"{k}={v}\n" for k, v in settings.items())
        (self.folder / "server.properties").write_text(lines, "utf-8")
        (self.folder / "log4j2.properties").write_text(_LOGGING, "utf-8")
        if self._known():
            return
        identity = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        format_it = ["kafka.tools.StorageTool", "format", "--standalone", "-t", identity, "-c"]
        done = subprocess.run(
            [*java_command, *format_it, str(self.folder / "server.properties")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            msg = f"the folder {self.folder} cannot be made ready for Kafka: {(done.stdout + done.stderr)[-400:]}"
            raise RunError(msg, hint="see whether it can be written, or use another folder")
        ports = {"port": clients, "controller": controller, "version": VERSION}
        (self.folder / "broker.json").write_text(json.dumps(ports), "utf-8")

    def stop(self, *, kill: bool = False) -> None:
        """Stop it, and return when it is gone; with `kill` at once, by SIGKILL. One that does not run is no error."""
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
            deadline = time.monotonic() + _SECONDS
            while self._pid() is not None:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    deadline += _SECONDS
                time.sleep(0.02)
        if self._process is not None:
            self._process.wait()
            self._process = None
        (self.folder / "pid").unlink(missing_ok=True)

    def _pid(self) -> int | None:
        """Return the number of its process, if that is there and is this broker's (numbers are used again)."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        try:
            pid = int((self.folder / "pid").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        said = subprocess.run(
            ["ps", "-ww", "-p", str(pid), "-o", "stat=,command="], capture_output=True, text=True, check=False
        ).stdout
        return pid if str(self.folder / "server.properties") in said and not said.startswith("Z") else None


def _end_with_parent() -> None:
    """Ask the kernel for a SIGKILL when the parent dies (prctl, PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _text(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace")


def _free_ports(port: int) -> tuple[int, int]:
    """Return the port (0: a free one) and another free one of the loopback."""
    with socket.socket() as one, socket.socket() as two:
        one.bind((_HOST, 0))
        two.bind((_HOST, 0))
        return port or one.getsockname()[1], two.getsockname()[1]
