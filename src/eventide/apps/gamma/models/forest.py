"""A forest as flat arrays, and what it says of rows of features.

Nodes of a tree lie so that the two children of a node are neighbours: ``kid`` is the left one, and a row goes to the
right one, ``kid + 1``, where its feature is above the threshold. A leaf is its own child.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventide.errors import DataError, UsageError
from eventide.kernel.compiled import have_compiler

__all__ = ["LINKS", "Forest", "Tree", "forest_of"]

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]

LINKS = ("identity", "logistic", "exp", "exp10")
"""What is done with the sum of the trees."""

_MOST_NODES = 1 << 31
_FEW = 8
"""Fewer rows than this go down all trees at once, instead of all rows down one tree."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree as libraries have it: any order of nodes, node 0 the root.

    Parameters
    ----------
    feature
        Column that a node looks at; below zero for a leaf.
    threshold
        A row goes left where its feature is at or below this.
    left, right
        Numbers of the children; of no meaning for a leaf.
    value
        What a leaf says.

    Examples
    --------
    >>> leaf = Tree(*(np.array([v]) for v in (-1, 0, 0, 0, 4.0)))
    >>> leaf.value.tolist()
    [4.0]
    """

    feature: npt.NDArray[Any]
    threshold: npt.NDArray[Any]
    left: npt.NDArray[Any]
    right: npt.NDArray[Any]
    value: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees, and how their leaves are added up: ``link(base + scale * sum)``.

    Parameters
    ----------
    features
        Names of the columns, in the order that `feature` counts them.
    starts
        int64, one more than there are trees: where the nodes of each tree begin; the first one is its root.
    feature, threshold, kid
        Of every node; see the module.
    value
        Of every leaf.
    base, scale
        Numbers.
    link
        One of `LINKS`.
    single
        Whether features are rounded to 32-bit floats before they are compared, as scikit-learn does.
    name
        What the model says, such as ``"gammaness"``.

    Raises
    ------
    DataError
        These arrays are no forest: they would lead out of it, in a circle, or to a leaf that is not a number.

    Examples
    --------
    >>> forest = forest_of([Tree(*(np.array([v]) for v in (-1, 0, 0, 0, 4.0)))], ["width"], base=1.0)
    >>> forest.trees, forest.depths.tolist(), forest.predict([[0.5]]).tolist()
    (1, [0], [5.0])
    """

    features: tuple[str, ...]
    starts: Int64Array
    feature: Int32Array
    threshold: FloatArray
    kid: Int32Array
    value: FloatArray
    base: float = 0.0
    scale: float = 1.0
    link: str = "identity"
    single: bool = True
    name: str = "prediction"

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong:
            msg = f"the model {self.name!r} is no forest: {wrong}"
            raise DataError(msg, hint="export it again from the library that trained it")

    def _wrong(self) -> str:
        count = self.feature.size
        kinds = {"starts": "i8", "feature": "i4", "threshold": "f8", "kid": "i4", "value": "f8"}
        for name, kind in kinds.items():
            array = getattr(self, name)
            if array.dtype != np.dtype(kind) or array.ndim != 1 or (name != "starts" and array.size != count):
                return f"{name} is an array of {array.dtype} with the shape {array.shape}"
        if self.link not in LINKS or not np.isfinite([self.base, self.scale]).all():
            return f"its link is {self.link!r}, base {self.base} and scale {self.scale}"
        starts = self.starts
        if starts.size < 2 or starts[0] != 0 or starts[-1] != count or (np.diff(starts) < 1).any():
            return "its trees do not follow each other"
        node = np.arange(count)
        leaf = self.kid == node
        # Children come after their parents and within their tree, so every walk ends.
        end = np.repeat(starts[1:], np.diff(starts))
        if not (leaf | ((self.kid > node) & (self.kid.astype(np.int64) + 1 < end))).all():
            return "a node leads out of its tree"
        if (self.feature < 0).any() or (self.feature >= max(len(self.features), 1)).any():
            return f"a node looks at a column beyond the {len(self.features)} there are"
        if not np.isfinite(self.value[leaf]).all() or np.isnan(self.threshold[~leaf]).any():
            return "a leaf or a threshold is not a number"
        if not (self.threshold[leaf] == np.inf).all():
            return "a leaf has a threshold"
        return ""

    @property
    def trees(self) -> int:
        """Number of trees."""
        return self.starts.size - 1

    @property
    def depths(self) -> Int64Array:
        """Depth of each tree: how many steps its longest walk has."""
        return _depths(self)

    @property
    def digest(self) -> str:
        """Return a hash of all that decides what the forest says, in hex."""
        out = hashlib.sha256(f"{self.features}\0{self.base!r}\0{self.scale!r}\0{self.link}\0{self.single}".encode())
        for array in (self.starts, self.feature, self.threshold, self.kid, self.value):
            out.update(np.ascontiguousarray(array).tobytes())
        return out.hexdigest()

    def predict(self, rows: npt.ArrayLike, *, compiled: bool | None = None) -> FloatArray:
        """Return what the forest says of rows.

        Parameters
        ----------
        rows
            Numbers (n, features), columns in the order of `features`.
        compiled
            Whether the compiled walk is used; left out, where there is a compiler. The results have the same bits.

        Returns
        -------
        float64 array
            NaN for rows with a feature that is not finite.

        Raises
        ------
        UsageError
            The rows do not have that many columns.
        """
        given = np.asarray(rows)
        if given.ndim != 2 or given.shape[1] != len(self.features):
            msg = f"the model {self.name!r} takes {len(self.features)} features, not rows of the shape {given.shape}"
            raise UsageError(msg, hint=f"give columns {', '.join(self.features)} in this order")
        with np.errstate(over="ignore"):
            columns = np.ascontiguousarray(given.T, np.float32 if self.single else np.float64)
        good = np.isfinite(columns).all(axis=0)
        whole = bool(good.all())
        columns = columns if whole else np.ascontiguousarray(columns[:, good])
        out = np.zeros(columns.shape[1])
        if have_compiler() if compiled is None else compiled:
            self._run(columns, out)
        else:
            self._walk(columns, out)
        out *= self.scale
        out += self.base
        with np.errstate(over="ignore"):
            out = _linked(out, self.link)
        if whole:
            return out
        every = np.full(good.size, np.nan)
        every[good] = out
        return every

    def _run(self, columns: npt.NDArray[Any], out: FloatArray) -> None:
        from eventide.apps.gamma.models.forest_loops import BLOCK, walk_few_loop, walk_loop

        feature, kid, roots = self.feature.view(np.uint32), self.kid.view(np.uint32), self.starts[:-1]
        if out.size < _FEW:
            rows = np.ascontiguousarray(columns.T)
            walk_few_loop(rows, roots, int(self.depths.max()), feature, self.threshold, kid, self.value, out)
            return
        thresholds = _thresholds(self) if self.single else self.threshold
        places = feature * np.uint32(BLOCK)
        walk_loop(columns, roots.astype(np.uint32), self.depths, places, thresholds, kid, self.value, out)

    def _walk(self, columns: npt.NDArray[Any], out: FloatArray) -> None:
        row = np.arange(out.size)
        for root, depth in zip(self.starts[:-1].tolist(), self.depths.tolist(), strict=True):
            at = np.full(row.size, root)
            for _ in range(depth):
                at = self.kid[at] + (columns[self.feature[at], row] > self.threshold[at])
            out += self.value[at]


