import pytest
import torch

from everglade.errors import ConfigError
from everglade.train.sparsity import Activity, check_collapse, measure_activity, ramp


def test_the_ramp_is_quadratic_in_optimiser_steps():
    assert [ramp(8.0, step, 4) for step in (0, 1, 2, 4, 5, 100)] == [0.0, 0.5, 2.0, 8.0, 8.0, 8.0]
    assert ramp(0.0, 3, 4) == 0.0
    assert ramp(8.0, 1, 0) == 8.0


def test_activity_counts_terms_and_empty_vectors():
    queries = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    documents = torch.tensor([[1.0, 1.0, 2.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.1, 0.0]])
    assert measure_activity(queries, documents) == Activity(1.0, 1.25, 0.5, 0.25)


def test_collapse_stops_after_some_logs_in_a_row_with_advice():
    healthy, dead = Activity(3.0, 9.0, 0.99, 0.0), Activity(3.0, 0.0, 0.0, 1.0)
    empty_logs = 0
    for activity in (dead, dead, healthy, dead, dead):
        empty_logs = check_collapse(activity, empty_logs, patience=3)
    assert empty_logs == 2
    with pytest.raises(ConfigError, match=r"every document vector was empty at 3 log steps.*a tenth of lambda_d"):
        check_collapse(dead, empty_logs, patience=3)
    with pytest.raises(ConfigError, match=r"every query vector.*lambda_q"):
        check_collapse(Activity(0.0, 9.0, 1.0, 0.0), 0, patience=1)
