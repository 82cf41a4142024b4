"""What running a recipe leaves, what it reuses, and what it makes again."""

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest

from everglade import Index, Splade, evaluate
from everglade.distill.examples import read_examples
from everglade.errors import CheckpointError, ConfigError, LockHeld
from everglade.recipes.files import hash_model
from everglade.recipes.material import open_material
from everglade.recipes.runner import plan_recipe, run_recipe
from everglade.texts import Document, group_qrels, open_collection, read_run

NAMES = ["triples", "train", "encode", "index", "bm25", "evaluate"]


def settings_of(collection, tiny, given):
    values = {"start": str(tiny), "triples": str(collection / "triples.tsv")}
    return {**values, **{key.replace("__", "."): value for key, value in given.items()}}


def run(recipe, collection, out, tiny, **given):
    said = []
    report = run_recipe(recipe, collection, out, overrides=settings_of(collection, tiny, given), announce=said.append)
    return report, [line.rpartition(": ")[2] for line in said if line.startswith("[")]


def states(recipe, collection, out, tiny, **given):
    plan = plan_recipe(recipe, collection, out, overrides=settings_of(collection, tiny, given))
    return [stage.state for stage in plan.stages]


@pytest.fixture(scope="module")
def once(marco, tiny, mini, tmp_path_factory):
    """The folder of a recipe that ran once, and its report; to look at, not to change."""
    out = tmp_path_factory.mktemp("once") / "out"
    report, _ = run(mini, marco, out, tiny)
    return out, report


@pytest.fixture
def out(once, tmp_path):
    """A copy of that folder, to run on."""
    return shutil.copytree(once[0], tmp_path / "out")


def test_every_stage_leaves_a_folder_with_a_manifest(once, marco):
    out, report = once
    assert [stage.name for stage in report.stages] == NAMES
    assert not any(stage.reused for stage in report.stages)
    for number, name in enumerate(NAMES, start=1):
        folder = out / f"{number:02}-{name}"
        manifest = json.loads((folder / "manifest.json").read_text())
        assert (manifest["recipe"], manifest["stage"]) == ("mini", name)
        assert {"kind", "key", "settings", "inputs", "seed", "counts", "versions", "files"} <= manifest.keys()
        assert "seconds" in json.loads((folder / "times.json").read_text())
        for file, described in manifest["files"].items():
            assert (folder / file).stat().st_size == described["bytes"]
    train = json.loads((out / "02-train" / "manifest.json").read_text())
    assert train["inputs"]["examples @triples"] == json.loads((out / "01-triples" / "manifest.json").read_text())["key"]
    assert train["settings"]["steps"] == 4
    assert train["settings"]["learning_rate"] == 1e-3
    assert train["seed"] == 123
    assert not (out / "02-train" / "checkpoints").exists(), "nobody goes on with a finished stage"


def test_the_report_is_what_the_library_says_of_the_run(once, marco):
    out, report = once
    qrels = group_qrels(open_collection(marco).qrels("dev"))
    bm25, tuned = report.rows
    assert (bm25.label, tuned.label) == ("BM25", "tuned")
    for row, folder in ((bm25, "05-bm25"), (tuned, "06-evaluate")):
        assert row.measures == evaluate(read_run(out / folder / "run.trec"), qrels)
    assert bm25.measures["RR@10"] > 0.5, "three words of eight name the document"
    model = Splade.load(report.outputs["train"])
    with Index.open(report.outputs["index"], model=model) as index:
        assert len(index) == 60
    assert tuned.flops > 0
    written = json.loads((out / "report.json").read_text())
    assert written["rows"] == [row.to_dict() for row in report.rows]
    assert "seconds" not in (out / "report.json").read_text()
    assert json.loads((out / "times.json").read_text())["seconds"].keys() == set(NAMES)


def test_validation_searches_the_judged_documents_and_a_share_of_the_others(once, marco):
    material = open_material(marco, hold_out=0.2, validate_in=0.5)
    log = [json.loads(line) for line in (once[0] / "02-train" / "log.jsonl").read_text().splitlines()]
    assert sum("validation" in line for line in log) == 3
    documents = {document.id for document in material.validation.documents}
    assert {key for judged in material.held.values() for key in judged} <= documents
    assert len(documents) < 60


def test_a_collection_in_memory_is_its_content(marco):
    class InMemory:
        name, splits = "mine", ("train", "dev")

        def __init__(self, extra=()):
            self._extra = list(extra)

        def documents(self):
            return iter([*open_collection(marco).documents(), *self._extra])

        def queries(self, split=None):
            return open_collection(marco).queries(split)

        def qrels(self, split):
            return open_collection(marco).qrels(split)

    one, same, other = (open_material(InMemory(extra)) for extra in ((), (), [Document("x", "word01")]))
    assert one.digests == same.digests
    assert {name for name in one.digests if one.digests[name] != other.digests[name]} == {
        "documents",
        "evaluated documents",
    }
    assert other.n_documents == 61


