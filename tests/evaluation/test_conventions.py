"""Conventions: what counts as relevant, the query's own document, and BEIR's capped recall."""

import pytest

from everglade.errors import ConfigError
from everglade.evaluation.conventions import CONVENTIONS, count_self_hits, find_convention
from everglade.evaluation.measures import evaluate


def test_beir_leaves_out_the_querys_own_document_and_asks_for_one_more():
    beir = find_convention("beir")
    run = {"d1": {"d1": 3.0, "d2": 2.0, "d3": 1.0}, "q2": {"d1": 1.0, "d2": 0.5, "d3": 0.1}}
    assert count_self_hits(run) == 1
    assert beir.hits_to_ask(2) == 3
    assert beir.clean(run, 2) == {"d1": {"d2": 2.0, "d3": 1.0}, "q2": {"d1": 1.0, "d2": 0.5}}
    assert beir.clean(run)["q2"] == run["q2"]
    assert evaluate(beir.clean(run), {"d1": {"d2": 1}}, ["RR@10"]) == {"RR@10": 1.0}


@pytest.mark.parametrize("name", ["plain", "trec-dl", "msmarco"])
def test_other_conventions_leave_runs_as_they_are(name):
    run = {"a": {"a": 1.0}}
    assert find_convention(name).hits_to_ask(1000) == 1000
    assert find_convention(name).clean(run, 1000) is run


def test_trec_dl_takes_judgements_from_2_on_for_relevant_and_all_grades_for_ndcg():
    trec = find_convention("trec-dl")
    assert trec.choose_measures() == ("nDCG@10", "AP(rel=2)@1000", "R(rel=2)@1000", "RR(rel=2)@10")
    assert trec.choose_measures(["Recall@5", "R(rel=1)@5", "RCap@5"]) == ("R(rel=2)@5", "R(rel=1)@5", "RCap(rel=2)@5")
    values = evaluate({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": 1, "b": 2}}, trec.choose_measures(["RR@10", "nDCG@1"]))
    assert values == {"RR(rel=2)@10": 0.5, "nDCG@1": 0.5}


def test_the_usual_measures_of_each_convention_can_be_computed():
    for convention in CONVENTIONS.values():
        values = evaluate({"q": {"a": 1.0}}, {"q": {"a": 3}}, convention.choose_measures())
        assert set(values.values()) == {1.0}, convention.name


def test_capped_recall_is_one_when_all_of_the_first_k_are_relevant():
    judged = {f"d{number}": 1 for number in range(20)}
    run = {"q": {f"d{number}": -float(number) for number in range(20)}}
    assert evaluate(run, {"q": judged}, ["R@10", "RCap@10"]) == {"R@10": 0.5, "RCap@10": 1.0}
    few = {"q": {"d1": 1, "x": 2}}
    assert evaluate(run, few, ["R@10", "RCap@10", "RCap(rel=2)@10"]) == {
        "R@10": 0.5,
        "RCap@10": 0.5,
        "RCap(rel=2)@10": 0.0,
    }
    assert evaluate(run, {"q": {"d1": 0}}, ["RCap@10"]) == {"RCap@10": 0.0}


def test_an_unknown_convention_is_refused():
    with pytest.raises(ConfigError, match="Did you mean beir"):
        find_convention("bier")
