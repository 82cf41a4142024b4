import json

import pytest

from everglade.errors import ConfigError
from everglade.train.config import TrainConfig
from everglade.train.lambdas import Lambdas, read_schedule
from everglade.train.schedule import ramp


def test_the_ramp_is_quadratic_in_optimiser_steps():
    assert [ramp(8.0, step, 4) for step in (0, 1, 2, 4, 5, 100)] == [0.0, 0.5, 2.0, 8.0, 8.0, 8.0]
    assert ramp(0.0, 3, 4) == 0.0
    assert ramp(8.0, 1, 0) == 8.0


def test_without_targets_the_lambdas_are_the_ramps():
    lambdas = Lambdas(TrainConfig(steps=12, lambda_q=9.0))
    assert [lambdas.at(step) for step in (2, 4, 9)] == [(2.25, 0.25e-4), (9.0, 1e-4), (9.0, 1e-4)]
    assert lambdas.schedule is None


def test_a_side_without_a_target_keeps_its_ramp():
    lambdas = Lambdas(TrainConfig(steps=80, lambda_ramp_steps=20, target_doc_terms=5.0, lambda_q=4.0))
    assert [lambdas.at(step) for step in (5, 10, 20)] == [(0.25, 0.0), (1.0, 0.0), (4.0, 0.0)]


def test_a_schedule_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "lambdas.json"
    path.write_text(json.dumps({"lambda_q": 0, "lambda_d": 2, "schedule": [[2, 0.5, 1.0], [5, 0.25, -2.0]]}))
    lambdas = Lambdas(TrainConfig(steps=9, lambda_schedule=str(path)))
    assert [lambdas.at(step) for step in (1, 2, 4, 5, 9)] == [(0, 0), (0.5, 1), (0.5, 1), (0.25, -2), (0.25, -2)]


@pytest.mark.parametrize(
    "content", [None, "[]", "{}", '{"schedule": []}', '{"schedule": [[1, 2]]}', '{"schedule": [[3,0,0],[1,0,0]]}']
)
def test_what_is_no_schedule_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "lambdas.json").write_text(content)
    with pytest.raises(ConfigError, match=r"lambda_schedule: .*lambdas\.json"):
        read_schedule(tmp_path / "lambdas.json")