def test_a_query_of_both_splits_is_only_evaluated(marco, tmp_path):
    folder = shutil.copytree(marco, tmp_path / "marco")
    with (folder / "qrels.dev.tsv").open("a") as file:
        file.write("1\t0\t1000\t1\n")
    assert "1" in open_material(marco).qrels
    assert "1" not in open_material(folder).qrels


def test_what_is_finished_is_reused(out, mini, marco, tiny):
    before = hash_model(out)
    report, said = run(mini, marco, out, tiny)
    assert said == ["reused"] * 6
    assert hash_model(out) == before
    assert all(stage.reused for stage in report.stages)


def test_a_changed_stage_and_those_after_it_are_made_again_and_the_old_ones_come_back(out, mini, marco, tiny):
    old = hash_model(out / "02-train")
    changed = {"steps": 3}
    assert states(mini, marco, out, tiny, **changed) == ["reused", "run", "run", "run", "reused", "run"]
    _, said = run(mini, marco, out, tiny, **changed)
    assert [line == "reused" for line in said] == [True, False, False, False, True, False]
    aside = sorted(path.name.partition(".")[0] for path in (out / "set-aside").iterdir())
    assert aside == ["02-train", "03-encode", "04-index", "06-evaluate"]
    assert hash_model(out / "02-train") != old

    back = ["reused", *["brought back"] * 3, "reused", "brought back"]
    assert states(mini, marco, out, tiny) == back
    _, said = run(mini, marco, out, tiny)
    assert said == ["reused"] * 6
    assert hash_model(out / "02-train") == old


def test_which_result_is_taken_changes_what_comes_after_but_not_the_training(out, mini, marco, tiny):
    assert states(mini, marco, out, tiny, train__give="final") == ["reused", "reused", "run", "run", "reused", "run"]
    report, _ = run(mini, marco, out, tiny, train__give="final")
    assert report.outputs["train"].name == "final"


def test_changed_inputs_are_seen(out, mini, marco, tiny, tmp_path):
    other = shutil.copytree(marco, tmp_path / "other")
    same = settings_of(marco, tiny, {})["triples"]
    assert states(mini, other, out, tiny, triples=same) == ["reused"] * 6, "a collection is its content"
    with (other / "collection.tsv").open("a") as file:
        file.write("2000\tword01 word02\n")
    assert states(mini, other, out, tiny, triples=same) == ["reused", *["run"] * 5]
    model = shutil.copytree(tiny, tmp_path / "model")
    assert states(mini, marco, out, model) == ["reused"] * 6
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "attention_probs_dropout_prob": 0.2}))
    assert states(mini, marco, out, model) == ["reused", "run", "run", "run", "reused", "run"]


def test_fresh_begins_anew(out, mini, marco, tiny):
    (out / "set-aside").mkdir()
    said = []
    given = settings_of(marco, tiny, {})
    run_recipe(mini, marco, out, overrides=given, announce=said.append, fresh=True)
    assert not any("reused" in line for line in said)
    assert not (out / "set-aside").exists()


