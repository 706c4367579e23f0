"""Formats: bytes to batches and back, one a file; the file name is the name of the format.

A format has ``decode(data, *, schema=None, where="", **options) -> Decoded``,
``encode(batch, **options) -> bytes`` and ``SUFFIXES``, the file suffixes that mean it. `decode` raises
nothing for what the bytes hold: input that it cannot read is returned as `BadInput`, so that one event
that is broken costs no other. Only a container that is unreadable as a whole raises `DataError`.

What else a format may have, for large files:

``infer(data, **options) -> Schema``
    The schema of the first bytes of a file.
``cut(data, **options) -> int``
    How many bytes of `data` are whole records, for a format whose files can be read in pieces. `decode`
    then takes ``offset``, the place of `data` in its file.
``preamble(data, *, schema=None, where="", **options) -> (int, Mapping)``
    How many bytes stand before the first record, and the options that `decode` needs for the rest.
``CONTINUATION``
    Options of `encode` for a batch that is not the first of its file.
``open_file(path, *, schema=None, start=0, batch_rows) -> iterator of batches``, ``file_schema(path)``
    For a format with a container: batches from row `start` on.
``open_writer(path, schema) -> writer``
    For the same: an object with ``write(batch)`` and ``close()``.

What a format of messages may have, for transports that bring thousands of them at once:

``decode_many(messages, *, schema=None, where="", **options) -> Decoded``
    What `decode` makes of each, one behind the other. The result also has ``messages``, a record batch with a row for
    each message that could be read: its ``number`` among those given, and how many ``events`` it has. A message is
    read whole or not at all: those without a row there are in `bad`, in their order.
``encode_many(batch, **options) -> Array``
    The messages of a batch, a column of large binary, cut as the format wants it.
"""
