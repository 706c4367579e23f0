"""NeXus event files: what is written comes back, units are minded, and what is broken is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("h5py", reason="pip install 'eventide[neutron]'")

import h5py

from eventide.apps.neutron.nexus import event_groups, read_pulses
from eventide.apps.neutron.nexus_write import write_pulses
from eventide.apps.neutron.schema import PULSES
from eventide.apps.neutron.simulate import simulate
from eventide.errors import DataError
from eventide.testing._compare import rows_of, same_rows

WANTED = ["event_time", "source", "time_of_flight", "pixel_id"]


def made(
    path,
    *,
    zero=(0.0, 0.1),
    offset=(10.0, 20.0, 30.5),
    index=(0, 2),
    ids=(1, 2, 3),
    since="2020-01-01T00:00:00",
    **units,
):
    """Write a file as a facility might; units by the name of the array."""
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/bank_events")
        for name, values in {
            "event_time_zero": zero,
            "event_time_offset": offset,
            "event_index": index,
            "event_id": ids,
        }.items():
            group[name] = np.asarray(values)
            if name in units:
                group[name].attrs["units"] = units[name]
        if since is not None:
            group["event_time_zero"].attrs["offset"] = since
    return path


def read(path, **options) -> pa.Table:
    return pa.Table.from_batches(read_pulses(path, **options), PULSES)


@pytest.mark.parametrize("rows", [1, 3, 4096])
def test_round_trip(tmp_path, rows):
    pulses = simulate("amor", seconds=3, rate=2000)
    path = tmp_path / "new" / "run.nxs"
    assert write_pulses(path, pulses.to_batches(), title="t", name="amor") == sum(
        map(len, pulses["time_of_flight"].to_pylist())
    )
    assert event_groups(path) == ["entry/amor_detector", "entry/amor_monitor"]
    same_rows(read(path, rows=rows).select(WANTED), pulses.select(WANTED))
    only = read(path, groups=["entry/amor_monitor"])
    assert set(only["source"].to_pylist()) == {"amor_monitor"}
    assert only["pixel_id"].null_count == only.num_rows == 42
    with h5py.File(path) as file:
        assert file["entry"].attrs["NX_class"] == "NXentry"
        assert file["entry/amor_detector"].attrs["NX_class"] == "NXevent_data"
        assert file["entry/start_time"][()] == b"2026-01-01T00:00:00Z"
    assert [p.name for p in path.parent.iterdir()] == ["run.nxs"]


def test_a_file_that_fails_leaves_the_old_one(tmp_path):
    pulses = simulate("amor", seconds=1, rate=100)
    path = tmp_path / "run.nxs"
    write_pulses(path, pulses.to_batches())
    before = path.read_bytes()

    def breaks():
        yield pulses.to_batches()[0]
        raise DataError("no more", hint="")

    with pytest.raises(DataError, match="no more"):
        write_pulses(path, breaks())
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_units(tmp_path):
    second = 1_577_836_800_000_000_000
    plain = read(made(tmp_path / "a.nxs"))  # us and s, as ISIS has them
    assert plain["time_of_flight"].to_pylist() == [[10_000, 20_000], [30_500]]
    assert (plain["event_time"].cast(pa.int64()).to_numpy() - second).tolist() == [0, 100_000_000]
    told = read(made(tmp_path / "b.nxs", event_time_offset="ms", event_time_zero="ns", zero=np.array([5, 6], "u8")))
    assert told["time_of_flight"].to_pylist() == [[10_000_000, 20_000_000], [30_500_000]]
    assert (told["event_time"].cast(pa.int64()).to_numpy() - second).tolist() == [5, 6]
    array = read(
        made(tmp_path / "c.nxs", event_time_offset=np.array([b"ns"]), since=None, offset=np.array([1, 2, 3], "u4"))
    )
    assert array["time_of_flight"].to_pylist() == [[1, 2], [3]]
    assert array["event_time"].cast(pa.int64()).to_pylist() == [0, 100_000_000]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event_time_offset": "fortnight"}, "fortnight"),
        ({"offset": (1.0, 2.0, 3e6)}, "time of flight"),
        ({"offset": (1.0, 2.0, float("nan"))}, "does not fit"),
        ({"offset": (1.0, 2.0, float("inf"))}, "does not fit"),
        ({"zero": (0.0, 1e300)}, "does not fit"),
        ({"zero": (0.0, 9e9)}, "2262"),
        ({"zero": np.array([1, 2**64 - 1], "u8"), "event_time_zero": "ns"}, "does not fit"),
        ({"zero": np.array([1, -(2**63)], "i8"), "event_time_zero": "s"}, "does not fit"),
        ({"index": (0, 4)}, "event_index"),
        ({"index": (2, 0)}, "event_index"),
        ({"index": (-1, 2)}, "event_index"),
        ({"index": np.array([0, 2**63 + 5], "u8")}, "event_index"),
        ({"index": (0.0, 1.5)}, "event_index"),
        ({"index": (0,)}, "2262|pulses"),
        ({"index": np.array([], "i8"), "zero": np.array([], "f8")}, "no pulse"),
        ({"ids": (1, 2)}, "2 events"),
        ({"ids": (1, 2, 2**31)}, "pixel"),
        ({"ids": (1.0, 2.0, 3.0)}, "pixel"),
        ({"ids": np.array([b"a", b"b", b"c"])}, "numbers"),
        ({"ids": np.zeros((3, 1), "i4")}, "one row"),
        ({"since": "yesterday"}, "yesterday"),
    ],
)
def test_what_is_refused(tmp_path, change, reason):
    with pytest.raises(DataError, match=reason):
        read(made(tmp_path / "x.nxs", **change))


def test_no_events(tmp_path):
    path = made(tmp_path / "x.nxs", offset=np.array([], "f4"), ids=np.array([], "i4"), index=(0, 0))
    assert read(path)["time_of_flight"].to_pylist() == [[], []]
    assert read(made(tmp_path / "y.nxs", offset=(), ids=(), index=np.array([], "i8"), zero=())).num_rows == 0


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.nxs").write_text("no HDF5")
    with pytest.raises(DataError, match="HDF5"):
        read(tmp_path / "text.nxs")
    with pytest.raises(DataError, match="HDF5"):
        read(tmp_path / "absent.nxs")
    whole = made(tmp_path / "whole.nxs").read_bytes()
    for end in range(0, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "cut.nxs").write_bytes(whole[:end])
        with pytest.raises(DataError):
            read(tmp_path / "cut.nxs")
    with pytest.raises(DataError, match="the groups of this file"):
        read(tmp_path / "whole.nxs", groups=["entry"])


def test_real_files(data_dir):
    folder = data_dir / "neutron"
    pulses = read(folder / "sans2d" / "SANS_test_reduced.hdf5")
    golden = np.load(folder / "sans2d" / "golden.npz")
    assert pulses["event_time"].cast(pa.int64()).to_pylist() == golden["pulse_time_ns"].tolist()
    assert [len(t) for t in pulses["time_of_flight"].to_pylist()] == golden["per_pulse"].tolist()
    assert pulses["proton_charge"].null_count == 0
    with pytest.raises(DataError, match="15957411269133089792 ns, does not fit"):
        read(folder / "nexus" / "minimal_example_with_geometry.nxs")
    with pytest.raises(DataError, match="no group of events"):
        read(folder / "nexus" / "minimal_histogram_example.nxs")


def test_mixed_pulses_cannot_be_written(tmp_path):
    first = simulate("amor", seconds=1, rate=1000).to_batches()[0]
    source = pa.array(["one"] * first.num_rows)
    mixed = first.set_column(1, PULSES.field("source"), source)
    with pytest.raises(DataError, match="other numbers"):
        write_pulses(tmp_path / "x.nxs", [mixed])
    assert rows_of(first) != rows_of(mixed)
