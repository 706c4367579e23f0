"""Running a crash suite in a process of its own: it forks, and a test runner has threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = "from eventide.cli import main; main()"


def torture(
    *args: str, folder: Path, code: str = COMMAND, env: dict[str, str] | None = None
) -> tuple[int, dict[str, Any], str]:
    """Run `eventide torture ...` and return the exit code, the report and what was said."""
    done = subprocess.run(
        [sys.executable, "-c", code, "torture", *args],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), **(env or {})},
    )
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr
