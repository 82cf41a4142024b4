"""What `everglade pretrain` does around the pre-training itself."""

import json

import pytest
from typer.testing import CliRunner

from everglade.cli import app

SHORT = ["--set", "steps=2", "--set", "batch_size=4", "--set", "max_length=16", "--set", "held_out=0.2", "--threads=1"]


@pytest.fixture(autouse=True)
def collection(tmp_path, monkeypatch, documents):
    monkeypatch.chdir(tmp_path)
    rows = [{"_id": name, "title": "", "text": text} for name, text in documents.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run(model, *words, code=0):
    result = CliRunner().invoke(app, ["pretrain", str(model), "corpus.jsonl", "-o", "run", *words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_a_run_reports_before_and_after(bert_folder, tmp_path):
    said = json.loads(run(bert_folder, *SHORT, "--json", "--quiet").stdout)
    assert said["documents"] == 60
    assert said["held-out mlm after"] != said["held-out mlm before"]
    assert (tmp_path / "run" / "final" / "config.json").exists()
    again = run(bert_folder, *SHORT)
    assert "held-out mlm_accuracy before" in again.stdout
    assert "holds a run already" in run(bert_folder, *SHORT, "--fresh", code=3).stderr


def test_from_scratch_is_said(bert_folder):
    said = json.loads(run(bert_folder, *SHORT, "--set", "from_scratch=true", "--json").stdout)
    assert said["weights"].startswith("new")
    assert "head" not in said


def test_texts_on_disk_give_the_same_model(bert_folder, tmp_path):
    first = json.loads(run(bert_folder, *SHORT, "--json").stdout)
    (tmp_path / "run").rename(tmp_path / "other")
    second = json.loads(run(bert_folder, *SHORT, "--json", "--texts", "texts").stdout)
    assert first == second
    weights = "final/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (tmp_path / "other" / weights).read_bytes()


def test_wrong_settings_are_refused_before_anything_is_read(bert_folder, tmp_path):
    (tmp_path / "corpus.jsonl").write_text("not JSON\n")
    assert "Did you mean objective?" in run(bert_folder, "--set", "objectiv=mlm", code=2).stderr
    assert "not of the form key=value" in run(bert_folder, "--set", "steps", code=2).stderr
    (tmp_path / "own.toml").write_text('objective = "electra"\n')
    assert "objective must be one of" in run(bert_folder, "--config", "own.toml", code=2).stderr
