"""The pictures of a frontier: every point and the front are in them, and they need nothing from elsewhere."""

import re
from html import unescape
from xml.etree import ElementTree

import pytest

from everglade.frontier.page import draw, make_page, write_pictures
from everglade.frontier.rows import COSTS


@pytest.fixture(scope="module")
def written(swept, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return folder, write_pictures(swept[1], folder)


def test_there_is_a_page_and_a_figure_for_each_cost(written):
    folder, files = written
    assert [file.name for file in files][:3] == ["frontier.html", "frontier.svg", "frontier.png"]
    assert sorted(files) == sorted(folder.iterdir())
    assert len(files) == 1 + 2 * 3
    for file in files:
        if file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")
        if file.suffix == ".svg":
            assert ElementTree.fromstring(file.read_text()).tag.endswith("svg")


@pytest.mark.parametrize("cost", COSTS)
def test_a_figure_holds_every_point_and_the_front(swept, cost):
    svg = draw(swept[1], cost)
    groups = {row.choice.group for row in swept[1].rows}
    assert all(f">{group}<" in svg for group in groups)
    assert ">Pareto front<" in svg
    markers = len(re.findall(r"<use ", svg))
    assert markers >= len(swept[1].rows)
    assert draw(swept[1], cost) == svg


def test_the_page_says_where_everything_is_from(swept, written):
    _, frontier = swept
    text = unescape((written[0] / "frontier.html").read_text())
    assert not re.search(r"https?://(?!www\.w3\.org/)", text) and "<script" not in text
    for row in frontier.rows:
        assert frontier.command(row) in text
        assert f"{row.measures['nDCG@10']['mean']:.4f}" in text
    assert frontier.models[0]["fingerprint"] in text
    assert frontier.about["digest"] in text
    assert make_page(frontier).to_html() == make_page(frontier).to_html()


def test_several_models_are_the_groups(swept):
    from dataclasses import replace

    frontier = swept[1]
    other = [replace(row, model="other", number=row.number + 8, flops=row.flops / 2) for row in frontier.rows]
    both = replace(
        frontier,
        rows=[*frontier.rows, *other],
        models=[*frontier.models, {"label": "other", "source": "o", "fingerprint": "f"}],
    )
    svg = draw(both, "flops")
    assert ">tiny<" in svg and ">other<" in svg and ">pruned postings<" not in svg
    assert [both.rows[place].model for place in both.front("flops")] == ["other"] * len(frontier.front("flops"))
