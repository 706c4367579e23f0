"""Parameters against plain formulas, image by image; compiled against numpy; batches against single images."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from gamma_images import CAMERAS, GRID, HEXAGONS, batches, beside, needs_compiler, showers, without_compiler
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eventide.apps.gamma.cameras.camera import in_telescope_frame
from eventide.apps.gamma.cleaning.tailcuts import tailcuts
from eventide.apps.gamma.parameters.columns import GROUPS, column_names
from eventide.apps.gamma.parameters.measure import measure, tailcut, tailcut_lists
from eventide.errors import ConfigError, DataError

EVERY = tuple(GROUPS)
HILLAS = "camera_frame_hillas_"


def plain_hillas(made, image, mask):
    """The formulas with numpy's own covariance, eigenvalues and least squares."""
    w, x, y, area = image[mask].astype(float), made.x[mask], made.y[mask], made.area[mask]
    size = w.sum()
    cx, cy = np.average(x, weights=w), np.average(y, weights=w)
    cov = np.cov(x, y, aweights=w, ddof=0)
    values, vectors = np.linalg.eigh(cov)
    width, length = np.sqrt(np.where(np.abs(values) < 2.3e-16, 0, values))
    psi = np.pi / 2 if vectors[0, 1] == 0 else np.arctan(vectors[1, 1] / vectors[0, 1])
    along = (x - cx) * np.cos(psi) + (y - cy) * np.sin(psi)
    across = (y - cy) * np.cos(psi) - (x - cx) * np.sin(psi)
    found = {
        "intensity": size, "x": cx, "y": cy, "r": np.hypot(cx, cy), "phi": np.degrees(np.arctan2(cy, cx)),
        "length": length, "width": width, "psi": np.degrees(psi),
        "skewness": np.average(along**3, weights=w) / length**3,
        "kurtosis": np.average(along**4, weights=w) / length**4,
    }  # fmt: skip
    design, v = np.stack([along, np.ones_like(along)]), w / area
    inverse = np.linalg.inv(design * v @ design.T)
    tilt = (inverse @ (design @ (v * across)))[0]
    stretch = 1 + np.tan(width / length * np.pi / 2) ** 2
    found["psi_uncertainty"] = np.degrees(np.sqrt(inverse[0, 0] + tilt**2) * stretch)
    found["transverse_cog_uncertainty"] = np.sqrt(inverse[1, 1] * (1 + np.sin(tilt) ** 2))
    a, b, c = np.cos(psi) ** 2, np.sin(psi) ** 2, np.sin(2 * psi)
    terms = (x - cx) ** 2 - cov[0, 0], (y - cy) ** 2 - cov[1, 1], (x - cx) * (y - cy) - cov[0, 1]
    found["length_uncertainty"] = (
        np.sqrt(np.sum((a * terms[0] + b * terms[1] + c * terms[2]) ** 2 * w)) / size / 2 / length
    )
    found["width_uncertainty"] = (
        np.sqrt(np.sum((b * terms[0] + a * terms[1] - c * terms[2]) ** 2 * w)) / size / 2 / width
    )
    return found


@pytest.mark.parametrize("made", [HEXAGONS, GRID, in_telescope_frame(HEXAGONS, 28.0)], ids=["hexagons", "grid", "deg"])
def test_parameters_are_their_formulas(made):
    images, times = showers(made, 300, 3)
    masks = tailcuts(made, images, picture=8, boundary=4, min_number_picture_neighbors=1)
    found = measure(made, images, masks, peak_times=times, groups=EVERY)
    names = {group: column_names(made, group) for group in GROUPS}
    compared = 0
    for i in np.flatnonzero(masks.sum(axis=1) > 3).tolist():
        w, mask = images[i][masks[i]].astype(float), masks[i]
        with np.errstate(all="ignore"):
            wanted = plain_hillas(made, images[i], mask)
        if wanted["width"] < 1e-3 * wanted["length"] or wanted["width"] > 0.999 * wanted["length"]:
            continue  # pixels in a row, or in a circle: directions are those of rounding
        compared += 1
        for name, column in zip(GROUPS["hillas"], names["hillas"], strict=True):
            assert found[column][i] == pytest.approx(wanted[name], rel=1e-9, abs=1e-12), name
        border = [np.sum(w[b[mask]]) / w.sum() for b in (made.border_1, made.border_2)]
        assert [found[f"leakage_intensity_width_{k}"][i] for k in (1, 2)] == pytest.approx(border)
        shares = [np.mean(b[mask]) for b in (made.border_1, made.border_2)]
        assert [found[f"leakage_pixels_width_{k}"][i] for k in (1, 2)] == pytest.approx(shares)
        dx, dy = made.x[mask] - wanted["x"], made.y[mask] - wanted["y"]
        near = np.hypot(dx, dy) < made.width[mask]
        assert found["concentration_cog"][i] == pytest.approx(w[near].sum() / w.sum())
        assert found["concentration_pixel"][i] == pytest.approx(w.max() / w.sum())
        assert 0 <= found["concentration_core"][i] <= 1
        for group, values in (("intensity", w), ("peak_time", times[i][mask].astype(float))):
            d = values - values.mean()
            moments = [np.mean(d**3) / values.std() ** 3, np.mean(d**4) / values.std() ** 4 - 3]
            wanted_values = [values.max(), values.min(), values.mean(), values.std(), *moments]
            assert [found[name][i] for name in names[group]] == pytest.approx(wanted_values, rel=1e-9, abs=1e-9)
    assert compared > 100


