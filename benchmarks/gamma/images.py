"""Images a second on one core beside ctapipe: cleaning, parameters, timing, raw waveforms to images.

    EVENTIDE_DATA=folder python benchmarks/gamma/images.py [--turns 7] [--quick]

in an environment with eventide, numba, ctapipe 0.28 and eventio. The images are the paper's (166 of LSTCam and 51 of
CHEC), the waveforms those of one simulated file. What is timed is compared first: equal masks, Hillas parameters within
1e-9, leakage and concentration within 1e-6, equal images. Ours and the peer's take turns; figures are medians of
processor time of this one thread. ctapipe is called image by image, which is the only way it has; ours takes them in
batches of `batch`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from ctapipe.calib import CameraCalibrator
from ctapipe.image import (
    concentration_parameters,
    hillas_parameters,
    leakage_parameters,
    morphology_parameters,
    tailcuts_clean,
    timing_parameters,
)
from ctapipe.instrument import CameraGeometry
from ctapipe.io import SimTelEventSource

from eventide.apps.gamma.calibration.calibrate import calibrate
from eventide.apps.gamma.calibration.simtel import read_simtel
from eventide.apps.gamma.cameras.camera import Camera
from eventide.apps.gamma.cameras.definitions import read_definitions
from eventide.apps.gamma.cameras.made import lst_like
from eventide.apps.gamma.cleaning.tailcuts import tailcuts
from eventide.apps.gamma.parameters.columns import GROUPS, column_names
from eventide.apps.gamma.parameters.measure import STANDARD, measure, tailcut
from eventide.apps.gamma.verify_images import paper_images
from eventide.kernel.compiled import have_compiler

BATCH = 1000
PER_GAIN = ("pedestal", "factor", "time_shift", "broken", "pulse")


def turns(programs: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Return the median processor time of each, seconds; each is run once before, and all take turns."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(count + 1):
        for name, program in programs.items():
            begin = time.thread_time()
            program()
            if turn:
                times[name].append(time.thread_time() - begin)
    return {name: statistics.median(found) for name, found in times.items()}


def without_compiler(program: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        os.environ["EVENTIDE_COMPILED"] = "0"
        have_compiler.cache_clear()
        try:
            return program()
        finally:
            del os.environ["EVENTIDE_COMPILED"]
            have_compiler.cache_clear()

    return run


def geometry(camera: Camera) -> CameraGeometry:
    return CameraGeometry(
        camera.name, np.arange(camera.pixels), camera.x * u.m, camera.y * u.m, camera.area * u.m**2,
        {"hexagon": "hexagon", "square": "rectangular"}[camera.shape],
    )  # fmt: skip


def their_parameters(geom: CameraGeometry, image: np.ndarray, mask: np.ndarray) -> list[float]:
    if np.count_nonzero(mask) < 2:
        return []
    some, light = geom[mask], image[mask]
    hillas = hillas_parameters(some, light)
    found = [getattr(hillas, name) for name in GROUPS["hillas"]]
    values = [
        v.to_value(u.deg if n in {"phi", "psi", "psi_uncertainty"} else u.m) if hasattr(v, "to_value") else v
        for n, v in zip(GROUPS["hillas"], found, strict=True)
    ]
    for group, container in (
        ("leakage", leakage_parameters(geom, image, mask)),
        ("concentration", concentration_parameters(some, light, hillas)),
        ("morphology", morphology_parameters(geom, mask)),
    ):
        values += [getattr(container, name) for name in GROUPS[group]]
    return values


def parameters(camera: Camera, images: np.ndarray, cuts: tuple[float, float, int], count: int) -> dict[str, Any]:
    geom = geometry(camera)
    picture, boundary, least = cuts
    options = {"picture": picture, "boundary": boundary, "min_number_picture_neighbors": least}
    many = np.tile(images, (-(-BATCH // len(images)), 1))[:BATCH]

    def cleaned() -> list[np.ndarray]:
        return [tailcuts_clean(geom, image, picture, boundary, False, least) for image in images]

    masks = cleaned()
    assert np.array_equal(tailcuts(camera, images, **options), masks)
    ours = tailcut(camera, images, **options)
    names = [name for group in STANDARD for name in column_names(camera, group)]
    limits = [1e-9] * 14 + [1e-6] * 7 + [0] * 5
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for name, wanted, limit in zip(names, their_parameters(geom, image, mask), limits, strict=False):
            found = ours[name][i]
            assert abs(found - wanted) <= max(limit * abs(wanted), 1e-9 * name.endswith("width")) or found != found, (
                name
            )

    def hillas() -> None:
        for image, mask in zip(images, cleaned(), strict=True):
            if np.count_nonzero(mask) > 1:
                hillas_parameters(geom[mask], image[mask])

    seconds = turns(
        {
            "clean": lambda: tailcuts(camera, many, **options),
            "hillas": lambda: tailcut(camera, many, groups=["hillas"], **options),
            "all": lambda: tailcut(camera, many, **options),
            "numpy_clean": without_compiler(lambda: tailcuts(camera, many, **options)),
            "numpy_hillas": without_compiler(lambda: tailcut(camera, many, groups=["hillas"], **options)),
            "numpy_all": without_compiler(lambda: tailcut(camera, many, **options)),
            "peer_clean": cleaned,
            "peer_hillas": hillas,
            "peer_all": lambda: [their_parameters(geom, *pair) for pair in zip(images, cleaned(), strict=True)],
        },
        count,
    )
    rates = {name: (len(images) if name.startswith("peer") else len(many)) / s for name, s in seconds.items()}
    return {
        "camera": camera.name, "cuts": cuts, "images": len(images),
        "pixels_kept": round(float(np.sum(masks) / len(masks)), 1),
        "images_per_s": {name: round(rate) for name, rate in rates.items()},
        "ratios": {
            name: round(rates[name] / rates["peer_" + name.removeprefix("numpy_")], 1)
            for name in rates if not name.startswith("peer")
        },
    }  # fmt: skip


def objective(x: np.ndarray, y: np.ndarray, slope: float, intercept: float) -> float:
    return float(np.sort((y - slope * x - intercept) ** 2)[: int(0.85 * len(x))].sum())


def made_showers(images: int) -> tuple[Camera, np.ndarray, np.ndarray, np.ndarray]:
    """Return a camera, images of made showers, their peak times, and what a cleaning leaves."""
    camera, random = lst_like(), np.random.default_rng(1)
    light, times = random.normal(0, 1.5, (images, camera.pixels)), random.uniform(0, 40, (images, camera.pixels))
    for image, late in zip(light, times, strict=True):
        length, angle, (cx, cy) = random.uniform(0.05, 0.25), random.uniform(0, np.pi), random.normal(0, 0.3, 2)
        width, dx, dy = length * random.uniform(0.2, 0.7), camera.x - cx, camera.y - cy
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        shape = np.exp(-0.5 * (along / length) ** 2 - 0.5 * (across / width) ** 2)
        photons = random.poisson(np.exp(random.uniform(4.4, 8.3)) * shape / shape.sum())
        image += photons
        lit = (photons > 2) & (random.random(camera.pixels) > 0.08)
        noise = random.normal(0, 1, camera.pixels) / np.sqrt(np.maximum(photons, 1) / 5)
        late[lit] = (20 + random.normal(0, 10) * along + noise)[lit]
    light = light.astype(np.float32)
    return camera, light, times.astype(np.float32), tailcuts(camera, light, picture=8, boundary=4)


def timed_paper(camera: Camera, images: np.ndarray) -> tuple[Camera, np.ndarray, np.ndarray, np.ndarray]:
    """Return the paper's images, which have no peak times, with times that run along their axes; and their cleaning."""
    masks, random = tailcuts(camera, images, picture=10, boundary=5), np.random.default_rng(2)
    axis = measure(camera, images, masks, groups=["hillas"])
    psi, cx, cy = (np.nan_to_num(axis[f"camera_frame_hillas_{n}"])[:, None] for n in ("psi", "x", "y"))
    along = (camera.x - cx) * np.cos(np.radians(psi)) + (camera.y - cy) * np.sin(np.radians(psi))
    noise = random.normal(0, 1, images.shape) / np.sqrt(np.maximum(images, 1) / 5)
    late = 20 + random.normal(0, 10, (len(images), 1)) * along + noise
    lit = (images > 4) & (random.random(images.shape) > 0.08)
    return camera, images, np.where(lit, late, random.uniform(0, 40, images.shape)).astype(np.float32), masks


