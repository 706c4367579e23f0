"""Forests that LightGBM has trained, from its text form (``Booster.save_model``), which has nothing in it to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eventide.apps.gamma.models.forest import Forest, Tree, forest_of
from eventide.errors import DataError

__all__ = ["from_lightgbm"]

_CATEGORICAL = 1
_ZERO_IS_MISSING = 1 << 2
_LINKS = {"regression": "identity", "regression_l1": "identity", "huber": "identity", "poisson": "exp"}


def from_lightgbm(source: str | Path, *, name: str = "") -> Forest:
    """Return the forest of a model file of LightGBM (versions 3 and 4).

    Parameters
    ----------
    source
        Path of the file, or its text.
    name
        What the model says; left out, ``"gammaness"`` for a binary classifier and ``"prediction"`` otherwise.

    Raises
    ------
    DataError
        The text is no such model, is damaged, or uses what is not taken over: several classes, categories, linear
        leaves, zero for missing.

    Examples
    --------
    >>> text = '''tree
    ... num_class=1
    ... num_tree_per_iteration=1
    ... objective=regression
    ... feature_names=width length
    ...
    ... Tree=0
    ... num_leaves=2
    ... num_cat=0
    ... split_feature=1
    ... threshold=0.25
    ... decision_type=2
    ... left_child=-1
    ... right_child=-2
    ... leaf_value=1.5 2.5
    ...
    ... end of trees
    ... '''
    >>> from_lightgbm(text).predict([[9.0, 0.25], [9.0, 0.26]]).tolist()
    [1.5, 2.5]
    """
    text, where = _text(source)
    head, *blocks = text.split("end of trees", 1)[0].split("\nTree=")
    about = _pairs(head)
    if not head.startswith("tree") or not blocks or "feature_names" not in about:
        msg = f"{where}: this is no model of LightGBM"
        raise DataError(msg, hint="write it with booster.save_model('model.txt')")
    if about.get("num_class", "1") != "1" or about.get("num_tree_per_iteration", "1") != "1":
        msg = f"{where}: the model has {about.get('num_class')} classes"
        raise DataError(msg, hint="train a binary classifier or a regressor")
    kind, *rest = about.get("objective", "regression").split(" ")
    link, factor = _link(kind, rest, where)
    features = about["feature_names"].split(" ")
    trees = [_tree(_pairs(block.partition("\n")[2]), f"{where}, tree {n}") for n, block in enumerate(blocks)]
    mean = any(line.strip() == "average_output" for line in head.splitlines())
    scale = factor / (len(trees) if mean else 1)
    said = name or ("gammaness" if link == "logistic" else "prediction")
    return forest_of(trees, features, single=False, name=said, scale=scale, link=link)


def _text(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and "\n" in source:
        return source, "this text"
    try:
        return Path(source).read_text(encoding="utf-8", errors="replace"), f"{source}"
    except OSError as error:
        msg = f"{source}: the model cannot be read ({error.strerror})"
        raise DataError(msg, hint="give the path of a file written with booster.save_model") from None


def _pairs(block: str) -> dict[str, str]:
    return {key: value for key, mark, value in (line.partition("=") for line in block.splitlines()) if mark}


def _link(kind: str, rest: list[str], where: str) -> tuple[str, float]:
    if kind == "binary":
        sigmoid = next((r.partition(":")[2] for r in rest if r.startswith("sigmoid:")), "1")
        try:
            return "logistic", float(sigmoid)
        except ValueError:
            pass
    elif kind in _LINKS and "sqrt" not in rest:
        return _LINKS[kind], 1.0
    msg = f"{where}: the objective {' '.join([kind, *rest])!r} is not taken over"
    raise DataError(msg, hint=f"binary, {', '.join(_LINKS)} are")


def _tree(block: dict[str, str], where: str) -> Tree:
    value = _numbers(block, "leaf_value", where)
    if block.get("is_linear", "0") != "0":
        msg = f"{where} has linear leaves"
        raise DataError(msg, hint="train with linear_tree=false")
    if value.size == 1:
        return Tree(np.array([-1]), np.zeros(1), np.zeros(1), np.zeros(1), value)
    feature, threshold, kind, left, right = (
        _numbers(block, n, where) for n in ("split_feature", "threshold", "decision_type", "left_child", "right_child")
    )
    splits = value.size - 1
    if any(a.size != splits for a in (feature, threshold, kind, left, right)):
        msg = f"{where} has {value.size} leaves, and not {splits} splits"
        raise DataError(msg, hint="the file is damaged; save the model again")
    flags = kind.astype(np.int64)
    if (flags & _CATEGORICAL).any() or ((flags >> 2 & 3) == _ZERO_IS_MISSING >> 2).any():
        msg = f"{where} splits by categories, or takes zero for missing"
        raise DataError(msg, hint="train on numbers, with zero_as_missing=false")
    # A child below zero is the complement of a leaf's number; leaves come behind the splits here.
    kids = [np.where(k < 0, splits - 1 - k, k).astype(np.int64) for k in (left, right)]
    leaf = np.full(value.size, -1.0)
    none = np.zeros(value.size, np.int64)
    return Tree(
        np.concatenate((feature, leaf)).astype(np.int64),
        np.concatenate((threshold, none)),
        np.concatenate((kids[0], none)),
        np.concatenate((kids[1], none)),
        np.concatenate((np.zeros(splits), value)),
    )


def _numbers(block: dict[str, str], key: str, where: str) -> np.ndarray:
    try:
        out = np.array([float(v) for v in block.get(key, "").split()])
    except ValueError:
        out = np.empty(0)
    if not out.size or (key != "threshold" and not (np.isfinite(out).all() and np.abs(out).max() < 1e300)):
        msg = f"{where} has no {key} that can be read"
        raise DataError(msg, hint="the file is damaged; save the model again")
    return out
