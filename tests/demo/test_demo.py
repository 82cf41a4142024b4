"""The demo's folder, material and report; the whole of it is run by CI (`make demo DEMO=--short`)."""

import json
from pathlib import Path

import pytest

from everglade.demo import report as demo_report
from everglade.demo.material import DOCUMENTS, QUERIES, write_short_collection
from everglade.demo.report import DemoReport, write_page, write_report
from everglade.demo.run import RECIPE, SHORT, begin_folder, list_differences
from everglade.errors import ConfigError, MissingExtra
from everglade.pages.page import Page
from everglade.recipes.recipe import load_recipe
from everglade.recipes.report import RecipeReport, Row, StageTime
from everglade.texts import group_qrels, open_collection

MEASURES = {"nDCG@10": 0.5, "RR@10": 0.25, "R@100": 1.0, "R@1000": 1.0}
ROWS = [
    Row("BM25", 60, MEASURES, ms_per_query=0.1),
    Row("one", 60, {**MEASURES, "nDCG@10": 0.625}, 4.0, 10.0, 100.0, 2.0),
    Row("two", 60, MEASURES, 1.0, 5.0, 50.0, 2.0),
]


def test_the_short_collection_still_holds_what_its_queries_need(tmp_path):
    write_short_collection(tmp_path / "short")
    collection = open_collection(tmp_path / "short")
    held = {document.id for document in collection.documents()}
    assert len(held) == DOCUMENTS
    for split, count in QUERIES.items():
        qrels = group_qrels(collection.qrels(split))
        assert len(qrels) == len(collection.queries(split)) == count
        assert all(held.issuperset(judged) for judged in qrels.values())
    assert list(tmp_path.iterdir()) == [tmp_path / "short"]


def test_the_short_demo_is_a_recipe_that_can_run():
    short, full = ({stage.name: stage for stage in load_recipe(RECIPE).override(s).resolve()} for s in (SHORT, {}))
    assert list(short) == list(full)
    assert short["train"].settings["steps"] < full["train"].settings["steps"] / 4


def test_a_folder_of_other_settings_or_of_somebody_else_is_left_alone(tmp_path):
    begin_folder(tmp_path / "demo", {"short": True}, fresh=False)
    begin_folder(tmp_path / "demo", {"short": True}, fresh=False)
    (tmp_path / "demo" / "kept").touch()
    with pytest.raises(ConfigError, match="other settings"):
        begin_folder(tmp_path / "demo", {"short": False}, fresh=False)
    assert (tmp_path / "demo" / "kept").exists()
    begin_folder(tmp_path / "demo", {"short": False}, fresh=True)
    assert not (tmp_path / "demo" / "kept").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    for fresh in (False, True):
        with pytest.raises(ConfigError, match="not a demo"):
            begin_folder(tmp_path / "mine", {"short": True}, fresh=fresh)
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_differences_are_signed_and_costs_compared_only_where_both_are_known():
    assert list_differences(ROWS) == [
        "one, against BM25: nDCG@10 +0.1250, RR@10 +0.0000, R@100 +0.0000.",
        "two, against one: nDCG@10 -0.1250, RR@10 +0.0000, R@100 +0.0000, FLOPS x 0.25.",
    ]


def test_the_report_says_the_same_as_a_page_and_as_json(tmp_path):
    found = RecipeReport("self-distil-small", ROWS, [StageTime("train", "train", 61.25, False)], {}, Path("r.json"))
    report = write_report(found, ["a remark"], tmp_path, {"short": True}, ["bm25.trec"])
    page = report.path.read_text()
    assert "| one | 0.6250 | 0.2500 | 1.0000 | 1.0000 | 4.00 | 10.0 | 100.0 | 2.00 |" in page
    assert "| BM25 | 0.5000 | 0.2500 | 1.0000 | 1.0000 | - | - | - | 0.10 |" in page
    assert "| train | train | 61.2 |" in page
    assert f"everglade evaluate {tmp_path / 'bm25.trec'} {tmp_path / 'qrels.tsv'}" in page
    written = json.loads((tmp_path / "report.json").read_text())
    assert [row["label"] for row in written["rows"]] == ["BM25", "one", "two"]
    assert written["remarks"] == ["a remark"]
    assert written["report"] == str(tmp_path / "report.md")
    assert "page" not in written


def test_the_page_lies_beside_the_report_or_the_report_says_what_it_lacks(tmp_path, monkeypatch):
    report = DemoReport(RecipeReport("r", ROWS, [], {}, Path("r.json")), ["a remark"], tmp_path / "report.md")

    def lack(sources):
        raise MissingExtra("matplotlib", "figures")

    monkeypatch.setattr(demo_report, "make_report", lack)
    without = write_page(report, tmp_path)
    assert without.remarks[0] == "a remark"
    assert "everglade[figures]" in without.remarks[1]
    assert "page" not in without.to_dict()
    assert not (tmp_path / "report.html").exists()
    monkeypatch.setattr(demo_report, "make_report", lambda sources: Page("SciFact", ", ".join(sources)))
    written = write_page(report, tmp_path)
    assert str(tmp_path) in (tmp_path / "report.html").read_text()
    assert (written.to_dict()["page"], written.remarks) == (str(tmp_path / "report.html"), ["a remark"])