@functools.lru_cache(maxsize=64)
def _depths(forest: Forest) -> Int64Array:
    depths = np.zeros(forest.trees, np.int64)
    front, step = forest.starts[:-1], 0
    while True:
        front = front[forest.kid[front] != front]
        if not front.size:
            return depths
        step += 1
        depths[np.searchsorted(forest.starts, front, side="right") - 1] = step
        kids = forest.kid[front].astype(np.int64)
        front = np.unique(np.concatenate((kids, kids + 1)))


@functools.lru_cache(maxsize=64)
def _thresholds(forest: Forest) -> npt.NDArray[np.float32]:
    """Return the largest float32 not above each threshold: a float32 is above the one where it is above the other."""
    with np.errstate(over="ignore"):
        near = forest.threshold.astype(np.float32)
    above = near.astype(np.float64) > forest.threshold
    return np.where(above, np.nextafter(near, np.float32(-np.inf)), near)


def _linked(values: FloatArray, link: str) -> FloatArray:
    if link == "logistic":
        return 1.0 / (1.0 + np.exp(-values))
    if link == "exp":
        return np.exp(values)
    return np.power(10.0, values) if link == "exp10" else values


def forest_of(
    trees: Sequence[Tree], features: Sequence[str], *, single: bool = True, name: str = "prediction", **how: Any
) -> Forest:
    """Return a forest of trees in any order of nodes.

    Parameters
    ----------
    trees
        The trees.
    features
        Names of the columns.
    single, name, **how
        Of `Forest`: ``base``, ``scale``, ``link``.

    Raises
    ------
    DataError
        A tree leads out of itself or in a circle, or is too large.

    Examples
    --------
    >>> stump = Tree(np.array([0, -1, -1]), np.array([1.5, 0, 0]), np.array([1, 0, 0]), np.array([2, 0, 0]),
    ...              np.array([0.0, 10.0, 20.0]))
    >>> forest = forest_of([stump, stump], ["width"], scale=0.5)
    >>> forest.predict([[1.5], [1.6], [float("nan")]]).tolist(), forest.trees
    ([10.0, 20.0, nan], 2)
    """
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    starts = [0]
    for number, tree in enumerate(trees):
        parts.append(_laid_out(tree, starts[-1], where=f"tree {number} of the model {name!r}"))
        starts.append(starts[-1] + parts[-1][0].size)
    if starts[-1] >= _MOST_NODES or not parts:
        msg = f"the model {name!r} has {len(parts)} trees with {starts[-1]} nodes"
        raise DataError(msg, hint="a forest has at least one tree, and fewer than 2^31 nodes")
    feature, threshold, kid, value = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Forest(
        tuple(features),
        np.array(starts, np.int64),
        feature.astype(np.int32),
        threshold.astype(np.float64),
        kid.astype(np.int32),
        value.astype(np.float64),
        single=single,
        name=name,
        **how,
    )


