"""Duplicates taken out, and gaps told: the operator on pulses that looks at the numbers of messages.

What leaves keeps the account: a duplicate or a late pulse stays in the stream as a pulse without events, whose columns
`duplicate` and `late` say how many it had. So whoever counts can say in one place where all events are
(`eventide.apps.neutron.ledger`). The pulses themselves leave by the ports ``duplicates`` and ``late``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from eventide.apps.neutron.numbered_machine import GAPS, LEFT_OUT, NumberedMachine
from eventide.errors import PipelineError
from eventide.kernel.keyed.node import with_fields
from eventide.model.batch import visible
from eventide.model.graph import Process, ProcessContext, Ref
from eventide.model.machine import DUPLICATES, MAIN
from eventide.model.stream import Stream, origin
from eventide.model.time import duration

__all__ = ["GAPS", "LEFT_OUT", "NumberedPlan", "numbered"]


def numbered(pulses: Stream, *, within: str | timedelta = "10s") -> Stream:
    """Leave out pulses that came before, and tell which messages are missing.

    Ports: ``duplicates`` and ``late`` (pulses as they came), ``gaps`` (`GAPS`).

    Parameters
    ----------
    pulses
        Pulses (`PULSES`) with event time. Those without a number pass.
    within
        For how long a message is remembered, in event time: one that comes again later is late, or counts again where
        lateness is longer than that; and for how long one that was overtaken is waited for before it is missing.

    Raises
    ------
    PipelineError
        The stream has no event time, or has keys.

    Examples
    --------
    >>> import eventide as ev
    >>> import pyarrow as pa
    >>> from eventide.apps.neutron.simulate import simulate
    >>> pulses = simulate("muons", seconds=0.5, rate=1000)
    >>> some = pa.concat_tables([pulses.slice(0, 9), pulses.slice(4, 2), pulses.slice(13)])
    >>> found = numbered(ev.from_table(some).event_time("event_time"))
    >>> ev.fetch(found.side("gaps")).select(["source", "first_missing", "missing"]).to_pylist()
    [{'source': 'muon_ring1', 'first_missing': 4, 'missing': 2},
     {'source': 'muon_ring0', 'first_missing': 5, 'missing': 2}]
    """
    plan = NumberedPlan(duration(within, what="within", zero=True))
    schemas = {MAIN: with_fields(*LEFT_OUT, what="numbered"), DUPLICATES: visible, "gaps": GAPS}
    if not pulses.time or pulses.keys:
        msg = f"numbered() takes a stream with event time and without keys ({origin()})"
        raise PipelineError(msg, hint="call .event_time('event_time', lateness='1s') before it, and .key_by() after it")
    node = Process(pulses.ref, plan, schemas, "arrival", pulses.time, "numbered", origin())
    return Stream(Ref(node), (), pulses.time)


@dataclass(frozen=True, slots=True)
class NumberedPlan:
    """The factory of the machine; `within` in ns."""

    within: int

    def __call__(self, context: ProcessContext) -> NumberedMachine:
        """Return a machine."""
        return NumberedMachine(self.within, context)
