"""What ctapipe makes of the same images."""

from __future__ import annotations

import importlib.util

import pytest
from gamma_images import without_compiler

from eventide.apps.gamma.verify_images import verify_images
from eventide.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:File seems to be truncated")


@pytest.mark.parametrize("compiled", [True, False])
def test_golden_parameters(data_dir, compiled):
    if compiled:
        found = verify_images(data_dir)
    else:
        with without_compiler():
            found = verify_images(data_dir)
    assert found["ok"], found
    assert (found["rows"], found["masks"]) == (651, 0)
    assert len(found["columns"]) == 26
    assert found["telescopes"] == 44
    assert len(found["telescope_columns"]) == 6
    for name, deviation in (found["columns"] | found["telescope_columns"]).items():
        limit = 1e-9 if "hillas" in name else 1e-6
        assert deviation <= (0 if "morphology" in name else limit), name


@pytest.mark.skipif(
    importlib.util.find_spec("eventio") is None, reason="eventio is not installed: eventide[gamma-simtel]"
)
def test_golden_images(data_dir):
    found = verify_images(data_dir)["dl1"]
    assert (found["images"], found["missing"]) == (54, 0)
    assert found["image"] <= 1e-5
    assert found["peak_time"] <= 1e-5


def test_absent_data_says_where_to_point(tmp_path):
    with pytest.raises(DataError):
        verify_images(tmp_path)