def _laid_out(tree: Tree, start: int, *, where: str) -> tuple[npt.NDArray[Any], ...]:
    """Return feature, threshold, kid and value with children side by side and behind their parents."""
    count = tree.feature.size
    sizes = {getattr(tree, n).shape for n in Tree.__dataclass_fields__}
    if sizes != {(count,)} or not count:
        msg = f"{where}: its columns have the shapes {sorted(sizes)}"
        raise DataError(msg, hint="every column has one entry a node")
    left, right = (np.asarray(v, np.int64) for v in (tree.left, tree.right))
    inner = tree.feature >= 0
    seen = np.concatenate((left[inner], right[inner], [0]))
    if (seen < 0).any() or (seen >= count).any() or (np.bincount(seen, minlength=count) > 1).any():
        msg = f"{where}: a node has two parents, or leads out of the tree"
        raise DataError(msg, hint="the file is damaged; export the model again")
    # Level by level: the children of one level, pairwise, are the next one.
    order = [np.zeros(1, np.int64)]
    place = np.zeros(count, np.int64)
    total = 1
    while True:
        parents = order[-1][inner[order[-1]]]
        if not parents.size:
            break
        kids = np.stack([left[parents], right[parents]], axis=1).reshape(-1)
        place[kids] = np.arange(total, total + kids.size)
        total += kids.size
        order.append(kids)
    nodes = np.concatenate(order)
    inner = inner[nodes]
    kid = np.where(inner, place[left[nodes] * inner], np.arange(total)) + start
    feature = np.where(inner, tree.feature[nodes], 0)
    return feature, np.where(inner, tree.threshold[nodes], np.inf), kid, np.where(inner, 0.0, tree.value[nodes])
