"""`everglade train-teacher`, then `everglade score` with what it left."""

import json

import pytest
from typer.testing import CliRunner

from everglade.bundled import bundled_model
from everglade.cli import app

SETTINGS = "steps=2 batch_size=2 negatives_per_query=1 max_length=32 log_every=1"


@pytest.fixture(autouse=True)
def _collection(tmp_path, monkeypatch):
    """A BEIR folder named `small` in the folder the command runs in, and examples of it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    documents = {"d1": "rest helps a headache", "d2": "a headache comes from bad sleep", "d3": "ferns like shade"}
    queries = {"q1": "what helps a headache", "q2": "where a headache comes from", "q3": "where do ferns grow"}
    for name, texts in (("corpus", documents), ("queries", queries)):
        rows = [{"_id": key, "title": "", "text": text} for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\nq3\td3\t1\n")
    (tmp_path / "triples.tsv").write_text("q1\td1\td2\nq2\td2\td3\nq3\td3\td1\n")


def run(*words, code=0):
    result = CliRunner().invoke(app, [*map(str, words), "-q"])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_a_teacher_is_trained_and_scores(tmp_path):
    chosen = [word for pair in SETTINGS.split() for word in ("--set", pair)]
    words = ["train-teacher", bundled_model(), "triples.tsv", "small", "-o", "teacher", "--hold-out", "0.4", *chosen]
    trained = json.loads(run(*words, "--json").stdout)
    assert 0 < trained["examples"] < 3  # the rest is held out
    assert 0 < trained["nDCG@10, start"] <= 1
    assert {"nDCG@10, candidates", "RR@10, end"} <= set(trained)
    assert json.loads(run(*words, "--json").stdout) == trained  # a finished run ends at once

    teachers = ["--teacher", "cross-encoder:teacher/final", "--teacher", "bm25", "--weight", "1", "--weight", "2"]
    scale = ["--normalise", "min-max", "--rescale", "1,2", "--texts", "texts"]
    scored = json.loads(run("score", "triples.tsv", "small", "-o", "scored", *teachers, *scale, "--json").stdout)
    assert scored["scores"]["ensemble"]["mean"] == pytest.approx(1)
    assert scored["scores"]["ensemble"]["std"] == pytest.approx(2)
    lines = [json.loads(line) for line in (tmp_path / "scored" / "examples.jsonl").read_text().splitlines()]
    assert [line["document_ids"] for line in lines] == [["d1", "d2"], ["d2", "d3"], ["d3", "d1"]]
    assert all(len(line["scores"]) == 2 for line in lines)
    shown = run("score", "triples.tsv", "small", "-o", "scored", *teachers, *scale).stdout
    assert "cross-encoder-final" in shown
    assert "scored/examples.jsonl" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "triples.tsv", "small", "-o", "x", "--teacher", "bm26"], "Did you mean bm25"),
        (["train-teacher", "m", "triples.tsv", "small", "-o", "x", "--set", "step=3"], "Did you mean steps"),
        (["train-teacher", "m", "triples.tsv", "small", "-o", "x", "--set", "steps"], "key=value"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_read(tmp_path, words, said):
    (tmp_path / "small" / "corpus.jsonl").write_text("not JSON\n")
    assert said in run(*words, code=2).stderr
