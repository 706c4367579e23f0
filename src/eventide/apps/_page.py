"""A figure of an application as a file: a picture, or one HTML page that needs nothing else.

The figure stands in the page as SVG, tables before or behind it; there are no scripts, and nothing is fetched. Needs
matplotlib (``pip install eventide[plot]``), which is imported when a plot is drawn.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventide.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PageTable", "new_figure", "write_figure"]


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of a page.

    Parameters
    ----------
    heading
        Above it.
    columns
        Names of the columns; none: a table without a head.
    rows
        Texts.
    left
        How many columns, from the first on, stand to the left; numbers behind them stand to the right.
    note
        A sentence below it.
    """

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""

    def html(self) -> str:
        """Return it as HTML.

        Examples
        --------
        >>> print(PageTable("Counts", (), [["<all>", "7"]]).html())
        <h2>Counts</h2>
        <table>
        <tbody>
        <tr><td>&lt;all&gt;</td><td class="n">7</td></tr>
        </tbody>
        </table>
        """
        head = f"<thead>{self._row(self.columns, 'th')}</thead>\n" if self.columns else ""
        body = "".join(self._row(row, "td") + "\n" for row in self.rows)
        note = f"\n<p>{html.escape(self.note)}</p>" if self.note else ""
        return f"<h2>{html.escape(self.heading)}</h2>\n<table>\n{head}<tbody>\n{body}</tbody>\n</table>{note}"

    def _row(self, cells: Sequence[str], kind: str) -> str:
        names = ["" if at < self.left else ' class="n"' for at in range(len(cells))]
        made = (f"<{kind}{name}>{html.escape(cell)}</{kind}>" for name, cell in zip(names, cells, strict=True))
        return f"<tr>{''.join(made)}</tr>"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, inches.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        msg = "a plot needs matplotlib, which is not installed"
        raise MissingDependencyError(msg, hint="pip install eventide[plot]") from None
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def write_figure(
    figure: Figure,
    path: str | Path,
    heading: str,
    *,
    caption: str | None = None,
    above: Sequence[PageTable] = (),
    below: Sequence[PageTable] = (),
    dpi: int = 110,
) -> Path:
    """Write a figure into a file.

    Parameters
    ----------
    figure
        The figure.
    path
        ``.png``, ``.svg`` or ``.pdf`` for a picture, ``.html`` for a page.
    heading
        Of the page.
    caption
        In a picture; left out: the heading. "" for none.
    above, below
        Tables of the page, before and behind the figure.
    dpi
        Of a picture of pixels.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".html":
        parts = [*(t.html() for t in above), _svg(figure), *(t.html() for t in below)]
        text = _PAGE.format(heading=html.escape(heading), parts="\n".join(parts))
        target.write_text(text, encoding="utf-8")
        return target
    text = heading if caption is None else caption
    if text:
        figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.savefig(target, dpi=dpi)
    return target


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    picture = buffer.getvalue()
    return picture[picture.index("<svg") :]


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #1c2733; background: #fff }}
body {{ max-width: 1300px; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.3rem }} h2 {{ font-size: 1.05rem; margin-top: 2rem }}
svg {{ width: 100%; height: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid #e3e8ee }}
th.n, td.n {{ text-align: right }}
</style>
</head>
<body>
<h1>{heading}</h1>
{parts}
</body>
</html>
"""
