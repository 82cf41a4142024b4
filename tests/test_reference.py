"""The reference against sums made by hand, as everything else is tested against the reference."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.errors import ConfigError
from everglade.reference import (
    MAX_QUERY_IMPACT,
    Impacts,
    Ranking,
    quantise_documents,
    quantise_queries,
    score_impacts,
    score_weights,
    search_approximate,
    search_impacts,
)
from everglade.vectors import SparseMatrix


def impacts(rows: list[dict[int, int]], dtype: type[np.unsignedinteger] = np.uint8) -> Impacts:
    return Impacts(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([term for row in rows for term in row], dtype=np.int32),
        np.array([impact for row in rows for impact in row.values()], dtype=dtype),
    )


def test_documents_round_half_to_even_and_stop_at_255():
    weights = np.array([0.0, 0.004, 0.5, 1.5, 2.5, 254.5, 255.0, 1000.0], dtype=np.float32)
    quantised = quantise_documents(weights, 1.0)
    assert quantised.dtype == np.uint8
    assert quantised.tolist() == [0, 0, 0, 2, 2, 254, 255, 255]
    assert quantise_documents(weights[1:3], 64.0).tolist() == [0, 32]


def test_wide_documents_stop_at_65535():
    quantised = quantise_documents(np.array([0.5, 300.0, 1e9], dtype=np.float32), 1.0, wide=True)
    assert quantised.dtype == np.uint16
    assert quantised.tolist() == [0, 300, 65_535]


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(ConfigError, match="impact scale"):
        quantise_documents(np.ones(1, dtype=np.float32), scale)


def test_the_heaviest_term_of_a_query_gets_4095():
    queries = SparseMatrix.from_rows([{3: 2.0, 5: 1.0, 7: 0.0001}, {}, {0: 0.125}], 10)
    quantised, scales = quantise_queries(queries)
    assert quantised.indptr.tolist() == [0, 2, 2, 3]
    assert quantised.terms.tolist() == [3, 5, 0]
    assert quantised.impacts.dtype == np.uint32
    assert quantised.impacts.tolist() == [4095, 2048, 4095]
    assert scales.tolist() == [4095 / 2.0, 1.0, 4095 / 0.125]


@given(st.lists(st.floats(0, 2.0**127, width=32, allow_subnormal=False), max_size=8))
def test_query_impacts_are_the_nearest_integers(weights):
    queries = SparseMatrix([0, len(weights)], np.arange(len(weights)), weights, 8)
    quantised, scales = quantise_queries(queries)
    exact = {t: Fraction(w) * MAX_QUERY_IMPACT / Fraction(max(weights)) for t, w in enumerate(weights) if w > 0}
    found = dict(zip(quantised.terms.tolist(), quantised.impacts.tolist(), strict=True))
    for term, value in exact.items():
        assert abs(found.get(term, 0) - value) <= Fraction(1, 2) + Fraction(1, 10**9)
    assert np.isfinite(scales).all()
    assert (scales > 0).all()
    assert 0 not in found.values()
    assert set(found) <= set(exact)


def test_search_is_the_sum_of_products_and_orders_equal_scores_by_id():
    documents = impacts([{1: 2, 2: 1}, {2: 5}, {3: 9}, {}, {1: 1, 2: 3}])
    ids = ["é", "b", "c", "d", "Z"]
    queries = impacts([{1: 1, 2: 1}, {}, {3: 4095}, {9: 1}, {1: 3, 2: 1}], np.uint32)
    assert search_impacts(documents, ids, queries, 3) == [
        Ranking(["b", "Z", "é"], [5, 4, 3]),
        Ranking([], []),
        Ranking(["c"], [9 * 4095]),
        Ranking([], []),
        Ranking(["é", "Z", "b"], [7, 6, 5]),
    ]
    tie = impacts([{1: 1, 2: 2}], np.uint32)
    assert search_impacts(documents, ids, tie, 2) == [Ranking(["b", "Z"], [10, 7])]
    same = impacts([{7: 1}] * 4)
    assert search_impacts(same, ["é", "b", "", "Z"], impacts([{7: 2}], np.uint32), 3) == [
        Ranking(["", "Z", "b"], [2, 2, 2])
    ]


def test_a_term_named_twice_counts_twice():
    documents = impacts([{1: 2}])
    query = Impacts(np.array([0, 2]), np.array([1, 1], dtype=np.int32), np.array([3, 4], dtype=np.uint32))
    assert search_impacts(documents, ["a"], query, 1) == [Ranking(["a"], [14])]


@given(st.lists(st.floats(0.0078125, 1, width=32), min_size=1, max_size=40), st.integers(10, 70_000))
def test_a_query_keeps_below_its_greatest_mass(weights, max_mass):
    queries = SparseMatrix([0, len(weights)], np.arange(len(weights)), weights, 40)
    free, free_scales = quantise_queries(queries)
    quantised, scales = quantise_queries(queries, max_mass)
    assert quantised.impacts.sum() <= max_mass
    if free.impacts.sum() + len(weights) < max_mass:
        assert quantised.impacts.tolist() == free.impacts.tolist()
        assert scales.tolist() == free_scales.tolist()
    kept = np.zeros(len(weights))
    kept[quantised.terms] = quantised.impacts
    assert np.abs(kept - queries.weights.astype(np.float64) * scales[0]).max() <= 0.5 + 1e-6


def test_scores_made_by_hand():
    documents = impacts([{0: 2, 3: 5}, {}, {3: 1}])
    terms = np.array([3, 0, 3], np.int32)
    assert score_impacts(documents, terms, np.array([10, 7, 1], np.uint32)).tolist() == [2 * 7 + 5 * 11, 0, 11]
    weights = np.array([0.5, 4, 1.25], np.float16)
    scores = score_weights(documents.indptr, documents.terms, weights, terms, np.array([2, 3, 0.25], np.float32))
    assert scores.tolist() == [1.5 + 9.0, 0.0, 2.8125]


def test_approximate_search_made_by_hand():
    documents = impacts([{0: 10}, {0: 9, 1: 9}, {1: 10, 2: 100}, {0: 9, 2: 1}])
    ids = ["a", "b", "c", "d"]
    # The terms promise 30, 20 and 100 of 150: term 2 alone covers two thirds, with term 0 it is 130 of 150.
    query = impacts([{0: 3, 1: 2, 2: 1}], np.uint32)
    full = {"a": 30, "b": 45, "c": 120, "d": 28}

    def found(mass, candidates, k=4, **kept):
        [ranking] = search_approximate(documents, ids, query, k, mass=mass, candidates=candidates, **kept)
        assert ranking.scores == [full[id] for id in ranking.ids]
        return ranking.ids

    assert found(0.1, 4) == found(0.66, 4) == ["c", "d"]
    assert found(0.67, 4) == ["c", "b", "a", "d"]
    # By the scanned terms c has 100, a 30, d 28 and b 27: b is not among the best three.
    assert found(0.67, 3) == ["c", "a", "d"]
    assert found(0.67, 3, k=2) == ["c", "a"]
    assert found(1.0, 3) == ["c", "b", "a"]
    # Pruned to the entries of term 0, nothing else is promised, and c is never seen.
    assert found(1.0, 4, postings=documents.terms == 0) == ["b", "a", "d"]
    assert found(1.0, 4, shown=np.array([True, True, False, True])) == ["b", "a", "d"]
