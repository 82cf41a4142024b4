"""Every verb does its job on a small collection with the bundled model, in text and in JSON, and fails in one line."""

import json

import pytest
from typer.testing import CliRunner

from everglade.bundled import bundled_model
from everglade.cli import app

DOCUMENTS = {
    "d1": ("Headache", "Aspirin and rest relieve most headaches."),
    "d2": ("Bridge", "The bridge was closed after the flood."),
    "d3": ("", "Migraine is treated with triptans."),
}
QUERIES = {"q1": "what helps a headache", "q2": "flood damage"}
QRELS = {"q1": "d1", "q2": "d2"}


@pytest.fixture(autouse=True)
def collection(tmp_path, monkeypatch):
    """A BEIR folder named `small` in the folder the command runs in."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": id, "title": title, "text": text} for id, (title, text) in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": id, "text": text} for id, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t1" for query, document in QRELS.items())]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def run_json(*words):
    return json.loads(run(*words, "--json", *(() if words[0] in QUIET_BY_NATURE else ("--quiet",))).stdout)


QUIET_BY_NATURE = {"explain", "info", "doctor"}


def test_from_texts_to_numbers(tmp_path):
    model = bundled_model()
    assert run_json("encode", model, "small", "-o", "vectors")["rows"] == 3
    assert run_json("index", "vectors", "-o", "a.idx", "--documents", "small")["added"] == 3
    hits = run_json("search", "a.idx", "headache", "-k", "2")
    assert [hit["id"] for hit in hits] == ["d1", "d3"]
    assert hits[0]["title"] == "Headache"
    assert sum(match["contribution"] for match in hits[0]["why"]) == pytest.approx(hits[0]["score"])
    run("search", "a.idx", "--queries", "small", "--split", "test", "-o", "run.trec")
    measures = ("-m", "RR@10", "-m", "nDCG@10")
    (by_run,) = run_json("evaluate", "run.trec", "small/qrels/test.tsv", *measures)["systems"]
    (by_index,) = run_json("evaluate", "a.idx", "small", "--split", "test", *measures, "-o", "again.trec")["systems"]
    assert by_run["measures"] == by_index["measures"] == {"RR@10": 1.0, "nDCG@10": 1.0}
    assert by_run["queries"] == by_index["queries"] == 2
    assert by_index["cost"]["flops"] > 0
    assert (tmp_path / "again.trec").read_bytes() == (tmp_path / "run.trec").read_bytes()


def test_an_index_from_texts_passes_over_what_it_holds_and_forgets_what_is_deleted():
    assert run_json("index", "small", "-o", "b.idx", "--model", bundled_model())["added"] == 3
    assert run_json("index", "small", "-o", "b.idx")["added"] == 0
    assert run_json("index", "-o", "b.idx", "--delete", "d2", "--delete", "nothing")["deleted"] == 1
    assert run_json("index", "small", "-o", "b.idx")["added"] == 1
    assert run_json("info", "b.idx")["documents"] == 3


def test_parts_encoded_by_several_jobs_make_the_same_index():
    model = bundled_model()
    for part in ("1/2", "2/2"):
        run("encode", model, "small", "-o", "parts", "--shard", part)
    run("index", "parts", "-o", "parts.idx")
    run("encode", model, "small", "-o", "whole")
    run("index", "whole", "-o", "whole.idx")
    query = "what helps a headache"
    found = [run_json("search", name, query) for name in ("parts.idx", "whole.idx")]
    assert found[0] == found[1]
    assert run_json("info", "parts")["rows"] == 3


def test_explain_an_index_and_a_model():
    run("index", "small", "-o", "c.idx", "--model", bundled_model())
    explained = run_json("explain", "c.idx", "headache", "d3")
    assert sum(match["contribution"] for match in explained["matches"]) == pytest.approx(explained["score"])
    terms = run_json("explain", bundled_model(), "headache")
    assert terms[0]["term"] == "headache"
    assert "headache" in run("explain", bundled_model(), "headache", "an aching head").stdout
    assert "so far" in run("explain", "c.idx", "headache", "d1").stdout


def test_info_tells_the_kinds_of_folders_apart():
    run("encode", bundled_model(), "small", "-o", "vectors", "--side", "query", "--split", "test")
    assert run_json("info", "vectors")["kind"] == "vectors"
    assert run_json("info", bundled_model())["kind"] == "model"
    assert run_json("info", "small") == {"kind": "collection", "documents": 3, "split test": "2 queries, 2 judgements"}


def test_doctor_finds_nothing_to_mend_here():
    assert run_json("doctor")["problems"] == []
    assert "engine" in run("doctor").stdout


def test_train_leaves_a_model_that_opens(tmp_path):
    examples = [{"query_id": query, "document_ids": [relevant, "d3"]} for query, relevant in QRELS.items()]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    settings = {"steps": 2, "batch_size": 2, "negatives_per_query": 1, "validate_every": 1, "warmup_steps": 1}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    found = run_json(
        "train", bundled_model(), "small", "-o", "run", "--examples", "examples.jsonl", "--hold-out", 0, *words
    )
    assert found["examples"] == 2
    assert run_json("info", found["final"])["kind"] == "model"


def test_train_takes_another_query_encoder_and_texts_from_disk(tmp_path):
    examples = [{"query_id": query, "document_ids": [relevant, "d3"]} for query, relevant in QRELS.items()]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    words = [word for pair in ("steps=1", "batch_size=2", "warmup_steps=1") for word in ("--set", pair)]
    words += ["--examples", "examples.jsonl", "--query-encoder", "static", "--freeze-documents", "--texts", "texts"]
    found = run_json("train", bundled_model(), "small", "-o", "run", "--hold-out", 0, *words)
    described = run_json("info", found["final"])
    assert described["query_encoder"] == "static, learned"
    assert described["freeze_documents"] is True
    assert (tmp_path / "texts" / "documents" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["search", "nowhere.idx", "text"], 5, "there is no index folder at"),
        (["search", "nowhere.idx"], 2, "--queries"),
        (["encode", "no/such/model", "small", "-o", "v"], 4, "no/such/model"),
        (["encode", "MODEL", "missing", "-o", "v"], 3, "missing"),
        (["encode", "MODEL", "small", "-o", "v", "--shard", "3/2"], 2, "i/n"),
        (["evaluate", "small/queries.jsonl", "small/qrels/test.tsv"], 3, "line 1"),
        (["evaluate", "small/qrels/test.tsv", "small", "--split", "tets"], 3, "tets"),
        (["index", "small", "-o", "d.idx"], 2, "--model"),
        (["train", "MODEL", "small", "-o", "r", "--set", "step=3"], 2, "Did you mean steps?"),
        (["train", "MODEL", "small", "-o", "r", "--set", "steps"], 2, "key=value"),
        (["info", "missing"], 3, "no such file"),
    ],
)
def test_a_mistake_is_one_clear_line_and_an_exit_code(words, code, said):
    result = run(*(str(bundled_model()) if word == "MODEL" else word for word in words), code=code)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not result.stdout


def test_a_mistake_is_json_where_json_was_asked_for():
    result = run("search", "nowhere.idx", "text", "--json", code=5)
    assert json.loads(result.stderr)["error"]["type"] == "IndexFolderError"


def test_bad_lines_are_counted_and_kept_when_asked(collection, tmp_path):
    with (collection / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d4"}\n')
    assert "corpus.jsonl, line 4" in run("encode", bundled_model(), "small", "-o", "v", code=3).stderr
    found = run_json("encode", bundled_model(), "small", "-o", "w", "--on-error", "skip")
    assert (found["rows"], found["rejected lines"]) == (3, 1)
    assert json.loads((tmp_path / "rejects.jsonl").read_text())["line"] == 4
