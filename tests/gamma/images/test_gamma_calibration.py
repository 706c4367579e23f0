"""Waveforms to images: windows against loops over samples, gains, broken pixels, what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from gamma_images import CAMERAS, HEXAGONS, beside, needs_compiler, without_compiler
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eventide.apps.gamma.calibration.calibrate import calibrate
from eventide.apps.gamma.calibration.readout import integration_correction, readout
from eventide.apps.gamma.calibration.simtel import read_simtel
from eventide.errors import ConfigError, DataError, MissingDependencyError


def made_readout(made, gains=2, broken=(), pulse=None):
    random = np.random.default_rng(made.pixels)
    bad = np.zeros(made.pixels, bool)
    bad[list(broken)] = True
    shape = (gains, made.pixels)
    return readout(
        made, rate=1.024, pedestal=random.normal(300, 5, shape), factor=random.normal(0.05, 0.005, shape),
        time_shift=random.normal(0, 0.5, shape), broken=bad, pulse=pulse, pulse_step=0.25,
    )  # fmt: skip


def naive(given, raw, *, extractor, width, shift, weight, gain, threshold):
    """One event, in words of one sample at a time."""
    _, pixels, samples = raw.shape
    if gain is None:
        chosen = [int(len(raw) > 1 and (raw[0, p] > threshold).any()) for p in range(pixels)]
    else:
        chosen = [gain] * pixels
    r1 = np.zeros((pixels, samples), np.float32)
    for p, g in enumerate(chosen):
        r1[p] = (raw[g, p].astype(np.float32) - given.pedestal[g, p]) * given.factor[g, p]
    image, time = np.zeros(pixels, np.float32), np.zeros(pixels, np.float32)
    for p, g in enumerate(chosen):
        total = r1[p].astype(float)
        if extractor == "neighbor_peak":
            total = total * weight
            for q in beside(given.camera, p):
                if not given.broken[chosen[q], q]:
                    total = total + r1[q]
        peak = int(np.argmax(total))
        window = [s for s in range(peak - shift, peak - shift + width) if 0 <= s < samples]
        image[p] = sum(float(r1[p, s]) for s in window)
        light = [(float(r1[p, s]), s) for s in window if r1[p, s] > 0]
        mean = sum(v * s for v, s in light) / sum(v for v, _ in light) if light else peak
        time[p] = np.float32(np.float32(mean) / given.rate) - given.time_shift[g, p]
    return image, time, chosen


@given(
    st.sampled_from(CAMERAS), st.integers(1, 2), st.integers(2, 12), st.sampled_from(["neighbor_peak", "local_peak"]),
    st.integers(1, 8), st.integers(-2, 9), st.integers(0, 2), st.sampled_from([None, 0]), st.data(),
)  # fmt: skip
def test_calibration_is_its_rule(made, gains, samples, extractor, width, shift, weight, gain, data):
    given = made_readout(made, gains)
    counts = st.sampled_from([0, 280, 300, 305, 400, 400, 1000, 65535])
    raw = data.draw(arrays.arrays(np.uint16, (2, gains, made.pixels, samples), elements=counts))
    options = {"extractor": extractor, "width": width, "shift": shift, "gain": gain, "threshold": 500}
    found = calibrate(given, raw, local_weight=weight, **options)
    for i in range(2):
        image, time, chosen = naive(given, raw[i], weight=weight, **options)
        assert found.gain[i].tolist() == chosen
        assert np.array_equal(found.image[i], image)
        assert np.allclose(found.peak_time[i], time, rtol=1e-6, atol=1e-5)
    with without_compiler():
        plain = calibrate(given, raw, local_weight=weight, **options)
    for name in ("image", "peak_time", "gain"):
        assert np.array_equal(getattr(plain, name), getattr(found, name)), name


def test_broken_pixels_take_the_mean_of_their_neighbours():
    given = made_readout(HEXAGONS, broken=[0, 1, 40])
    raw = np.random.default_rng(3).integers(290, 400, (3, 2, 61, 20)).astype(np.uint16)
    raw[:, :, 1] = 3000  # would draw the windows of its neighbours
    found = calibrate(given, raw)
    for p in (0, 1, 40):
        around = [q for q in beside(HEXAGONS, p) if q not in {0, 1, 40}]
        assert found.image[:, p] == pytest.approx(found.image[:, around].mean(axis=1), rel=1e-5)
        assert found.peak_time[:, p] == pytest.approx(found.peak_time[:, around].mean(axis=1), rel=1e-5)
    alone = calibrate(made_readout(CAMERAS[2], broken=[0, 1]), raw[:, :, :2])
    assert not alone.image.any()


@needs_compiler
def test_more_events_than_are_worked_on_at_once():
    given = made_readout(HEXAGONS, broken=[5], pulse=np.exp(-0.5 * ((np.arange(80) - 30) / 8) ** 2)[None].repeat(2, 0))
    raw = np.random.default_rng(3).integers(290, 5000, (40, 2, 61, 30)).astype(np.uint16)
    compiled = calibrate(given, raw)
    with without_compiler():
        plain = calibrate(given, raw)
    assert np.array_equal(compiled.image, plain.image)
    assert np.array_equal(compiled.peak_time, plain.peak_time)


def test_a_pulse_gives_all_of_its_light():
    """However narrow the window, the corrected charge of a pulse without noise is its light."""
    shape = np.exp(-0.5 * ((np.arange(200) - 80) / 12) ** 2)
    given = readout(HEXAGONS, rate=1.0, pedestal=np.zeros(61), factor=1.0, pulse=shape, pulse_step=0.25)
    samples = shape.reshape(-1, 4).mean(axis=1)
    raw = np.broadcast_to(samples / samples.sum() * 50, (1, 1, 61, 50)).astype(np.float32)
    for width, shift in ((3, 1), (7, 3), (20, 9)):
        assert calibrate(given, raw, width=width, shift=shift).image == pytest.approx(50, rel=0.02)
    assert integration_correction(given, width=0, shift=0).tolist() == [1.0]


def test_one_sample_is_the_charge():
    given = made_readout(HEXAGONS, gains=1)
    raw = np.full((1, 1, 61, 1), 320, np.uint16)
    found = calibrate(given, raw)
    assert np.array_equal(found.image[0], (np.float32(320) - given.pedestal[0]) * given.factor[0])
    assert not found.peak_time.any()


@pytest.mark.parametrize(
    "raw", [np.zeros((1, 2, 60, 4)), np.zeros((2, 61, 4)), np.zeros((1, 2, 61, 0)), np.zeros((1, 2, 61, 4), "U1")]
)
def test_waveforms_that_do_not_fit(raw):
    with pytest.raises(DataError, match="waveforms of the camera"):
        calibrate(made_readout(HEXAGONS), raw)


@pytest.mark.parametrize("options", [{"width": 0}, {"shift": 1.5}, {"extractor": "peak"}, {"gain": 2}, {"gain": -1}])
def test_options_that_are_none(options):
    with pytest.raises(ConfigError):
        calibrate(made_readout(HEXAGONS), np.zeros((1, 2, 61, 4), np.uint16), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"pedestal": np.zeros((2, 60))},
        {"factor": np.ones((3, 61))},
        {"pedestal": np.full((2, 61), np.nan)},
        {"rate": 0.0},
        {"pulse": np.ones((3, 5))},
        {"factor": "a"},
    ],
)
def test_calibrations_that_do_not_fit(options):
    with pytest.raises(DataError, match="the calibration of the camera"):
        readout(HEXAGONS, **({"rate": 1.0, "pedestal": np.zeros((2, 61)), "factor": 1.0} | options))


def test_values_that_are_not_finite_end_as_such():
    raw = np.full((1, 2, 61, 8), 300, np.float32)
    raw[0, 0, 3, 2], raw[0, 0, 9, 4] = np.nan, np.inf
    given = made_readout(HEXAGONS)
    with np.errstate(all="ignore"):
        found = calibrate(given, raw, gain=0)
        with without_compiler():
            plain = calibrate(given, raw, gain=0)
    assert np.array_equal(found.image, plain.image, equal_nan=True)
    assert np.array_equal(found.peak_time, plain.peak_time, equal_nan=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("data", [b"", b"none", b"\x37\x8a\x1f\xd4" + bytes(200), bytes(range(256)) * 20])
def test_files_that_are_none(tmp_path, data):
    path = tmp_path / "a.simtel"
    path.write_bytes(data)
    with pytest.raises((DataError, MissingDependencyError)):
        list(read_simtel(path))
    with pytest.raises((DataError, MissingDependencyError)):
        list(read_simtel(tmp_path / "absent"))
