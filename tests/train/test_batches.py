from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from everglade.distill.examples import Example, TrainingSet
from everglade.train.batches import (
    Visit,
    _relevant,
    batch_at,
    documents_of,
    example_at,
    keyed_place,
    piece_seed,
    read_rows,
    visits_at,
)
from everglade.train.config import TrainConfig


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
def test_every_epoch_visits_every_example_once(n_examples, batch_size, seed):
    steps = -(-3 * n_examples // batch_size)
    visits = [visit for step in range(1, steps + 1) for visit in visits_at(step, n_examples, batch_size, seed)]
    for epoch in range(3):
        assert sorted(visit.example for visit in visits if visit.epoch == epoch) == list(range(n_examples))


def test_the_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch):
        return [visit.example for visit in visits_at(epoch + 1, 50, 50, seed)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)
    in_small_steps = [visit for step in range(1, 11) for visit in visits_at(step, 50, 5, 1)]
    assert in_small_steps == visits_at(1, 50, 50, 1)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 99))
def test_negatives_are_drawn_evenly_and_without_repetition_while_there_are_others(available, asked, seed):
    example = Example("q", tuple(f"d{i}" for i in range(available + 1)))
    places = documents_of(example, Visit(0, 0), asked, seed)
    assert places[0] == 0
    assert len(places) == asked + 1
    counts = Counter(places[1:])
    assert 0 not in counts
    assert max(counts.values(), default=0) - min((counts[i] for i in range(1, available + 1)), default=0) <= 1
    assert places == documents_of(example, Visit(0, 0), asked, seed)


def test_negatives_change_from_epoch_to_epoch():
    example = Example("q", tuple(f"d{i}" for i in range(100)))
    drawn = {tuple(documents_of(example, Visit(epoch, 0), 3, 0)) for epoch in range(10)}
    assert len(drawn) == 10


def test_a_batch_carries_ids_teacher_scores_and_what_is_relevant():
    examples = [
        Example("q1", ("d1", "d2"), (5.0, 1.0)),
        Example("q1", ("d3", "d2"), (4.0, 1.0)),
        Example("q2", ("d3", "d4"), (3.0, 2.0)),
    ]
    texts = {f"d{i}": "" for i in range(1, 5)}
    training_set = TrainingSet({"q1": "", "q2": ""}, texts, examples)
    batch = batch_at(1, training_set, TrainConfig(batch_size=3))
    for i, (query_id, documents) in enumerate(zip(batch.query_ids, batch.document_ids, strict=True)):
        example = next(e for e in examples if (e.query_id, e.positive) == (query_id, documents[0]))
        assert documents == example.document_ids
        assert batch.teacher[i].tolist() == list(example.scores)
        for j, other in enumerate(batch.document_ids):
            known = {"q1": {"d1", "d3"}, "q2": {"d3"}}[query_id]
            assert batch.relevant[i, j] == (other[0] in known)
    assert batch.teacher.dtype == np.float32
    assert batch_at(1, TrainingSet({"q": ""}, texts, [Example("q", ("d1", "d2"))]), TrainConfig()).teacher is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123456")), min_size=1, max_size=9))
def test_what_is_relevant_is_asked_of_every_pair(pairs):
    known = {query: frozenset(p for q, p in pairs if q == query) for query, _ in pairs}
    expected = [[positive in known[query] for _, positive in pairs] for query, _ in pairs]
    found = _relevant([positive for _, positive in pairs], [known[query] for query, _ in pairs])
    assert found.dtype == bool
    assert found.tolist() == expected


def test_seeds_of_places_differ_and_fit_torch():
    seeds = {piece_seed(0, step, row, side) for step in range(5) for row in range(5) for side in range(2)}
    assert len(seeds) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_rows_are_read_as_the_model_reads_texts(tiny, toy):
    training_set, *_ = toy
    batch = batch_at(1, training_set, TrainConfig(batch_size=4, negatives_per_query=2))
    queries, documents = read_rows(batch, training_set, tiny, range(1, 3))
    assert queries.input_ids.shape == (2, 4)
    assert documents.input_ids.shape == (6, 5)
    expected = tiny.tokenize([training_set.documents[i] for i in batch.document_ids[1]], "document")
    assert documents.input_ids[:3].equal(expected["input_ids"])


def test_texts_that_are_all_empty_give_empty_vectors(tiny):
    training_set = TrainingSet({"q": ""}, {"d": "", "e": " "}, [Example("q", ("d", "e"))])
    batch = batch_at(1, training_set, TrainConfig(batch_size=2))
    for side in read_rows(batch, training_set, tiny, range(2)):
        assert tiny(*side).abs().sum() == 0


@given(st.integers(1, 400), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8))
def test_keys_make_a_permutation_of_any_length(n, keys):
    assert sorted(keyed_place(place, n, tuple(keys)) for place in range(n)) == list(range(n))


def test_a_keyed_order_is_as_even_as_a_shuffled_one():
    """Where each of 8 parts of the examples comes to stand in an epoch: a table of counts with nothing to see in it."""
    n, parts = 1_500_000, 8
    counts = np.zeros((parts, parts))
    for place in range(0, n, 239):
        counts[place * parts // n, example_at(3, 1, place, n) * parts // n] += 1
    expected = counts.sum() / parts**2
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert 23 < chi_square < 108  # with 56 degrees of freedom outside of this once in ten thousand times


def test_an_order_of_many_examples_is_one_of_the_seed_and_the_epoch_in_no_memory():
    n = 50_000_000
    visits = visits_at(7, n, 64, 1)
    assert visits == [visit for step in range(49, 57) for visit in visits_at(step, n, 8, 1)]
    assert len({visit.example for visit in visits}) == 64
    assert all(0 <= visit.example < n for visit in visits)
    assert visits != visits_at(7, n, 64, 2)
    assert [visit.example for visit in visits] != [visit.example for visit in visits_at(7 + n // 64, n, 64, 1)]
