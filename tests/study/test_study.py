"""A study runs every cell once, goes on where it was broken off, and its summary is what its rows come to."""

import json
import shutil
import statistics
import subprocess
import sys

import pytest

from everglade.errors import ConfigError, InputError
from everglade.study import cells as cells_module
from everglade.study.reading import read_study
from everglade.study.runner import plan_study, run_study
from everglade.study.summary import summarise_study

CELLS = ["plain.light.1", "taught.light.1", "plain.light.2", "taught.light.2", "plain.none.1", "plain.none.2"]


def test_cells_come_level_by_level_and_seed_by_seed(ground):
    assert [cell.name for cell in read_study(ground / "study.toml").cells()] == CELLS


def test_every_cell_and_reference_is_measured_on_every_set(ground, done):
    out, summary, _ = done
    assert summary == json.loads((out / "study.json").read_text())
    assert summary["cells"] == {"planned": 6, "finished": 6}
    found = {(row["scenario"], row["level"], row["seed"], row["set"]) for row in summary["rows"]}
    names = [tuple(name.split(".")) for name in CELLS]
    expected = {(scenario, level, int(seed), one) for scenario, level, seed in names for one in ("near", "far")}
    references = {(name, None, None, one) for name in ("bm25", "untrained") for one in ("near", "far")}
    assert found == expected | references
    bm25 = next(row for row in summary["rows"] if row["scenario"] == "bm25")
    assert "flops" not in bm25 and 0 < bm25["measures"]["nDCG@10"] <= 1
    assert {one.state for one in plan_study(read_study(ground / "study.toml"), out)} == {"finished"}


def test_seeds_differ_and_levels_do(done):
    _, summary, _ = done
    flops = [row["flops"] for row in summary["rows"] if row["set"] == "near" and row["seed"]]
    assert len(set(flops)) == len(flops) == len(CELLS)


def test_means_are_over_seeds_and_sets(done):
    _, summary, _ = done
    rows = {
        (row["scenario"], row["level"], row["seed"], row["set"]): row["measures"]["RR@10"] for row in summary["rows"]
    }
    means = {(one["scenario"], one["level"], one["set"]): one for one in summary["means"]}
    both = [rows["plain", "light", seed, "far"] for seed in (1, 2)]
    found = means["plain", "light", "far"]
    assert found["mean"]["RR@10"] == pytest.approx(statistics.fmean(both))
    assert found["deviation"]["RR@10"] == pytest.approx(statistics.stdev(both))
    assert means["plain", "light", "zero-shot"]["mean"] == pytest.approx(found["mean"])
    of_seeds = [statistics.fmean(rows["plain", "light", seed, one] for one in ("near", "far")) for seed in (1, 2)]
    assert means["plain", "light", "all"]["mean"]["RR@10"] == pytest.approx(statistics.fmean(of_seeds))
    assert means["bm25", None, "near"]["seeds"] == 1 and means["bm25", None, "near"]["deviation"]["RR@10"] is None


def test_a_study_without_zero_shot_sets_has_no_such_mean(ground, done, tmp_path):
    shutil.copytree(ground, tmp_path / "ground")
    file = tmp_path / "ground" / "study.toml"
    file.write_text(file.read_text().replace('in_domain = ["near"]', 'in_domain = ["near", "far"]'))
    summary = summarise_study(read_study(file), done[0])
    assert {one["set"] for one in summary["means"]} == {"near", "far", "all"}
    assert set(summary["gains"][0]["gain"]) == {"near", "far", "all"}


def test_gains_and_tests_are_at_the_same_level(done):
    _, summary, _ = done
    means = {(one["scenario"], one["level"], one["set"]): one["mean"]["nDCG@10"] for one in summary["means"]}
    (gain,) = [one for one in summary["gains"] if one["name"] == "distillation"]  # taught is run at one level only
    assert gain["level"] == "light"
    for name in ("near", "far", "zero-shot", "all"):
        difference = means["taught", "light", name] - means["plain", "light", name]
        assert gain["gain"][name] == pytest.approx(difference)
    tests = {(one["level"], one["set"], one["run"]): one for one in summary["tests"]}
    assert set(tests) == {("light", "near", "taught"), ("light", "far", "taught")}
    assert tests["light", "far", "taught"]["difference"] == pytest.approx(gain["gain"]["far"])
    # Taught over plain is also what is tested against the baseline; of two, nothing is corrected.
    assert set(gain["tests"]) == {"near", "far"}
    for name, test in gain["tests"].items():
        assert test == {key: value for key, value in tests["light", name, "taught"].items() if key in test}
        assert test["p_randomisation_corrected"] == test["p_randomisation"]


