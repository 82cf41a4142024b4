"""From other tools' files to what Everglade trains on, whole or not at all."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from everglade.bundled import bundled_model
from everglade.cli import app
from everglade.cli.examples import examples as command
from everglade.distill.examples import Example, TrainingSet, read_examples
from everglade.distill.formats import FORMATS, Options, convert
from everglade.distill.formats.rows import document_key, query_key
from everglade.distill.text_store import store_collection
from everglade.errors import ConfigError, InputError
from everglade.texts import group_qrels, open_collection


@pytest.fixture
def columns(tmp_path):
    rows = [
        {"anchor": "what helps", "positive": "rest", "negative": "ferns", "label": 4.5},
        {"anchor": "what helps", "positive": "water", "negative": "ferns", "label": 2.0},
    ]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_texts_become_a_collection_that_can_be_trained_on(tmp_path, columns):
    found = convert(columns, tmp_path / "e.arrow", texts=tmp_path / "texts")
    assert (found.format, found.examples, found.documents, found.scored) == ("columns", 2, 4, 2)
    assert found.texts == {"queries.jsonl": 1, "corpus.jsonl": 3, "qrels/train.tsv": 2}
    collection = open_collection(tmp_path / "texts")
    texts = store_collection(collection, tmp_path / "stores")
    training_set = TrainingSet(texts.queries, texts.documents, read_examples(tmp_path / "e.arrow"))
    training_set.require_scores()
    assert [
        (training_set.queries[e.query_id], [training_set.documents[one] for one in e.document_ids], e.scores)
        for e in training_set.examples
    ] == [("what helps", ["rest", "ferns"], (0.0, -4.5)), ("what helps", ["water", "ferns"], (0.0, -2.0))]
    assert training_set.positives[query_key("what helps")] == {document_key("rest"), document_key("water")}
    assert group_qrels(collection.qrels("train")) == {
        query_key("what helps"): {document_key("rest"): 1, document_key("water"): 1}
    }


def test_what_the_command_writes_the_command_trains_on(tmp_path, columns, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["examples", str(columns), "-o", "e.arrow", "--texts", "texts", "-q"])
    assert result.exit_code == 0, result.output
    words = ["train", str(bundled_model()), "texts", "-o", "run", "--examples", "e.arrow", "--hold-out", "0", "--json"]
    for pair in ("steps=1", "batch_size=2", "warmup_steps=1", "loss=margin_mse"):
        words += ["--set", pair]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["examples"] == 2


def test_a_judgement_stands_once_and_its_ids_fit_its_file(tmp_path):
    rows = [{"anchor": "q", "positive": "p", "negative": f"n{i}"} for i in range(3)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert convert(tmp_path / "t.jsonl", tmp_path / "e.jsonl", texts=tmp_path / "x").texts["qrels/train.tsv"] == 1
    lines = (tmp_path / "x" / "qrels" / "train.tsv").read_text().splitlines()
    assert lines == ["query-id\tcorpus-id\tscore", f"{query_key('q')}\t{document_key('p')}\t1"]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "corpus.jsonl").write_text('{"id": "d", "text": "p"}\n')
    (tmp_path / "set" / "train.jsonl").write_text('{"query_id": "q\\t", "document_ids": ["d"]}\n')
    with pytest.raises(InputError, match=r"train\.jsonl: example 1: the id .* holds"):
        convert(tmp_path / "set", tmp_path / "f.jsonl", texts=tmp_path / "y")


@pytest.mark.parametrize(
    ("names", "first", "second"),
    [
        (("train.0.jsonl", "train.1.jsonl"), "train.0.jsonl", "train.1.jsonl"),
        (("train.jsonl", "documents.jsonl"), "corpus.jsonl", "documents.jsonl"),
        (("train.jsonl", "corpus.parquet"), "corpus.jsonl", "corpus.parquet"),
    ],
)
def test_no_table_of_a_folder_vanishes(tmp_path, names, first, second):
    (tmp_path / "set").mkdir()
    for name in ("corpus.jsonl", *names):
        (tmp_path / "set" / name).write_text("")
    with pytest.raises(InputError, match=f"set: {first} and {second} would be the same table. Put shards into"):
        convert(tmp_path / "set", tmp_path / "e.jsonl", texts=tmp_path / "texts")


def test_texts_appear_before_the_examples(tmp_path, columns):
    def get_in_the_way(*_):
        (tmp_path / "texts" / "other").mkdir(parents=True, exist_ok=True)

    with pytest.raises(FileExistsError, match="texts exists already"):
        convert(columns, tmp_path / "e.arrow", texts=tmp_path / "texts", progress=get_in_the_way)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["texts", "train.parquet"]


def test_texts_of_queries_alone_are_passed_over_or_want_documents(tmp_path):
    """Tevatron's version 2 carries the queries' texts; the documents' lie in a table of their own."""
    row = {"query_id": "q", "query_text": "ask", "positive_document_ids": ["a"], "negative_document_ids": ["b"]}
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(json.dumps(row) + "\n")
    alone = tmp_path / "set" / "train.jsonl"
    found = convert(alone, tmp_path / "e.jsonl")
    assert (found.examples, found.texts) == (1, {})
    assert found.assumed == ["texts of queries are passed over, as no folder is named for them (--texts)"]
    with pytest.raises(ConfigError, match="no texts of documents: .* put a table `corpus` beside it"):
        convert(alone, tmp_path / "f.jsonl", texts=tmp_path / "texts")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.jsonl", "set"]
    (tmp_path / "set" / "corpus.jsonl").write_text('{"id": "a", "text": "A"}\n{"id": "b", "text": "B"}\n')
    found = convert(tmp_path / "set", tmp_path / "f.jsonl", texts=tmp_path / "texts")
    assert found.texts == {"corpus.jsonl": 2, "queries.jsonl": 1, "qrels/train.tsv": 1}
    assert [query.text for query in open_collection(tmp_path / "texts").queries("train")] == ["ask"]
    found = convert(tmp_path / "set", tmp_path / "g.jsonl")
    assert found.assumed[0] == "texts are passed over, as no folder is named for them (--texts): corpus.jsonl"


