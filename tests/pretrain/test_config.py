import json
from pathlib import Path

import pytest

from everglade.errors import ConfigError
from everglade.pretrain.config import PretrainConfig

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "pretrain.md"


def test_shares_of_the_steps_follow_the_steps():
    short = PretrainConfig(steps=300)
    assert (short.warmup, short.lambda_ramp) == (30, 100)
    assert (PretrainConfig(steps=300, warmup_steps=0).warmup, short.of_machine().warmup) == (0, 30)
    assert (PretrainConfig().rows_per_document, PretrainConfig(objective="cocondenser").rows_per_document) == (1, 2)


def test_toml_and_json_hold_every_field(tmp_path):
    file = tmp_path / "pretrain.toml"
    file.write_text('objective = "cocondenser"\nsteps = 20\nlearning_rate = 1\nlate_mlm = false\n')
    config = PretrainConfig.from_toml(file)
    assert config == PretrainConfig(objective="cocondenser", steps=20, learning_rate=1.0, late_mlm=False)
    assert PretrainConfig.from_dict(json.loads(config.to_json())) == config


def test_an_unknown_key_names_the_nearest(tmp_path):
    file = tmp_path / "pretrain.toml"
    file.write_text("mask_shar = 0.3\n")
    with pytest.raises(ConfigError, match=r"pretrain.toml: unknown setting 'mask_shar'. Did you mean mask_share"):
        PretrainConfig.from_toml(file)


@pytest.mark.parametrize("content", [b"steps =", b"\xff", None])
def test_a_file_that_is_no_toml_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "pretrain.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"pretrain\.toml"):
        PretrainConfig.from_toml(tmp_path / "pretrain.toml")


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "mlm-flops"},
        {"steps": 0},
        {"steps": 1.5},
        {"batch_size": 6, "accumulation_steps": 4},
        {"accumulation_steps": 0},
        {"batch_size": 1, "objective": "cocondenser"},
        {"max_length": 2},
        {"mask_share": 0.0},
        {"mask_share": 1.0},
        {"mask_share": float("nan")},
        {"whole_words": 1},
        {"learning_rate": 0.0},
        {"weight_decay": -0.1},
        {"warmup_steps": 11, "steps": 10},
        {"lambda_ramp_steps": -1},
        {"lambda_flops": -1.0},
        {"lambda_flops": float("inf")},
        {"min_span": 0},
        {"head_layers": 0},
        {"skip_from": -1},
        {"temperature": 0.0},
        {"precision": "fp32"},
        {"seed": -1},
        {"seed": 2**63},
        {"held_out": 1.0},
        {"held_out": -0.1},
        {"held_out_documents": 0},
        {"keep_checkpoints": 0},
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong):
    name = next(name for name in ("accumulation_steps", "batch_size", *wrong) if name in wrong)
    with pytest.raises(ConfigError, match=name):
        PretrainConfig(**wrong)


def test_the_guide_explains_every_setting():
    page = GUIDE.read_text(encoding="utf-8")
    for name, value in PretrainConfig().to_dict().items():
        shown = str(value).lower() if value is None or isinstance(value, bool) else value
        assert f"| `{name}` | {shown} |" in page, f"docs/guide/pretrain.md does not give the default of {name}"
