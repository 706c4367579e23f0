"""Publications divided by what was sent: by the counts of a monitor, or by the proton charge, of the same pulses.

Both grow with the histograms, in the same intervals of event time, so a publication is divided by what had come until
its own end, whatever the order and the batches in which pulses came. The counts themselves stay as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.neutron.instruments import Instrument
from eventide.apps.neutron.reduction.normalise import per
from eventide.errors import ConfigError, near_names
from eventide.kernel.histogram.axes import Axis, uniform
from eventide.kernel.histogram.products import Product, checked, product
from eventide.kernel.histogram.publication import publication_schema
from eventide.model.batch import column
from eventide.model.stream import Stream
from eventide.operators.asof_join import asof_join
from eventide.operators.dedup import dedup

__all__ = [
    "CHARGE",
    "CHARGES",
    "NORMALISED",
    "charges",
    "divisors_of_charge",
    "divisors_of_monitor",
    "normalised",
    "wanted",
]

CHARGE: Final = {"charge": product(uniform("proton_charge", 0, 2.0**20, 1), weights="proton_charge")}
"""What is counted of pulses to know their charge."""

_GRAIN = 2.0**-36  # uAh: sums of such numbers are exact up to 131,072 uAh, so their order does not matter
_ALL = "sent"
CHARGES = pa.schema([("event_time", pa.timestamp("ns", "UTC")), (_ALL, pa.string()), ("proton_charge", pa.float64())])
"""A row for each pulse; more columns tell pulses apart."""

NORMALISED: Final = (
    pa.field("by", pa.string(), metadata={"meaning": "charge, or the monitor"}),
    pa.field("divisor", pa.float64(), metadata={"meaning": "uAh, or counts, of the same pulses"}),
    pa.field("values", pa.list_(pa.float64())),
    pa.field("errors", pa.list_(pa.float64())),
)
"""What stands in the place of `counts`; null where nothing was sent yet."""


def wanted(text: str, one: Instrument, *, one_by_one: bool) -> str:
    """Return by what a setting says that publications are divided: ``charge`` or the name of a monitor.

    Raises
    ------
    ConfigError
        The instrument has no such monitor, or events one by one have no charge.

    Examples
    --------
    >>> from eventide.apps.neutron.instruments import AMOR
    >>> wanted("amor_monitor", AMOR, one_by_one=False)
    'amor_monitor'
    """
    known = [m.name for m in one.monitors] + ([] if one_by_one else ["charge"])
    if text not in known:
        msg = f"histograms of {one.name} cannot be divided by {text!r}"
        raise ConfigError(
            msg, hint=f"one of {', '.join(known)}; {near_names(text, known)}" if known else "leave it out"
        )
    return text


def charges(pulses: Stream, *, within: str, keyed: tuple[str, ...] = (), least_charge: float = 0.0) -> Stream:
    """Return the charge of each pulse that counts, once, whatever number of sources told it; keyed by `keyed`.

    Parameters
    ----------
    pulses
        Numbered (`eventide.apps.neutron.numbered.numbered`).
    within
        How late another source may tell it.
    keyed
        Columns that tell pulses apart beside their time.
    least_charge
        Pulses with less do not count.
    """
    told = functools.partial(_charges, keyed=keyed, least_charge=least_charge)
    once = pulses.map_batches(told, name="charges").pipe(dedup, by=("event_time", *keyed), within=within)
    return once.key_by(_ALL, *keyed)


def _charges(batch: pa.RecordBatch, keyed: tuple[str, ...], least_charge: float) -> pa.RecordBatch:
    charge = column(batch, "proton_charge", where="of pulses").fill_null(np.nan).to_numpy(zero_copy_only=False)
    counts = charge >= least_charge  # as vetoes are found, which compare float32; NaN is not
    charge = np.round(charge.astype(np.float64) / _GRAIN) * _GRAIN
    counts &= column(batch, "running", where="of pulses").fill_null(True).to_numpy(zero_copy_only=False)
    for name in ("duplicate", "late"):
        counts &= column(batch, name, where="of pulses").fill_null(0).to_numpy(zero_copy_only=False) == 0
    kept = batch.filter(pa.array(counts))
    arrays = [column(kept, "event_time"), pa.array([""] * kept.num_rows, pa.string()), pa.array(charge[counts])]
    more = [pa.field(n, kept.schema.field(n).type) for n in keyed]
    return pa.RecordBatch.from_arrays([*arrays, *(column(kept, n) for n in keyed)], schema=pa.schema([*CHARGES, *more]))


def divisors_of_charge(publications: Stream, keys: tuple[str, ...] = ()) -> Stream:
    """Return the charge that had come by the end of every interval, from publications of `CHARGE`."""
    return publications.map_batches(functools.partial(_sums, keys=keys), name="sent charge").key_by(_ALL, *keys)


def divisors_of_monitor(publications: Stream, name: str, keys: tuple[str, ...] = ()) -> Stream:
    """Return the counts of a monitor that had come by the end of every interval, from its publications."""
    return publications.map_batches(functools.partial(_binned, name=name, keys=keys), name=f"sent {name}").key_by(
        _ALL, *keys
    )


def _sums(batch: pa.RecordBatch, keys: tuple[str, ...]) -> pa.RecordBatch:
    return _divisors(batch, np.array([row.values[0].as_py() for row in batch.column("sums")], np.float64), keys)


def _binned(batch: pa.RecordBatch, name: str, keys: tuple[str, ...]) -> pa.RecordBatch:
    mine = batch.filter(pa.compute.equal(column(batch, "source").cast(pa.string()), name))
    return _divisors(mine, mine.column("binned").to_numpy().astype(np.float64), keys)


def _divisors(batch: pa.RecordBatch, values: npt.NDArray[np.float64], keys: tuple[str, ...]) -> pa.RecordBatch:
    names = ["until", _ALL, *keys, "divisor"]
    arrays = [column(batch, "until"), pa.array([""] * batch.num_rows, pa.string()), *_key_columns(batch, keys)]
    return pa.RecordBatch.from_arrays([*arrays, pa.array(values, pa.float64())], names=names)


def _key_columns(batch: pa.RecordBatch, keys: tuple[str, ...]) -> list[pa.Array]:
    """Return keys of which none is null: between runs, and where no period is told, is a key too."""
    return [column(batch, n).cast(pa.string()).fill_null("") for n in keys]


def normalised(
    publications: Stream,
    divisors: Stream,
    *,
    by: str,
    keys: tuple[str, ...] = (),
    products: Mapping[str, Product | Axis],
) -> Stream:
    """Return publications divided, with the columns `NORMALISED` in the place of ``counts``.

    Parameters
    ----------
    publications
        Whole ones (not sparse).
    divisors
        Of `divisors_of_charge` or `divisors_of_monitor`.
    by
        ``"charge"``, or the name of the monitor.
    keys
        What publications and divisors are told apart by.
    products
        What is published: the schema says their axes, as that of the publications does.
    """
    known = publications.map_batches(functools.partial(_joinable, keys=keys), name="known").key_by(
        _ALL, *_as_keys(keys)
    )
    joined = known.pipe(asof_join, divisors)
    described = publication_schema(checked(products), (), sparse=False, track=()).metadata  # joins leave none
    return joined.map_batches(functools.partial(_divided, by=by, described=described), name="normalise")


def _as_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"of_{n}" for n in keys)


def _joinable(batch: pa.RecordBatch, keys: tuple[str, ...]) -> pa.RecordBatch:
    batch = batch.append_column(_ALL, pa.array([""] * batch.num_rows, pa.string()))
    for name, values in zip(_as_keys(keys), _key_columns(batch, keys), strict=True):
        batch = batch.append_column(name, values)
    return batch


def _divided(batch: pa.RecordBatch, by: str, described: dict[bytes, bytes]) -> pa.RecordBatch:
    divisors = column(batch, "divisor").to_pylist()
    values: list[npt.NDArray[np.float64] | None] = []
    errors: list[npt.NDArray[np.float64] | None] = []
    for counts, divisor in zip(batch.column("counts"), divisors, strict=True):
        if not divisor:
            values.append(None)
            errors.append(None)
            continue
        found = counts.values.to_numpy()
        made = per(found, charge=divisor) if by == "charge" else per(found, monitor=divisor)
        values.append(made.values)
        errors.append(made.errors)
    more = ("counts", "divisor", _ALL)
    kept = [n for n in batch.schema.names if n not in more and not n.startswith("of_") and not n.endswith("_right")]
    made_of = [
        pa.array([by] * batch.num_rows, pa.string()),
        pa.array(divisors, pa.float64()),
        pa.array(values, pa.list_(pa.float64())),
        pa.array(errors, pa.list_(pa.float64())),
    ]
    schema = pa.schema([*(batch.schema.field(n) for n in kept), *NORMALISED], metadata=described)
    return pa.RecordBatch.from_arrays([*(batch.column(n) for n in kept), *made_of], schema=schema)
