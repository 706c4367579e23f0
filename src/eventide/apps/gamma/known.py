"""Which telescope a row is of, of those that an array has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.numbers import integers_of
from eventide.apps.gamma.site import Site, camera_of

__all__ = ["Known", "known"]


class Known(NamedTuple):
    """The telescopes of an array, in order: numbers, the place of each one's kind, and pixels of its camera.

    Examples
    --------
    >>> from eventide.apps.gamma.site import made
    >>> known(made(4)).of(pa.record_batch({"tel_id": [4, 99]}))[1].tolist()
    [True, False]
    """

    tels: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]

    def of(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the place of each row's telescope, and which rows have one that is known."""
        tel = integers_of(batch.column("tel_id"), none=-1)
        place = np.minimum(np.searchsorted(self.tels, tel), self.tels.size - 1)
        return place, self.tels[place] == tel


def known(site: Site) -> Known:
    """Return the telescopes of an array.

    Examples
    --------
    >>> from eventide.apps.gamma.site import made
    >>> known(made(4)).tels.tolist()
    [1, 2, 3, 4]
    """
    places = {kind.name: number for number, kind in enumerate(site.kinds)}
    every = sorted((t.tel_id, places[t.kind]) for t in site.telescopes)
    pixels = [camera_of(kind).pixels for kind in site.kinds]
    tels, kinds = (np.array(column, np.int64) for column in zip(*every, strict=True))
    return Known(tels, kinds, np.array(pixels, np.int64)[kinds])
