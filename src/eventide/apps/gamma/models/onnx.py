"""Forests in ONNX files: the operators TreeEnsembleClassifier and TreeEnsembleRegressor of ``ai.onnx.ml``.

An ONNX file is a message of protocol buffers. What is needed of it are a handful of fields, which are read here: see
onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto) and the operators' page, version 1 to 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventide.apps.gamma.models.forest import Forest, Tree, forest_of
from eventide.errors import DataError

__all__ = ["from_onnx"]

_GRAPH, _NODE = 7, 1
_OP_TYPE, _ATTRIBUTE = 4, 5
_NAME, _F, _I, _S, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 7, 8, 9
_MOST_FEATURES = 1 << 20
_OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")


class _BrokenError(ValueError):
    pass


def from_onnx(source: str | Path | bytes, *, features: Sequence[str] | None = None, name: str = "") -> Forest:
    """Return the forest of an ONNX file, such as skl2onnx makes of a forest of scikit-learn.

    Parameters
    ----------
    source
        Path of the file, or its bytes.
    features
        Names of the columns; left out, ``x0``, ``x1`` ...
    name
        What the model says; left out, ``"gammaness"`` for a classifier and ``"prediction"`` for a regressor.

    Raises
    ------
    DataError
        The file is no ONNX, is damaged, or has not exactly one such operator, or one with several targets.

    Notes
    -----
    A binary classifier gives the probability of its second class. Thresholds are 32-bit floats in such files.

    Examples
    --------
    >>> from_onnx(b"")
    Traceback (most recent call last):
    eventide.errors.DataError: these bytes: there are 0 ensembles of trees in it, not one
      hint: convert the forest itself, for example with skl2onnx.to_onnx(model, X[:1])
    """
    where = "these bytes" if isinstance(source, bytes) else f"{source}"
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        found = list(_operators(memoryview(data)))
    except OSError as error:
        msg = f"{where}: the model cannot be read ({error.strerror})"
        raise DataError(msg, hint="give the path of an ONNX file") from None
    except _BrokenError as error:
        msg = f"{where}: this is no ONNX file, or a damaged one ({error})"
        raise DataError(msg, hint="convert the model again") from None
    if len(found) != 1:
        msg = f"{where}: there are {len(found)} ensembles of trees in it, not one"
        raise DataError(msg, hint="convert the forest itself, for example with skl2onnx.to_onnx(model, X[:1])")
    kind, attributes = found[0]
    try:
        return _forest(kind, attributes, features, name=name)
    except (_BrokenError, KeyError, TypeError, IndexError) as error:
        msg = f"{where}: its {kind} cannot be taken over ({error})"
        raise DataError(
            msg, hint="numeric splits (BRANCH_LEQ, BRANCH_LT) and one target, or two classes, can"
        ) from None


# -- protocol buffers


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & (2**64 - 1), at
        shift += 7
    msg = "a number is cut short"
    raise _BrokenError(msg)


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Return number, wire type and value of the fields of a message: a whole number, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire, -1)
        if size < 0 or at + size > len(data):
            msg = f"a field of wire type {wire} is cut short"
            raise _BrokenError(msg)
        yield number, wire, data[at : at + size]
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _operators(data: memoryview) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, wire, graph in _fields(data):
        if number != _GRAPH or wire != 2:
            continue
        for part, kind, node in _fields(graph):
            if part == _NODE and kind == 2:
                fields = list(_fields(node))
                op = b"".join(bytes(v) for n, w, v in fields if n == _OP_TYPE and w == 2).decode("utf-8", "replace")
                if op in _OPERATORS:
                    yield op, dict(_attribute(v) for n, w, v in fields if n == _ATTRIBUTE and w == 2)


def _attribute(data: memoryview) -> tuple[str, Any]:
    name = ""
    floats: list[float] = []
    ints: list[int] = []
    strings: list[bytes] = []
    single: bytes | None = None
    for number, wire, value in _fields(data):
        if number == _NAME and wire == 2:
            name = bytes(value).decode("utf-8", "replace")
        elif number in (_F, _FLOATS) and wire in (2, 5):
            if len(value) % 4:
                msg = "floats are cut short"
                raise _BrokenError(msg)
            floats += struct.unpack(f"<{len(value) // 4}f", value)
        elif number in (_I, _INTS) and wire in (0, 2):
            ints += [_signed(v) for v in (_packed(value) if wire == 2 else [value])]
        elif number == _STRINGS and wire == 2:
            strings.append(bytes(value))
        elif number == _S and wire == 2:
            single = bytes(value)
    return name, single if single is not None else floats or ints or strings


def _packed(data: memoryview) -> list[int]:
    out, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        out.append(value)
    return out


# -- trees


def _forest(kind: str, found: dict[str, Any], features: Sequence[str] | None, *, name: str) -> Forest:
    classifier = kind == "TreeEnsembleClassifier"
    prefix = "class" if classifier else "target"
    tree, node, feature, yes, no = (
        np.array(found[f"nodes_{n}"], np.int64)
        for n in ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")
    )
    values = np.array(found["nodes_values"], np.float32)
    modes = np.array(found["nodes_modes"])
    of = [np.array(found[f"{prefix}_{n}"], np.int64) for n in ("treeids", "nodeids", "ids")]
    weights = np.array(found[f"{prefix}_weights"], np.float64)
    if len({a.shape for a in (tree, node, feature, yes, no, values, modes)}) != 1 or {a.shape for a in of} != {
        weights.shape
    }:
        msg = "its lists are of different lengths"
        raise _BrokenError(msg)
    if not set(modes.tolist()) <= {b"BRANCH_LEQ", b"BRANCH_LT", b"LEAF"}:
        msg = f"its nodes are of the kinds {sorted(m.decode('utf-8', 'replace') for m in set(modes.tolist()))}"
        raise _BrokenError(msg)
    wanted, link = _target(found, of[2], classifier=classifier)
    # Below means at or below the next smaller number.
    values = np.where(modes == b"BRANCH_LT", np.nextafter(values, np.float32(-np.inf)), values)
    leaf = modes == b"LEAF"
    width = int(feature[~leaf].max(initial=0)) + 1
    if width > _MOST_FEATURES or (feature[~leaf] < 0).any():
        msg = f"a node looks at column {width - 1}, or below the first one"
        raise _BrokenError(msg)
    trees = np.unique(tree)
    parts: list[Tree] = []
    for number in trees.tolist():
        rows = np.flatnonzero(tree == number)
        place = {n: i for i, n in enumerate(node[rows].tolist())}
        if rows[0] != rows[np.argmin(node[rows])]:
            msg = f"tree {number} does not begin with its root"
            raise _BrokenError(msg)
        value = np.zeros(rows.size)
        for at in np.flatnonzero((of[0] == number) & (of[2] == wanted)).tolist():
            value[place[int(of[1][at])]] += weights[at]
        left, right = (_places(kids[rows], leaf[rows], place) for kids in (yes, no))
        parts.append(Tree(np.where(leaf[rows], -1, feature[rows]), values[rows].astype(np.float64), left, right, value))
    names = [f"x{i}" for i in range(width)] if features is None else list(features)
    scale = 1.0 / trees.size if found.get("aggregate_function") == b"AVERAGE" else 1.0
    base = float((found.get("base_values") or [0.0])[0])
    said = name or ("gammaness" if classifier else "prediction")
    return forest_of(parts, names, name=said, scale=scale, base=base, link=link)


def _places(kids: np.ndarray, leaf: np.ndarray, place: dict[int, int]) -> np.ndarray:
    return np.array([0 if end else place[kid] for kid, end in zip(kids.tolist(), leaf.tolist(), strict=True)])


def _target(found: dict[str, Any], ids: np.ndarray, *, classifier: bool) -> tuple[int, str]:
    """Return which target or class is taken, and the link."""
    links = {b"NONE": "identity", b"LOGISTIC": "logistic"}
    post = found.get("post_transform", b"NONE")
    labels = found.get("classlabels_int64s") or found.get("classlabels_strings") or []
    known = set(ids.tolist())
    if post not in links or (classifier and len(labels) != 2) or (not classifier and known != {0}):
        msg = f"it ends in {post!r} with {len(labels) or len(known)} classes or targets"
        raise _BrokenError(msg)
    if found.get("aggregate_function", b"SUM") not in (b"SUM", b"AVERAGE") or len(found.get("base_values") or []) > 1:
        msg = "its trees are neither added nor averaged, or it has several base values"
        raise _BrokenError(msg)
    return max(known), links[post]