def test_gains_over_a_reference_are_over_its_one_value(done):
    _, summary, _ = done
    means = {(one["scenario"], one["level"], one["set"]): one["mean"]["nDCG@10"] for one in summary["means"]}
    gains = [one for one in summary["gains"] if one["name"] == "training"]
    assert [(one["level"], one["over"], one["seeds"]) for one in gains] == [
        ("light", "untrained", 2),
        ("none", "untrained", 2),
    ]
    for gain in gains:
        for name in ("near", "far", "zero-shot", "all"):
            expected = means["plain", gain["level"], name] - means["untrained", None, name]
            assert gain["gain"][name] == pytest.approx(expected)
        assert gain["tests"]["near"]["difference"] == pytest.approx(gain["gain"]["near"])


def test_a_second_call_trains_and_measures_nothing(ground, done, monkeypatch, run_in):
    out, summary, _ = done
    monkeypatch.setattr(cells_module, "run_suite", lambda *_, **__: pytest.fail("measured again"))
    said = []
    assert run_in(ground, out, announce=said.append) == summary
    assert sum("reused" in line for line in said) == len(CELLS)


def test_a_cell_without_figures_is_measured_again_and_comes_out_the_same(ground, done, tmp_path, run_in):
    out, summary, _ = done
    shutil.copytree(out, tmp_path / "copy")
    (tmp_path / "copy" / "cells" / "taught.light.2" / "figures.json").unlink()
    (tmp_path / "copy" / "study.json").unlink()
    assert run_in(ground, tmp_path / "copy") == summary


