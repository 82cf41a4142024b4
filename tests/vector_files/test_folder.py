"""Vectors of other tools become a vectors folder, an index and a run, by the library and by the commands."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from everglade import Index
from everglade.cli import app
from everglade.cli.vectors import RoundTo
from everglade.errors import ConfigError, InputError, ModelMismatch, VectorsError
from everglade.vector_files import Round, Rounding, read_vector_files, write_folder
from everglade.vectors import SparseMatrix, VectorsWriter, read_manifest, read_vectors


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_a_folder_holds_what_was_read_and_says_from_where(golden, vocabulary):
    written = write_folder([golden / "pyserini.jsonl"], "vectors", vocabulary)
    assert written == (5, 8, 2)
    (stored,) = read_vectors("vectors")
    (shard,) = read_vector_files([golden / "pyserini.jsonl"], vocabulary)
    assert stored.ids == shard.ids
    np.testing.assert_array_equal(stored.matrix.weights, shard.matrix.weights)
    description = read_manifest("vectors")["description"]
    assert description["n_terms"] == 13
    assert description["side"] == "document"
    assert description["files"] == ["pyserini.jsonl"]
    assert description["vocabulary"] == {"name": vocabulary.name, "sha256": vocabulary.sha256}
    assert description["rounding"] == {"times": 1.0, "round": "none"}


def test_what_was_interrupted_goes_on_only_with_the_same_rows(golden, vocabulary, tmp_path, monkeypatch):
    lines = [json.dumps({"id": f"d{n}", "vector": {"flood": n + 1}}) + "\n" for n in range(8192 + 3)]
    source = tmp_path / "many.jsonl"
    source.write_text("".join(lines))
    write_folder([source], "whole", vocabulary)

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(VectorsWriter, "finish", stop)
        write_folder([source], "again", vocabulary)
    assert (tmp_path / "again.partial").is_dir()
    write_folder([source], "again", vocabulary)
    assert read_manifest("again") == read_manifest("whole")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(VectorsWriter, "finish", stop)
        write_folder([source], "other", vocabulary)
    source.write_text("".join(reversed(lines)))
    with pytest.raises(VectorsError, match=r"begun with other vectors. Start again with --fresh"):
        write_folder([source], "other", vocabulary)
    assert write_folder([source], "other", vocabulary, fresh=True).rows == len(lines)


def test_no_vector_at_all_is_an_error(vocabulary, tmp_path):
    (tmp_path / "empty.tsv").write_text("\n")
    with pytest.raises(InputError, match="there is no vector in empty.tsv"):
        write_folder(["empty.tsv"], "vectors", vocabulary)
    assert not (tmp_path / "vectors").exists()


def test_commands_from_files_to_measures(golden, tmp_path):
    known = ("--vocabulary", golden / "vocab.txt", "--quiet")
    made = run("vectors", golden / "pyserini.jsonl", "-o", "v", *known, "--json")
    assert json.loads(made.stdout) == {
        "vectors": "v",
        "rows": 5,
        "terms per row": 1.6,
        "rows without terms": 2,
        "rejected lines": 0,
    }
    run("vectors", golden / "anserini-topics.tsv", "-o", "q", "--side", "query", *known)
    run("index", "v", "-o", "i", "--keep-weights", "--documents", golden / "pyserini.jsonl", "--quiet")
    run("search", "i", "--queries", "q", "--float-exact", "-o", "run.trec")
    lines = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert [(line[0], line[2], float(line[4])) for line in lines] == [
        ("q1", "q1", 11),
        ("q2", "q2", 9),
        ("q-3", "q-3", 2),
    ]
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tq1\t1\n4\t4\t1\n")
    measured = run("evaluate", "run.trec", "qrels.tsv", "-m", "RR@10", "--json")
    assert json.loads(measured.stdout)["systems"][0]["measures"] == {"RR@10": 0.5}


def test_the_command_names_line_and_token_or_counts(golden, tmp_path):
    (tmp_path / "bad.tsv").write_text("1\tflood\n2\tfloods\n3 flood\n")
    words = ("vectors", "bad.tsv", "-o", "v", "--side", "query", "--vocabulary", golden / "vocab.txt", "--quiet")
    refused = run(*words, code=3)
    assert "bad.tsv, line 2: the token 'floods' is not in the vocabulary" in refused.stderr
    assert "Traceback" not in refused.output
    assert json.loads(run(*words, "--on-error", "skip", "--json").stdout)["rejected lines"] == 2
    whys = [json.loads(line)["why"] for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [why[:16] for why in whys] == ["the token 'flood", "there is no tab."]
    assert "give a positive number" in run(*words[:-1], "--times", "0", code=2).stderr


def test_rounding_by_the_command(golden):
    assert [one.value for one in RoundTo] == [one.value for one in Round]
    words = ("vectors", golden / "seismic.jsonl", "--vocabulary", golden / "vocab.txt", "--quiet")
    run(*words, "-o", "v", "--times", "100", "--round", "down")
    (shard,) = read_vectors("v")
    assert shard.matrix.weights.tolist() == [299, 99, 114, 314]
    assert read_manifest("v")["description"]["rounding"] == {"times": 100.0, "round": "down"}


def test_vectors_of_queries_are_checked_before_they_are_searched(golden, vocabulary):
    write_folder([golden / "pyserini.jsonl"], "v", vocabulary)
    write_folder([golden / "pyserini.jsonl"], "q", vocabulary, side="query")
    with Index.create("i", n_terms=13) as index:
        index.add_folder("v")
        assert list(index.search_folder("q", k=2)["q1"]) == ["q1"]
        assert index.search_folder("q")["5"] == {}
        with pytest.raises(InputError, match="v holds vectors of documents"):
            index.search_folder("v")
        with pytest.raises(InputError, match="q holds vectors of queries"):
            index.add_folder("q")
        with pytest.raises(VectorsError, match="not a finished vectors folder"):
            index.search_folder("nothing")
    with Index.create("j", n_terms=14) as index, pytest.raises(InputError, match=r"q has 13 terms and .*j 14"):
        index.search_folder("q")
    assert "--split" in run("search", "i", "--queries", "q", "--split", "test", "-o", "r", code=2).stderr


def test_vectors_of_another_model_are_refused(vocabulary, golden):
    model = {"name": "one", "fingerprint": "aa"}
    with Index.create("i", n_terms=13, model_reference=model) as index:
        described = {"n_terms": 13, "side": "query", "settings": None, "model": {"name": "two", "fingerprint": "bb"}}
        with VectorsWriter("q", described) as writer:
            writer.append(["q1"], SparseMatrix.from_rows([{6: 1.0}], 13))
        with pytest.raises(ModelMismatch, match="the model of q is two"):
            index.search_folder("q")
        write_folder([golden / "anserini-topics.tsv"], "unknown", vocabulary, side="query")
        assert index.search_folder("unknown")["q1"] == {}


def test_two_queries_of_one_id_are_refused():
    described = {"n_terms": 13, "side": "query", "settings": None, "model": None}
    with VectorsWriter("q", described) as writer:
        for _ in range(2):
            writer.append(["q1"], SparseMatrix.from_rows([{6: 1.0}], 13))
    with Index.create("i", n_terms=13) as index, pytest.raises(InputError, match="two queries of q have the id 'q1'"):
        index.search_folder("q")


def test_many_hits_are_searched_in_batches_and_are_the_same(golden, vocabulary, monkeypatch):
    write_folder([golden / "pyserini.jsonl"], "v", vocabulary)
    write_folder([golden / "anserini-topics.tsv"], "q", vocabulary, side="query")
    with Index.create("i", n_terms=13) as index:
        index.add_folder("v")
        whole = index.search_folder("q", k=3)
        monkeypatch.setattr("everglade.asking.HITS_AT_A_TIME", 6)
        assert index.search_folder("q", k=3) == whole
        assert list(whole) == ["q1", "q2", "q-3", "4", "5"]


def test_reading_vectors_needs_no_torch(golden):
    words = ["vectors", str(golden / "pyserini.jsonl"), "-o", "v", "--vocabulary", str(golden / "vocab.txt")]
    code = (
        "import sys\nfrom everglade.cli import app\n"
        f"app({words!r}, standalone_mode=False)\n"
        "app(['index', 'v', '-o', 'i'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_rounding_is_part_of_what_a_folder_says(golden, vocabulary):
    with pytest.raises(ConfigError):
        Rounding(0)
    write_folder([golden / "seismic.jsonl"], "a", vocabulary, Rounding(51.2, Round.nearest))
    assert read_manifest("a")["description"]["rounding"] == {"times": 51.2, "round": "nearest"}