@given(batches(light=st.sampled_from([0.0, 0.0, 5.0, 8.0])))
def test_islands_are_counted(batch):
    made, images, _ = batch
    found = measure(made, images, images > 0, groups=["morphology"])
    for i, image in enumerate(images):
        left, sizes = {p for p in range(made.pixels) if image[p] > 0}, []
        total = len(left)
        while left:
            edge, size = [left.pop()], 1
            while edge:
                more = [q for q in beside(made, edge.pop()) if q in left]
                left -= set(more)
                size += len(more)
                edge += more
            sizes.append(size)
        wanted = [
            total,
            len(sizes),
            sum(s <= 2 for s in sizes),
            sum(2 < s <= 50 for s in sizes),
            sum(s > 50 for s in sizes),
        ]
        assert [int(found[name][i]) for name in column_names(made, "morphology")] == wanted


def same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].tobytes() == two[name].tobytes() or np.array_equal(one[name], two[name], equal_nan=True), name


@needs_compiler
@given(batches(), st.data())
def test_numpy_gives_the_same_bits(batch, data):
    """Masks are any, light may be negative, infinite or none."""
    made, images, times = batch
    masks = data.draw(arrays.arrays(bool, images.shape))
    compiled = measure(made, images, masks, peak_times=times, groups=EVERY)
    with without_compiler():
        same(measure(made, images, masks, peak_times=times, groups=EVERY), compiled)


@needs_compiler
@pytest.mark.parametrize("made", CAMERAS, ids=lambda c: c.name)
def test_numpy_gives_the_same_bits_of_showers(made):
    images, times = showers(made, 600, 7)
    options = {"picture": 6, "boundary": 3, "groups": EVERY, "peak_times": times}
    compiled = tailcut(made, images, **options)
    with without_compiler():
        same(tailcut(made, images, **options), compiled)


@given(batches(), st.integers(0, 4))
def test_no_image_depends_on_the_batch(batch, cut):
    made, images, times = batch
    options = {"picture": 4, "boundary": 2, "min_number_picture_neighbors": 1, "groups": EVERY}
    whole = tailcut(made, images, peak_times=times, **options)
    parts = [
        tailcut(made, images[some], peak_times=times[some], **options) for some in (slice(cut, None), slice(0, cut))
    ]
    order = np.r_[cut : len(images), 0 : min(cut, len(images))]
    same(
        {name: np.concatenate([part[name] for part in parts]) for name in whole},
        {n: c[order] for n, c in whole.items()},
    )


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
@given(batches())
def test_one_pass_is_two_steps(compiled, batch):
    made, images, _ = batch
    groups = [name for name in GROUPS if name not in {"timing", "peak_time"}]

    def compare():
        masks = tailcuts(made, images, picture=4, boundary=2)
        same(tailcut(made, images, picture=4, boundary=2, groups=groups), measure(made, images, masks, groups=groups))

    if compiled:
        compare()
    else:
        with without_compiler():
            compare()


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
def test_images_without_parameters(compiled):
    images = np.zeros((4, 61), np.float32)
    images[1, 3], images[2, :2], images[3, :2] = 9, [1, -1], np.inf
    masks = images != 0

    def look():
        found = measure(
            HEXAGONS, images, masks, groups=["hillas", "leakage", "concentration", "morphology", "intensity"]
        )
        for name, column in found.items():
            if name.startswith("morphology"):
                assert np.isfinite(column).all()
            else:
                assert np.isnan(column).all(), name
        assert found["morphology_n_islands"].tolist() == [0, 1, 1, 1]

    if compiled:
        look()
    else:
        with without_compiler():
            look()


