"""A suite on tiny folders of the same shape: counts are checked, figures stand side by side, means name their sets."""

import ir_datasets
import pytest

from everglade.assess.judged import open_judged
from everglade.assess.suite_run import find_sets, run_suite
from everglade.assess.systems import SystemSpec, Workplace, open_system
from everglade.bundled import bundled_model
from everglade.errors import ConfigError, InputError
from everglade.evaluation.measures import evaluate
from everglade.evaluation.suite import read_suite
from everglade.texts import write_run

WORK = Workplace(k=5, timed=False)
SUITE = """
convention = "beir"
measures = ["nDCG@5", "RCap@2"]
[[sets]]
name = "one"
documents = 5
queries = 4
judgements = 6
[[sets]]
name = "two"
folder = "one"
split = "test"
[[sets]]
name = "elsewhere"
irds = "beir/arguana"
[[published]]
system = "theirs"
measure = "nDCG@5"
source = "a paper"
values = { one = 0.5, two = 0.25, elsewhere = 0.75 }
[[published]]
system = "half"
measure = "nDCG@5"
source = "another"
values = { two = 0.1 }
[[published]]
system = "absent"
measure = "nDCG@5"
source = "a third"
values = { elsewhere = 0.1 }
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "mine.toml").write_text(SUITE)
    return read_suite(tmp_path / "mine.toml")


@pytest.fixture
def sets(place, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "one").symlink_to(place / "small")
    return tmp_path / "sets"


MODEL = SystemSpec(str(bundled_model()), "ours")


def test_ours_stand_beside_theirs_and_every_mean_is_over_the_same_sets(suite, sets, monkeypatch):
    read = []
    outcome = run_suite(suite, MODEL, sets, workplace=Workplace(k=5, timed=False, progress=read.append))
    assert outcome.sets == ("one", "two")
    assert outcome.absent == ("elsewhere",)
    one, two = outcome.assessments.values()
    assert outcome.mean("nDCG@5") == pytest.approx((one.means["nDCG@5"] + two.means["nDCG@5"]) / 2)
    assert one.means == two.means
    assert sum(progress.done == 0 for progress in read) == 1, "two sets with the same documents read them once"
    assert [(column.system, column.values, column.mean) for column in outcome.published("nDCG@5")] == [
        ("theirs", {"one": 0.5, "two": 0.25}, 0.375),
        ("half", {"two": 0.1}, None),
    ]
    # The figure elsewhere, .75, has two digits, so .5 is written .50 beside it.
    assert [column.digits for column in outcome.published("nDCG@5")] == [2, 1]
    assert outcome.published("RCap@2") == []
    assert "d4" not in one.run["d4"]
    plain = outcome.to_dict()
    assert plain["means"]["nDCG@5"] == outcome.mean("nDCG@5")
    assert plain["published"][0]["source"] == "a paper"


def test_run_files_are_measured_as_the_model_that_made_them(suite, sets, tmp_path):
    kept = {}
    by_model = run_suite(suite, MODEL, sets, workplace=WORK, done=lambda name, one: kept.update({name: one.run}))
    (tmp_path / "runs").mkdir()
    write_run(kept["one"], tmp_path / "runs" / "one.trec")
    write_run(kept["two"], tmp_path / "runs" / "two.run.gz")
    by_runs = run_suite(suite, SystemSpec(str(tmp_path / "runs"), "ours"), sets)
    assert [one.means for one in by_runs.assessments.values()] == [one.means for one in by_model.assessments.values()]
    (tmp_path / "runs" / "two.run.gz").unlink()
    with pytest.raises(InputError, match="no run file for the set two. It is looked for as two.trec"):
        run_suite(suite, SystemSpec(str(tmp_path / "runs"), "ours"), sets)


def test_other_counts_are_refused_before_anything_is_encoded(suite, sets, tmp_path, place):
    (tmp_path / "mine.toml").write_text(
        SUITE.replace("documents = 5", "documents = 50").replace("queries = 4", "queries = 7")
    )
    other = read_suite(tmp_path / "mine.toml")
    read = []
    work = Workplace(k=5, timed=False, progress=read.append)
    with pytest.raises(InputError, match="one has 5 documents where 50 are expected, 4 queries where 7 are"):
        run_suite(other, MODEL, sets, workplace=work)
    assert not read
    outcome = run_suite(other, MODEL, sets, ["one"], workplace=WORK, any_counts=True)
    assert outcome.unlike == {"one": ["5 documents where 50 are expected", "4 queries where 7 are expected"]}
    by_run = SystemSpec(str(tmp_path / "runs"), "ours")
    (tmp_path / "runs").mkdir()
    write_run(outcome.assessments["one"].run, tmp_path / "runs" / "one.trec")
    with pytest.raises(InputError, match="one has 4 queries where 7 are expected"):
        run_suite(other, by_run, sets, ["one"])


def test_a_suite_may_be_asked_for_other_measures(suite, sets):
    outcome = run_suite(suite, MODEL, sets, ["two"], ["RR@5"], WORK)
    judged = open_judged(str(sets / "one"))
    with open_system(MODEL, judged, WORK) as system:
        run = system.answer(judged, 6).run
    del run["d4"]["d4"]
    assert outcome.measures == ("RR@5",)
    assert outcome.mean("RR@5") == pytest.approx(evaluate(run, judged.qrels, ["RR@5"])["RR@5"])


def test_sets_come_from_folders_or_from_ir_datasets(suite, sets):
    assert [(one.name, source) for one, source in find_sets(suite, None, ["elsewhere"])] == [
        ("elsewhere", "irds:beir/arguana")
    ]
    assert [one.name for one, _ in find_sets(suite, sets)] == ["one", "two"]
    with pytest.raises(ConfigError, match="no ir_datasets id for one"):
        find_sets(suite, None)
    with pytest.raises(InputError, match="elsewhere"):
        find_sets(suite, sets, ["one", "elsewhere"])
    with pytest.raises(InputError, match="none of these folders"):
        find_sets(suite, sets.parent / "sets" / "one")
    with pytest.raises(InputError, match="no such folder"):
        find_sets(suite, sets / "nowhere")


def test_a_set_of_ir_datasets_is_measured_on_the_split_its_id_names(tmp_path, monkeypatch):
    (tmp_path / "docs.tsv").write_text("d1\tthe bridge was closed\nd2\tmoss and fern\n")
    (tmp_path / "queries.tsv").write_text("q1\tfern\nq2\tunjudged\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d2 1\n")
    files = {"docs_tsv": "docs.tsv", "queries_tsv": "queries.tsv", "qrels_trec": "qrels.txt"}
    local = ir_datasets.create_dataset(**{key: str(tmp_path / name) for key, name in files.items()})
    registered = {**ir_datasets.registry._registered, "beir/local/test": local}
    monkeypatch.setattr(ir_datasets.registry, "_registered", registered)
    (tmp_path / "mine.toml").write_text(
        'measures = ["RR@5"]\n[[sets]]\nname = "local"\nirds = "beir/local/test"\ndocuments = 2\nqueries = 1\n'
    )
    outcome = run_suite(read_suite(tmp_path / "mine.toml"), MODEL, workplace=WORK)
    assert outcome.mean("RR@5") == 1.0
    assert outcome.assessments["local"].judged == "beir/local/test"


def test_an_index_holds_one_collection(suite, sets, place):
    with pytest.raises(ConfigError, match="serves one collection"):
        run_suite(suite, SystemSpec(str(place / "small.idx"), "it"), sets)
    with pytest.raises(ConfigError, match="looks at 5 hits"):
        run_suite(suite, MODEL, sets, workplace=Workplace(k=3))
