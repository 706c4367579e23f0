"""Every built-in format passes the suite that ships with eventide."""

from __future__ import annotations

import pyarrow as pa

from eventide.testing.formats import FormatSuite
from eventide.testing.strategies import TYPES

NESTED = tuple(t for t in TYPES if t != "dictionary")


class TestArrow(FormatSuite):
    format = "arrow"
    types = tuple(TYPES)


class TestParquet(FormatSuite):
    format = "parquet"
    types = tuple(TYPES)


class TestJson(FormatSuite):
    format = "json"
    types = NESTED


class TestCsv(FormatSuite):
    format = "csv"
    reading = {"multiline": True}


class MessageSuite(FormatSuite):
    """A format whose columns are those of its messages: what the suite draws has no place in them.

    That their values come back is proved in tests/formats/test_neutron_*.py.
    """

    types = ()

    def has(self, part: str) -> bool:
        return False

    def samples(self) -> list[bytes]:
        from fuzz.neutron_samples import samples

        return samples()[self.format]

    def schema(self) -> pa.Schema:
        found: pa.Schema = self.module.infer(b"")
        return found


class TestEv42(MessageSuite):
    format = "ev42"


class TestEv44(MessageSuite):
    format = "ev44"


class TestAn44(MessageSuite):
    format = "an44"


class TestF142(MessageSuite):
    format = "f142"


class TestF144(MessageSuite):
    format = "f144"


class TestPl72(MessageSuite):
    format = "pl72"


class Test6s4t(MessageSuite):
    format = "6s4t"


class TestDf12(MessageSuite):
    format = "df12"


class TestX5f2(MessageSuite):
    format = "x5f2"


class TestHs00(MessageSuite):
    format = "hs00"


class TestHs01(MessageSuite):
    format = "hs01"


class TestDa00(MessageSuite):
    format = "da00"


class TestAd00(MessageSuite):
    format = "ad00"


class TestRaw(MessageSuite):
    format = "raw"

    def samples(self) -> list[bytes]:
        return [b"any bytes", b"\x00\xff"]
