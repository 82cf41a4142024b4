"""How long stages that have never run may take: the arithmetic, whose size counts, and what is said if nobody knows."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from everglade.errors import ModelError
from everglade.recipes.estimates import PASSED_ELEMENT, SCREENED_HEAD, Estimator
from everglade.recipes.material import open_material
from everglade.recipes.plan import make_plan
from everglade.recipes.recipe import load_recipe
from everglade.recipes.runner import plan_recipe
from everglade.recipes.sizes import Lengths, Sizes, count_tokens, find_model

TINY = Sizes(width=32, layers=2, inner=32, attention_heads=2, terms=45)
QUERY, DOCUMENT = 3 + 2, 8 + 2
"""Tokens of the texts of `marco`: every word is one, and two are special."""


def planned(recipe, marco, settings, out=None, **given):
    """The stages of a plan by name."""
    material = open_material(marco, hold_out=given.pop("hold_out", 0), validate_in=0.5)
    plan = make_plan(load_recipe(recipe).override(settings), material, out, **given)
    return {stage.spec.name: stage for stage in plan.stages}


@pytest.fixture
def settings(tiny, marco):
    return {"start": str(tiny), "triples": str(marco / "triples.tsv")}


@pytest.fixture
def estimate(mini, marco, settings):
    """Multiply-adds of a stage of the small recipe: the seconds of a machine that does one a second."""

    def ask(name, screens=False, hold_out=0, **changes):
        given = {**settings, **{key.replace("__", "."): value for key, value in changes.items()}}
        stages = planned(mini, marco, given, estimates=False, hold_out=hold_out)
        material = open_material(marco, hold_out=hold_out, validate_in=0.5)
        return Estimator(material, speed=1, screens=screens, gpu=False).estimate(stages[name], stages)

    return ask


def forward(length, screens=False):
    """The same for one text of that many tokens, counted by hand: products, what lies between, the head."""
    layer = 4 * 32 * 32 + 2 * 32 * 32 + 2 * length * 32
    head = 32 * 32 + 32 * 45
    return length * (2 * layer + PASSED_ELEMENT * 2 * (32 + 32 + 2 * length) + head / (SCREENED_HEAD if screens else 1))


def test_multiply_adds_are_those_that_torch_counts():
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, BertForMaskedLM

    sizes, length = Sizes(width=24, layers=3, inner=40, attention_heads=4, terms=77), 11
    config = BertConfig(
        vocab_size=77,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        attn_implementation="eager",
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        BertForMaskedLM(config).eval()(torch.ones(2, length, dtype=torch.int64))
    assert counted.get_total_flops() == 2 * 2 * length * (sizes.products(length) + sizes.decoded)


def test_the_longest_of_some_texts_is_expected_as_over_all_draws():
    tokens, most = [3, 9, 4, 12], 10
    found = Lengths(tokens)
    assert found.mean(most) == pytest.approx(np.minimum(tokens, most).mean())
    for n in (1, 2, 5):
        draws = [min(max(draw), most) for draw in itertools.product(tokens, repeat=n)]
        assert found.longest(n, most) == pytest.approx(np.mean(draws))


def test_encoding_is_a_forward_pass_at_the_lengths_of_the_training_before_it(estimate):
    assert estimate("encode") == pytest.approx(60 * forward(DOCUMENT))
    assert estimate("encode", train__max_document_length=6) == pytest.approx(60 * forward(6))
    longer = {"train__max_document_length": 6, "train__saved_document_length": 9}
    assert estimate("encode", **longer) == pytest.approx(60 * forward(9))
    assert estimate("encode", screens=True) == pytest.approx(60 * forward(DOCUMENT, screens=True))


def test_training_is_three_passes_over_the_texts_of_its_steps(estimate):
    step = 4 * forward(QUERY) + 8 * forward(DOCUMENT)
    assert estimate("train") == pytest.approx(4 * 3 * step)
    assert estimate("train", steps=9) == pytest.approx(9 * 3 * step)
    assert estimate("train", train__negatives_per_query=2) == pytest.approx(4 * 3 * (step + 4 * forward(DOCUMENT)))
    assert estimate("train", train__accumulation_steps=2) == pytest.approx(4 * 4 * step)


def test_validation_counts_before_the_first_step_and_after_the_last(estimate):
    once = (estimate("train", hold_out=0.4, train__validate_every=4) - estimate("train")) / 2
    assert once > 30 * forward(DOCUMENT)
    assert estimate("train", hold_out=0.4, train__validate_every=2) == pytest.approx(estimate("train") + 3 * once)


MINED = """
[set]
model = ""
teacher = ""

[[stage]]
name = "mined"
kind = "negatives"
sources = ["splade:$model"]
negatives_per_query = 3

[[stage]]
name = "score"
kind = "score"
examples = "@mined"
teachers = ["cross-encoder:$teacher", "splade:$model"]

[[stage]]
name = "teacher"
kind = "train-teacher"
start = "$teacher"
examples = "@mined"
steps = 5
batch_size = 2
negatives_per_query = 1
max_length = 12

