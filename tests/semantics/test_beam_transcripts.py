"""Beam's trigger transcripts: all that Beam's runners must follow are followed, all that must fail are refused."""

from __future__ import annotations

from typing import Any

import pytest

from eventide.errors import MissingDependencyError, RunError, UsageError
from eventide.testing.transcripts import PLAYS, Play, find_beam_transcripts, play, run_beam_transcripts
from eventide.testing.transcripts_beam import read_dialect


def test_all_transcripts_of_the_installed_beam() -> None:
    pytest.importorskip("yaml")
    try:
        find_beam_transcripts()
    except MissingDependencyError as error:
        pytest.skip(f"{error.message}; {error.hint}")
    report = run_beam_transcripts()
    assert report["failures"] == []
    assert report["ok"]
    assert len(report["passed"]) >= 13
    assert len(report["refused"]) >= 5


FIXED: dict[str, Any] = {"window_fn": "FixedWindows(10)"}


@pytest.mark.parametrize("how", PLAYS)
@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([{"input": [1]}, {"expect": [{"window": [0, 9]}]}], "Unmatched output"),
        ([{"input": [1]}, {"watermark": 10}, {"expect": [{"window": [0, 9], "values": [2]}]}], "Unmatched output"),
        ([{"input": [1]}, {"watermark": 10}, {"expect": [{"window": [0, 19]}]}], "Unmatched output"),
        ([{"input": [1]}, {"watermark": 10}, {"watermark": 20}], "Unexpected output"),
        ([{"input": [1]}, {"watermark": 10}], "Unexpected output"),
        ([{"input": [1]}, {"state": {"absent": [[0, 9]]}}], "Unmatched state"),
        ([{"input": [1]}, {"state": {"tombstone": [[0, 9]]}}], "Unmatched state"),
    ],
)
def test_a_wrong_transcript_is_refused(lines: list[dict[str, Any]], error: str, how: Play) -> None:
    with pytest.raises(RunError, match=error):
        play({**FIXED, "transcript": lines}, how=how)


@pytest.mark.parametrize("how", PLAYS)
def test_clock_and_finish(how: Play) -> None:
    play(
        {
            **FIXED,
            "trigger_fn": "AfterEach(AfterProcessingTime(5), AfterAny(AfterCount(3), AfterProcessingTime(60)))",
            "accumulation_mode": "discarding",
            "allowed_lateness": 5,
            "transcript": [
                {"clock": 100},
                {"input": [1, 2]},
                {"clock": 104},
                {"clock": 105},
                {"expect": [{"window": [0, 9], "values": [1, 2], "early": True, "final": False, "index": 0}]},
                {"input": [3, 4, 5]},
                {"expect": [{"window": [0, 9], "values": [3, 4, 5], "early": True, "final": True, "index": 1}]},
                {"state": {"tombstone": [[0, 9]], "present": [], "absent": [[0, 9]]}},
                {"input": [6]},
                {"watermark": 15},
            ],
        },
        how=how,
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"window_fn": "FixedWindow(10)"},
        {"trigger_fn": "AfterWatermark(early=AfterCont(2))"},
        {"trigger_fn": "AfterWatermark()", "allowed_lateness": 5},
        {"timestamp_combiner": "OUTPUT_AT_NOON"},
        {"accumulation_mode": "piling"},
        {"trigger_fn": "lambda: 0"},
    ],
)
def test_what_has_no_counterpart_is_said(spec: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        read_dialect(spec)
    assert caught.value.hint
