"""Models that are trained for a frontier: one for each combination, shared stages once, none of them twice."""

import json

import pytest
from typer.testing import CliRunner

from everglade.cli import app
from everglade.errors import ConfigError
from everglade.frontier import trained as training
from everglade.frontier.reproduce import reproduce
from everglade.frontier.settings import FrontierSettings
from everglade.frontier.sweep import only_process, sweep
from everglade.frontier.trained import cut_recipe, name_settings, train_models
from everglade.recipes.recipe import load_recipe

RECIPE = """
summary = "small"
[set]
start = "bundled"
rate = 1e-4
[[stage]]
name = "bm25"
kind = "negatives"
sources = ["bm25"]
depth = 10
negatives_per_query = 2
[[stage]]
name = "train"
kind = "train"
start = "$start"
examples = "@bm25"
steps = 2
batch_size = 4
negatives_per_query = 1
learning_rate = "$rate"
lambda_d = 0.0
max_query_length = 16
max_document_length = 16
validate_every = 2
checkpoint_every = 2
[[stage]]
name = "encode"
kind = "encode"
model = "@train"
"""
QUICK = FrontierSettings(cross=True, k=10, timed_queries=1, repeats=1, threads=1)

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "small.toml").write_text(RECIPE)
    return tmp_path / "small.toml"


def test_every_combination_is_trained_once_and_measured(recipe, source, tmp_path, monkeypatch):
    lines, out = [], tmp_path / "out"
    swept = {"lambda_d": [0.0, 5.0], "rate": [1e-3]}

    def train():
        with only_process(out) as work:
            return train_models(recipe, swept, source, work, fixed={"bm25.depth": 9}, announce=lines.append)

    models = train()
    assert [model.label for model in models] == [
        "small lambda_d=0.0 rate=0.001",
        "small lambda_d=5.0 rate=0.001",
    ]
    assert models[1].recipe["overrides"] == {"bm25.depth": 9, "train.lambda_d": 5.0, "rate": 1e-3}
    assert [line for line in lines if "bm25" in line and "negatives" in line][1].endswith("reused")
    assert models[0].fingerprint != models[1].fingerprint
    monkeypatch.setattr(training, "run_recipe", lambda *_, **__: pytest.fail("they are there already"))
    again = train()
    assert [model.fingerprint for model in again] == [model.fingerprint for model in models]
    found = sweep(source, again, out, QUICK)
    assert [row.model for row in found.rows] == [model.label for model in models]
    written = json.loads((out / "frontier.json").read_text())["models"]
    assert written[0]["source"] == "work/models/small-lambda_d-0.0-rate-0.001"
    assert written[0]["recipe"]["recipe"] == "small"
    # The trained model is found beside the file, and the command of a row says so.
    assert found.command(found.rows[1]) == "everglade frontier --reproduce frontier.json --point 2"
    assert reproduce(out / "frontier.json", 2, threads=1).is_equal


def test_the_command_trains_and_measures(recipe, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        str(part),
        "--split",
        "test",
        "--recipe",
        str(recipe),
        "--sweep",
        "rate=0.001,0.01",
        "--set",
        "train.steps=1",
    ]
    quick = ["--cross", "-k", "10", "--timed-queries", "1", "--repeats", "1", "--threads", "1", "-q", "-o", "out"]
    result = CliRunner().invoke(app, ["frontier", *words, "--model", "start=bundled", *quick])
    assert result.exit_code == 0, result.output + result.stderr
    values = json.loads((tmp_path / "out" / "frontier.json").read_text())
    assert [row["model"] for row in values["rows"]] == ["start", "small rate=0.001", "small rate=0.01"]
    assert [model["recipe"]["overrides"] for model in values["models"][1:]] == [
        {"train.steps": 1, "rate": rate} for rate in (0.001, 0.01)
    ]
    assert set(values["fronts"]) == {"flops", "search_ms", "whole_ms", "bytes_per_document"}
    assert (tmp_path / "out" / "frontier-whole-ms.svg").exists()


def test_a_half_copied_model_is_made_again(recipe, source, tmp_path):
    with only_process(tmp_path / "out") as work:
        (model,) = train_models(recipe, {}, source, work)
        note = work / "models" / "small.origin.json"
        note.unlink()
        (work / "models" / "small" / "config.json").write_text("{")
        (again,) = train_models(recipe, {}, source, work)
        assert note.exists()
    assert again.fingerprint == model.fingerprint


def test_what_comes_after_the_last_training_is_left_out():
    whole = load_recipe("self-distil-small")
    cut = cut_recipe(whole)
    assert [stage["name"] for stage in cut.stages] == ["bm25", "first", "teacher", "negatives", "score", "train"]
    assert name_settings(cut, ["target_flops", "teacher", "first.steps"]) == {
        "target_flops": "train.target_flops",
        "teacher": "teacher",
        "first.steps": "first.steps",
    }


def test_what_cannot_be_trained_is_refused(recipe, source, tmp_path):
    with only_process(tmp_path / "out") as work:
        with pytest.raises(ConfigError, match="has no 'target_flop'. Did you mean target_flops"):
            train_models(recipe, {"target_flop": [3]}, source, work)
        with pytest.raises(ConfigError, match="--sweep rate has no value"):
            train_models(recipe, {"rate": []}, source, work)
        (tmp_path / "none.toml").write_text(
            RECIPE[: RECIPE.index('[[stage]]\nname = "train"')].replace("rate = 1e-4", "")
        )
        with pytest.raises(ConfigError, match="trains no model|no stage has"):
            train_models(tmp_path / "none.toml", {}, source, work)
