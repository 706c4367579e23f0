"""The environments of the distributed engines, which `make engine-environments` makes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ENVIRONMENTS = Path(os.environ.get("EVENTIDE_ENGINES", Path(__file__).resolve().parents[2] / ".venvs"))


def python_of(engine: str) -> Path:
    """Return an engine's Python; where it or Java is absent the test is skipped, or fails where it must run."""
    absent = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    path = ENVIRONMENTS / f"engine-{engine}" / "bin" / "python"
    if not path.exists():
        absent(f"no environment for {engine}: `make engine-environments` makes it")
    if engine != "beam" and shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        absent(f"{engine} needs Java (Debian: apt-get install openjdk-17-jre-headless)")
    return path
