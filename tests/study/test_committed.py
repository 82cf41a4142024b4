"""The studies under docs/study: their page says what their figures are."""

import hashlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from everglade.study.reading import read_study

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "docs" / "study" / "miniature"


def load_tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "study" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_page_are_those_of_the_figures():
    lines = (STUDY / "README.md").read_text().splitlines()
    shown = [line for line in lines if line.startswith("|")]
    assert shown == [line for table in load_tables().make_tables(STUDY) for line in table]


@pytest.mark.parametrize(("place", "design"), [(".", "miniature"), ("backbones", "backbones")])
def test_figures_page_and_design_go_together(place, design):
    file = STUDY / place / "study.json"
    study, told = read_study(STUDY / f"{design}.toml"), json.loads(file.read_text())
    assert told["name"] == design and told["train"] == study.train
    assert told["scenarios"] == {one.name: {"label": one.label, **one.settings} for one in study.scenarios}
    names = [cell.name for cell in study.cells()]
    assert set(told["seconds"]) == set(told["courses"]) and set(told["seconds"]) <= set(names)
    assert told["cells"] == {"planned": len(names), "finished": len(told["seconds"])}
    page = (STUDY / place / "study.html").read_text()
    assert hashlib.sha256(file.read_bytes()).hexdigest() in page
    for text in (page, file.read_text()):
        assert not re.search(r"(?<![\w.<])/(?:work|home|root|tmp|usr)/", text)
