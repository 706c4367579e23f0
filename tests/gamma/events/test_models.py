"""Forests against plain walks and against the libraries that trained them; files that are damaged; changes in time."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.gamma.models.average import average
from eventide.apps.gamma.models.files import load, save
from eventide.apps.gamma.models.forest import Forest, Tree, forest_of
from eventide.apps.gamma.models.lightgbm import from_lightgbm
from eventide.apps.gamma.models.onnx import from_onnx
from eventide.apps.gamma.models.schedule import Schedule, score
from eventide.apps.gamma.models.scikit import from_scikit
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import DataError, EventideError, PipelineError, SchemaError, UsageError
from eventide.kernel.compiled import have_compiler
from eventide.model.time import EVENT_TIME, instant

FEATURES = ["width", "length", "size"]


def grown(random, *, depth, features=3):
    """Return a random tree with its nodes in a random order, the root first."""
    feature, threshold, left, right, value = [], [], [], [], []

    def grow(level):
        number = len(feature)
        for column, fill in zip(
            (feature, threshold, left, right, value), (-1, 0.0, 0, 0, random.normal()), strict=True
        ):
            column.append(fill)
        if level < depth and random.random() < 0.8:
            feature[number], threshold[number] = int(random.integers(features)), float(np.float32(random.normal()))
            left[number], right[number] = grow(level + 1), grow(level + 1)
        return number

    grow(0)
    mix = np.concatenate(([0], 1 + random.permutation(len(feature) - 1))).astype(np.int64)
    place = np.argsort(mix)
    arrays = [np.array(a)[mix] for a in (feature, threshold, left, right, value)]
    arrays[2], arrays[3] = place[arrays[2]], place[arrays[3]]
    return Tree(*arrays)


def walked(tree, row):
    at = 0
    while tree.feature[at] >= 0:
        at = tree.left[at] if row[tree.feature[at]] <= tree.threshold[at] else tree.right[at]
    return float(tree.value[at])


@given(
    value=st.floats(width=32, allow_nan=False, allow_infinity=False),
    near=st.sampled_from([0.0, 1e-300, 1e-10, 0.3, 0.5, 0.7, 1.0]),
    far=st.floats(allow_nan=False),
)
def test_thresholds_between_two_singles(value, near, far):
    """Rows are in single precision, thresholds need not be."""
    step = float(np.nextafter(np.float32(value), np.float32(np.inf))) - float(np.float32(value))
    for threshold in (value + near * step, value - near * step, far):
        if not np.isfinite(threshold):
            continue
        tree = Tree(*(np.array(v) for v in ([0, -1, -1], [threshold, 0.0, 0.0], [1, 0, 0], [2, 0, 0], [0.0, 1.0, 2.0])))
        rows = np.full((40, 1), value, np.float32)
        wanted = 1.0 if value <= threshold else 2.0
        assert forest_of([tree], ["a"]).predict(rows, compiled=have_compiler()).tolist() == [wanted] * 40


@pytest.mark.parametrize("seed", range(5))
def test_says_what_plain_walks_say(seed):
    random = np.random.default_rng(seed)
    trees = [grown(random, depth=int(random.integers(0, 9))) for _ in range(17)]
    rows = random.normal(size=(300, 3)).astype(np.float32)
    rows[::7, 1] = [t.threshold[0] for t in trees][seed]
    forest = forest_of(trees, FEATURES, scale=0.25, base=1.0)
    wanted = [1.0 + 0.25 * sum(walked(t, r) for t in trees) for r in rows]
    found = forest.predict(rows, compiled=False)
    assert found == pytest.approx(wanted, abs=1e-12)
    assert np.array_equal(forest.predict(rows, compiled=have_compiler()), found)
    assert np.array_equal(np.concatenate([forest.predict(r[None]) for r in rows]), found)
    assert np.array_equal(np.concatenate([forest.predict(r) for r in np.split(rows, 30)]), found)
    assert np.array_equal(np.concatenate([forest.predict(r) for r in np.split(rows, [19, 150])]), found)


def test_rows_that_are_no_numbers_get_none():
    forest = forest_of([grown(np.random.default_rng(1), depth=4)], FEATURES)
    rows = np.ones((4, 3))
    rows[1, 0], rows[2, 1], rows[3, 2] = np.nan, np.inf, 1e300
    assert np.isnan(forest.predict(rows)).tolist() == [False, True, True, True]
    assert forest.predict(np.empty((0, 3))).size == 0
    for bad in (np.ones(3), np.ones((2, 4))):
        with pytest.raises(UsageError):
            forest.predict(bad)


def test_trees_that_lead_nowhere_are_refused():
    def tree(**columns):
        plain = {
            "feature": [0, -1, -1],
            "threshold": [0.0] * 3,
            "left": [1, 0, 0],
            "right": [2, 0, 0],
            "value": [0.0] * 3,
        }
        return Tree(*(np.array(v) for v in (plain | columns).values()))

    for bad in [
        {"left": [0, 0, 0]},
        {"left": [5, 0, 0]},
        {"right": [-1, 0, 0]},
        {"right": [1, 0, 0]},
        {"feature": [7, -1, -1]},
    ]:
        with pytest.raises(DataError):
            forest_of([tree(**bad)], FEATURES)
    with pytest.raises(DataError):
        forest_of([tree(value=[0.0, np.nan, 0.0])], FEATURES)
    with pytest.raises(DataError):
        forest_of([], FEATURES)


@pytest.fixture
def forest():
    random = np.random.default_rng(3)
    return forest_of([grown(random, depth=5) for _ in range(4)], FEATURES, name="gammaness", link="logistic")


def test_files_come_back(forest, tmp_path):
    save(forest, tmp_path / "m.npz")
    back = load(tmp_path / "m.npz")
    assert (back.digest, back.features, back.name, back.link) == (
        forest.digest,
        forest.features,
        "gammaness",
        "logistic",
    )


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=30))
@settings(max_examples=80)
def test_damaged_files_end_in_an_error(tmp_path_factory, at, noise):
    path = tmp_path_factory.mktemp("models") / "m.npz"
    random = np.random.default_rng(3)
    made = forest_of([grown(random, depth=5) for _ in range(4)], FEATURES)
    save(made, path)
    data = path.read_bytes()
    path.write_bytes(data[:at] + noise + data[at + len(noise) :])
    try:
        back = load(path)
    except DataError as error:
        assert error.hint
    else:
        assert back.predict(np.ones((1, 3))).shape == (1,)


def test_arrays_that_lie_are_refused(forest, tmp_path):
    for name, change in [
        ("kid", np.zeros_like),
        ("kid", lambda a: a + 10_000),
        ("feature", lambda a: a + 7),
        ("feature", lambda a: a - 7),
        ("starts", lambda a: a[::-1].copy()),
        ("value", lambda a: a * np.nan),
        ("value", lambda a: a.astype(np.float32)),
        ("threshold", lambda a: a[1:]),
    ]:
        arrays = {n: getattr(forest, n) for n in Forest.__dataclass_fields__}
        with pytest.raises(DataError):
            Forest(**(arrays | {name: change(arrays[name])}))


def test_pickles_are_never_read(tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    trap = pickle.dumps(Trap())
    (tmp_path / "m.pkl").write_bytes(trap)
    np.savez(tmp_path / "m.npz", about=np.array([{1: 2}], object))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("about.npy", trap)
    (tmp_path / "z.npz").write_bytes(out.getvalue())
    for name in ("m.pkl", "m.npz", "z.npz", "none.npz"):
        with pytest.raises(DataError):
            load(tmp_path / name)


# -- libraries


@pytest.fixture(scope="module")
def fitted():
    ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    rows = random.normal(size=(3000, 4))
    label = np.where(rows[:, 0] + rows[:, 1] * rows[:, 2] > 0, "gamma", "proton")
    energy = rows[:, 3] + np.abs(rows[:, 0])
    classifier = ensemble.RandomForestClassifier(20, max_depth=13, random_state=1).fit(rows, label)
    regressor = ensemble.ExtraTreesRegressor(20, max_depth=13, random_state=1).fit(rows, energy)
    return classifier, regressor, random.normal(size=(2000, 4)).astype(np.float32)


def test_equals_scikit_learn(fitted):
    classifier, regressor, rows = fitted
    forest = from_scikit(classifier, positive="gamma")
    assert np.abs(forest.predict(rows) - classifier.predict_proba(rows)[:, 0]).max() <= 1e-12
    assert np.abs(from_scikit(regressor).predict(rows) - regressor.predict(rows)).max() <= 1e-12
    assert (forest.name, forest.features) == ("gammaness", ("x0", "x1", "x2", "x3"))
    with pytest.raises(UsageError, match="muon"):
        from_scikit(classifier, positive="muon")


def test_equals_scikit_learn_by_way_of_onnx(fitted):
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    classifier, regressor, rows = fitted
    for model, wanted in [(classifier, classifier.predict_proba(rows)[:, 1]), (regressor, regressor.predict(rows))]:
        data = skl2onnx.to_onnx(model, rows[:1]).SerializeToString()
        assert np.abs(from_onnx(data).predict(rows) - wanted).max() <= 1e-6


@pytest.mark.parametrize("objective", ["binary", "regression", "poisson", "rf"])
def test_equals_lightgbm(objective):
    lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    random = np.random.default_rng(0)
    rows = random.normal(size=(3000, 4))
    goal = rows[:, 0] + rows[:, 1] * rows[:, 2]
    goal = (goal > 0).astype(float) if objective == "binary" else np.abs(goal)
    options = {"objective": objective, "verbose": -1, "num_leaves": 31, "num_threads": 1}
    if objective == "rf":
        options |= {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
    booster = lightgbm.train(options, lightgbm.Dataset(rows, goal), 40)
    found = from_lightgbm(booster.model_to_string()).predict(rows)
    assert np.abs(found - booster.predict(rows)).max() <= 1e-12


STUMP = """tree
num_class=1
num_tree_per_iteration=1
objective=binary sigmoid:2
feature_names=width length size

