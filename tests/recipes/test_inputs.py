"""What a stage's key depends on, which queries are trained on, and what is refused before the first stage."""

import json
import shutil

import pytest
import torch

from everglade.errors import ConfigError, InputError
from everglade.recipes.material import open_material
from everglade.recipes.runner import plan_recipe, run_recipe
from everglade.texts import Document, open_collection


def settings_of(collection, tiny, **given):
    return {"start": str(tiny), "triples": str(collection / "triples.tsv"), **given}


def keys(recipe, collection, overrides, **more):
    return [stage.key for stage in plan_recipe(recipe, collection, None, overrides=overrides, **more).stages]


def changed(before, after):
    return [one != other for one, other in zip(before, after, strict=True)]


def add_leak(folder, text):
    """Have a query of that text evaluated."""
    with (folder / "queries.dev.tsv").open("a") as file:
        file.write(f"777\t{text}\n")
    with (folder / "qrels.dev.tsv").open("a") as file:
        file.write("777\t0\t1000\t1\n")
    return folder


def text_of(folder, query_id):
    return next(query.text for query in open_collection(folder).queries("train") if query.id == query_id)


@pytest.fixture
def copy(marco, tmp_path):
    return shutil.copytree(marco, tmp_path / "marco")


def test_a_query_evaluated_under_another_id_or_in_another_folder_is_not_trained_on(marco, copy):
    assert "3" in open_material(marco, evaluated=copy).qrels
    add_leak(copy, "  " + text_of(marco, "3").upper().replace(" ", "  "))
    for material in (open_material(marco, evaluated=copy), open_material(copy)):
        assert "3" not in material.qrels
        assert len(material.qrels) == 23


def test_a_collection_is_the_same_however_it_is_spelled(marco, monkeypatch):
    monkeypatch.chdir(marco.parent)
    for spelling in (marco, str(marco), marco.name, f"./{marco.name}", f"{marco}/../{marco.name}"):
        material = open_material(marco.name, evaluated=spelling)
        assert material.is_one
        assert material.eval_split == "dev"
        with pytest.raises(ConfigError, match="both trained on and evaluated"):
            open_material(marco.name, evaluated=spelling, eval_split="train")


def test_evaluating_on_copies_of_all_training_queries_leaves_nothing(marco, copy):
    material = open_material(marco, evaluated=copy, eval_split="train")
    with pytest.raises(ConfigError, match="nothing is left to train on"):
        _ = material.qrels


def test_neither_held_out_nor_evaluated_queries_reach_the_training(copy, mini, tiny, tmp_path, monkeypatch):
    from everglade.train import loop

    add_leak(copy, text_of(copy, "3"))
    material = open_material(copy, hold_out=0.2, validate_in=0.5)
    assert material.held
    seen, validated, real = [], [], loop.train

    def spy(config, model, training_set, out, validation, **more):
        seen.extend(example.query_id for example in training_set.examples)
        validated.extend(query.id for query in validation.queries)
        return real(config, model, training_set, out, validation, **more)

    monkeypatch.setattr(loop, "train", spy)
    run_recipe(mini, copy, tmp_path / "out", overrides=settings_of(copy, tiny, steps=1, **{"train.validate_every": 1}))
    every = {str(number) for number in range(1, 25)}
    assert set(validated) == material.held.keys()
    assert set(seen) == every - {"3"} - set(validated)
    assert "3" not in validated


def test_splits_are_not_guessed_from_what_is_left(copy):
    for kind in ("queries", "qrels"):
        (copy / f"{kind}.dev.tsv").rename(copy / f"{kind}.test.tsv")
    assert open_material(copy).eval_split == "test"
    with pytest.raises(ConfigError, match="--eval-split"):
        open_material(copy, split="test")


def test_what_a_training_is_validated_with_is_part_of_its_key(marco, mini, tiny):
    before = keys(mini, marco, settings_of(marco, tiny))
    after_train = [False, True, True, True, False, True]
    assert changed(before, keys(mini, marco, settings_of(marco, tiny, validate_in=0.9))) == after_train
    assert changed(before, keys(mini, marco, settings_of(marco, tiny, hold_out=0.3)))[:2] == [True, True]


def test_the_split_counts_by_its_content(copy, mini, tiny):
    for kind in ("queries", "qrels"):
        lines = (copy / f"{kind}.train.tsv").read_text().splitlines(keepends=True)
        (copy / f"{kind}.same.tsv").write_text("".join(lines))
        (copy / f"{kind}.less.tsv").write_text("".join(lines[:20]))
    given = settings_of(copy, tiny)
    before = keys(mini, copy, given, split="train", eval_split="dev")
    assert keys(mini, copy, given, split="same", eval_split="dev") == before
    less = keys(mini, copy, given, split="less", eval_split="dev")
    assert changed(before, less) == [True, True, True, True, False, True]


MINED = """
[set]
model = ""

[[stage]]
name = "mined"
kind = "negatives"
sources = ["bm25", "splade:$model"]

[[stage]]
name = "score"
kind = "score"
examples = "@mined"
teachers = ["bm25"]
normalise = "z-score"
rescale = "splade:$model"
"""


