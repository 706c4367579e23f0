"""Train forests for gammaness and energy on tables of parameters, with scikit-learn, and say how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.apps.gamma.models.average import average
from eventide.apps.gamma.models.forest import Forest
from eventide.apps.gamma.models.scikit import from_scikit
from eventide.apps.gamma.numbers import numbers_of
from eventide.errors import DataError, MissingDependencyError, UsageError, near_names

__all__ = ["FEATURES", "Trained", "area_under_curve", "train"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FEATURES: Final = (
    "hillas_intensity",
    "hillas_length",
    "hillas_width",
    "hillas_skewness",
    "hillas_kurtosis",
    "hillas_r",
    "leakage_intensity_width_2",
    "concentration_cog",
    "concentration_core",
    "morphology_n_pixels",
    "morphology_n_islands",
    "n_tels",
)
"""What forests look at, of the columns of the topic ``parameters``."""

_TESTED: Final = 3  # one array event of so many is kept back
_LEAST: Final = 20


class Trained(NamedTuple):
    """Forests, and figures of them on array events that they have not seen; no energy where there was no truth."""

    gammaness: Forest
    energy: Forest | None
    figures: dict[str, Any]


def train(
    gammas: pa.Table,
    background: pa.Table,
    *,
    features: Sequence[str] = FEATURES,
    trees: int = 50,
    depth: int = 13,
    seed: int = 1,
) -> Trained:
    """Train forests on images of gamma rays and of what is none.

    Two of three array events are trained on, whole events, and the third is tested on: what the images of an event say
    is averaged, weighted by intensity, as the pipeline does it.

    Parameters
    ----------
    gammas
        Parameters of images, with ``event_id``, ``tel_id``, ``hillas_intensity`` and the features; energies are trained
        where there is a column ``true_energy``, TeV.
    background
        The same of hadrons, or of real images away from any source.
    features
        Columns of both. Images in which one is null or not finite are passed over.
    trees, depth
        Of each forest.
    seed
        The same for the same forests.

    Returns
    -------
    Trained
        Figures: ``images`` and ``events`` trained on, ``auc`` of events and ``auc_image`` of images,
        ``energy_resolution`` (68 % of the events are within this share of the true energy) and ``energy_bias`` (median
        of what is too much), ``deviation`` from scikit-learn.

    Raises
    ------
    MissingDependencyError
        scikit-learn is not installed.
    UsageError
        A column is missing.
    DataError
        There are too few images.
    """
    try:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    except ImportError:
        msg = "forests are trained with scikit-learn, which is not installed"
        raise MissingDependencyError(msg, hint="pip install 'eventide[gamma-train]'") from None
    if not features or isinstance(trees, bool) or trees < 1 or depth < 1:
        msg = f"train() cannot make {trees} trees of depth {depth} with {len(features)} features"
        raise UsageError(msg, hint="at least one of each")
    sides = [
        _Side(*_used(table, features, what=what)) for table, what in ((gammas, "gammas"), (background, "background"))
    ]
    rows = np.concatenate([s.rows for s in sides])
    event = np.concatenate([sides[0].event, sides[1].event + sides[0].event.max(initial=-1) + 1])
    weight = np.concatenate([s.weight for s in sides])
    is_gamma = np.repeat([True, False], [s.event.size for s in sides])
    tested = event % _TESTED == 0
    for name, mask in (("gammas", is_gamma), ("background", ~is_gamma)):
        if min((mask & tested).sum(), (mask & ~tested).sum()) < _LEAST:
            msg = f"there are {mask.sum()} images of {name} to train on"
            raise DataError(msg, hint=f"give at least {_TESTED * _LEAST} with all features, of several array events")
    how: dict[str, Any] = {"n_estimators": trees, "max_depth": depth, "random_state": seed, "n_jobs": 1}
    classifier = RandomForestClassifier(**how).fit(rows[~tested], is_gamma[~tested])
    forest = from_scikit(classifier, features=features, positive=True, name="gammaness")
    said = forest.predict(rows[tested])
    by_event, first = _averaged(said, weight[tested], event[tested], log=False)
    figures: dict[str, Any] = {
        "images": int((~tested).sum()),
        "events": int(np.unique(event[~tested]).size),
        "auc_image": area_under_curve(said, is_gamma[tested]),
        "auc": area_under_curve(by_event, is_gamma[tested][first]),
        "deviation": float(np.abs(said - classifier.predict_proba(rows[tested])[:, 1]).max()),
    }
    true = sides[0].energy
    energy = None
    if true is not None:
        known = np.isfinite(true) & (true > 0)
        learn, test = known & ~tested[: true.size], known & tested[: true.size]
        if min(learn.sum(), test.sum()) < _LEAST:
            msg = f"there are {known.sum()} images of gammas with a true energy"
            raise DataError(msg, hint="leave the column true_energy out, or give more")
        mine = rows[: true.size]
        regressor = RandomForestRegressor(**how, min_samples_leaf=3).fit(mine[learn], np.log10(true[learn]))
        energy = from_scikit(regressor, features=features, name="energy", link="exp10")
        guess, at = _averaged(energy.predict(mine[test]), weight[: true.size][test], event[: true.size][test], log=True)
        off = guess / true[test][at] - 1.0
        figures["energy_resolution"] = float(np.quantile(np.abs(off), 0.68))
        figures["energy_bias"] = float(np.median(off))
    return Trained(forest, energy, figures)


class _Side(NamedTuple):
    rows: FloatArray
    event: npt.NDArray[np.int64]
    weight: FloatArray
    energy: FloatArray | None


def _used(table: pa.Table, features: Sequence[str], *, what: str) -> tuple[Any, ...]:
    for name in ("event_id", "hillas_intensity", *features):
        if name not in table.column_names:
            msg = f"the table of {what} has no column {name!r}"
            raise UsageError(msg, hint=near_names(name, table.column_names))
    rows = np.stack([numbers_of(table[n]) for n in features], axis=1)
    whole = np.isfinite(rows).all(axis=1)
    weight = numbers_of(table["hillas_intensity"])
    whole &= np.isfinite(weight) & (weight > 0)
    _, event = np.unique(table["event_id"].to_numpy()[whole], return_inverse=True)
    energy = numbers_of(table["true_energy"])[whole] if "true_energy" in table.column_names else None
    return rows[whole], event.astype(np.int64), weight[whole], energy


def _averaged(
    values: FloatArray, weight: FloatArray, event: npt.NDArray[np.int64], *, log: bool
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return the mean of every event, and the first row of each."""
    order = np.argsort(event, kind="stable")
    _, begins = np.unique(event[order], return_index=True)
    offsets = np.append(begins, event.size)
    return average(values[order], weight[order], offsets, log=log).mean, order[begins]


def area_under_curve(said: FloatArray, true: BoolArray) -> float:
    """Return how often one that is true is said to be more so than one that is not; of equals, half.

    Examples
    --------
    >>> area_under_curve(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    values, number, counts = np.unique(said, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    rank = (ends - (counts - 1) / 2.0)[number] if values.size else np.empty(0)
    yes, no = int(true.sum()), int((~true).sum())
    if not yes or not no:
        return float("nan")
    return float((rank[true].sum() - yes * (yes + 1) / 2.0) / (yes * no))
