"""Input that could not be processed somewhere in an engine, on its way to the quarantine of the driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from eventide.engines.local.quarantine import Quarantine
from eventide.model.protocols import BadInput

__all__ = ["Refused", "each_refused"]

_SCHEMA = pa.schema(
    [
        ("operator", pa.string()),
        ("source", pa.string()),
        ("partition", pa.string()),
        ("format", pa.string()),
        ("data", pa.binary()),
        ("position", pa.string()),
        ("reason", pa.string()),
    ]
)


@dataclass(slots=True)
class Refused(Quarantine):
    """Takes what tasks reject, until it is fetched.

    Examples
    --------
    >>> refused = Refused(None, "demo")
    >>> refused.put("read-0", [BadInput(b"x", "line 1", "not a number")])
    >>> [(operator, items[0].reason) for operator, items, *_ in each_refused(refused.fetch())]
    [('read-0', 'not a number')]
    """

    rows_: list[tuple[str, str, str, str, bytes, str, str]] = field(default_factory=list)

    def put(
        self, operator: str, items: Sequence[BadInput], *, source: str = "", partition: str = "", format: str = ""
    ) -> None:
        """Take input that an operator could not."""
        self.rows_ += [(operator, source or operator, partition, format, i.data, i.position, i.reason) for i in items]

    def fetch(self) -> pa.RecordBatch | None:
        """Return what came since the last call, None when that is nothing."""
        rows, self.rows_ = self.rows_, []
        if not rows:
            return None
        return pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), _SCHEMA, strict=True)], schema=_SCHEMA
        )


def each_refused(batch: pa.RecordBatch | pa.Table | None) -> Iterator[tuple[str, list[BadInput], str, str, str]]:
    """Go through such a batch: operator, input, source, partition, format."""
    for r in batch.to_pylist() if batch is not None else ():
        bad = BadInput(r["data"], r["position"], r["reason"])
        yield r["operator"], [bad], r["source"], r["partition"], r["format"]
