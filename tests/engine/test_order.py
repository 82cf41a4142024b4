"""The order of documents: whatever comes in is there once, and documents that share terms come to lie together."""

import numpy as np
import pytest

from everglade import _engine

N_TERMS = 600


def gap_bits(indptr, terms, order):
    """What the gaps of all postings take, in bits: the sum of log2, which the order is to make small."""
    last, bits = {}, 0.0
    for place, document in enumerate(order.tolist()):
        for term in terms[indptr[document] : indptr[document + 1]].tolist():
            bits += np.log2(place - last.get(term, -1))
            last[term] = place
    return bits


def topical_documents(n_documents, n_topics, draw):
    """Documents of 12 terms, 9 of them from the 20 of their topic; topics come in no order."""
    topics = draw.integers(n_topics, size=n_documents)
    rows = []
    for topic in topics.tolist():
        own = 100 + 20 * topic + draw.choice(20, 9, replace=False)
        rows.append(np.sort(np.concatenate([own, draw.choice(100, 3, replace=False)])))
    return topics, np.arange(0, 12 * n_documents + 1, 12, dtype=np.int64), np.concatenate(rows).astype(np.int32)


@pytest.mark.parametrize("n_documents", [0, 1, 31, 32, 33, 64, 65, 1000])
def test_every_document_comes_once(n_documents):
    _, indptr, terms = topical_documents(max(n_documents, 1), 5, np.random.default_rng(n_documents))
    indptr = indptr[: n_documents + 1]
    order = _engine.find_order(indptr, terms[: indptr[-1]], N_TERMS, 1)
    assert sorted(order.tolist()) == list(range(n_documents))


def test_documents_of_a_topic_lie_together():
    draw = np.random.default_rng(7)
    topics, indptr, terms = topical_documents(2048, 16, draw)
    order = _engine.find_order(indptr, terms, N_TERMS, 1)
    blocks = topics[order].reshape(-1, 32)
    of_one_topic = np.mean([np.bincount(block).max() / 32 for block in blocks])
    assert of_one_topic > 0.9  # by chance it would be about .17
    as_they_came = gap_bits(indptr, terms, np.arange(2048))
    assert gap_bits(indptr, terms, order) < 0.6 * as_they_came


def test_threads_do_not_show():
    _, indptr, terms = topical_documents(3000, 40, np.random.default_rng(1))
    orders = [_engine.find_order(indptr, terms, 1000, threads).tolist() for threads in (1, 2, 5)]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize(
    ("indptr", "terms", "wrong"),
    [
        ([0, 2], [1, N_TERMS], "not in the vocabulary"),
        ([0, 2], [-1, 3], "not in the vocabulary"),
        ([0, 3], [1, 2], "indptr"),
        ([1, 2], [1, 2], "indptr"),
        ([0, 2, 1, 2], [1, 2], "indptr"),
        ([], [], "indptr"),
    ],
)
def test_rows_out_of_range_are_refused(indptr, terms, wrong):
    with pytest.raises(ValueError, match=wrong):
        _engine.find_order(np.array(indptr, np.int64), np.array(terms, np.int32), N_TERMS, 1)
