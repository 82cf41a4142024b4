"""The FLOPS metric equals its definition, counted pair by pair."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.errors import InputError
from everglade.evaluation.flops import measure_sparsity, term_shares
from everglade.vectors import SparseMatrix

rows = st.lists(
    st.dictionaries(st.integers(0, 7), st.sampled_from([0.0, 0.5, 1.0]), max_size=5), min_size=1, max_size=6
)


@given(rows, rows)
def test_flops_is_the_mean_number_of_shared_terms(queries, documents):
    ours = measure_sparsity(
        term_shares(SparseMatrix.from_rows(queries, 8)), term_shares(SparseMatrix.from_rows(documents, 8))
    )

    def active(row):
        return {term for term, weight in row.items() if weight > 0}

    pairs = [len(active(q) & active(d)) for q, d in itertools.product(queries, documents)]
    assert ours.flops == pytest.approx(np.mean(pairs))
    assert ours.query_terms == pytest.approx(np.mean([len(active(q)) for q in queries]))
    assert ours.document_terms == pytest.approx(np.mean([len(active(d)) for d in documents]))


def test_flops_is_the_same_in_whatever_order_it_is_added_up():
    draw = np.random.default_rng(3)
    shares = draw.random((2, 30_522))
    order = draw.permutation(30_522)
    assert measure_sparsity(*shares).flops == measure_sparsity(*shares[:, order]).flops


def test_no_rows_share_nothing():
    none = term_shares(SparseMatrix(np.zeros(1), np.zeros(0), np.zeros(0), 4))
    assert none.tolist() == [0, 0, 0, 0]


def test_two_vocabularies_are_refused():
    with pytest.raises(InputError, match="4 terms and documents 5"):
        measure_sparsity(np.zeros(4), np.zeros(5))
