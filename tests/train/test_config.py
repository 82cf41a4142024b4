import dataclasses
import json
import re
from pathlib import Path

import pytest

from everglade.errors import ConfigError
from everglade.train.config import TrainConfig

TUNING = Path(__file__).parents[2] / "docs" / "tuning.md"


def test_the_defaults_are_those_of_the_paper():
    config = TrainConfig()
    assert (config.steps, config.batch_size, config.learning_rate, config.weight_decay) == (150_000, 128, 2e-5, 0.01)
    assert (config.lambdas, config.seed) == ((3e-4, 1e-4), 123)
    assert (config.warmup, config.lambda_ramp) == (6_000, 50_000)


def test_shares_of_the_steps_follow_the_steps():
    short = TrainConfig(steps=300)
    assert (short.warmup, short.lambda_ramp) == (12, 100)
    given = TrainConfig(steps=300, warmup_steps=0, lambda_ramp_steps=300)
    assert (given.warmup, given.lambda_ramp) == (0, 300)


def test_toml_and_json_hold_every_field(tmp_path):
    file = tmp_path / "train.toml"
    file.write_text('steps = 20\nlearning_rate = 1\nloss = "margin_mse"\ndropout = false\n')
    config = TrainConfig.from_toml(file)
    assert config == TrainConfig(steps=20, learning_rate=1.0, loss="margin_mse", dropout=False)
    assert isinstance(config.learning_rate, float)
    assert TrainConfig.from_dict(json.loads(config.to_json())) == config


def test_an_unknown_key_names_the_nearest(tmp_path):
    file = tmp_path / "train.toml"
    file.write_text("learning_rat = 1e-5\n")
    with pytest.raises(ConfigError, match=r"train.toml: unknown setting 'learning_rat'. Did you mean learning_rate\?"):
        TrainConfig.from_toml(file)
    with pytest.raises(ConfigError, match="The settings are steps, batch_size"):
        TrainConfig.from_dict({"zzz": 1})


@pytest.mark.parametrize("content", [b"steps =", b"\xff", None])
def test_a_file_that_is_no_toml_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "train.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"train\.toml"):
        TrainConfig.from_toml(tmp_path / "train.toml")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 10.5},
        {"steps": True},
        {"batch_size": 0},
        {"accumulation_steps": 3, "batch_size": 16},
        {"accumulation_steps": 0},
        {"negatives_per_query": -1},
        {"loss": "margin_mse", "negatives_per_query": 0},
        {"loss": "nll"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": "1e-5"},
        {"weight_decay": -0.1},
        {"warmup_steps": 11, "steps": 10},
        {"lambda_ramp_steps": -1},
        {"lambda_q": -1.0},
        {"lambda_d": float("inf")},
        {"max_gradient_norm": 0.0},
        {"max_query_length": 2},
        {"precision": "fp32"},
        {"seed": -1},
        {"dropout": 0},
        {"log_every": 0},
        {"validate_every": 0},
        {"keep_checkpoints": 0},
        {"loss": "kl", "negatives_per_query": 0},
        {"loss": "infonce + pairwise_nll", "negatives_per_query": 0},
        {"loss": "kl + 0.05 margin"},
        {"temperature": 0.0},
        {"query_learning_rate": 0.0},
        {"interpolate": 0.0},
        {"interpolate": 1.5},
        {"start_terms": 0},
        {"regularizer_q": "l2"},
        {"regularizer_d": "FLOPS"},
        {"threshold_d": -1},
        {"threshold_q": 1.5},
        {"df_alpha": 1.0},
        {"df_beta": 0.0},
        {"target_doc_terms": 0.0},
        {"target_flops": -1.0},
        {"lambda_d": 1e-3, "target_doc_terms": 100.0},
        {"lambda_q": 0.0, "target_query_terms": 30},
        {"lambda_q": 1e-3, "target_flops": 2.0},
        {"target_flops": 1.0, "target_doc_terms": 100.0},
        {"lambda_schedule": "x.json", "lambda_q": 0.1},
        {"lambda_schedule": "x.json", "target_doc_terms": 100.0},
        {"lambda_ramp_steps": 19, "target_doc_terms": 100.0},
        {"max_density": 0.0},
        {"min_vocabulary": -0.1},
        {"gradient_checkpointing": 1},
        {"min_vocabulary": 1.0},
        {"batch_size": 1, "negatives_per_query": 0},
        {"seed": 2**63},
        {"temperature": 2.0, "loss": "0.5 margin_mse"},
        {"threshold_q": 31, "target_query_terms": 30.0},
        {"threshold_d": 150, "target_doc_terms": 100.0},
    ],
)
def test_what_is_out_of_range_is_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong)) if "loss" not in wrong else "loss|margin_mse"):
        TrainConfig(**wrong)


def test_a_side_has_one_way_to_weigh_its_penalty():
    with pytest.raises(ConfigError, match="lambda_d and target_doc_terms are both given: the target finds lambda_d"):
        TrainConfig(lambda_d=1e-4, target_doc_terms=100.0)
    config = TrainConfig(lambda_q=1e-3, target_doc_terms=100.0)  # the other side keeps its lambda
    assert config.lambdas[0] == 1e-3
    assert config.has_target
    assert not TrainConfig().has_target
    assert TrainConfig(loss="kl + 0.05 margin_mse").needs_teacher
    assert not TrainConfig(loss="infonce + pairwise_nll").needs_teacher


def test_a_lambda_of_zero_is_not_one_that_is_missing():
    assert TrainConfig(lambda_q=0.0).lambdas == (0.0, 1e-4)
    assert TrainConfig(lambda_d=0.0).lambdas == (3e-4, 0.0)


def test_what_is_just_in_range_is_taken():
    TrainConfig(batch_size=1, negatives_per_query=1, seed=2**63 - 1, min_vocabulary=0.99)
    TrainConfig(loss="kl + 0.05 margin_mse", temperature=2.0, threshold_d=100, target_doc_terms=100.0)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError, match=r"steps.*learning_rate.*precision"):
        TrainConfig(steps=0, learning_rate=-1.0, precision="half")


def test_nothing_changes_it():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().steps = 3


def test_every_field_is_in_the_tuning_page_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", TUNING.read_text(encoding="utf-8"), re.M))
    assert list(rows) == TrainConfig.field_names()
    for field in dataclasses.fields(TrainConfig):
        written = rows[field.name].strip().strip("`")
        shown = (
            {None: "none", True: "true", False: "false"}.get(field.default, field.default)
            if not isinstance(field.default, (int, float)) or isinstance(field.default, bool)
            else field.default
        )
        assert written == str(shown) or float(written) == shown, field.name


def test_the_settings_of_a_small_machine_can_be_used(tmp_path):
    block = re.search(r"^```toml\n(.*?)^```", TUNING.read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "small.toml").write_text(block[1])
    assert TrainConfig.from_toml(tmp_path / "small.toml").steps < 1000
