"""evaluate() equals ir-measures where ir-measures is of one mind, and keeps one tie rule where it is not."""

import math

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.errors import ConfigError, InputError
from everglade.evaluation.measures import evaluate, evaluate_queries, rank
from everglade.texts import Qrel

MEASURES = ["nDCG@10", "RR@10", "R@100", "R@1000", "AP", "P@5"]


def test_a_tie_is_broken_by_the_smaller_id_in_every_measure():
    run = {"q": {"b": 1.0, "a": 1.0}}
    first = evaluate(run, {"q": {"a": 1}}, ["nDCG@1", "RR@10", "P@1", "R@1", "AP"])
    second = evaluate(run, {"q": {"b": 1}}, ["nDCG@1", "RR@10", "P@1", "R@1", "AP"])
    assert set(first.values()) == {1.0}
    assert second == {"nDCG@1": 0.0, "RR@10": 0.5, "P@1": 0.0, "R@1": 0.0, "AP": 0.5}


def test_a_judged_query_without_an_answer_counts_as_zero():
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}}
    run = {"q1": {"a": 2.0}, "q2": {}, "unjudged": {"a": 1.0}}
    assert evaluate(run, qrels, ["RR@10"]) == {"RR@10": pytest.approx(1 / 3)}
    assert evaluate_queries(run, qrels, ["RR@10"])["q3"] == {"RR@10": 0.0}


def test_names_come_back_as_they_were_given():
    values = evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, ["MRR@10", "RR@10", "Recall@100"])
    assert values == {"MRR@10": 1.0, "RR@10": 1.0, "Recall@100": 1.0}


def test_qrels_may_be_a_list():
    assert evaluate({"q": {"a": 1.0}}, [Qrel("q", "a", 2), Qrel("q", "b", 1)], ["R@1"]) == {"R@1": 0.5}


def test_unknown_measures_and_missing_judgements_are_refused():
    with pytest.raises(ConfigError, match="nDGC@10"):
        evaluate({}, {"q": {"a": 1}}, ["nDGC@10"])
    with pytest.raises(ConfigError, match="no measure"):
        evaluate({}, {"q": {"a": 1}}, [])
    with pytest.raises(InputError, match="no judgements"):
        evaluate({}, [], ["RR@10"])
    with pytest.raises(InputError, match="NaN"):
        evaluate({"q": {"a": math.nan}}, {"q": {"a": 1}}, ["RR@10"])


ids = st.text("abcdef", min_size=1, max_size=2)
qrels_of = st.dictionaries(ids, st.dictionaries(ids, st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=5)
untied = st.dictionaries(ids, st.lists(ids, unique=True, max_size=20), max_size=5)


@given(qrels_of, untied)
def test_without_ties_the_means_are_those_of_ir_measures(qrels, orders):
    run = {query: {document: -float(place) for place, document in enumerate(order)} for query, order in orders.items()}
    expected = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in MEASURES],
        qrels,
        {query: hits for query, hits in run.items() if hits} or {"nobody": {"x": 1.0}},
    )
    ours = evaluate(run, qrels, MEASURES)
    assert ours == pytest.approx({str(name): value for name, value in expected.items()}, abs=1e-9)


@given(st.dictionaries(ids, st.sampled_from([0.0, 0.5, 1.0]), max_size=20))
def test_rank_is_the_stated_rule(hits):
    order = rank(hits)
    assert sorted(order) == sorted(hits)
    for better, worse in zip(order, order[1:], strict=False):
        assert hits[better] > hits[worse] or (hits[better] == hits[worse] and better < worse)
