import numpy as np
import pytest

from everglade import evaluate
from everglade.texts import Document, Query
from everglade.train.validation import Validation, narrow_validation, validate
from everglade.vectors import SparseMatrix


class Letters:
    """An encoder whose terms are letters."""

    n_terms = 26
    name = fingerprint = "letters"

    def encode_documents(self, texts):
        rows = [{ord(c) - 97: 1.0 + text.count(c) for c in text if c.isalpha()} for text in texts]
        return SparseMatrix.from_rows(rows, 26)

    encode_queries = encode_documents


DOCUMENTS = [
    Document("d1", "abc"),
    Document("d2", "bcd", "a"),
    Document("d3", "xyz"),
    Document("d4", ""),
    Document("d5", "b"),
]
QUERIES = [Query("q1", "ab"), Query("q2", "z"), Query("q3", "")]
QRELS = {"q1": {"d2": 1}, "q2": {"d3": 1}, "q3": {"d4": 1}}


def test_it_measures_what_exhaustive_search_finds(tmp_path):
    found = validate(Letters(), Validation(DOCUMENTS, QUERIES, QRELS), "RR@10", tmp_path / "index")
    vectors = Letters().encode_documents([document.full_text for document in DOCUMENTS]).to_scipy().toarray()
    asked = Letters().encode_queries([query.text for query in QUERIES]).to_scipy().toarray()
    scores = asked @ vectors.T
    run = {
        query.id: {document.id: float(s) for document, s in zip(DOCUMENTS, row, strict=True) if s > 0}
        for query, row in zip(QUERIES, scores, strict=True)
    }
    assert found["RR@10"] == pytest.approx(evaluate(run, QRELS, ["RR@10"])["RR@10"])
    assert 0 < found["RR@10"] < 1
    shared = np.mean([((q > 0) & (d > 0)).sum() for q in asked for d in vectors])
    assert found["flops"] == pytest.approx(shared)
    assert found["query_terms"] == pytest.approx(1.0)
    assert found["document_terms"] == pytest.approx(11 / 5)
    assert not list(tmp_path.iterdir())


def test_narrowing_keeps_what_is_judged_and_the_best_hits():
    run = {"q1": {"d1": 2.0, "d5": 2.0, "d2": 1.0}, "q2": {}}
    narrow = narrow_validation(Validation(DOCUMENTS, QUERIES, QRELS, depth=7), run, 1)
    assert [document.id for document in narrow.documents] == ["d1", "d2", "d3", "d4"]
    assert (narrow.queries, narrow.qrels, narrow.depth) == (QUERIES, QRELS, 7)
