"""Publications pushed back: each histogram of a topic as a message (hs00, hs01 or da00), to Kafka for example.

The info of a message is JSON: the product, the ledger, which interval and which messages are in it. What has been sent
is as exact as the pipeline is: through Kafka once, whatever stops in the middle.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps._log_options import log_options
from eventide.apps.neutron.plot import axis_edges
from eventide.apps.neutron.schema import MESSAGES
from eventide.errors import SchemaError, UsageError, near_names
from eventide.formats import da00, hs00, hs01
from eventide.kernel.histogram.publication import read_metadata
from eventide.kernel.recycled import Recycled
from eventide.log import Log
from eventide.model.batch import column
from eventide.model.pipeline import Pipeline
from eventide.model.stream import read

__all__ = ["FORMS", "Encoder", "publish_pipeline"]

_ENCODERS: Final = {
    "hs00": hs00.encode_histogram_in, "hs01": hs01.encode_histogram_in, "da00": da00.encode_histogram_in
}  # fmt: skip

FORMS: Final = tuple(_ENCODERS)
"""The formats of histograms that can be sent."""

_ARRAYS = ("counts", "bins", "sums", "squares")


def publish_pipeline(
    topic: str, to: str, *, form: str = "hs01", source: str = "eventide", follow: bool = True, log: str = ""
) -> Pipeline:
    """Return the pipeline that sends the publications of a topic of the log.

    Parameters
    ----------
    topic
        Of the log, such as ``histograms``.
    to
        ``kafka://host:port/topic``, or another topic of the log for messages: ``log://messages``.
    form
        ``"hs00"``, ``"hs01"`` or ``"da00"``.
    source
        What the messages say they come from.
    follow
        Go on when the end of the topic is reached.
    log
        Folder of the log; left out, the configured one.

    Raises
    ------
    UsageError
        There is no such form.
    UnknownNameError
        There is no such topic.
    SchemaError
        The topic does not hold publications.
    """
    if form not in FORMS:
        msg = f"{form!r} is no format of histograms"
        raise UsageError(msg, hint=near_names(form, FORMS))
    with Log(log or os.environ.get("EVENTIDE_LOG") or Path(".eventide", "log"), create=False) as opened:
        described = read_metadata(opened.topic(topic).schema)
    encode = Encoder(described, form=form, source=source)
    begun = log_options("log://", log, follow=follow)
    messages = read(f"log://{topic}", **begun).map_batches(encode, schema=MESSAGES, name="encode")
    options = log_options(to, log)
    if to.startswith("kafka://"):
        options = {"format": "raw", "rows_per_message": 1, "timestamp": "timestamp"}
    return messages.write(to, **options).named(f"publish-{topic}")


class Encoder:
    """A function from publications to messages (`MESSAGES`), whose time is the end of the interval.

    Counts are whole numbers of 64 bits, in hs00 doubles, as its readers expect. Sparse publications become whole ones.
    A pixel is a bin of its axis, from its number on. Memory of earlier messages is used again once nobody holds them:
    new memory for a million bins costs more than all that is written to it.

    Parameters
    ----------
    described
        What the schema of the topic says of the products (`read_metadata`).
    form, source
        As for `publish_pipeline`.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.connectors.memory import MemorySink
    >>> from eventide.kernel.histogram.axes import uniform
    >>> rows = ev.from_table({"t": ["2026-01-01"], "tof": [7]}).event_time("t")
    >>> sink = MemorySink()
    >>> _ = ev.run(rows.pipe(ev.op.histogram, products={"tof": uniform("tof", 0, 10, 2, unit="ns")}).write(sink))
    >>> table = sink.table()
    >>> made = Encoder(read_metadata(table.schema), form="hs01")(table.to_batches()[0])
    >>> hs01.read_histogram(made["value"][0].as_py()).data.tolist()
    [0, 1]
    """

    def __init__(self, described: Mapping[str, Any], *, form: str, source: str = "eventide") -> None:
        self._described, self._form, self._source = described, form, source
        self._encode = _ENCODERS[form]
        self._memory = {name: (Recycled(), Recycled()) for name in described}
        self._together = Recycled()
        self._axes: dict[str, tuple[hs00.Axis, ...]] = {}

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the messages of some publications.

        Raises
        ------
        SchemaError
            The metadata lacks a product.
        """
        names = [n for n in batch.schema.names if n not in _ARRAYS]
        told = [_plain(column(batch, n)) for n in names]
        messages = []
        for at, row in enumerate(zip(*told, strict=True)):
            info = dict(zip(names, row, strict=True))
            made = self._described.get(info["product"])
            if made is None:
                msg = f"the schema of publications does not say what {info['product']!r} is"
                raise SchemaError(msg, hint="read the topic itself: operators may drop the metadata of a schema")
            if info["product"] not in self._axes:
                self._axes[info["product"]] = tuple(self._axis(a) for a in made["axes"])
            axes = self._axes[info["product"]]
            data = self._counts(batch, at, info["product"]).reshape(made["shape"])
            one = hs00.Histogram(data, axes, self._source, info["until"], info=json.dumps(info))
            messages.append(self._encode(self._memory[info["product"]][1], one))
        stamps = column(batch, "until").cast(MESSAGES.field("timestamp").type)
        return pa.RecordBatch.from_arrays([stamps, self._column(messages)], schema=MESSAGES)

    def _axis(self, described: Mapping[str, Any]) -> hs00.Axis:
        edges: npt.NDArray[Any] = axis_edges(described)
        if described["kind"] == "pixels" and self._form != "hs00":  # half of what has to be sent; hs00 has doubles
            edges = edges.astype(np.int32)
        return hs00.Axis(described["name"], described["unit"], edges)

    def _counts(self, batch: pa.RecordBatch, row: int, product: str) -> npt.NDArray[Any]:
        """Return all counts of a publication, in the type of the message."""
        counts: npt.NDArray[Any] = batch.column("counts")[row].values.to_numpy()
        sparse, doubles = "bins" in batch.schema.names, self._form == "hs00"
        if not sparse and not doubles:
            return counts
        bins = math.prod(self._described[product]["shape"])
        full = self._memory[product][0].take(8 * bins).view(np.float64 if doubles else np.int64)
        if sparse:
            full[:] = 0
            full[batch.column("bins")[row].values.to_numpy()] = counts
        else:
            full[:] = counts
        return full

    def _column(self, messages: Sequence[memoryview]) -> pa.Array:
        """Return messages as a column; a single one where it lies."""
        offsets = np.cumsum([0, *(len(m) for m in messages)], dtype=np.int64)
        if len(messages) == 1:
            held = pa.py_buffer(messages[0])
        else:
            together = self._together.take(int(offsets[-1]))
            for begin, message in zip(offsets.tolist(), messages, strict=False):
                together[begin : begin + len(message)] = message
            held = pa.py_buffer(together)
        return pa.Array.from_buffers(pa.large_binary(), len(messages), [None, pa.py_buffer(offsets), held])


def _plain(array: pa.Array) -> list[Any]:
    out: list[Any] = (array.cast(pa.int64()) if pa.types.is_timestamp(array.type) else array).to_pylist()
    return out
