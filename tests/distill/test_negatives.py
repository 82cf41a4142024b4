import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.distill.examples import Example
from everglade.distill.negatives import mine_negatives
from everglade.errors import ConfigError
from everglade.texts import Document

RUN = {"q": {f"d{i:02d}": 100.0 - i for i in range(50)}, "other": {"d01": 1.0}}


def test_positives_go_and_the_order_of_the_run_stays():
    mined = mine_negatives(RUN, {"q": {"d01": 1, "d03": 0}}, depth=5, negatives_per_query=10, seed=0)
    assert mined.examples == [Example("q", ("d01", "d00", "d02", "d03", "d04"))]
    assert (mined.queries, mined.short, mined.without) == (1, 1, 0)


def test_the_band_is_respected_and_equal_scores_go_by_id():
    run = {"q": {"b": 1.0, "a": 1.0, "c": 2.0, "d": 0.5}}
    mined = mine_negatives(run, {"q": {"x": 1}}, depth=3, skip=1, negatives_per_query=5, seed=0)
    assert mined.examples == [Example("q", ("x", "a", "b"))]


def test_copies_of_a_positive_go_when_the_texts_are_known():
    run = {"q": {"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0}, "r": {"b": 1.0}}
    texts = {"x": "ferns", "a": "moss", "b": "ferns", "c": "ferns ", "d": "ferns", "y": "moss"}
    documents = [Document(document_id, text) for document_id, text in texts.items()]
    qrels = {"q": {"x": 1, "gone": 1, "d": 0}, "r": {"y": 1}}
    mined = mine_negatives(run, qrels, depth=4, negatives_per_query=5, seed=0, documents=documents)
    assert [example.document_ids for example in mined.examples] == [("gone", "a", "c"), ("x", "a", "c"), ("y", "b")]
    plain = mine_negatives(run, qrels, depth=4, negatives_per_query=5, seed=0)
    assert plain.examples[1].document_ids == ("x", "a", "b", "c", "d")


def test_queries_without_candidates_are_counted_and_left_out():
    qrels = {"q": {"d01": 1}, "other": {"d01": 1}, "unsearched": {"d01": 1}, "unjudged": {"d01": 0}}
    mined = mine_negatives(RUN, qrels, depth=50, negatives_per_query=4, seed=0)
    assert [example.query_id for example in mined.examples] == ["q"]
    assert (mined.queries, mined.short, mined.without) == (3, 0, 2)


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(0, 20))
def test_drawing_depends_on_seed_and_query_alone(seed, count, skip):
    qrels = {"q": {"d07": 1, "d49": 2}}
    mined = mine_negatives(RUN, qrels, depth=40, skip=skip, negatives_per_query=count, seed=seed)
    again = mine_negatives(
        {**RUN, "a": RUN["q"]}, {"a": {"d00": 1}, **qrels}, depth=40, skip=skip, negatives_per_query=count, seed=seed
    )
    assert mined.examples == again.examples[1:]
    for example in mined.examples:
        negatives = example.document_ids[1:]
        assert set(negatives) <= {f"d{i:02d}" for i in range(skip, 40)} - {"d07", "d49"}
        assert list(negatives) == sorted(negatives)
        assert len(negatives) == min(count, len(range(skip, 40)) - (skip <= 7))


def test_another_seed_draws_others():
    first, second = (
        mine_negatives(RUN, {"q": {"d07": 1}}, depth=50, negatives_per_query=5, seed=seed).examples for seed in (1, 2)
    )
    assert first != second


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"depth": 3, "skip": 3}, {"skip": -1}, {"negatives_per_query": 0}])
def test_senseless_bounds_are_refused(wrong):
    with pytest.raises(ConfigError, match="depth"):
        mine_negatives(RUN, {}, **{"depth": 10, "negatives_per_query": 1, "seed": 0, **wrong})
