"""Write docs/reference/capabilities.md: what each plug-in was proved to do, from the suites and their subclasses.

``python -m tools.capabilities`` writes the page; a test asserts that it is up to date.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from eventide.testing._suite import Suite, proofs_of
from eventide.testing.apps import AppSuite
from eventide.testing.engines import EngineSuite
from eventide.testing.formats import FormatSuite
from eventide.testing.operators import OperatorSuite
from eventide.testing.sinks import SinkSuite
from eventide.testing.sources import SourceSuite
from eventide.testing.strategies import TYPES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "capabilities.md"
TESTS = ROOT / "tests" / "contract"
# Engines with an environment of their own. Their modules must be importable in any; elsewhere their tests are skipped.
MORE = ROOT / "tests" / "engines"
# Engines with an environment of their own. Their modules must be importable in any; elsewhere their tests are skipped.
MORE = ROOT / "tests" / "engines"

SUITES: dict[str, tuple[str, type[Suite]]] = {
    "sources": ("Sources", SourceSuite),
    "sinks": ("Sinks", SinkSuite),
    "formats": ("Formats", FormatSuite),
    "operators": ("Operators", OperatorSuite),
    "engines": ("Engines", EngineSuite),
    "apps": ("Applications", AppSuite),
}

INTRODUCTION = """\
# Capabilities

What each plug-in was proved to do: the tests of the suites in `eventide.testing`, which run for every plug-in in every
test of eventide. This page is generated (`python -m tools.capabilities`).

**yes**: proved. **-**: the plug-in has no such part. **(1)**: a known gap, named below the table; its test is
expected to fail, and fails when it does not. Prove a plug-in of your own: [how](../how-to/prove-your-plugin.md).
"""


def adapters(suite: type[Suite], module: ModuleType) -> dict[str, list[Suite]]:
    """Return the tests' subclasses of a suite by the name of the plug-in."""
    found: dict[str, list[Suite]] = {}
    for value in vars(module).values():
        named = isinstance(value, type) and issubclass(value, suite) and value.__name__.startswith("Test")
        if named and value.__module__ == module.__name__:
            made = value()
            name = made.plugin or getattr(made, "format", "")
            found.setdefault(name, []).append(made)
    return found


def proved(kind: str) -> dict[str, list[Suite]]:
    """Return the subclasses of all test modules of a kind by the name of the plug-in."""
    suite = SUITES[kind][1]
    found = adapters(suite, load(TESTS / f"test_{kind}.py"))
    with mock.patch.object(pytest, "importorskip"):  # what would be skipped here is run elsewhere
        for path in sorted(MORE.glob("*/test_*.py")):
            if suite.__name__ in path.read_text("utf-8"):
                found |= adapters(suite, load(path))
    return found


def load(path: Path) -> ModuleType:
    """Return a test module."""
    name = f"contract_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def cell(test: str, made: list[Suite], notes: list[str]) -> str:
    """Return what the table says of a plug-in and a test: proved, a known gap, or no such part."""
    there = [a for a in made if test not in a.optional or a.has(a.optional[test])]
    if not there:
        return "-"
    reasons = [r for a in there for name, r in a.gaps.items() if name.partition("[")[0] == test]
    marks = []
    for reason in dict.fromkeys(reasons):
        if reason not in notes:
            notes.append(reason)
        marks.append(f"({notes.index(reason) + 1})")
    whole = any(test not in {name.partition("[")[0] for name in a.gaps} for a in there)
    return " ".join([*(["yes"] if whole else []), *marks])


def section(kind: str) -> str:
    """Return the heading, the table and the gaps of one kind of plug-in."""
    title, suite = SUITES[kind]
    found = proved(kind)
    notes: list[str] = []
    lines = [f"## {title}", ""]
    lines += ["| | " + " | ".join(f"`{n}`" for n in found) + " |", "|---" * (len(found) + 1) + "|"]
    facts = {"sinks": "delivery", "formats": "column types"}.get(kind)
    if facts:
        lines.append(f"| {facts} | " + " | ".join(fact(kind, made) for made in found.values()) + " |")
    for test, proof in proofs_of(suite).items():
        lines.append(f"| {proof} | " + " | ".join(cell(test, made, notes) for made in found.values()) + " |")
    if notes:
        lines += ["", *(f"({number}) {reason}  " for number, reason in enumerate(notes, 1))]
    return "\n".join(lines).rstrip() + "\n"


def fact(kind: str, made: list[Suite]) -> str:
    """Return what a plug-in declares: the deliveries of a sink, the types of a format."""
    if kind == "formats":
        kept = {t for a in made for t in a.types}  # type: ignore[attr-defined]
        if not kept:
            return "its own"
        missing = [t for t in TYPES if t not in kept]
        return "all but " + ", ".join(f"`{t}`" for t in missing) if missing else "all"
    return ", ".join(dict.fromkeys(a.delivery.replace("_", " ") for a in made))  # type: ignore[attr-defined]


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(section(kind) for kind in SUITES)])


if __name__ == "__main__":
    sys.path.append(str(ROOT / "tests"))  # as pytest has it: tests share some modules
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(page().splitlines())} lines")
