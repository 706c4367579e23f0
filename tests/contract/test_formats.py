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


class NeutronSuite(FormatSuite):
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


class TestEv42(NeutronSuite):
    format = "ev42"


class TestEv44(NeutronSuite):
    format = "ev44"


class TestAn44(NeutronSuite):
    format = "an44"


class TestF142(NeutronSuite):
    format = "f142"


class TestF144(NeutronSuite):
    format = "f144"


class TestPl72(NeutronSuite):
    format = "pl72"


class Test6s4t(NeutronSuite):
    format = "6s4t"


class TestDf12(NeutronSuite):
    format = "df12"


class TestX5f2(NeutronSuite):
    format = "x5f2"


class TestHs00(NeutronSuite):
    format = "hs00"


class TestHs01(NeutronSuite):
    format = "hs01"


class TestDa00(NeutronSuite):
    format = "da00"


class TestAd00(NeutronSuite):
    format = "ad00"
