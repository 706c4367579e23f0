"""An instrument of one's own, in a file."""

from __future__ import annotations

import re
import tomllib

import pytest

from eventide.apps.neutron.instruments import Instrument, instrument
from eventide.apps.neutron.views import VIEWS
from eventide.errors import ConfigError, UsageError

GOOD = """\
method = "sans"
period = 71428571
path = 20.0
wavelengths = [2.0, 12.0]
[[banks]]
name = "rear"
first = 1
rows = 4
columns = 8
centre = [0.0, 0.0, 4.0]
size = [0.008, 0.008]
[[banks]]
name = "left"
first = 33
rows = 2
columns = 2
centre = [1, 0, 2]
size = [0.1, 0.1]
across = [0.0, 0.0, 1.0]
dead = [1]
[[monitors]]
name = "before"
distance = 18.0
"""


def read(folder, text):
    (folder / "mine.toml").write_text(text)
    return instrument(str(folder / "mine.toml"))


def test_a_file(tmp_path):
    one = read(tmp_path, GOOD)
    assert isinstance(one, Instrument)
    assert (one.name, one.method, one.pixels, one.first, one.monitors[0].share) == ("mine", "sans", 36, 1, 0.01)
    assert one.geometry().alive.sum() == 34
    assert tomllib.loads(GOOD)["banks"][1]["dead"] == [1]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"sans"', '"sand"', "method"),
        ("period = 71428571\n", "", "period"),
        ("path = 20.0", "paths = 20.0", "did you mean 'path'|there is no 'paths'"),
        ("path = 20.0", "path = -1.0", "above 0"),
        ("[2.0, 12.0]", "[12.0, 2.0]", "wavelengths"),
        ("[2.0, 12.0]", "[2.0, nan]", "wavelengths"),
        ("rows = 4", "rows = 0", "0 rows"),
        ("rows = 4", 'rows = "4"', "banks 1"),
        ("rows = 4", "rows = 40000000", "pixels after the first one"),
        ("first = 33", "first = 32", "those of bank 'rear' too"),
        ("first = 33", "first = -3", "from pixel -3 on"),
        ('name = "left"', 'name = "rear"', "two sources are called 'rear'"),
        ("dead = [1]", "dead = [2]", "no row 2"),
        ("size = [0.1, 0.1]", "size = [0.1, 0.0]", "nowhere"),
        ("centre = [1, 0, 2]", "centre = [1, 0]", "banks 2"),
        ("distance = 18.0", "distance = 0.0", "monitor 'before'"),
        ("[[banks]]", "[[banks]", "cannot be read"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, old, new, reason):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert re.search(reason, f"{caught.value} {caught.value.hint}") and "mine.toml" in str(caught.value)


def test_there_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        instrument(str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="no instrument 'lok'"):
        instrument("lok")
    assert {v.name for v in VIEWS} >= {"energy", "wavelength", "d_spacing", "q"}
