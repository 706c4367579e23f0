"""Sources that need libraries of their own: ZeroMQ over real sockets, protobuf-zfits, plug-ins of ctapipe."""

from __future__ import annotations

import socket as sockets
import threading
import time

import numpy as np
import pyarrow as pa
import pytest

import eventide as ev
from eventide.apps.gamma.cameras.made import hexagonal, lst_like
from eventide.apps.gamma.schema import DL1_IMAGE, stamps
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.site import made
from eventide.apps.gamma.sources.event_source import read_event_source
from eventide.apps.gamma.sources.live_zmq import LiveZmq
from eventide.apps.gamma.sources.protozfits_r1 import read_r1
from eventide.apps.gamma.sources.replay import Replay
from eventide.errors import ConfigError, DataError, MissingDependencyError, UsageError
from eventide.formats import arrow
from eventide.model.time import instant

SMALL = pa.schema([("n", pa.int64())])


@pytest.fixture
def address():
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def sending(address):
    """Send messages from a thread, by a socket of a kind."""
    zmq = pytest.importorskip("zmq", reason="pyzmq is not installed")
    context = zmq.Context()
    threads = []

    def send(messages, kind="PUSH", bind=True, delay=0.0):
        out = context.socket(getattr(zmq, kind))
        out.setsockopt(zmq.LINGER, 2000)
        (out.bind if bind else out.connect)(address)

        def work():
            time.sleep(delay)
            for message in messages:
                out.send_multipart(message if isinstance(message, list) else [message])
            out.close()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield send
    for thread in threads:
        thread.join(30)
    context.term()


def message(numbers):
    return arrow.encode(pa.record_batch({"n": pa.array(numbers, pa.int64())}))


def numbered(number, data):
    return [number.to_bytes(8, "big"), data]


@pytest.mark.parametrize("bind", [False, True])
def test_rows_come_over_sockets(address, sending, bind):
    sending([message([i, i + 1000]) for i in range(200)], bind=not bind, delay=0.2 if bind else 0.0)
    found = ev.fetch(ev.read(LiveZmq(address, schema=SMALL, bind=bind, ends_after="1s")))
    assert found["n"].to_pylist() == [n for i in range(200) for n in (i, i + 1000)]


def test_images_of_a_night_go_to_the_log(address, sending, tmp_path):
    night = Night(made(4), seed=1, hadrons=20.0)
    sending([numbered(n, arrow.encode(night.second(n))) for n in range(4)])
    source = LiveZmq(address, ends_after="1s")
    ev.run(ev.read(source).write("log://images", log=str(tmp_path)))
    found = ev.fetch(ev.read("log://images", log=str(tmp_path), follow=False))
    assert found.schema == DL1_IMAGE
    assert found.combine_chunks().equals(night.table(4).combine_chunks())


def test_what_is_lost_or_damaged_is_told(address, sending):
    good = [numbered(n, message([n])) for n in range(6)]
    sending([good[0], numbered(1, b"no Arrow"), good[2], [b"a", b"b", b"c"], [b"abc", b"d"], good[5]])
    reader = LiveZmq(address, schema=SMALL, ends_after="1s").open({"zmq": {"messages": 10}})
    rows, bad, chunks = [], [], []
    while not reader.finished:
        chunks += reader.read(max_rows=2, timeout=0.2)
    for chunk in chunks:
        rows += chunk.batch["n"].to_pylist()
        bad += chunk.bad
    reader.close()
    reader.close()
    assert rows == [0, 2, 5]
    assert [b.position for b in bad] == ["message 11", "message 13", "message 14", "message 15"]
    assert "Arrow IPC" in bad[0].reason
    assert bad[-1].reason == "messages 3 to 4 did not come"
    assert chunks[-1].position == {"messages": 16}


def test_a_sender_that_comes_back_is_heard_again(address, sending):
    reader = LiveZmq(address, schema=SMALL).open({})

    def one():
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if chunks := reader.read(max_rows=10, timeout=0.2):
                return chunks[0].batch["n"].to_pylist()
        return None

    sending([message([1])])
    assert one() == [1]
    time.sleep(0.3)  # the first socket is closed and its address free again
    sending([message([2])])
    assert one() == [2]
    assert not reader.finished
    reader.close()


