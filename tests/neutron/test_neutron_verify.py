"""The golden answers on a real run, by every way."""

from __future__ import annotations

import os

import pytest

from eventide.apps.neutron.verify import verify
from eventide.errors import DataError


def test_golden_answers(data_dir):
    found = verify(data_dir, kafka="none")
    assert found["ok"], found
    assert found["kafka"] == "it was not asked for"
    messages = {n: r for n, r in found["routes"].items() if "NeXus" not in n}
    assert len(messages) == 3
    assert all(r["events"] == r["binned"] == 237_078 and all(r["same"].values()) for r in found["routes"].values())


def test_golden_answers_through_kafka(data_dir):
    pytest.importorskip("confluent_kafka", reason="pip install 'eventide[kafka]'")
    found = verify(data_dir)
    if found["kafka"] is not True:
        if os.environ.get("CI") == "true":
            pytest.fail(found["kafka"])
        pytest.skip(found["kafka"])
    assert found["ok"], found
    assert sum(n.startswith("kafka") for n in found["routes"]) == 6


def test_absent_data_says_where_to_point(tmp_path):
    with pytest.raises(DataError, match="EVENTIDE_DATA"):
        verify(tmp_path, kafka="none")
