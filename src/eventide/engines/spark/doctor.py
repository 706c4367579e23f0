"""What the engine on Apache Spark needs here."""

from __future__ import annotations

import os
import sys

from eventide.engines._doctor import Check, package, small_job
from eventide.engines.spark.session import JAVA, java_version, needed
from eventide.errors import MissingDependencyError

__all__ = ["checks"]

_LONGEST = 300  # seconds: a JVM and six Pythons start, on a busy machine


def checks() -> list[Check]:
    """Return whether Java, Spark and its libraries are here and fit, what workers run, and whether a small job runs."""
    found = [_java(), package("pyspark", "4.2", extra="spark"), package("pandas", "2.2", extra="spark")]
    found += [package("pyarrow", "18", extra="spark"), _python()]
    if any(c.ok is False for c in found):
        return found
    try:
        needed()
    except MissingDependencyError as error:
        return [*found, Check("versions", False, error.message, error.hint)]
    return [*found, small_job("spark", longest=_LONGEST)]


def _java() -> Check:
    java = java_version()
    ok = java is not None and java >= JAVA
    fix = f"install Java {JAVA} (Debian: apt-get install openjdk-{JAVA}-jre-headless), or set JAVA_HOME"
    return Check("Java", ok, "not found" if java is None else str(java), "" if ok else fix)


def _python() -> Check:
    """Workers must have the Python of the driver, in the same minor version; on a cluster, each of its machines."""
    told = os.environ.get("PYSPARK_PYTHON")
    if told is None:
        return Check("Python of workers", True, f"{sys.executable}, as here; PYSPARK_PYTHON names another")
    return Check("Python of workers", True, f"{told}, as PYSPARK_PYTHON says")
