"""A run that can be found and watched: its figures, its HTTP endpoint, the file that says that it exists."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from eventide.engines.local.endpoint import MetricsServer
from eventide.engines.local.metrics import RunMetrics
from eventide.model.time import format_time

__all__ = ["RunFile", "RunInfo", "watched"]

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


@contextmanager
def watched(
    pipeline: str, run: str, *, folder: str | Path | None = None, serve: str = "", remote: bool = False
) -> Iterator[RunMetrics]:
    """Give a run its figures; serve them and say where, while the body runs.

    The file stays when the body fails, with the state ``failed``, and when the process dies.

    Parameters
    ----------
    pipeline, run
        Who it is.
    folder
        The folder of the pipeline's checkpoints, where ``run.json`` is kept; None keeps none.
    serve
        ``HOST:PORT`` of the HTTP endpoint; "" serves nothing.
    remote
        Whether other machines may reach the endpoint.

    Raises
    ------
    ConfigError
        The address cannot be served.

    Examples
    --------
    >>> with watched("hot", "20261120T230501-3f2a") as metrics:
    ...     metrics.enter("running")
    ...     metrics.state
    'running'
    """
    file = RunFile(folder) if folder is not None else None
    metrics = RunMetrics(pipeline, run)
    server = MetricsServer(serve, metrics, remote=remote) if serve else None
    began = format_time(int(metrics.started * 1e6) * 1000)
    where = server.address if server else ""
    info = RunInfo(pipeline, run, os.getpid(), socket.gethostname(), began, where, metrics.state)

    def tell(state: str) -> None:
        if file is not None:
            try:
                file.write(replace(info, state=state))
            except OSError:
                return  # a full disk is no reason to stop: the run itself says so where it must write

    metrics.on_state = tell
    metrics.address = where
    tell(metrics.state)
    try:
        yield metrics
    except BaseException:
        metrics.enter("failed")
        raise
    else:
        if file is not None:
            file.remove(run)
    finally:
        if server is not None:
            server.close()
