"""What a killed call leaves behind, how a stage is found again, and what of a person's is never touched."""

import json
import os
import shutil

import pytest

from everglade import Index
from everglade.errors import ConfigError
from everglade.recipes.folders import begin_timing, require_recipe_folder, time_before
from everglade.recipes.runner import plan_recipe, run_recipe


def settings_of(collection, tiny, **given):
    return {"start": str(tiny), "triples": str(collection / "triples.tsv"), **given}


def run(recipe, collection, out, overrides, **more):
    said = []
    report = run_recipe(recipe, collection, out, overrides=overrides, announce=said.append, **more)
    return report, [line.rpartition(": ")[2] == "reused" for line in said if line.startswith("[")]


def states(recipe, collection, out, overrides):
    return [stage.state for stage in plan_recipe(recipe, collection, out, overrides=overrides).stages]


@pytest.fixture(scope="module")
def once(marco, tiny, mini, tmp_path_factory):
    """The folder of a recipe that ran once, and its report; to look at, not to change."""
    out = tmp_path_factory.mktemp("once") / "out"
    report, _ = run(mini, marco, out, settings_of(marco, tiny))
    return out, report


@pytest.fixture
def out(once, tmp_path):
    """A copy of that folder, to run on."""
    return shutil.copytree(once[0], tmp_path / "out")


class Killed(BaseException):
    """What stands for kill -9: nobody catches it."""


def kill_at(monkeypatch, number):
    """Die when a file is to be removed the nth time."""
    removed, real = [], os.unlink

    def unlink(*words, **more):
        removed.append(words)
        if len(removed) == number:
            raise Killed
        real(*words, **more)

    monkeypatch.setattr(os, "unlink", unlink)


@pytest.mark.parametrize("number", [2, 12, 30])
def test_fresh_that_is_killed_leaves_stages_whole_or_not_at_all(number, out, once, mini, marco, tiny, monkeypatch):
    given = settings_of(marco, tiny)
    with monkeypatch.context() as patch:
        kill_at(patch, number)
        with pytest.raises(Killed):
            run(mini, marco, out, given, fresh=True)
    report, _ = run(mini, marco, out, given)
    assert report.rows[-1].measures == once[1].rows[-1].measures
    assert run(mini, marco, out, given)[1] == [True] * 6
    with Index.open(report.outputs["index"]) as index:
        assert len(index) == 60
    assert not list(out.rglob(".*.removed"))


@pytest.mark.parametrize("number", [1, 2])
def test_texts_that_are_being_replaced_may_be_lost_to_a_kill(number, out, mini, marco, tiny, monkeypatch):
    given = settings_of(marco, tiny, hold_out=0.3)
    with monkeypatch.context() as patch:
        kill_at(patch, number)
        with pytest.raises(Killed):
            run(mini, marco, out, given)
    run(mini, marco, out, given)
    assert run(mini, marco, out, given)[1] == [True] * 6


def test_a_kill_while_a_manifest_is_written_leaves_nothing_in_the_next_one(out, mini, marco, tiny):
    given = settings_of(marco, tiny)
    manifest = out / "06-evaluate" / "manifest.json"
    files = json.loads(manifest.read_text())["files"]
    manifest.rename(manifest.with_name("manifest.json.tmp"))
    (out / "06-evaluate" / "vectors.host.1.2.partial").mkdir()
    (out / "06-evaluate" / "vectors.host.1.2.partial" / "x").write_text("half")
    assert run(mini, marco, out, given)[1] == [True] * 5 + [False]
    assert json.loads(manifest.read_text())["files"].keys() == files.keys()
    assert run(mini, marco, out, given)[1] == [True] * 6


@pytest.mark.parametrize("names", [["run.lock"], ["run.lock", "recipe.toml.tmp"], []])
def test_a_kill_before_the_recipe_is_written_does_not_lock_anybody_out(names, tmp_path):
    for name in names:
        (tmp_path / name).write_text("")
    require_recipe_folder(tmp_path)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="no recipe has made"):
        require_recipe_folder(tmp_path)


