"""State is kept by the name of a node, so two nodes of one pipeline may not share one."""

from __future__ import annotations

import pytest

import eventide as ev
from eventide.errors import PipelineError


def test_two_nodes_of_one_name_are_refused() -> None:
    rows = {"t": ["2026-01-01T00:00:00Z"], "k": [1]}
    events = ev.from_table(rows, name="kept").event_time("t").key_by("k")
    counts = events.window(ev.tumbling("1s")).aggregate(n=ev.count(), name="counts")
    with pytest.raises(PipelineError, match=r"two nodes of the pipeline are named 'counts' .*test_names.py:\d+"):
        ev.run(counts.write("memory://counts", name="counts"))
