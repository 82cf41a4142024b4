"""`everglade bench` and `everglade frontier` on the command line."""

import json
import math

import pytest
from typer.testing import CliRunner

from everglade.bundled import bundled_collection, bundled_model
from everglade.cli import app
from everglade.texts import open_collection

ONE_THREAD = ("--threads", "1", "-q")
QUICK = ("--threads", "1", "--repeats", "1", "--timed-queries", "2", "-q")


def run(*words, code=0):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a collection of a few documents and queries, and its index."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "few" / "qrels").mkdir(parents=True)
    whole = open_collection(bundled_collection())
    qrels = list(whole.qrels("test"))[:6]
    wanted, asked = {qrel.document_id for qrel in qrels}, {qrel.query_id for qrel in qrels}
    documents = [{"_id": d.id, "text": d.text[:100]} for d in whole.documents() if d.id in wanted]
    queries = [{"_id": query.id, "text": query.text} for query in whole.queries("test") if query.id in asked]
    (folder / "few" / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    (folder / "few" / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    lines = [f"{qrel.query_id}\t{qrel.document_id}\t1" for qrel in qrels]
    (folder / "few" / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    run("index", str(folder / "few"), "-o", str(folder / "few.idx"), "--model", str(bundled_model()), "-q")
    return folder


@pytest.fixture(autouse=True)
def _there(place, monkeypatch):
    monkeypatch.chdir(place)


def test_bench_prints_tables_and_writes_json(place):
    out = run("bench", "few.idx", "few", *QUICK, "--batch-queries", "3", "--timed-documents", "2", "-o", "bench.json")
    for word in ("nDCG@10", "FLOPS", "postings/query", "bytes/document", "bytes/posting", "p99", "quantise", "engine"):
        assert word in out
    assert "one core" in out and "documents encoded" in out
    written = json.loads((place / "bench.json").read_text())
    printed = json.loads(run("bench", "few.idx", "few", *QUICK, "--timed-documents", "0", "--json"))
    for name in ("measures", "index", "postings_read", "effort"):
        assert printed[name] == written[name]
    assert printed["cost"]["flops"] == written["cost"]["flops"]
    assert printed["encoding"] is None and written["encoding"]["one core"]["value"] > 0


def test_bench_of_a_model_makes_the_index_as_asked():
    found = json.loads(
        run(
            "bench",
            "bundled",
            "few",
            *QUICK,
            "--timed-documents",
            "0",
            "--json",
            "--float-exact",
            "--impact-bits",
            "16",
        )
    )
    assert found["effort"]["kind"] == "exact by float16 weights"
    assert found["index"]["impact_bits"] == 16 and found["index"]["parts"]["weights"] > 0
    assert found["name"] == "bundled"


def test_bench_refuses_what_it_cannot_do():
    assert "float_exact needs the weights" in run("bench", "few.idx", "few", "--float-exact", "-q", code=2)
    assert "--prune: chosen when an index is made" in run("bench", "few.idx", "few", "--prune", "term:0.5", code=2)
    assert "the folder nowhere is not there" in run("bench", "few.idx", "few", "-o", "nowhere/b.json", code=2)
    assert ". is a folder" in run("bench", "few.idx", "few", "-o", ".", code=2)
    assert "--prune does not go with it" in run("bench", "m", "few", "--float-exact", "--prune", "term:0.5", code=2)
    assert "nothing of it can be timed" in run("bench", "few/corpus.jsonl", "few", code=2)


def test_a_frontier_from_the_command_line_and_a_point_of_it_again(place):
    out = run("frontier", "few", "--model", "bundled", "-o", "out", "--document-terms", "16,8", "-k", "10", *QUICK)
    assert "few/test" in out and "16 doc terms" in out and "page: out/frontier.html" in out
    files = {file.name for file in (place / "out").iterdir()}
    assert {"frontier.json", "frontier.html", "frontier.svg", "frontier.png", "work"} <= files
    again = run("frontier", "--reproduce", "out/frontier.json", "--point", "2", *ONE_THREAD)
    assert "The same but for the times." in again
    values = json.loads((place / "out" / "frontier.json").read_text())
    found = json.loads(run("frontier", "--reproduce", "out/frontier.json", "--point", "2", "--json", *ONE_THREAD))
    assert found["equal"] and found["now"]["measures"] == values["rows"][1]["measures"]
    values["rows"][1]["flops"] += 1
    (place / "changed.json").write_text(json.dumps(values))
    before, now = values["rows"][1]["flops"], found["now"]["flops"]
    assert f"point 2 is not what its row says (flops: {before!r}, now {now!r})" in run(
        "frontier", "--reproduce", "changed.json", "--point", "2", *ONE_THREAD, code=3
    )
    values["rows"][1]["flops"] = math.nextafter(now, 100)  # as another order of adding gives
    (place / "changed.json").write_text(json.dumps(values))
    assert "The same but for the times." in run("frontier", "--reproduce", "changed.json", "--point", "2", *ONE_THREAD)


def test_the_command_of_a_row_makes_the_row(place):
    run("frontier", "few", "--model", "bundled", "-o", "whole", "--prune", "document:4", "-k", "10", *QUICK)
    row = json.loads((place / "whole" / "frontier.json").read_text())["rows"][1]
    words = row["command"].split()[1:]
    found = json.loads(run(*words, "--threads", "1", "-q", "--json"))
    (one,) = found["rows"]
    assert one["choice"] == row["choice"] and one["measures"] == row["measures"]
    assert one["bytes_per_document"] == row["bytes_per_document"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("few", "--model", "bundled"), "the folder to leave the frontier in with --out"),
        (("few", "-o", "o"), "no model to measure"),
        (("few", "--model", "bundled", "-o", "o", "--sweep", "target_flops=3"), "belong to a recipe"),
        (
            ("few", "--recipe", "splade-max-small", "-o", "o", "--sweep", "target_flops"),
            "not of the form key=value,value",
        ),
        (("few", "--model", "bundled", "-o", "o", "--document-terms", "16,some"), "'some' is no number, or all"),
        (("few", "--model", "bundled", "-o", "o", "--bits", "9"), "bits is '9'"),
        (("few", "--model", "bundled", "-o", "o", "--point", "3"), "--reproduce"),
        (("--reproduce", "x.json"), "say which point"),
        (("--reproduce", "x.json", "--point", "1", "--recipe", "r"), "--recipe: not with --reproduce"),
        (("--reproduce", "x.json", "--point", "1", "-k", "10", "--bits", "16", "--cross"), "--bits, --cross, -k: not"),
        (("--reproduce", "x.json", "--point", "1", "--set", "a=1", "-m", "AP"), "--set, --measure: not"),
    ],
)
def test_words_that_do_not_go_together(words, message):
    assert message in run("frontier", *words, code=2)


def test_without_matplotlib_it_says_so_before_any_work(monkeypatch):
    from everglade.cli import frontier

    def without(name):
        assert name == "matplotlib"

    monkeypatch.setattr("importlib.util.find_spec", without)
    assert "pip install 'everglade[figures]'" in run("frontier", "few", "--model", "bundled", "-o", "o", code=6)
    assert frontier
