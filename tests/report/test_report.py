"""Each kind of path gives a page that is whole, shows any text as it is, reaches for nothing, and says what is so."""

import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from everglade.assess.systems import Workplace
from everglade.cli import app
from everglade.cli.settings import parse_pair
from everglade.errors import ConfigError, EvergladeError, InputError
from everglade.report.cells import _average
from everglade.report.making import make_report
from everglade.report.reading import read_lines
from everglade.report.recipe import _rerun
from everglade.report.study import _group
from everglade.report.worst import _tell
from everglade.texts import read_run

HOSTILE = "<script>alert('x')</script> & \"more\""
VOID = {"meta", "br", "hr", "img", "link", "input"}
UNTIMED = Workplace(k=1000, timed=False)


class Reader(HTMLParser):
    """Reads a page strictly, and keeps its texts by element."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, *tags):
        return [data for tag, data in self.texts if tag in tags]


def read(page):
    text = page.to_html()
    assert not re.search(r"https?:|@import|url\((?!#)|src=", text), "the page reaches for something"
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert not {"script", "img", "link", "iframe", "b>"} & set(reader.tags)
    return reader


def explains_every_table_and_figure(reader):
    return reader.tags.count("table") == reader.tags.count("caption") and reader.tags.count("figure") == (
        reader.tags.count("figcaption")
    )


def test_a_recipe_with_what_it_was_evaluated_on(place):
    found = read(make_report([str(place / "out")], collection=str(place / "small")))
    headings = found.of("h2")
    assert headings == [
        "What it came to",
        "Training: train",
        "Where it fails",
        "What each stage took",
        "Where this comes from",
    ]
    assert explains_every_table_and_figure(found)
    cells = found.of("bdi", "b")
    report = json.loads((place / "out" / "report.json").read_text())
    for row in report["rows"]:
        assert row["label"] in cells
        for value in row["measures"].values():
            assert f"{value:.4f}" in cells
    # The worst query asks for bread and wants a headache: both documents are shown, and what sets them apart.
    worst = [text for text in found.of("summary") if HOSTILE in text]
    assert worst[0].startswith(f"{HOSTILE} bread")
    assert "headache<2> headache" in cells
    assert {"bread", "water"} & set(cells)
    assert any(text.startswith("tuned <b> minus") or "tuned <b> minus that of" in text for text in found.of("caption"))
    assert found.tags.count("svg") >= 6  # three curves, each also for a phone


def test_a_recipe_alone(place):
    found = read(make_report([str(place / "out")]))
    assert "Where it fails" not in found.of("h2")
    assert not [text for text in found.of("caption") if "p-values" in text]
    assert "tuned <b>" in found.of("bdi", "b")


def test_a_recipe_is_not_measured_on_something_else(place, tmp_path):
    shutil.copytree(place / "small", tmp_path / "other")
    qrels = tmp_path / "other" / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text().replace("flood<2>", "garden<1>"))
    with pytest.raises(InputError, match="evaluated on something else"):
        make_report([str(place / "out")], collection=str(tmp_path / "other"))


def test_a_recipe_whose_model_is_gone_still_has_its_page(place, tmp_path):
    shutil.copytree(place / "out", tmp_path / "out")
    (model,) = (tmp_path / "out").glob("*-train")
    shutil.rmtree(model / "final")
    shutil.rmtree(place / "out-away", ignore_errors=True)
    (place / "out").rename(place / "out-away")  # the index also looks where its model was
    try:
        found = read(make_report([str(tmp_path / "out")], collection=str(place / "small")))
    finally:
        (place / "out-away").rename(place / "out")
    assert [text for text in found.of("p") if text.startswith("The terms cannot be shown")]
    assert "Where it fails" in found.of("h2")


def test_an_unfinished_recipe_says_so(place, tmp_path):
    shutil.copytree(place / "out", tmp_path / "out")
    (tmp_path / "out" / "report.json").unlink()
    with pytest.raises(InputError, match=r"report\.json is missing\. Finish it with everglade run"):
        make_report([str(tmp_path / "out")])


def test_a_training(place):
    (folder,) = (place / "out").glob("*-train")
    found = read(make_report([str(folder)]))
    assert found.of("p")[0] == "24 steps"
    assert explains_every_table_and_figure(found)
    drawn = found.of("text")
    assert {"step", "loss", "FLOPS", "active terms", "target", "RR@10, validation"} <= set(drawn)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    validated = [line["validation"]["RR@10"] for line in log if "validation" in line]
    shown = "".join(found.of("bdi", "b"))
    assert all(f"{value:.4f}" in shown or f"{value:.3f}" in shown for value in (validated[0], validated[-1]))
    assert [text for text in found.of("dt") if text == "sha256 of final/model.safetensors"]


def test_a_training_under_way(place, tmp_path):
    (folder,) = (place / "out").glob("*-train")
    shutil.copytree(folder, tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:20])  # killed while it wrote
    found = read(make_report([str(tmp_path / "run")]))
    assert " of 24 steps are done" in found.of("p")[0]
    log.write_bytes(b"")
    with pytest.raises(InputError, match="no step has been logged yet"):
        make_report([str(tmp_path / "run")])


def test_a_damaged_log_names_its_line(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(InputError, match="line 2") as raised:
        read_lines(log)
    assert raised.value.line == 2
    log.write_bytes(b'{"step": 1}\n{"st')
    assert read_lines(log) == [{"step": 1}]


def test_systems_are_compared(place):
    sources = [f"whole={place / 'small.idx'}", f"pruned={place / 'pruned.idx'}", f"a run={place / 'run.trec'}"]
    page = make_report(sources, collection=str(place / "small"), split="test", workplace=UNTIMED)
    found = read(page)
    assert found.of("h1") == ["3 systems on small/test"]
    assert found.of("h2")[:3] == ["What each came to", "Against whole", "The queries that moved most"]
    assert found.of("h3")[-1] == "From whole to a run"
    assert explains_every_table_and_figure(found)
    assert {"whole", "pruned", "a run"} <= set(found.of("bdi", "b"))
    # A run file has no FLOPS: a level line, not a point.
    assert {"whole", "pruned", "a run", "Pareto front"} <= set(found.of("text"))
    assert [text for text in found.of("p") if "a run file, which holds no terms" in text]
    assert [text for text in found.of("summary") if HOSTILE in text]
    again = make_report(sources, collection=str(place / "small"), split="test", workplace=UNTIMED)
    assert again.to_html() == page.to_html()


def test_one_system_has_no_baseline(place):
    found = read(
        make_report([str(place / "small.idx")], collection=str(place / "small"), split="test", workplace=UNTIMED)
    )
    assert found.of("h1") == ["small.idx on small/test"]
    assert found.of("h2") == ["What each came to", "Where small.idx fails", "Where this comes from"]


def test_run_files_alone_need_neither_model_nor_documents(place, tmp_path):
    run = read_run(place / "run.trec")
    assert run
    found = read(make_report([str(place / "run.trec")], collection=str(place / "small" / "qrels" / "test.tsv")))
    assert "Where run.trec fails" in found.of("h2")
    assert found.tags.count("svg") == 0


def test_a_study(study):
    page = make_report([str(study)])
    found = read(page)
    assert found.of("h2")[:2] == ["Every scenario on every set", "Effectiveness against cost"]
    assert {"Against plain <i>", "What each part gains", "Other measures"} <= set(found.of("h2"))
    assert explains_every_table_and_figure(found)
    assert found.of("p")[0] == "2 scenarios, 2 levels of sparsity, 2 seeds, 3 sets, 1 system measured as it is"
    assert [text for text in found.of("p") if HOSTILE in text]
    assert [text for text in found.of("p") if text.startswith("8 of 9 trainings are finished")]
    # Seeds 0 and 1 give .65 and .66: mean and standard deviation, the best of the column.
    assert "0.6550 ± 0.0071" in found.of("b")
    assert "0.5050 ± 0.0071" in found.of("bdi")
    assert "0.5500" in found.of("bdi")
    assert {"+0.1000 *", "+0.1000"} <= set(found.of("bdi"))  # the gain on squad, which is tested, and on average
    assert found.of("h3") == ["zero-shot mean", "squad", "scifact", "medquad"]
    assert {"BM25", "plain <i>", "distil <i>", "sparse", "Pareto front"} <= set(found.of("text"))
    assert page.to_html() == make_report([str(study)]).to_html()


def test_a_study_tells_how_its_trainings_went_and_what_they_took(study):
    found = read(make_report([str(study)]))
    assert {"How the trainings went", "What it took"} <= set(found.of("h2"))
    assert "Curves: sparse" in found.of("summary")
    assert {"1,000", "60", "121"} <= set(found.of("bdi"))  # of one stage; the mean of two trainings, and their sum
    captions = [text for text in found.of("figcaption") if text.startswith("sparse:")]
    assert len(captions) == 2 and "FLOPS of a step's batch, mean over the seeds" in captions[0]
    assert {"squad, sha256:aa", "sha256:bb", "everglade 1.2, torch 3.4"} <= set(found.of("dd"))


def test_a_study_query_by_query(place, study):
    (trained,) = (place / "out").glob("*-train")
    for scenario in ("plain", "distil"):
        shutil.copytree(trained, study / "cells" / f"{scenario}.sparse.0" / "01-train")
    found = read(make_report([str(study)], collection=str(place / "small"), split="test", workplace=UNTIMED))
    assert "Query by query, on small/test" in found.of("h2")
    (said,) = [text for text in found.of("p") if text.startswith("plain <i> and distil <i>, level sparse, seed 0: ")]
    values = [json.loads((place / "out" / "report.json").read_text())["rows"][-1]["measures"]["nDCG@10"]] * 2
    assert ", ".join(f"{value:.4f}" for value in values) in said
    assert [text for text in found.of("h2") if text.endswith("fails")]


def test_a_study_without_its_baseline_is_not_looked_into(place, study):
    whole = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**whole, "baseline": "gone"}))
    with pytest.raises(ConfigError, match="no training of the baseline gone is finished"):
        make_report([str(study)], collection=str(place / "small"), split="test", workplace=UNTIMED)


def test_a_course_is_the_mean_of_the_steps_that_all_seeds_have():
    assert _average([[[10, 2.0], [20, 1.0]], [[10, 4.0], [20, 3.0], [30, 9.0]]]) == [[10, 3.0], [20, 2.0]]
    assert _average([[]]) == []


def test_scenarios_with_one_label_stay_two(study):
    rows = json.loads((study / "study.json").read_text())["rows"]
    lines = _group([{**row, "label": "the same"} for row in rows])
    assert [(line.scenario, line.level) for line in lines].count(("the same", "sparse")) == 2


def test_the_command_of_a_recipe_says_all_of_it(place):
    words = " everglade run recipe.toml --collection small --split train --eval-split test -o OUT"
    assert words.strip() in read(make_report([str(place / "out")])).of("code", "pre")
    told = {"collection": "a b", "split": "train", "evaluated collection": "c", "evaluated split": "dev"}
    overrides = {"start": "sp ace/'m'", "train.dropout": False, "train.lambda_q": None, "depth": 3, "name": "3"}
    command = shlex.split(_rerun({**told, "overrides": overrides}))
    assert command[3:] == [
        *("--collection", "a b", "--split", "train", "--eval-collection", "c", "--eval-split", "dev", "-o", "OUT"),
        *(word for pair in command[14::2] for word in ("--set", pair)),
    ]
    assert dict(map(parse_pair, command[14::2])) == overrides


def test_equal_scores_are_told_as_equal():
    scores = SimpleNamespace(score=2.0, matches=[])
    assert _tell(SimpleNamespace(above="b", why_missed=scores, why_above=scores)).endswith("equal, and the ids decide.")


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        ("[]", "holds a JSON list"),
        ("{", "cannot be read as JSON"),
        ("{}", "nothing of the study is finished"),
        ('{"rows": [{"scenario": "a"}]}', "row 1 lacks scenario, set or measures"),
    ],
)
def test_a_study_that_cannot_be_read(tmp_path, whole, reason):
    (tmp_path / "study.json").write_text(whole)
    with pytest.raises(InputError, match=reason):
        make_report([str(tmp_path)])


def test_what_does_not_go_together_is_refused(place, study):
    cases = [
        ([str(study), str(place / "out")], {}, "Report it alone"),
        ([str(study)], {"collection": str(place / "small"), "split": "test"}, "Name the folder of a whole study"),
        ([str(study)], {"split": "test"}, "--split: of a collection"),
        ([str(next((place / "out").glob("*-train")))], {"split": "test"}, "--split: nothing of a training"),
        ([str(place / "out")], {"measures": ["RR@10"]}, "measures: for systems"),
        ([str(place / "run.trec")], {}, "say on what with --collection"),
        (
            [str(place / "run.trec")],
            {"collection": str(place / "small"), "split": "test", "model": "m"},
            "--model says",
        ),
        ([f"a={place / 'run.trec'}", f"a={place / 'small.idx'}"], {"collection": "x"}, "two systems are called 'a'"),
        ([str(place / "nothing.trec")], {"collection": str(place / "small"), "split": "test"}, "no such file"),
    ]
    for sources, settings, reason in cases:
        with pytest.raises(EvergladeError, match=reason):
            make_report(sources, **settings)


def test_the_command_writes_one_file(place, study, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["everglade", "report", "the study"])
    out = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", str(study), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"page": str(out), "bytes": out.stat().st_size}
    assert "everglade report &#x27;the study&#x27;" in out.read_text()
    done = CliRunner().invoke(app, ["report", str(study), "-o", str(tmp_path / "no" / "report.html")])
    assert done.exit_code == 2
    done = CliRunner().invoke(app, ["report", str(place / "small"), "-o", str(out)])
    assert done.exit_code == 2