def test_the_help_of_the_command_names_every_format():
    named = (command.__doc__ or "").partition("Formats: ")[2].partition(".")[0].replace("(sentence-transformers)", "")
    assert [name.strip() for name in named.split(",")] == list(FORMATS)


def test_texts_need_a_folder_and_nothing_is_left_behind(tmp_path, columns):
    with pytest.raises(ConfigError, match="holds texts"):
        convert(columns, tmp_path / "e.arrow")
    (tmp_path / "t.tsv").write_text("q\tp\tn\n")
    with pytest.raises(ConfigError, match="no texts of documents"):
        convert(tmp_path / "t.tsv", tmp_path / "e.arrow", format="triples-ids", texts=tmp_path / "texts")
    (tmp_path / "t.tsv").write_text("q\tp\tn\nq\tp\n")
    for to in ("e.arrow", "e.jsonl"):
        with pytest.raises(InputError, match="line 2"):
            convert(tmp_path / "t.tsv", tmp_path / to, format="triples-texts", texts=tmp_path / "texts")
    (tmp_path / "t.trec").write_text("q Q0 d 1 1 t\n")
    with pytest.raises(InputError, match=r"not one example .*\(1 queries without a relevant document left out"):
        convert(tmp_path / "t.trec", tmp_path / "e.arrow", options=Options(qrels={}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.trec", "t.tsv", "train.parquet"]


def test_one_id_means_one_text(tmp_path):
    def row(text):
        passage = {"docid": "d", "text": text}
        return {"query_id": "q", "query": "ask", "positive_passages": [passage], "negative_passages": []}

    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row(text)) + "\n" for text in ("a", "a", "b")))
    with pytest.raises(InputError, match=r"t\.jsonl: example 3: 'd' has two different texts"):
        convert(tmp_path / "t.jsonl", tmp_path / "e.arrow", texts=tmp_path / "texts")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row(text)) + "\n" for text in ("a", "a")))
    assert convert(tmp_path / "t.jsonl", tmp_path / "e.arrow", texts=tmp_path / "texts").texts["corpus.jsonl"] == 1


