"""The Java process through which Python speaks with Flink: started, watched, and ended with this program.

It is started here and not by PyFlink, so that a Java that is missing, too old or killed is told as that.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from eventide.errors import MissingDependencyError, RunError

__all__ = ["OLDEST_JAVA", "gateway", "java_found", "last_words", "need_flink", "process_id", "site"]

OLDEST_JAVA = 11
_PATIENCE = 120.0
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')

_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None
_told: collections.deque[str] = collections.deque(maxlen=40)


def need_flink() -> None:
    """Say how to install PyFlink where it is missing.

    Raises
    ------
    MissingDependencyError
        It cannot be imported, or a library that it needs cannot.
    """
    try:
        import pyflink.datastream  # noqa: F401
    except ImportError as error:
        msg = (
            f"engine 'flink' needs the library {(error.name or 'pyflink').partition('.')[0]!r}, which is not installed"
        )
        hint = "pip install 'eventide[flink]', in an environment of its own: its pins exclude those of Beam and Spark"
        raise MissingDependencyError(msg, hint=hint) from error


def java_found() -> tuple[int, str]:
    """Return the version of Java that would be used, and its path.

    Raises
    ------
    MissingDependencyError
        There is none.
    """
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    hint = (
        "install Java 17 (Debian: apt-get install openjdk-17-jre-headless) and set JAVA_HOME if it is not on the path"
    )
    if program is None or not Path(program).exists():
        msg = f"engine 'flink' needs Java, and {program or 'java'} is not here"
        raise MissingDependencyError(msg, hint=hint)
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    version = _VERSION.search(said.stderr + said.stdout)
    if version is None:
        msg = f"{program} does not run: {(said.stderr or said.stdout).strip()[:200]}"
        raise MissingDependencyError(msg, hint=hint)
    return int(version[1]), program


def gateway() -> Any:
    """Return PyFlink's way into the Java process, which is started when there is none.

    Raises
    ------
    MissingDependencyError
        PyFlink or Java is missing, or Java is too old.
    RunError
        The process does not start.
    """
    global _process
    need_flink()
    from pyflink import java_gateway

    with _lock:
        if _process is not None and _process.poll() is None:
            return java_gateway.get_gateway()
        if _process is None and java_gateway._gateway is not None:
            return java_gateway.get_gateway()  # the program uses PyFlink itself
        java_gateway._gateway = None
        _process, port = _start()
        os.environ["PYFLINK_GATEWAY_PORT"] = str(port)
        try:
            return java_gateway.get_gateway()
        finally:
            del os.environ["PYFLINK_GATEWAY_PORT"]


def _start() -> tuple[subprocess.Popen[bytes], int]:
    version, program = java_found()
    if version < OLDEST_JAVA:
        msg = f"{program} is Java {version}, and Flink needs {OLDEST_JAVA} or newer"
        raise MissingDependencyError(msg, hint="install Java 17, and set JAVA_HOME to it")
    from pyflink.find_flink_home import _find_flink_home
    from pyflink.pyflink_gateway_server import launch_gateway_server_process

    _find_flink_home()
    folder = Path(tempfile.mkdtemp(prefix="eventide-flink-"))
    told = folder / "port"
    # Workers in threads find their library beside the Python that is first on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {**os.environ, "_PYFLINK_CONN_INFO_PATH": str(told), "PATH": path}
    try:
        process = launch_gateway_server_process(
            env, ["-c", "org.apache.flink.client.python.PythonGatewayServer", "local"]
        )
        threading.Thread(target=_listen, args=(process.stderr,), daemon=True).start()
        until = time.monotonic() + _PATIENCE
        while not told.exists() or told.stat().st_size < struct.calcsize("!I"):
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                msg = f"the Java process of Flink did not start: {last_words() or 'it said nothing'}"
                raise RunError(msg, hint="`eventide doctor flink` looks for the cause")
            time.sleep(0.02)
        return process, struct.unpack("!I", told.read_bytes()[:4])[0]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listen(pipe: Any) -> None:
    """Take what the process says: one that nobody listened to would stand still."""
    for line in pipe:
        _told.append(line.decode(errors="replace").rstrip())


def last_words() -> str:
    """Return the last of what the process said."""
    return " | ".join(list(_told)[-5:])


def process_id() -> int | None:
    """Return the number of the Java process that was started here, None where there is none."""
    return _process.pid if _process is not None and _process.poll() is None else None


def site() -> Path:
    """Return the folder of Flink's own distribution inside PyFlink."""
    import pyflink

    return Path(str(pyflink.__file__)).parent
