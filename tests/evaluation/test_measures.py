"""evaluate() equals ir-measures where ir-measures is of one mind, and keeps one tie rule where it is not."""

import math

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade.errors import ConfigError, InputError
from everglade.evaluation.measures import cutoff_of, evaluate, evaluate_queries, rank, with_relevance
from everglade.texts import Qrel


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


def test_any_kind_of_whole_number_is_a_grade():
    run = {"q": {"d": np.float32(1.0), "e": 2}}
    assert evaluate(run, {"q": {"d": np.int64(1), "e": np.uint8(0)}}, ["RR@10"]) == {"RR@10": 0.5}


def test_unknown_measures_and_missing_judgements_are_refused():
    with pytest.raises(ConfigError, match="nDGC@10"):
        evaluate({}, {"q": {"a": 1}}, ["nDGC@10"])
    with pytest.raises(ConfigError, match="no measure"):
        evaluate({}, {"q": {"a": 1}}, [])
    with pytest.raises(InputError, match="no judgements"):
        evaluate({}, [], ["RR@10"])
    with pytest.raises(ConfigError, match=r"Write \['RR@10'\]"):
        evaluate({"q": {"d": 1.0}}, {"q": {"d": 1}}, "RR@10")
    for grade in (1.7, "1"):
        with pytest.raises(InputError, match="it must be a whole number"):
            evaluate({"q": {"d": 1.0}}, {"q": {"d": grade}}, ["RR@10"])
    with pytest.raises(InputError, match="score of document 'd' is '3', not a number"):
        evaluate({"q": {"d": "3"}}, {"q": {"d": 1}}, ["RR@10"])
    with pytest.raises(InputError, match="NaN"):
        evaluate({"q": {"a": math.nan}}, {"q": {"a": 1}}, ["RR@10"])


# Every measure that the tools which come with ir-measures can compute; those of gdeval, a process each, further down.
EVERY = [
    *(
        "nDCG",
        "nDCG@1",
        "nDCG@10",
        "nDCG(judged_only=True)@10",
        "nDCG(gains={1:0,2:5})@10",
        "RR",
        "RR@3",
        "RR(rel=2)@10",
    ),
    *(
        "R@5",
        "R(rel=2)@5",
        "AP",
        "AP@5",
        "AP(rel=2)",
        "AP(judged_only=True)",
        "P@5",
        "P(rel=2)@5",
        "P(judged_only=True)@2",
    ),
    *(
        "Success@1",
        "Success(rel=3)@5",
        "Bpref",
        "Bpref(rel=2)",
        "infAP",
        "IPrec@0.2",
        "IPrec@0.0",
        "Rprec",
        "Rprec(rel=2)",
    ),
    *("SetP", "SetP(relative=True)", "SetR", "SetR(rel=2)", "SetF", "SetF(beta=0.5)", "SetAP", "Judged", "Judged@10"),
    *("Compat", "Compat(p=0.8)", "NumRet", "NumRel", "NumRelRet", "NumRet(rel=2)", "NumQ"),
]
ids = st.text("ab-1", min_size=1, max_size=3)
graded = st.dictionaries(ids, st.integers(-2, 4), min_size=1, max_size=8)
# trec_eval itself dies of a query that has negative judgements alone; those are a test of their own.
safe = graded.filter(lambda judged: max(judged.values()) >= 0)
qrels_of = st.dictionaries(ids, safe, min_size=1, max_size=5)
runs = st.dictionaries(
    ids, st.dictionaries(ids, st.sampled_from([-1.0, 0.0, 0.5, 1e-30, 7.0]), max_size=20), max_size=5
)


def in_order(run):
    """The same run under our tie rule, without ties: a document's score is one more than stand behind it.

    One more, because Compat takes what was not found for found with a score of 0.
    """
    ordered = {}
    for query, hits in run.items():
        behind = {one: sum((-hits[one], one) < (-hits[other], other) for other in hits) for one in hits}
        if hits:
            ordered[query] = {document: 1.0 + count for document, count in behind.items()}
    return ordered or {"nobody": {"x": 1.0}}


@settings(max_examples=60, deadline=None)
@given(qrels_of, runs)
def test_every_measure_is_that_of_ir_measures_in_our_order(qrels, run):
    ours = evaluate(run, qrels, EVERY)
    ordered = in_order(run)
    alone = {name: ir_measures.parse_measure(name) for name in EVERY}
    expected = {name: ir_measures.calc_aggregate([one], qrels, ordered)[one] for name, one in alone.items()}
    assert ours == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(qrels_of, runs)
