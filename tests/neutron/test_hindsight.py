"""Hindsight: another way of counting made from the log, and the switch to it at any boundary: nothing lost or doubled."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from publications_checker import Pulses, check

import eventide as ev
from eventide import registry
from eventide.apps.neutron import hindsight
from eventide.apps.neutron.instruments import AMOR
from eventide.apps.neutron.pipeline import pipeline
from eventide.apps.neutron.products import longest, masked_of
from eventide.apps.neutron.simulate import simulate
from eventide.errors import ConfigError, DataError, UsageError
from eventide.log import Log, Retention
from eventide.model.time import MAX_TIME

START, SECOND = 1_767_225_600 * 10**9, 10**9  # 2026-01-01


def products(bins):
    low, high = AMOR.wavelengths
    return {
        "time_of_flight": [("time", np.linspace(0, longest(AMOR), bins + 1))],
        "image": [("pixel", None)],
        "wavelength": [("wavelength", np.linspace(0, high + low, bins + 1))],
        "q": [("q", np.geomspace(1e-3, 2.0, max(1, bins // 4) + 1))],
    }


def job(log, **more):
    return pipeline(instrument="amor", lateness="100ms", log=log, **more)


def holds_once(log, pulses, bins, *, intervals):
    """Every interval has each product once, of the version that its time says, with the counts of the log."""
    found, checked = [], 0
    for version, table in hindsight.published("histograms", log):
        until = table["until"].cast(pa.int64()).to_pylist()
        assert all(version.after < u <= version.up_to for u in until)
        found += zip(until, table["product"].to_pylist(), strict=True)
        checked += check(table, pulses, AMOR, products(bins[version.name]))
    expected = {(u, p) for u in intervals for p in products(4)}
    assert len(found) == len(set(found)) and set(found) == expected
    assert checked == len(expected)


def test_at_any_boundary_nothing_is_lost_or_doubled(tmp_path):
    pulses = simulate("amor", seconds=12, rate=800, seed=4)
    log = str(tmp_path / "log")
    ev.run(ev.from_table(pulses).write("log://pulses", log=log))
    ev.run(job(log, bins="20"))
    for name, bins in (("fine", "64"), ("coarse", "8")):
        ev.run(job(log, bins=bins, sink=f"log://{name}-").named(name))
    known, bins = Pulses(pulses), {"": 20, "fine": 64, "coarse": 8}
    intervals = {START + (k + 1) * SECOND for k in range(12)}
    holds_once(log, known, bins, intervals=intervals)
    rng = random.Random(1)
    for _ in range(20):
        with versions_of_its_own(log):
            at = sorted(rng.choice((rng.randint(0, 13) * SECOND, rng.randint(0, 13 * SECOND))) for _ in range(2))
            hindsight.switch("fine", START + at[0], log)
            hindsight.switch("coarse", START + at[1], log)
            holds_once(log, known, bins, intervals=intervals)


@contextlib.contextmanager
def versions_of_its_own(log):
    """A topic of versions that is gone afterwards."""
    try:
        yield
    finally:
        with Log(log) as opened:
            opened.delete_topic("versions")


def test_while_live_data_go_on(tmp_path):
    pulses = simulate("amor", seconds=16, rate=800, seed=5).combine_chunks()
    log, engine = str(tmp_path / "log"), registry.resolve("engine", "local")
    rows = 28  # a second
    ev.run(ev.from_table(pulses.slice(0, 6 * rows)).write("log://pulses", log=log))
    live, new, switched, failed, figures = *(threading.Event() for _ in range(3)), [], []

    def guarded(what):
        try:
            what()
        except BaseException as error:
            failed.append(error)

    def old():
        engine.run(job(log, bins="20", follow="true"), stop=live, checkpoint=str(tmp_path / "old"), quarantine=log)

    def rebuilt():
        hindsight.rebin(
            "fine", checkpoint=str(tmp_path / "new"), stop=new, on_switch=lambda _, fast: (figures.append(fast), switched.set()), log=log,
            instrument="amor", lateness="100ms", bins="64", interval="10s",
        )  # fmt: skip

    threads = [threading.Thread(target=guarded, args=(f,)) for f in (old, rebuilt)]
    threads[0].start()
    second = 6
    until = time.monotonic() + 90
    begun = False
    while second < 16 and time.monotonic() < until and not failed:
        ev.run(ev.from_table(pulses.slice(second * rows, rows)).write("log://pulses", log=log))
        second += 1
        if second == 8 and not begun:
            while not any(t.num_rows > 4 for _, t in hindsight.published("histograms", log)) and not failed:
                time.sleep(0.1)
            threads[1].start()
            begun = True
        if second == 13:  # what comes last is there only after the switch
            assert switched.wait(60) or failed
        time.sleep(0.1)
    time.sleep(2.0)
    for stop, thread in zip((live, new), threads, strict=True):
        stop.set()
        thread.join(60)
    assert not failed
    versions = hindsight.versions(log)
    (fast,) = figures
    assert fast.events > 0 and fast.rate == fast.events / fast.seconds and fast.live > 0
    # The first pulse lies a little behind the beginning of the first interval, the boundary an interval further on.
    assert 0 <= (versions[1].after - START) / SECOND - 1 - fast.covered < 0.1
    assert [v.name for v in versions] == ["", "fine"] and versions[1].up_to == MAX_TIME
    boundary = (versions[1].after - START) // SECOND
    assert 1 < boundary < 16
    again = ev.fetch(ev.read("log://fine-histograms", log=log, follow=False))["until"].cast(pa.int64()).to_pylist()
    assert min(again) > START + SECOND, "what the old version had published was published once more"
    _, (_, after) = hindsight.published("histograms", log)
    last = max(after["until"].cast(pa.int64()).to_pylist(), default=versions[1].after)
    assert last > versions[1].after, "the new version published nothing after the boundary"
    intervals = {START + (k + 1) * SECOND for k in range((last - START) // SECOND)}
    # The old one may have been stopped before its boundary: then this would fail, as it should.
    holds_once(log, Pulses(pulses), {"": 20, "fine": 64}, intervals=intervals)


def test_a_mask_and_a_beginning(tmp_path):
    pulses = simulate("amor", seconds=4, rate=3000, seed=6)
    log = str(tmp_path / "log")
    ev.run(ev.from_table(pulses).write("log://pulses", log=log))
    ev.run(job(log, bins="20", mask="0-16383,20000", since="2026-01-01T00:00:02"))
    found = ev.fetch(ev.read("log://histograms", log=log, follow=False))
    out = masked_of("0-16383,20000", AMOR)
    times = pulses["event_time"].cast(pa.int64()).to_pylist()
    late = [at for at, t in enumerate(times) if t >= START + 2 * SECOND]
    pixels = np.concatenate([np.array(pulses["pixel_id"][at].as_py() or [], np.int64) for at in late])
    last = dict(
        zip(
            found["product"].to_pylist(),
            zip(*(found[n].to_pylist() for n in ("binned", "masked")), strict=True),
            strict=True,
        )
    )
    masked = int(out[pixels].sum())
    assert 0 < masked < pixels.size
    for name in ("time_of_flight", "image", "wavelength", "q"):
        assert last[name][1] == masked, name
    image = found.filter(pa.compute.equal(found["product"], "image"))["counts"].to_pylist()[-1]
    assert image == np.bincount(pixels[~out[pixels]], minlength=AMOR.pixels).tolist()


def test_what_is_asked_for(tmp_path):
    log = str(tmp_path / "log")
    assert [v.name for v in hindsight.versions(log)] == [""]
    assert list(hindsight.published("histograms", log)) == []
    hindsight.switch("fine", 10 * SECOND, log)
    with pytest.raises(UsageError, match="holds from later on"):
        hindsight.switch("coarse", 9 * SECOND, log)
    with pytest.raises(UsageError, match="cannot be called"):
        hindsight.rebin("a/b", checkpoint=str(tmp_path), log=log)
    for mask in ("x", "5-", "9-2", "99999999"):
        with pytest.raises(ConfigError, match="mask"):
            masked_of(mask, AMOR)


def test_the_command_killed_and_begun_again(tmp_path):
    pulses = simulate("amor", seconds=8, rate=800, seed=7)
    log = str(tmp_path / "log")
    ev.run(ev.from_table(pulses).write("log://pulses", log=log))
    engine, stop = registry.resolve("engine", "local"), threading.Event()
    threading.Timer(2.0, stop.set).start()
    engine.run(job(log, bins="20", follow="true"), stop=stop, checkpoint=str(tmp_path / "old"), quarantine=log)
    program = [
        sys.executable,
        "-c",
        "import sys; from eventide.cli import main; sys.exit(main())",
        "neutron",
        "rebin",
        "fine",
    ]
    said = ("instrument=amor", "bins=64", "lateness=100ms", "publish_from=2026-01-01")
    told = [*(part for each in said for part in ("--param", each)), "--log", log]
    command = [*program, *told, "--checkpoint", str(tmp_path / "new")]
    with subprocess.Popen([*command, "--interval", "1m"], stdout=subprocess.DEVNULL) as first:
        time.sleep(3.0)  # it cannot have switched yet
        first.kill()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as second:
        until = time.monotonic() + 60
        while len(hindsight.versions(log)) < 2:
            assert time.monotonic() < until and second.poll() is None
            time.sleep(0.2)
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 143
    (version,) = hindsight.versions(log)[1:]
    assert version.name == "fine"
    tables = {
        name: ev.fetch(ev.read(f"log://{name}", log=log, follow=False)) for name in ("histograms", "fine-histograms")
    }
    assert check(tables["fine-histograms"], Pulses(pulses), AMOR, products(64)) >= tables["histograms"].num_rows > 0


def test_what_retention_deleted_is_not_counted_silently(tmp_path):
    pulses = simulate("amor", seconds=8, rate=800, seed=7)
    log = str(tmp_path / "log")
    with Log(log) as opened:
        opened.create_topic("pulses", pulses.schema, event_time="event_time", segment_bytes=1 << 16)
        for batch in pulses.to_batches(max_chunksize=28):
            opened.append("pulses", batch)
        assert opened.apply_retention("pulses", retention=Retention(max_bytes=1 << 16))
    options = {"checkpoint": str(tmp_path / "new"), "log": log, "instrument": "amor"}
    for since in ("", "2026-01-01"):
        with pytest.raises(DataError, match="were deleted from the topic 'pulses'"):
            hindsight.rebin("fine", since=since, **options)
    stop = threading.Event()
    threading.Timer(2.0, stop.set).start()
    assert hindsight.rebin("fine", since="2026-01-01T00:00:07", stop=stop, **options).stopped
