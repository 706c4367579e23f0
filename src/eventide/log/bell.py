"""Waiting for a word of shared memory to change, without looking at it again and again: Linux's futex.

Writers store and ring, readers wait, in whatever process they are. A ring costs a system call of about a microsecond; a
reader that waits costs nothing, and is awake some 50 microseconds after the ring. Elsewhere `wait` says that it cannot.
See futex(2), https://man7.org/linux/man-pages/man2/futex.2.html, and for several words at once (Linux 5.16)
https://docs.kernel.org/userspace-api/futex2.html.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import platform
import sys
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

__all__ = ["address_of", "ring", "wait"]

_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_FUTEX_WAITV = 449
_WAIT, _WAKE = 0, 1
_EVERYBODY = 2**31 - 1
_WORDS_32 = 2
_MOST = 128
_LOW = (1 << 32) - 1
_PASSING = {0, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT}


class _Time(ctypes.Structure):
    _fields_ = (("s", ctypes.c_int64), ("ns", ctypes.c_int64))


class _Waiter(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


@cache
def _futex() -> tuple[Any, int] | None:
    """Return the function for system calls and the number of futex, None where there is none that we know."""
    number = _FUTEX.get(platform.machine())
    # The kernel compares 32 bits; in this byte order they are the low half of a word, at the word's address.
    if sys.platform != "linux" or number is None or sys.byteorder != "little" or sys.maxsize < 2**32:
        return None
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return call, number


def address_of(shared: mmap.mmap) -> int:
    """Return where a writable map lies in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(shared))


def ring(address: int) -> None:
    """Wake everybody who waits for the 8-byte word at an address of shared memory; it was stored before."""
    futex = _futex()
    if futex is not None:
        call, number = futex
        call(number, ctypes.c_void_p(address), _WAKE, _EVERYBODY, None, None, 0)


def wait(words: Sequence[tuple[int, int]], seconds: float) -> bool:
    """Wait until one of some words has changed or was rung for, or the time is over; it may return earlier.

    Parameters
    ----------
    words
        Address and last value seen of each.
    seconds
        How long at most.

    Returns
    -------
    False, at once, where this system cannot wait for so many words.

    Examples
    --------
    >>> shared = mmap.mmap(-1, 8)
    >>> wait([(address_of(shared), 7)], 10) in (True, False)  # it is not 7 any more
    True
    """
    futex = _futex()
    if futex is None or not 0 < len(words) <= _MOST:
        return False
    call, number = futex
    if len(words) == 1:
        ((address, value),) = words
        until = ctypes.byref(_Time(int(seconds), int(seconds % 1 * 1e9)))
        done = call(number, ctypes.c_void_p(address), _WAIT, ctypes.c_uint32(value & _LOW), until, None, 0)
    else:
        waiters = (_Waiter * len(words))(*(_Waiter(value & _LOW, address, _WORDS_32, 0) for address, value in words))
        end = time.monotonic_ns() + int(seconds * 1e9)
        until = ctypes.byref(_Time(end // 1_000_000_000, end % 1_000_000_000))
        done = call(_FUTEX_WAITV, waiters, len(words), 0, until, time.CLOCK_MONOTONIC)
    return done >= 0 or ctypes.get_errno() in _PASSING
