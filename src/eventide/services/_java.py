"""What services that run on Java need: Java itself, and libraries from Maven Central, fetched once and kept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from eventide.errors import MissingDependencyError, UnavailableError

__all__ = ["cache", "java", "libraries"]

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>eventide</groupId><artifactId>service</artifactId><version>1</version>
  <dependencies>{}</dependencies>
</project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_MINUTES = 10


def cache() -> Path:
    """Return the folder for what is fetched once: ``EVENTIDE_CACHE``, else ``~/.cache/eventide``."""
    return Path(os.environ.get("EVENTIDE_CACHE") or Path.home() / ".cache" / "eventide")


def java(least: int, *, why: str) -> str:
    """Return the path of a Java of at least a version, from ``JAVA_HOME`` or the path.

    Raises
    ------
    MissingDependencyError
        There is none, or it is older.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    hint = f"install one: apt-get install openjdk-{least}-jre-headless, or set JAVA_HOME"
    if found is None:
        msg = f"{why} needs Java {least} or newer, and there is none{f' in JAVA_HOME={home}' if home else ''}"
        raise MissingDependencyError(msg, hint=hint)
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if version is None or int(version[1]) < least:
        msg = f"{why} needs Java {least} or newer; {found} is {version[1] if version else 'of no known version'}"
        raise MissingDependencyError(msg, hint=hint)
    return found


def libraries(name: str, artefacts: Sequence[str], *, override: str) -> Path:
    """Return a folder with the jars of some artefacts and of all that they need.

    They come from Maven Central at the first call (``mvn dependency:copy-dependencies``) and are kept in `cache`.

    Parameters
    ----------
    name
        Of the folder in the cache, with the version in it.
    artefacts
        As ``group:artefact:version``.
    override
        Environment variable that names a folder of jars to use instead.

    Raises
    ------
    MissingDependencyError
        There is no Maven, or the folder named has no jars.
    UnavailableError
        Maven Central could not be reached.
    """
    given = os.environ.get(override)
    folder = Path(given) if given else cache() / name
    if any(folder.glob("*.jar")):
        return folder
    if given:
        msg = f"{override}={given} has no jars"
        raise MissingDependencyError(msg, hint=f"unset {override} to fetch them, or name the folder that has them")
    maven = shutil.which("mvn")
    if maven is None:
        msg = f"{name} is fetched from Maven Central, and there is no mvn"
        hint = f"apt-get install maven; or set {override} to a folder with its jars (libs/ of the release)"
        raise MissingDependencyError(msg, hint=hint)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as work:
        wanted = "".join(_DEPENDENCY.format(*a.split(":")) for a in artefacts)
        Path(work, "pom.xml").write_text(_POM.format(wanted), "utf-8")
        command = [maven, "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]
        try:
            done = subprocess.run(
                [*command, f"-DoutputDirectory={work}/jars"],
                cwd=work,
                capture_output=True,
                text=True,
                check=False,
                timeout=60 * _MINUTES,
            )
        except subprocess.TimeoutExpired:
            msg = f"{name} could not be fetched from Maven Central within {_MINUTES} minutes"
            raise UnavailableError(msg, hint="see whether the network is up, and try again") from None
        if done.returncode:
            told = [line for line in done.stdout.splitlines() if "ERROR" in line]
            msg = f"{name} could not be fetched from Maven Central: {told[0][:300] if told else done.stderr[-300:]}"
            raise UnavailableError(msg, hint="see whether the network is up; a proxy goes in ~/.m2/settings.xml")
        try:
            # In one step, so that nobody ever sees half of it; another process may have been faster.
            Path(work, "jars").rename(folder)
        except OSError:
            if not any(folder.glob("*.jar")):
                raise
    return folder