def test_values_of_single_queries_are_those_of_trec_eval(qrels, run):
    ours = evaluate_queries(run, qrels, ["nDCG@10", "AP", "R@5", "RR", "P@5"])
    names = {"nDCG@10": "ndcg_cut_10", "AP": "map", "R@5": "recall_5", "RR": "recip_rank", "P@5": "P_5"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(names.values())).evaluate(in_order(run))
    for query, row in ours.items():
        assert row == pytest.approx({name: theirs.get(query, {}).get(other, 0.0) for name, other in names.items()})


def slow(qrels, run, depth=10):
    """nDCG@depth, RR@depth, AP and R@depth of each query, from their definitions."""
    for query, judged in qrels.items():
        hits = run.get(query, {})
        order = sorted(hits, key=lambda document: (-hits[document], document))
        relevant = {document for document, relevance in judged.items() if relevance > 0}
        gains = [max(judged.get(document, 0), 0) for document in order]
        best = sorted((max(relevance, 0) for relevance in judged.values()), reverse=True)
        ideal = sum(gain / math.log2(rank + 1) for rank, gain in enumerate(best[:depth], 1))
        found = [rank for rank, document in enumerate(order, 1) if document in relevant]
        yield (
            query,
            {
                "nDCG@10": sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:depth], 1)) / (ideal or 1),
                "RR@10": 1 / found[0] if found and found[0] <= depth else 0.0,
                "AP": sum(n / rank for n, rank in enumerate(found, 1)) / max(len(relevant), 1),
                "R@10": sum(rank <= depth for rank in found) / max(len(relevant), 1),
                "RCap@10": sum(rank <= depth for rank in found) / max(min(depth, len(relevant)), 1),
            },
        )


@settings(max_examples=100, deadline=None)
@given(qrels_of, runs)
def test_measures_are_their_definitions(qrels, run):
    names = ["nDCG@10", "RR@10", "AP", "R@10", "RCap@10"]
    for query, expected in slow(qrels, run):
        assert evaluate_queries(run, qrels, names)[query] == pytest.approx(expected, abs=1e-9), query


def test_a_query_with_negative_judgements_alone_has_nothing_to_find():
    run = {"q": {"a": 2.0, "b": 1.0}, "other": {"a": 1.0}}
    values = evaluate_queries(run, {"q": {"a": -2, "b": -1, "c": -2}, "other": {"a": 1}}, EVERY)
    counted = {"Judged", "Judged@10", "NumRet", "NumQ"}
    assert {name for name, value in values["q"].items() if value} == counted
    assert values["q"]["Judged"] == 1.0
    assert values["other"]["nDCG@10"] == 1.0


@pytest.mark.parametrize("judged_only", ["P(judged_only=True)@2", "AP(judged_only=True)"])
def test_what_was_found_is_counted_whole_beside_measures_of_judged_documents(judged_only):
    values = evaluate({"q": {"a": 2.0, "b": 1.0}}, {"q": {"c": 1}}, [judged_only, "NumRet"])
    assert values["NumRet"] == 2.0


@pytest.mark.parametrize("order", [1, -1])
def test_gains_of_one_ndcg_are_not_those_of_another(order):
    names = ["nDCG(gains={1: 0, 2: 1})@10", "nDCG@10"][::order]
    values = evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, names)
    assert values == {"nDCG(gains={1: 0, 2: 1})@10": 0.0, "nDCG@10": 1.0}


@settings(max_examples=8, deadline=None)
@given(qrels_of, runs)
def test_gdeval_reads_every_id(qrels, run):
    names = ["ERR@10", "nDCG(dcg='exp-log2')@10"]
    values = evaluate_queries(run, qrels, names)
    ordered = in_order(run)
    for query, judged in qrels.items():
        order = sorted(ordered.get(query, {}), key=lambda document: -ordered[query][document])
        satisfied = [(2 ** max(judged.get(document, 0), 0) - 1) / 16 for document in order[:10]]
        err = sum(
            p * math.prod(1 - before for before in satisfied[: rank - 1]) / rank for rank, p in enumerate(satisfied, 1)
        )
        assert values[query]["ERR@10"] == pytest.approx(err, abs=1e-5)


