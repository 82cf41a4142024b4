"""Bad lines are counted and written, once each, and nothing else is lost."""

import json

import pytest

from everglade.errors import InputError
from everglade.texts import Rejects, open_collection, read_documents, read_qrels, read_queries, read_run

CONTENT = b'{"_id": "1", "text": "a"}\n{"_id": "2"}\n{"_id": "1", "text": "b"}\nx\xff\\\n{"_id": "3", "text": ""}\n'


def rejected(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_good_lines_come_and_the_bad_ones_are_written(tmp_path):
    path, rejects = tmp_path / "corpus.jsonl", Rejects(tmp_path / "bad.jsonl")
    path.write_bytes(CONTENT)
    assert not rejects.path.exists()
    assert [(document.id, document.text) for document in read_documents(path, rejects)] == [("1", "a"), ("3", "")]
    assert rejects.count == 3
    first, second, third = rejected(rejects.path)
    assert first == {
        "path": str(path),
        "line": 2,
        "why": "neither 'text' nor 'contents' is there, only '_id'. Add one of them",
        "raw": '{"_id": "2"}',
    }
    assert (second["line"], second["raw"]) == (3, '{"_id": "1", "text": "b"}')
    assert "stood on line 1 already" in second["why"]
    assert (third["line"], third["raw"]) == (4, "x\\xff\\")


def test_a_line_counts_once_however_often_it_is_read(tmp_path):
    (tmp_path / "corpus.jsonl").write_bytes(CONTENT)
    (tmp_path / "queries.jsonl").write_bytes(CONTENT)
    rejects = Rejects(tmp_path / "bad.jsonl")
    collection = open_collection(tmp_path, rejects=rejects)
    for _ in range(2):
        assert len(list(collection.documents())) == 2
        assert len(collection.queries()) == 2
    assert rejects.count == len(rejected(rejects.path)) == 6


def test_rejects_may_only_count(tmp_path):
    path, rejects = tmp_path / "q.tsv", Rejects()
    path.write_text("1\ta\nb\n")
    assert len(read_queries(path, rejects)) == 1
    assert (rejects.count, rejects.path) == (1, None)


def test_an_old_rejects_file_is_removed(tmp_path):
    path = tmp_path / "q.tsv"
    path.write_text("bad\n")
    for _ in range(2):
        rejects = Rejects(tmp_path / "bad.jsonl")
        read_queries(path, rejects)
        assert len(rejected(rejects.path)) == 1
    Rejects(tmp_path / "bad.jsonl")
    assert not (tmp_path / "bad.jsonl").exists()


@pytest.mark.parametrize("content", ['{"_id": "1", "text": "a"}\n', "[1]\n", "[[1]]\n", "3\n", "text\n", "\n"])
def test_no_other_file_is_overwritten(tmp_path, content):
    path = tmp_path / "corpus.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="does not hold rejects"):
        Rejects(path)
    assert path.read_text() == content


def test_qrels_and_runs_take_rejects_too(tmp_path):
    rejects = Rejects()
    (tmp_path / "q.tsv").write_text("q1\td1\t1\nq1\td2\tone\nq1\td1\t2\nq1\t0\td1\t2\nq2\td1\t0\n")
    assert [tuple(qrel) for qrel in read_qrels(tmp_path / "q.tsv", rejects)] == [("q1", "d1", 1), ("q2", "d1", 0)]
    assert rejects.count == 3
    (tmp_path / "r.run").write_text("q1 Q0 d1 1 2.5 t\nq1 Q0 d1 2 2 t\nq1 Q0 d2 2 nan t\nq1 d3 3\nq1 Q0 d3 3 1 t\n")
    assert read_run(tmp_path / "r.run", rejects) == {"q1": {"d1": 2.5, "d3": 1.0}}
    assert rejects.count == 6


def test_the_raw_text_of_a_line_that_was_too_long_is_its_beginning(tmp_path, monkeypatch):
    from everglade.texts import lines

    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(lines, "_KEPT_BYTES", 10)
    (tmp_path / "q.tsv").write_text("1\t" + "x" * 200)
    rejects = Rejects(tmp_path / "bad.jsonl")
    assert read_queries(tmp_path / "q.tsv", rejects) == []
    assert rejected(rejects.path)[0]["raw"] == "1\txxxxxxxx"
