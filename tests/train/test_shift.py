"""Backbones whose logits start positive: a shift makes their vectors start as sparse as one asks."""

import json
from dataclasses import replace

import pytest
import torch

from everglade.errors import ConfigError
from everglade.model.splade import Splade
from everglade.train.config import TrainConfig
from everglade.train.loop import train
from everglade.train.shift import calibrate_shift, sample_texts


@pytest.fixture(params=["roberta", "modernbert"])
def dense(request, tiny):
    """A tiny RoBERTa or ModernBERT with the toy words, all of whose logits are positive at the start."""
    import transformers

    torch.manual_seed(1)
    common = {
        "vocab_size": tiny.n_terms,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "pad_token_id": tiny.tokenizer.pad_token_id,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    if request.param == "roberta":
        mlm = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**common, type_vocab_size=1))
        bias = mlm.lm_head.bias
    else:
        extra = {"cls_token_id": 2, "sep_token_id": 3, "attn_implementation": "eager", "reference_compile": False}
        mlm = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**common, **extra))
        bias = mlm.decoder.bias
    with torch.no_grad():
        bias += 10.0
        mlm.get_output_embeddings().weight *= 20
    return Splade(mlm, tiny.tokenizer, name=request.param).eval()


def terms_of(model, texts):
    return len(model.encode_documents(texts).terms) / len(texts)


@pytest.mark.parametrize("terms", [4, 20])
def test_the_shift_makes_vectors_start_with_so_many_terms(dense, toy, terms):
    texts = sample_texts(toy[0])
    assert len(texts) == 32
    assert terms_of(dense, texts) == dense.n_terms
    found = calibrate_shift(dense, texts, terms)
    assert found > 1
    assert dense.settings.logit_shift == found
    assert terms_of(dense, texts) == pytest.approx(terms, rel=0.05)
    # From there it is found again, and from above as well as from below.
    dense.settings = replace(dense.settings, logit_shift=500.0)
    calibrate_shift(dense, texts, terms)
    assert dense.settings.logit_shift == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize("limit", [{"max_document_terms": 6}, {"position_terms": 1}])
def test_a_number_of_terms_that_no_shift_gives_is_refused(dense, toy, limit):
    dense.settings = before = replace(dense.settings, **limit)
    with pytest.raises(ConfigError, match=rf"start_terms is 40, .* gives .* terms .*{next(iter(limit))}"):
        calibrate_shift(dense, sample_texts(toy[0]), 40)
    assert dense.settings == before


def test_training_calibrates_and_saves_the_shift(dense, toy, tmp_path):
    config = TrainConfig(steps=2, batch_size=8, start_terms=6, max_query_length=8, max_document_length=8, log_every=1)
    result = train(config, dense, toy[0], tmp_path)
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert 4 < first["document_terms"] < 9
    saved = Splade.load(result.final)
    assert saved.settings.logit_shift == dense.settings.logit_shift > 1
    texts = list(toy[0].documents.values())[:20]
    assert terms_of(saved, texts) == pytest.approx(terms_of(dense, texts))
