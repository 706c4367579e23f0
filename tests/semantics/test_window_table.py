"""Every kind of trigger with every accumulation mode and lateness, on scripts whose outcome was reviewed."""

from __future__ import annotations

import pytest
from window_scripts import Happening, Setting

pytest.importorskip("yaml")

from window_table import TABLES, cases, machine_outcome, oracle_outcome

CASES = [case for path in TABLES for case in cases(path)]


@pytest.mark.parametrize(("setting", "script", "outcome"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_case(setting: Setting, script: list[Happening], outcome: list[str]) -> None:
    assert oracle_outcome(setting, script) == outcome
    assert machine_outcome(setting, script, single=False, parts=1) == outcome
    assert machine_outcome(setting, script, single=True, parts=3) == outcome


def test_tables_cover_every_combination() -> None:
    combinations = {
        (type(s.window).__name__, name.split(": ")[1].rsplit(", ", 2)[0], s.accumulation, s.lateness > 0)
        for name, s, _, _ in CASES
    }
    windows, triggers, modes, lateness = (len({c[i] for c in combinations}) for i in range(4))
    assert len(combinations) == windows * triggers * modes * lateness
    assert (windows, modes, lateness) == (3, 3, 2)
