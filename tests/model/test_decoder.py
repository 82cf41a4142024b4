"""Decoders read as the settings say: the same vectors as transformers alone, one text at a time, without any mask."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from everglade.errors import ConfigError, ModelError
from everglade.model.decoder import read_hidden_states
from everglade.model.folder import describe_model
from everglade.model.splade import Splade

READINGS = ("bidirectional", "causal", "echo")


def dense(matrix):
    return matrix.to_scipy().toarray()


def expected_vectors(folder, texts, reading, *, all_positions=False):
    """The definition by transformers alone: one text, no padding. Eager attention takes a mask of zeros as none."""
    mlm = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=32)["input_ids"]
        if not text.strip():
            rows.append(torch.zeros(mlm.config.vocab_size))
            continue
        front = ids[:1].count(tokenizer.bos_token_id)
        start = 0
        if reading == "echo":
            ids, start = ids + ids[front:], len(ids)
        mask = torch.zeros(1, 1, len(ids), len(ids)) if reading == "bidirectional" else None
        with torch.no_grad():
            logits = mlm(input_ids=torch.tensor([ids]), attention_mask=mask).logits[0]
        pooled = [i for i in range(start, len(ids)) if all_positions or ids[i] not in tokenizer.all_special_ids]
        rows.append(torch.log1p(torch.relu(logits[pooled])).max(dim=0).values)
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("reading", READINGS)
def test_vectors_are_what_the_reading_says(decoder_folder, reading, texts):
    model = Splade.load(decoder_folder, reading=reading)
    expected = expected_vectors(decoder_folder, texts, reading)
    assert expected[0].any()
    np.testing.assert_allclose(dense(model.encode_documents(texts)), expected, atol=2e-5)
    np.testing.assert_allclose(dense(model.encode_queries(texts)), expected, atol=2e-5)
    trained = model(**model.tokenize(texts, "query"), side="query").detach()
    np.testing.assert_allclose(trained, expected, atol=2e-5)


def test_the_readings_differ(decoder_folder):
    found = [
        dense(Splade.load(decoder_folder, reading=reading).encode_documents(["the river"])) for reading in READINGS
    ]
    assert all(np.abs(found[i] - found[j]).max() > 0.01 for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("reading", ["bidirectional", "causal"])
def test_positions_of_special_tokens_can_be_pooled(decoder_folders, reading, texts):
    model = Splade.load(decoder_folders["llama"], reading=reading, skip_special_positions=False)
    expected = expected_vectors(decoder_folders["llama"], texts, reading, all_positions=True)
    np.testing.assert_allclose(dense(model.encode_documents(texts)), expected, atol=2e-5)
    default = Splade.load(decoder_folders["llama"], reading=reading)
    assert np.abs(dense(default.encode_documents(texts)) - expected).max() > 0.01
    assert default.fingerprint != model.fingerprint


def test_masked_models_can_skip_them_too(bert, texts):
    skipping = Splade(bert.mlm, bert.tokenizer, replace(bert.settings, skip_special_positions=True))
    tokens = bert.tokenize(["river sun"], "document")
    with torch.no_grad():
        logits = bert.mlm(**tokens).logits[0, 1:-1]
    expected = torch.log1p(torch.relu(logits)).max(dim=0).values
    np.testing.assert_allclose(dense(skipping.encode_documents(["river sun"]))[0], expected, atol=1e-5)


def test_eager_attention_reads_both_ways_too(decoder_folder, texts):
    model = Splade.load(decoder_folder, reading="bidirectional")
    tokens = model.tokenize(texts, "document")
    hidden, _ = model._hidden(**tokens)
    eager = transformers.AutoModelForCausalLM.from_pretrained(decoder_folder, attn_implementation="eager")
    again = Splade(eager, model.tokenizer, model.settings)
    kept = tokens["attention_mask"] != 0
    torch.testing.assert_close(again._hidden(**tokens)[0][kept], hidden[kept], atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(model(**tokens)).all() and torch.isfinite(again(**tokens)).all()


@pytest.mark.parametrize("reading", READINGS)
def test_gradients_reach_every_weight(decoder_folder, reading, texts):
    model = Splade.load(decoder_folder, reading=reading).train()
    model(**model.tokenize(texts, "document")).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_prefixes_are_part_of_the_text(decoder_folder):
    plain = Splade.load(decoder_folder, reading="echo")
    model = Splade.load(decoder_folder, reading="echo", query_prefix="query: ")
    found, wanted = model.encode_queries(["moss"]), plain.encode_queries(["query: moss"])
    np.testing.assert_allclose(dense(found), dense(wanted), atol=1e-6)
    assert not len(model.encode_queries([" "]).terms)


def test_an_echo_needs_room_for_two(decoder_folder):
    assert Splade.load(decoder_folder, reading="echo").settings.max_document_length == 32
    with pytest.raises(ConfigError, match="which an echo takes twice, but .* 64 tokens"):
        Splade.load(decoder_folder, reading="echo", max_document_length=33)


def test_a_saved_folder_is_what_was_saved(decoder_folder, texts, tmp_path):
    model = Splade.load(decoder_folder, reading="echo", skip_special_positions=False)
    model.save(tmp_path / "saved")
    again = Splade.load(tmp_path / "saved")
    assert again.settings == model.settings and again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(dense(again.encode_queries(texts)), dense(model.encode_queries(texts)))
    tied = again.mlm.get_output_embeddings().weight is again.mlm.get_input_embeddings().weight
    assert tied == (decoder_folder.name == "qwen2")
    assert describe_model(tmp_path / "saved")["reading"] == "echo"
    # Nothing there claims that sentence-transformers could read it.
    assert not list((tmp_path / "saved").glob("modules.json")) and "Everglade" in model_card(tmp_path / "saved")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(theirs.get_output_embeddings().weight, model.mlm.get_output_embeddings().weight)


def model_card(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_decoder_with_a_query_encoder_of_its_own(decoder_folder, texts, tmp_path):
    for spec in ("binary", decoder_folder):
        if spec != "binary":
            Splade.load(decoder_folder, reading="causal").save(tmp_path / "second")
            spec = tmp_path / "second"
        model = Splade.load(decoder_folder, reading="bidirectional", query_encoder=spec)
        model.save(tmp_path / model.query_kind)
        again = Splade.load(tmp_path / model.query_kind)
        assert again.fingerprint == model.fingerprint and again.query_kind == model.query_kind
        assert not (tmp_path / model.query_kind / "modules.json").exists()
        np.testing.assert_array_equal(dense(again.encode_queries(texts)), dense(model.encode_queries(texts)))


def test_a_decoder_is_refused_without_a_reading(decoder_folder, bert_folder, bert):
    with pytest.raises(ModelError, match="setting reading .'bidirectional', 'causal', 'echo'"):
        Splade.load(decoder_folder)
    with pytest.raises(ModelError, match="setting reading"):
        describe_model(decoder_folder)
    with pytest.raises(ConfigError, match="bidirectional, causal, echo"):
        Splade.load(decoder_folder, reading="backwards")
    with pytest.raises(ModelError, match="leave the setting reading out"):
        Splade.load(bert_folder, reading="echo")


def test_a_decoder_that_stays_causal_is_refused(decoder_folder):
    class Causal(transformers.LlamaForCausalLM):
        def forward(self, attention_mask=None, **inputs):
            return super().forward(attention_mask=None, **inputs)

    config = transformers.LlamaConfig(**json.loads((decoder_folder / "config.json").read_text()))
    model = Splade.load(decoder_folder, reading="bidirectional")
    if decoder_folder.name == "llama":
        with pytest.raises(ModelError, match="Use 'echo'"):
            Splade(Causal(config), model.tokenizer, model.settings)
    tokens = model.tokenize(["the river in the sun"], "query")
    hidden = read_hidden_states(model.mlm, **tokens, reading="bidirectional")
    changed = {**tokens, "input_ids": tokens["input_ids"].clone()}
    changed["input_ids"][0, -1] += 1
    assert not torch.equal(read_hidden_states(model.mlm, **changed, reading="bidirectional")[0, 0], hidden[0, 0])


def test_the_reading_of_an_open_model_stays(decoder_folder):
    model = Splade.load(decoder_folder, reading="causal")
    with pytest.raises(ConfigError, match="Load it again"):
        model.settings = replace(model.settings, reading="echo")
