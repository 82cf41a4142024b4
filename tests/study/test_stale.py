"""Figures count only while they are those of what the study asks now, on what it stands on now."""

import json
import shutil

import pytest

from everglade.errors import ConfigError, InputError
from everglade.study import runner
from everglade.study.reading import read_study
from everglade.study.runner import plan_study, run_study
from everglade.study.summary import summarise_study


@pytest.fixture
def mine(ground, done, tmp_path):
    """A copy of the ground and of the finished study, to be changed: its folder, and its `out`."""
    folder = tmp_path / "mine"
    shutil.copytree(ground, folder)
    shutil.copytree(done[0], folder / "out")
    return folder


def change(file, *pair):
    text = file.read_text()
    assert pair[0] in text
    file.write_text(text.replace(*pair))


def states(folder):
    return {one.name: one.state for one in plan_study(read_study(folder / "study.toml"), folder / "out")}


def of_set(summary, name):
    return {
        (row["scenario"], row["level"], row["seed"]): row["measures"] for row in summary["rows"] if row["set"] == name
    }


def test_figures_of_another_setting_do_not_count(mine, run_in, done):
    change(mine / "study.toml", "steps = 2", "steps = 1")
    assert set(states(mine).values()) == {"finished", "to do"}  # references are not trained
    design = read_study(mine / "study.toml")
    assert summarise_study(design, mine / "out")["cells"] == {"planned": 6, "finished": 0}
    summary = run_in(mine, mine / "out", only=["taught"])
    assert summary["cells"] == {"planned": 6, "finished": 2}
    assert {row["scenario"] for row in summary["rows"]} == {"taught", "bm25", "untrained"}
    assert summary["tests"] == [] and summary["gains"] == []
    change(mine / "study.toml", "steps = 1", "steps = 2")
    assert states(mine)["plain.none.2"] == "finished"
    assert of_set(run_in(mine, mine / "out"), "far") == of_set(done[1], "far")


def test_a_change_of_the_preparation_is_one_of_every_training(mine, run_in):
    change(mine / "prepare.toml", "negatives_per_query = 2", "negatives_per_query = 3")
    assert "finished" not in states(mine).values()
    assert run_in(mine, mine / "out")["cells"] == {"planned": 6, "finished": 6}
    assert set(states(mine).values()) == {"finished"}


def test_another_measure_is_measured_for_all(mine, run_in, done):
    change(mine / "suite.toml", '"RR@10"]', '"RR@10", "R@10"]')
    assert set(states(mine).values()) == {"to do"}
    summary = run_in(mine, mine / "out")
    assert all("R@10" in row["measures"] for row in summary["rows"])
    assert of_set(summary, "near").keys() == of_set(done[1], "near").keys()


def test_another_split_is_searched_again_by_bm25_too(mine, run_in, done):
    change(mine / "suite.toml", 'name = "near"\nsplit = "test"', 'name = "near"\nsplit = "train"')
    summary = run_in(mine, mine / "out")
    assert all(measures["RR@10"] > 0 for measures in of_set(summary, "near").values())
    bm25 = next(row for row in summary["rows"] if row["scenario"] == "bm25" and row["set"] == "near")
    assert bm25["queries"] == 12 and of_set(summary, "far") == of_set(done[1], "far")


def test_a_set_with_other_texts_is_measured_again(mine, run_in, done):
    file = mine / "sets" / "far" / "qrels" / "test.tsv"
    lines = file.read_text().splitlines()
    ids = [line.split("\t")[1] for line in lines[1:]]
    moved = [line.replace(ids[n], ids[n - 1]) for n, line in enumerate(lines[1:])]
    file.write_text("\n".join([lines[0], *moved]) + "\n")
    summary = run_in(mine, mine / "out")
    assert of_set(summary, "near") == of_set(done[1], "near")
    assert of_set(summary, "far") != of_set(done[1], "far")
    assert summary["ground"]["sets"]["near"] == done[1]["ground"]["sets"]["near"]
    assert summary["ground"]["sets"]["far"] != done[1]["ground"]["sets"]["far"]


def test_a_set_that_is_taken_out_is_in_no_row(mine, run_in):
    text = (mine / "suite.toml").read_text()
    (mine / "suite.toml").write_text(text[: text.index('[[sets]]\nname = "far"')])
    summary = run_in(mine, mine / "out", only=["plain"])
    assert {row["set"] for row in summary["rows"]} == {"near"}
    assert {row["scenario"] for row in summary["rows"]} == {"plain", "bm25", "untrained"}


