"""Queries as the engine takes them, against their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade._engine import MAX_QUERY_MASS, MAX_WIDE_QUERY_MASS
from everglade.index.queries import quantise
from everglade.index.store import Store
from everglade.reference import MAX_QUERY_IMPACT, Impacts, quantise_documents, quantise_queries, search_impacts
from everglade.vectors import SparseMatrix

N_TERMS = 50
weights = st.floats(0.0, 3.0, width=32) | st.sampled_from([0.0, 1.0, 1e-4, 1e-30, 1e30])
entries = st.lists(st.tuples(st.integers(0, N_TERMS - 1), weights), max_size=12)


def matrix_of(rows):
    """Rows of (term, weight) pairs as they stand: in any order, twice, with zeros."""
    pairs = [pair for row in rows for pair in row]
    terms, values = [term for term, _ in pairs], [weight for _, weight in pairs]
    return SparseMatrix(np.cumsum([0, *map(len, rows)]), np.array(terms, int), np.array(values, float), N_TERMS)


def require_equal(queries, max_mass):
    found, scales = quantise(queries, max_mass)
    expected, expected_scales = quantise_queries(queries.canonical(), max_mass)
    assert scales.tolist() == expected_scales.tolist()
    for part, wanted, dtype in zip(found, expected, (np.int64, np.int32, np.uint32), strict=True):
        assert part.tolist() == wanted.tolist()
        assert part.dtype == dtype


@pytest.mark.parametrize("max_mass", [None, MAX_WIDE_QUERY_MASS, 9000])
@given(rows=st.lists(entries, max_size=5), ordered=st.booleans())
def test_impacts_are_the_references(rows, ordered, max_mass):
    require_equal(matrix_of([sorted(dict(row).items()) for row in rows] if ordered else rows), max_mass)


@pytest.mark.parametrize("max_mass", [None, 9000])
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[]],
        [[], [(1, 1.0)], []],
        [[(3, 1.0), (1, 0.5)]],
        [[(1, 1.0), (1, 0.5), (2, 1.5)]],
        [[(1, 1.0), (2, 0.0)]],
        [[(1, 1.0), (2, 1e-9)], [(0, 2.0), (2, 0.3)]],
        [[(4, 1.0)], [(4, 1.0)], [(2, 1.0)]],
        [[(term, 1.0 + term / 7) for term in range(N_TERMS)]],
    ],
)
def test_impacts_of_unusual_queries_are_the_references(rows, max_mass):
    require_equal(matrix_of(rows), max_mass)


@given(terms=st.integers(4_100, 4_125), low=st.sampled_from([0.0, 0.9, 0.9999, 1.0]), seed=st.integers(0, 99))
def test_impacts_of_dense_queries_are_the_references(terms, low, seed):
    draws = np.random.default_rng(seed)
    lengths = np.array([terms, 5])  # the first about where impacts can pass what they may sum to
    weights = draws.uniform(low, 1.0, lengths.sum()).astype(np.float32)
    require_equal(SparseMatrix([0, terms, terms + 5], np.r_[:terms, :5], weights, 5_000), MAX_QUERY_MASS)


def test_queries_over_the_whole_vocabulary_are_searched(tmp_path):
    """A language model that has not learned to search gives such vectors."""
    draws, n_terms = np.random.default_rng(1), 30_522
    weights = draws.uniform(0.5, 1.0, 6 * n_terms).astype(np.float32)
    matrix = SparseMatrix(np.arange(7) * n_terms, np.tile(np.arange(n_terms), 6), weights, n_terms)
    ids = list("abcdef")
    with Store.create(tmp_path / "i", n_terms=n_terms) as store:
        store.add(None, ids, matrix)
        found = store.search(matrix, 6)
        documents = quantise_documents(matrix.weights, store.info().impact_scale)
    queries, scales = quantise_queries(matrix, MAX_QUERY_MASS)
    expected = search_impacts(Impacts(matrix.indptr, matrix.terms, documents), ids, queries, 6)
    assert found.ids.tolist() == [ranking.ids for ranking in expected]
    assert found.integer_scores.tolist() == [ranking.scores for ranking in expected]
    assert found.ids[:, 0].tolist() == ids
    assert scales.max() < MAX_QUERY_IMPACT  # of what the heaviest term of a sparser query gets
