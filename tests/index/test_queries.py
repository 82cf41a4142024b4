"""Queries as the engine takes them, against their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade._engine import MAX_WIDE_QUERY_MASS
from everglade.index.queries import quantise
from everglade.reference import quantise_queries
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
