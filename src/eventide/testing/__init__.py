"""Conformance suites that ship with eventide: for its own plug-ins and for those of other packages.

Subclass a suite in a test file and say how to make the plug-in; pytest runs the rest:

- `eventide.testing.sources.SourceSuite`, `eventide.testing.sinks.SinkSuite`, `eventide.testing.formats.FormatSuite`
- `eventide.testing.operators.OperatorSuite`, `eventide.testing.engines.EngineSuite`, `eventide.testing.apps.AppSuite`

They need pytest and Hypothesis (``pip install 'eventide[testing]'``).
"""

from __future__ import annotations

import sys

__all__: list[str] = []

_SUITES = ("_compare", "_suite", "apps", "engines", "formats", "operators", "sinks", "sources")

if sys.modules.get("pytest") is not None:  # its assertions then say what they compared, as in a test file
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.{module}" for module in _SUITES))
