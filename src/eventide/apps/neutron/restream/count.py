"""One histogram that is being filled: which messages count, what its info says, and its message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.restream.command import Configure
from eventide.apps.neutron.restream.layout import PIXEL, TIME, layout_of
from eventide.apps.neutron.restream.wanted import Wanted
from eventide.formats import da00, hs00, hs01
from eventide.formats.ev44 import EventMessage
from eventide.kernel.histogram.histograms import Filler, Histograms

__all__ = ["COUNTING", "ERROR", "FINISHED", "INITIALISED", "Count"]

INITIALISED, COUNTING, FINISHED, ERROR = "INITIALISED", "COUNTING", "FINISHED", "ERROR"

SOURCE = "just-bin-it"
"""The source that histograms name: clients look for it."""

_ENCODERS = {"hs00": hs00.encode_histogram, "hs01": hs01.encode_histogram, "da00": da00.encode_histogram}
_PLAIN = ("error", "pulse", "other_source", "sequence", "told")
_LEAVE = 5000  # ms after the stop time in which messages are still waited for


class Count:
    """One histogram.

    Parameters
    ----------
    wanted, command
        What is asked for, and the command that did.

    Raises
    ------
    UsageError
        It cannot be made.
    """

    def __init__(self, wanted: Wanted, command: Configure) -> None:
        self.wanted = wanted
        self.state = INITIALISED
        self._start, self._stop, self._schema = command.start, command.stop, command.output_schema
        self._layout = layout_of(wanted)
        self._histograms = Histograms(Filler({"counts": self._layout.product}))
        self._beyond: set[tuple[str, int]] = set()
        self._error = ""
        self._pulse = 0
        self._other_source = 0
        self._sequence = 0
        self._told: dict[str, Any] = {"last_pulse_time": 0, "sum": 0, "diff": 0, "rate": 0}

    @property
    def running(self) -> bool:
        """Whether it is still filled and published."""
        return self.state in (INITIALISED, COUNTING)

    def add(self, messages: Sequence[tuple[tuple[str, int], int, EventMessage]]) -> None:
        """Count the events of messages: where each came from, its time (ms since 1970), and what it holds.

        A message counts whole or not at all, by its own time, from the start to the stop time, both included.
        """
        mine = []
        for place, time, message in messages:
            if place[0] not in self.wanted.data_topics or (self._start is not None and time < self._start):
                continue
            if self._stop is not None and time > self._stop:
                self._beyond.add(place)
                continue
            self.state = COUNTING
            if self.wanted.source and message.source != self.wanted.source:
                self._other_source += len(message.time_of_flight)
                continue
            if len(message.reference_time):
                self._pulse = int(message.reference_time[-1])
            mine.append(message)
        if mine:
            columns, nulls = self._columns(mine)
            self._histograms.add(columns, nulls=nulls)

    def _columns(
        self, mine: Sequence[EventMessage]
    ) -> tuple[Mapping[str, npt.NDArray[Any]], Mapping[str, npt.NDArray[np.bool_]]]:
        columns = {TIME: np.concatenate([m.time_of_flight for m in mine])}
        if not self._layout.needs_pixels:
            return columns, {}
        none = [m.pixel_id is None for m in mine]
        sizes = [len(m.time_of_flight) for m in mine]
        empty = [np.zeros(n, np.int32) if m.pixel_id is None else m.pixel_id for n, m in zip(sizes, mine, strict=True)]
        columns[PIXEL] = np.concatenate(empty)
        return columns, {PIXEL: np.repeat(none, sizes)} if any(none) else {}

    def is_over(self, now: int, behind: frozenset[tuple[str, int]]) -> bool:
        """Tell whether the stop time is over.

        Parameters
        ----------
        now
            ms since 1970.
        behind
            Topics and partitions that still have messages to be read: those may lie before the stop time.
        """
        if self._stop is None or any(p not in self._beyond and p[0] in self.wanted.data_topics for p in behind):
            return False
        return bool(self._beyond) or now > self._stop + _LEAVE

    def finish(self, error: str = "") -> None:
        """End it, for good or because of an error."""
        self.state, self._error = (ERROR if error else FINISHED), error

    def reset(self) -> None:
        """Count from zero."""
        self._histograms.reset()
        self._other_source = 0
        self._told = {"last_pulse_time": 0, "sum": 0, "diff": 0, "rate": 0}

    def message(self, now: int) -> bytes:
        """Return the message of what is counted, published at `now`, ms since 1970."""
        counts = self._histograms.counts("counts").reshape(self._layout.shape)
        self._sequence += 1
        made = hs00.Histogram(
            counts.astype(np.float64),
            self._layout.axes,
            SOURCE,
            now * 1_000_000,
            info=json.dumps(self._info(int(counts.sum()))),
        )
        return _ENCODERS[self._schema](made)

    def _info(self, total: int) -> dict[str, Any]:
        out: dict[str, Any] = {"id": self.wanted.identifier}
        if self._start is not None:
            out["start"] = self._start
        if self._stop is not None:
            out["stop"] = self._stop
        out["state"] = self.state
        if self._error:
            out["error_message"] = self._error
        before = self._told
        diff, passed = total - before["sum"], (self._pulse - before["last_pulse_time"]) / 1e9
        rate = diff / passed if passed > 0 else 0
        if not passed and not diff:  # nothing new: what was said last stays
            diff, rate = before["diff"], before["rate"]
        self._told = {"last_pulse_time": self._pulse, "sum": total, "diff": diff, "rate": rate}
        ledger = self._histograms.ledger("counts") | {"other_source": self._other_source}
        ledger["events"] += self._other_source
        return out | self._told | {"ledger": ledger, "sequence": self._sequence}

    def snapshot(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Return everything that is not in the command: plain data, and the counts as tables."""
        said = {name: getattr(self, f"_{name}") for name in _PLAIN} | {
            "state": self.state,
            "beyond": sorted(self._beyond),
            "events": self._histograms.events,
        }
        return said, dict(self._histograms.snapshot(0))

    def restore(self, said: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
        """Take over a snapshot.

        Raises
        ------
        CheckpointError
            It is of a histogram with other bins.
        """
        for name in _PLAIN:
            setattr(self, f"_{name}", said[name])
        self.state = said["state"]
        self._beyond = {(str(topic), int(partition)) for topic, partition in said["beyond"]}
        self._histograms.restore(tables, said["events"])
