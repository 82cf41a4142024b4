"""Figures are whole SVG that fits any page, equal for equal values, and say what they were given."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from everglade.errors import ConfigError, MissingExtra
from everglade.pages.figures import COLOURS, INK, LEGEND_LINE, POINTS_AN_INCH, Point, draw_curves, draw_frontier

POINTS = [
    Point("a 1", "a", 0.4, 0.60, 0.58, 0.62),
    Point("a 2", "a", 1.1, 0.64),
    Point("b 1", "b", 0.35, 0.62),
    Point("b 2", "b", 2.8, 0.68),
]
FRONT = [2, 1, 3]


def texts(svg):
    return ["".join(one.itertext()) for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_frontier_names_axes_groups_points_and_front():
    svg = draw_frontier(POINTS, "FLOPS", "nDCG@10", front=FRONT)
    found = texts(svg)
    for word in ["FLOPS", "nDCG@10", "a", "b", "Pareto front", "a 1", "a 2", "b 1", "b 2"]:
        assert word in found, word
    assert COLOURS[0] in svg
    assert COLOURS[1] in svg
    assert COLOURS[2] not in svg


def test_only_the_front_is_named_where_there_are_many_points():
    points = [Point(f"p{number}", "all", number + 1.0, number * (40 - number)) for number in range(40)]
    found = texts(draw_frontier(points, "cost", "effect", front=[0, 20]))
    assert {"p0", "p20"} <= set(found)
    assert "p7" not in found


def test_labels_overlap_neither_points_nor_each_other():
    """Two hundred labels for one crowded place: those that are written have room of their own."""
    points = [Point("a long label", "g", 1 + 0.01 * (n % 14), 1 + 0.01 * (n // 14)) for n in range(14)]
    found = texts(draw_frontier(points, "x", "y")).count("a long label")
    assert 1 <= found < 14


def test_the_same_values_give_the_same_bytes_in_any_process(tmp_path):
    def draw():
        return draw_frontier(POINTS, "FLOPS", "nDCG@10", front=FRONT, log_x=True)

    program = (
        "from everglade.pages.figures import LEGEND_LINE, POINTS_AN_INCH, Point, draw_frontier\n"
        f"print(draw_frontier({[tuple(p) for p in POINTS]!r} and [Point(*p) for p in {[tuple(p) for p in POINTS]!r}],"
        f" 'FLOPS', 'nDCG@10', front={FRONT!r}, log_x=True), end='')"
    )
    # A reader's own settings of matplotlib change nothing.
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.grid: False\n")
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert draw() == draw() == other


def test_a_figure_fits_any_page_and_leads_nowhere():
    svgs = [draw_frontier(POINTS, "FLOPS", "nDCG@10"), draw_curves({"loss": [(1, 2.0), (2, 1.5)]}, "step", "loss")]
    names = [set(re.findall(r'id="([^"]+)"', svg)) for svg in svgs]
    assert not names[0] & names[1]
    for svg, own in zip(svgs, names, strict=True):
        assert "http" not in svg.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "<style" not in svg
        assert INK not in svg
        assert "currentColor" in svg
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
        assert used <= own


def test_hostile_names_are_shown_as_they_are():
    name = '<script>alert(1)</script> & "$x^2$" \x00\n日本'
    svg = draw_frontier([Point(name, name, 1, 2), Point("b", "b", 2, 3)], name, name)
    assert "<script" not in svg
    shown = '<script>alert(1)</script> & "$x^2$"   日本'
    assert texts(svg).count(shown) == 4  # the label, the group and both axes


def test_curves_name_their_lines_and_levels():
    svg = draw_curves(
        {"queries": [(1, 5.0), (9, 4.0)], "documents": [(1, 50.0)]}, "step", "terms", levels={"target": 30}
    )
    assert {"queries", "documents", "target", "step", "terms"} <= set(texts(svg))


def test_a_narrow_figure_is_narrow():
    widths = [
        float(re.search(r'width="([0-9.]+)"', draw_frontier(POINTS, "x", "y", narrow=narrow))[1]) for narrow in (0, 1)
    ]
    assert widths[1] < 300 < widths[0]


def test_a_long_legend_is_not_at_the_cost_of_the_axes():
    def height(groups):
        points = [Point("p", f"a group with a long name, {n}", n + 1.0, 0.5) for n in range(groups)]
        return float(re.search(r'height="([0-9.]+)"', draw_frontier(points, "x", "y", narrow=True))[1])

    assert height(12) == pytest.approx(height(2) + 10 * LEGEND_LINE * POINTS_AN_INCH, abs=1)


def test_a_png_is_written_beside(tmp_path):
    file = tmp_path / "figure.png"
    draw_curves({"loss": [(1, 2.0), (2, 1.5)]}, "step", "loss", png=file)
    first = file.read_bytes()
    assert first.startswith(b"\x89PNG")
    draw_curves({"loss": [(1, 2.0), (2, 1.5)]}, "step", "loss", png=file)
    assert file.read_bytes() == first


@pytest.mark.parametrize(
    ("points", "log_x", "reason"),
    [
        ([], False, "no point was given"),
        ([Point("a", "a", float("nan"), 1)], False, "no place in a figure"),
        ([Point("a", "a", 1, float("inf"))], False, "no place in a figure"),
        ([Point("a", "a", 0, 1)], True, "draw a linear scale"),
    ],
)
def test_what_cannot_be_drawn_is_refused(points, log_x, reason):
    with pytest.raises(ConfigError, match=reason):
        draw_frontier(points, "x", "y", log_x=log_x)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'everglade\[figures\]'"):
        draw_curves({"a": [(1, 1)]}, "x", "y")
