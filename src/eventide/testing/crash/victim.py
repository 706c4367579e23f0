"""The process that is killed: the command line of eventide runs the suite's pipeline in a folder.

``python -m eventide.testing.crash.victim FOLDER`` does it in a fresh process; the kill suite forks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from eventide.testing.crash.points import watch

__all__ = ["arguments", "command_line", "live", "main"]

_TARGET = "eventide.testing.crash.pipeline:pipeline"


def arguments(folder: Path, *, interval: str = "50ms", rows: int = 60) -> list[str]:
    """Return the command line that runs the pipeline in a folder.

    Parameters
    ----------
    folder
        Where the log is and the output goes.
    interval
        Between two checkpoints.
    rows
        Most events taken at once.

    Examples
    --------
    >>> arguments(Path("here"))[:2]
    ['run', 'eventide.testing.crash.pipeline:pipeline']
    """
    params = ["--param", f"folder={folder}", "--param", f"rows={rows}"]
    kept = ["--checkpoint", str(folder / "checkpoints"), "--checkpoint-interval", interval]
    return ["run", _TARGET, *params, *kept, "--log", str(folder / "log"), "--json"]


def command_line() -> Callable[[list[str]], None]:
    """Return the program ``eventide`` as it is installed."""
    (program,) = entry_points(group="console_scripts", name="eventide")
    found: Callable[[list[str]], None] = program.load()
    return found


def live(
    folder: Path,
    *,
    interval: str = "50ms",
    rows: int = 60,
    at: str = "",
    count: Path | None = None,
    slow: float = 0.0,
    watched: bool = True,
) -> int:
    """Run the pipeline in this process, telling the phase, and return the exit code.

    Parameters
    ----------
    folder, interval, rows
        See `arguments`.
    at, count, slow
        See `eventide.testing.crash.points.watch`.
    watched
        Whether the phase is told; not, where nothing but the pipeline itself may write.
    """
    if watched:
        watch(folder, at=at, count=count, slow=slow)
    try:
        command_line()(arguments(folder, interval=interval, rows=rows))
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0


def main() -> None:
    """Run the victim that the command line and ``EVENTIDE_CRASH_AT`` describe."""
    folder = Path(sys.argv[1]).resolve()
    interval = sys.argv[2] if len(sys.argv) > 2 else "50ms"
    at = os.environ.get("EVENTIDE_CRASH_AT", "")
    if at:
        watch(folder, at=at)
    command_line()(arguments(folder, interval=interval))


if __name__ == "__main__":
    main()
