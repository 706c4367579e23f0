"""A pipeline over input that never ends, run in a thread, for the suite of engines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from eventide import registry
from eventide.log import Log
from eventide.model import aggregate as agg
from eventide.model.pipeline import Pipeline
from eventide.model.stream import read
from eventide.model.window import tumbling
from eventide.testing._engine_cases import IN, events_of, in_seconds

__all__ = ["Endless"]

_LONGEST = 120.0


class Endless:
    """Windows of 10 s over a topic that is followed, in a run that goes on until the block is left.

    Parameters
    ----------
    folder
        Where the log is.
    engine, options
        What runs it.
    """

    def __init__(self, folder: Path, engine: str, options: Mapping[str, Any]) -> None:
        self._log, self._engine, self._options = folder / "log", engine, options
        self._stop = threading.Event()
        self._error: BaseException | None = None
        with Log(self._log) as log:
            log.create_topic("in", IN, event_time="time", exist_ok=True)
        stream = read("log://in", log=str(self._log), follow=True).event_time("time").key_by("key")
        counts = stream.window(tumbling("10s")).aggregate(n=agg.count())
        self.pipeline: Pipeline = counts.write("log://out", log=str(self._log), partitions=1).named("endless")
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            engine = registry.resolve("engine", self._engine)
            engine.run(self.pipeline, stop=self._stop, **self._options)
        except BaseException as error:
            self._error = error

    def feed(self, text: str) -> None:
        """Append events."""
        with Log(self._log) as log:
            log.append("in", events_of(text))

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the results that can be seen."""
        with Log(self._log) as log:
            if "out" not in [t.name for t in log.topics()]:
                return []
            with log.reader("out") as reader:
                batches = [f.batch for f in reader.read(timeout=0.0)]
        return in_seconds(pa.Table.from_batches(batches)) if batches else []

    def wait(self, rows: int) -> None:
        """Wait until there are so many results."""
        self.until(lambda: len(self.rows()) >= rows, f"{rows} results")

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds while the pipeline runs."""
        ends = time.monotonic() + _LONGEST
        while not holds():
            if self._error is not None:
                raise self._error
            assert self._thread.is_alive(), "the run ended by itself"
            assert time.monotonic() < ends, f"no {what} within {_LONGEST:g} s, but {self.rows()}"
            self._thread.join(0.05)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_LONGEST)
        assert not self._thread.is_alive() or error is not None, f"it has not stopped within {_LONGEST:g} s"
        if self._error is not None and error is None:
            raise self._error
