"""What `everglade index`, `search` and `info` say of options, merges, filters and recall."""

import json
import sys
import types

import pytest
from typer.testing import CliRunner

from everglade.cli import app
from everglade.search import Index
from everglade.texts import Document
from everglade.vectors import SparseMatrix, VectorsWriter


@pytest.fixture(autouse=True)
def vectors(tmp_path, monkeypatch):
    """Two shards of vectors, so two segments, in the folder the command runs in."""
    monkeypatch.chdir(tmp_path)
    rows = [{place % 7: 1.0 + place, 7: 0.5, 8 + place % 3: 2.0} for place in range(60)]
    with VectorsWriter(tmp_path / "vectors", {"n_terms": 12}) as writer:
        for start in (0, 30):
            part = SparseMatrix.from_rows(rows[start : start + 30], 12)
            writer.append([f"d{place}" for place in range(start, start + 30)], part)


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_options_are_chosen_once_and_shown():
    run("index", "vectors", "-o", "a.idx", "--impact-bits", 16, "--keep-weights", "--prune", "document:2", "-q")
    shown = json.loads(run("info", "a.idx", "--json").stdout)
    assert shown["options"] == {"impact_bits": 16, "rows": True, "keep_weights": True, "prune": "document:2"} | {
        "reorder": "auto"
    }
    assert shown["bytes_per_posting"] > 0
    assert shown["calibration"] is None
    lines = fields(run("info", "a.idx"))
    assert lines["prune"] == "document:2"
    assert lines["calibration"] == "none"
    refused = run("index", "vectors", "-o", "a.idx", "--no-rows", code=2)
    assert "--no-rows: chosen when an index is made, and a.idx is there already" in refused.output
    assert "document:N" in run("index", "vectors", "-o", "b.idx", "--prune", "most", code=2).output


def test_an_index_is_optimised_and_calibrated():
    assert json.loads(run("index", "vectors", "-o", "a.idx", "--optimise", "-q", "--json").stdout)["segments"] == 1
    run("index", "vectors", "-o", "a.idx", "-q")
    args = ("index", "-o", "a.idx", "--delete", "d3", "--optimise", "--segment-documents", 30, "--calibrate", "--json")
    done = json.loads(run(*args).stdout)
    assert (done["deleted"], done["segments"]) == (1, 2)
    assert done["recall 0.9 of 10"] > 0.5
    shown = json.loads(run("info", "a.idx", "--json").stdout)
    assert (shown["calibration"]["queries"], shown["calibration"]["given"]) == (59, False)
    assert shown["deleted"] == 0
    lines = fields(run("info", "a.idx"))
    assert "recall 0.95 of 10" in lines
    assert lines["calibration"] == "59 queries made from documents"


def test_info_says_that_queries_were_given(monkeypatch):
    run("index", "vectors", "-o", "a.idx", "-q")
    rows = [{place % 7: 1.0, 7: 1.0 + place} for place in range(50)]
    with Index.open("a.idx") as opened:
        opened.calibrate(SparseMatrix.from_rows(rows, 12))
    assert fields(run("info", "a.idx"))["calibration"] == "50 given queries"


def fields(result):
    """What a command printed, one name and value a line."""
    return {name: value.strip() for name, value in (line.split("  ", 1) for line in result.stdout.splitlines())}


@pytest.mark.parametrize("words", [(), ("--no-rows",), ("--keep-weights",), ("--prune", "document:2")], ids=str)
def test_info_shows_the_bytes_of_a_posting(words, tmp_path):
    """All bytes of the segments, those of the vectors too, for each posting that pruning left."""
    run("index", "vectors", "-o", "a.idx", "-q", "--optimise", *words)
    shown = json.loads(run("info", "a.idx", "--json").stdout)
    size_bytes = sum(path.stat().st_size for path in tmp_path.glob("a.idx/*.segment"))
    postings = 120 if "document:2" in words else 180
    assert (shown["postings"], shown["size_bytes"]) == (postings, size_bytes)
    assert shown["bytes_per_posting"] == size_bytes / postings
    lines = fields(run("info", "a.idx"))
    assert float(lines["bytes_per_posting"].replace(",", "")) == pytest.approx(size_bytes / postings, abs=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["index", "-o", "a.idx"], "--optimise or --calibrate"),
        (["index", "-o", "a.idx", "--delete", "d", "--segment-documents", "3"], "setting of --optimise"),
        (["index", "-o", "a.idx", "--optimise", "--queries", "q.tsv"], "--calibrate"),
        (["index", "-o", "a.idx", "--calibrate", "--split", "test"], "--queries"),
    ],
)
def test_settings_of_nothing_are_refused(words, message):
    assert message in run(*words, code=2).output


class Words:
    """An encoder of two words, which stands for a model that would take seconds to load."""

    name, fingerprint, n_terms = "words", "abc", 3

    @classmethod
    def load(cls, name):
        return cls()

    def encode_documents(self, texts):
        return SparseMatrix.from_rows([{0: 1.0, 1 + len(text) % 2: 2.0} for text in texts], 3)

    encode_queries = encode_documents

    def term_names(self):
        return ["any", "even", "odd"]


def test_a_search_takes_a_filter_and_a_recall(tmp_path, monkeypatch):
    module = types.ModuleType("everglade.model.splade")
    module.Splade = Words
    monkeypatch.setitem(sys.modules, "everglade.model.splade", module)
    with Index.create("t.idx", Words(), keep_weights=True) as index:
        index.add([Document(f"d{n}", "flood", "", {"n": n}) for n in range(3)])
    args = ("search", "t.idx", "flood", "--where", "n >= 1", "--recall", 0.9)
    assert [hit["id"] for hit in json.loads(run(*args, "--json").stdout)] == ["d1", "d2"]
    exact = json.loads(run("search", "t.idx", "flood", "--float-exact", "--json").stdout)
    assert [(hit["id"], hit["score"]) for hit in exact] == [("d0", 5.0), ("d1", 5.0), ("d2", 5.0)]
    assert "character 3" in run("search", "t.idx", "flood", "--where", "n ! 1", code=2).output
    (tmp_path / "queries.tsv").write_text("q1\tflood\n")
    run("search", "t.idx", "--queries", "queries.tsv", "-o", "run.trec", "--where", "n != 1")
    assert [line.split()[2] for line in (tmp_path / "run.trec").read_text().splitlines()] == ["d0", "d2"]
    assert "recall is 2" in run("search", "t.idx", "flood", "--recall", 2, code=2).output
