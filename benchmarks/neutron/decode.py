"""Microseconds a message: events decoded and encoded, histograms written, beside ess-streaming-data-types.

``python benchmarks/neutron/decode.py [--quick]`` in an environment with both; the last line is one JSON object. What is
timed is compared first: the same events out of the same messages, equal arrays out of histograms. Ours and the peer's
take turns; figures are medians of processor time, all on one thread. Histograms are written into memory that is used
again, as by a service that publishes (`hs01_in_new_memory`: not so). `copy` is what copying the same events once costs,
without reading any message.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import pyarrow as pa
import streaming_data_types as peer

from eventide.formats import da00, ev44, hs01
from eventide.kernel.compiled import have_compiler
from eventide.kernel.recycled import Recycled

TWO = pa.schema([("time_of_flight", pa.int32()), ("pixel_id", pa.int32())])
NOW = 1_700_000_000_000_000_000


def turns(programs: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Return the median of each, microseconds; each is run once before, and all take turns.

    In another order each time: who comes behind one that has filled the caches with its own would always pay for it.
    """
    times: dict[str, list[float]] = {name: [] for name in programs}
    order = np.random.default_rng(count)
    for turn in range(count + 1):
        for name, program in (list(programs.items())[k] for k in order.permutation(len(programs))):
            begin = time.thread_time()
            program()
            if turn:
                times[name].append((time.thread_time() - begin) * 1e6)
    return {name: statistics.median(found) for name, found in times.items()}


def decoding(events: int, repeats: int) -> dict[str, Any]:
    rng = np.random.default_rng(events)
    count = max(4, 1_000_000 // events)
    flights = rng.integers(0, 71_000_000, (count, events)).astype(np.int32)
    pixels = rng.integers(0, 1_000_000, (count, events)).astype(np.int32)
    times, first = np.array([NOW]), np.array([0], np.int32)
    messages = [peer.serialise_ev44("bank", i, times + i, first, flights[i], pixels[i]) for i in range(count)]
    column = pa.array(messages, pa.large_binary())

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        found = [peer.deserialise_ev44(m) for m in messages]
        return np.concatenate([f.time_of_flight for f in found]), np.concatenate([f.pixel_id for f in found])

    got, (want_flights, want_pixels) = ev44.decode_many(column), theirs()
    assert np.array_equal(got.batch["time_of_flight"].to_numpy(), want_flights)
    assert np.array_equal(got.batch["pixel_id"].to_numpy(), want_pixels)
    assert got.bad == ()
    one = [ev44.EventMessage("bank", i, times + i, first, flights[i], pixels[i]) for i in range(count)]
    for given, message in zip(one[:3], messages, strict=False):
        assert (
            peer.deserialise_ev44(ev44.write(given)).pixel_id.tolist()
            == peer.deserialise_ev44(message).pixel_id.tolist()
        )
    found = turns(
        {
            "ours": lambda: ev44.decode_many(column, schema=TWO),
            "ours_from_list": lambda: ev44.decode_many(messages, schema=TWO),
            "ours_six_columns": lambda: ev44.decode_many(column),
            "ours_no_column": lambda: ev44.decode_many(column, schema=pa.schema([])),
            "peer_views": lambda: [peer.deserialise_ev44(m) for m in messages],
            "peer": theirs,
            "copy": lambda: (flights.reshape(-1).copy(), pixels.reshape(-1).copy()),
            "ours_encode": lambda: [ev44.write(m) for m in one],
            "peer_encode": lambda: [
                peer.serialise_ev44("bank", m.message_id, m.reference_time, first, m.time_of_flight, m.pixel_id)
                for m in one
            ],
        },
        repeats,
    )
    each = {name: round(us / count, 3) for name, us in found.items()}
    return {
        "events": events, "messages": count, "us_per_message": each,
        "decode_ratio": round(found["peer"] / found["ours"], 2),
        "encode_ratio": round(found["peer_encode"] / found["ours_encode"], 2),
    }  # fmt: skip


def histograms(bins: int, kind: str, repeats: int) -> dict[str, Any]:
    data = (np.arange(bins) % 1000).astype(kind)
    flat = hs01.Histogram(data, (hs01.Axis("pixel", length=bins),), "bank", NOW)
    given = {
        "source": "bank", "timestamp": NOW, "current_shape": [bins], "data": data,
        "dim_metadata": [{"length": bins, "unit": "", "label": "pixel", "bin_boundaries": np.empty(0)}],
    }  # fmt: skip
    variables = [peer.dataarray_da00.Variable("signal", data, ["pixel"], unit="counts")]
    assert np.array_equal(peer.deserialise_hs01(hs01.encode_histogram(flat))["data"], data)
    assert np.array_equal(peer.deserialise_da00(da00.encode_histogram(flat)).data[0].data, data)
    wire, memory = hs01.encode_histogram(flat), Recycled()
    assert hs01.encode_histogram_in(memory, flat) == wire
    assert da00.encode_histogram_in(memory, flat) == da00.encode_histogram(flat)
    found = turns(
        {
            "hs01": lambda: hs01.encode_histogram_in(memory, flat),
            "da00": lambda: da00.encode_histogram_in(memory, flat),
            "hs01_in_new_memory": lambda: hs01.encode_histogram(flat),
            "hs01_read": lambda: hs01.read_histogram(wire),
            "peer_hs01": lambda: peer.serialise_hs01(given),
            "peer_da00": lambda: peer.serialise_da00("bank", NOW, variables),
            "copy": data.tobytes,
        },
        repeats,
    )
    return {
        "bins": bins, "type": kind, "us": {name: round(us, 1) for name, us in found.items()},
        "hs01_ratio": round(found["peer_hs01"] / found["hs01"], 2),
        "da00_ratio": round(found["peer_da00"] / found["da00"], 2),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five turns instead of twenty")
    repeats = 5 if parser.parse_args().quick else 20
    told = {
        "id": "neutron-decode",
        "compiled": have_compiler(),
        "events": [decoding(events, repeats) for events in (1_000, 10_000, 100_000)],
        "histograms": [histograms(1_000_000, kind, repeats) for kind in ("int32", "int64", "float64")],
        "machine": platform.machine(),
        "versions": {n: metadata.version(n) for n in ("numpy", "pyarrow", "ess-streaming-data-types")},
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
