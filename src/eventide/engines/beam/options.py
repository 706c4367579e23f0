"""Options of the engine on Apache Beam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventide.engines._options import checked
from eventide.errors import ConfigError

__all__ = ["BeamOptions", "options_of"]

_NOT_HERE = {
    "from_savepoint": "Beam's runners have no savepoints that eventide could begin from",
    "metrics": "a Beam job has no figures to serve while it runs",
}


@dataclass(frozen=True, slots=True)
class BeamOptions:
    """How a pipeline runs on Beam.

    Parameters
    ----------
    runner
        ``"local"`` is Beam's Python runner in this process; otherwise the name of a runner as Beam knows it.
    arguments
        Flags for Beam, such as ``["--project=sky", "--region=europe-west4"]``.
    buckets
        How many tasks can share the keys.
    batch_rows
        Most events that a source brings at a time; 0 lets the engine choose.
    checkpoint
        Folder where it is noted what was committed. A run that was killed while it committed is then completed by
        running it again, and one that has ended is not run twice. None: no notes are kept.
    resume
        Whether such notes count; otherwise the run begins anew.
    spool
        Folder that driver and workers share, where results wait for the end of the job; any file system that Beam
        knows. None: a temporary one, which the local runner can use.
    quarantine
        Root of the log whose topic ``quarantine`` takes what cannot be processed; None is the default log.
    clock
        What the clock says, ns since 1970; None is that of the system. For tests.
    checkpoint_interval, keep, lanes, metrics_remote
        Mean nothing here: results are committed once, at the end, and buckets are the tasks.
    from_savepoint, metrics
        Other engines have them; here they are refused.
    """

    runner: str = "local"
    arguments: Sequence[str] = ()
    buckets: int = 8
    batch_rows: int = 0
    checkpoint: str | Path | None = None
    resume: bool = True
    spool: str | None = None
    quarantine: str | Path | None = None
    clock: Callable[[], int] | None = None
    checkpoint_interval: str | timedelta = "10s"
    keep: int = 3
    lanes: int = 0
    metrics: str = ""
    metrics_remote: bool = False
    from_savepoint: str | Path | None = None


def options_of(values: dict[str, Any]) -> BeamOptions:
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
    least = {"buckets": 1, "batch_rows": 0}
    options = checked(BeamOptions, values, engine="the engine 'beam'", least=least, refused=_NOT_HERE)
    if options.runner != "local" and not options.spool:
        msg = f"the runner {options.runner!r} works elsewhere, and its results need a folder that it shares with this"
        raise ConfigError(msg, hint="give spool='gs://bucket/folder' or another place that both can use")
    return options
