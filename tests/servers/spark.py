"""A real Spark cluster of our own: a master and workers as processes of their own, on free ports of the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

LONGEST = 180  # seconds until all workers are there, on a busy machine


def spark_home() -> Path:
    """Return the folder of Spark's own programs; without Java the tests are skipped, or fail where they must run."""
    pyspark = pytest.importorskip("pyspark", reason="Spark has an environment of its own: `make test-spark`")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Java: on Debian apt-get install openjdk-17-jre-headless")
        pytest.skip("there is no Java on this machine (Debian: apt-get install openjdk-17-jre-headless)")
    return Path(pyspark.__file__).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Cluster:
    """A standalone cluster; `kill` and `add` workers as one likes."""

    def __init__(self, workers: int = 2, *, memory: str = "768m") -> None:
        self._home, self._memory = spark_home(), memory
        self.folder = Path(tempfile.mkdtemp(prefix="eventide-spark-cluster-"))
        self._port, self._page = _free_port(), _free_port()
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self._master: subprocess.Popen[bytes] | None = None
        self._made = 0
        try:
            where = ["--host", "127.0.0.1", "--port", str(self._port), "--webui-port", str(self._page)]
            self._master = self._start("master", "org.apache.spark.deploy.master.Master", *where)
            for _ in range(workers):
                self.add()
            self.wait()
        except BaseException:
            self.close()
            raise

    @property
    def master(self) -> str:
        """Where a driver finds it."""
        return f"spark://127.0.0.1:{self._port}"

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_WORKER_DIR": str(self.folder / "work"),
            "SPARK_LOCAL_DIRS": str(self.folder / "scratch"),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            # A session of its own, so that all that it starts ends with it.
            return subprocess.Popen(
                [str(self._home / "bin" / "spark-class"), *command],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def add(self) -> int:
        """Start a worker with one core and return its number."""
        number, self._made = self._made, self._made + 1
        how = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0", "--cores", "1", "--memory", self._memory]
        command = ["org.apache.spark.deploy.worker.Worker", *how, self.master]
        self.workers[number] = self._start(f"worker-{number}", *command)
        return number

    def kill(self, number: int) -> None:
        """Kill a worker and the executors that it started, as a machine that loses its power."""
        process = self.workers.pop(number)
        _end(process, signal.SIGKILL)

    def facts(self) -> dict[str, Any]:
        """Return what the master says of its workers and applications."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._page}/json/", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def wait(self) -> None:
        """Wait until all workers are there."""
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.facts()["aliveworkers"] >= len(self.workers):
                    return
            if self._master is not None and self._master.poll() is not None:
                break
            time.sleep(0.2)
        logs = "\n".join(p.read_text()[-2000:] for p in sorted(self.folder.glob("*.log")))
        pytest.fail(f"the Spark cluster has not come up:\n{logs}")

    def close(self) -> None:
        """End all its processes, and remove its folder."""
        for process in (*self.workers.values(), self._master):
            if process is not None:
                _end(process, signal.SIGKILL)
        self.workers.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    # Executors have their parent's session; the group is empty when all have ended.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    process.wait()
