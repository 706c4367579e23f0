"""What columns a join puts out, found from the columns of its two inputs alone."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from eventide.errors import SchemaError, UsageError, near_names
from eventide.model.batch import visible
from eventide.model.graph import WINDOW_END, WINDOW_START, Join, WindowJoin
from eventide.model.time import EVENT_TIME
from eventide.model.window import Sliding, Tumbling

__all__ = ["join_schema"]


def _key_fields(schema: pa.Schema, keys: Sequence[str], *, where: str) -> list[pa.Field]:
    fields = []
    for key in keys:
        index = schema.get_field_index(key)
        if index < 0:
            msg = f"the {where} input of the join has no key column {key!r}"
            raise SchemaError(msg, hint=near_names(key, schema.names))
        fields.append(schema.field(index))
    return fields


def _check_keys(left: list[pa.Field], right: list[pa.Field]) -> None:
    if not left or len(left) != len(right):
        msg = f"a join needs as many keys on both sides and at least one, not {len(left)} and {len(right)}"
        raise UsageError(msg, hint="key both streams by the columns that must be equal, in the same order")
    for one, other in zip(left, right, strict=True):
        if one.type != other.type:
            msg = f"the join keys {one.name!r} ({one.type}) and {other.name!r} ({other.type}) have different types"
            raise SchemaError(msg, hint="cast one of them before the join, for example pl.col(...).cast(pl.Int64)")


def join_schema(
    node: Join, schemas: tuple[pa.Schema, pa.Schema], keys: tuple[Sequence[str], Sequence[str]]
) -> pa.Schema:
    """Return the schema of a join's results.

    The left keys come first, then the other left columns, then the right columns without the right keys;
    a right column whose name is taken gets the node's suffix. A window join adds ``window_start`` and
    ``window_end``.

    Parameters
    ----------
    node
        The join; its spec, `how` and `suffix` are read.
    schemas
        Schemas of the left and the right input; columns of eventide's own do not count.
    keys
        Key columns of the left and the right input, of the same types in the same order.

    Raises
    ------
    SchemaError
        A key is missing, the key types differ, or two output columns would have one name.
    UsageError
        The keys do not pair up, or a window join is asked for windows that are neither tumbling nor sliding.

    Examples
    --------
    >>> from eventide.model.graph import IntervalJoin, Read, Ref
    >>> node = Join(Ref(Read("log://a")), Ref(Read("log://b")), IntervalJoin(0, 10))
    >>> left = pa.schema([("t", EVENT_TIME), ("id", pa.int64()), ("x", pa.float64())])
    >>> right = pa.schema([("t", EVENT_TIME), ("ref", pa.int64()), ("y", pa.float64())])
    >>> join_schema(node, (left, right), (("id",), ("ref",))).names
    ['id', 't', 'x', 't_right', 'y']
    """
    left, right = (visible(schema) for schema in schemas)
    key_fields = _key_fields(left, keys[0], where="left")
    _check_keys(key_fields, _key_fields(right, keys[1], where="right"))
    fields = key_fields + [field for field in left if field.name not in keys[0]]
    taken = {field.name for field in fields}
    windowed = isinstance(node.spec, WindowJoin)
    if windowed:
        _check_window(node.spec)
        taken |= {WINDOW_START, WINDOW_END}
    for field in right:
        if field.name in keys[1]:
            continue
        name = field.name + node.suffix if field.name in taken else field.name
        fields.append(field.with_name(name).with_nullable(node.how == "left" or field.nullable))
        taken.add(name)
    if windowed:
        fields += [pa.field(WINDOW_START, EVENT_TIME), pa.field(WINDOW_END, EVENT_TIME)]
    _check_names([field.name for field in fields])
    return pa.schema(fields)


def _check_window(spec: object) -> None:
    if isinstance(spec, WindowJoin) and not isinstance(spec.window, Tumbling | Sliding):
        msg = f"a window join cannot use {spec.window}"
        raise UsageError(msg, hint="use ev.tumbling(...) or ev.sliding(...), or an interval join")


def _check_names(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"the join would have two columns named {twice[0]!r}"
        raise SchemaError(msg, hint="rename the column before the join, or choose another suffix")
