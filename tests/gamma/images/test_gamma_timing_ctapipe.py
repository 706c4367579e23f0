"""The sum that a line of peak times minimises is not larger than that of ctapipe's line, on 99 % of images at least.

Neither is always the least: both follow lines from a few starts. ctapipe's starts are random, so that a part of the
images on which it finds less changes from call to call.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from eventide.apps.gamma.cameras.camera import Camera, camera
from eventide.apps.gamma.cleaning.tailcuts import tailcuts
from eventide.apps.gamma.gather import gathered
from eventide.apps.gamma.parameters.chosen import chosen
from eventide.apps.gamma.parameters.hillas import hillas
from eventide.apps.gamma.parameters.timing import fit_lines
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.site import camera_of, made

fitting = pytest.importorskip("ctapipe.fitting", reason="ctapipe is not installed: it has an environment of its own")

pytestmark = pytest.mark.slow


def points(seen: Camera, images: np.ndarray, times: np.ndarray, *, picture: float, boundary: float) -> Iterator[tuple]:
    """Yield places along the axes of images, and peak times, of pixels that survive the cleaning."""
    masks = tailcuts(seen, images, picture=picture, boundary=boundary)
    for image, time, mask in zip(images, times, masks, strict=True):
        pixels = chosen(seen, image[None], np.flatnonzero(mask))
        if len(pixels.pixel) < 3:
            continue
        _, ellipse = hillas(seen, pixels)
        dx, dy = seen.x[pixels.pixel] - ellipse.x[0], seen.y[pixels.pixel] - ellipse.y[0]
        along, late = dx * ellipse.cos[0] + dy * ellipse.sin[0], time[mask].astype(np.float64)
        if np.isfinite(along).all() and np.ptp(along) > 0 and np.isfinite(late).all():
            yield along, late


def compared(all_points: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Return our sums and ctapipe's."""
    ours = [fit_lines(x, y, np.array([0, x.size]))[3, 0] for x, y in all_points]
    theirs = [fitting.lts_linear_regression(x, y, samples=5)[1] for x, y in all_points]  # as its timing_parameters does
    print(
        f"{len(ours)} images: ctapipe's sum is less on {(larger(ours, theirs)).sum()}, ours on {larger(theirs, ours).sum()}"
    )
    return np.array(ours), np.array(theirs)


def larger(one: list[float] | np.ndarray, other: list[float] | np.ndarray) -> np.ndarray:
    """Return where one sum is larger than the other; sums of points on a line are 0 up to rounding."""
    return np.asarray(one) > np.asarray(other) * (1 + 1e-9) + 1e-12


def test_simulated_images():
    site = made(8)
    table = Night(site, seed=5, hadrons=300.0, gammas=60.0).table(8)
    tels = table["tel_id"].to_numpy()
    found = []
    for kind in site.kinds:
        at = np.flatnonzero(np.isin(tels, [t.tel_id for t in site.telescopes if t.kind == kind.name]))
        seen = camera_of(kind)
        images, times = (gathered(table[n].combine_chunks(), at, pixels=seen.pixels) for n in ("image", "peak_time"))
        found += points(seen, images, times, picture=kind.picture, boundary=kind.boundary)
    ours, theirs = compared(found)
    assert ours.size > 1000
    assert np.isfinite(ours).all()
    assert larger(ours, theirs).mean() <= 0.01


def test_images_of_sim_telarray(data_dir):
    found = []
    with np.load(data_dir / "gamma" / "golden" / "simtel_dl1_ctapipe-0.28.0.npz") as golden:
        for i, row in enumerate(golden["index"].tolist()):
            x, y, area = golden[f"geom_{row[4]}"]
            images, times = golden[f"image_{i:03d}"], golden[f"peak_time_{i:03d}"]
            images = np.atleast_2d(images)  # calibration events have both gains
            times = np.broadcast_to(times, images.shape)
            found += points(camera(row[4], x, y, area=area), images, times, picture=8.0, boundary=4.0)
    ours, theirs = compared(found)
    assert ours.size > 40
    # One of so few is more than 1 %: an image of 819 pixels, of which ctapipe's best line is better by 2e-5.
    assert larger(ours, theirs).sum() <= 1
    assert (ours <= theirs * (1 + 1e-4) + 1e-12).all()
