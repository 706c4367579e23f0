"""The checksum of files: CRC-32 as in zlib, from ISA-L where it is installed, which takes a tenth of the time.

Both give the same number, so files go from one machine to another. The extra ``fast`` brings ISA-L; see
`python-isal <https://python-isal.readthedocs.io>`_.
"""

from __future__ import annotations

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["crc32"]
