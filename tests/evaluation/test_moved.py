"""The queries that moved most, the documents that decided it, and the terms whose contributions differ."""

import math

import numpy as np
import pytest

from everglade.evaluation.measures import evaluate_queries
from everglade.evaluation.moved import Side, compare_terms, find_moved
from everglade.explain import explain_vectors

NAMES = ["sun", "rain", "moss", "fern"]
QRELS = {"up": {"a": 1, "b": 2}, "down": {"a": 1}, "same": {"a": 1}, "lost": {"c": 1}}
BEFORE = {
    "up": {"x": 3.0, "a": 2.0, "b": 1.0},
    "down": {"a": 2.0, "x": 1.0},
    "same": {"a": 1.0},
    "lost": {"c": 1.0},
}
AFTER = {
    "up": {"b": 30.0, "x": 20.0, "a": 10.0},
    "down": {"x": 2.0, "a": 1.0},
    "same": {"a": 9.0, "x": 1.0},
    "lost": {"x": 1.0},
}


def row(**weights):
    terms = sorted(NAMES.index(name) for name in weights)
    return np.array(terms), np.array([weights[NAMES[term]] for term in terms], dtype=np.float32)


def side(run, explain=lambda query, document: None):
    return Side(run, evaluate_queries(run, QRELS, ["RR@10"]), explain)


def test_the_greatest_changes_come_first():
    moved = find_moved(side(BEFORE), side(AFTER), QRELS, "RR@10")
    assert [(query.query, query.before, query.after) for query in moved] == [
        ("lost", 1.0, 0.0),
        ("down", 1.0, 0.5),
        ("up", 0.5, 1.0),
    ]
    assert [query.query for query in find_moved(side(BEFORE), side(AFTER), QRELS, "RR@10", queries=1)] == ["lost"]
    assert find_moved(side(BEFORE), side(BEFORE), QRELS, "RR@10") == []


def test_documents_are_ordered_by_the_gain_they_won_or_lost():
    moved = {query.query: query for query in find_moved(side(BEFORE), side(AFTER), QRELS, "RR@10")}
    ranks = [(one.document, one.relevance, one.rank_before, one.rank_after) for one in moved["up"].documents]
    # b: 2 / log2(2) - 2 / log2(4) = 1, a: 1 / log2(3) - 1 / log2(4) = 0.13
    assert ranks == [("b", 2, 3, 1), ("a", 1, 2, 3)]
    assert [(one.rank_before, one.rank_after) for one in moved["lost"].documents] == [(1, None)]
    assert all(one.terms is None for query in moved.values() for one in query.documents)


def test_terms_are_compared_by_their_share_of_the_best_hits_score():
    query = row(sun=1.0, rain=2.0)
    before = explain_vectors(query, row(sun=1.0, rain=0.5), NAMES)
    # A model of ten times the scale that weighs "sun" no more and "moss" anew.
    after = explain_vectors(row(rain=20.0, moss=10.0), row(rain=0.5, moss=1.0), NAMES)
    terms = compare_terms(before, after, best_before=4.0, best_after=40.0)
    assert [(one.term, one.before, one.after) for one in terms] == [
        ("moss", 0.0, 10.0),
        ("sun", 1.0, 0.0),
        ("rain", 1.0, 10.0),
    ]
    assert [(one.share_before, one.share_after) for one in terms] == [(0.0, 0.25), (0.25, 0.0), (0.25, 0.25)]
    assert sum(one.before for one in terms) == pytest.approx(before.score)
    assert len(compare_terms(before, after, 4.0, 40.0, terms=1)) == 1
    assert compare_terms(before, after, 0.0, 0.0)[0].share_after == 0.0


def test_terms_are_given_where_both_systems_hold_them():
    asked = []

    def explain(query, document):
        asked.append((query, document))
        return explain_vectors(row(sun=1.0), row(sun=2.0), NAMES)

    both = find_moved(side(BEFORE, explain), side(AFTER, explain), QRELS, "RR@10", queries=1)
    assert asked == [("lost", "c"), ("lost", "c")]
    (term,) = both[0].documents[0].terms
    assert (term.term, term.before, term.after, term.share_before) == ("sun", 2.0, 2.0, 2.0)
    one = find_moved(side(BEFORE, explain), side(AFTER), QRELS, "RR@10", queries=1)
    assert one[0].documents[0].terms is None


def test_a_document_that_a_search_passed_over_is_told_from_one_that_lost_its_terms():
    def heavy(query, document):
        return explain_vectors(row(sun=1.0), row(sun=5.0), NAMES)

    def light(query, document):
        return explain_vectors(row(sun=1.0), row(sun=0.5), NAMES)

    # "c" is not among the hits of "lost" afterwards, the least of which has a score of 1.
    for explain, passed_over in ((heavy, True), (light, False)):
        (query,) = find_moved(side(BEFORE, heavy), side(AFTER, explain), QRELS, "RR@10", queries=1)
        assert query.documents[0].passed_over is passed_over


def test_plain_values_are_json():
    plain = find_moved(side(BEFORE), side(AFTER), QRELS, "RR@10")[2].to_dict()
    assert plain["documents"][0]["rank_before"] == 3
    assert math.isclose(plain["before"], 0.5)
