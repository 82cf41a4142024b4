"""The controller on the toy task: whatever the start, the target is reached by the end of the ramp, and held."""

import json
import math
import random
from dataclasses import replace
from statistics import mean

import pytest
import torch

from everglade.errors import CheckpointError
from everglade.model.splade import Splade
from everglade.train.checkpoint import weights_sha256
from everglade.train.config import TrainConfig
from everglade.train.controller import Controller
from everglade.train.loop import train

RAMP = 200
STEERED = TrainConfig(
    steps=400,
    batch_size=16,
    negatives_per_query=2,
    learning_rate=0.005,
    dropout=False,
    lambda_ramp_steps=RAMP,
    max_query_length=8,
    max_document_length=12,
    log_every=1,
    validate_every=400,
    checkpoint_every=400,
)
COLUMNS = {"target_doc_terms": "document_terms", "target_query_terms": "query_terms", "target_flops": "flops"}


@pytest.mark.parametrize(
    ("bias", "targets"),
    [
        pytest.param(0.0, {"target_doc_terms": 9.0}, id="too dense"),
        pytest.param(1.0, {"target_doc_terms": 9.0}, id="everything active"),
        pytest.param(-0.3, {"target_doc_terms": 14.0}, id="too sparse"),
        pytest.param(0.0, {"target_doc_terms": 9.0, "target_query_terms": 6.0}, id="both sides"),
        pytest.param(0.0, {"target_flops": 2.0}, id="FLOPS"),
    ],
)
def test_the_target_is_reached_by_the_end_of_the_ramp_and_held(tiny, toy, tmp_path, bias, targets):
    with torch.no_grad():
        tiny.mlm.cls.predictions.bias += bias
    train(replace(STEERED, **targets), tiny, toy[0], tmp_path)
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name, target in targets.items():
        measured = [line[COLUMNS[name]] / target for line in steps]
        assert abs(measured[0] - 1) > 0.3
        assert mean(measured[RAMP - 10 : RAMP + 20]) == pytest.approx(1, abs=0.05)
        assert mean(measured[-30:]) == pytest.approx(1, abs=0.05)
        for start in range(RAMP, 380, 20):
            assert mean(measured[start : start + 20]) == pytest.approx(1, abs=0.1), start
    assert min(line["ranking"] for line in steps) < 1  # and it still learns


def test_a_loss_that_thins_vectors_is_held_against(tiny, toy, tmp_path):
    """A target that no lambda above 0 can hold: without a penalty these vectors end with 17 terms."""
    with torch.no_grad():
        tiny.mlm.cls.predictions.bias -= 0.3
    train(replace(STEERED, target_doc_terms=24.0, batch_size=8), tiny, toy[0], tmp_path)
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert mean(line["document_terms"] for line in steps[-30:]) == pytest.approx(24, rel=0.05)
    assert mean(line["lambda_d"] for line in steps[RAMP // 2 : RAMP]) < -0.003  # terms are paid for


@pytest.mark.parametrize("target", [30.0, 150.0, 600.0])
def test_a_long_run_settles_too(target):
    """A made-up model whose vectors follow the penalty slowly: 450 terms at a strength of 3e-4, and 10 % noise."""
    controller = Controller(target, ramp_steps=5000)
    draw = random.Random(0)
    level, seen = math.log(900), []
    for _ in range(12_000):
        strength = max(controller.strength, -9e-5)
        level += (math.log(900) - 0.5 * math.log(1 + strength / 1e-4) - level) / 200
        controller.observe(math.exp(level) * draw.gauss(1, 0.1))
        seen.append(math.exp(level) / target)
    assert all(abs(share - 1) < 0.05 for share in seen[5000:]), (min(seen[5000:]), max(seen[5000:]))


def test_a_run_can_be_repeated_with_the_lambdas_it_found(tiny_folder, toy, tmp_path):
    config = replace(STEERED, steps=30, lambda_ramp_steps=20, target_doc_terms=9.0, target_query_terms=6.0)
    models = [Splade.load(tiny_folder), Splade.load(tiny_folder)]
    train(config, models[0], toy[0], tmp_path / "found")
    file = tmp_path / "found" / "lambdas.json"
    repeated = replace(config, target_doc_terms=None, target_query_terms=None, lambda_schedule=str(file))
    train(repeated, models[1], toy[0], tmp_path / "repeated")
    assert weights_sha256(models[0]) == weights_sha256(models[1])
    last = json.loads((tmp_path / "found" / "log.jsonl").read_text().splitlines()[-1])
    assert {"lambda_q": last["lambda_q"], "lambda_d": last["lambda_d"]}.items() <= json.loads(file.read_text()).items()
    assert not (tmp_path / "repeated" / "lambdas.json").exists()
    file.write_text('{"schedule": [[1, 0, 0]]}')
    with pytest.raises(CheckpointError, match="another lambda_schedule"):
        train(repeated, Splade.load(tiny_folder), toy[0], tmp_path / "repeated")