@pytest.mark.parametrize("file", ["figures.json", "values.json"])
def test_a_lost_file_of_figures_is_made_again(mine, run_in, done, file):
    (mine / "out" / "cells" / "plain.light.1" / file).unlink()
    assert states(mine)["plain.light.1"] == "to do"
    assert run_in(mine, mine / "out") == done[1]


def test_a_missing_set_is_known_before_anything_is_trained(mine, run_in):
    shutil.rmtree(mine / "sets" / "far")
    with pytest.raises(InputError, match="lacks sets of suite: far"):
        run_in(mine, mine / "new")
    assert not (mine / "new").exists()


def test_a_measure_that_looks_deeper_than_the_search_is_known_before_the_preparation(mine, run_in):
    change(mine / "suite.toml", '"RR@10"]', '"R@1000"]')
    with pytest.raises(ConfigError, match="R@1000 looks at 1,000 hits, and k is 100"):
        run_in(mine, mine / "new")
    assert not (mine / "new").exists()


def test_another_name_of_the_same_collection_changes_nothing(mine, run_in, done):
    (mine / "sets" / "near").rename(mine / "sets" / "close")
    shutil.copytree(mine / "sets" / "close", mine / "sets" / "near")
    design = read_study(mine / "study.toml")
    summary = run_study(design, mine / "sets" / "close", mine / "sets", mine / "out", only=["plain"])
    assert summary["cells"] == {"planned": 6, "finished": 6}
    assert summary["ground"]["collection"] == "close"


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (("steps = 2", "stpes = 2"), "unknown setting 'stpes'"),
        (('examples = "@scored"', 'examples = "@scord"'), "no stage @scord"),
    ],
)
def test_a_mistake_is_known_before_the_preparation(mine, run_in, monkeypatch, pair, why):
    change(mine / "study.toml", *pair)
    monkeypatch.setattr(runner, "_prepare", lambda *_: pytest.fail("prepared"))
    with pytest.raises(ConfigError, match=why):
        run_in(mine, mine / "new")
    with pytest.raises(ConfigError, match=why):
        states(mine)


def test_gains_are_over_the_seeds_that_both_have(mine, run_in, done):
    (mine / "out" / "cells" / "taught.light.2" / "figures.json").unlink()
    summary = summarise_study(read_study(mine / "study.toml"), mine / "out")
    training, gain = (
        next(one for one in summary["gains"] if one["name"] == name) for name in ("training", "distillation")
    )
    assert training["seeds"] == 2 and set(training["tests"]) == {"near", "far"}
    rows = of_set(summary, "far")
    assert gain["seeds"] == 1 and gain["tests"] == {} and summary["tests"] == []
    first = [rows[scenario, "light", 1]["nDCG@10"] for scenario in ("taught", "plain")]
    assert gain["gain"]["far"] == pytest.approx(first[0] - first[1])


def test_a_set_with_one_judged_query_has_no_tests(mine, run_in):
    for split in (mine / "sets" / "far" / "qrels").iterdir():
        split.write_text("\n".join(split.read_text().splitlines()[:2]) + "\n")
    summary = run_in(mine, mine / "out")
    assert {one["set"] for one in summary["tests"]} == {"near"}
    assert set(summary["gains"][0]["tests"]) == {"near"}


def test_figures_stay_where_the_models_were_removed(mine, done):
    for folder in (mine / "out" / "cells").glob("*/01-train"):
        shutil.rmtree(folder)
    summary = summarise_study(read_study(mine / "study.toml"), mine / "out")
    assert summary == done[1]


def test_what_the_study_stood_on_and_took_is_told(mine, done):
    summary = done[1]
    assert summary["ground"]["collection"] == "near" and set(summary["ground"]["sets"]) == {"near", "far"}
    assert set(summary["preparation"]["seconds"]) == {"bm25", "scored"}
    assert summary["preparation"]["settings"]["unset"] == ""
    assert "positive_first" in summary["preparation"]["statistics"]["scored"]["scores"]["bm25"]
    assert set(summary["seconds"]) == set(summary["courses"]) == {name for name in states(mine) if "." in name}
    assert [step for step, *_ in summary["courses"]["plain.light.1"]] == [2]
    (versions,) = summary["trained_with"]
    assert {"everglade", "torch"} <= versions.keys()
    assert json.loads((done[0] / "ground.json").read_text()) == summary["ground"]
