"""What a run did: counts per node (the ledger), and the whole in one record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from eventide.engines.local.counts import Counts
from eventide.engines.local.ledger import Ledger
from eventide.model.time import MIN_TIME, format_time

__all__ = ["Counts", "Progress", "RunResult", "RunState"]


RunState: TypeAlias = Literal["running", "waiting", "stopping"]
"""Waiting: something outside is not there, and the run tries again by itself."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A running pipeline at one moment; `reason` says what a run that waits is waiting for."""

    seconds: float
    rows_in: int
    rows_out: int
    late: int
    quarantined: int
    watermark: int
    backlog: int | None
    state: RunState = "running"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished or stopped run did.

    Parameters
    ----------
    pipeline
        Its name.
    fingerprint
        SHA-256 of the graph.
    seconds
        How long it ran.
    rows_in, rows_out
        Events read from all sources, events written to all sinks.
    late, quarantined
        Events that came too late, events that could not be processed.
    watermark
        The lowest watermark reached, ns.
    stopped
        Whether it was stopped before the input ended.
    resumed_from, checkpoint
        Number of the checkpoint it began from and of the last one written; 0 is none.
    ledger
        Counts of every operator, those of the runs that this one went on from included.
    run
        Id of the run.
    restarts
        How often it went back to a checkpoint by itself, because something outside had failed.
    """

    pipeline: str
    fingerprint: str
    seconds: float
    rows_in: int
    rows_out: int
    late: int
    quarantined: int
    watermark: int
    stopped: bool
    resumed_from: int
    checkpoint: int
    ledger: Ledger
    run: str = ""
    restarts: int = 0

    @property
    def ledger_balanced(self) -> bool:
        """Whether the ledger adds up; if not, `ledger.check()` says where."""
        return self.ledger.balanced

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data with stable names, for ``--json``."""
        out = asdict(self)
        out["ledger"] = [c.to_dict() for c in self.ledger]
        out["ledger_balanced"] = self.ledger_balanced
        out["watermark"] = None if self.watermark <= MIN_TIME else format_time(self.watermark)
        out["events_per_second"] = round(self.rows_in / self.seconds) if self.seconds else 0
        return out