def test_a_stage_is_found_by_its_name_when_others_come_or_go(out, mini, marco, tiny, tmp_path):
    given = settings_of(marco, tiny)
    shorter = tmp_path / "shorter.toml"
    parts = mini.read_text().split("[[stage]]")
    shorter.write_text("[[stage]]".join(part for part in parts if 'name = "bm25"' not in part))
    assert states(shorter, marco, out, given) == ["reused"] * 5
    report, reused = run(shorter, marco, out, given)
    assert reused == [True] * 5
    assert report.outputs["evaluate"].parent.name == "06-evaluate", "others hold paths into it, so it stays"
    assert states(mini, marco, out, given) == ["reused"] * 4 + ["brought back", "reused"]
    longer = tmp_path / "longer.toml"
    longer.write_text("[[stage]]".join([parts[0], parts[5].replace('"bm25"\nkind', '"more"\nkind'), *parts[1:]]))
    assert states(longer, marco, out, given) == ["run"] + ["reused"] * 4 + ["brought back", "reused"]
    run(longer, marco, out, given)
    assert run(mini, marco, out, given)[1] == [True] * 6
    assert sorted(path.name for path in out.glob("*-bm25")) == ["05-bm25"]


def test_an_empty_folder_of_a_killed_call_does_not_keep_a_stage_aside(out, mini, marco, tiny):
    given = settings_of(marco, tiny)
    run(mini, marco, out, {**given, "steps": 3})
    shutil.rmtree(out / "02-train")
    (out / "02-train").mkdir()
    (out / "02-train" / "stage.json.tmp").write_text("{")
    assert states(mini, marco, out, given)[1] == "brought back"
    assert run(mini, marco, out, given)[1] == [True] * 6
    assert not list(out.glob("set-aside/*unknown*"))


def test_folders_of_a_person_stay(out, mini, marco, tiny):
    given = settings_of(marco, tiny)
    (out / "07-notes").mkdir()
    (out / "07-notes" / "n.txt").write_text("mine")
    for text in ("first", "second"):
        shutil.rmtree(out / "06-evaluate")
        (out / "06-evaluate").mkdir()
        (out / "06-evaluate" / "n.txt").write_text(text)
        run(mini, marco, out, given)
    run(mini, marco, out, given, fresh=True)
    assert (out / "07-notes" / "n.txt").read_text() == "mine"
    kept = sorted((path.parent.name, path.read_text()) for path in (out / "set-aside").rglob("n.txt"))
    assert kept == [("06-evaluate.unknown", "first"), ("06-evaluate.unknown-2", "second")]


def test_times_add_up_over_interrupted_calls(out, mini, marco, tiny):
    begin_timing(out / "06-evaluate", 3.0)
    os.utime(out / "06-evaluate" / "run.trec", (2**33, 2**33))  # the last file of the killed call
    began = json.loads((out / "06-evaluate" / "times.json").read_text())["began"]
    assert time_before(out / "06-evaluate") == pytest.approx(3 + 2**33 - began)
    (out / "06-evaluate" / "manifest.json").unlink()
    report, _ = run(mini, marco, out, settings_of(marco, tiny))
    assert report.stages[-1].seconds > 2**33 - began
    (out / "06-evaluate" / "times.json").unlink()
    report, reused = run(mini, marco, out, settings_of(marco, tiny))
    assert (reused[-1], report.stages[-1].seconds) == (True, 0.0)


def test_a_plan_of_a_fresh_run_reuses_nothing_and_a_foreign_folder_is_refused(once, mini, marco, tiny, tmp_path):
    plan = plan_recipe(mini, marco, once[0], overrides=settings_of(marco, tiny), fresh=True)
    assert {stage.state for stage in plan.stages} == {"run"}
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="no recipe has made"):
        plan_recipe(mini, marco, tmp_path, overrides=settings_of(marco, tiny))
