"""The head of a partition: how far readers may read, in shared memory.

The writer stores the offset after the last durable event as one aligned 8-byte number after every
sync, so that a reader learns of new events for the price of a memory access, and rings for readers that wait
(`bell`). The head is advice, not
truth: it is synced only when it is made, and after a restart of the machine (another boot id) it is not
believed; the truth is what a scan of the segments finds. `promised` is the offset below which events
were acknowledged as durable: damage there is corruption, damage after it is a torn tail.
"""

from __future__ import annotations

import mmap
import os
from functools import cache
from pathlib import Path

from eventide.log.bell import address_of, ring
from eventide.log.checksum import crc32
from eventide.log.layout import sync_file

__all__ = ["Head", "boot_id"]

_MAGIC = 0x3144414548545645  # "EVTHEAD1"
_SIZE = 64
_BOOT, _END, _PROMISED, _DELETED, _CHECK = 1, 2, 3, 4, 5
_ALL = (1 << 64) - 1


@cache
def boot_id() -> int:
    """Return a number that changes when the machine restarts; 0 where there is no way to tell.

    Examples
    --------
    >>> boot_id() == boot_id()
    True
    """
    try:
        return crc32(Path("/proc/sys/kernel/random/boot_id").read_bytes())
    except OSError:
        return 0


class Head:
    """The head file of one partition.

    Parameters
    ----------
    folder
        Folder of the partition.
    create
        Make the file when it is missing.

    Attributes
    ----------
    fresh
        The file was made just now: what it promised before, if anything, is not known.

    Raises
    ------
    FileNotFoundError
        There is no head and `create` is false.

    Examples
    --------
    >>> import tempfile
    >>> head = Head(Path(tempfile.mkdtemp()), create=True)
    >>> head.publish(12, promised=10)
    >>> head.end, head.promised, head.trusted
    (12, 10, True)
    """

    __slots__ = ("_map", "_path", "_word", "_words", "fresh")

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self._path = folder / "head"
        fd = os.open(self._path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
        try:
            if os.fstat(fd).st_size < _SIZE:
                # Written, not only made long: a store into a page that a full disk cannot give kills the process.
                os.pwrite(fd, b"\0", _SIZE - 1)
            self._map = mmap.mmap(fd, _SIZE)
            # A memoryview of native 8-byte words stores and loads each word in one instruction.
            self._words = memoryview(self._map).cast("Q")
            self._word = address_of(self._map) + 8 * _END
            self.fresh = create and self._words[0] != _MAGIC
            if self.fresh:
                self._begin(fd)
        finally:
            os.close(fd)

    def _begin(self, fd: int) -> None:
        """Write a new head, durably: one that is missing after a loss of power was removed, not lost."""
        self._words[_END] = 0
        self._promise(0)
        self._words[_BOOT] = boot_id()
        self._words[0] = _MAGIC
        self._map.flush()
        sync_file(fd)

    @property
    def end(self) -> int:
        """Offset after the last event that readers may see."""
        return self._words[_END]

    def still(self, offset: int) -> bool:
        """Tell whether there is nothing for a reader at `offset` to look into: no event after it, no news."""
        words = self._words
        return words[_END] <= offset and not words[_DELETED] and self.trusted

    @property
    def bell(self) -> tuple[int, int]:
        """What a reader waits for (`eventide.log.bell`): where `end` lies, and what it is."""
        return self._word, self._words[_END]

    @property
    def promised(self) -> int:
        """Offset below which events were acknowledged as durable."""
        if self._words[0] != _MAGIC:
            return 0
        promised = self._words[_PROMISED]
        # A loss of power may leave half of a number; then nothing is known, and nothing must be called damaged for it.
        return promised if self._words[_CHECK] == promised ^ _ALL or self.trusted else 0

    @property
    def trusted(self) -> bool:
        """Whether `end` can be believed: written by a writer since the machine started."""
        return self._words[0] == _MAGIC and self._words[_BOOT] == boot_id()

    @property
    def deleted(self) -> bool:
        """Whether the topic was deleted."""
        return self._words[_DELETED] != 0

    def publish(self, end: int, *, promised: int) -> None:
        """Let readers see everything before `end`."""
        self._promise(promised)
        self._words[_END] = end
        ring(self._word)

    def _promise(self, offset: int) -> None:
        self._words[_PROMISED], self._words[_CHECK] = offset, offset ^ _ALL

    def renew(self, end: int, *, promised: int) -> None:
        """Set the head after a recovery: from now on it is trusted."""
        self._words[_END] = end
        self._promise(promised)
        self._words[_DELETED] = 0  # a deletion that was cut short before the topic was forgotten
        self._words[_BOOT] = boot_id()
        self._words[0] = _MAGIC
        ring(self._word)

    def mark_deleted(self) -> None:
        """Tell readers, durably, that the topic is gone."""
        self._words[_DELETED] = 1
        ring(self._word)
        self._map.flush()
        fd = os.open(self._path, os.O_RDWR)
        try:
            sync_file(fd)
        finally:
            os.close(fd)
