"""From messages of Kafka to events: decoding many at once, and columns for what stands beside the value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.connectors._file_form import Form
from eventide.errors import EventideError
from eventide.model.batch import concat, empty
from eventide.model.protocols import BadInput, Decoded
from eventide.model.time import EVENT_TIME

__all__ = ["BESIDE", "Decoder", "Message"]

Message = Any

_BYTE = re.compile(r"(?:.*: )?byte (\d+)", re.DOTALL)
_NANOSECONDS = 1_000_000


def _keys(messages: Sequence[Message]) -> pa.Array:
    return pa.array([m.key() for m in messages], pa.binary()).cast(pa.string())


def _times(messages: Sequence[Message]) -> pa.Array:
    kinds = [m.timestamp() for m in messages]
    return pa.array([t * _NANOSECONDS if kind else None for kind, t in kinds], pa.int64()).cast(EVENT_TIME)


def _headers(messages: Sequence[Message]) -> pa.Array:
    return pa.array([m.headers() or [] for m in messages], BESIDE["headers"][0])


BESIDE: Mapping[str, tuple[pa.DataType, Callable[[Sequence[Message]], pa.Array]]] = {
    "key": (pa.string(), _keys),
    "timestamp": (EVENT_TIME, _times),
    "headers": (pa.map_(pa.string(), pa.binary()), _headers),
    "offset": (pa.int64(), lambda messages: pa.array([m.offset() for m in messages], pa.int64())),
    "partition": (pa.int32(), lambda messages: pa.array([m.partition() for m in messages], pa.int32())),
}
"""What stands beside the value of a message: its type, and how it is taken."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Makes events of messages.

    Parameters
    ----------
    form
        Format, its options, and the schema of the values.
    beside
        Names of columns by what they hold, of `BESIDE`.
    skip_empty
        Whether messages without a value (tombstones) are passed over.
    """

    form: Form
    beside: Mapping[str, str]
    skip_empty: bool

    @property
    def schema(self) -> pa.Schema:
        """The schema of the events."""
        assert self.form.schema is not None
        more = [pa.field(name, BESIDE[what][0]) for what, name in self.beside.items()]
        return pa.schema([*self.form.schema, *more])

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """Return the events of messages of one partition, and what could not be decoded."""
        bad: list[tuple[int, BadInput]] = []
        values = [m.value() for m in messages]
        if not all(values) or "key" in self.beside:
            messages, values = self._checked(messages, bad)
        if not messages:
            return Decoded(empty(self.schema), tuple(b for _, b in bad))
        made = self._many(messages, values, bad) or self._lines(messages, values, bad)
        batch, rows = made or self._each(messages, values, bad)
        if self.beside:
            batch = self._with_beside(batch, messages, rows)
        bad.sort(key=lambda item: item[0])
        return Decoded(batch, tuple(b for _, b in bad))

    def again(self, bad: Sequence[BadInput]) -> Decoded:
        """Decode values once more; what stood beside them is not known any more and is null."""
        batches: list[pa.RecordBatch] = []
        still: list[BadInput] = []
        for item in bad:
            decoded, reason = self._one(item.data)
            if reason:
                still.append(BadInput(item.data, item.position, reason))
                continue
            columns = [*decoded.columns, *(pa.nulls(decoded.num_rows, BESIDE[what][0]) for what in self.beside)]
            batches.append(pa.RecordBatch.from_arrays(columns, schema=self.schema))
        return Decoded(concat(batches) if batches else empty(self.schema), tuple(still))

    def _checked(
        self, messages: Sequence[Message], bad: list[tuple[int, BadInput]]
    ) -> tuple[list[Message], list[bytes]]:
        """Leave out messages that have no value, or a key that is not text where that is wanted."""
        kept: list[Message] = []
        for message in messages:
            reason = "" if message.value() else "no value (a tombstone)" if message.value() is None else "empty value"
            if reason and self.skip_empty:
                continue
            if not reason and "key" in self.beside and not _is_text(message.key()):
                reason = "the key is not UTF-8"
            if reason:
                bad.append((message.offset(), BadInput(message.value() or b"", _place(message), reason)))
            else:
                kept.append(message)
        return kept, [m.value() for m in kept]

    def _many(
        self, messages: Sequence[Message], values: list[bytes], bad: list[tuple[int, BadInput]]
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]] | None:
        """Decode messages of a format that takes many at once; None where it does not, or refuses them together."""
        if not hasattr(self.form.module, "decode_many"):
            return None
        try:
            decoded = self.form.module.decode_many(values, schema=self.form.schema, **self.form.options)
        except (EventideError, pa.ArrowException):
            return None
        numbers = decoded.messages.column("number").to_numpy()
        lost = np.delete(np.arange(len(values)), numbers)
        for index, item in zip(lost.tolist(), decoded.bad, strict=True):
            bad.append((messages[index].offset(), BadInput(values[index], _place(messages[index]), item.reason)))
        rows = np.repeat(numbers, decoded.messages.column("events").to_numpy()) if self.beside else numbers
        return decoded.batch, rows

    def _lines(
        self, messages: Sequence[Message], values: list[bytes], bad: list[tuple[int, BadInput]]
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64] | None] | None:
        """Decode messages that are one line of text each, all at once; None where they are not."""
        options = self.form.options
        if not hasattr(self.form.module, "cut") or options.get("header") or options.get("multiline"):
            return None
        text = b"\n".join(values) + b"\n"
        if text.count(b"\n") != len(values):
            values = [v.rstrip(b"\r\n") for v in values]
            text = b"\n".join(values) + b"\n"
            if text.count(b"\n") != len(values):
                return None
        decoded: Decoded = self.form.module.decode(text, schema=self.form.schema, **options)
        if decoded.batch.num_rows + len(decoded.bad) != len(values):
            return None
        if not decoded.bad:
            return decoded.batch, None
        starts = np.zeros(len(values), np.int64)
        np.cumsum([len(v) + 1 for v in values[:-1]], out=starts[1:])
        places = [_BYTE.fullmatch(b.position) for b in decoded.bad]
        if not all(places):
            return None
        wrong = np.searchsorted(starts, [int(p[1]) for p in places if p], side="right") - 1
        for index, item in zip(wrong.tolist(), decoded.bad, strict=True):
            message = messages[index]
            bad.append((message.offset(), BadInput(message.value(), _place(message), item.reason)))
        return decoded.batch, np.delete(np.arange(len(values)), wrong)

    def _each(
        self, messages: Sequence[Message], values: list[bytes], bad: list[tuple[int, BadInput]]
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """Decode message after message; one that cannot be read whole goes to quarantine whole."""
        batches: list[pa.RecordBatch] = []
        counts = np.zeros(len(values), np.int64)
        for index, value in enumerate(values):
            batch, reason = self._one(value)
            if reason:
                bad.append((messages[index].offset(), BadInput(value, _place(messages[index]), reason)))
            else:
                batches.append(batch)
                counts[index] = batch.num_rows
        assert self.form.schema is not None
        return concat(batches) if batches else empty(self.form.schema), np.repeat(np.arange(len(values)), counts)

    def _one(self, value: bytes) -> tuple[pa.RecordBatch, str]:
        assert self.form.schema is not None
        if not value:
            return empty(self.form.schema), "empty value"
        try:
            decoded: Decoded = self.form.module.decode(value, schema=self.form.schema, **self.form.options)
        except (EventideError, pa.ArrowException) as error:
            return empty(self.form.schema), error.message if isinstance(error, EventideError) else str(error)
        if decoded.bad and b"\n" in value:
            # One object over several lines, as people write it by hand: no line break can be inside its text.
            flat = value.replace(b"\n", b" ").replace(b"\r", b" ")
            if value.lstrip()[:1] == b"{" and hasattr(self.form.module, "cut"):
                once: Decoded = self.form.module.decode(flat, schema=self.form.schema, **self.form.options)
                decoded = decoded if once.bad else once
        if decoded.bad:
            return empty(self.form.schema), decoded.bad[0].reason
        return decoded.batch, ""

    def _with_beside(
        self, batch: pa.RecordBatch, messages: Sequence[Message], rows: npt.NDArray[np.int64] | None
    ) -> pa.RecordBatch:
        columns = [BESIDE[what][1](messages) for what in self.beside]
        if rows is not None:
            taken = pa.array(rows)
            columns = [c.take(taken) for c in columns]
        return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=self.schema)


def _is_text(key: bytes | None) -> bool:
    try:
        (key or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _place(message: Message) -> str:
    return f"{message.topic()} partition {message.partition()} offset {message.offset()}"
