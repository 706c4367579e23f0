"""One right message or two of every format of neutron facilities."""

from __future__ import annotations

import numpy as np

from eventide import registry
from eventide.formats import ad00, an44, da00, df12, ev42, ev44, f142, f144, hs00, hs01, pl72, x5f2

__all__ = ["samples"]

NOW = 1_700_000_000_123_456_789


def samples() -> dict[str, list[bytes]]:
    """Return messages by the name of their format."""
    end = registry.resolve("format", "6s4t")
    axes = (hs01.Axis("y", "m", np.arange(3.0)), hs01.Axis("x", "us", np.arange(4.0)))
    counts = np.arange(6).reshape(2, 3)
    whole = hs01.Histogram(counts, axes, "bank", NOW, counts * 0.5, (0, 0), "{}")
    mantid = hs00.Histogram(counts * 1.0, (hs00.Axis("spectrum", "Counts", None, 2), axes[1]), "Mantid", NOW)
    none = hs01.Histogram(counts[:0], axes, "bank", NOW)
    two = (np.array([NOW, NOW + 1]), np.array([0, 2]))
    three = (np.array([5, 6, 7]), np.array([1, 2, 3]))
    table = pl72.SpectrumMap(np.arange(2), np.arange(2), 2)
    attributes = (ad00.Attribute("a", "b", "c", np.arange(2)), ad00.Attribute("t", "", "", "x"))
    isis = ev42.Facility(1, True, 0.5)
    return {
        "ev42": [
            ev42.write(ev42.EventMessage("bank", 3, two[0][:1], two[1][:1], *three, facility=facility))
            for facility in (isis, None)
        ],
        "ev44": [
            ev44.write(ev44.EventMessage("bank", 3, *two, *three)),
            ev44.write(ev44.EventMessage("monitor", 4, *two, three[0])),
        ],
        "an44": [an44.write(an44.EventMessage("bank", 3, *two, *three, np.arange(3)))],
        "f142": [f142.write(f142.LogValue("T1", ["a", "bc"], NOW, 1, 2)), f142.write(f142.LogValue("T1", "a", NOW))],
        "f144": [f144.write(f144.LogValue("T1", np.arange(3.0), NOW)), f144.write(f144.LogValue("T1", 2.5, NOW))],
        "pl72": [pl72.write(pl72.RunStart(run_name="7", start_time=5, detector_spectrum_map=table))],
        "6s4t": [end.write(end.RunStop(run_name="7", stop_time=5))],
        "df12": [df12.write(df12.SpectrumMap(np.arange(3), np.arange(3), 3))],
        "x5f2": [x5f2.write(x5f2.Heartbeat(host_name="here", process_id=3))],
        "hs00": [
            hs00.encode_histogram(hs00.Histogram(counts.astype("u4"), axes, "bank", NOW)),
            hs00.encode_histogram(mantid, dialect="mantid"),
        ],
        "hs01": [hs01.encode_histogram(whole), hs01.encode_histogram(none)],
        "da00": [da00.encode_histogram(da00.Histogram(counts, axes, "bank", NOW, counts * 0.5, info="text"))],
        "ad00": [ad00.write(ad00.Image("cam", 1, NOW, counts, attributes))],
    }