def test_pixels_in_a_row_have_no_width():
    row = np.flatnonzero(np.abs(HEXAGONS.y) < 1e-9)
    image = np.zeros((1, 61), np.float32)
    image[0, row] = [1, 2, 3, 4, 5, 4, 3, 2, 1]
    found = measure(HEXAGONS, image, image > 0)
    assert found[HILLAS + "width"][0] == 0
    assert np.isnan(found[HILLAS + "width_uncertainty"][0])
    assert found[HILLAS + "psi"][0] == pytest.approx(0, abs=1e-9)
    assert found["concentration_core"][0] == 0


def test_groups_are_chosen_and_ordered():
    images = np.ones((1, 61), np.float32)
    found = measure(HEXAGONS, images, images > 0, groups=["morphology", "leakage"])
    assert list(found) == [*column_names(HEXAGONS, "leakage"), *column_names(HEXAGONS, "morphology")]
    seen = in_telescope_frame(HEXAGONS, 28.0)
    assert column_names(seen, "hillas")[3:5] == ("hillas_fov_lon", "hillas_fov_lat")
    assert column_names(seen, "timing")[0] == "timing_slope"
    with pytest.raises(ConfigError, match="did you mean 'timing'"):
        measure(HEXAGONS, images, images > 0, groups=["timings"])
    with pytest.raises(DataError, match="one mask for each image"):
        measure(HEXAGONS, images, images[:, :5] > 0)
    with pytest.raises(DataError, match="peak times"):
        measure(HEXAGONS, images, images > 0, groups=["timing"])


@given(batches(), st.integers(0, 3))
def test_images_that_lie_anywhere_are_measured_there(given_batch, gap):
    """Between, before and behind other values, in any order, twice; with numpy the same."""
    made, images, _ = given_batch
    wide = np.full((len(images), gap + made.pixels), 77.0, np.float32)
    wide[:, gap:] = images
    order = np.r_[np.arange(len(images))[::-1], np.arange(len(images))]
    begins = order * wide.shape[1] + gap
    found = tailcut_lists(made, wide.reshape(-1), begins, picture=5.0, boundary=3.0)
    with without_compiler():
        plain = tailcut_lists(made, wide.reshape(-1), begins, picture=5.0, boundary=3.0)
    wanted = tailcut(made, images[order], picture=5.0, boundary=3.0)
    places = np.arange(len(order))[::-1] * 2 + 1
    for compiled in (True, False):
        table = np.full((len(wanted), 2 * len(order) + 1), -7.0)
        with contextlib.nullcontext() if compiled else without_compiler():
            tailcut_lists(made, wide.reshape(-1), begins, picture=5.0, boundary=3.0, into=(table, places))
        assert np.array_equal(table[:, places], np.array(list(wanted.values())), equal_nan=True)
        assert (table[:, ::2] == -7.0).all()
    for name, column in wanted.items():
        assert np.array_equal(found[name], column, equal_nan=True), name
        assert np.array_equal(plain[name], column, equal_nan=True), name


@pytest.mark.parametrize("begins", [[-1], [1], [0, 61]])
def test_images_beyond_the_values(begins):
    with pytest.raises(DataError, match="do not lie within"):
        tailcut_lists(HEXAGONS, np.zeros(61, np.float32), np.array(begins))
    with pytest.raises(ConfigError, match="peak times"):
        tailcut_lists(HEXAGONS, np.zeros(61, np.float32), np.array([0]), groups=["timing"])


@pytest.mark.parametrize(("shape", "places"), [((26, 3), [3]), ((26, 3), [-1]), ((26, 3), [0, 1]), ((25, 3), [0])])
def test_places_beyond_the_columns(shape, places):
    with pytest.raises(DataError, match="do not go into"):
        tailcut_lists(HEXAGONS, np.zeros(61, np.float32), np.array([0]), into=(np.zeros(shape), np.array(places)))