def test_large_messages_are_cut(address, sending):
    sending([message(range(1000))])
    reader = LiveZmq(address, schema=SMALL, ends_after="1s").open({})
    sizes = []
    while not reader.finished:
        sizes += [c.batch.num_rows for c in reader.read(max_rows=300, timeout=0.2)]
    reader.close()
    assert sizes == [300, 300, 300, 100]


def test_addresses_that_are_none(address):
    zmq = pytest.importorskip("zmq", reason="pyzmq is not installed")
    with pytest.raises(UsageError, match="no address"):
        LiveZmq("localhost")
    with pytest.raises(UsageError, match="no sockets"):
        LiveZmq(address, kind="push")
    context = zmq.Context()
    other = context.socket(zmq.PULL)
    other.bind(address)
    with pytest.raises(ConfigError, match="cannot be had"):
        LiveZmq(address, bind=True).open({})
    other.close()
    context.term()


CAMERA = hexagonal(61, pitch=0.05)


def zfits(path, events, scale=80.0, offset=400.0, pixels=None):
    """Write a file of R1 v1 with the library's own writer."""
    protozfits = pytest.importorskip("protozfits", reason="protozfits is not installed")
    from protozfits.R1v1_pb2 import CameraConfiguration, Event, TelescopeDataStream

    array = protozfits.numpy_to_any_array
    ids = np.arange(61) if pixels is None else pixels
    with protozfits.FlatProtobufZOFits() as out:
        out.open(str(path))
        out.move_to_new_table("DataStream")
        out.write_message(TelescopeDataStream(tel_id=7, obs_id=12, waveform_scale=scale, waveform_offset=offset))
        out.move_to_new_table("CameraConfiguration")
        out.write_message(CameraConfiguration(tel_id=7, num_pixels=ids.size, pixel_id_map=array(ids.astype(np.uint16))))
        out.move_to_new_table("Events")
        for number, (waveform, status, when) in enumerate(events):
            seconds, quarters = (int(v[0]) for v in stamps([when]))
            shape = {"num_channels": waveform.shape[0], "num_pixels": ids.size, "num_samples": waveform.shape[2]}
            out.write_message(
                Event(
                    event_id=100 + number, tel_id=7, event_type=32, event_time_s=seconds, event_time_qns=quarters,
                    waveform=array(waveform.astype(np.uint16)), pixel_status=array(status.astype(np.uint8)), **shape,
                )
            )  # fmt: skip
    return path


def pulses(random, gains=2, pixels=61):
    light = random.integers(0, 60, pixels).astype(float)
    waveform = np.zeros((gains, pixels, 30))
    waveform[:, :, 12] = light
    return light, np.rint((waveform + 400.0) * 80.0)


def test_protobuf_zfits_are_read(tmp_path):
    pytest.importorskip("astropy")
    random = np.random.default_rng(2)
    start = 1_767_225_600_000_000_123
    made_, events = [], []
    for number in range(5):
        gains = 1 + number % 2
        light, waveform = pulses(random, gains)
        made_.append(light)
        events.append((waveform, np.full(61, 0b1100 if gains == 2 else 0b0100), start + number * 1_000_000_001))
    found = pa.Table.from_batches(read_r1(zfits(tmp_path / "a.fits.fz", events), CAMERA, rows=2))
    assert found.schema == DL1_IMAGE
    assert found["time"].cast(pa.int64()).to_pylist() == [when for *_, when in events]
    assert found["tel_event_id"].to_pylist() == [100, 101, 102, 103, 104]
    assert set(found["tel_id"].to_pylist()) == {7} and set(found["obs_id"].to_pylist()) == {12}
    assert np.stack(found["image"].to_pylist()) == pytest.approx(np.stack(made_), abs=1e-3)
    assert found["telescope_pointing_altitude"].null_count == 5


