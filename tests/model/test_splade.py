"""`Splade` gives what the formula gives, for every family, however texts are put together."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from everglade.errors import ConfigError, InputError, ModelError
from everglade.model.settings import SpladeSettings
from everglade.model.splade import Splade


def expected_vectors(folder, texts, *, max_length=32, pooling="max", activation="relu"):
    """The formula, written with transformers alone, one text at a time: no padding, no batches."""
    mlm = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.no_grad():
            logits = mlm(**tokens).logits[0]
        weights = torch.log1p(torch.relu(logits))
        if activation == "log1p_relu":
            weights = torch.log1p(weights)
        pooled = weights.max(dim=0).values if pooling == "max" else weights.sum(dim=0)
        rows.append(pooled * bool(text.strip()))
    return torch.stack(rows).numpy()


def dense(matrix):
    return matrix.to_scipy().toarray()


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_vectors_are_what_the_formula_says(mlm_folder, texts, pooling, activation):
    model = Splade.load(mlm_folder, pooling=pooling, activation=activation)
    expected = expected_vectors(mlm_folder, texts, pooling=pooling, activation=activation)
    assert 0.05 < (expected[0] > 0).mean() < 1
    for matrix in (model.encode_documents(texts), model.encode_queries(texts)):
        np.testing.assert_allclose(dense(matrix), expected, atol=1e-5 if pooling == "max" else 1e-4)
        assert matrix.weights.dtype == np.float32 and (matrix.weights > 0).all()
        for row in range(len(texts)):
            terms, _ = matrix.row(row)
            assert (np.diff(terms) > 0).all()


def test_rows_do_not_depend_on_their_batch(mlm_folder, texts):
    model = Splade.load(mlm_folder)
    alone = np.concatenate([dense(model.encode_documents([text])) for text in texts])
    shuffle = np.random.default_rng(1).permutation(len(texts) * 3)
    many = (texts * 3, alone[np.arange(len(texts) * 3) % len(texts)])
    for batch_tokens in (1, 40, 10_000):
        found = dense(model.encode_documents([many[0][i] for i in shuffle], batch_tokens=batch_tokens))
        np.testing.assert_allclose(found, many[1][shuffle], atol=1e-6)


def test_windows_change_nothing(bert, texts, monkeypatch):
    whole = dense(bert.encode_documents(texts))
    monkeypatch.setattr("everglade.model.passages._WINDOW_ROWS", 3)
    monkeypatch.setattr("everglade.model.encoding._BATCH_WEIGHTS", 1)
    np.testing.assert_allclose(dense(bert.encode_documents(texts)), whole, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(bert, texts, threads):
    whole = bert.encode_documents(texts * 5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = bert.encode_documents(texts * 5)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(dense(found), dense(whole), atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_what_is_encoded_is_what_is_trained(mlm_folder, texts, activation):
    model = Splade.load(mlm_folder, activation=activation, logit_shift=0.25, drop_special_tokens=True)
    texts = [text for text in texts if text.strip()]
    with torch.no_grad():
        trained = model(**model.tokenize(texts, "document")).numpy()
    assert trained.any()
    np.testing.assert_allclose(dense(model.encode_documents(texts)), trained, atol=1e-6)


def test_a_model_that_has_encoded_can_be_copied(bert, texts):
    before = dense(bert.encode_documents(texts))
    np.testing.assert_array_equal(dense(copy.deepcopy(bert).encode_documents(texts)), before)


def test_autocasting_reaches_every_thread(bert, texts):
    found = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(dense(bert.encode_documents(texts * 5)))
        torch.set_num_threads(before)
    exact = dense(bert.encode_documents(texts * 5))
    for rounded in found:
        assert not np.allclose(rounded, exact, atol=1e-5)
        np.testing.assert_allclose(rounded, exact, atol=0.05)


def test_the_fingerprint_knows_what_the_weights_do_not_say(bert, bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "other")
    config = json.loads((bert_folder / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"num_attention_heads": 4}))
    assert Splade.load(tmp_path / "other").fingerprint != bert.fingerprint


def test_encoding_sees_weights_that_have_changed(bert, texts):
    before = dense(bert.encode_documents(texts))
    with torch.no_grad():
        bert.mlm.get_output_embeddings().bias += 1
    after = dense(bert.encode_documents(texts))
    active = before > 0
    np.testing.assert_allclose(np.expm1(after[active]), np.expm1(before[active]) + 1, atol=1e-5)
    assert (after > 0).sum() > active.sum()


def test_texts_without_tokens_have_no_terms(mlm_folder):
    model = Splade.load(mlm_folder, query_prefix="the ")
    for texts in ([], [""], ["", " ", "\t\n"]):
        assert len(model.encode_documents(texts)) == len(model.encode_queries(texts)) == len(texts)
        assert len(model.encode_documents(texts).terms) == len(model.encode_queries(texts).terms) == 0
    mixed = model.encode_documents(["", "river", " "])
    assert np.diff(mixed.indptr).astype(bool).tolist() == [False, True, False]


def test_special_tokens_can_be_dropped(mlm_folder):
    kept, dropped = Splade.load(mlm_folder), Splade.load(mlm_folder, drop_special_tokens=True)
    special = kept.tokenizer.all_special_ids
    assert len(special) >= 5
    expected = dense(kept.encode_documents(["the river in the sun"]))
    assert expected[:, special].any()
    expected[:, special] = 0
    np.testing.assert_allclose(dense(dropped.encode_documents(["the river in the sun"])), expected, atol=1e-6)
    np.testing.assert_allclose(dense(dropped.encode_queries(["the river in the sun"])), expected, atol=1e-6)


def test_long_texts_are_cut(mlm_folder, texts):
    model = Splade.load(mlm_folder, max_query_length=5, max_document_length=9)
    np.testing.assert_allclose(
        dense(model.encode_queries(texts)), expected_vectors(mlm_folder, texts, max_length=5), atol=1e-5
    )
    np.testing.assert_allclose(
        dense(model.encode_documents(texts)), expected_vectors(mlm_folder, texts, max_length=9), atol=1e-5
    )
    assert model.tokenize(texts, "document")["input_ids"].shape[1] == 9
    assert model.tokenize(texts, "document", max_length=4)["input_ids"].shape[1] == 4


def test_lengths_stop_at_the_positions_of_the_model(mlm_folder):
    assert Splade.load(mlm_folder).settings.max_document_length == 32
    with pytest.raises(ConfigError, match="positions for 32 tokens"):
        Splade.load(mlm_folder, max_query_length=33)


def test_prefixes_stand_before_texts(bert):
    prefixed = Splade(bert.mlm, bert.tokenizer, replace(bert.settings, query_prefix="sun ", document_prefix="moss: "))
    for found, wanted in (
        (prefixed.encode_queries(["heron"]), bert.encode_queries(["sun heron"])),
        (prefixed.encode_documents(["heron"]), bert.encode_queries(["moss: heron"])),
    ):
        np.testing.assert_allclose(dense(found), dense(wanted), atol=1e-6)


def test_terms_can_be_limited(bert_folder, texts):
    model = Splade.load(bert_folder, max_document_terms=7, max_query_terms=3)
    assert np.diff(model.encode_documents(texts).indptr).max() == 7
    assert np.diff(model.encode_queries(texts).indptr).max() == 3


def test_term_names_are_the_vocabulary(mlm_folder):
    model = Splade.load(mlm_folder)
    names = model.term_names()
    assert len(names) == model.n_terms == len(set(names))
    assert names[-3:] == [f"<term {model.n_terms - i}>" for i in (3, 2, 1)]
    assert names[model.tokenizer.pad_token_id] == model.tokenizer.pad_token


def test_the_language_model_stays_what_it_was(mlm_folder):
    plain = transformers.AutoModelForMaskedLM.from_pretrained(mlm_folder)
    model = Splade.load(mlm_folder)
    tokens = model.tokenize(["the river"], "query")
    torch.testing.assert_close(model.mlm(**tokens).logits, plain(**tokens).logits)
    model(**tokens)
    torch.testing.assert_close(model.mlm(**tokens).logits, plain(**tokens).logits)
    assert list(model.mlm.state_dict()) == list(plain.state_dict())
    assert model.mlm.get_output_embeddings().weight is model.mlm.get_input_embeddings().weight


def test_gradients_are_those_of_the_formula(mlm_folder, texts):
    model = Splade.load(mlm_folder)
    plain = transformers.AutoModelForMaskedLM.from_pretrained(mlm_folder)
    tokens = model.tokenize([text for text in texts if text.strip()], "document")
    logits = plain(**tokens).logits
    slow = (torch.log1p(torch.relu(logits)) * tokens["attention_mask"].unsqueeze(-1)).max(dim=1).values
    fast = model(**tokens)
    direction = torch.rand(slow.shape, generator=torch.Generator().manual_seed(0))
    (slow * direction).sum().backward()
    (fast * direction).sum().backward()
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=0)
    for (name, found), wanted in zip(model.mlm.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, atol=1e-4, rtol=1e-4, msg=name)


def test_training_goes_on_after_encoding(mlm_folder):
    model = Splade.load(mlm_folder)
    assert not model.training
    model.train()
    frozen = next(module for module in model.mlm.modules() if isinstance(module, torch.nn.LayerNorm))
    frozen.eval()
    first = dense(model.encode_documents(["the river in the sun"]))
    assert model.training and not frozen.training and model.mlm.training
    np.testing.assert_array_equal(dense(model.encode_documents(["the river in the sun"])), first)
    model(**model.tokenize(["the river in the sun"], "document")).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_text_without_tokens_does_no_harm_in_training(mlm_folder):
    model = Splade.load(mlm_folder).train()
    weights = model(**model.tokenize(["", "river"], "document"))
    assert not weights[0].any() and weights[1].any()
    weights.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert model.tokenize(["", ""], "query")["input_ids"].shape == (2, 1)


def test_half_precision(mlm_folder):
    model = Splade.load(mlm_folder)
    tokens = model.tokenize(["the river in the sun"], "document")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = model(**tokens)
    cast.sum().backward()
    stored = Splade.load(mlm_folder, dtype="bfloat16")
    assert next(stored.parameters()).dtype == torch.bfloat16
    exact = dense(model.encode_documents(["the river in the sun"]))
    assert cast.dtype == torch.float32
    assert np.corrcoef(cast.detach().numpy()[0], exact[0])[0, 1] > 0.99
    assert np.corrcoef(dense(stored.encode_documents(["the river in the sun"]))[0], exact[0])[0, 1] > 0.99


def test_several_threads_may_encode_at_once(bert, texts):
    expected = {"query": dense(bert.encode_queries(texts)), "document": dense(bert.encode_documents(texts))}
    wrong = []

    def encode_often(side):
        for _ in range(15):
            encode = bert.encode_queries if side == "query" else bert.encode_documents
            if not np.allclose(dense(encode(texts)), expected[side], atol=1e-6):
                wrong.append(side)

    threads = [threading.Thread(target=encode_often, args=(side,)) for side in ("query", "document") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_progress_reaches_the_end(bert, texts):
    seen = []
    bert.encode_documents(texts, batch_tokens=40, progress=seen.append)
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert len(seen) > 2 and seen[-1].done == seen[-1].total == len(texts)
    assert seen[-1].eta_s == 0 and seen[-1].rows_per_second > 0


def test_fingerprint_tells_models_apart(bert_folder, mlm_folders):
    model = Splade.load(bert_folder)
    first = model.fingerprint
    assert first == Splade.load(bert_folder).fingerprint == copy.deepcopy(model).fingerprint
    assert first == Splade(model.mlm, model.tokenizer, model.settings).fingerprint
    assert first != Splade.load(bert_folder, max_query_length=7).fingerprint
    assert first != Splade.load(mlm_folders["distilbert"]).fingerprint
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model(**model.tokenize(["river"], "query")).sum().backward()
    optimizer.step()
    changed = model.fingerprint
    assert changed not in (first, None) and changed == model.fingerprint
    model.settings = replace(model.settings, drop_special_tokens=True)
    assert model.fingerprint not in (first, changed)


def test_fingerprint_sees_the_tokenizer(bert_folder, tmp_path):
    folder = tmp_path / "copy"
    Splade.load(bert_folder).save(folder)
    before = Splade.load(folder).fingerprint
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["truncation"] = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(tokenizer))
    assert Splade.load(folder).fingerprint == before
    tokenizer["normalizer"]["lowercase"] = False
    file.write_text(json.dumps(tokenizer))
    assert Splade.load(folder).fingerprint != before


def test_texts_that_are_none_are_refused(bert):
    with pytest.raises(InputError, match="one string"):
        bert.encode_documents("river")
    with pytest.raises(InputError, match="text 1 is of type NoneType"):
        bert.encode_documents(["river", None])
    with pytest.raises(InputError, match="Unicode"):
        bert.encode_documents(["river", "\ud800"])


def test_weights_that_are_not_finite_are_refused(bert_folder):
    model = Splade.load(bert_folder)
    with torch.no_grad():
        model.mlm.get_output_embeddings().bias[3] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        model.encode_documents(["river"])


def test_a_model_that_changes_its_logits_is_refused(bert):
    class Capped(transformers.BertForMaskedLM):
        def forward(self, **inputs):
            output = super().forward(**inputs)
            output.logits = 5 * torch.tanh(output.logits / 5)
            return output

    with pytest.raises(ModelError, match="after the decoder"):
        Splade(Capped(bert.mlm.config), bert.tokenizer)


def test_a_tokenizer_that_does_not_fit_is_refused(bert, mlm_folders):
    small = transformers.BertForMaskedLM(transformers.BertConfig(**{**bert.mlm.config.to_dict(), "vocab_size": 20}))
    with pytest.raises(ModelError, match="do not fit"):
        Splade(small, bert.tokenizer)


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_without_the_extra_the_message_names_it(package, bert_folder):
    program = f"""
import sys
sys.modules[{package!r}] = None
from everglade.errors import MissingExtra
try:
    from everglade import Splade
    Splade.load({str(bert_folder)!r})
except MissingExtra as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"needs the package {package}. To install it: pip install 'everglade[encode]'" in done.stderr


@pytest.mark.parametrize(
    "values, message",
    [
        ({"max_querry_length": 3}, "Did you mean max_query_length"),
        ({"zebra": 3}, "The settings are max_query_length"),
        ({"max_query_length": 2}, "at least 3"),
        ({"max_document_length": 8.5}, "whole number"),
        ({"max_document_terms": 0}, "at least 1"),
        ({"pooling": "mean"}, "max, sum"),
        ({"activation": "gelu"}, "relu, log1p_relu"),
        ({"drop_special_tokens": 1}, "true or false"),
        ({"query_prefix": None}, "string"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(ConfigError, match=message):
        SpladeSettings.from_dict(values)


def test_settings_survive_a_dictionary():
    settings = SpladeSettings(max_query_length=9, max_document_terms=4, query_prefix="q: ")
    assert SpladeSettings.from_dict(settings.to_dict()) == settings
