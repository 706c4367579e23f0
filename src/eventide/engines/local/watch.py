"""A run that can be found and watched: its figures, its HTTP endpoint, the file that says that it exists."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from eventide.engines.local.endpoint import MetricsServer
from eventide.engines.local.metrics import RunMetrics
from eventide.engines.local.run_file import RunFile, RunInfo
from eventide.logs import bound
from eventide.model.time import format_time

__all__ = ["watched"]


@contextmanager
def watched(
    pipeline: str, run: str, *, folder: str | Path | None = None, serve: str = "", remote: bool = False
) -> Iterator[RunMetrics]:
    """Give a run its figures; serve them, say where, and log what happens, while the body runs.

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
    with bound(pipeline=pipeline, run=run), ExitStack() as closing:
        if serve:
            metrics.address = closing.enter_context(MetricsServer(serve, metrics, remote=remote)).address
        metrics.on_state = _Teller(metrics, file)
        metrics.on_state(metrics.state)
        try:
            yield metrics
        except BaseException as error:
            metrics.enter("failed")
            # It is raised too: where nobody has set up logging, once is enough.
            if metrics.log.logger.hasHandlers():
                metrics.log.tell("failed", "the run failed", error=error)
            raise
        if file is not None:
            # All results are there. A file that stays names a process that is gone, and so nobody takes it for a run.
            with suppress(OSError):
                file.remove(run)


class _Teller:
    """Writes the file of a run and the log whenever the run is in another state."""

    def __init__(self, metrics: RunMetrics, file: RunFile | None) -> None:
        self._metrics = metrics
        self._file = file
        self._before = ""
        began = format_time(int(metrics.started * 1e6) * 1000)
        who = (metrics.pipeline, metrics.run, os.getpid(), socket.gethostname())
        self._info = RunInfo(*who, began, metrics.address, metrics.state)

    def __call__(self, state: str) -> None:
        """Take note of a state."""
        before, self._before = self._before, state
        self._log(before, state)
        if self._file is not None:
            # A full disk is no reason to stop: the run itself says so where it must write.
            with suppress(OSError):
                self._file.write(replace(self._info, state=state))

    def _log(self, before: str, state: str) -> None:
        log = self._metrics.log
        if state == "starting":
            log.tell("run_started", f"run {self._info.run} begins", address=self._info.metrics)
        elif state == "waiting":
            log.tell("waiting", "; ".join(self._metrics.waits_for()))
        elif state in ("running", "stopping") and before == "waiting":
            log.tell("back", "what the run waited for is there again")
        elif state in ("stopped", "finished"):
            log.tell(state, "stopped before the input ended" if state == "stopped" else "the input has ended")
