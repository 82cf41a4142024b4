import pytest
import torch

from everglade.errors import ConfigError
from everglade.evaluation.flops import measure_sparsity, term_shares
from everglade.train.alarms import Alarms
from everglade.train.config import TrainConfig
from everglade.train.sparsity import Activity, measure_activity
from everglade.vectors import SparseMatrix

HEALTHY = Activity(3.0, 9.0, 0.99, 0.0, 1.0)
DEAD = Activity(3.0, 0.0, 0.0, 1.0, 0.0)


def watch(config, n_terms, activities, used=None):
    """The alarms after log steps at which a share of the terms was used, all by default."""
    alarms = Alarms(config, n_terms)
    for step, activity in enumerate(activities, start=1):
        vectors = torch.zeros(2, n_terms)
        vectors[0, : n_terms if used is None else used] = 1.0
        alarms.observe(vectors, vectors[:1])
        alarms.check(step, activity)
    return alarms


def test_activity_counts_terms_and_empty_vectors():
    queries = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    documents = torch.tensor([[1.0, 1.0, 2.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.1, 0.0]])
    found = measure_activity(queries, documents)
    assert found[:4] == (1.0, 1.25, 0.5, 0.25)
    assert found.flops == 1 / 4  # of the four pairs that are not a query and its own document


def test_flops_of_a_batch_is_the_metric_of_the_pairs_that_do_not_belong_together():
    generator = torch.Generator().manual_seed(0)
    queries = torch.rand(6, 20, generator=generator) * (torch.rand(6, 20, generator=generator) > 0.6)
    documents = torch.rand(12, 20, generator=generator) * (torch.rand(12, 20, generator=generator) > 0.5)
    expected = [int(((queries[i] > 0) & (documents[j] > 0)).sum()) for i in range(6) for j in range(12) if j // 2 != i]
    assert measure_activity(queries, documents).flops == pytest.approx(sum(expected) / len(expected))
    # With one query there are no others, and it is the metric itself.
    one = [
        term_shares(SparseMatrix.from_rows([{j: 1.0 for j in row.nonzero().flatten().tolist()} for row in rows], 20))
        for rows in (queries[:1], documents[:2])
    ]
    assert measure_activity(queries[:1], documents[:2]).flops == pytest.approx(measure_sparsity(*one).flops)


def test_empty_vectors_stop_a_run_after_some_logs_in_a_row_with_advice():
    config = TrainConfig(steps=9, collapse_patience=3)
    assert watch(config, 50, [DEAD, DEAD, HEALTHY, DEAD, DEAD]).state()["empty document"] == 2
    with pytest.raises(ConfigError, match=r"every document vector was empty at 3 log steps.*a tenth of lambda_d"):
        watch(config, 50, [HEALTHY, DEAD, DEAD, DEAD])
    with pytest.raises(ConfigError, match=r"every query vector.*lambda_q"):
        watch(TrainConfig(steps=9, collapse_patience=1), 50, [Activity(0.0, 9.0, 1.0, 0.0, 0.0)])


SILENT = Activity(0.0, 9.0, 1.0, 0.0, 0.0)


def test_sides_that_are_wrong_in_turn_do_not_add_up():
    config = TrainConfig(steps=9, lambda_ramp_steps=0, collapse_patience=2)
    watch(config, 50, [DEAD, SILENT] * 4)
    watch(config, 50, [Activity(30.0, 9.0, 0.0, 0.0, 1.0), Activity(9.0, 30.0, 0.0, 0.0, 1.0)] * 4)


@pytest.mark.parametrize(
    ("settings", "activity", "said", "unsaid"),
    [
        ({"target_doc_terms": 9.0}, DEAD, "a larger target_doc_terms", "lambda_d"),
        ({"target_flops": 1.0}, SILENT, "a larger target_flops", "lambda_q"),
        ({"lambda_q": 0.0}, SILENT, "with a smaller learning_rate", "lambda_q"),
        ({"lambda_schedule": "x.json"}, DEAD, "another lambda_schedule", "lambda_d"),
        ({"target_doc_terms": 9.0}, Activity(3.0, 30.0, 0.0, 0.0, 1.0), "a longer lambda_ramp_steps", "lambda_d"),
        ({"lambda_d": 0.0}, Activity(3.0, 30.0, 0.0, 0.0, 1.0), "a lambda_d above 0", "ten times"),
    ],
)
def test_the_advice_can_be_followed(settings, activity, said, unsaid):
    """No setting is named that the configuration refuses beside the others, or that does nothing here."""
    config = TrainConfig(steps=90, lambda_ramp_steps=20, collapse_patience=1, **settings)
    alarms = Alarms(config, 50)
    alarms.observe(torch.ones(1, 50), torch.ones(1, 50))
    with pytest.raises(ConfigError, match=said) as caught:
        alarms.check(21, activity)
    assert unsaid not in str(caught.value)


def test_vectors_that_never_had_a_term_need_another_start():
    config = TrainConfig(steps=9, lambda_q=0.0, collapse_patience=2)
    alarms, resumed = Alarms(config, 50), Alarms(config, 50)
    alarms.observe(torch.zeros(2, 50), torch.ones(2, 50))
    alarms.check(1, SILENT)
    resumed.load(alarms.tensors(), alarms.state())
    with pytest.raises(ConfigError, match=r"every query vector .* with start_terms"):
        resumed.check(2, SILENT)


def test_dense_vectors_stop_a_run_only_after_the_ramp():
    config = TrainConfig(steps=9, lambda_ramp_steps=4, collapse_patience=2)
    dense = Activity(3.0, 30.0, 0.0, 0.0, 1.0)
    watch(config, 50, [dense] * 5)
    with pytest.raises(ConfigError, match=r"document vectors use 30 of 50 terms.*lambda_d.*target_doc_terms.*start_t"):
        watch(config, 50, [dense] * 6)
    watch(TrainConfig(steps=9, lambda_ramp_steps=4, max_density=0.7, collapse_patience=2), 50, [dense] * 9)
    with pytest.raises(ConfigError, match=r"query vectors use 26 of 50 terms.*lambda_q.*target_query_terms"):
        watch(config, 50, [Activity(26.0, 9.0, 0.0, 0.0, 1.0)] * 6)


def test_a_dead_vocabulary_stops_a_run():
    config = TrainConfig(steps=9, min_vocabulary=0.1, collapse_patience=2)
    watch(config, 50, [HEALTHY] * 9, used=5)
    with pytest.raises(ConfigError, match=r"only 8.00% of the vocabulary.*learning_rate.*min_vocabulary"):
        watch(config, 50, [HEALTHY] * 2, used=4)
    # What was used at any step since the last log step counts.
    alarms = Alarms(config, 50)
    for first in (0, 4):
        vectors = torch.zeros(1, 50)
        vectors[0, first : first + 4] = 1.0
        alarms.observe(vectors, vectors)
    alarms.check(1, HEALTHY)
    assert alarms.state()["narrow"] == 0
