"""Images that are measured as they are read: the same results, whatever happens on the way."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import eventide as ev
from eventide.apps.gamma.ahead import MeasuredSource
from eventide.apps.gamma.operators import EXCLUDED, MEASURED_ROWS, PARAMETERS, parameters, unfit
from eventide.apps.gamma.pipeline import pipeline
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.site import made
from eventide.connectors.memory import MemorySource
from eventide.errors import SchemaError
from eventide.log import Log

TOPICS = ("parameters", "orphans", "duplicates", "late", "excluded")


@pytest.fixture(scope="module")
def images():
    return Night(made(5), seed=4, hadrons=20.0, joins={2: 2.0}).table(4)


@pytest.mark.parametrize("known", [5, 4])
def test_parameters_and_what_has_none(images, known):
    site = made(known)
    for step, schema in ((parameters, PARAMETERS), (unfit, EXCLUDED)):
        plain = ev.fetch(step(ev.from_table(images), site))
        ahead = ev.fetch(step(ev.read(MeasuredSource(MemorySource(images), site)), site))
        assert ahead.schema == plain.schema == schema
        assert_frame_equal(pl.from_arrow(ahead), pl.from_arrow(plain), check_exact=True)


def test_the_pipeline_from_the_log_stopped_on_the_way(images, tmp_path):
    """From half a log, from the rest in another run, exactly once; and at once without."""
    found = {}
    for ahead in ("true", "false"):
        root = str(tmp_path / ahead)
        options = {"array": "made-5", "log": root, "ahead": ahead}
        run = {"checkpoint": str(tmp_path / f"{ahead}-checkpoints"), "quarantine": root}
        half = images.num_rows // 2 if ahead == "true" else images.num_rows
        for part in (images.slice(0, half), images.slice(half)):
            with Log(root) as log:
                log.create_topic("images", images.schema, event_time="time", exist_ok=True)
                for batch in part.to_batches(max_chunksize=50):
                    log.append("images", batch)
            if part.num_rows:
                ev.run(pipeline(**options), **run)
        found[ahead] = {t: ev.fetch(ev.read(f"log://{t}", log=root, follow=False)) for t in TOPICS}
    assert found["true"]["excluded"].num_rows == found["false"]["excluded"].num_rows > 0
    for topics in found.values():
        assert sum(t.num_rows for t in topics.values()) == images.num_rows


def test_images_without_a_column_are_refused(images):
    source = MeasuredSource(MemorySource(images.drop_columns(["image"])), made(5))
    with pytest.raises(SchemaError, match="no column 'image'"):
        source.schema()
    assert MeasuredSource(MemorySource(images), made(5)).schema() == MEASURED_ROWS
