"""The operator contract: what every engine runs for a stateful node of the graph.

A `Machine` is a pure function of the ordered sequence of `Step`: no wall clock, no timer of the host,
no I/O. Whatever decides a result arrives in band: the watermark, ticks of the processing-time clock, the
end of the input. So the same machine gives the same bits in the embedded engine and inside any other, and
a replay of the same steps is exact.

A machine owns a contiguous range of key groups. It is given every row and ignores those of other groups,
or is given only its own: both give the same output. The union of the outputs of machines that together
own all groups is the output of the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa

from eventide.model.state import State
from eventide.model.time import MIN_TIME

__all__ = ["DUPLICATES", "LATE", "MAIN", "Emit", "Machine", "Step"]

MAIN = "main"
"""The port of an operator's results."""

LATE = "late"
"""The port of events that came after their window was closed for good."""

DUPLICATES = "duplicates"
"""The port of events that repeat others; the ledger counts what leaves by it as such."""


@dataclass(slots=True)
class Step:
    """One input of a machine.

    Parameters
    ----------
    seq
        Rises by one with every step of this machine.
    port
        Which input: 0, or 1 for the right side of a join.
    batch
        Events, or None when only time has passed.
    watermark
        Watermark of this input after the batch, ns: no event before it is expected any more. Rows of
        the batch itself are judged by the watermark that was in force before the step, or, where the
        batch has the column ``_watermark``, by the one that each row met.
    clock
        Processing time, ns since 1970, as recorded; `MIN_TIME` where the step brings no tick.
    end
        The input is complete; `watermark` is then `MAX_TIME`.
    span
        The earliest and the latest event time of the batch, where they are known already.
    """

    seq: int
    port: int
    batch: pa.RecordBatch | None
    watermark: int
    clock: int = MIN_TIME
    end: bool = False
    span: tuple[int, int] | None = None


class Emit(NamedTuple):
    """One output batch and the port that it leaves by."""

    port: str
    batch: pa.RecordBatch


class Machine(Protocol):
    """A stateful operator as every engine sees it.

    A machine must

    - give the same outputs for the same steps, whatever else happens in the process;
    - after `restore` of a `snapshot` go on as if nothing had happened;
    - keep no reference to a step's batch longer than its state needs.

    A machine may have an attribute ``taken``: how many events, late ones not included, it has taken in since it
    was made. The ledger of a run is checked against it; a machine without it is believed to have taken all.
    """

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns: no later output on the main port has an event time before it."""

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return what it brings, in a deterministic order."""

    def snapshot(self) -> State:
        """Return the state as data that later steps do not change."""

    def restore(self, state: State) -> None:
        """Take over a state; it may hold more groups than this machine owns."""
