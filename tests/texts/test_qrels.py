"""Judgements of every form; none is lost to a heading that is not there."""

import gzip

import pytest

from everglade.errors import InputError
from everglade.texts import Qrel, group_qrels, read_qrels

EXPECTED = [Qrel("q1", "d1", 1), Qrel("q1", "d2", 0), Qrel("q2", "d1", 2)]


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td1\t2\n",
        "q1\td1\t1\nq1\td2\t0\nq2\td1\t2\n",
        "\ufeffquery-id\tcorpus-id\tscore\r\nq1\td1\t1\r\n\r\nq1\td2\t0\r\nq2\td1\t2",
        "QUERY ID\tCorpus ID\tRelevance\nq1\td1\t1\nq1\td2\t0\nq2\td1\t2\n",
        "a\tb\tlabel\nq1\td1\t1\nq1\td2\t0\nq2\td1\t2\n",
        "q1\t0\td1\t1\nq1\t0\td2\t0\nq2\t0\td1\t2\n",
        "qid\titer\tdocno\trel\nq1\t0\td1\t1\nq1\t0\td2\t0\nq2\t0\td1\t2\n",
        "q1 0 d1 1\nq1 0 d2 0\nq2 Q0 d1 +2\n",
        "q1  0\td1   1 \nq1 0 d2 0\nq2 0 d1 2\n",
        "q1\td1\t1\nq1\td2\t 0\nq1\td1\t1\nq2\td1\t2\n",
    ],
)
@pytest.mark.parametrize("name", ["test.tsv", "qrels.txt.gz"])
def test_forms_of_judgements(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    assert read_qrels(path) == EXPECTED


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        ("q1\td1\tone\n", 1, "the relevance 'one' is not a whole number"),
        ("q1\td1\t1.0\n", 1, "the relevance '1.0' is not a whole number"),
        ("query-id\tcorpus-id\t1e0\n", 1, "the relevance '1e0'"),
        ("score\td1\tnan\n", 1, "the relevance 'nan'"),
        ("q1\td1\t\n", 1, "the relevance ''"),
        ("q1\td1\t1_0\n", 1, "the relevance '1_0'"),
        ("q1\td1\t\u0663\n", 1, "not a whole number"),
        (f"q1\td1\t{'9' * 5000}\n", 1, "not a whole number"),
        ("query-id\tcorpus-id\tscore\nquery-id\tcorpus-id\tscore\n", 2, "the relevance 'score'"),
        ("q1\td1\t1\nquery-id\tcorpus-id\tscore\n", 2, "the relevance 'score'"),
        ("q1\td1\t1\nq1\t0\td2\t1\n", 2, "found 4 columns where the lines before have 3"),
        ("q1\td1\n", 1, "found 2 columns"),
        ("q1 d1 1\n", 1, "found 3 columns. Expected query, document, relevance with tabs"),
        ("q1\t\t1\n", 1, "the id is empty"),
        ("q1\td1\t1\nq1\td2\t1\nq1\td1\t0\n", 3, "document 'd1' has relevance 0 for query 'q1', and 1 on line 1"),
    ],
)
def test_lines_that_are_no_judgement(tmp_path, content, line, why):
    path = tmp_path / "test.tsv"
    path.write_text(content)
    with pytest.raises(InputError, match=why) as caught:
        read_qrels(path)
    assert (caught.value.path, caught.value.line) == (path, line)


def test_tsv_ids_may_hold_spaces(tmp_path):
    (tmp_path / "test.tsv").write_text("a query\ta document\t1\n")
    assert read_qrels(tmp_path / "test.tsv") == [Qrel("a query", "a document", 1)]


@pytest.mark.parametrize("name", ["qrel.json", "qrel.json.gz"])
def test_json_judgements(tmp_path, name):
    content = b'{"q1": {"d1": 1,\n "d2": 0}, "q2": {"d1": 2}}'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_qrels(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "expected one object"),
        ('{"q1": ["d1"]}', "expected one object"),
        ('{"q1": {"d1": 1.0}}', "query 'q1', document 'd1': the relevance is not a whole number"),
        ('{"q1": {"d1": true}}', "not a whole number"),
        ('{"q1": {"": 1}}', "the id is empty"),
        ('{"q1": {"d1": NaN}}', "not valid JSON"),
        ("", "not valid JSON"),
    ],
)
def test_json_that_is_no_judgements(tmp_path, content, why):
    (tmp_path / "qrel.json").write_text(content)
    with pytest.raises(InputError, match=f"qrel.json: .*{why}"):
        read_qrels(tmp_path / "qrel.json")


def test_json_has_a_limit(tmp_path, monkeypatch):
    from everglade.texts import qrels

    monkeypatch.setattr(qrels, "MAX_JSON_BYTES", 10)
    (tmp_path / "qrel.json").write_text('{"q1": {"d1": 1}}')
    with pytest.raises(InputError, match="longer than 10 bytes"):
        read_qrels(tmp_path / "qrel.json")


def test_group_qrels():
    assert group_qrels(EXPECTED) == {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": 2}}
