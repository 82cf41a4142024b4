"""Prefixes and passages from the command line: whoever reads the result later reads texts the same way."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from everglade.bundled import bundled_model
from everglade.cli import app
from everglade.model.splade import Splade

LONG = "The bridge was closed after the flood. " * 60 + "Migraine is treated with triptans."
DOCUMENTS = {"d1": LONG, "d2": "Ferns like shade and water."}
OPTIONS = ["--passages", "3", "--passage-overlap", "8", "--query-prefix", "query: ", "--document-prefix", "text: "]
SETTINGS = {"passages": 3, "passage_overlap": 8, "query_prefix": "query: ", "document_prefix": "text: "}


@pytest.fixture(autouse=True)
def collection(tmp_path, monkeypatch):
    """A BEIR folder named `small` in the folder the command runs in."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", DOCUMENTS), ("queries", {"q1": "triptans", "q2": "where do ferns grow"})):
        rows = [{"_id": key, "title": "", "text": text} for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def found(index, query="triptans"):
    return {hit["id"]: hit["score"] for hit in json.loads(run("search", index, query, "--json").stdout)}


def test_an_index_is_searched_as_it_was_made():
    model = bundled_model()
    run("index", "small", "-o", "cut.idx", "--model", model, "-q")
    run("index", "small", "-o", "whole.idx", "--model", model, "-q", *OPTIONS)
    run("encode", model, "small", "-o", "vectors", "-q", *OPTIONS)
    run("index", "vectors", "-o", "vectors.idx", "--documents", "small", "-q")
    assert found("whole.idx") == found("vectors.idx")
    assert found("whole.idx")["d1"] > found("cut.idx").get("d1", 0.0) + 1
    read = Splade.load(model, **SETTINGS)
    score = read.encode_queries(["triptans"]).to_scipy() @ read.encode_documents([LONG]).to_scipy().T
    assert found("whole.idx")["d1"] == pytest.approx(score.toarray().item(), rel=0.02)
    explained = json.loads(run("explain", "whole.idx", "triptans", "d1", "--json").stdout)
    assert explained["score"] == pytest.approx(found("whole.idx")["d1"], rel=1e-6)
    described = json.loads(run("info", "whole.idx", "--json").stdout)["model"]["settings"]
    assert SETTINGS.items() <= described.items()
    refused = run("index", "small", "-o", "whole.idx", "--model", model, "-q", "--passages", "2", code=4).stderr
    assert "passages was 3 and is 2" in refused


def test_a_model_that_lies_elsewhere_now_reads_as_the_index_says(tmp_path):
    shutil.copytree(bundled_model(), tmp_path / "mine")
    run("index", "small", "-o", "a.idx", "--model", "mine", "-q", *OPTIONS)
    before = found("a.idx")
    shutil.move("mine", "moved")
    run("search", "a.idx", "triptans", code=4)
    assert (
        json.loads(run("search", "a.idx", "triptans", "--json", "--model", "moved").stdout)[0]["score"] == before["d1"]
    )
    (tmp_path / "more.jsonl").write_text(json.dumps({"_id": "d3", "text": LONG}) + "\n")
    assert (
        json.loads(run("index", "more.jsonl", "-o", "a.idx", "--model", "moved", "--json", "-q").stdout)["added"] == 1
    )
    shutil.move("moved", "mine")
    assert found("a.idx")["d3"] == before["d1"] == found("a.idx")["d1"]


GIVEN = [("--passages", "2"), ("--passage-overlap", "0"), ("--query-prefix", "a: "), ("--document-prefix", "b: ")]


@pytest.mark.parametrize("option", GIVEN)
def test_settings_that_nothing_is_read_with_are_refused(option, tmp_path):
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "manifest.json").write_text("{}")
    model = ["--model", bundled_model()]
    for words, message in [
        (["small"], "settings of a model need --model"),
        (["vectors"], "the vectors in vectors were made already. Give the settings to everglade encode"),
        (["vectors", *model], "the vectors in vectors were made already"),
        (["--delete", "d1"], "settings of a model need a collection"),
        (["--delete", "d1", *model], "settings of a model need a collection"),
    ]:
        assert f"{option[0]}: {message}" in run("index", *words, "-o", "no.idx", *option, code=2).stderr
    assert not (tmp_path / "no.idx").exists()


@pytest.mark.parametrize("option", [option for option in GIVEN if option[0] != "--query-prefix"])
def test_settings_of_documents_do_not_go_with_queries(option, tmp_path):
    words = ["encode", bundled_model(), "small", "-o", "q", "--side", "query", *option]
    assert f"{option[0]}: for documents only" in run(*words, code=2).stderr
    assert not list(tmp_path.glob("q*"))


def test_queries_are_encoded_with_their_prefix():
    from everglade.vectors import read_vectors

    run("encode", bundled_model(), "small", "-o", "queries", "--side", "query", "-q", "--query-prefix", "query: ")
    (shard,) = read_vectors("queries")
    expected = Splade.load(bundled_model(), query_prefix="query: ").encode_queries(["triptans", "where do ferns grow"])
    assert (shard.matrix.to_scipy() != expected.to_scipy()).nnz == 0


@pytest.mark.parametrize("length, overlap", [(24, 8), (320, 300)])
def test_a_model_is_trained_and_saved_with_them(tmp_path, length, overlap):
    """The overlap may be longer than the folder's own length, which is not the run's."""
    lines = [{"query_id": f"q{i}", "document_ids": [f"d{i}", f"d{3 - i}"]} for i in (1, 2)]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    short = {"steps": 1, "batch_size": 2, "negatives_per_query": 1, "max_document_length": length, "lambda_d": 0}
    sets = [word for key, value in short.items() for word in ("--set", f"{key}={value}")]
    run(
        "train",
        bundled_model(),
        "small",
        "-o",
        "run",
        "-q",
        "--hold-out",
        "0",
        "--examples",
        "examples.jsonl",
        *sets,
        *OPTIONS,
        "--passage-overlap",
        overlap,
    )
    described = json.loads(run("info", "run/final", "--json").stdout)
    assert {**SETTINGS, "passage_overlap": overlap, "max_document_length": length}.items() <= described.items()


def test_an_overlap_that_does_not_fit_the_run_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "examples.jsonl").write_text("no JSON")
    words = ["train", bundled_model(), "small", "-o", "run", "--examples", "examples.jsonl", "--passages", "2"]
    refused = run(*words, "--passage-overlap", "30", "--set", "max_document_length=24", code=2).stderr
    assert "passage_overlap is 30, but of the 24 tokens" in refused
