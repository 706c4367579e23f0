"""Publications pushed back: each histogram of a topic as a message (hs00, hs01 or da00), to Kafka for example.

The info of a message is JSON: the product, the ledger, which interval and which messages are in it. What has been sent
is as exact as the pipeline is: through Kafka once, whatever stops in the middle.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eventide.apps._log_options import log_options
from eventide.apps.neutron.plot import axis_edges
from eventide.apps.neutron.schema import MESSAGES
from eventide.errors import SchemaError, UsageError, near_names
from eventide.formats import da00, hs00, hs01
from eventide.kernel.histogram.publication import read_metadata
from eventide.log import Log
from eventide.model.batch import column
from eventide.model.pipeline import Pipeline
from eventide.model.stream import read

__all__ = ["FORMS", "encode_publications", "publish_pipeline"]

_ENCODERS: Final = {"hs00": hs00.encode_histogram, "hs01": hs01.encode_histogram, "da00": da00.encode_histogram}

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
    encode = functools.partial(encode_publications, described=described, form=form, source=source)
    begun = log_options("log://", log, follow=follow)
    messages = read(f"log://{topic}", **begun).map_batches(encode, schema=MESSAGES, name="encode")
    options = log_options(to, log)
    if to.startswith("kafka://"):
        options = {"format": "raw", "rows_per_message": 1, "timestamp": "timestamp"}
    return messages.write(to, **options).named(f"publish-{topic}")


def encode_publications(
    batch: pa.RecordBatch, described: Mapping[str, Any], *, form: str, source: str = "eventide"
) -> pa.RecordBatch:
    """Return publications as messages (`MESSAGES`), whose time is the end of the interval.

    Counts are whole numbers of 64 bits, in hs00 doubles, as its readers expect. Sparse publications become whole ones.
    A pixel is a bin of its axis, from its number on.

    Parameters
    ----------
    batch
        Publications.
    described
        What the schema of the topic says of the products (`read_metadata`).
    form, source
        As for `publish_pipeline`.

    Raises
    ------
    SchemaError
        The metadata lacks a product.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.connectors.memory import MemorySink
    >>> from eventide.kernel.histogram.axes import uniform
    >>> rows = ev.from_table({"t": ["2026-01-01"], "tof": [7]}).event_time("t")
    >>> sink = MemorySink()
    >>> _ = ev.run(rows.pipe(ev.op.histogram, products={"tof": uniform("tof", 0, 10, 2, unit="ns")}).write(sink))
    >>> table = sink.table()
    >>> made = encode_publications(table.to_batches()[0], read_metadata(table.schema), form="hs01")
    >>> hs01.read_histogram(made["value"][0].as_py()).data.tolist()
    [0, 1]
    """
    names = [n for n in batch.schema.names if n not in _ARRAYS]
    told = [_plain(column(batch, n)) for n in names]
    values = []
    for at, row in enumerate(zip(*told, strict=True)):
        info = dict(zip(names, row, strict=True))
        made = described.get(info["product"])
        if made is None:
            msg = f"the schema of publications does not say what {info['product']!r} is"
            raise SchemaError(msg, hint="read the topic itself: operators may drop the metadata of a schema")
        counts = batch.column("counts")[at].values.to_numpy()
        if "bins" in batch.schema.names:
            full = np.zeros(int(np.prod(made["shape"])), np.int64)
            full[batch.column("bins")[at].values.to_numpy()] = counts
            counts = full
        axes = tuple(hs00.Axis(a["name"], a["unit"], axis_edges(a)) for a in made["axes"])
        data = counts.astype(np.float64 if form == "hs00" else np.int64).reshape(made["shape"])
        one = hs00.Histogram(data, axes, source, info["until"], info=json.dumps(info))
        values.append(_ENCODERS[form](one))
    stamps = column(batch, "until").cast(MESSAGES.field("timestamp").type)
    return pa.RecordBatch.from_arrays([stamps, pa.array(values, pa.large_binary())], schema=MESSAGES)


def _plain(array: pa.Array) -> list[Any]:
    out: list[Any] = (array.cast(pa.int64()) if pa.types.is_timestamp(array.type) else array).to_pylist()
    return out