def test_a_model_behind_a_scheme_counts_by_its_content(marco, tiny, tmp_path):
    recipe = tmp_path / "mined.toml"
    recipe.write_text(MINED)
    copy = shutil.copytree(tiny, tmp_path / "copy")
    before = keys(recipe, marco, {"model": str(tiny)})
    assert keys(recipe, marco, {"model": str(copy)}) == before
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "attention_probs_dropout_prob": 0.2}))
    assert changed(before, keys(recipe, marco, {"model": str(copy)})) == [True, True]
    other = {"model": str(tiny), "score.rescale": f"splade:{copy}"}
    assert changed(before, keys(recipe, marco, other)) == [False, True]


def test_a_stage_that_was_interrupted_takes_a_model_that_has_been_moved(marco, tiny, tmp_path):
    recipe, out = tmp_path / "mined.toml", tmp_path / "out"
    recipe.write_text(MINED)
    copy = shutil.copytree(tiny, tmp_path / "copy")
    for name in ("01-mined", "02-score"):
        run_recipe(recipe, marco, out, overrides={"model": str(tiny)})
        (out / name / "manifest.json").unlink()
        report = run_recipe(recipe, marco, out, overrides={"model": str(copy)})
        assert [stage.reused for stage in report.stages] == [name != "01-mined", name != "02-score"]
        assert str(copy) in (out / name / "manifest.json").read_text()


def test_learned_weights_are_no_fixed_ones(marco, mini, tiny, tmp_path):
    (tmp_path / "idf.json").write_text('{"word01": 2.0}')
    found = {
        keys(mini, marco, settings_of(marco, tiny, **{"train.query_encoder": f"{before}{tmp_path / 'idf.json'}"}))[1]
        for before in ("", "learned:")
    }
    assert len(found) == 2


def test_metadata_of_documents_in_memory_counts(marco):
    class InMemory:
        name, splits = "mine", ("train", "dev")

        def __init__(self, year):
            self._year = year

        def documents(self):
            return iter([Document("1", "word01", "", {"year": self._year})])

        def queries(self, split=None):
            return open_collection(marco).queries(split)

        def qrels(self, split):
            return open_collection(marco).qrels(split)

    assert open_material(InMemory(1)).digests == open_material(InMemory(1)).digests
    assert open_material(InMemory(1)).digests["documents"] != open_material(InMemory(2)).digests["documents"]


@pytest.mark.parametrize(
    "key",
    ["triples", "train.start", "train.examples", "encode.model", "train.query_encoder"],
)
@pytest.mark.parametrize("path", ["/no/such/thing", "~/m", "./m", "a/b/c"])
def test_paths_that_are_not_there_are_named_before_anything_is_made(key, path, marco, mini, tiny, tmp_path):
    with pytest.raises(InputError, match="there is no such") as refused:
        run_recipe(mini, marco, tmp_path / "out", overrides=settings_of(marco, tiny, **{key: path}))
    assert path.strip("./") in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_precision_that_does_not_work_here_is_refused_before_the_first_stage(marco, mini, tiny, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("fp16 works on this machine")
    given = settings_of(marco, tiny, **{"train.precision": "fp16"})
    with pytest.raises(ConfigError, match=r"stage train cannot run here: precision = 'fp16'"):
        run_recipe(mini, marco, tmp_path / "out", overrides=given)
    assert not (tmp_path / "out").exists()
    assert plan_recipe(mini, marco, tmp_path / "out", overrides=given), "a plan may be for another machine"


def test_too_few_held_out_queries_are_announced_and_counted(marco, mini, tiny, tmp_path):
    said = []
    given = settings_of(marco, tiny, hold_out=0.02, steps=1, **{"train.validate_every": 1})
    (count,) = {stage.counts["held out"] for stage in plan_recipe(mini, marco, None, overrides=given).stages[1:2]}
    run_recipe(mini, marco, tmp_path / "out", overrides=given, announce=said.append)
    assert said[0].startswith(f"Only {count} of 24 training queries are held out (hold_out = 0.02)")
    assert said[1].startswith("[1/6]")
    said.clear()
    given = {**given, "train.give": "final"}
    run_recipe(mini, marco, tmp_path / "out", overrides=given, announce=said.append)
    assert said[0].startswith("[1/6]")
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["overrides"] == given
    assert (written["split"], written["evaluated split"]) == ("train", "dev")
    assert written["collection"] == written["evaluated collection"] == open_collection(marco).name


def test_what_can_only_be_fewer_is_planned_as_at_most(marco, tiny, tmp_path):
    recipe = tmp_path / "mined.toml"
    recipe.write_text(MINED)
    plan = plan_recipe(recipe, marco, None, overrides={"model": str(tiny), "mined.negatives_per_query": 3})
    mined, score = (stage.cells()[3] for stage in plan.stages)
    assert "24 examples at most" in mined
    assert "96 pairs at most" in score
