"""Triggers to array events to showers to an alert, streamed: as one, and equal to the same computed at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.gamma.building.operator import array_events
from eventide.apps.gamma.stereo.operator import HILLAS, POINTING, stereo
from eventide.apps.gamma.stereo.planes import reconstruct
from eventide.apps.gamma.stereo.subarray import Subarray
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import PipelineError, SchemaError, UsageError
from eventide.model.time import EVENT_TIME
from gamma.events.test_stereo import golden_images, showers

AIM = (70.0, 10.0)


def night(count=400, seed=4):
    """Return images of showers as a table of triggers with jitter, and the same as `Images`."""
    images, _, _ = showers(count, seed=seed)
    owner = np.repeat(np.arange(count), np.diff(images.offsets))
    places, number = np.unique(images.position, axis=0, return_inverse=True)
    tels = number.reshape(-1) + 1
    array = Subarray(
        {i + 1: tuple(p) for i, p in enumerate(places.tolist())},
        dict.fromkeys(range(1, len(places) + 1), 2.0),
        height=2000.0,
    )
    random = np.random.default_rng(seed)
    time = 10**18 + owner * 1_000_000 + random.integers(0, 300, owner.size)
    columns = {"time": pa.array(time).cast(EVENT_TIME), "tel_id": pa.array(tels.astype(np.int16))}
    columns |= {f"hillas_{n}": pa.array(getattr(images, n)) for n in HILLAS}
    columns |= dict(zip(POINTING, (pa.array(images.alt), pa.array(images.az)), strict=True))
    columns["gammaness"] = pa.array(random.random(owner.size))
    columns["energy"] = pa.array(random.uniform(0.1, 10, owner.size))
    return pa.table(columns), images, array, tels


def streamed(table, array, **options):
    triggers = ev.read(MemorySource(table, partitions=options.pop("partitions", 1))).event_time("time", lateness="1h")
    events = array_events(triggers, window="500ns")
    sink = MemorySink()
    ev.run(stereo(events, array, pointing=AIM, averages=["gammaness"], logs=["energy"]).write(sink), **options)
    return sink.table().sort_by("event_id")


@pytest.mark.parametrize("options", [{"batch_rows": 13}, {"batch_rows": 100, "partitions": 4}, {"lanes": 2}])
def test_is_the_same_however_it_comes(options):
    table, _, array, _ = night()
    plain = streamed(table, array)
    order = np.random.default_rng(1).permutation(table.num_rows)
    assert streamed(table.take(pa.array(order)), array, **options).equals(plain)


def test_equals_the_same_at_once():
    table, images, array, tels = night()
    found = streamed(table, array)
    columns = {n: getattr(images, n) for n in type(images).__dataclass_fields__} | {"radius": np.full(tels.size, 2.0)}
    # Images lie by telescope in an event, as the streamed ones do.
    order = np.lexsort((tels, np.repeat(np.arange(found.num_rows), np.diff(images.offsets))))
    sorted_ = type(images)(images.offsets, **{n: c[order] for n, c in columns.items() if n != "offsets"})
    wanted = reconstruct(sorted_, array_alt=AIM[0], array_az=AIM[1], height=2000.0)
    assert found["is_valid"].to_pylist() == wanted.is_valid.tolist()
    for name in ("alt", "az", "core_x", "core_y", "h_max", "average_intensity"):
        assert np.array_equal(found[name].to_numpy(), getattr(wanted, name), equal_nan=True), name
    first = slice(0, images.offsets[1])
    weights = images.intensity[first]
    assert found["gammaness"][0].as_py() == pytest.approx(
        np.average(table["gammaness"].to_numpy()[first], weights=weights)
    )
    mean = np.average(np.log(table["energy"].to_numpy()[first]), weights=weights)
    assert found["energy"][0].as_py() == pytest.approx(np.exp(mean))
    assert found["telescopes"][0].as_py() == sorted(tels[first].tolist())


def test_golden_events_streamed(golden):
    (e,) = golden[1:2]
    images = golden_images([e])
    array = Subarray(
        {t: tuple(p) for t, p in zip(e["telescopes"], images.position.tolist(), strict=True)},
        dict(zip(e["telescopes"], images.radius.tolist(), strict=True)),
    )
    n = len(e["telescopes"])
    columns = {"time": pa.array(np.arange(n)).cast(EVENT_TIME), "tel_id": pa.array(e["telescopes"])}
    columns |= {f"hillas_{c}": pa.array(getattr(images, c)) for c in HILLAS}
    events = array_events(ev.from_table(columns).event_time("time"))
    found = ev.fetch(stereo(events, array, pointing=(float(images.alt[0]), float(images.az[0]))))
    assert found["alt"][0].as_py() == pytest.approx(e["alt_deg"], abs=1e-9)
    assert found["az"][0].as_py() == pytest.approx(e["az_deg"], abs=1e-9)


@pytest.fixture(scope="module")
def golden(data_dir):
    import json

    path = data_dir / "gamma" / "golden" / "simtel_stereo_ctapipe-0.28.0.json"
    return [e for e in json.loads(path.read_text()) if e["is_valid"]]


def test_images_without_a_place_or_a_shape_are_marked():
    table, _, array, _ = night(count=3)
    none = pa.table(
        {**{n: table[n] for n in table.column_names}, "hillas_width": pa.nulls(table.num_rows, pa.float64())}
    )
    found = streamed(none, array)
    assert found["is_valid"].to_pylist() == [False] * 3
    assert found["alt"].null_count == 3
    elsewhere = Subarray({99: (0.0, 0.0, 0.0)}, {99: 2.0})
    assert not any(streamed(table, elsewhere)["is_valid"].to_pylist())


def test_what_cannot_be_reconstructed_is_refused():
    table, _, array, _ = night(count=3)
    stream = ev.from_table(table)
    with pytest.raises(PipelineError):
        stereo(stream, array, pointing=AIM)
    with pytest.raises(SchemaError, match="event_id"):
        ev.fetch(stereo(stream.event_time("time"), array, pointing=AIM))
    events = array_events(stream.event_time("time"))
    with pytest.raises(SchemaError, match="nothing"):
        ev.fetch(stereo(events, array, pointing=AIM, averages=["nothing"]))
    for bad in ({1: (0.0, 0.0)}, {1: (0.0, 0.0, np.nan)}, {}, {2: (0.0, 0.0, 0.0)}):
        with pytest.raises(UsageError):
            Subarray(bad, {1: 2.0})
