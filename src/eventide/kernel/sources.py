"""What the source of a module is, with all that it takes from its own package: compiled code is for that alone.

Compiled loops have the loops that they call, and the constants that they import, built in. So code that was kept on
disk must not be used when one of those has changed, as it does with a new version, though the file of the loop has not.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from pathlib import Path

__all__ = ["source_stamp"]

_FROM = re.compile(rb"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_IMPORT = re.compile(rb"^[ \t]*import[ \t]+([\w., \t]+)", re.MULTILINE)
_NAME = re.compile(rb"[\w.]+")


@functools.cache
def source_stamp(module: str) -> str:
    """Return a SHA-256 of the source of a module and of those it imports, directly or not, from its own package.

    Parameters
    ----------
    module
        Its full name.

    Examples
    --------
    >>> source_stamp("eventide.kernel.sources") == source_stamp("eventide.kernel.compiled")
    False
    """
    seen: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name], imported = _read(name)
            waiting += imported
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + seen[name])
    return digest.hexdigest()


@functools.cache
def _read(module: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a digest of a module's file, and the modules of its package that it imports; nothing of what is no module.

    Nothing is imported for it, and parents are not looked at: importing from a module does not take what they have.
    """
    file = _file(module)
    if file is None:
        return b"", ()
    source = file.read_bytes()
    # Parsing would take ten times as long; what looks like an import in a text only makes a stamp of more.
    names = [name for some in _IMPORT.findall(source) for name in _NAME.findall(some)]
    for parent, some in _FROM.findall(source):
        # What is imported from a package may be a module of it.
        names += [parent, *(parent + b"." + name for name in _NAME.findall(some))]
    package = module.partition(".")[0].encode()
    own = dict.fromkeys(name.decode() for name in names if name.partition(b".")[0] == package)
    return hashlib.sha256(source).digest(), tuple(own)


def _file(module: str) -> Path | None:
    """Return the file of a module, found by its name in the folders of its outermost package."""
    package, *inside = module.split(".")
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # as of `__main__`
        return None
    if found is None:
        return None
    if not inside and found.origin is not None and found.origin.endswith(".py"):
        return Path(found.origin)
    for folder in (found.submodule_search_locations or ()) if inside else ():
        for file in (Path(folder, *inside[:-1], f"{inside[-1]}.py"), Path(folder, *inside, "__init__.py")):
            if file.is_file():
                return file
    return None
