"""The demo's folder, material and report; the whole of it is run by CI (`make demo DEMO=--short`)."""

import json

import pytest

from everglade.demo.material import SHORT_DOCUMENTS, SHORT_QUERIES, load_material
from everglade.demo.report import COLUMNS, Row, write_report
from everglade.demo.run import begin_folder, list_differences
from everglade.errors import ConfigError

MEASURES = {"nDCG@10": 0.5, "RR@10": 0.25, "R@100": 1.0, "R@1000": 1.0}
ROWS = [
    Row("BM25", MEASURES, 0.1),
    Row("one", {**MEASURES, "nDCG@10": 0.625}, 2.0, flops=4.0, query_terms=10.0, document_terms=100.0),
    Row("two", MEASURES, 2.0, flops=1.0, query_terms=5.0, document_terms=50.0),
]


def test_the_short_collection_still_holds_what_its_queries_need():
    material = load_material(short=True)
    held = {document.id for document in material.documents}
    assert (len(held), len(material.queries), len(material.train_queries)) == (SHORT_DOCUMENTS, SHORT_QUERIES, 120)
    for judged in (*material.qrels.values(), *material.train_qrels.values()):
        assert held.issuperset(judged)
    assert list(material.qrels) == [query.id for query in material.queries]


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
    report = write_report(ROWS, ["a remark"], tmp_path, {"short": True}, ["bm25.trec"])
    page = report.path.read_text()
    assert "| one | 0.6250 | 0.2500 | 1.0000 | 4.00 | 10.0 | 100.0 | 2.00 |" in page
    assert "| BM25 | 0.5000 | 0.2500 | 1.0000 | - | - | - | 0.10 |" in page
    assert f"everglade evaluate {tmp_path / 'bm25.trec'} {tmp_path / 'qrels.tsv'}" in page
    written = json.loads((tmp_path / "report.json").read_text())
    assert [row["model"] for row in written["rows"]] == ["BM25", "one", "two"]
    assert written["remarks"] == ["a remark"]
    assert all(len(row.cells()) == len(COLUMNS) for row in ROWS)
