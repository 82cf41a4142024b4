import gzip

import pytest

from everglade.distill.examples import (
    Example,
    TrainingSet,
    examples_from_qrels,
    hold_out_queries,
    read_examples,
    read_triples,
    training_set_from_texts,
    write_examples,
)
from everglade.errors import InputError
from everglade.texts import TextTriple

QUERIES = {"q1": "cat", "q2": "dog"}
DOCUMENTS = {"d1": "a cat", "d2": "a dog", "d3": "a tree"}


def test_examples_come_back_from_disk_as_they_were(tmp_path):
    examples = [Example("q1", ("d1", "d2"), (0.1, -7.25)), Example("q2", ("d2",)), Example("ß\t", ('"', "d1", "d3"))]
    assert write_examples(examples, tmp_path / "examples.jsonl") == 3
    assert read_examples(tmp_path / "examples.jsonl") == examples
    first = (tmp_path / "examples.jsonl").read_text().splitlines()[0]
    assert first == '{"query_id":"q1","document_ids":["d1","d2"],"scores":[0.1,-7.25]}'


def test_lines_are_packed_where_the_name_says_so(tmp_path):
    examples = [Example("q1", ("d1", "d2"), (0.1, -7.25))]
    write_examples(examples, tmp_path / "e.jsonl.gz")
    assert gzip.decompress((tmp_path / "e.jsonl.gz").read_bytes()).startswith(b'{"query_id":"q1"')
    assert read_examples(tmp_path / "e.jsonl.gz") == examples
    with pytest.raises(InputError, match=r"e\.arrow\.gz: an Arrow table .* cannot be packed"):
        write_examples(examples, tmp_path / "e.arrow.gz")


@pytest.mark.parametrize("name", ["e.jsonl", "e.arrow"])
def test_a_missing_folder_is_named(tmp_path, name):
    with pytest.raises(InputError, match="the folder .*none is not there. Make it first"):
        write_examples([], tmp_path / "none" / name)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"query_id": "q1"}', "expected an object"),
        ('{"query_id": "q1", "document_ids": ["d1"], "label": 1}', "expected an object"),
        ('{"query_id": 1, "document_ids": ["d1"]}', "must be a text"),
        ('{"query_id": "q1", "document_ids": "d1"}', "list of texts"),
        ('{"query_id": "q1", "document_ids": []}', "names no document"),
        ('{"query_id": "q1", "document_ids": ["d1", "d1"]}', "twice"),
        ('{"query_id": "q1", "document_ids": ["d1", "d2"], "scores": [1]}', "1 scores"),
        ('{"query_id": "q1", "document_ids": ["d1"], "scores": ["1"]}', "list of numbers"),
        ('{"query_id": "q1", "document_ids": ["d1"], "scores": [true]}', "list of numbers"),
        ('{"query_id": "q1", "document_ids": ["d1"], "scores": [NaN]}', "not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, why):
    file = tmp_path / "examples.jsonl"
    file.write_text('{"query_id": "q1", "document_ids": ["d1"]}\n\n' + line + "\n")
    with pytest.raises(InputError, match=why) as caught:
        read_examples(file)
    assert f"{file}, line 3: " in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="none.jsonl: there is no such file"):
        read_examples(tmp_path / "none.jsonl")


def test_scores_must_be_finite():
    with pytest.raises(InputError, match="not a finite number"):
        Example("q1", ("d1",), (float("inf"),))


def test_unknown_ids_name_the_example():
    with pytest.raises(InputError, match="example 2: the query 'q9'"):
        TrainingSet(QUERIES, DOCUMENTS, [Example("q1", ("d1",)), Example("q9", ("d1",))])
    with pytest.raises(InputError, match="example 1: the document 'd9'"):
        TrainingSet(QUERIES, DOCUMENTS, [Example("q1", ("d1", "d9"))])
    with pytest.raises(InputError, match="no examples"):
        TrainingSet(QUERIES, DOCUMENTS, [])


def test_what_a_loss_needs_is_asked_for():
    training_set = TrainingSet(QUERIES, DOCUMENTS, [Example("q1", ("d1", "d2"), (2.0, 1.0)), Example("q2", ("d2",))])
    with pytest.raises(InputError, match=r"example 2 \(query 'q2'\) has no negative"):
        training_set.require_negatives()
    with pytest.raises(InputError, match=r"example 2 \(query 'q2'\) has no teacher scores"):
        training_set.require_scores()


def test_the_fingerprint_changes_with_examples_and_with_used_texts_only():
    examples = [Example("q1", ("d1", "d2"))]
    prints = {
        TrainingSet(QUERIES, DOCUMENTS, examples).fingerprint,
        TrainingSet(QUERIES, DOCUMENTS, [Example("q1", ("d2", "d1"))]).fingerprint,
        TrainingSet(QUERIES, DOCUMENTS, [Example("q1", ("d1", "d2"), (1.0, 0.0))]).fingerprint,
        TrainingSet(QUERIES, {**DOCUMENTS, "d2": "a wolf"}, examples).fingerprint,
        TrainingSet({"q1": "cats"}, DOCUMENTS, examples).fingerprint,
    }
    assert len(prints) == 5
    assert TrainingSet(QUERIES, {**DOCUMENTS, "d3": "unused"}, examples).fingerprint in prints


def test_examples_from_qrels_leave_relevant_documents_out_of_the_negatives():
    qrels = {"q1": {"d1": 1, "d2": 2, "d3": 0}, "q2": {"d3": 0}}
    assert examples_from_qrels(qrels, {"q1": ["d1", "d3", "d2"]}) == [
        Example("q1", ("d2", "d3")),
        Example("q1", ("d1", "d3")),
    ]


def test_triples_become_examples(tmp_path):
    (tmp_path / "triples.tsv").write_text("q1\td1\td2\nq2\td2\td3\n")
    assert read_triples(tmp_path / "triples.tsv") == [Example("q1", ("d1", "d2")), Example("q2", ("d2", "d3"))]
    (tmp_path / "triples.tsv").write_text("q1\td1\n")
    with pytest.raises(InputError, match="line 1"):
        read_triples(tmp_path / "triples.tsv")


def test_holding_out_depends_on_seed_and_id_alone():
    qrels = {f"q{i}": {"d": 1} for i in range(1000)}
    kept, held = hold_out_queries(qrels, 0.2, seed=1)
    assert kept.keys() | held.keys() == qrels.keys()
    assert not kept.keys() & held.keys()
    assert 150 < len(held) < 250
    assert hold_out_queries({"q7": {"d": 1}}, 0.2, seed=1)[1].keys() == {"q7"} & held.keys()
    assert hold_out_queries(qrels, 0.2, seed=2)[1] != held
    assert hold_out_queries(qrels, 0.0, seed=1) == (qrels, {})
    assert hold_out_queries(qrels, 1.0, seed=1) == ({}, qrels)


def test_equal_texts_of_triples_become_one_id():
    made = training_set_from_texts([TextTriple("cat", "a cat", "a dog"), TextTriple("cat", "cats", "a cat")])
    assert made.examples == [Example("q1", ("d1", "d2")), Example("q1", ("d3", "d1"))]
    assert made.documents == {"d1": "a cat", "d2": "a dog", "d3": "cats"}
    assert made.positives == {"q1": {"d1", "d3"}}
