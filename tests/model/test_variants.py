"""Lexical-only and top-k-limited vectors: the same when encoding and when training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from everglade.errors import ConfigError
from everglade.model.settings import SpladeSettings
from everglade.model.splade import Splade


def dense(matrix):
    return matrix.to_scipy().toarray()


def own_terms(model, texts):
    """The tokens of each text but the special ones, by the transformers tokenizer alone."""
    found = np.zeros((len(texts), model.n_terms), dtype=bool)
    for row, text in enumerate(texts):
        tokens = model.tokenizer(text, truncation=True, max_length=32)["input_ids"]
        found[row, [token for token in tokens if token not in model.tokenizer.all_special_ids]] = True
    return found


def vectors(model, texts, side):
    encoded = dense(model.encode_queries(texts) if side == "query" else model.encode_documents(texts))
    trained = model(**model.tokenize(texts, side), side=side).detach().numpy()
    np.testing.assert_allclose(trained, encoded, atol=1e-5)
    return encoded


@pytest.mark.parametrize("lexical", [None, "query", "document", "both"])
def test_lexical_vectors_hold_only_tokens_of_the_text(mlm_folder, texts, lexical):
    plain, model = Splade.load(mlm_folder), Splade.load(mlm_folder, lexical=lexical)
    for side in ("query", "document"):
        expected = vectors(plain, texts, side)
        assert (expected * ~own_terms(plain, texts)).any()
        if lexical in (side, "both"):
            expected = expected * own_terms(plain, texts)
            assert expected.any()
        np.testing.assert_allclose(vectors(model, texts, side), expected, atol=1e-6)
    assert (model.fingerprint == plain.fingerprint) == (lexical is None)


def test_limits_hold_in_training_too(mlm_folder, texts):
    model = Splade.load(mlm_folder, max_query_terms=3, max_document_terms=7)
    plain = Splade.load(mlm_folder)
    for side, kept in (("query", 3), ("document", 7)):
        found, full = vectors(model, texts, side), vectors(plain, texts, side)
        assert (found > 0).sum(axis=1).max() == kept
        np.testing.assert_allclose(found.max(axis=1), full.max(axis=1), atol=1e-6)
        least = np.sort(full, axis=1)[:, -kept]
        assert (found[full < least[:, None] - 1e-5] == 0).all()


def test_only_terms_that_are_kept_get_a_gradient(bert, bert_folder):
    model = Splade.load(bert_folder, max_document_terms=2, lexical="document")
    bias = model.mlm.get_output_embeddings().bias
    weights = model(**model.tokenize(["river sun moss fern"], "document"))
    weights.sum().backward()
    assert torch.equal(bias.grad != 0, weights[0] > 0) and (weights > 0).sum() == 2


@pytest.mark.parametrize(
    "values, message",
    [
        ({"lexical": "neither"}, "none .null., query, document, both"),
        ({"reading": "both"}, "bidirectional, causal, echo"),
        ({"skip_special_positions": 1}, "true or false"),
        ({"freeze_documents": None}, "true or false"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(ConfigError, match=message):
        SpladeSettings.from_dict(values)
