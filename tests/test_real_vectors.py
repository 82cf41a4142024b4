"""237,568 real passages: the index builds, reopens, and answers as scipy does over the stored impacts."""

import numpy as np
import pytest

from everglade import Index, SparseMatrix
from everglade.reference import quantise_documents, quantise_queries

N_TERMS = 30522
N_QUERIES = 100


def load(path, step):
    arrays = np.load(path)
    return SparseMatrix(arrays["indptr"], arrays["terms"], arrays["weights"].astype(np.float32) * step, N_TERMS)


@pytest.mark.data
def test_exact_search_equals_scipy_on_the_stored_impacts(shared_data, tmp_path):
    documents = load(shared_data / "vectors" / "docs.npz", 1 / 64).canonical()
    queries = load(shared_data / "vectors" / "queries.npz", 1.0).canonical().rows(0, N_QUERIES)
    with Index.create(tmp_path / "i", n_terms=N_TERMS) as index:
        index.add_vectors([f"{place:06d}" for place in range(len(documents))], documents)
    with Index.open(tmp_path / "i") as index:
        ids, scores = index.search_vectors(queries, k=100, threads=2)
        scale = index.info().impact_scale
        assert len(index) == len(documents)
    weights = documents.to_scipy().tocsc()
    impacts = weights.copy()
    impacts.data = quantise_documents(weights.data, scale).astype(np.int64)
    rounded, scales = quantise_queries(queries)
    shared = 0
    for row in range(len(queries)):
        span = slice(rounded.indptr[row], rounded.indptr[row + 1])
        truth = np.asarray(impacts[:, rounded.terms[span]] @ rounded.impacts[span].astype(np.int64)).ravel()
        order = np.lexsort((np.arange(len(truth)), -truth))[:100]
        assert ids[row].tolist() == [f"{place:06d}" for place in order]
        np.testing.assert_array_equal(np.rint(scores[row] * scale * scales[row]).astype(np.int64), truth[order])
        terms, query_weights = queries.row(row)
        exact = np.asarray(weights[:, terms] @ query_weights).ravel()
        shared += len(set(np.argsort(-exact, kind="stable")[:10]) & set(order[:10]))
    assert shared / (10 * len(queries)) >= 0.98