@pytest.mark.parametrize("score", [-1.0, 0.0, 3.0])
@pytest.mark.parametrize("found", ["1", "11"])
def test_the_best_ideal_order_of_compat_begins_with_what_was_found(found, score):
    """Of equally relevant documents, whatever their ids and scores; by hand, (1 + .95 / 2) / (1 + .95)."""
    value = evaluate({"q": {found: score}}, {"q": {"11": 1, "1": 1}}, ["Compat(p=0.95)"])
    assert value == {"Compat(p=0.95)": pytest.approx((1 + 0.95 / 2) / (1 + 0.95))}


def test_ids_with_spaces_reach_every_tool():
    assert evaluate({"a query": {"a document": 1.0}}, {"a query": {"a document": 4}}, ["ERR@10", "RR", "Compat"]) == {
        "ERR@10": pytest.approx(15 / 16, abs=1e-5),
        "RR": 1.0,
        "Compat": pytest.approx(1.0),
    }


def test_counts_are_sums_as_in_ir_measures():
    qrels = {"q1": {"a": 1, "b": 1}, "q2": {"a": 1}}
    run = {"q1": {"a": 1.0, "c": 0.5}, "q2": {"c": 1.0}}
    assert evaluate(run, qrels, ["NumRel", "NumRet", "NumRelRet", "NumQ"]) == {
        "NumRel": 3.0,
        "NumRet": 3.0,
        "NumRelRet": 1.0,
        "NumQ": 2.0,
    }


@pytest.mark.parametrize("name", ["nDCG@0", "P@0", "RCap@0", "R@99999999999", "RR(rel=0)@10", "nDCG(gains={1:0.5})@10"])
def test_numbers_that_would_end_the_process_are_refused(name):
    with pytest.raises(ConfigError, match="must be"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, [name])


def test_measures_that_cannot_be_computed_say_why():
    with pytest.raises(ConfigError, match="pip install"):
        evaluate({}, {"q": {"a": 1}}, ["StRecall@5"])
    with pytest.raises(ConfigError, match="Its settings: p, min_rel, max_rel"):
        evaluate({}, {"q": {"a": 1}}, ["NERR10"])
    with pytest.raises(ConfigError, match="in this way by any tool"):
        evaluate({}, {"q": {"a": 1}}, ["RR(judged_only=True)@10"])
    with pytest.raises(InputError, match="every hit is relevant"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, ["Accuracy"])
    with pytest.raises(InputError, match="above 4"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 5}}, ["ERR@10"])
    with pytest.raises(InputError, match="relevance 2000000"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 2_000_000}}, ["nDCG@10"])


def test_a_measure_says_how_deep_it_looks_and_from_where_a_document_is_relevant():
    assert [cutoff_of(name) for name in ("nDCG@10", "AP", "RCap@7", "Recall@100")] == [10, None, 7, 100]
    names = ["nDCG@10", "Recall@1000", "RR(rel=1)@10", "RCap@5", "RCap(rel=3)@5", "AP"]
    assert [with_relevance(name, 2) for name in names] == [
        "nDCG@10",
        "R(rel=2)@1000",
        "RR(rel=1)@10",
        "RCap(rel=2)@5",
        "RCap(rel=3)@5",
        "AP(rel=2)",
    ]


@given(st.dictionaries(ids, st.sampled_from([0.0, 0.5, 1.0]), max_size=20))
def test_rank_is_the_stated_rule(hits):
    order = rank(hits)
    assert sorted(order) == sorted(hits)
    for better, worse in zip(order, order[1:], strict=False):
        assert hits[better] > hits[worse] or (hits[better] == hits[worse] and better < worse)


def test_many_queries_keep_their_own_values():
    qrels = {f"q{number}": {"a": 1} for number in range(1100)}
    run = {f"q{number}": {"a": 0.0, **{f"b{place}": 1.0 for place in range(number % 4)}} for number in range(1100)}
    values = evaluate_queries(run, qrels, ["RR@10", "RCap@2"])
    assert list(values) == list(qrels)
    for number in range(1100):
        expected = {"RR@10": 1 / (1 + number % 4), "RCap@2": float(number % 4 < 2)}
        assert values[f"q{number}"] == pytest.approx(expected)
