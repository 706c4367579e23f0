"""Forests that scikit-learn has trained, from the fitted object; scikit-learn itself is not needed to apply them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eventide.apps.gamma.models.forest import Forest, Tree, forest_of
from eventide.errors import UsageError, near_names

__all__ = ["from_scikit"]


def from_scikit(
    model: Any, *, features: Sequence[str] | None = None, positive: Any = None, name: str = "", link: str = "identity"
) -> Forest:
    """Return a fitted forest or tree of scikit-learn as flat arrays.

    Parameters
    ----------
    model
        A fitted RandomForest, ExtraTrees or DecisionTree, classifier or regressor of one number.
    features
        Names of the columns; left out, those that it was fitted with, else ``x0``, ``x1`` ...
    positive
        For a classifier, the class whose probability is predicted; left out, the last one.
    name
        What the model says; left out, ``"gammaness"`` for a classifier and ``"prediction"`` for a regressor.
    link
        For a regressor, what is to be done with its result, such as ``"exp10"`` where it was fitted to logarithms.

    Raises
    ------
    UsageError
        It is not fitted, not such a model, or does not know the class.

    Notes
    -----
    A forest's probability is the mean of those of its trees, as in ``predict_proba``. Models are never read from
    pickles, which run whatever is in them: load yours where it was trained, and keep what `save` writes.

    Examples
    --------
    >>> from_scikit(object())
    Traceback (most recent call last):
    eventide.errors.UsageError: object is no fitted forest of scikit-learn
      hint: RandomForest, ExtraTrees and DecisionTree, classifiers and regressors, can be taken over once fitted
    """
    trees = getattr(model, "estimators_", None)
    if trees is None and hasattr(model, "tree_"):
        trees = [model]
    if trees is None or not all(hasattr(t, "tree_") for t in trees) or hasattr(model, "init_"):
        msg = f"{type(model).__name__} is no fitted forest of scikit-learn"
        raise UsageError(
            msg,
            hint="RandomForest, ExtraTrees and DecisionTree, classifiers and regressors, can be taken over once fitted",
        )
    if int(model.n_outputs_) != 1:
        msg = f"{type(model).__name__} predicts {model.n_outputs_} numbers"
        raise UsageError(msg, hint="fit one model for each")
    column = _column(model, positive)
    count = int(model.n_features_in_)
    names = features if features is not None else getattr(model, "feature_names_in_", [f"x{i}" for i in range(count)])
    if len(names) != count:
        msg = f"the model was fitted with {count} features, and {len(names)} names are given"
        raise UsageError(msg, hint="give the names of the columns in the order of the fit")
    said = name or ("gammaness" if column is not None else "prediction")
    parts = [_tree(t.tree_, column) for t in trees]
    return forest_of(parts, [str(n) for n in names], name=said, scale=1.0 / len(parts), link=link)


def _column(model: Any, positive: Any) -> int | None:
    classes = getattr(model, "classes_", None)
    if classes is None:
        return None
    known = list(np.asarray(classes).tolist())
    if positive is None:
        return len(known) - 1
    if positive not in known:
        msg = f"the classifier does not know the class {positive!r}"
        raise UsageError(msg, hint=near_names(str(positive), [str(k) for k in known]))
    return known.index(positive)


def _tree(tree: Any, column: int | None) -> Tree:
    values = np.asarray(tree.value, np.float64)[:, 0, :]
    if column is None:
        value = values[:, 0]
    else:
        # Counts of each class before scikit-learn 1.3, shares since.
        value = values[:, column] / values.sum(axis=1)
    feature = np.where(np.asarray(tree.children_left) < 0, -1, tree.feature)
    return Tree(
        feature, np.asarray(tree.threshold), np.asarray(tree.children_left), np.asarray(tree.children_right), value
    )
