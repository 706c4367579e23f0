"""Java, Python and libraries in the right versions, and a Spark session that is quiet and keeps to this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from eventide.engines.spark.options import SparkOptions
from eventide.errors import ConfigError, MissingDependencyError, RunError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["JAVA", "is_here", "java_version", "needed", "session"]

JAVA = 17
_SPARK = (4, 2)
_DEFAULT = "local[2]"
_QUIET = Path(__file__).with_name("log4j2.properties")


def needed() -> None:
    """See that everything is here that Spark needs in this process.

    Raises
    ------
    MissingDependencyError
        Java or a library is missing, or of a version that does not do; the hint is what mends it.
    """
    fix = "pip install 'eventide[spark]' (in an environment without Flink, whose pins exclude it)"
    found = {name: _installed(name) for name in ("pyspark", "pandas", "pyarrow")}
    for name, has in found.items():
        if has is None:
            msg = f"the engine 'spark' needs the library {name!r}, which is not installed"
            raise MissingDependencyError(msg, hint=fix)
    numbers = {name: tuple(map(int, re.findall(r"\d+", has or "")[:2])) for name, has in found.items()}
    for name, ok, wanted in (
        ("pyspark", numbers["pyspark"] >= _SPARK, "4.2 or newer"),
        ("pandas", numbers["pandas"] < (3,), "older than 3"),
        ("pyarrow", numbers["pyarrow"] >= (18,), "18 or newer"),
    ):
        if not ok:
            msg = f"the engine 'spark' needs {name} {wanted}; {found[name]} is installed"
            raise MissingDependencyError(msg, hint=fix)
    java = java_version()
    if java is None or java < JAVA:
        what = "finds no Java" if java is None else f"finds Java {java}"
        msg = f"the engine 'spark' needs Java {JAVA} or newer, and {what}"
        hint = "Debian: apt-get install openjdk-17-jre-headless; or let JAVA_HOME name the folder of one"
        raise MissingDependencyError(msg, hint=hint)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def java_version() -> int | None:
    """Return the version of the Java that Spark would start, None where there is none."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if program is None:
        return None
    try:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', told.stderr + told.stdout)
    return int(found.group(1)) if found else None


def session(options: SparkOptions, name: str) -> SparkSession:
    """Return the session of this process; one that runs already is used as it is.

    It stays when a run has ended, as starting one takes seconds, and ends with the process.

    Raises
    ------
    MissingDependencyError
        Java or a library is missing.
    ConfigError
        A session runs already, elsewhere than where the options want it.
    RunError
        Spark does not start.
    """
    needed()
    # Otherwise workers take the python3 of the path, and what comes of it looks like a hang.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    if running is not None:
        return _fits(running, options)
    try:
        builder = SparkSession.builder.appName(f"eventide {name}")
        for key, value in _settings(options).items():
            builder = builder.config(key, value)
        made = builder.getOrCreate()
    except Exception as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        msg = f"Spark does not start: {told[0]}"
        raise RunError(msg, hint="`eventide doctor spark` looks for the cause") from error
    made.sparkContext.setLogLevel(options.log_level)
    return made


def _fits(running: SparkSession, options: SparkOptions) -> SparkSession:
    master = running.sparkContext.master
    if options.master and options.master != master:
        msg = f"a Spark session runs in this process with master {master!r}, not {options.master!r}"
        raise ConfigError(msg, hint="stop it with SparkSession.getActiveSession().stop(), or leave master= out")
    return running


def _settings(options: SparkOptions) -> dict[str, str]:
    given = dict(options.conf)
    # spark-submit hands its settings to the process that it starts; what it says of the master counts.
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    master = options.master or given.pop("spark.master", "") or ("" if submitted else _DEFAULT)
    settings = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    if not submitted:
        more = given.pop("spark.driver.extraJavaOptions", "")
        settings["spark.driver.extraJavaOptions"] = f"-Dlog4j2.configurationFile={_QUIET.as_uri()} {more}".strip()
    if is_here(master):
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    if path := _path(here=is_here(master)):
        settings["spark.executorEnv.PYTHONPATH"] = path
    if master:
        settings["spark.master"] = master
    settings["spark.sql.streaming.noDataMicroBatches.enabled"] = "false"
    return settings | given


def is_here(master: str) -> bool:
    """Return whether a master and its workers are on this machine.

    Examples
    --------
    >>> is_here("local[2]"), is_here("spark://127.0.0.1:7077"), is_here("yarn")
    (True, True, False)
    """
    return bool(re.match(r"local\b|spark://(127\.|localhost|\[::1\])", master))


def _path(*, here: bool) -> str:
    """Return where workers look for modules: on this machine where this process does, elsewhere where it was told."""
    if not here:
        return os.environ.get("PYTHONPATH", "")
    own = (sys.prefix, sys.base_prefix)  # a worker has these by itself
    return os.pathsep.join(str(Path(p).absolute()) for p in sys.path if not (p and p.startswith(own)))
