"""Names of parameters as ctapipe's tables have them, and their units."""

from __future__ import annotations

from collections.abc import Iterable

from eventide.apps.gamma.cameras.camera import Camera
from eventide.errors import ConfigError, near_names

__all__ = ["GROUPS", "UNIT_DEGREES", "column_names", "group_names"]

_HILLAS = (
    "intensity", "skewness", "kurtosis", "x", "y", "r", "phi", "length", "length_uncertainty", "width",
    "width_uncertainty", "psi", "psi_uncertainty", "transverse_cog_uncertainty",
)  # fmt: skip
_STATISTICS = ("max", "min", "mean", "std", "skewness", "kurtosis")

GROUPS: dict[str, tuple[str, ...]] = {
    "hillas": _HILLAS,
    "leakage": ("pixels_width_1", "pixels_width_2", "intensity_width_1", "intensity_width_2"),
    "concentration": ("cog", "core", "pixel"),
    "morphology": ("n_pixels", "n_islands", "n_small_islands", "n_medium_islands", "n_large_islands"),
    "intensity": _STATISTICS,
    "timing": ("slope", "intercept", "deviation"),
    "peak_time": _STATISTICS,
}
"""The groups of parameters, in the order of the columns."""

UNIT_DEGREES = ("phi", "psi", "psi_uncertainty")
"""Angles: in degrees whatever the unit of positions is."""


def group_names(groups: Iterable[str]) -> tuple[str, ...]:
    """Return groups in their order.

    Raises
    ------
    ConfigError
        There is no such group.

    Examples
    --------
    >>> group_names(["leakage", "hillas"])
    ('hillas', 'leakage')
    """
    wanted = [groups] if isinstance(groups, str) else list(groups)
    for name in wanted:
        if name not in GROUPS:
            msg = f"there is no group of parameters {name!r}"
            raise ConfigError(msg, hint=near_names(str(name), GROUPS))
    return tuple(name for name in GROUPS if name in wanted)


def column_names(camera: Camera, group: str) -> tuple[str, ...]:
    """Return the columns of a group: those of the telescope frame for cameras in degrees, else of the camera frame.

    Examples
    --------
    >>> from eventide.apps.gamma.cameras.made import hexagonal
    >>> column_names(hexagonal(7, pitch=0.05), "timing")
    ('camera_frame_timing_slope', 'camera_frame_timing_intercept', 'camera_frame_timing_deviation')
    """
    if camera.unit == "m":
        prefix = f"camera_frame_{group}" if group in {"hillas", "timing"} else group
        return tuple(f"{prefix}_{name}" for name in GROUPS[group])
    renamed = {"x": "fov_lon", "y": "fov_lat"} if group == "hillas" else {}
    return tuple(f"{group}_{renamed.get(name, name)}" for name in GROUPS[group])
