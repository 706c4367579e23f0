"""Cameras: neighbours and borders against a naive search, definitions that are wrong, made cameras."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from gamma_images import CAMERAS, beside

from eventide.apps.gamma.cameras.camera import camera, in_telescope_frame
from eventide.apps.gamma.cameras.definitions import read_definitions
from eventide.apps.gamma.cameras.made import chec_like, fact_like, hexagonal, lst_like
from eventide.apps.gamma.cameras.neighbours import neighbours_from_lists
from eventide.errors import DataError, UsageError


@pytest.mark.parametrize("given", [*CAMERAS, fact_like(), chec_like()], ids=lambda c: c.name)
def test_neighbours_touch(given):
    """In a regular camera neighbours are the pixels one width away."""
    away = np.hypot(given.x[:, None] - given.x, given.y[:, None] - given.y)
    touching = (away < 1.2 * given.width[0]) & (away > 0)
    for pixel in range(given.pixels):
        assert beside(given, pixel) == np.flatnonzero(touching[pixel]).tolist()
        padding = [q for q in given.table[:, pixel].tolist() if q != given.pixels]
        assert padding == beside(given, pixel)


@pytest.mark.parametrize("given", CAMERAS, ids=lambda c: c.name)
def test_borders(given):
    counts = [len(beside(given, pixel)) for pixel in range(given.pixels)]
    narrow = [count < max(counts) for count in counts]
    assert given.border_1.tolist() == narrow
    assert given.border_2.tolist() == [any(narrow[q] for q in beside(given, p)) for p in range(given.pixels)]


def test_made_cameras_have_the_pixels_of_real_ones():
    assert [c.pixels for c in (lst_like(), chec_like(), fact_like())] == [1855, 2048, 1440]
    assert np.diff(lst_like().starts).max() == 6
    with pytest.raises(UsageError, match="cannot make"):
        hexagonal(0, pitch=1.0)


def test_definitions_of_the_paper(data_dir):
    found = read_definitions(data_dir / "gamma" / "prod3" / "cta_camera_definitions.json.gz")
    assert {name: c.pixels for name, c in found.items()} == {
        "LSTCam": 1855, "NectarCam": 1855, "CHEC": 2048, "FlashCam": 1764, "DigiCam": 1296,
    }  # fmt: skip
    with gzip.open(data_dir / "gamma" / "prod3" / "cta_camera_definitions.json.gz") as file:
        lists = json.load(file)["LSTCam"]["neighbours"]
    starts, pixels = neighbours_from_lists(lists)
    assert len(pixels) == 10_788
    assert np.array_equal(starts, found["LSTCam"].starts)
    assert np.array_equal(pixels, found["LSTCam"].neighbours)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no definitions"),
        ("[1, 2]", "but a list"),
        ('{"a": 3}', "lacks pixel_x_positions"),
        ('{"a": {"pixel_x_positions": [0]}}', "lacks pixel_y"),
        ("[" * 100_000, "no definitions"),
    ],
)
def test_definitions_that_are_none(tmp_path, text, reason):
    path = tmp_path / "cameras.json"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        read_definitions(path)
    with pytest.raises(DataError, match="no definitions"):
        read_definitions(tmp_path / "absent.json.gz")


@pytest.mark.parametrize(
    ("x", "y", "options", "reason"),
    [
        ([0, 1], [0], {}, "shape"),
        ([], [], {}, "shape"),
        ([[0, 1]], [[0, 1]], {}, "shape"),
        ([0, np.nan], [0, 1], {}, "infinite number"),
        ([0, "a"], [0, 1], {}, "else than numbers"),
        ([0, 0], [1, 1], {}, "where another one is"),
        ([0, 1], [0, 1], {"area": -1.0}, "without an area"),
        ([0, 1], [0, 1], {"area": [1.0, 1.0, 1.0]}, "another number"),
        ([0, 1], [0, 1], {"shape": "star"}, "shape 'star'"),
        ([0, 1], [0, 1], {"unit": "mm"}, "'mm'"),
        ([0, 1], [0, 1], {"neighbours": [[1]]}, "1 lists"),
        ([0, 1], [0, 1], {"neighbours": [[1], []]}, "not mutual"),
        ([0, 1], [0, 1], {"neighbours": [[2], []]}, "outside 0 to 1"),
        ([0, 1], [0, 1], {"neighbours": [[0], []]}, "a pixel itself"),
        ([0, 1], [0, 1], {"neighbours": [["b"], []]}, "pixel numbers"),
        (range(70), range(70), {"neighbours": [range(1, 70), *([0] for _ in range(69))]}, "more than 64"),
    ],
)
def test_cameras_that_are_none(x, y, options, reason):
    with pytest.raises(DataError, match=reason):
        camera("it", x, y, **({"area": 1.0} | options))


def test_telescope_frame_exchanges_the_axes():
    given = hexagonal(19, pitch=0.05)
    seen = in_telescope_frame(given, 28.0)
    assert np.allclose(seen.x, np.degrees(given.y / 28.0), rtol=1e-14)
    assert np.allclose(seen.y, np.degrees(given.x / 28.0), rtol=1e-14)
    assert np.allclose(seen.width, np.degrees(given.width / 28.0), rtol=1e-14)
    for again, length in ((seen, 28.0), (given, 0.0), (given, np.nan)):
        with pytest.raises(DataError, match="focal length"):
            in_telescope_frame(again, length)


def test_arrays_of_a_camera_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        lst_like().x[0] = 1.0
