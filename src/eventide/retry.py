"""Try again: how long to wait, and when to stop trying.

Waits grow exponentially and are drawn at random below their bound ("full jitter"), so that many clients of a
server that comes back do not all return at the same moment.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from eventide.errors import is_retriable

__all__ = ["Circuit", "CircuitState", "RetryPolicy", "call"]

T = TypeVar("T")

CircuitState: TypeAlias = Literal["closed", "open", "half_open"]
"""As an electrician says it: closed works, open is waiting before the next try, half open is trying."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try again.

    Parameters
    ----------
    first, factor, longest
        Bound of the first wait, what each next one is multiplied by, and the longest, in seconds.
    attempts
        How many failures in a row are borne before the error is raised; 0: any number.

    Examples
    --------
    >>> [RetryPolicy(first=0.5, longest=3.0).bound(n) for n in (1, 2, 3, 4)]
    [0.5, 1.0, 2.0, 3.0]
    """

    first: float = 0.1
    factor: float = 2.0
    longest: float = 30.0
    attempts: int = 0

    def bound(self, failures: int) -> float:
        """Return the longest wait after so many failures in a row, in seconds."""
        return float(min(self.longest, self.first * self.factor ** min(failures - 1, 64)))

    def wait(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """Return a wait drawn at random between half its bound and the bound, in seconds."""
        return self.bound(failures) * (0.5 + 0.5 * draw())


@dataclass(slots=True)
class Circuit:
    """The state of one connection that fails and comes back.

    Examples
    --------
    >>> circuit = Circuit(RetryPolicy(first=1.0))
    >>> wait = circuit.failed(ConnectionError("refused"))
    >>> circuit.state, circuit.failures, 0.5 <= wait <= 1.0
    ('open', 1, True)
    >>> circuit.worked()
    >>> circuit.state, circuit.failures, circuit.retries
    ('closed', 0, 1)
    """

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    state: CircuitState = "closed"
    failures: int = 0
    retries: int = 0
    reason: str = ""

    def failed(self, error: BaseException) -> float:
        """Take note of a failure and return how long to wait; raise it again when it is fatal or one too many.

        Raises
        ------
        BaseException
            The same error.
        """
        self.failures += 1
        self.reason = str(error)
        if not is_retriable(error) or (self.policy.attempts and self.failures >= self.policy.attempts):
            self.state = "open"
            raise error
        self.retries += 1
        self.state = "open"
        return self.policy.wait(self.failures)

    def trying(self) -> None:
        """Say that the next try begins."""
        if self.state == "open":
            self.state = "half_open"

    def worked(self) -> None:
        """Say that it works."""
        self.state, self.failures, self.reason = "closed", 0, ""


def call(what: Callable[[], T], *, policy: RetryPolicy, sleep: Callable[[float], object] = time.sleep) -> T:
    """Call until it works; an error that is fatal, or one too many, is raised.

    Parameters
    ----------
    what
        The call; it must be safe to repeat.
    policy
        How often, how long.
    sleep
        How to wait, in seconds.

    Examples
    --------
    >>> answers = iter([ConnectionError("refused"), None])
    >>> def connect():
    ...     answer = next(answers)
    ...     if answer:
    ...         raise answer
    ...     return "connected"
    >>> call(connect, policy=RetryPolicy(first=0.001))
    'connected'
    """
    circuit = Circuit(policy)
    while True:
        circuit.trying()
        try:
            return what()
        except Exception as error:
            sleep(circuit.failed(error))
