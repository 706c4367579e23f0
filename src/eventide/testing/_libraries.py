"""pytest and Hypothesis, which the suites need and eventide does not."""

from __future__ import annotations

from eventide.errors import MissingDependencyError

try:
    import pytest
    from hypothesis import HealthCheck, assume, given, note, settings
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError as error:
    _MESSAGE = f"the suites of eventide.testing need the library {error.name!r}, which is not installed"
    raise MissingDependencyError(_MESSAGE, hint="pip install 'eventide[testing]'") from error

__all__ = ["DrawFn", "HealthCheck", "SearchStrategy", "assume", "given", "note", "pytest", "settings", "st"]
