"""Options of the engine on Apache Spark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventide.engines._options import checked
from eventide.errors import ConfigError
from eventide.model.time import duration
from eventide.retry import RetryPolicy

__all__ = ["SparkOptions", "options_of"]

_NOT_HERE = {
    "from_savepoint": "a Spark job goes on from its checkpoint folder; a copy of the folder is a savepoint",
    "metrics": "Spark serves the figures of its jobs itself (spark.ui.enabled)",
}


@dataclass(frozen=True, slots=True)
class SparkOptions:
    """How a pipeline runs on Spark.

    Parameters
    ----------
    master
        Where Spark runs: ``local[2]``, ``spark://host:7077``, ``yarn``, ``k8s://...``. "" takes what ``spark-submit``
        or a running session says, else ``local[2]``.
    conf
        Settings for Spark itself, such as ``{"spark.executor.memory": "4g"}``. They count when a session is started.
    buckets
        How many tasks can share the keys. Fixed while a job lives.
    batch_rows
        Most events that a source brings at a time; 0 lets the engine choose.
    batch_bytes
        About how many bytes of events make a micro-batch under load. A job that keeps up never waits for as many.
    checkpoint
        Folder with Spark's checkpoint (positions) and the states of operators. Driver and workers must all reach it
        under this path; a run with the same folder goes on from there. None: a temporary one, which only a master on
        this machine can use.
    resume
        Whether to go on from what the folder holds; otherwise the run begins anew.
    quarantine
        Root of the log whose topic ``quarantine`` takes what cannot be processed; None is the default log.
    tick
        How often the processing-time clock ticks, where anything listens.
    clock
        What the clock says, ns since 1970; None is that of the system. For tests.
    retries
        How many failures in a row of a source, a sink or the disk are borne before the run fails; 0: any number. A run
        without a checkpoint folder bears none.
    longest_wait
        Between two tries; waits begin at a tenth of a second and double.
    log_level
        Of Spark's own log on stderr. Errors of a run are raised whatever it says.
    checkpoint_interval, keep, lanes, metrics_remote
        Mean nothing here: every micro-batch is a checkpoint, and buckets are the tasks.
    from_savepoint, metrics
        Other engines have them; here they are refused.
    """

    master: str = ""
    conf: Mapping[str, str] = field(default_factory=dict)
    buckets: int = 8
    batch_rows: int = 0
    batch_bytes: int = 1 << 26
    checkpoint: str | Path | None = None
    resume: bool = True
    quarantine: str | Path | None = None
    tick: str | timedelta = "100ms"
    clock: Callable[[], int] | None = None
    retries: int = 0
    longest_wait: str | timedelta = "30s"
    log_level: str = "OFF"
    checkpoint_interval: str | timedelta = "10s"
    keep: int = 3
    lanes: int = 0
    metrics: str = ""
    metrics_remote: bool = False
    from_savepoint: str | Path | None = None

    @property
    def retry_policy(self) -> RetryPolicy:
        """How what fails for a passing reason is tried again."""
        return RetryPolicy(longest=duration(self.longest_wait, what="longest_wait") / 1e9, attempts=self.retries)


def options_of(values: dict[str, Any]) -> SparkOptions:
    """Return checked options.

    Raises
    ------
    ConfigError
        An option is unknown, out of range, or not for this engine.

    Examples
    --------
    >>> options_of({"buckets": 2}).buckets
    2
    """
    least = {"buckets": 1, "batch_rows": 0, "batch_bytes": 1, "retries": 0}
    options = checked(SparkOptions, values, engine="the engine 'spark'", least=least, refused=_NOT_HERE)
    _ = options.retry_policy
    if options.master.startswith("sc://"):
        msg = f"master={options.master!r} is a server of Spark Connect, behind which a driver has no tasks of its own"
        raise ConfigError(msg, hint="name the cluster itself, such as spark://host:7077, or use spark-submit")
    if options.checkpoint is not None and "://" in str(options.checkpoint):
        msg = f"checkpoint={str(options.checkpoint)!r} is an address, and the engine 'spark' needs a folder"
        raise ConfigError(msg, hint="mount it where driver and workers see it under one path, and name that path")
    return options
