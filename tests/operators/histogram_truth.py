"""What `ev.op.histogram` publishes, in plain Python over the whole input, for some products."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eventide.kernel.histogram.axes import integers, rows, uniform
from eventide.kernel.histogram.codes import CLASSES
from eventide.kernel.histogram.products import checked, product
from eventide.model.time import EVENT_TIME

VALUE = uniform("value", -50, 50, 4)
SMALL = integers("n", -3, 6)
REGION = rows("n", [0, -1, 1], first=0)
PRODUCTS = {"value": VALUE, "both": product(SMALL, VALUE), "region": REGION}
NAMES = ["until", "since", "first", "last", "product", "sequence", "events", "binned", *CLASSES, "vetoed"]


def code(axis, row):
    """Return a row's bin on an axis, or the name of its class, by definition."""
    v = row[axis.value.name]
    if v is None:
        return "nan"
    if axis is REGION:
        return "unknown" if not 0 <= v < 3 else ("masked" if axis.table[v] < 0 else int(axis.table[v]))
    at = int(np.searchsorted(axis.edges, v, side="right")) - 1
    return "below" if at < 0 else "above" if at >= axis.bins else at


def histogram_of(each, taken):
    """Return the ledger and the counts of some rows."""
    counts, ledger = np.zeros(each.shape, int), dict.fromkeys(CLASSES, 0)
    for row in taken:
        codes = [code(axis, row) for axis in each.axes]
        worst = [name for name in ("nan", "unknown", "masked", "above", "below") if name in codes]
        if worst:
            ledger[worst[0]] += 1
        else:
            counts[tuple(codes)] += 1
    return ledger, counts.reshape(-1).tolist()


def publications(table, *, every, reset=0, key=None, sparse=False):
    """Return what is published of a table, second by second, in plain Python."""
    plain = table.set_column(0, "time", table["time"].cast(pa.int64())).to_pylist()
    out = []
    for value in dict.fromkeys(r[key] for r in plain) if key else [None]:
        mine = [r for r in plain if key is None or r[key] == value]
        sequence, before = 0, None
        for interval in sorted({r["time"] // every for r in mine}):
            until = (interval + 1) * every
            since = interval * every // reset * reset if reset else None
            sequence, before = (0 if since != before else sequence), since
            taken = [r for r in mine if r["time"] < until and (since is None or r["time"] >= since)]
            for name, each in checked(PRODUCTS).items():
                ledger, counts = histogram_of(each, taken)
                row = {"key": value} if key else {}
                row |= {"until": until, "since": since, "product": name, "sequence": sequence}
                row |= {"first": min(r["time"] for r in taken), "last": max(r["time"] for r in taken)}
                row |= {"events": len(taken), "binned": sum(counts), "vetoed": 0, **ledger}
                row |= {"bins": [k for k, c in enumerate(counts) if c]} if sparse else {}
                out.append(row | {"counts": [c for c in counts if c] if sparse else counts})
            sequence += 1
    return out


def as_table(found, *, key=None, sparse=False):
    names = [*([key] if key else []), *NAMES, *(["bins"] if sparse else []), "counts"]
    kinds = {n: pa.int64() for n in names}
    kinds |= dict.fromkeys(("until", "since", "first", "last"), EVENT_TIME)
    kinds |= {"product": pa.string(), "counts": pa.list_(pa.int64()), "bins": pa.list_(pa.int64()), "key": pa.string()}
    return pa.table({n: pa.array([r[n] for r in found], kinds[n]) for n in names})
