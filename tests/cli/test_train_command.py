"""What `everglade train` does before and around the training itself."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from everglade.bundled import bundled_model
from everglade.cli import app
from everglade.cli.settings import parse_pair
from everglade.cli.train import _choose_validation
from everglade.texts import open_collection

SHORT = ["--set", "steps=1", "--set", "batch_size=2", "--set", "warmup_steps=1", "--set", "negatives_per_query=1"]


@pytest.fixture(autouse=True)
def collection(tmp_path, monkeypatch):
    """A BEIR folder named `small` in the folder the command runs in, with two queries that share words."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    documents = {"d1": "rest helps a headache", "d2": "a headache comes from bad sleep", "d3": "ferns like shade"}
    queries = {"q1": "what helps a headache", "q2": "where a headache comes from"}
    for name, texts in (("corpus", documents), ("queries", queries)):
        rows = [{"_id": key, "title": "", "text": text} for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    return folder


def run(*words, code=0):
    result = CliRunner().invoke(app, ["train", str(bundled_model()), "small", "-o", "run", *words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "validation_measure=RR10"], "the measure 'RR10' is not known"),
        (["--set", "lambda_schedule=missing.json"], "missing.json is not the lambdas.json of a run"),
        (["--texts", "texts"], "--validate-in"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(collection, tmp_path, words, said):
    (collection / "corpus.jsonl").write_text("not JSON\n")
    assert said in run(*words, code=2).stderr
    assert not (tmp_path / "texts").exists()


def test_none_is_how_a_setting_is_left_to_its_default():
    pairs = [parse_pair(pair) for pair in ("warmup_steps=none", "precision = no", "steps=2", "measure=RR@10", "a=b=c")]
    assert pairs == [("warmup_steps", None), ("precision", "no"), ("steps", 2), ("measure", "RR@10"), ("a", "b=c")]
    run("--hold-out", "0", "--set", "lambda_d=none", *SHORT)
    assert json.loads(Path("run/config.json").read_text())["lambda_d"] is None


def test_of_several_processes_one_speaks(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    silent = run("--hold-out", "0", *SHORT)
    assert (silent.stdout, silent.stderr) == ("", "")
    failed = run("--set", "stepz=1", code=2)
    assert (failed.stdout, failed.stderr) == ("", "")


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_silences_the_mining_too(quiet):
    said = run("--hold-out", "0", *SHORT, *(["--quiet"] if quiet else [])).stderr
    assert ("mined negatives for 2 of 2 queries" in said) is not quiet


def test_only_the_process_that_validates_reads_the_documents(monkeypatch):
    source = open_collection("small")
    held = {"q1": {"d1": 1}}
    assert len(_choose_validation(source, "train", held, 1.0, 1).documents) == 3
    monkeypatch.setenv("RANK", "1")
    assert _choose_validation(source, "train", held, 1.0, 1).documents == []
