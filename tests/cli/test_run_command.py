"""What `everglade run` says: the list, the file, the plan, the table, and what is wrong."""

import json

import pytest
from typer.testing import CliRunner

from everglade.cli import app
from everglade.recipes.recipe import list_recipes, load_recipe

RECIPE = """
summary = "BM25 alone"

[[stage]]
name = "evaluate-bm25"
kind = "evaluate"
index = "bm25"
label = "BM25"
measures = ["RR@10"]
"""


@pytest.fixture(autouse=True)
def collection(tmp_path, monkeypatch):
    """A BEIR folder named `small` and a recipe `own.toml` in the folder the command runs in."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    documents = {"d1": "rest helps a headache", "d2": "a headache comes from bad sleep", "d3": "ferns like shade"}
    queries = {"q1": "what helps a headache", "q2": "where do ferns grow"}
    for name, texts in (("corpus", documents), ("queries", queries)):
        rows = [{"_id": key, "title": "", "text": text} for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, line in (("train", "q1\td1\t1"), ("test", "q2\td3\t1")):
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    (tmp_path / "own.toml").write_text(RECIPE)


def run(*words, code=0):
    result = CliRunner().invoke(app, ["run", *words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_without_a_recipe_they_are_listed():
    listed = run().stdout
    for name, summary in list_recipes().items():
        assert f" {name} " in listed
        assert summary.split()[0] in listed
    assert json.loads(run("--list", "--json").stdout) == list_recipes()


def test_a_recipe_is_shown_as_it_is_written():
    assert run("own.toml", "--show").stdout == RECIPE
    assert 'loss = "margin_mse"' in run("self-distil", "--show").stdout
    assert '# loss = "margin_mse"' in run("cocondenser-self-distil", "--show").stdout


def test_a_recipe_is_shown_with_what_is_set(tmp_path):
    words = ["self-distil", "--show", "--set", "precision=bf16", "--set", "train.steps=1000", "--set", "seed=7"]
    (tmp_path / "changed.toml").write_text(run(*words).stdout)
    shown = load_recipe("changed.toml")
    expected = load_recipe("self-distil").override({"precision": "bf16", "train.steps": 1000, "seed": 7})
    assert (shown.settings, shown.stages) == (expected.settings, expected.stages)
    assert shown.resolve() == expected.resolve()
    wrong = run("self-distil", "--show", "--set", "train.stepps=1000", code=2)
    assert "steps" in wrong.stderr


def test_a_plan_is_printed_and_nothing_is_made(tmp_path):
    words = ["own.toml", "--collection", "small", "-o", "out", "--dry-run"]
    said = run(*words).stdout
    assert "evaluate-bm25" in said
    assert "1 queries, 3 documents" in said
    assert not (tmp_path / "out").exists()
    assert said.endswith("left to do: under 1 s\n")
    plan = json.loads(run(*words, "--json").stdout)
    (stage,) = plan["stages"]
    assert (stage["state"], stage["seconds_from"]) == ("run", "estimated")
    assert stage["counts"] == {"queries": 1, "documents": 3}
    assert 0 < stage["seconds"] == plan["seconds_left"] < 1


def test_a_recipe_runs_and_its_table_is_printed(tmp_path):
    words = ["own.toml", "--collection", "small", "-o", "out"]
    first = run(*words)
    assert "BM25" in first.stdout
    assert "[1/1] evaluate-bm25 (evaluate): 1 queries, 3 documents" in first.stderr
    again = run(*words, "--json", "--quiet")
    assert again.stderr == ""
    assert json.loads(again.stdout)["rows"][0]["measures"] == {"RR@10": 1.0}
    assert (tmp_path / "out" / "01-evaluate-bm25" / "run.trec").exists()
    assert "reused" in run(*words, "--dry-run").stdout
    assert "reused" not in run(*words, "--dry-run", "--fresh").stdout
    assert "reused" in run(*words, "--dry-run").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["splade-maxx"], 2, "Did you mean splade-max"),
        (["own.toml"], 2, "--collection"),
        (["own.toml", "--collection", "small"], 2, "--out"),
        (["own.toml", "--collection", "nowhere", "-o", "out"], 3, "no such file or folder"),
        (["own.toml", "--set", "seeds=1", "--dry-run"], 2, "Did you mean seed"),
        (["own.toml", "--set", "evaluate-bm25.dept=1", "--dry-run"], 2, "Did you mean depth"),
        (["own.toml", "--set", "seed", "--dry-run"], 2, "key=value"),
        (["splade-max", "--set", "bm25=no", "--dry-run"], 2, "bm25 must be true or false, not 'no'"),
        (["own.toml", "--set", "seed=abc", "--dry-run"], 2, "seed must be a whole number, not 'abc'"),
        (["own.toml", "--set", "evaluate-bm25.depth=0", "--dry-run"], 2, "depth must be at least 1"),
        (["own.toml", "--collection", "small", "-o", "out", "--split", "test"], 2, "--eval-split"),
        (["own.toml", "--collection", "small", "-o", "small", "--dry-run"], 2, "no recipe has made"),
        (
            ["own.toml", "--collection", "small", "-o", "out", "--eval-split", "train"],
            2,
            "both trained on and evaluated",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words, code, said, tmp_path):
    assert said in run(*words, code=code).stderr
    assert not (tmp_path / "out").exists()
