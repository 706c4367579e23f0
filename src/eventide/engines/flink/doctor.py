"""What the engine on Apache Flink needs here."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from eventide.engines._doctor import Check, package, small_job
from eventide.engines.flink.jvm import OLDEST_JAVA, java_found
from eventide.errors import MissingDependencyError

__all__ = ["checks"]

_JARS = ("flink-dist-", "flink-connector-files-", "flink-csv-")


def checks() -> list[Check]:
    """Return whether Java, PyFlink, its jars and pins are here, what workers run, and whether a small job runs."""
    found = [_java(), package("apache-flink", "2.3", extra="flink"), _setuptools(), *_pins()]
    if all(c.ok is not False for c in found):
        found += [
            _jars(),
            _threads(),
            Check("Python of workers", True, f"{sys.executable}; the option python= names another"),
        ]
    return found if any(c.ok is False for c in found) else [*found, small_job("flink")]


def _java() -> Check:
    try:
        found, program = java_found()
    except MissingDependencyError as error:
        return Check("Java", False, error.message, error.hint)
    ok = found >= OLDEST_JAVA
    return Check("Java", ok, f"{found} ({program})", "" if ok else "install Java 17, and set JAVA_HOME to it")


def _setuptools() -> Check:
    """PyFlink imports pkg_resources, which newer versions of setuptools no longer have."""
    ok = find_spec("pkg_resources") is not None
    return Check("pkg_resources", ok, "is here" if ok else "not here", "" if ok else "pip install 'setuptools<81'")


def _pins() -> list[Check]:
    """Flink's pins against what is installed: another version works in parts only."""
    out = []
    for name, least, below in (("apache-beam", "2.54", "2.62"), ("pyarrow", "16.1", "17"), ("protobuf", "5", "6")):
        try:
            found = version(name)
        except PackageNotFoundError:
            out.append(
                Check(name, False, "not installed", "pip install 'eventide[flink]' in an environment of its own")
            )
            continue
        ok = _numbers(least) <= _numbers(found) < _numbers(below)
        fix = "" if ok else f"PyFlink 2.3 wants {least} or newer and older than {below}: an environment of its own"
        out.append(Check(name, ok or None, found, fix))
    return out


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(".")[:3] if n.isdigit())


def _jars() -> Check:
    from eventide.engines.flink.jvm import site

    home = Path(os.environ.get("FLINK_HOME", site()))
    missing = [j for j in _JARS if not list((home / "lib").glob(f"{j}*.jar"))]
    if not list((home / "opt").glob("flink-python-*.jar")):
        missing.append("flink-python-")
    if missing:
        return Check(
            "jars",
            False,
            f"{', '.join(m.rstrip('-') for m in missing)} not in {home}",
            "pip install --force-reinstall apache-flink",
        )
    return Check("jars", True, str(home))


def _threads() -> Check:
    ok = find_spec("pemja") is not None
    return Check("mode='thread' (optional)", ok or None, "can be used" if ok else "pemja is not installed")
