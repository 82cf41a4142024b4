"""A page to read, keep and send on: one HTML file without scripts, fonts or pictures from anywhere else.

What is put into it is text: every name, query and document is escaped, and a policy in the head forbids the browser to
load or run anything, should an escape ever be missed. It follows the reader's light or dark setting, fits a phone, and
prints. The same content gives the same bytes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from everglade import durable
from everglade.errors import ConfigError
from everglade.pages.style import STYLE
from everglade.pages.tables import Column, Shown, Value, show_value, table_html
from everglade.pages.text import escape

__all__ = ["Column", "Page", "Shown", "Value"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Page:
    """A page that is put together from top to bottom.

    >>> page = Page("What came of it")
    >>> page.add_paragraph("One table.")
    >>> page.add_table(["model", Column("nDCG@10", better="max")], [("a", 0.5), ("b", 0.6)], "Greater is better.")
    >>> page.write("page.html")
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._parts: list[str] = []
        self._sections: list[tuple[str, str]] = []
        self._open = 0

    def add_heading(self, text: str, *, level: int = 2) -> None:
        """Begin a part of the page; those of level 2 are listed at the top."""
        if level not in (2, 3):
            raise ConfigError(f"a heading of level {level}: 2 and 3 are those of a page's parts.")
        name = f"part-{len(self._sections) + 1}"
        if level == 2 and not self._open:
            self._sections.append((name, text))
            self._parts.append(f'<h2 id="{name}">{escape(text)}</h2>')
        else:
            self._parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def add_paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def add_remark(self, text: str) -> None:
        """Add a paragraph that stands out: what a reader must know before believing the rest."""
        self._parts.append(f'<p class="remark">{escape(text)}</p>')

    def add_list(self, texts: Sequence[str]) -> None:
        """Add a list of sentences."""
        self._parts.append("<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>")

    def add_table(self, columns: Sequence[Column | str], rows: Sequence[Sequence[Value]], caption: str = "") -> None:
        """Add a table.

        Args:
            columns: Columns, or their names: columns of numbers stand to the right, others to the left.
            rows: Values; None prints as a dash.
            caption: A sentence above it that says what it shows, and which way is better.

        Raises:
            ConfigError: if a row has more or fewer values than there are columns.
        """
        self._parts.append(table_html(columns, rows, caption))

    def add_figure(self, svg: str, caption: str, narrow: str | None = None) -> None:
        """Add a figure.

        Args:
            svg: The figure, as `everglade.pages.figures` draws it.
            caption: A sentence below it that says what it shows, and which way is better.
            narrow: The same, drawn for a phone.
        """
        drawn = _embed(svg) if narrow is None else _embed(svg, "wide") + _embed(narrow, "narrow")
        self._parts.append(f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>")

    def add_terms(self, name: str, terms: Sequence[tuple[str, float]], rest: str = "") -> None:
        """Add terms with their weights in one line; the heavier a term, the stronger its ground.

        Args:
            name: What these terms are.
            terms: Terms and weights.
            rest: What is said of others that are not shown.
        """
        most = max((abs(weight) for _, weight in terms), default=0.0) or 1.0
        chips = "".join(
            f'<span class="term" style="--share:{round(100 * abs(weight) / most)}%"><bdi>{escape(term)}</bdi> '
            f"<small>{weight:.2f}</small></span> "
            for term, weight in terms
        )
        after = f'<span class="rest">{escape(rest)}</span>' if rest else ""
        self._parts.append(f'<p class="terms"><span class="name">{escape(name)}</span> {chips}{after}</p>')

    def add_quote(self, name: str, text: str, about: str = "") -> None:
        """Add a text of the collection, such as a document.

        Args:
            name: What it is called.
            text: The text.
            about: What is to be said of it, such as its rank.
        """
        head = f"<b><bdi>{escape(name)}</bdi></b>" + (f" <span>{escape(about)}</span>" if about else "")
        self._parts.append(f"<blockquote><p>{head}</p><p><bdi>{escape(text)}</bdi></p></blockquote>")

    def add_code(self, text: str) -> None:
        """Add lines as they are, such as a command or a file."""
        self._parts.append(f"<pre><code>{escape(text)}</code></pre>")

    def add_fields(self, fields: Mapping[str, Value]) -> None:
        """Add names and values, one pair a line: where something comes from."""
        rows = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(show_value(value))}</dd></div>" for name, value in fields.items()
        )
        self._parts.append(f"<dl>{rows}</dl>")

    @contextmanager
    def details(self, summary: str, *, opened: bool = False) -> Iterator[None]:
        """Hide what is added meanwhile behind one line, to be opened by whoever wants it; in print it is shown."""
        self._parts.append(f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary><div>")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            self._parts.append("</div></details>")

    def to_html(self) -> str:
        """Give the whole page."""
        subtitle = f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else ""
        links = "".join(f'<li><a href="#{name}">{escape(text)}</a></li>' for name, text in self._sections)
        contents = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(self._sections) > 2 else ""
        head = [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(self.title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body><main>",
            f"<header><h1>{escape(self.title)}</h1>{subtitle}{contents}</header>",
        ]
        return "\n".join([*head, *self._parts, "</main></body>", "</html>", ""])

    def write(self, path: str | Path) -> None:
        """Write the page to `path`, whole or not at all.

        Raises:
            ConfigError: if the folder is not there, or `path` is one.
        """
        path = Path(path)
        if path.is_dir() or not path.parent.is_dir():
            what = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
            raise ConfigError(f"{path} {what}. Name a file in a folder that is there.")
        durable.write_bytes(path, self.to_html().encode())


def _embed(svg: str, size: str = "") -> str:
    """Make an SVG file an element of the page: what names its language is said by the page."""
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg[svg.index("<svg") :])
    return f'<div class="plot {size}">{svg}</div>' if size else f'<div class="plot">{svg}</div>'
