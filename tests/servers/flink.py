"""A real Flink cluster of our own: a job manager and task managers, each a process, on free ports of the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType

import pytest

_OPENED = [
    "java.base/java.lang=ALL-UNNAMED",
    "java.base/java.net=ALL-UNNAMED",
    "java.base/java.io=ALL-UNNAMED",
    "java.base/java.nio=ALL-UNNAMED",
    "java.base/sun.nio.ch=ALL-UNNAMED",
    "java.base/java.lang.reflect=ALL-UNNAMED",
    "java.base/java.text=ALL-UNNAMED",
    "java.base/java.time=ALL-UNNAMED",
    "java.base/java.util=ALL-UNNAMED",
    "java.base/java.util.concurrent=ALL-UNNAMED",
    "java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "java.base/java.util.concurrent.locks=ALL-UNNAMED",
]
_LOOPBACK = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A standalone cluster; task managers come and go as one likes.

    Parameters
    ----------
    slots
        Of each task manager.
    """

    def __init__(self, slots: int = 2) -> None:
        import pyflink

        self._home = Path(str(pyflink.__file__)).parent
        self.folder = Path(tempfile.mkdtemp(prefix="eventide-flink-cluster-"))
        self.port = free_port()
        self._rpc = free_port()
        self._slots = slots
        self.managers: list[subprocess.Popen[bytes]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._made = 0
        try:
            self._start("jobmanager", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", 512)
            self._wait(lambda: self.overview() is not None, "the job manager does not answer")
        except BaseException:
            self.remove()
            raise

    @property
    def url(self) -> str:
        return f"{_LOOPBACK}:{self.port}"

    def _configuration(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        settings = {
            "jobmanager.rpc.address": _LOOPBACK,
            "jobmanager.rpc.port": self._rpc,
            "jobmanager.bind-host": _LOOPBACK,
            "jobmanager.memory.process.size": "1g",
            "rest.address": _LOOPBACK,
            "rest.bind-address": _LOOPBACK,
            "rest.port": self.port,
            "rest.bind-port": self.port,
            "taskmanager.host": _LOOPBACK,
            "taskmanager.bind-host": _LOOPBACK,
            "taskmanager.numberOfTaskSlots": self._slots,
            "taskmanager.resource-id": name,
            "taskmanager.cpu.cores": "1",
            # All parts, because it is not Flink's own script that starts it, which would work them out.
            "taskmanager.memory.framework.heap.size": "64m",
            "taskmanager.memory.framework.off-heap.size": "64m",
            "taskmanager.memory.jvm-metaspace.size": "192m",
            "taskmanager.memory.jvm-overhead.min": "64m",
            "taskmanager.memory.jvm-overhead.max": "64m",
            "taskmanager.memory.task.heap.size": "256m",
            "taskmanager.memory.task.off-heap.size": "0",
            "taskmanager.memory.managed.size": "16m",
            "taskmanager.memory.network.min": "32m",
            "taskmanager.memory.network.max": "32m",
            # A task manager that was killed is missed when it does not answer twice; one that is slow is waited for.
            "heartbeat.interval": "500",
            "heartbeat.timeout": "60000",
            "heartbeat.rpc-failure-threshold": "2",
            "io.tmp.dirs": str(folder / "tmp"),
            "env.log.dir": str(folder),
        }
        (folder / "tmp").mkdir()
        (folder / "config.yaml").write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in settings.items()))
        return folder

    def _start(self, name: str, entry: str, heap: int) -> subprocess.Popen[bytes]:
        folder = self._configuration(name)
        conf = self._home / "conf"
        command = ["java", f"-Xmx{heap}m", *(f"--add-opens={o}" for o in _OPENED)]
        command += [f"-Dlog.file={folder / 'log'}", f"-Dlog4j.configurationFile={conf / 'log4j.properties'}"]
        command += ["-cp", f"{self._home / 'lib'}/*", entry, "--configDir", str(folder)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with (folder / "out").open("wb") as out:
            # A group of its own, so that its Python workers can be ended with it.
            made = subprocess.Popen(
                command, stdout=out, stderr=out, start_new_session=True, env={**os.environ, "PATH": path}
            )
        self._processes.append(made)
        return made

    def add(self, count: int = 1) -> None:
        """Start task managers, and wait until they are known."""
        names = []
        for _ in range(count):
            self._made += 1
            names.append(f"taskmanager-{self._made}")
            entry = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
            self.managers.append(self._start(names[-1], entry, 400))
        self._wait(lambda: set(names) <= self.known(), "a task manager does not come")

    def known(self) -> set[str]:
        """Return the names of the task managers that the job manager knows and whose slots it has."""
        try:
            with urllib.request.urlopen(f"http://{self.url}/taskmanagers", timeout=5) as answer:
                return {m["id"] for m in json.loads(answer.read())["taskmanagers"] if m["slotsNumber"]}
        except OSError:
            return set()

    def overview(self) -> dict[str, int] | None:
        try:
            with urllib.request.urlopen(f"http://{self.url}/overview", timeout=5) as answer:
                found: dict[str, int] = json.loads(answer.read())
                return found
        except OSError:
            return None

    def _wait(self, holds: object, complaint: str) -> None:
        until = time.monotonic() + 180
        while not holds():  # type: ignore[operator]
            gone = [p for p in self._processes if p.poll() is not None and p not in self._killed]
            if gone or time.monotonic() > until:
                pytest.fail(f"{complaint}\n{self.logs()}")
            time.sleep(0.05)

    _killed: tuple[subprocess.Popen[bytes], ...] = ()

    def kill(self, manager: int = -1) -> None:
        """Kill a task manager and its Python workers, as when its machine is switched off."""
        process = self.managers.pop(manager)
        self._killed = (*self._killed, process)
        _end(process)

    def logs(self) -> str:
        """Return the ends of what the processes said."""
        said = []
        for path in sorted([*self.folder.glob("*/out"), *self.folder.glob("*/log")]):
            lines = path.read_text(errors="replace").splitlines()
            wrong = [line for line in lines if " ERROR " in line or "Caused by" in line or "Exception:" in line]
            said += [f"-- {path}", *wrong[:15], *lines[-3:]]
        return "\n".join(said)

    def remove(self) -> None:
        """End everything, and take the folder away."""
        for process in reversed(self._processes):
            _end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