def test_parts_come_to_the_whole(ground, done, tmp_path, run_in):
    out, summary, _ = done
    shutil.copytree(out / "prepare", tmp_path / "parts" / "prepare")
    first = run_in(ground, tmp_path / "parts", part=(1, 2))
    assert first["cells"] == {"planned": 6, "finished": 3}
    both = run_in(ground, tmp_path / "parts", part=(2, 2))
    without_times = [{key: value for key, value in one.items() if key != "seconds"} for one in (both, summary)]
    assert without_times[0] == without_times[1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("seeds = [1, 2]", "seeds = [1.5]"), "seeds must be whole numbers"),
        (("seeds = [1, 2]", "seeds = 3"), "seeds must be whole numbers such as [1, 2, 3], not 3"),
        (("seeds = [1, 2]", "seeds = [1, 1]"), "a seed stands twice in [1, 1]"),
        (('suite = "suite.toml"', "suite = 5"), "suite must be a text, not 5"),
        (('prepare = "prepare.toml"', "prepare = 5"), "prepare must be a text, not 5"),
        (('in_domain = ["near"]', 'in_domain = "near"'), "in_domain must be a list of names"),
        (('levels = ["light"]', 'levels = "light"'), "levels must be a list of names"),
        (('levels = ["light"]', "levels = []"), "would not be trained"),
        (("[train]", "[train]\nseed = 7"), "seed cannot be set here"),
        (('loss = "margin_mse"', 'loss = "margin_mse"\nkind = "score"'), "kind cannot be set here"),
        (('label = "MarginMSE"', 'label = "InfoNCE"'), "two scenarios have the label 'InfoNCE'"),
        (('label = "BM25"', 'label = "InfoNCE"'), "two scenarios have the label 'InfoNCE'"),
        (('of = "taught"', 'of = "plain"'), "over itself"),
        (("seeds = [1, 2]", ""), "lacks seeds"),
        (('baseline = "plain"', 'baseline = "plian"'), "did you mean plain"),
        (('levels = ["light"]', 'levels = ["ligth"]'), "did you mean light"),
        (('in_domain = ["near"]', 'in_domain = ["nera"]'), "did you mean near"),
        (('name = "taught"', 'name = "plain"'), "two scenarios are called 'plain'"),
        (('name = "taught"', 'name = "a.b"'), "No dots or slashes"),
        (('summary = "a', 'sumary = "a'), "unknown key 'sumary'"),
        (('over = "plain"', 'ower = "plain"'), "unknown key 'ower'"),
        (('model = "$first"', 'model = "$frist"'), "no setting 'frist'. did you mean first"),
        (('label = "BM25"', "label = 3"), "label must be a text"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(ground, tmp_path, change, why):
    for file in ground.glob("*.toml"):
        shutil.copy(file, tmp_path)
    text = (ground / "study.toml").read_text()
    assert change[0] in text
    (tmp_path / "study.toml").write_text(text.replace(*change))
    with pytest.raises(ConfigError, match="study.toml") as caught:
        read_study(tmp_path / "study.toml")
    assert why.lower() in str(caught.value).lower()


@pytest.mark.parametrize("rows", ['{ name = "a" }', '["a"]', '"a"', "3"])
@pytest.mark.parametrize("key", ["level", "scenario", "reference", "gain"])
def test_what_is_no_list_of_tables_is_refused(tmp_path, key, rows):
    whole = {"level": '[{ name = "l" }]', "scenario": '[{ name = "s" }]', key: rows}
    lines = [
        "seeds = [1]",
        'baseline = "s"',
        'suite = "beir-13"',
        *(f"{name} = {value}" for name, value in whole.items()),
    ]
    (tmp_path / "study.toml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=rf"Write \[\[{key}\]\], with two brackets"):
        read_study(tmp_path / "study.toml")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("steps = 2", "stpes = 2"), "unknown setting 'stpes'"),
        (('examples = "@scored"', 'examples = "@score"'), "no stage @score"),
        (('loss = "margin_mse"', 'loss = "margin"'), "margin"),
        (('start = "$first"', 'start = "$frist"'), "Did you mean first"),
        (('start = "$first"', 'start = "$unset"'), "start must be given"),
        (('model = "$first"', 'model = "$unset"'), "--set unset="),
    ],
)
def test_a_wrong_setting_of_the_last_cell_is_known_before_the_first(ground, done, tmp_path, change, why, run_in):
    for file in ground.glob("*.toml"):
        shutil.copy(file, tmp_path)
    text = (ground / "study.toml").read_text()
    (tmp_path / "study.toml").write_text(text.replace(*change))
    shutil.copytree(done[0] / "prepare", tmp_path / "out" / "prepare")
    with pytest.raises(ConfigError, match=why):
        run_in(ground, tmp_path / "out", study=tmp_path / "study.toml")
    assert not (tmp_path / "out" / "cells").exists()


def test_an_unknown_scenario_and_a_missing_folder_are_refused(ground, tmp_path, run_in):
    with pytest.raises(ConfigError, match="plain, taught"):
        run_in(ground, tmp_path, only=["taut"])
    with pytest.raises(InputError, match="no such folder of sets"):
        run_study(read_study(ground / "study.toml"), "near", tmp_path / "none", tmp_path / "out")


def everglade(*words):
    command = [sys.executable, "-m", "everglade.cli", "study", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_plans_and_prints(ground, done):
    out, _, _ = done
    planned = everglade(ground / "study.toml", "--dry-run")
    assert planned.returncode == 0 and planned.stdout.count("to do") == len(CELLS) + 2
    words = (ground / "study.toml", "--collection", ground / "sets" / "near", "--sets", ground / "sets", "-o", out)
    printed = everglade(*words, "--quiet")
    assert printed.returncode == 0, printed.stderr
    assert "MarginMSE" in printed.stdout and "6 of 6 trainings are finished" in printed.stdout
    wrong = everglade(*words, "--set", "bm26.depth=3")
    assert wrong.returncode == 2 and "bm25" in wrong.stderr
