"""Lanes: the machines of one stateful node, each with its share of the key groups, and the threads they run on.

Every lane is given every step and works on its own keys, so the union of their outputs is the output of one
machine. For a large batch each lane first takes its own rows out, on its own processor; kernels hold no
interpreter lock. A small batch is pushed into one machine after the other.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from eventide.kernel.exchange import Hashes, hashes_of, own_rows
from eventide.model.machine import Emit, Machine, Step
from eventide.model.state import KEY_GROUPS

__all__ = ["PARALLEL_ROWS", "Lane", "Workers", "shares"]

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

    @property
    def takes_own_rows(self) -> bool:
        """Whether the machine skips rows of other key groups at next to no cost."""
        return bool(getattr(self.machine, "takes_own_rows", False))

    def push(self, step: Step, hashes: Hashes | None) -> list[Emit]:
        """Push a step, after taking the lane's rows out of it where the hashes of its keys are given."""
        if hashes is not None and step.batch is not None and not self.takes_own_rows:
            step = replace(step, batch=own_rows(step.batch, hashes, self.groups))
        return self.machine.push(step)


class Workers:
    """Threads that push steps into machines beside the calling one.

    Parameters
    ----------
    count
        Lanes in all; the calling thread is the first.
    """

    def __init__(self, count: int) -> None:
        self._work: list[queue.SimpleQueue[tuple[Lane, Step, Hashes | None] | None]] = []
        self._done: queue.SimpleQueue[tuple[int, list[Emit] | BaseException]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        for index in range(1, count):
            work: queue.SimpleQueue[tuple[Lane, Step, Hashes | None] | None] = queue.SimpleQueue()
            thread = threading.Thread(target=self._loop, args=(index, work), name=f"eventide-lane-{index}", daemon=True)
            self._work.append(work)
            self._threads.append(thread)
            thread.start()

    def _loop(self, index: int, work: queue.SimpleQueue[Any]) -> None:
        while (item := work.get()) is not None:
            lane, step, hashes = item
            try:
                self._done.put((index, lane.push(step, hashes)))
            except BaseException as error:
                self._done.put((index, error))

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
        if len(lanes) == 1 or not keys or rows < PARALLEL_ROWS or len(self._work) < len(lanes) - 1:
            return [e for lane in lanes for e in lane.push(step, None)]
        hashes = None if lanes[0].takes_own_rows else hashes_of(step.batch, keys)
        for work, lane in zip(self._work, lanes[1:], strict=False):
            work.put((lane, step, hashes))
        results: list[list[Emit] | BaseException] = [[]] * len(lanes)
        try:
            results[0] = lanes[0].push(step, hashes)
        except BaseException as error:
            results[0] = error
        for _ in lanes[1:]:
            index, made = self._done.get()
            results[index] = made
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [e for r in results if not isinstance(r, BaseException) for e in r]

    def close(self) -> None:
        """End the threads."""
        for work in self._work:
            work.put(None)
        for thread in self._threads:
            thread.join(timeout=5)
