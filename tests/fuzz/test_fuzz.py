"""Mutated input for everything that reads bytes: a thousand inputs each here, a hundred thousand by ``make fuzz``."""

from __future__ import annotations

import pytest
from fuzz_mutate import mutant
from fuzz_run import fuzz
from fuzz_targets import PLANTED, TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_a_thousand_mutated_inputs(target: str) -> None:
    report = fuzz(target, count=1000, seed=1)
    assert report.findings == []
    assert report.inputs == 1000


_SAYS = {
    "crash": "process ended with -11",
    "hang": "takes longer than",
    "fill": "MemoryError",
    "lie": "begins with B",
    "reach": "process ended with -11",
}


@pytest.mark.parametrize("fault", [*PLANTED, "crash of many", "lie of many"])
def test_what_is_planted_is_found_and_attributed(fault: str) -> None:
    """Faults that kill or stop the process do not stop the fuzzer, and the input that caused them is named."""
    wrong = [n for n in range(40) if mutant([b"AAAA"], [b"B"], seed=3, number=n).startswith(b"B")]
    assert 0 < len(wrong) < 8
    report = fuzz(fault, count=40, seed=3, limit_s=2)
    assert report.inputs == 40
    assert [line.split(":")[0] for line in report.findings] == [f"{fault} 3/{n}" for n in wrong]
    assert all(_SAYS[fault.split()[0]] in line for line in report.findings)


def test_an_input_is_made_again_from_its_number() -> None:
    seeds, words = [b'{"a": 1}\n' * 5, b"[]"], [b"null"]
    one = [mutant(seeds, words, seed=1, number=n) for n in range(300)]
    assert one == [mutant(seeds, words, seed=1, number=n) for n in range(300)]
    assert len(set(one)) > 200
    assert one != [mutant(seeds, words, seed=2, number=n) for n in range(300)]
