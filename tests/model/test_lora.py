"""Adapters: few weights are trained, and what is saved is the sum, as a plain folder."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from everglade.errors import ConfigError, MissingExtra
from everglade.model.lora import add_lora
from everglade.model.splade import Splade


def dense(matrix):
    return matrix.to_scipy().toarray()


@pytest.fixture(params=["bert", "llama", "qwen2"])
def model(request, mlm_folders, decoder_folders):
    if request.param == "bert":
        return Splade.load(mlm_folders["bert"])
    return Splade.load(decoder_folders[request.param], reading="bidirectional")


def train_one_step(model, texts):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    for _ in range(2):  # B starts at zero, so the first step leaves A alone
        optimizer.zero_grad()
        model(**model.tokenize(texts, "document")).square().mean().backward()
        optimizer.step()
    return trained


def test_adapters_alone_are_trained_and_the_sum_is_saved(model, texts, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.mlm.state_dict().items()}
    fingerprint, first = model.fingerprint, dense(model.encode_documents(texts))
    add_lora(model, rank=2, alpha=8)
    np.testing.assert_array_equal(dense(model.encode_documents(texts)), first)
    names = [name for name, parameter in model.mlm.named_parameters() if parameter.requires_grad]
    assert names and all("lora_" in name for name in names)
    trained = train_one_step(model, texts)
    found = dense(model.encode_documents(texts))
    assert np.abs(found - first).max() > 1e-3 and model.fingerprint != fingerprint
    model.save(tmp_path / "saved")
    again = Splade.load(tmp_path / "saved")
    np.testing.assert_allclose(dense(again.encode_documents(texts)), found, atol=1e-4)
    assert again.fingerprint == model.fingerprint
    after = again.mlm.state_dict()
    assert list(after) == list(before)
    changed = [name for name in before if not torch.equal(after[name], before[name])]
    assert len(changed) == len(trained) / 2 and not any("embed" in name for name in changed)
    # The model itself still has its adapters, and can be trained on.
    assert [name for name, parameter in model.mlm.named_parameters() if parameter.requires_grad] == names
    kind = "AutoModelForMaskedLM" if "Masked" in type(model.mlm).__name__ else "AutoModelForCausalLM"
    _, info = getattr(transformers, kind).from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


def test_the_sum_is_the_formula(model, texts, tmp_path):
    add_lora(model, rank=2, alpha=8, layers=["query", "q_proj"])
    train_one_step(model, texts)
    layer = next(module for module in model.mlm.modules() if hasattr(module, "lora_A"))
    expected = layer.base_layer.weight + 8 / 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    model.save(tmp_path / "saved")
    saved = Splade.load(tmp_path / "saved").mlm.parameters()
    assert any(tensor.shape == expected.shape and torch.allclose(tensor, expected, atol=1e-6) for tensor in saved)


def test_adapters_go_where_they_fit(model):
    with pytest.raises(ConfigError, match="cannot be put beside"):
        add_lora(model, layers=["unheard"])
    add_lora(model)
    with pytest.raises(ConfigError, match="adapters already"):
        add_lora(model)


def test_the_seed_decides_the_adapters_and_nothing_else_draws_from_it(mlm_folders):
    def adapters(seed):
        model = Splade.load(mlm_folders["bert"])
        state = torch.get_rng_state()
        add_lora(model, rank=2, seed=seed)
        assert torch.get_rng_state().equal(state)
        torch.rand(3)
        return torch.cat([p.flatten() for p in model.parameters() if p.requires_grad])

    assert adapters(1).equal(adapters(1))
    assert not adapters(1).equal(adapters(2))


def test_without_the_extra_the_message_names_it(bert, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"package peft. To install it: pip install 'everglade\[lora\]'"):
        add_lora(bert)


def test_thawing_the_documents_leaves_what_adapters_froze(bert_folder):
    model = Splade.load(bert_folder, query_encoder="static")
    add_lora(model, 2)
    before = [parameter.requires_grad for parameter in model.mlm.parameters()]
    assert any(before) and not all(before)
    model.settings = replace(model.settings, freeze_documents=True)
    model.settings = replace(model.settings, freeze_documents=True)
    assert not any(parameter.requires_grad for parameter in model.mlm.parameters())
    model.settings = replace(model.settings, freeze_documents=False)
    assert [parameter.requires_grad for parameter in model.mlm.parameters()] == before