[[stage]]
name = "again"
kind = "score"
examples = "@mined"
teachers = ["cross-encoder:@teacher"]
"""


def test_mining_encodes_texts_and_teachers_read_pairs(marco, tiny, tiny_cross_encoder, tmp_path):
    (tmp_path / "mined.toml").write_text(MINED)
    given = {"model": str(tiny), "teacher": str(tiny_cross_encoder)}
    stages = planned(tmp_path / "mined.toml", marco, given, estimates=False)
    estimator = Estimator(open_material(marco), speed=1, screens=False, gpu=False)
    found = {name: estimator.estimate(stage, stages) for name, stage in stages.items()}

    def pair(length):
        return forward(length) - length * (32 * 32 + 32 * 45)

    pairs, texts = 24 * 4, 24 * forward(QUERY)
    assert found["mined"] == pytest.approx(60 * forward(DOCUMENT) + texts)
    assert found["score"] == pytest.approx(pairs * pair(QUERY + DOCUMENT) + pairs * forward(DOCUMENT) + texts)
    assert found["teacher"] == pytest.approx(5 * 3 * 4 * pair(12))
    assert found["again"] == pytest.approx(pairs * pair(12))


def test_a_model_is_as_large_as_its_config_says(tiny, tmp_path):
    model = find_model(str(tiny))
    assert (model.sizes, model.query_length, model.document_length, model.pair_length) == (TINY, 32, 32, 256)
    distilbert = {"dim": 32, "n_layers": 2, "hidden_dim": 32, "n_heads": 2, "vocab_size": 45}
    (tmp_path / "config.json").write_text(json.dumps({**distilbert, "max_position_embeddings": 100}))
    model = find_model(str(tmp_path))
    assert (model.sizes, model.query_length, model.pair_length) == (TINY, 100, 100)
    (tmp_path / "config.json").write_text(json.dumps({**distilbert, "n_layers": "two"}))
    with pytest.raises(ModelError, match="says how large it is"):
        find_model(str(tmp_path))


def test_a_model_of_the_hub_counts_only_if_it_was_fetched_before(tiny, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="somebody/model is not on this machine"):
        find_model("somebody/model")
    folder = tmp_path / "models--somebody--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "abc").symlink_to(tiny)
    assert find_model("somebody/model").sizes == TINY


def test_without_a_tokenizer_characters_are_counted(tmp_path):
    assert count_tokens(["a" * 90], tmp_path).mean(100) == 22
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer.json cannot be read"):
        count_tokens(["a"], tmp_path)


def test_models_that_are_not_here_leave_a_stage_unknown_and_say_why(marco):
    plan = plan_recipe("distil-mse", marco)
    found = {stage.spec.name: stage for stage in plan.stages}
    assert found["train"].cells()[-1] == "unknown"
    assert found["bm25"].seconds_from == "estimated"
    said = plan.remarks()
    assert said[0] == "left to do: unknown"
    (line,) = [line for line in said if "distilbert-base-uncased is not on this machine" in line]
    assert line.startswith("unknown for train, encode, evaluate: ")
    assert plan.to_dict()["seconds_left"] is None
    assert plan_recipe("distil-mse").remarks() == ["unknown for every stage: no collection is named"]


def test_on_a_gpu_only_what_needs_no_model_is_estimated(mini, marco, settings):
    stages = planned(mini, marco, settings, estimates=False)
    estimator = Estimator(open_material(marco), speed=1, gpu=True)
    with pytest.raises(ModelError, match="GPU"):
        estimator.estimate(stages["train"], stages)
    assert estimator.estimate(stages["bm25"], stages) > 0


def test_what_was_measured_in_the_folder_beats_the_estimate(mini, marco, settings, tmp_path):
    def measured(name, **times):
        folder = tmp_path / f"09-{name}"
        folder.mkdir()
        (folder / "times.json").write_text(json.dumps({"stage": name, "seconds": 1, **times}))

    before = planned(mini, marco, settings, tmp_path)
    assert {stage.seconds_from for stage in before.values()} == {"estimated"}
    measured("train", kind="train", seconds_per_row=2.0)
    measured("bm25", kind="evaluate", seconds_per_row=3.0)
    after = planned(mini, marco, settings, tmp_path)
    assert (after["train"].seconds, after["train"].seconds_from) == (2.0 * 4 * 4, "measured rate")
    assert after["train"].cells()[-1] == "about 32 s"
    assert (after["bm25"].seconds, after["bm25"].seconds_from) == (3.0 * 24, "measured rate")
    assert after["evaluate"].seconds_from == "estimated", "a query of BM25 is no measure for one of a model"


def test_the_plan_says_how_long_it_all_may_take(mini, marco, settings):
    plan = plan_recipe(mini, marco, overrides=settings)
    written = plan.to_dict()
    assert written["seconds_left"] == pytest.approx(sum(stage["seconds"] for stage in written["stages"]))
    assert {stage["seconds_from"] for stage in written["stages"]} == {"estimated"}
    json.dumps(written, allow_nan=False)
    assert plan.remarks() == ["left to do: under 1 s"]
    plan = plan_recipe(mini, marco, overrides={**settings, "steps": 10**9})
    assert plan.remarks() == [f"left to do: {plan.stages[1].cells()[-1].replace('~', 'about ')}"]
    known, unknown = (replace(plan.stages[1], seconds=seconds) for seconds in (7200.0, None))
    assert replace(plan, stages=(known, unknown)).remarks() == ["left to do: at least 2.0 h"]


def test_a_plan_with_estimates_does_not_wait_for_torch(mini, marco, settings):
    code = f"""
import sys
from everglade.recipes.runner import plan_recipe
plan = plan_recipe({str(mini)!r}, {str(marco)!r}, overrides={settings!r})
assert all(stage.seconds_from == "estimated" for stage in plan.stages)
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
