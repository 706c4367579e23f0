"""All neutron benchmarks, their floors, one table: ``python benchmarks/neutron/run.py [--quick] [NAME ...]``.

``make bench-neutron`` takes the environment that has the peers. What the table says: `benchmarks.floors`.
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

PROGRAMS = {
    "decode": Program("decode.py"),
    "wire": Program("wire.py"),
    "histogram": Program("histogram.py", shorter=("--events", "4000000", "--repeat", "2")),
    "fused": Program("fused.py", shorter=("--repeat", "5")),
    "live": Program("live.py", ("--instrument", "sans2d"), ("--seconds", "5", "--repeat", "2")),
    "live-loki": Program("live.py", ("--instrument", "loki"), ("--seconds", "5", "--repeat", "1")),
    "hindsight": Program("hindsight.py", shorter=("--history", "60", "--seconds", "20")),
    "latency": Program("latency.py", shorter=("--seconds", "15")),
}
"""What is run."""


def case(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in report["cases"] if c["name"].startswith(name))


def best(found: dict[str, Any], *, without: str = "numba") -> float:
    return min(ratio for peer, ratio in found["ratios"].items() if without not in peer)


UNIFORM = "1-D, 100 uniform bins, 714,000 a message"

GOALS = (
    Judged("decode ev44, us a message beside the copy of its events", "decode",
           lambda r: r["events"][0]["us_per_message"]["ours_no_column"], Floor("us", at_most=1)),
    Judged("1-D from messages of 10,000 events, decoded, beside just-bin-it's operation", "wire",
           lambda r: r["counting"][1]["ratio"], Floor("ratio", at_least=6)),
    Judged("1-D from messages of 1,000 events, the same", "wire",
           lambda r: r["counting"][0]["ratio"], Floor("ratio", at_least=10)),
    # A tool in Python was measured at 0.66; the loop that it is compared with in the same run is a leaner one.
    Judged("Q by a calibration, the same bins, M events/s: 100 times 0.66", "wire",
           lambda r: r["reducing"]["mev_s"]["ours"], Floor("rate", at_least=66)),
    Judged("the same, beside a lean loop of Python", "wire",
           lambda r: r["reducing"]["ratio"], Floor("ratio", at_least=50)),
    Judged("1-D, beside the best library", "histogram", lambda r: best(case(r, UNIFORM)), Floor("ratio", at_least=1)),
    Judged("1-D, beside the plain numba loop", "histogram",
           lambda r: case(r, UNIFORM)["ratios"]["numba plain"], Floor("ratio", at_least=1)),
    Judged("arbitrary edges, share of the uniform speed", "histogram",
           lambda r: case(r, "1-D, 100 arb")["ours_mev_s"] / case(r, UNIFORM)["ours_mev_s"],
           Floor("share", at_least=0.6)),
    Judged("image of 1e6 pixels, beside scipp's grouping", "histogram",
           lambda r: case(r, "image of 1,000,000")["ratios"]["scipp group"], Floor("ratio", at_least=10)),
    Judged("image of 1e6 pixels, M events/s", "histogram",
           lambda r: case(r, "image of 1,000,000")["ours_mev_s"], Floor("rate", at_least=500)),
    Judged("pixel by time, 1e7 bins, 10,000 a message, beside numpy.histogram2d", "histogram",
           lambda r: case(r, "pixel x 100 time bins, 1e+07 bins, 10,000")["ratios"]["numpy.histogram2d (per message)"],
           Floor("ratio", at_least=300)),
    Judged("pixel by time, 1e8 bins, M events/s", "histogram",
           lambda r: case(r, "pixel x 100 time bins, 1e+08 bins, 714,000")["ours_mev_s"], Floor("rate", at_least=100)),
    Judged("pixel by time, 1e8 bins, beside scipp", "histogram",
           lambda r: case(r, "pixel x 100 time bins, 1e+08 bins, 714,000")["ratios"]["scipp group+hist"],
           Floor("ratio", at_least=5)),
    Judged("ten products from one decoding, log to log, exactly once, times the 1-D", "fused",
           lambda r: r["times_the_one"], Floor("times", at_most=3)),
    Judged("six products from one decoding, share of the 1-D's speed", "fused",
           lambda r: r["six_share_of_the_one"], Floor("share", at_least=0.4)),
    # More, as there is no decoding that all of them share.
    Judged("ten products, arrays in memory and nothing to decode, times the 1-D", "histogram",
           lambda r: case(r, "ten")["times_the_1d"], Floor("times", at_most=12)),
    Judged("LOKI model, times what it is to send", "histogram",
           lambda r: case(r, "LOKI")["r_live"], Floor("r_live", at_least=5)),
    Judged("DREAM model, times what it is to send", "histogram",
           lambda r: case(r, "DREAM")["r_live"], Floor("r_live", at_least=1)),
    Judged("1e6 bins of int32 as hs01, us", "decode",
           lambda r: r["histograms"][0]["us"]["hs01"], Floor("us", at_most=1000)),
    Judged("1e6 bins of float64 as hs01, us", "decode",
           lambda r: r["histograms"][2]["us"]["hs01"], Floor("us", at_most=1000)),
    Judged("log to log, exactly once, M events/s and core, 122,880 pixels", "live",
           lambda r: r["ours"], Floor("rate", at_least=50)),
    Judged("the same, 3.2e6 pixels", "live-loki", lambda r: r["ours"], Floor("rate", at_least=50)),
    Judged("two histograms of a run anew while its data come, 1e7 events/s, times real time", "hindsight",
           lambda r: r["ours"], Floor("times", at_least=10)),
    Judged("last event of a pulse to published histogram, p99, ms", "latency",
           lambda r: r["p99_ms"], Floor("p99_ms", at_most=100)),
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(judge("neutron", HERE, PROGRAMS, GOALS, about=__doc__.splitlines()[0]))
