"""The frontiers under docs/study are whole: the page follows from the rows, and no path of a machine is in either."""

import re
from pathlib import Path

import pytest

from everglade.frontier.reproduce import read_frontier
from everglade.frontier.settings import Choice

STUDY = Path(__file__).parents[2] / "docs" / "study" / "frontier"


@pytest.mark.parametrize("name", ["scifact", "medquad"])
def test_rows_front_and_pictures_go_together(name):
    folder = STUDY / name
    frontier = read_frontier(folder / "frontier.json")
    assert len(frontier.rows) >= 12
    assert frontier.rows[0].choice == Choice()
    assert list(frontier.settings.choices()) == [row.choice for row in frontier.rows]
    html = (folder / "frontier.html").read_text()
    for cost in frontier.costs:
        chosen = ", ".join(str(frontier.rows[place].number) for place in frontier.front(cost))
        assert f"On the front: {chosen}." in html
        stem = "frontier" if cost == "flops" else f"frontier-{cost.replace('_', '-')}"
        assert (folder / f"{stem}.svg").is_file() and (folder / f"{stem}.png").is_file()
    for row in frontier.rows:
        assert f"{row.measures[frontier.measure]['mean']:.4f}" in html
    for file in (folder / "frontier.json", folder / "frontier.html"):
        assert not re.search(r"(?<![\w.<])/(?:work|home|root|tmp|usr)/", file.read_text())
        assert file.stat().st_size < 1_000_000


def test_the_bundled_model_is_the_one_measured():
    from everglade.frontier.models import FrontierModel

    known = read_frontier(STUDY / "scifact" / "frontier.json").models
    assert [one["fingerprint"] for one in known] == [FrontierModel("bundled", "bundled").fingerprint]
