"""All gamma benchmarks, their floors, one table: ``python benchmarks/gamma/run.py [--quick] [NAME ...]``.

``make bench-gamma`` takes the environment that has the peers; the data are found through EVENTIDE_DATA. What the table
says: `benchmarks.floors`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: find the package beside it
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.case import Floor
from benchmarks.floors import Judged, Program, judge

HERE = Path(__file__).resolve().parent

PROGRAMS = {name: Program(f"{name}.py") for name in ("images", "events", "paper")}
"""What is run."""


def least(report: dict[str, Any], table: str, name: str, *, camera: str = "") -> float:
    """Return the least figure of all cases, or of those of a camera."""
    return min(case[table][name] for case in report["parameters"] if camera in case["camera"])


def plain(report: dict[str, Any]) -> float:
    """Return images a second with numpy only, thresholds (10, 5, 2), as the other figures of numpy in the notes."""
    return report["parameters"][0]["images_per_s"]["numpy_all"]


RATE, RATIO = "rate", "ratio"

GOALS = (
    Judged("cleaning and 14 Hillas parameters, beside ctapipe", "images",
           lambda r: least(r, "ratios", "hillas"), Floor(RATIO, at_least=20)),
    Judged("the same with numpy only, beside ctapipe", "images",
           lambda r: least(r, "ratios", "numpy_hillas"), Floor(RATIO, at_least=20)),
    Judged("cleaning and 24 parameters, images/s, the slowest thresholds", "images",
           lambda r: least(r, "images_per_s", "all", camera="LSTCam"), Floor(RATE, at_least=180_000)),
    Judged("cleaning and 24 parameters with numpy only, images/s, (10, 5, 2)", "images", plain,
           Floor(RATE, at_least=60_000)),
    Judged("timing fit on the paper's images, images/s", "images",
           lambda r: r["timing_paper"]["images_per_s"]["timing"], Floor(RATE, at_least=60_000)),
    Judged("timing fit, share of made images whose sum is not above ctapipe's", "images",
           lambda r: r["timing"]["objective_not_above_the_peers"], Floor("share", at_least=0.99)),
    Judged("raw waveforms to images, LSTCam, one gain, images/s", "images",
           lambda r: r["waveforms"]["images_per_s"]["neighbor_peak_one_gain"], Floor(RATE, at_least=20_000)),
    Judged("raw waveforms to images, largest deviation from ctapipe", "images",
           lambda r: r["waveforms"]["largest_deviation"], Floor("p.e.", at_most=1e-5)),
    Judged("event building, triggers/s", "events",
           lambda r: r["ours"]["build_triggers"], Floor(RATE, at_least=10e6)),
    Judged("forest of 50 trees of depth 13, rows/s", "events",
           lambda r: r["ours"]["forest_50x13"], Floor(RATE, at_least=200e3)),
    Judged("the same row by row, rows/s", "events",
           lambda r: r["ours"]["forest_50x13_single"], Floor(RATE, at_least=20e3)),
    Judged("the same, largest deviation from scikit-learn", "events",
           lambda r: r["ours"]["forest_50x13_deviation"], Floor("deviation", at_most=1e-6)),
    Judged("stereo, array events/s", "events", lambda r: r["ours"]["stereo_events"], Floor(RATE, at_least=500e3)),
    Judged("the paper's chain in memory, array events/s and core", "paper",
           lambda r: r["ours"]["memory"], Floor(RATE, at_least=30e3)),
    Judged("from durable log to durable events, exactly once, array events/s and core", "paper",
           lambda r: r["ours"]["durable"], Floor(RATE, at_least=20e3)),
    Judged("what a second core gains", "paper", lambda r: r["ours"]["two_lanes"], Floor("times", at_least=1.8)),
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(judge("gamma", HERE, PROGRAMS, GOALS, about=__doc__.splitlines()[0]))
