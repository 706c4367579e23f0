"""Every built-in plug-in has a suite, and the page that says what was proved is up to date."""

from __future__ import annotations

import pytest
from tools.capabilities import PAGE, page, proved

from eventide import registry


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m tools.capabilities`"


@pytest.mark.parametrize(
    ("kind", "suite", "side"),
    [
        ("connector", "sources", "source"),
        ("connector", "sinks", "sink"),
        ("format", "formats", ""),
        ("operator", "operators", ""),
        ("engine", "engines", ""),
        ("app", "apps", ""),
    ],
)
def test_every_built_in_plug_in_has_a_suite(kind: str, suite: str, side: str) -> None:
    found = proved(suite)
    for name in registry.names(kind):
        if not side or hasattr(registry.resolve(kind, name), side):
            assert name in found, (
                f"nothing in tests/contract/test_{suite}.py or tests/engines proves the {kind} {name!r}"
            )
