"""What all suites have in common: gaps that are declared, optional parts, examples drawn."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from eventide.testing._libraries import HealthCheck, SearchStrategy, given, pytest, settings, st

__all__ = ["Suite", "each", "proofs_of"]


class Suite:
    """Tests of one contract; a subclass says how the thing under test is made.

    Attributes
    ----------
    plugin
        Name of the plug-in, for the table of capabilities.
    gaps
        Tests that are known to fail, and why: ``{"test_name": "reason"}``, or ``"test_name[parameter]"``. They
        run as strict expected failures, so a gap that was closed fails until it is taken off the list.
    optional
        Tests of a part that a plug-in may lack, and the name of that part.
    """

    plugin: ClassVar[str] = ""
    gaps: ClassVar[Mapping[str, str]] = {}
    optional: ClassVar[Mapping[str, str]] = {}

    def has(self, part: str) -> bool:
        """Return whether an optional part is there; its tests are left out otherwise."""
        return True

    @pytest.fixture(autouse=True)
    def _declared(self, request: pytest.FixtureRequest) -> None:
        """Leave out what the plug-in does not have, and expect the failures that are declared."""
        for known in [*self.gaps, *self.optional]:
            assert hasattr(self, known.partition("[")[0]), f"{type(self).__name__} names {known}, which is no test"
        name = request.node.name
        part = self.optional.get(name.partition("[")[0], "")
        if part and not self.has(part):
            pytest.skip(f"this plug-in has no {part}")
        reason = self.gaps.get(name) or self.gaps.get(name.partition("[")[0])
        if reason:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


def proofs_of(suite: type[Suite]) -> dict[str, str]:
    """Return the tests of a suite and what each proves (the first line of its docstring), in order of definition."""
    found: dict[str, str] = {}
    for owner in reversed(suite.__mro__):
        for name, value in vars(owner).items():
            if name.startswith("test_") and callable(value):
                text = (inspect.getdoc(value) or "").partition("\n")[0].rstrip(".")
                found[name] = text or found.get(name, "")
    return found


def each(test: Callable[..., None], *drawn: SearchStrategy[Any], share: float = 1.0) -> None:
    """Call a test with examples of strategies, as many as the Hypothesis profile says.

    Parameters
    ----------
    test
        Takes one value of each strategy.
    drawn
        The strategies.
    share
        Part of the profile's number of examples; tests that touch a disk try fewer.
    """
    count = max(5, int(settings().max_examples * share))

    # Built anew in every call, so that one suite can be inherited by any number of classes.
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(*drawn))
    def holds(example: tuple[Any, ...]) -> None:
        test(*example)

    holds()