def timing(given: tuple[Camera, np.ndarray, np.ndarray, np.ndarray], count: int) -> dict[str, Any]:
    """Lines of peak times; what both minimise is compared, not the lines, of which the peer's are drawn by chance."""
    camera, light, times, masks = given
    geom, groups = geometry(camera), ["timing"]
    found = measure(camera, light, masks, peak_times=times, groups=groups)
    some = np.flatnonzero(masks.sum(axis=1) > 2).tolist()
    hillas = {i: hillas_parameters(geom[masks[i]], light[i][masks[i]]) for i in some}

    def theirs() -> list[Any]:
        return [timing_parameters(geom[masks[i]], light[i][masks[i]], times[i][masks[i]], hillas[i]) for i in some]

    not_worse = 0
    for i, peer in zip(some, theirs(), strict=True):
        psi = hillas[i].psi.to_value(u.rad)
        dx, dy = camera.x[masks[i]] - hillas[i].x.value, camera.y[masks[i]] - hillas[i].y.value
        x, y = dx * np.cos(psi) + dy * np.sin(psi), times[i][masks[i]].astype(float)
        ours = objective(x, y, *(found[f"camera_frame_timing_{n}"][i] for n in ("slope", "intercept")))
        not_worse += ours <= objective(x, y, peer.slope.value, peer.intercept) * (1 + 1e-9) + 1e-12
    kept = round(float(masks[some].sum() / len(some)), 1)
    many = [np.tile(a[some], (-(-BATCH // len(some)), 1)) for a in (light, masks, times)]

    def ours() -> None:
        measure(camera, many[0], many[1], peak_times=many[2], groups=groups)

    seconds = turns({"timing": ours, "numpy_timing": without_compiler(ours), "peer_timing": theirs}, count)
    rates = {n: (len(some) if n.startswith("peer") else len(many[0])) / s for n, s in seconds.items()}
    return {
        "images": len(some),
        "pixels_kept": kept,
        "objective_not_above_the_peers": round(not_worse / len(some), 4),
        "images_per_s": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["timing"] / rates["peer_timing"], 1),
    }


def waveforms(path: Path, count: int) -> dict[str, Any]:
    """Raw waveforms of one file: ours with gains and pedestals, ctapipe's without (its source has done that before)."""
    events = list(read_simtel(path))
    raw, readout = np.stack([event.raw for event in events]), events[0].readout
    source = SimTelEventSource(path, focal_length_choice="EQUIVALENT")
    calibrator, theirs = CameraCalibrator(source.subarray), []
    for event in source:
        theirs.append(event)
        calibrator(event)
    found = calibrate(readout, raw)
    deviation = 0.0
    for i, event in enumerate(theirs):
        for dl1 in event.dl1.tel.values():
            deviation = max(deviation, float(np.abs(found.image[i] - dl1.image).max()))
    assert deviation <= 1e-5
    alone = dataclasses.replace(readout, **{n: getattr(readout, n)[:1] for n in PER_GAIN if n != "pulse"}, pulse=None)
    many = np.tile(raw, (10, 1, 1, 1))
    single = np.ascontiguousarray(many[:, :1])
    seconds = turns(
        {
            "neighbor_peak": lambda: calibrate(readout, many),
            "local_peak": lambda: calibrate(readout, many, extractor="local_peak"),
            "neighbor_peak_one_gain": lambda: calibrate(alone, single),
            "local_peak_one_gain": lambda: calibrate(alone, single, extractor="local_peak"),
            "numpy_neighbor_peak": without_compiler(lambda: calibrate(readout, raw)),
            "peer_neighbor_peak": lambda: [calibrator(event) for event in theirs],
        },
        count,
    )
    rates = {n: (len(raw) if n.startswith(("peer", "numpy")) else len(many)) / s for n, s in seconds.items()}
    return {
        "file": path.name, "waveforms": list(raw.shape), "largest_deviation": deviation,
        "images_per_s": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["neighbor_peak"] / rates["peer_neighbor_peak"], 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two turns, and fewer cases")
    given = parser.parse_args()
    count = 2 if given.quick else given.turns
    folder = Path(os.environ["EVENTIDE_DATA"]) / "gamma"
    cameras = read_definitions(folder / "prod3" / "cta_camera_definitions.json.gz")
    images: dict[int, list[np.ndarray]] = {}
    for event in paper_images(folder):
        for image in event.values():
            images.setdefault(len(image), []).append(image)
    cases = [("LSTCam", (10, 5, 2)), ("LSTCam", (8, 4, 2)), ("LSTCam", (10, 8, 0)), ("CHEC", (10, 5, 2))]
    told = {
        "id": "gamma-images",
        "compiled": have_compiler(),
        "batch": BATCH,
        "parameters": [
            parameters(cameras[name], np.array(images[cameras[name].pixels]), cuts, count)
            for name, cuts in cases[: 2 if given.quick else None]
        ],
        "timing": timing(made_showers(200 if given.quick else 1500), count),
        "timing_paper": timing(timed_paper(cameras["LSTCam"], np.array(images[cameras["LSTCam"].pixels])), count),
        "waveforms": waveforms(folder / "simtel" / "prod4_pixelsettings_v3.gz", count),
        "machine": platform.machine(),
        "versions": {name: metadata.version(name) for name in ("numpy", "numba", "ctapipe", "eventio")},
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