def test_pixels_go_to_their_places(tmp_path):
    pytest.importorskip("astropy")
    random = np.random.default_rng(3)
    order = random.permutation(61)[:55]
    light, waveform = pulses(random, 1, 55)
    status = np.full(55, 0b1000)
    status[4] = 0  # nothing stored
    (batch,) = read_r1(zfits(tmp_path / "a.fits.fz", [(waveform, status, 10**18)], pixels=order), CAMERA)
    image = np.array(batch["image"][0].as_py())
    keep = np.arange(55) != 4
    assert image[order[keep]] == pytest.approx(light[keep], abs=1e-3)


def test_files_that_do_not_fit(tmp_path):
    pytest.importorskip("astropy")
    waveform = pulses(np.random.default_rng(4))[1]
    status = np.full(61, 0b1100)
    path = zfits(tmp_path / "a.fits.fz", [(waveform, status, 10**18)])
    with pytest.raises(DataError, match="numbers up to 60"):
        list(read_r1(path, hexagonal(37, pitch=0.05)))
    with pytest.raises(DataError, match="61 pixels"):
        list(read_r1(zfits(tmp_path / "b.fits.fz", [(waveform[:, :50], status, 10**18)]), CAMERA))
    with pytest.raises(DataError, match="scale"):
        list(read_r1(zfits(tmp_path / "c.fits.fz", [(waveform, status, 10**18)], scale=0.0), CAMERA))
    (tmp_path / "d.fits.fz").write_bytes(b"no FITS")
    for name in ("d.fits.fz", "e.fits.fz"):
        with pytest.raises(DataError):
            list(read_r1(tmp_path / name, CAMERA))


COUNTS = {
    "history_meta_75.simtel.zst": 15, "camsettings_v6.simtel.zst": 9, "test_lasercal_v3.simtel.gz": 10,
    "prod4_pixelsettings_v3.gz": 10, "lst_muons_with_true_photons.simtel.zst": 3,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COUNTS)
def test_whatever_ctapipe_reads(data_dir, name):
    pytest.importorskip("ctapipe", reason="ctapipe is not installed: it has an environment of its own")
    options = {"focal_length_choice": "EQUIVALENT", "skip_calibration_events": False}
    path = data_dir / "gamma" / "simtel" / name
    found = ev.fetch(ev.read(Replay(lambda: read_event_source(path, rows=4, options=options), DL1_IMAGE)))
    assert found.num_rows == COUNTS[name]
    assert {len(i) for i in found["image"].to_pylist()} == {lst_like().pixels}  # LSTCam and NectarCam have as many
    golden = np.load(data_dir / "gamma" / "golden" / "simtel_dl1_ctapipe-0.28.0.npz", allow_pickle=False)
    known = {tuple(row[1:4]): (n, row[5]) for n, row in enumerate(golden["index"].tolist()) if row[0] == name}
    assert len(known) == COUNTS[name]
    for row in found.select(["obs_id", "tel_event_id", "tel_id", "image", "peak_time"]).to_pylist():
        number, _ = known[tuple(str(row[n]) for n in ("obs_id", "tel_event_id", "tel_id"))]
        assert np.array_equal(np.float32(row["image"]), golden[f"image_{number:03d}"])
        assert np.array_equal(np.float32(row["peak_time"]), golden[f"peak_time_{number:03d}"])
    first = min(when for _, when in known.values())
    assert abs(found["time"].cast(pa.int64()).to_pylist()[0] - instant(first)) <= 1_000_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_files_that_ctapipe_does_not_know(tmp_path):
    pytest.importorskip("ctapipe", reason="ctapipe is not installed: it has an environment of its own")
    (tmp_path / "a.bin").write_bytes(b"nothing")
    with pytest.raises(DataError, match="ctapipe cannot read"):
        list(read_event_source(tmp_path / "a.bin"))


def test_what_is_not_installed_is_told(tmp_path):
    for name, call in {
        "zmq": lambda: LiveZmq("tcp://127.0.0.1:1").open({}),
        "protozfits": lambda: list(read_r1(tmp_path / "a", CAMERA)),
        "ctapipe": lambda: list(read_event_source(tmp_path / "a")),
    }.items():
        try:
            __import__(name)
        except ImportError:
            with pytest.raises(MissingDependencyError, match="not installed"):
                call()
