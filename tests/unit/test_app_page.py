"""The one page that applications draw."""

from __future__ import annotations

import pytest

from eventide.apps._page import PageTable, new_figure, write_figure

pytest.importorskip("matplotlib", reason="pip install 'eventide[plot]'")


def figure():
    made = new_figure(4, 3)
    made.subplots().plot([1, 2], [2, 1])
    return made


def test_a_page_needs_nothing_else(tmp_path):
    table = PageTable("<b>", ("name", "n"), [["<i>", "7"]], note="a & b")
    path = write_figure(
        figure(), tmp_path / "new" / "a.html", "x < y", above=[table], below=[PageTable("Counts", (), [])]
    )
    text = path.read_text()
    assert "<h1>x &lt; y</h1>" in text and "<b>" not in text and "<i>" not in text and "a &amp; b" in text
    assert text.index("&lt;b&gt;") < text.index("<svg") < text.index("Counts")
    assert "<script" not in text and 'src="' not in text


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_pictures(tmp_path, name, begins):
    assert write_figure(figure(), tmp_path / name, "heading", caption="").read_bytes().startswith(begins)
