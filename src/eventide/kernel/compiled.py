"""Compile a loop with numba where it is installed; otherwise say that it is not.

Every compiled kernel of eventide is made here, so that there is one place that decides how: without
the interpreter lock (`nogil`), cached on disk, IEEE arithmetic left alone (no `fastmath`). Kernels
are compiled at first use: importing eventide never imports numba.

Set ``EVENTIDE_COMPILED=0`` to run on the numpy kernels although numba is there.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from eventide.kernel.sources import source_stamp

__all__ = ["compiled", "have_compiler"]

F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def have_compiler() -> bool:
    """Tell whether compiled kernels are in use (numba is installed and not switched off).

    Examples
    --------
    >>> have_compiler() in (True, False)
    True
    """
    return os.environ.get("EVENTIDE_COMPILED", "1") != "0" and importlib.util.find_spec("numba") is not None


def compiled(function: F) -> F:
    """Return `function` compiled by numba at its first call (nogil, cached on disk).

    Call it only behind `have_compiler()`; helper loops that a kernel calls must be `compiled` too,
    which is why the result of `numba.njit` itself is returned and nothing is wrapped around it.

    Parameters
    ----------
    function
        A loop over flat numpy arrays in the subset of Python that numba compiles.

    Examples
    --------
    >>> from eventide.kernel.watermarks import follow_loop
    >>> follow = compiled(follow_loop) if have_compiler() else follow_loop
    >>> import numpy as np
    >>> follow(np.array([1, 9, 2]), 0, 3)
    (1, 9, 9, True)
    """
    import numba

    made = numba.njit(nogil=True, cache=True)(function)
    # Numba looks at the file of the function alone, and would go on with loops and constants of another version.
    kept = getattr(getattr(made, "_cache", None), "_cache_file", None)
    if kept is not None:  # None with NUMBA_DISABLE_JIT=1, where nothing is compiled
        kept._source_stamp = (kept._source_stamp, source_stamp(function.__module__))
    return cast("F", made)
