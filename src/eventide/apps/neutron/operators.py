"""The steps of this application on batches: what detectors saw, what monitors saw, what may be counted.

Counting itself is `ev.op.histogram`, which is general.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eventide.apps.neutron.messages import EVENTS
from eventide.apps.neutron.numbered import LEFT_OUT
from eventide.apps.neutron.schema import PULSES
from eventide.kernel.histogram.columns import rows_where
from eventide.model.batch import column

__all__ = ["SEEN", "good", "with_pixels", "without_pixels"]

_KEPT = ("event_time", "source", "message_id", "time_of_flight", "pixel_id", "period")
_READ = (*_KEPT, "running", "proton_charge", *(f.name for f in LEFT_OUT))
_NOT_NEEDED = ("period", *(f.name for f in LEFT_OUT))

SEEN = {
    one_by_one: pa.schema([*(schema.field(n) for n in _KEPT), pa.field("vetoed", pa.bool_()), *more])
    for one_by_one, schema, more in ((False, PULSES, LEFT_OUT), (True, EVENTS, ()))
}
"""What is counted, a row for each pulse (False), some of which stand for those left out, or for each event (True)."""


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


def with_pixels(batch: pa.RecordBatch, least_charge: float = 0.0) -> pa.RecordBatch:
    """Return the pulses, or events, that have pixels, and whether they are vetoed.

    Vetoed is where the run is not running, or where the proton charge of the pulse is below the least one, or unknown.

    Parameters
    ----------
    batch
        Pulses or events; columns that are not needed may be missing.
    least_charge
        uAh; 0: none is asked for.

    Raises
    ------
    SchemaError
        A column that is needed is missing.
    """
    return _seen(batch, least_charge, pixels=True)


def without_pixels(batch: pa.RecordBatch, least_charge: float = 0.0) -> pa.RecordBatch:
    """Return the pulses, or events, of monitors, which have no pixels. The rest is as in `with_pixels`."""
    return _seen(batch, least_charge, pixels=False)


def _seen(batch: pa.RecordBatch, least_charge: float, *, pixels: bool) -> pa.RecordBatch:
    found = column(batch, "pixel_id", where="of pulses")
    batch = batch.select([n for n in batch.schema.names if n in _READ])
    if found.null_count != (0 if pixels else len(found)):
        batch = rows_where(batch, np.asarray(found.is_valid() if pixels else found.is_null()))
    schema = SEEN[not _is_list(batch.schema.field("time_of_flight").type)]
    vetoed = np.zeros(batch.num_rows, np.bool_)
    if "running" in batch.schema.names:
        vetoed |= ~batch.column("running").fill_null(True).to_numpy(zero_copy_only=False)
    if least_charge:
        charge = column(batch, "proton_charge", where="of pulses").fill_null(float("nan")).to_numpy()
        vetoed |= ~(charge >= least_charge)
    arrays = []
    for field in schema:
        if field.name == "vetoed":
            arrays.append(pa.array(vetoed))
        elif field.name in batch.schema.names or field.name not in _NOT_NEEDED:
            array = column(batch, field.name, where="of pulses")
            arrays.append(array if array.type == field.type else array.cast(field.type))
        else:
            arrays.append(_absent(field, batch.num_rows))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _absent(field: pa.Field, rows: int) -> pa.Array:
    return pa.nulls(rows, field.type) if field.name == "period" else pa.array(np.zeros(rows, np.int64))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
