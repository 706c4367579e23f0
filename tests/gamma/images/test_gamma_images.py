"""Columns of images to columns of parameters."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from gamma_images import GRID, HEXAGONS, showers

import eventide as ev
from eventide.apps.gamma.cameras.camera import in_telescope_frame
from eventide.apps.gamma.images import CLEANINGS, add_parameters, image_rows, parametrise
from eventide.apps.gamma.operators import parameters
from eventide.apps.gamma.parameters.columns import GROUPS
from eventide.apps.gamma.schema import MEASURED
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.site import made as made_site
from eventide.errors import ConfigError, DataError, SchemaError


def mixed(seed=0, count=40):
    """Rows of two cameras in turn, with their images as lists."""
    sets = [showers(made, count, seed + i) for i, made in enumerate((HEXAGONS, GRID))]
    rows = [(1 + (i % 2) * 5, sets[i % 2][0][i // 2], sets[i % 2][1][i // 2]) for i in range(2 * count)]
    kind = pa.list_(pa.float32())
    batch = pa.record_batch(
        {
            "tel_id": pa.array([row[0] for row in rows], pa.int16()),
            "image": pa.array([row[1].tolist() for row in rows], kind),
            "peak_time": pa.array([row[2].tolist() for row in rows], kind),
            "event_id": pa.array(range(len(rows)), pa.uint64()),
        }
    )
    return batch, sets


def test_cleanings_are_found_by_their_files():
    assert CLEANINGS == ("compat", "fact", "nsb", "tailcuts", "time_constrained")


@pytest.mark.parametrize("cleaning", CLEANINGS)
def test_rows_of_two_cameras_keep_their_places(cleaning):
    batch, sets = mixed()
    groups = tuple(GROUPS)
    found = add_parameters(batch, {1: HEXAGONS, 6: GRID}, cleaning=cleaning, groups=groups)
    assert found.schema.names[:2] == ["tel_id", "event_id"]
    assert found.column("event_id").to_pylist() == list(range(80))
    for k, (made, (images, times)) in enumerate(zip((HEXAGONS, GRID), sets, strict=True)):
        alone = parametrise(made, images, times, cleaning=cleaning, groups=groups)
        for name, column in alone.items():
            assert np.array_equal(found.column(name).to_numpy()[k::2], column, equal_nan=True)


def test_lists_of_a_fixed_size_are_not_copied():
    images = np.random.default_rng(0).normal(size=(5, 61)).astype(np.float32)
    given = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), 61)
    rows = image_rows(HEXAGONS, given.slice(2, 2))
    assert np.array_equal(rows, images[2:4])
    assert np.shares_memory(rows, given.values.to_numpy())


def test_a_row_without_an_image_has_no_parameters():
    batch, _ = mixed(count=2)
    rows = batch.to_pylist()
    rows[1]["image"] = rows[1]["peak_time"] = None
    batch = pa.RecordBatch.from_pylist(rows, schema=batch.schema)
    found = add_parameters(batch, {1: HEXAGONS, 6: GRID})
    assert np.isnan(found.column("morphology_n_pixels").to_numpy()).tolist() == [False, True, False, False]


def test_no_rows():
    batch, _ = mixed(count=1)
    found = add_parameters(batch.slice(0, 0), {1: HEXAGONS})
    assert found.num_rows == 0
    assert found.schema.names[2] == "camera_frame_hillas_intensity"


def test_what_does_not_fit_is_said():
    batch, _ = mixed(count=2)
    with pytest.raises(DataError, match="telescope 6 has no camera"):
        add_parameters(batch, {1: HEXAGONS})
    with pytest.raises(DataError, match="another length"):
        add_parameters(batch, {1: HEXAGONS, 6: HEXAGONS})
    with pytest.raises(ConfigError, match="deg and m"):
        add_parameters(batch, {1: HEXAGONS, 6: in_telescope_frame(GRID, 28.0)})
    with pytest.raises(ConfigError, match="at least"):
        add_parameters(batch, {})
    with pytest.raises(SchemaError, match="images"):
        add_parameters(batch, {1: HEXAGONS, 6: GRID}, image="images")
    with pytest.raises(SchemaError, match="holds uint64"):
        add_parameters(batch, {1: HEXAGONS, 6: GRID}, image="event_id")
    with pytest.raises(ConfigError, match="did you mean 'tailcuts'"):
        add_parameters(batch, {1: HEXAGONS, 6: GRID}, cleaning="tailcut")
    with pytest.raises(ConfigError, match="does not take 'pictures'"):
        add_parameters(batch, {1: HEXAGONS, 6: GRID}, options={"pictures": 3})
    nulls = pa.array([[1.0, None]], pa.list_(pa.float32()))
    with pytest.raises(DataError, match="null"):
        image_rows(HEXAGONS, nulls)


@pytest.mark.parametrize("kind", ["lists", "lists of a fixed size", "large lists"])
def test_images_in_the_pipeline_are_measured_where_they_lie(kind):
    """Slices of batches, rows that cannot be used among the others, kinds of telescopes mixed."""
    site = made_site(6)
    table = Night(site, seed=3, hadrons=30.0).table(1)
    if kind == "lists of a fixed size":
        table = table.filter(pc.less_equal(table["tel_id"], 4))
        table = table.set_column(
            table.schema.get_field_index("image"), "image", table["image"].cast(pa.list_(pa.float32(), 1855))
        )
    elif kind == "large lists":
        table = table.set_column(
            table.schema.get_field_index("image"), "image", table["image"].cast(pa.large_list(pa.float32()))
        )
    else:
        lost = pa.table([pc.if_else(pc.equal(table["tel_id"], 3), None, table["image"])], names=["image"])
        table = table.set_column(table.schema.get_field_index("image"), "image", lost["image"])
    batch = table.combine_chunks().to_batches()[0]
    found = ev.fetch(parameters(ev.from_table(pa.Table.from_batches([batch.slice(3)])), site))
    usable = batch.slice(3).filter(batch.slice(3)["image"].is_valid())
    assert found["tel_event_id"].to_pylist() == usable["tel_event_id"].to_pylist()
    for sort in site.kinds:
        tels = pa.array([t.tel_id for t in site.telescopes if t.kind == sort.name], pa.int16())
        mine = usable.filter(pc.is_in(usable["tel_id"], tels))
        options = {"picture": sort.picture, "boundary": sort.boundary}
        wanted = add_parameters(mine, site.cameras(), options=options).select(MEASURED.names)
        same = found.filter(pc.is_in(found["tel_id"], tels)).select(MEASURED.names)
        for name in MEASURED.names:
            assert np.array_equal(same[name].to_numpy(), wanted[name].to_numpy(), equal_nan=True)
