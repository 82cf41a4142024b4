"""Pages are well-formed, show any text as it is, and reach for nothing outside of themselves."""

import re
from html.parser import HTMLParser

import pytest

from everglade.errors import ConfigError
from everglade.pages.figures import draw_curves
from everglade.pages.page import Column, Page
from everglade.pages.text import escape

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=y>\x00\ud800\u202e"
SHOWN = "<script>alert(1)</script>\"'&<img src=x onerror=y>\ufffd\ufffd\u202e"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def full_page(word):
    page = Page(word, word)
    for _ in range(3):
        page.add_heading(word)
    page.add_heading(word, level=3)
    page.add_paragraph(word)
    page.add_remark(word)
    page.add_list([word, word])
    page.add_table([word, Column(word, better="max")], [(word, 1.0), (word, 2.0), (word, None)], word)
    page.add_figure(draw_curves({"a": [(1, 1), (2, 2)]}, word, word), word, draw_curves({"a": [(1, 1)]}, word, word))
    page.add_terms(word, [(word, 2.0), (word, 1.0)], word)
    page.add_quote(word, word, word)
    page.add_code(word)
    page.add_fields({word: word, "nothing": None})
    with page.details(word):
        page.add_heading(word)
        page.add_paragraph(word)
    return page


def test_every_text_is_shown_as_it_is():
    found = read(full_page(HOSTILE).to_html())
    assert not {"script", "img", "link", "iframe", "object"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    shown = "".join(found.texts)
    # Titles 3, headings with links 7, paragraphs and lists 4, table 6, caption 1, terms 4, quote 3, code 1, fields 2,
    # details 3. In the figure, whose letters are all printable, it reads a little otherwise.
    assert shown.count(SHOWN) == 34


def test_a_page_reaches_for_nothing():
    text = full_page("word").to_html()
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|src=", text)
    found = read(text)
    assert dict(found.attributes)["content"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in dict(
        (value, name) for name, value in found.attributes
    )


def test_names_in_a_page_are_its_own_and_links_lead_to_them():
    found = read(full_page("word").to_html())
    names = [value for name, value in found.attributes if name == "id"]
    assert len(names) == len(set(names))
    for name, value in found.attributes:
        if name == "href":
            assert value.startswith("#")
            assert value[1:] in names


def test_the_same_content_gives_the_same_bytes():
    assert full_page("a").to_html() == full_page("a").to_html()


def test_the_best_of_a_column_is_marked_and_nothing_else():
    page = Page("t")
    columns = ["model", Column("nDCG@10", "max", 2), Column("FLOPS", "min"), Column("same", "max"), "plain"]
    page.add_table(columns, [("a", 0.5, 1.5, 3, 7), ("b", 0.75, None, 3, 9), ("c", 0.75, 2.5, 3, 8)])
    text = page.to_html()
    assert re.findall(r"<b>(.*?)</b>", text) == ["1.500", "0.75", "0.75"]
    assert text.count('class="number"') == 4 * 4
    assert "–" in text


def test_numbers_of_a_column_stand_under_each_other():
    page = Page("t")
    page.add_table(["model", "terms", "count", "given"], [("a", 150.25, 7, "+.1"), ("b", 33, 1200, None)])
    cells = re.findall(r"<bdi>(.*?)</bdi>", page.to_html())
    assert cells == ["a", "150.2", "7", "+.1", "b", "33.0", "1,200", "–"]


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="a row of 1 values in a table of 2 columns"):
        Page("t").add_table(["a", "b"], [("only one",)])


def test_details_are_closed_even_after_an_error():
    page = Page("t")
    with pytest.raises(KeyError), page.details("more"):
        raise KeyError
    read(page.to_html())


def test_writing(tmp_path):
    page = Page("t")
    page.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.to_html()
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]
    for place in (tmp_path, tmp_path / "not" / "there.html"):
        with pytest.raises(ConfigError, match="Name a file in a folder that is there"):
            page.write(place)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31m", "\ufffd[31m"),
        ("\udcff", "\ufffd"),
        ("\uffff", "\ufffd"),
        ("<&>", "&lt;&amp;&gt;"),
    ],
)
def test_escaping(text, shown):
    assert escape(text) == shown
