"""Lanes: the machines of one stateful node, each with its share of the key groups, and the threads they run on.

Every lane is given every step and works on its own keys, so nothing is exchanged and the union of their
outputs is the output of one machine. Kernels hold no interpreter lock, so lanes use several processors.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Sequence
from typing import Any

from eventide.model.machine import Emit, Machine, Step
from eventide.model.state import KEY_GROUPS

__all__ = ["PARALLEL_ROWS", "Workers", "shares"]

PARALLEL_ROWS = 16_384
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


class Workers:
    """Threads that push steps into machines beside the calling one.

    Parameters
    ----------
    count
        Lanes in all; the calling thread is the first.
    """

    def __init__(self, count: int) -> None:
        self._work: list[queue.SimpleQueue[tuple[Machine, Step] | None]] = []
        self._done: queue.SimpleQueue[tuple[int, list[Emit] | BaseException]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        for index in range(1, count):
            work: queue.SimpleQueue[tuple[Machine, Step] | None] = queue.SimpleQueue()
            thread = threading.Thread(target=self._loop, args=(index, work), name=f"eventide-lane-{index}", daemon=True)
            self._work.append(work)
            self._threads.append(thread)
            thread.start()

    def _loop(self, index: int, work: queue.SimpleQueue[Any]) -> None:
        while (item := work.get()) is not None:
            machine, step = item
            try:
                self._done.put((index, machine.push(step)))
            except BaseException as error:
                self._done.put((index, error))

    def push(self, machines: Sequence[Machine], step: Step) -> list[Emit]:
        """Push one step into every machine and return their outputs, in the order of the lanes."""
        rows = step.batch.num_rows if step.batch is not None else 0
        if len(machines) == 1:
            return machines[0].push(step)
        if rows < PARALLEL_ROWS or len(self._work) < len(machines) - 1:
            return [e for m in machines for e in m.push(step)]
        for work, machine in zip(self._work, machines[1:], strict=False):
            work.put((machine, step))
        results: list[list[Emit] | BaseException] = [[]] * len(machines)
        try:
            results[0] = machines[0].push(step)
        except BaseException as error:
            results[0] = error
        for _ in machines[1:]:
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