def test_a_damaged_stage_is_named(out, mini, marco, tiny):
    (out / "02-train" / "final" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model.safetensors is gone. Put it back, or remove .*02-train"):
        run(mini, marco, out, tiny)


def test_a_folder_of_something_else_is_left_alone(mini, marco, tiny, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="no recipe has made"):
        run(mini, marco, tmp_path / "out", tiny)


def test_one_process_at_a_time(out, mini, marco, tiny):
    with (out / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LockHeld):
            run(mini, marco, out, tiny)


def test_the_index_of_a_folder_that_was_moved_finds_its_model(once, out, tmp_path):
    made, report = once
    asked = {"q": "word01 word02 word03"}
    with Index.open(report.outputs["index"]) as index:
        expected = index.search_many(asked, 10)
        assert Path(index.encoder.name).samefile(report.outputs["train"])
    moved = out.rename(tmp_path / "moved")
    with Index.open(moved / "04-index" / "index") as index:
        assert index.search_many(asked, 10) == expected
        assert Path(index.encoder.name).samefile(moved / report.outputs["train"].relative_to(made))
    alone = shutil.copytree(report.outputs["index"], tmp_path / "alone")
    with Index.open(alone) as index:
        assert index.search_many(asked, 10) == expected
        assert Path(index.encoder.name).samefile(report.outputs["train"]), "the model stayed where it was"


def test_estimates_come_from_what_was_measured(once, mini, marco, tiny):
    plan = plan_recipe(mini, marco, once[0], overrides=settings_of(marco, tiny, {"steps": 8}))
    found = {stage.spec.name: stage for stage in plan.stages}
    took = json.loads((once[0] / "02-train" / "times.json").read_text())["seconds"]
    assert found["train"].seconds == pytest.approx(2 * took, rel=0.01)
    assert found["train"].seconds_from == "measured rate"
    assert found["triples"].seconds_from == "measured"
    assert found["triples"].state == "reused"
    assert found["train"] in plan.left
    assert found["triples"] not in plan.left
    assert found["encode"].counts == {"documents": 60}
    nowhere = plan_recipe(mini, None, None, overrides=settings_of(marco, tiny, {}))
    assert {stage.cells()[-1] for stage in nowhere.stages} == {"unknown"}
    assert {stage.key for stage in nowhere.stages} == {None}


def test_splits_and_shares_that_cannot_be(marco, tmp_path):
    material = open_material(marco)
    assert (material.split, material.eval_split) == ("train", "dev")
    with pytest.raises(ConfigError, match="both trained on and evaluated"):
        open_material(marco, eval_split="train")
    with pytest.raises(ConfigError, match="hold_out must lie between 0 and 1"):
        open_material(marco, hold_out=1.5)
    with pytest.raises(ConfigError, match="at most 0.9"):
        open_material(marco, hold_out=1)
    other = shutil.copytree(marco, tmp_path / "marco")
    (other / "queries.eval.tsv").write_text("9\tword01\n")
    (other / "queries.dev.tsv").unlink()
    (other / "qrels.dev.tsv").unlink()
    assert open_material(other).eval_split == "eval"
    (other / "queries.dev2.tsv").write_text("9\tword01\n")
    with pytest.raises(ConfigError, match="--eval-split"):
        open_material(other)


def test_a_collection_of_ir_datasets_is_planned_without_reading_its_documents(tiny, tmp_path, monkeypatch):
    import ir_datasets

    (tmp_path / "queries.tsv").write_text("q1\tword01\nq2\tword02\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\nq2 0 d2 1\n")
    paths = {"docs_tsv": str(tmp_path / "missing.tsv"), "queries_tsv": str(tmp_path / "queries.tsv")}
    judged = ir_datasets.create_dataset(**paths, qrels_trec=str(tmp_path / "qrels.txt"))
    whole = ir_datasets.create_dataset(**paths)
    monkeypatch.setattr(whole, "metadata", lambda: {"docs": {"count": 8_841_823}}, raising=False)
    names = {"marco": whole, "marco/train": judged, "marco/dev": judged}
    monkeypatch.setattr(ir_datasets.registry, "_registered", {**ir_datasets.registry._registered, **names})
    with pytest.raises(ConfigError, match="nothing is left to train on"):
        plan_recipe("splade-max", "irds:marco")
    (tmp_path / "other.txt").write_text("q1 0 d1 1\n")
    names["marco/dev"] = ir_datasets.create_dataset(**paths, qrels_trec=str(tmp_path / "other.txt"))
    monkeypatch.setattr(ir_datasets.registry, "_registered", {**ir_datasets.registry._registered, **names})
    plan = plan_recipe("splade-max", "irds:marco", tmp_path / "out")
    counts = {stage.spec.name: stage.counts for stage in plan.stages}
    assert counts["encode"] == {"documents": 8_841_823}
    assert counts["bm25"]["queries"] == 1
    estimated = plan_recipe("splade-max", "irds:marco", overrides={"start": str(tiny)})
    assert {stage.seconds_from for stage in estimated.stages} == {"estimated"}
    assert estimated.seconds_left > 3600, "none of 150,000 steps and 8,841,823 documents takes no time"


def test_another_collection_may_be_evaluated_on(mini, marco, tiny, tmp_path):
    other = shutil.copytree(marco, tmp_path / "other")
    with (other / "collection.tsv").open("a") as file:
        file.write("2000\tword01 word02\n")
    report = run_recipe(
        mini,
        marco,
        tmp_path / "out",
        eval_collection=other,
        eval_split="dev",
        overrides=settings_of(marco, tiny, {"steps": 1, "train.validate_every": 1}),
    )
    manifest = json.loads((tmp_path / "out" / "03-encode" / "manifest.json").read_text())
    assert manifest["counts"]["documents"] == 61
    assert report.rows[0].queries == 24
    assert len(read_examples(report.outputs["triples"])) == 24
    assert os.path.lexists(report.path)
