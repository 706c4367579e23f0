"""XML of a few kilobytes from anyone, as a tree of elements: no document types, no entities, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from eventide.errors import DataError

__all__ = ["Element", "parse_xml"]

_MOST_BYTES, _MOST_ELEMENTS, _DEEPEST = 1 << 20, 10_000, 40


@dataclass(slots=True)
class Element:
    """An element: its name, attributes, line, and what is in it."""

    name: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        """Yield this element and all in it, as they stand in the file."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse_xml(data: bytes, *, where: str = "the file") -> Element:
    """Return the outermost element.

    Parameters
    ----------
    data
        The file: up to a megabyte, 10,000 elements, 40 of them within each other.
    where
        What it is called in messages.

    Raises
    ------
    DataError
        It is no XML, larger than that, or has a document type (by which entities would be declared).

    Examples
    --------
    >>> [e.name for e in parse_xml(b"<a><b c='1'/></a>").walk()]
    ['a', 'b']
    """
    if len(data) > _MOST_BYTES:
        msg = f"{where} has {len(data):,} bytes"
        raise DataError(msg, hint=f"a process of streams has at most {_MOST_BYTES:,}")
    parser = expat.ParserCreate()
    open_: list[Element] = []
    roots: list[Element] = []
    count = 0

    def refuse(*_: object) -> int:
        msg = f"{where}, line {parser.CurrentLineNumber}: document types and entities are not read"
        raise DataError(msg, hint="leave <!DOCTYPE ...> out and write what its entities stand for")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > _MOST_ELEMENTS or len(open_) >= _DEEPEST:
            msg = f"{where}, line {parser.CurrentLineNumber}: more than {_MOST_ELEMENTS} elements, or {_DEEPEST} nested"
            raise DataError(msg, hint="give one process of streams")
        made = Element(name, attributes, parser.CurrentLineNumber)
        (open_[-1].children if open_ else roots).append(made)
        open_.append(made)

    def end(_: str) -> None:
        open_.pop()

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = parser.UnparsedEntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        msg = f"{where} is no XML: {error}"
        raise DataError(msg, hint="give a process of streams, <application>...</application>") from None
    return roots[0]
