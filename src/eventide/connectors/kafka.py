"""``kafka://host:port/topic``: a topic of Apache Kafka as source and as sink; Event Hubs and others speak the same.

Source: one partition of ours for each of the topic's, a position is ``{"offset": n}``, kept in our checkpoints; the
offsets that a consumer group commits are never asked. Only committed messages are read. Partitions that are added
later are found. What cannot be decoded goes to quarantine with its partition and offset; a position whose events were
deleted by retention is an error, not a gap.

Sink, exactly once: the messages of a checkpoint appear together, in one transaction, after the checkpoint was kept.
They are staged before, beside the checkpoints of the embedded engine or in the topic ``_eventide_staged``, so that a
crash between the two loses nothing; the topic ``_eventide_commits`` says how far each sink has come. Readers must read
committed messages only (``isolation.level=read_committed``). With ``visible="at once"`` messages are written as they
come, without transactions: at least once.

Security: ``security_protocol``, ``ssl_*`` and ``sasl_*`` are those of librdkafka with underscores for its dots. Secrets
among them are never the value but its place, ``"env:NAME"`` or ``"file:PATH"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventide.connectors._file_form import Form, form_of
from eventide.connectors._kafka_address import Address, address
from eventide.connectors._kafka_client import Cluster
from eventide.connectors._kafka_decode import BESIDE as BESIDE_READ
from eventide.connectors._kafka_encode import BESIDE as BESIDE_WRITTEN
from eventide.connectors._kafka_encode import Encoder
from eventide.connectors._kafka_sink import KafkaSink
from eventide.connectors._kafka_source import KafkaSource
from eventide.errors import UsageError, near_names
from eventide.model.protocols import Options
from eventide.model.time import duration, instant

__all__ = ["sink", "source"]


def source(uri: str, options: Mapping[str, Any]) -> KafkaSource:
    """Return a source of the events of a topic.

    Parameters
    ----------
    uri
        ``kafka://host:port/topic``, several brokers with commas.
    options
        ``format``: of the values, needed; its own options too. ``schema``: a `pyarrow.Schema` or ``{"column":
        "type"}`` (what the first messages suggest). ``start``: ``"earliest"`` (default), ``"latest"``, or a time in
        ISO 8601, that of the messages. ``offsets``: ``{partition: offset}`` to begin at instead. ``partitions``: which
        ones (all, those added later too). ``follow``: whether to go on with what comes later (true), or to end at what
        is there when it is opened. ``key``, ``timestamp``, ``headers``, ``offset``, ``partition``: name of a column
        that gets what stands beside the value. ``empty``: ``"quarantine"`` (default) or ``"skip"`` messages without a
        value. ``isolation``: ``"read_committed"`` or ``"read_uncommitted"``. ``group``: consumer group under which
        progress is shown to who watches it. ``look``: how often to look for new partitions (``"30s"``).
        ``connection_string``: place of that of an Event Hub. ``security_protocol``, ``ssl_*``, ``sasl_*``;
        ``settings``: more settings of librdkafka, ``{"fetch.max.bytes": ...}``.

    Raises
    ------
    UsageError
        An option is unknown or wrong, or a secret is given as such.

    Examples
    --------
    >>> readings = source("kafka://127.0.0.1:9092/readings", {"format": "json", "schema": {"value": "float64"}})
    >>> readings.schema()
    value: double
    """
    given, found, cluster = _opened(uri, options)
    form = _form(given, "decode")
    start = _start(given.take("start", "earliest"), given.where)
    made = KafkaSource(
        cluster,
        found.topic,
        form=form,
        beside=_beside(given, BESIDE_READ),
        skip_empty=_one_of(given, "empty", ("quarantine", "skip")) == "skip",
        start=start,
        offsets={int(p): int(o) for p, o in (given.take("offsets") or {}).items()},
        partitions=_partitions(given.take("partitions")),
        follow=bool(_one_of(given, "follow", (True, False))),
        isolation=str(_one_of(given, "isolation", ("read_committed", "read_uncommitted"))),
        group=str(given.take("group") or ""),
        look=duration(given.take("look", "30s"), what=f"{given.where} option look") / 1e9,
    )
    given.finish()
    return made


def sink(uri: str, options: Mapping[str, Any]) -> KafkaSink:
    """Return a sink that writes to a topic, which is made when it is not there.

    Parameters
    ----------
    uri
        ``kafka://host:port/topic``, several brokers with commas.
    options
        ``format``: of the values, needed; its own options too. ``key``, ``timestamp``, ``headers``, ``partition``:
        name of the column that it is taken from; the column stays in the value. Headers are a map, or a struct whose
        fields they are. ``partitioner``: how a key chooses the partition, of librdkafka (``"murmur2_random"``, as
        clients in Java do). ``rows_per_message``: how many events one message has at most; 0 is some 256 KiB of them
        (the default where a format is not made of lines, such as ``arrow``; else 1). ``partitions``: of a topic that is
        made (what the cluster says). ``visible``: ``"commit"`` or ``"at once"``. ``name``: of the transactions,
        ``eventide-NAME``, for clusters whose rules (ACLs) need it; no two sinks may have the same (one of its own for
        each run). ``connection_string``, ``security_protocol``, ``ssl_*``, ``sasl_*``, ``settings``: as for `source`.

    Raises
    ------
    UsageError
        An option is unknown or wrong, or a secret is given as such.

    Examples
    --------
    >>> sink("kafka://127.0.0.1:9092/means", {"format": "json", "key": "station"}).delivery
    'exactly_once'
    """
    given, found, cluster = _opened(uri, options)
    form = _form(given, "encode")
    rows = given.take("rows_per_message", 1 if hasattr(form.module, "cut") else 0)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
        msg = f"{given.where} option rows_per_message={rows!r}"
        raise UsageError(msg, hint="a number of events, 1 or more; 0 is some 256 KiB of them")
    encoder = Encoder(
        form.module, form.options, _beside(given, BESIDE_WRITTEN), rows_per_message=rows, where=given.where
    )
    made = KafkaSink(
        cluster,
        found.topic,
        encoder=encoder,
        partitions=int(given.take("partitions") or 0),
        partitioner=str(given.take("partitioner", "murmur2_random")),
        at_once=_one_of(given, "visible", ("commit", "at once")) == "at once",
        name=str(given.take("name") or ""),
    )
    given.finish()
    return made


def _opened(uri: str, options: Mapping[str, Any]) -> tuple[Options, Address, Cluster]:
    found = address(uri, options)
    given = Options(found.rest, where=found.where)
    return given, found, Cluster(found.servers, found.settings, found.where)


def _form(given: Options, side: str) -> Form:
    name = given.values.get("format")
    if name is None:
        msg = f"{given.where}: nothing says which format the messages have"
        raise UsageError(msg, hint="pass format='json', 'csv' or 'arrow'")
    form = form_of(str(name), given, side=side)
    # Every message is one of many: none begins a file.
    return Form(form.module, {**getattr(form.module, "CONTINUATION", {}), **form.options}, form.schema)


def _beside(given: Options, known: Mapping[str, Any] | Sequence[str]) -> dict[str, str]:
    return {what: str(name) for what in known if (name := given.take(what)) is not None}


def _start(value: Any, where: str) -> str | int:
    if value in ("earliest", "latest"):
        return str(value)
    return instant(value, what=f"{where} option start (beside 'earliest' and 'latest')")


def _partitions(value: Any) -> list[int] | None:
    if value is None:
        return None
    items = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
    return [int(p) for p in items]


def _one_of(given: Options, name: str, allowed: tuple[Any, ...]) -> Any:
    value = given.take(name, allowed[0])
    if value not in allowed:
        msg = f"{given.where} option {name}={value!r}"
        raise UsageError(msg, hint=near_names(str(value), [str(a) for a in allowed]))
    return value
