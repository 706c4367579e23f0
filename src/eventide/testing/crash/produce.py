"""The producer: writes the simulated input, batch after batch; killed and started again it goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path

from eventide.log import Log
from eventide.testing.crash.ending import write_ends
from eventide.testing.crash.events import PARTITIONS, SCHEMAS, make_batch

__all__ = ["make_topics", "produce"]


def make_topics(folder: Path) -> None:
    """Make the topics of the input in the folder's log."""
    with Log(folder / "log", fsync="os") as log:
        for topic, schema in SCHEMAS.items():
            log.create_topic(topic, schema, event_time="timestamp", partitions=PARTITIONS[topic], exist_ok=True)


def produce(folder: Path, *, seed: int, first: int, last: int, end: bool, pause: float = 0.0, quick: int = 0) -> None:
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
    quick
        There is no pause before this number.
    """
    ends: dict[str, dict[str, int]] = {}
    with Log(folder / "log", fsync="os") as log:
        writers = {
            (topic, p): log.writer(topic, p, producer="simulator") for topic, n in PARTITIONS.items() for p in range(n)
        }
        for number in range(first, last):
            for (topic, p), writer in writers.items():
                writer.append(make_batch(topic, number, seed=seed, partition=p), sequence=number + 1)
            if pause and number >= quick:
                time.sleep(pause)
        for (topic, p), writer in writers.items():
            ends.setdefault(topic, {})[str(p)] = writer.end
    if end:
        write_ends(folder, ends)
