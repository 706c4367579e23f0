"""A source of images that are measured as they are read, in the thread that reads ahead.

Measuring is half of the work of this application, and nothing of it depends on other images. Where it is done while the
rows of the batch before are put together into array events, a second core has something to do. What comes out is the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eventide import registry
from eventide.apps.gamma.operators import measured
from eventide.apps.gamma.site import Site
from eventide.model.protocols import Chunk, Position, Source

__all__ = ["MeasuredSource"]


class MeasuredSource:
    """A source of images, or its address, as a source of their parameters (`MEASURED_ROWS`).

    Its stream stands for that of the images everywhere in this application: `parameters` and `unfit` know it.

    Parameters
    ----------
    source
        Images (`DL1_IMAGE`): an address as for `ev.read`, or a source.
    site
        The array.
    options
        As for `ev.read`, with an address.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.apps.gamma.operators import MEASURED_ROWS
    >>> from eventide.apps.gamma.simulate import Night
    >>> from eventide.apps.gamma.site import made
    >>> from eventide.connectors.memory import MemorySource
    >>> images = MemorySource(Night(made(5), seed=1).table(1))
    >>> ev.fetch(ev.read(MeasuredSource(images, made(5)))).schema == MEASURED_ROWS
    True
    """

    def __init__(self, source: str | Source, site: Site, options: Mapping[str, Any] | None = None) -> None:
        self._inner: Any = registry.open_source(source, options or {}) if isinstance(source, str) else source
        self._site = site

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def schema(self) -> pa.Schema:
        """Return the schema of the parameters, once the images are found to have the columns that are needed."""
        nothing = pa.RecordBatch.from_pylist([], schema=self._inner.schema())
        return measured(nothing, self._site).schema

    def open(self, positions: Mapping[str, Position]) -> Any:
        """Open the source."""
        return _Reader(self._inner.open(positions), self._site)


class _Reader:
    def __init__(self, reader: Any, site: Site) -> None:
        self._reader, self._site = reader, site

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, *, max_rows: int, timeout: float) -> list[Chunk]:
        """Return what came, measured."""
        found: list[Chunk] = self._reader.read(max_rows=max_rows, timeout=timeout)
        return [chunk._replace(batch=measured(chunk.batch, self._site)) for chunk in found]
