"""Lanes: the machines of one stateful node, each with its share of the key groups, and the threads they run on.

Every lane is given every step and works on its own keys, so the union of their outputs is the output of one
machine. For a large batch each lane first takes its own rows out, on its own processor; kernels hold no
interpreter lock. A small batch is pushed into one machine after the other.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from eventide.kernel.exchange import Hashes, hashes_of, own_rows
from eventide.model.machine import Emit, Machine, Step
from eventide.model.state import KEY_GROUPS

__all__ = ["PARALLEL_ROWS", "Lane", "Workers", "shares"]

T = TypeVar("T")

PARALLEL_ROWS = 8_192
"""Below so many rows waking another thread costs more than it saves."""


def shares(lanes: int) -> list[range]:
    """Return the key groups of each lane.

    Examples
    --------
    >>> shares(2)
    [range(0, 128), range(128, 256)]
    """
    lanes = min(lanes, KEY_GROUPS)
    edges = [KEY_GROUPS * i // lanes for i in range(lanes + 1)]
    return [range(a, b) for a, b in itertools.pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Lane:
    """A machine and the key groups that it owns."""

    machine: Machine
    groups: range

    def push(self, step: Step, hashes: Hashes | None) -> list[Emit]:
        """Push a step, after taking the lane's rows out of it where the hashes of its keys are given."""
        if hashes is not None and step.batch is not None:
            step = replace(step, batch=own_rows(step.batch, hashes, self.groups), span=None)
        return self.machine.push(step)


class Workers:
    """Threads that work beside the calling one.

    Parameters
    ----------
    count
        How many work at a time; the calling thread is the first.

    Examples
    --------
    >>> workers = Workers(2)
    >>> wait = workers.start(sum, [1, 2, 3])
    >>> wait()
    6
    >>> workers.close()
    """

    def __init__(self, count: int) -> None:
        self._work: list[queue.SimpleQueue[Any]] = []
        self._threads: list[threading.Thread] = []
        self._turn = 0
        for index in range(1, count):
            work: queue.SimpleQueue[Any] = queue.SimpleQueue()
            thread = threading.Thread(target=_work_off, args=(work,), name=f"eventide-lane-{index}", daemon=True)
            self._work.append(work)
            self._threads.append(thread)
            thread.start()

    @property
    def others(self) -> int:
        """Number of threads beside the calling one."""
        return len(self._work)

    def start(self, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """Begin to call a function on another thread; what is returned waits for the result, or raises its error."""
        done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._work[self._turn].put((function, arguments, done))
        self._turn = (self._turn + 1) % len(self._work)

        def wait() -> T:
            result, error = done.get()
            if error is not None:
                raise error
            return result  # type: ignore[return-value]

        return wait

    def push(self, lanes: Sequence[Lane], step: Step, *, keys: Sequence[str]) -> list[Emit]:
        """Push one step into every lane and return their outputs, in the order of the lanes.

        Parameters
        ----------
        lanes
            They own all key groups together.
        step
            What to push.
        keys
            The key columns of the step's input; without any, all rows belong to one lane.
        """
        rows = step.batch.num_rows if step.batch is not None else 0
        if len(lanes) == 1 or not keys or rows < PARALLEL_ROWS or not self._work:
            return [e for lane in lanes for e in lane.push(step, None)]
        hashes = hashes_of(step.batch, keys)
        waits = [self.start(lane.push, step, hashes) for lane in lanes[1:]]
        try:
            emits = lanes[0].push(step, hashes)
        finally:
            rest = [wait() for wait in waits]
        return emits + [e for made in rest for e in made]

    def close(self) -> None:
        """End the threads."""
        for work in self._work:
            work.put(None)
        for thread in self._threads:
            thread.join(timeout=5)


def _work_off(work: queue.SimpleQueue[Any]) -> None:
    while (item := work.get()) is not None:
        function, arguments, done = item
        try:
            done.put((function(*arguments), None))
        except BaseException as error:
            done.put((None, error))