Tree=0
num_leaves=3
num_cat=0
split_feature=1 0
threshold=0.25 1e300
decision_type=2 2
left_child=1 -1
right_child=-2 -3
leaf_value=1 2 3

Tree=1
num_leaves=1
num_cat=0
leaf_value=0.5

end of trees

feature_importances:
"""


def test_lightgbm_text():
    forest = from_lightgbm(STUMP)
    assert forest.predict([[0, 0.25, 0], [0, 0.26, 0]]).tolist() == [1 / (1 + np.exp(-3.0)), 1 / (1 + np.exp(-5.0))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tree\nnum", "forest\nnum"),
        ("num_class=1", "num_class=3"),
        ("objective=binary", "objective=lambdarank"),
        ("sigmoid:2", "sigmoid:x"),
        ("leaf_value=1 2 3", "leaf_value=1 2 nan"),
        ("leaf_value=1 2 3", "leaf_value=1 2"),
        ("leaf_value=1 2 3", ""),
        ("left_child=1 -1", "left_child=0 -1"),
        ("left_child=1 -1", "left_child=1 -9"),
        ("split_feature=1 0", "split_feature=1 77"),
        ("split_feature=1 0", "split_feature=1e18 0"),
        ("decision_type=2 2", "decision_type=1 2"),
        ("decision_type=2 2", "decision_type=6 2"),
        ("num_cat=0", "num_cat=0\nis_linear=1"),
    ],
)
def test_lightgbm_texts_that_cannot_be_taken_over(old, new):
    with pytest.raises(DataError):
        from_lightgbm(STUMP.replace(old, new, 1))


def varint(value):
    value %= 1 << 64
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(name, values):
    out = field(1, name.encode())
    for v in values if isinstance(values, list) else [values]:
        if isinstance(v, bytes):
            out += field(9 if isinstance(values, list) else 4, v)
        elif isinstance(v, float):
            out += varint(7 << 3 | 5) + struct.pack("<f", v)
        else:
            out += varint(8 << 3) + varint(v)
    return field(5, out)


def onnx(**changes):
    """Return a regressor of two stumps: x1 <= 0.5 gives 1, else 2; x0 < 3 gives 10, else 20."""
    plain = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2, 0, 1, 2],
        "nodes_featureids": [1, 0, 0, 0, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0, 3.0, 0.0, 0.0],
        "nodes_modes": [b"BRANCH_LEQ", b"LEAF", b"LEAF", b"BRANCH_LT", b"LEAF", b"LEAF"],
        "nodes_truenodeids": [1, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
        "target_treeids": [0, 0, 1, 1],
        "target_nodeids": [1, 2, 1, 2],
        "target_ids": [0, 0, 0, 0],
        "target_weights": [1.0, 2.0, 10.0, 20.0],
    }
    node = field(4, b"TreeEnsembleRegressor") + b"".join(attribute(n, v) for n, v in (plain | changes).items())
    return varint(1 << 3) + varint(8) + field(7, field(1, node))


def test_onnx_bytes():
    forest = from_onnx(onnx(aggregate_function=b"AVERAGE", base_values=[100.0]))
    assert forest.predict([[2.9, 0.5], [3.0, 0.6]]).tolist() == [105.5, 111.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes_featureids": [2**40, 0, 0, 0, 0, 0]},
        {"nodes_featureids": [-1, 0, 0, 0, 0, 0]},
        {"nodes_truenodeids": [0, 0, 0, 1, 0, 0]},
        {"nodes_truenodeids": [9, 0, 0, 1, 0, 0]},
        {"nodes_modes": [b"BRANCH_EQ", b"LEAF", b"LEAF", b"BRANCH_LT", b"LEAF", b"LEAF"]},
        {"nodes_values": [0.5]},
        {"target_nodeids": [1, 2, 1, 7]},
        {"target_ids": [0, 1, 0, 0]},
        {"target_weights": [float("nan"), 2.0, 10.0, 20.0]},
        {"aggregate_function": b"MAX"},
        {"post_transform": b"SOFTMAX"},
    ],
)
def test_onnx_that_cannot_be_taken_over(changes):
    with pytest.raises(DataError):
        from_onnx(onnx(**changes))


@given(st.integers(0, 600), st.binary(min_size=1, max_size=20), st.integers(0, 600))
@settings(max_examples=150)
def test_damaged_onnx_ends_in_an_error(at, noise, cut):
    data = onnx()
    for bad in (data[:at] + noise + data[at + len(noise) :], data[:cut], noise):
        try:
            from_onnx(bad)
        except DataError as error:
            assert error.hint


# -- events


@given(
    st.lists(st.lists(st.tuples(st.floats(0.1, 10) | st.just(np.nan), st.floats(0, 5)), max_size=4), max_size=5),
    st.booleans(),
)
def test_averages_are_those_of_each_event(events, log):
    values, weights = (np.array([t[i] for e in events for t in e], np.float64) for i in (0, 1))
    found = average(
        values, weights, np.concatenate(([0], np.cumsum([len(e) for e in events]))).astype(np.int64), log=log
    )
    for number, event in enumerate(events):
        kept = [(v, w) for v, w in event if w > 0 and v == v]
        assert found.n_tels[number] == len(kept)
        if not kept:
            assert np.isnan(found.mean[number])
            continue
        said = [np.log(v) if log else v for v, _ in kept]
        mean = np.average(said, weights=[w for _, w in kept])
        assert found.mean[number] == pytest.approx(np.exp(mean) if log else mean)
        assert found.std[number] == pytest.approx(
            np.sqrt(np.average((said - mean) ** 2, weights=[w for _, w in kept])), abs=1e-6
        )


def models(*times):
    random = np.random.default_rng(8)
    return {t: forest_of([grown(random, depth=6) for _ in range(3)], FEATURES, name="gammaness") for t in times}


@pytest.mark.parametrize("options", [{"batch_rows": 7}, {"batch_rows": 64, "lanes": 2}, {}])
def test_models_change_at_a_time_of_events_and_not_between_batches(options):
    change = instant("2026-02-01")
    found = models(0, change)
    random = np.random.default_rng(5)
    times = change + random.integers(-1000, 1000, 500)
    times[:3] = change - 1, change, change + 1
    columns = [pa.array(times).cast(EVENT_TIME), *(pa.array(random.normal(size=500)) for _ in FEATURES)]
    table = pa.table(columns, names=["time", *FEATURES])
    scored = score(ev.read(MemorySource(table, partitions=3)).event_time("time", lateness="1s"), Schedule(found))
    sink = MemorySink()
    ev.run(scored.write(sink), **options)
    rows = pl.DataFrame(sink.table())
    assert rows.height == 500
    for first, forest in found.items():
        mine = rows.filter((pl.col("time").dt.epoch("ns") >= change) == (first == change))
        assert mine["gammaness_model"].unique().to_list() == [forest.digest[:16]]
        assert mine["gammaness"].to_list() == forest.predict(mine.select(FEATURES).to_numpy()).tolist()


def test_telescopes_of_one_event_are_judged_by_one_model():
    change = instant("2026-02-01")
    rows = {
        "time": [change - 1, change + 1],
        "event_time": [change - 1, change - 1],
        **{f: [0.1, None] for f in FEATURES},
    }
    table = pa.table(
        {n: pa.array(v).cast(EVENT_TIME) if "time" in n else pa.array(v, pa.float64()) for n, v in rows.items()}
    )
    found = ev.fetch(score(ev.from_table(table).event_time("time"), Schedule(models(0, change)), by="event_time"))
    assert len(set(found["gammaness_model"].to_pylist())) == 1
    assert [v is None for v in found["gammaness"].to_pylist()] == [False, True]


def test_before_the_first_model_nothing_is_said():
    table = pa.table({"time": pa.array([5]).cast(EVENT_TIME), **{f: [0.1] for f in FEATURES}})
    found = ev.fetch(score(ev.from_table(table).event_time("time"), Schedule(models(10))))
    assert found.select(["gammaness", "gammaness_model"]).to_pylist() == [{"gammaness": None, "gammaness_model": None}]


def test_schedules_and_columns_that_do_not_fit_are_refused():
    one = models(0)[0]
    with pytest.raises(UsageError):
        Schedule({})
    with pytest.raises(UsageError):
        Schedule({0: one, 1: forest_of([grown(np.random.default_rng(1), depth=2)], FEATURES, name="energy")})
    plain = ev.from_table({"time": ["2026-01-01"], "width": [1.0], "length": [1.0]})
    with pytest.raises(PipelineError):
        score(plain, Schedule(one))
    with pytest.raises(UsageError):
        score(plain.event_time("time"), Schedule(one), features=["width"])
    with pytest.raises(SchemaError, match="size"):
        ev.fetch(score(plain.event_time("time"), Schedule(one)))
    for bad in (
        lambda: from_scikit(5),
        lambda: load("nowhere.npz"),
        lambda: from_lightgbm("nowhere.txt"),
        lambda: from_onnx("nowhere"),
    ):
        with pytest.raises(EventideError):
            bad()