def test_a_folder_of_tables_gives_examples_and_texts(tmp_path):
    """The layout of PyLate's and of sentence-transformers/msmarco's data sets, with the columns these have."""
    tables = {
        "queries/a.parquet": [{"query_id": 1, "text": "ask"}],
        "documents/b.parquet": [{"document_id": 8, "text": "eight"}],
        "documents/a.parquet": [{"document_id": 7, "text": "seven"}],
        "train/a.parquet": [{"query_id": 1, "document_ids": [7, 8], "scores": [0.5, 1.5]}],
    }
    for name, rows in tables.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / name)
    found = convert(tmp_path / "set", tmp_path / "e.jsonl", texts=tmp_path / "texts")
    assert list(read_examples(tmp_path / "e.jsonl")) == [Example("1", ("8", "7"), (1.5, 0.5))]
    assert found.texts == {"queries.jsonl": 1, "corpus.jsonl": 2, "qrels/train.tsv": 1}
    assert list(open_collection(tmp_path / "texts").documents()) == [("7", "seven", "", None), ("8", "eight", "", None)]
    assert convert(tmp_path / "set", tmp_path / "f.jsonl").texts == {}
    (tmp_path / "set" / "more").mkdir()
    with pytest.raises(InputError, match="one table of examples, found more, train"):
        convert(tmp_path / "set", tmp_path / "g.jsonl")
    pyarrow.parquet.write_table(
        pa.Table.from_pylist([{"id": 1, "qid": 1, "text": ""}]), tmp_path / "set/queries/b.parquet"
    )
    (tmp_path / "set" / "more").rmdir()
    with pytest.raises(InputError, match=r"b\.parquet: row 1: expected one column of ids"):
        convert(tmp_path / "set", tmp_path / "g.jsonl", texts=tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_the_command_says_what_it_took_for_granted(tmp_path, columns, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["examples", str(columns), "--to", "e.arrow", "--texts", "texts", "--quiet"]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["examples"] == 2
    assert found["left out"] == {}
    assert "margins" in found["assumed"][0]
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 3
    assert "there already" in again.output
    (tmp_path / "t.trec").write_text("q Q0 d 1 1 t\nq Q0 e 2 0.5 t\nr Q0 e 2 0.5 t\n")
    (tmp_path / "qrels.tsv").write_text("q\te\t1\n")
    result = CliRunner().invoke(app, ["examples", "t.trec", "-o", "r.jsonl", "--qrels", "qrels.tsv", "-q"])
    assert result.exit_code == 0, result.output
    assert "left out: queries without a relevant document  1" in result.stdout
    assert list(read_examples("r.jsonl")) == [Example("q", ("e", "d"), (0.5, 1.0))]
    assert CliRunner().invoke(app, ["examples", "t.trec", "-o", "r.jsonl"]).exit_code == 2


def test_without_pyarrow_lines_are_converted_and_tables_name_what_is_missing(tmp_path):
    (tmp_path / "t.tsv").write_text("q\tp\tn\n")
    code = """
import importlib.util, sys
from everglade.errors import MissingExtra
sys.modules["pyarrow"] = None  # importing it fails from here on
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "pyarrow" else find(name)
from everglade.distill.formats import convert
print(convert("t.tsv", "e.jsonl", format="triples-texts", texts="texts").examples)
for source, to in (("t.tsv", "e.arrow"), ("t.parquet", "e.jsonl")):
    try:
        convert(source, to, format="triples-ids")
    except MissingExtra as error:
        print(error)
"""
    (tmp_path / "t.parquet").write_bytes(b"")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    missing = "this needs the package pyarrow. To install it: pip install 'everglade[train]'"
    assert done.stdout.splitlines() == ["1", missing, missing]
