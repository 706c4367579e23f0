"""The steps of this application on batches: what detectors saw, what monitors saw, what may be counted.

Counting itself is `ev.op.histogram`, which is general.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eventide.apps.neutron.messages import EVENTS
from eventide.apps.neutron.schema import PULSES
from eventide.kernel.histogram.columns import rows_where
from eventide.model.batch import column

__all__ = ["SEEN", "good", "with_pixels", "without_pixels"]

_KEPT = ("event_time", "source", "message_id", "time_of_flight", "pixel_id")

SEEN = {
    one_by_one: pa.schema([*(schema.field(n) for n in _KEPT), pa.field("vetoed", pa.bool_())])
    for one_by_one, schema in ((False, PULSES), (True, EVENTS))
}
"""What is counted, a row for each pulse (False) or for each event (True)."""


def good(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the pulses of what decoding made, which stand before the broken messages; nothing is copied.

    Examples
    --------
    >>> from eventide.apps.neutron.schema import DECODED
    >>> from eventide.model.batch import empty
    >>> good(empty(DECODED)).schema == PULSES
    True
    """
    rows = batch.num_rows - int(np.count_nonzero(batch.column("reason").is_valid()))
    return batch.slice(0, rows).select(PULSES.names)


def with_pixels(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the pulses, or events, that have pixels, and whether they are vetoed: where the run is not running.

    Parameters
    ----------
    batch
        Pulses or events; columns that are not needed may be missing.

    Raises
    ------
    SchemaError
        A column that is needed is missing.
    """
    return _seen(batch, pixels=True)


def without_pixels(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the pulses, or events, of monitors, which have no pixels. The rest is as in `with_pixels`."""
    return _seen(batch, pixels=False)


def _seen(batch: pa.RecordBatch, *, pixels: bool) -> pa.RecordBatch:
    found = column(batch, "pixel_id", where="of pulses")
    batch = batch.select([n for n in batch.schema.names if n in (*_KEPT, "running")])
    if found.null_count != (0 if pixels else len(found)):
        batch = rows_where(batch, np.asarray(found.is_valid() if pixels else found.is_null()))
    one_by_one = not _is_list(batch.schema.field("time_of_flight").type)
    schema = SEEN[one_by_one]
    columns = [column(batch, n, where="of pulses") for n in _KEPT]
    vetoed = pa.array(np.zeros(batch.num_rows, np.bool_))
    if "running" in batch.schema.names:
        vetoed = pc.invert(pc.fill_null(batch.column("running"), True))
    arrays = [c if c.type == f.type else c.cast(f.type) for c, f in zip([*columns, vetoed], schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
