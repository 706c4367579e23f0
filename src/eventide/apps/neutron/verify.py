"""The golden answers of this application, computed on a real run: what ``eventide neutron verify`` prints.

Data: a folder with ``neutron/sans2d/`` in it, a run of SANS2D at ISIS of 2016-04-12 (237,078 events of 300 pulses) as
NeXus file and as messages (ev42, ev44, and ev44 of ten pulses each), with the counts that are right. Each goes its way
through the embedded log and, where a broker can be had, through Kafka; every count must be the same, bit for bit.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide import registry
from eventide.apps.neutron.nexus import read_pulses
from eventide.apps.neutron.pipeline import read_in
from eventide.apps.neutron.playback import Playback, recorded
from eventide.apps.neutron.schema import MESSAGES
from eventide.errors import DataError, EventideError
from eventide.kernel.histogram.axes import Axis, edges, pixels, uniform
from eventide.kernel.histogram.publication import LEDGER
from eventide.model.pipeline import Pipeline, pipeline
from eventide.model.stream import Stream, read
from eventide.model.time import EVENT_TIME
from eventide.operators.histogram import histogram

__all__ = ["verify"]

_ROUTES = {
    "ev42": ("ev42", "SANS2D_events_ev42"),
    "ev44": ("ev44", "SANS2D_events_ev44"),
    "ev44, ten pulses a message": ("ev44", "SANS2D_events_ev44_10pulses"),
}
_EVENTS = 237_078
_ONCE = pa.schema([("event_time", EVENT_TIME)])
Golden = dict[str, npt.NDArray[Any]]


def verify(data_dir: Path, *, kafka: str = "auto", say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Compute the golden answers by every way there is.

    Parameters
    ----------
    data_dir
        Folder with ``neutron/sans2d/``.
    kafka
        ``"auto"``: a broker of our own, where Java and Kafka can be had; ``"none"``; or ``host:port`` of one.
    say
        Takes a line of text for each way.

    Returns
    -------
    ``ok``, ``kafka`` (whether it took part, or why not), and by ``routes`` what each way gave.

    Raises
    ------
    DataError
        A file is missing or cannot be read.
    """
    folder = data_dir / "neutron" / "sans2d"
    golden = _golden(folder / "golden.npz")
    found: dict[str, Any] = {}

    def told(name: str, figures: dict[str, Any]) -> None:
        found[name] = figures
        say(
            f"{name}: {figures['events']:,} events, {'as they should be' if figures['ok'] else 'NOT as they should be'}"
        )

    with tempfile.TemporaryDirectory(prefix="eventide-neutron-") as work:
        place = Path(work)
        if importlib.util.find_spec("h5py") is not None:
            told("log, NeXus file", _from_file(folder / "SANS_test_reduced.hdf5", place, golden))
        else:
            say("log, NeXus file: left out, as h5py is not installed (pip install eventide[neutron])")
        for name, (form, topic) in _ROUTES.items():
            told(f"log, {name}", _through_log(_messages(folder, topic), form, place / topic, golden=golden))
        with _broker(kafka, place / "kafka") as (address, reason):
            for name, (form, topic) in _ROUTES.items() if address else ():
                for as_events in (False, True):
                    way = f"kafka, {name}, decoded {'by the transport' if as_events else 'in the pipeline'}"
                    source = f"kafka://{address}/{topic}"
                    told(way, _through_kafka(_messages(folder, topic), form, source, golden=golden, events=as_events))
        if reason:
            say(f"kafka: left out: {reason}")
    return {"ok": all(f["ok"] for f in found.values()), "kafka": reason or True, "routes": found}


def _golden(path: Path) -> Golden:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("tof_100bins_1ms", "pixel_counts", "per_pulse", "pulse_time_ns")}
    except (OSError, KeyError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg, hint="point EVENTIDE_DATA at the folder that holds neutron/sans2d") from None


def _messages(folder: Path, topic: str) -> Stream:
    path = str(folder / "sans2d_stream.parquet")
    return read(Playback(lambda: recorded(path, topic=topic), schema=MESSAGES, time_column="timestamp"))


def _from_file(path: Path, place: Path, golden: Golden) -> dict[str, Any]:
    options = {"log": str(place / "log")}
    _run(read(Playback(lambda: read_pulses(path, rows=50))).write("log://file", **options))
    return _compared(read("log://file", follow=False, **options), golden)


def _through_log(messages: Stream, form: str, place: Path, *, golden: Golden) -> dict[str, Any]:
    options = {"log": str(place)}
    _run(messages.write("log://messages", **options))
    return _compared(read_in(read("log://messages", follow=False, **options), form=form).pulses, golden)


def _through_kafka(messages: Stream, form: str, address: str, *, golden: Golden, events: bool) -> dict[str, Any]:
    if not events:
        _run(messages.write(address, format="raw", rows_per_message=1, timestamp="timestamp"))
        raw = read(address, format="raw", schema=pa.schema([MESSAGES.field("value")]), follow=False)
        return _compared(read_in(raw, form=form).pulses, golden)
    schema = registry.resolve("format", form).infer(b"")
    return _compared(read(address, format=form, schema=schema, follow=False), golden)


def _compared(pulses: Stream, golden: Golden) -> dict[str, Any]:
    """Count pulses or events, and compare every count with what is right."""
    times = golden["pulse_time_ns"]
    middles = np.concatenate([[times[0] - 10**7], (times[1:] + times[:-1]) // 2, [times[-1] + 10**7]])
    made: dict[str, Axis] = {
        "tof_100bins_1ms": uniform("time_of_flight", 0, 100_000_000, 100, unit="ns"),
        "pixel_counts": pixels("pixel_id", 0, golden["pixel_counts"].size),
        "per_pulse": edges("event_time", middles, name="pulse"),
    }
    memory = registry.resolve("connector", "memory")
    counted, seen = memory.MemorySink(), memory.MemorySink()
    live = histogram(pulses.event_time("event_time", lateness="1s"), products=made)
    once = pulses.map_batches(_times, schema=_ONCE, name="times")
    _run(pipeline(live.write(counted, name="counted"), once.write(seen, name="seen")))
    rows = {row["product"]: row for row in counted.table().select(["product", "counts", *LEDGER]).to_pylist()}
    same = {name: bool(np.array_equal(rows[name]["counts"], golden[name])) for name in made}
    stamps = np.unique(seen.table()["event_time"].cast(pa.int64()).to_numpy())
    same["pulse_time_ns"] = bool(np.array_equal(stamps, times))
    ledger = {name: rows["pixel_counts"][name] for name in LEDGER}
    return {**ledger, "same": same, "ok": all(same.values()) and ledger["events"] == ledger["binned"] == _EVENTS}


def _times(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch.column("event_time").unique()], schema=_ONCE)


@contextmanager
def _broker(kafka: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Bring the address of a broker, or the reason why there is none."""
    if kafka == "none":
        yield "", "it was not asked for"
    elif kafka != "auto":
        yield kafka, ""
    else:
        try:
            broker = registry.resolve("service", "kafka").at(folder)
            registry.resolve("connector", "kafka")
            broker.start()
        except EventideError as error:
            yield "", error.message.partition("\n")[0].rstrip(":")
            return
        try:
            yield broker.address, ""
        finally:
            broker.stop(kill=True)


def _run(job: Pipeline) -> None:
    registry.resolve("engine", "local").run(job)
