"""Where a run says that it exists: the file ``run.json`` beside the checkpoints of its pipeline."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["RunFile", "RunInfo"]

_NAME = "run.json"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a run says of itself: who it is, since when, where its figures are served ("" nowhere), its state."""

    pipeline: str
    run: str
    pid: int
    host: str
    started: str
    metrics: str
    state: str

    @property
    def alive(self) -> bool:
        """Whether its process is there; assumed of another machine's."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it is there, and somebody else's
            return True
        return True


class RunFile:
    """The file ``run.json`` beside the checkpoints of a pipeline.

    Parameters
    ----------
    folder
        The folder of the pipeline's checkpoints.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / _NAME

    def write(self, info: RunInfo) -> None:
        """Write it anew, so that a reader sees the old or the new one whole."""
        temporary = self.path.with_name(f".{_NAME}.{info.pid}.tmp")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(info)) + "\n", "utf-8")
        temporary.replace(self.path)

    def read(self) -> RunInfo | None:
        """Return what it says; None where there is none, or none that can be understood."""
        try:
            data: dict[str, Any] = json.loads(self.path.read_bytes())
            return RunInfo(**{name: data[name] for name in RunInfo.__slots__})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self, run: str) -> None:
        """Remove it, if it is of that run."""
        found = self.read()
        if found is not None and found.run == run:
            self.path.unlink(missing_ok=True)
