"""`everglade evaluate`: one system, several, a baseline, a suite; on the screen, in JSON and in files."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from everglade.bundled import bundled_model
from everglade.cli import app
from everglade.cli.systems import read_systems
from everglade.texts import read_run, write_run

DOCUMENTS = {
    "d1": ("Headache", "Aspirin and rest relieve most headaches."),
    "d2": ("Bridge", "The bridge was closed after the flood."),
    "d3": ("", "Migraine is treated with triptans."),
    "q2": ("Flood", "Flood damage to roads."),
}
QUERIES = {"q1": "what helps a headache", "q2": "flood damage"}
QRELS = {"q1": "d1", "q2": "d2"}
SUITE = """
convention = "beir"
measures = ["RR@10", "RCap@10"]
[[sets]]
name = "small"
documents = 4
queries = 2
[[sets]]
name = "other"
[[published]]
system = "theirs"
measure = "RR@10"
source = "a paper"
values = { small = 0.25 }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the collection `small`, its index, a run, the same run upside down, and a suite."""
    folder = tmp_path_factory.mktemp("evaluate")
    small = folder / "small"
    (small / "qrels").mkdir(parents=True)
    rows = [{"_id": id, "title": title, "text": text} for id, (title, text) in DOCUMENTS.items()]
    (small / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": id, "text": text} for id, text in QUERIES.items()]
    (small / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    lines = [f"{query}\t{document}\t1" for query, document in QRELS.items()]
    (small / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    (folder / "mine.toml").write_text(SUITE)
    run("index", str(small), "-o", str(folder / "small.idx"), "--model", str(bundled_model()), "-q")
    run("evaluate", str(folder / "small.idx"), str(small), "-o", str(folder / "small.trec"), "-q")
    turned = {
        query: {id: -score for id, score in hits.items()} for query, hits in read_run(folder / "small.trec").items()
    }
    write_run(turned, folder / "turned.trec")
    return folder


@pytest.fixture(autouse=True)
def _in_place(place, monkeypatch):
    monkeypatch.chdir(place)


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def run_json(*words):
    return json.loads(run(*words, "--json", "-q").stdout)


def test_one_system_in_text():
    shown = run("evaluate", "small.trec", "small", "-m", "RR@10", "--per-query").stdout
    assert re.search(r"^RR@10 +0\.7500$", shown, re.M)
    assert re.search(r"^without a hit, counted as 0 +0$", shown, re.M)
    assert re.search(r"^own document found, kept; --convention beir leaves them out +1$", shown, re.M)
    assert "q1\tRR@10=1.0000" in shown
    assert "FLOPS" in run("evaluate", "small.idx", "small", "-q").stdout


def test_a_model_reads_the_collection():
    (by_model,) = run_json("evaluate", bundled_model(), "small", "--convention", "beir")["systems"]
    (by_index,) = run_json("evaluate", "small.idx", "small", "--convention", "beir")["systems"]
    assert by_model["measures"] == by_index["measures"]
    assert by_model["measures"]["nDCG@10"] == 1.0
    assert by_model["self_hits"] == 1
    assert by_model["cost"]["document_terms"] == by_index["cost"]["document_terms"]
    cut = run_json("evaluate", bundled_model(), "small", "--query-prefix", "flood ")["systems"][0]
    assert cut["cost"]["query_terms"] != by_model["cost"]["query_terms"]


def test_values_of_single_queries_go_to_the_screen_and_to_files():
    found = run_json("evaluate", "small.trec", "small", "-m", "RR@10", "--per-query", "--per-query-out", "values.json")
    assert found["per_query"] == {"small.trec": {"q1": {"RR@10": 1.0}, "q2": {"RR@10": 0.5}}}
    assert json.loads(Path("values.json").read_text()) == found["per_query"]
    run("evaluate", "small.trec", "small", "-m", "RR@10", "--per-query-out", "values.tsv")
    table = "system\tquery\tRR@10\nsmall.trec\tq1\t1.0\nsmall.trec\tq2\t0.5\n"
    assert Path("values.tsv").read_text() == table


def test_several_systems_against_a_baseline_fit_the_screen():
    words = ("evaluate", "turned.trec", bundled_model(), "small", "--compare", "small.idx")
    shown = run(*words, "-m", "RR@10", "-m", "nDCG@10", "-q").stdout
    assert max(map(len, shown.splitlines())) <= 100
    assert "RR@10 against small.idx (0.7500)" in shown
    assert re.search(r"turned.trec +0\.\d{4} +[+-]0\.\d{4} +[+-]0\.\d{4} \.\. [+-]0\.\d{4}", shown)
    assert "d1 (relevance 1): rank 1 -> rank" in shown
    assert "Ranks only where a system has no terms: a run file" in shown
    found = run_json(*words, "-m", "RR@10")
    assert [system["name"] for system in found["systems"]] == ["small.idx", "turned.trec", "model"]
    assert [row["run"] for row in found["comparisons"]] == ["turned.trec", "model"]
    assert found["moved"]["model"] == []


def test_terms_say_why_a_document_moved():
    shown = run(
        "evaluate", bundled_model(), "small", "--compare", "small.idx", "--query-prefix", "bridge bridge bridge ", "-q"
    ).stdout
    assert "Terms: what each adds, as a share of the best hit's score." in shown
    assert re.search(r"d2 \(relevance 1\): rank 2 -> rank 1\n      .*bridge \d+% -> \d+%", shown)


def test_systems_that_search_other_documents_are_told_apart(tmp_path):
    words = ("evaluate", "small.idx", "fewer.idx", "small", "-m", "RR@10", "-q")
    run("index", "small", "-o", "fewer.idx", "--model", bundled_model(), "-q")
    assert "Warning" not in run(*words).stdout
    run("index", "-o", "fewer.idx", "--delete", "d3")
    shown = run(*words).stdout
    assert "Warning: they do not search the same number of documents: small.idx 4, fewer.idx 3." in shown


def test_a_suite_beside_published_figures():
    words = ("evaluate", bundled_model(), "--suite", "mine.toml", "--sets", ".")
    shown = run(*words, "-o", "runs", "-q", "--per-query").stdout
    assert max(map(len, shown.splitlines())) <= 100
    assert re.search(r"small +1\.0000 +0\.25", shown)
    assert re.search(r"mean of 1 +1\.0000 +0\.2500", shown)
    assert "Every mean is over these sets: small." in shown
    assert "Not measured: other." in shown
    assert "theirs: a paper." in shown
    assert run_json("evaluate", "runs", "--suite", "mine.toml", "--sets", ".")["means"] == run_json(*words)["means"]
    run(*words, "-q", "--per-query-out", "sets.tsv")
    assert Path("sets.tsv").read_text().startswith("set\tquery\tRR@10\tRCap@10\n")


def test_a_suite_warns_of_sets_that_are_others(place):
    (place / "wrong.toml").write_text(SUITE.replace("documents = 4", "documents = 5"))
    words = ("evaluate", bundled_model(), "--suite", "wrong.toml", "--sets", ".", "-q")
    assert "4 documents where 5 are expected" in run(*words, code=3).stderr
    shown = run(*words, "--any-counts").stdout
    assert "small *" in shown
    assert "* small has 4 documents where 5 are expected" in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["small.trec"], 2, "name a system and a collection"),
        (["nope.trec", "small"], 3, "nope.trec: no such file"),
        (["no/model", "small"], 4, "no/model"),
        (["small.trec", "small", "-m", "nDGC@10"], 2, "nDGC@10"),
        (["small.trec", "small", "--convention", "bier"], 2, "Did you mean beir?"),
        (["small.idx", "small", "-k", "5", "-m", "R@10"], 2, "R@10 looks at 10 hits"),
        (["small.trec", "small", "--compare", "small.trec"], 2, "only the baseline"),
        (["small.trec", "turned.trec", "small", "-o", "x.trec"], 2, "run of one system"),
        (["small.trec", "small", "--per-query-out", "no/values.tsv"], 2, "folder no is not there"),
        (["small.trec", "small", "--passages", "2"], 2, "--passages: settings of a model"),
        (["small.trec", "small", "--model", "m"], 2, "no index was named"),
        (["small.trec", "small", "--sets", "."], 2, "--sets: for a suite only"),
        (["small.trec", "--suite", "mine.toml", "--sets", "."], 2, "serves one collection"),
        (["a", "b", "--suite", "mine.toml"], 2, "measures one system, and 2 were named"),
        (["a", "--suite", "mine.toml", "--split", "test", "--compare", "b"], 2, "--split, --compare: not with --suite"),
        (["MODEL", "--suite", "mien"], 2, "no suite 'mien'"),
        (["MODEL", "--suite", "mine.toml", "--set", "smal", "--sets", "."], 2, "Did you mean small?"),
        (["MODEL", "--suite", "mine.toml"], 2, "no ir_datasets id for small"),
        (["small.idx", "small/qrels/test.tsv"], 2, "give --queries"),
        (["small.trec", "small", "--per-query-out", "."], 2, ". is a folder. Name a file in it"),
        (["MODEL", "small", "-o", "small"], 2, "small is a folder"),
        (["MODEL", "--suite", "mine.toml", "--sets", ".", "-o", "mine.toml"], 2, "mine.toml is a file"),
        (["small.trec", "small", "-k", "5"], 2, "-k: hits to find"),
        (["small.trec", "small", "--seed", "1"], 2, "--seed: of a comparison"),
        (["small.trec", "small", "--moved", "0"], 2, "--moved: of a comparison"),
        (["MODEL", "--suite", "mine.toml", "--moved", "1"], 2, "--moved: not with --suite"),
        (["m=MODEL", "--suite", "mine.toml", "--sets", ".", "--with", "m.recall=0.9"], 2, "1001 hits is always exact"),
        (["small.idx", "small", "--queries", "small/queries.jsonl"], 2, "small has its own"),
        (["small.trec", "small/qrels/test.tsv", "--split", "dev"], 2, "has no split 'dev'"),
        (["MODEL", "small", "--compare", "MODEL"], 2, "only the baseline"),
        (["a=small.idx", "a=small.trec", "small"], 2, "two systems are called 'a'"),
        (["a=small.idx", "small", "--with", "recall=0.9"], 2, "not of the form NAME.key=value"),
        (["a=small.idx", "small", "--with", "b.recall=0.9"], 2, "no system 'b'"),
        (["a=small.idx", "small", "--with", "a.recal=0.9"], 2, "Did you mean recall?"),
        (["a=small.idx", "small", "--with", "a.prune=document:2"], 2, "prune is chosen when one is made"),
        (["a=small.trec", "small", "--with", "a.recall=0.9"], 2, "a run file, which is measured as it stands"),
        (["a=small.idx", "small", "--with", "a.recall=0.9"], 2, "a search for 1000 hits is always exact. Give -k 100"),
        (["a=MODEL", "small", "--with", "a.recall=2"], 2, "a.recall: 2 is not a number above 0"),
        (["a=MODEL", "small", "--with", "a.recall=abc"], 2, "a.recall: 'abc' is not a number"),
        (["a=MODEL", "small", "--with", "a.float_exact=no"], 2, "neither true nor false"),
        (["a=MODEL", "small", "--with", "a.prune=half"], 2, "prune is 'half'"),
        (["a=MODEL", "small", "--with", "a.float_exact=true", "--with", "a.recall=0.9"], 2, "neither recall nor prune"),
        (["a=small.idx", "b=small.idx", "small", "--compare", "small.idx"], 2, "that is a and b. Name one of them"),
    ],
)
def test_a_mistake_is_one_clear_line(words, code, said):
    result = run("evaluate", *(word.replace("MODEL", str(bundled_model())) for word in words), "-q", code=code)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not result.stdout


def test_one_model_with_several_settings_is_compared_in_one_command():
    words = ("whole=bundled", "few=bundled", "pruned=bundled", "small", "--compare", "whole", "-k", "100")
    settings = ("few.max_document_terms=4", "pruned.prune=document:2")
    found = run_json("evaluate", *words, *(part for pair in settings for part in ("--with", pair)))
    systems = {one["name"]: one for one in found["systems"]}
    assert list(systems) == ["whole", "few", "pruned"]
    assert systems["few"]["cost"]["document_terms"] == 4 < systems["whole"]["cost"]["document_terms"]
    assert {one["run"] for one in found["comparisons"]} == {"few", "pruned"}


def test_settings_go_to_the_part_of_the_system_that_they_are_of(place):
    own = [
        "a.prune=document:2",
        "a.impact_bits=16",
        "a.recall=0.9",
        "a.passages=2",
        "b.recall=0.5",
        "c.float_exact=true",
    ]
    found = read_systems(["a=bundled", f"b={place / 'small.idx'}", "c=bundled"], None, {"query_prefix": "x"}, own)
    a, b, c = found
    assert a.options == {"prune": "document:2", "impact_bits": 16} and a.asking == {"recall": 0.9}
    assert a.settings == {"query_prefix": "x", "passages": 2}
    assert (b.asking, b.settings, b.options) == ({"recall": 0.5}, {}, {})
    assert (c.asking, c.options) == ({"float_exact": True}, {"keep_weights": True})


def test_the_baseline_is_the_path_that_is_named(place):
    (place / "new").mkdir(exist_ok=True)
    (place / "new" / "small.trec").write_bytes((place / "turned.trec").read_bytes())
    found = run_json("evaluate", "new/small.trec", "small", "--compare", "small.trec", "-m", "RR@10")
    assert [one["name"] for one in found["systems"]] == ["small.trec", "new/small.trec"]
    assert found["baseline"] == "small.trec"
    named = run_json("evaluate", "old=small.trec", "new=turned.trec", "small", "--compare", "old", "-m", "RR@10")
    assert named["baseline"] == "old" and len(named["systems"]) == 2
    told = run_json(
        "evaluate", "turned.trec", "small", "--compare", "small.idx", "--with", "small.idx.recall=0.9", "-k", "10"
    )
    assert told["baseline"] == "small.idx"


def test_a_count_is_compared_by_its_mean():
    shown = run("evaluate", "turned.trec", "small", "--compare", "small.trec", "-m", "NumRet", "--moved", "0").stdout
    assert re.search(r"NumRet a query against small.trec \(\d\.\d000\)", shown)
    assert "queries that moved most" not in shown


def test_an_index_may_be_asked_a_file_of_queries():
    words = ("evaluate", "small.idx", "small/qrels/test.tsv", "--queries", "small/queries.jsonl", "-m", "RR@10")
    assert run_json(*words)["systems"][0]["measures"] == {"RR@10": 0.75}
