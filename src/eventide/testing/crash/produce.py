"""The producer: writes the simulated input, batch after batch; killed and started again it goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path

from eventide.log import Log
from eventide.testing.crash.ending import write_ends
from eventide.testing.crash.events import PARTITIONS, SCHEMAS, make_batch

__all__ = ["end_input", "make_topics", "produce", "produce_until_ended", "produced"]

_ENOUGH = "input.enough"
_WRITTEN = {topic: make_batch(topic, 0, seed=0).num_rows for topic in SCHEMAS}


def make_topics(folder: Path) -> None:
    """Make the topics of the input in the folder's log."""
    with Log(folder / "log", fsync="os") as log:
        for topic, schema in SCHEMAS.items():
            log.create_topic(topic, schema, event_time="timestamp", partitions=PARTITIONS[topic], exist_ok=True)


def produce(folder: Path, *, seed: int, first: int, last: int, end: bool, pause: float = 0.0) -> None:
    """Append the batches from `first` up to `last` of every partition.

    Parameters
    ----------
    folder
        Of the suite's run.
    seed
        Of the input.
    first, last
        Numbers of batches; those that are in the log already are known by their number and not repeated.
    end
        Whether the input ends there.
    pause
        After each number, s.
    """
    ends: dict[str, dict[str, int]] = {}
    with Log(folder / "log", fsync="os") as log:
        writers = {
            (topic, p): log.writer(topic, p, producer="simulator") for topic, n in PARTITIONS.items() for p in range(n)
        }
        for number in range(first, last):
            for (topic, p), writer in writers.items():
                writer.append(make_batch(topic, number, seed=seed, partition=p), sequence=number + 1)
            if pause:
                time.sleep(pause)
        for (topic, p), writer in writers.items():
            ends.setdefault(topic, {})[str(p)] = writer.end
    if end:
        write_ends(folder, ends)


def produced(folder: Path) -> int:
    """Return how many batches are in every partition of the input."""
    with Log(folder / "log", fsync="os") as log:
        return min(int(part.latest // _WRITTEN[topic]) for topic in SCHEMAS for part in log.describe(topic))


def end_input(folder: Path) -> None:
    """Ask the producer to end the input."""
    (folder / _ENOUGH).touch()


def produce_until_ended(folder: Path, *, seed: int, pause: float) -> None:
    """Append batches, with a pause after each, from where the input is until `end_input` is called."""
    number = produced(folder)
    while not (folder / _ENOUGH).exists():
        produce(folder, seed=seed, first=number, last=number + 10, end=False, pause=pause)
        number += 10
    produce(folder, seed=seed, first=number, last=number, end=True)
