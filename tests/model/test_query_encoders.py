"""Query encoders beside the document encoder: what they compute, how they train, and that they survive a folder."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from everglade.cli.info import describe
from everglade.errors import ConfigError, ModelError, ModelMismatch
from everglade.model.query import StaticQueries, count_idf, write_idf
from everglade.model.splade import Splade

QUERIES = ["the river in the sun", "", "sun sun Sun moss", "[CLS] otter [SEP] 北", " ", "fern"]


def dense(matrix):
    return matrix.to_scipy().toarray()


def expected_table(model, texts, weights, max_length=32):
    """The definition, by the transformers tokenizer: the weight of each distinct token, at its place."""
    rows = np.zeros((len(texts), model.n_terms), dtype=np.float32)
    for row, text in enumerate(texts):
        if not text.strip():
            continue  # byte-level tokenizers have a token for the space
        tokens = model.tokenizer(text, add_special_tokens=False, truncation=True, max_length=max_length)["input_ids"]
        rows[row, tokens] = weights[tokens]
    return rows


@pytest.fixture
def idf_file(bert, tmp_path):
    tokens = bert.tokenizer.convert_ids_to_tokens([5, 6, 7, 12, 20])
    write_idf(tmp_path / "idf.json", dict(zip(tokens, [1.5, 0.25, 4.0, 0.0, 2.0], strict=True)))
    return tmp_path / "idf.json"


@pytest.fixture
def second_folder(bert_folder, tmp_path):
    """Another language model of the same vocabulary."""
    model = Splade.load(bert_folder, max_query_length=11)
    with torch.no_grad():
        for parameter in model.mlm.parameters():
            parameter.mul_(1.1)
    model.save(tmp_path / "second")
    return tmp_path / "second"


def specs(bert_folder, idf_file, second_folder):
    return {"binary": "binary", "static": "static", "idf": idf_file, "separate": second_folder}


@pytest.fixture(params=["binary", "static", "idf", "separate"])
def spec(request, bert_folder, idf_file, second_folder):
    return specs(bert_folder, idf_file, second_folder)[request.param]


# What they compute


def test_binary_queries_are_their_distinct_tokens(mlm_folder):
    model = Splade.load(mlm_folder, query_encoder="binary")
    ones = np.ones(model.n_terms)
    ones[model.tokenizer.all_special_ids] = 0
    expected = expected_table(model, QUERIES, ones)
    assert expected[0].sum() > 3 and set(expected.ravel()) == {0, 1}
    np.testing.assert_array_equal(dense(model.encode_queries(QUERIES)), expected)
    np.testing.assert_array_equal(model(**model.tokenize(QUERIES, "query"), side="query").detach(), expected)
    plain = Splade.load(mlm_folder)
    np.testing.assert_array_equal(dense(model.encode_documents(QUERIES)), dense(plain.encode_documents(QUERIES)))
    assert not any(parameter.requires_grad for parameter in model.query_encoder.parameters())


def test_a_token_whose_id_also_pads_counts(bert_folder):
    """Padding must not wipe out a token of the text that has its id."""
    model = Splade.load(bert_folder, query_encoder="binary")
    assert model.tokenizer.pad_token_id == 0
    weights = model(torch.tensor([[0, 7, 0, 0], [7, 8, 9, 0]]), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]), "query")
    assert weights[0].nonzero().flatten().tolist() == [7]
    model.query_encoder._silent = []
    with torch.no_grad():
        model.query_encoder.weight[0] = 1.0
    weights = model(torch.tensor([[0, 7, 0, 0], [7, 8, 9, 0]]), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]), "query")
    assert [row.nonzero().flatten().tolist() for row in weights] == [[0, 7], [7, 8, 9]]


def test_an_idf_table_weighs_presence(bert_folder, idf_file):
    model = Splade.load(bert_folder, query_encoder=idf_file)
    weights = np.zeros(model.n_terms)
    for token, weight in json.loads(idf_file.read_text()).items():
        weights[model.tokenizer.convert_tokens_to_ids(token)] = weight
    expected = expected_table(model, QUERIES, weights)
    assert (expected[2] > 0).any()
    np.testing.assert_allclose(dense(model.encode_queries(QUERIES)), expected)
    assert not model.query_encoder.learned and model.query_kind == "static"
    exported = model.query_encoder.without_torch().to_idf()
    assert exported == {token: weight for token, weight in json.loads(idf_file.read_text()).items() if weight}


def test_learned_weights_may_start_at_an_idf_table(bert_folder, idf_file):
    model, fixed = (Splade.load(bert_folder, query_encoder=f"{way}{idf_file}") for way in ("learned:", ""))
    np.testing.assert_array_equal(dense(model.encode_queries(QUERIES)), dense(fixed.encode_queries(QUERIES)))
    model(**model.tokenize(["cold"], "query"), side="query").sum().backward()
    cold = model.tokenizer.convert_tokens_to_ids("cold")
    assert model.query_encoder.weight[cold] == 0 and model.query_encoder.weight.grad.nonzero().tolist() == [[cold]]


def test_learned_weights_get_the_gradient_of_presence(bert_folder):
    model = Splade.load(bert_folder, query_encoder="static")
    tokens = model.tokenize(QUERIES, "query")
    direction = torch.rand(len(QUERIES), model.n_terms, generator=torch.Generator().manual_seed(0))
    (model(**tokens, side="query") * direction).sum().backward()
    ones = np.ones(model.n_terms)
    ones[model.tokenizer.all_special_ids] = 0
    presence = expected_table(model, QUERIES, ones)
    np.testing.assert_allclose(model.query_encoder.weight.grad, (presence * direction.numpy()).sum(axis=0), rtol=1e-6)
    assert all(parameter.grad is None for parameter in model.mlm.parameters())
    with torch.no_grad():
        model.query_encoder.weight -= 2.0
    assert not model(**tokens, side="query").any()


def test_a_separate_encoder_is_the_other_model(bert_folder, second_folder, texts):
    model, second = Splade.load(bert_folder, query_encoder=second_folder), Splade.load(second_folder)
    np.testing.assert_array_equal(dense(model.encode_queries(texts)), dense(second.encode_queries(texts)))
    plain = Splade.load(bert_folder)
    np.testing.assert_array_equal(dense(model.encode_documents(texts)), dense(plain.encode_documents(texts)))
    assert np.abs(dense(model.encode_queries(texts)) - dense(plain.encode_queries(texts))).max() > 0.01
    assert model.settings.max_query_length == 11 and model.settings.max_document_length == 32
    model(**model.tokenize(["river"], "query"), side="query").sum().backward()
    assert all(parameter.grad is None for parameter in model.mlm.parameters())
    assert all(parameter.grad is not None for parameter in model.query_encoder.parameters())


def test_query_settings_reach_the_query_encoder(bert_folder, spec):
    model = Splade.load(bert_folder, query_encoder=spec, max_query_length=5, max_query_terms=2)
    assert model.tokenize(["the river in the sun in the rain"], "query")["input_ids"].shape[1] == 5
    model.settings = replace(model.settings, max_query_length=4, query_prefix="moss ")
    tokens = model.tokenize(["the river in the sun in the rain"], "query")
    assert tokens["input_ids"].shape[1] == 4
    assert model.tokenizer.convert_tokens_to_ids("moss") in tokens["input_ids"]
    encoded = dense(model.encode_queries(["river sun the"]))
    assert (encoded > 0).sum() <= 2
    trained = model(**model.tokenize(["river sun the"], "query"), side="query")
    np.testing.assert_allclose(np.sort(trained.detach().numpy()), np.sort(encoded), atol=1e-6)


def test_frozen_documents_stay_frozen(bert_folder, second_folder, tmp_path):
    model = Splade.load(bert_folder, query_encoder=second_folder, freeze_documents=True)
    for one in (model, _saved(model, tmp_path / "saved")):
        assert not any(parameter.requires_grad for parameter in one.mlm.parameters())
        assert all(parameter.requires_grad for parameter in one.query_encoder.parameters())
        one.train()
        assert not one.mlm.training and one.query_encoder.mlm.training
        assert not one(**one.tokenize(["river"], "document")).requires_grad
    free = Splade.load(bert_folder, query_encoder=second_folder)
    assert free.fingerprint == model.fingerprint
    with pytest.raises(ConfigError, match="query encoder of its own"):
        Splade.load(bert_folder, freeze_documents=True)


def test_idf_is_counted_as_written(bert):
    texts = ["sun river", "sun sun", "moss"]
    tokenizer = Tokenizer.from_str(bert.tokenizer.backend_tokenizer.to_str())
    idf = count_idf(texts, tokenizer)
    assert idf["sun"] == pytest.approx(math.log(1 + (3 - 2 + 0.5) / (2 + 0.5)))
    assert idf["moss"] == pytest.approx(math.log(1 + (3 - 1 + 0.5) / (1 + 0.5)))
    assert idf["fern"] == max(idf.values()) == pytest.approx(math.log(1 + 3.5 / 0.5))
    assert not set(idf) & set(bert.tokenizer.all_special_tokens)


# Folders


def _saved(model, path, **how):
    model.save(path, **how)
    return Splade.load(path)


def test_a_saved_folder_is_what_was_saved(bert_folder, spec, tmp_path):
    model = Splade.load(bert_folder, query_encoder=spec, query_prefix="sun ", max_document_length=20)
    if model.query_kind == "static":
        with torch.no_grad():
            model.query_encoder.weight += torch.linspace(-2, 3, model.n_terms)
    again = _saved(model, tmp_path / "saved")
    assert again.settings == model.settings and again.fingerprint == model.fingerprint
    assert again.query_kind == model.query_kind
    np.testing.assert_array_equal(dense(again.encode_queries(QUERIES)), dense(model.encode_queries(QUERIES)))
    np.testing.assert_array_equal(dense(again.encode_documents(QUERIES)), dense(model.encode_documents(QUERIES)))
    frozen = [parameter.requires_grad for parameter in model.parameters()]
    assert [parameter.requires_grad for parameter in again.parameters()] == frozen
    described = describe(tmp_path / "saved")
    assert described["kind"] == "model" and described["query_encoder"].startswith(model.query_kind)
    half = _saved(model, tmp_path / "half", dtype="float16")
    half.save(tmp_path / "full")
    assert half.fingerprint == Splade.load(tmp_path / "full").fingerprint != model.fingerprint
    assert Splade.load(tmp_path / "saved", query_encoder="shared").query_kind == "shared"


def test_fingerprints_cover_the_query_side(bert_folder, idf_file, second_folder):
    found = {Splade.load(bert_folder, query_encoder=spec).fingerprint for spec in ("shared", "binary", idf_file)}
    model = Splade.load(bert_folder, query_encoder=second_folder)
    found.add(model.fingerprint)
    with torch.no_grad():
        next(model.query_encoder.parameters()).add_(0.01)
    found.add(model.fingerprint)
    model.settings = replace(model.settings, max_query_length=7)
    found.add(model.fingerprint)
    assert len(found) == 6
    assert Splade.load(bert_folder).fingerprint == Splade.load(bert_folder, query_encoder="shared").fingerprint


def test_a_save_that_fails_leaves_no_folder(bert_folder, spec, tmp_path):
    model = Splade.load(bert_folder, query_encoder=spec)
    with torch.no_grad():
        model.mlm.get_output_embeddings().bias[0] = 1e6
    with pytest.raises(ModelError, match="not finite"):
        model.save(tmp_path / "model", dtype="float16")
    assert not (tmp_path / "model").exists()
    assert _saved(model, tmp_path / "model").fingerprint == model.fingerprint


# Without torch


@pytest.fixture
def table_folder(bert_folder, idf_file, tmp_path):
    Splade.load(bert_folder, query_encoder=idf_file, query_prefix="fern ").save(tmp_path / "table")
    return tmp_path / "table"


def test_queries_from_a_table_are_the_models(table_folder):
    queries, model = StaticQueries.load(table_folder), Splade.load(table_folder)
    found, wanted = queries.encode_queries(QUERIES), model.encode_queries(QUERIES)
    np.testing.assert_array_equal(dense(found), dense(wanted))
    assert dense(found).any() and queries.fingerprint == model.fingerprint
    assert queries.term_names() == model.term_names() and queries.n_terms == model.n_terms
    np.testing.assert_array_equal(dense(queries.encode_documents(["moss"])), dense(model.encode_documents(["moss"])))


def test_an_index_is_searched_without_torch(table_folder, tmp_path):
    from everglade.search import Index

    with Index.create(tmp_path / "index", Splade.load(table_folder)) as index:
        index.add([("a", "river and sun"), ("b", "moss and fern"), ("c", "the otter")])
        wanted = [(hit.id, hit.score) for hit in index.search("the sun on the river", k=3)]
    assert wanted
    program = f"""
import json, sys
from everglade.search import Index
with Index.open({str(tmp_path / "index")!r}) as index:
    print(json.dumps([(hit.id, hit.score) for hit in index.search("the sun on the river", k=3)]))
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [tuple(hit) for hit in json.loads(done.stdout)] == wanted


def test_documents_that_changed_are_noticed(table_folder):
    from safetensors.torch import load_file, save_file

    queries = StaticQueries.load(table_folder)
    file = table_folder / "document_0_Transformer" / "model.safetensors"
    weights = load_file(file)
    weights["cls.predictions.bias"] += 0.5
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelMismatch, match="has changed"):
        queries.encode_documents(["moss"])


def test_only_tables_are_loaded_without_torch(bert_folder, second_folder, tmp_path):
    Splade.load(bert_folder, query_encoder=second_folder).save(tmp_path / "separate")
    for folder in (bert_folder, tmp_path / "separate"):
        assert not StaticQueries.can_load(folder)
        with pytest.raises(ModelError, match=r"Use Splade\.load"):
            StaticQueries.load(folder)


# What is refused


@pytest.mark.parametrize(
    "content, message",
    [
        ({"unheard": 1.0}, "'unheard', which the model's tokenizer does not know"),
        ({"sun": -1.0}, "must be a number from 0 up"),
        ({"sun": "1"}, "must be a number from 0 up"),
        ([], "a JSON dict"),
    ],
)
def test_an_idf_file_that_does_not_fit_is_refused(bert_folder, tmp_path, content, message):
    (tmp_path / "idf.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        Splade.load(bert_folder, query_encoder=tmp_path / "idf.json")
    with pytest.raises(ModelError, match="is missing"):
        Splade.load(bert_folder, query_encoder=tmp_path / "absent.json")


def test_a_query_encoder_of_other_terms_is_refused(bert_folder, mlm_folders, table_folder):
    with pytest.raises(ModelError, match="must share one vocabulary"):
        Splade.load(bert_folder, query_encoder=mlm_folders["roberta"])
    with pytest.raises(ModelError, match="query encoder of its own"):
        Splade.load(bert_folder, query_encoder=table_folder)


def test_a_damaged_table_is_refused(table_folder):
    own = json.loads((table_folder / "splade_config.json").read_text())
    (table_folder / "splade_config.json").write_text(json.dumps({**own, "query_encoder": "magic"}))
    with pytest.raises(ModelError, match="'magic'"):
        Splade.load(table_folder)
    (table_folder / "splade_config.json").write_text(json.dumps(own))
    folder = Path(table_folder) / "query_0_SparseStaticEmbedding"
    shutil.copy(folder / "model.safetensors", Path(table_folder).parent / "weights")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="does not hold the weights of tokens"):
        StaticQueries.load(table_folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["moss"], words["sun"] = words["sun"], words["moss"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copy(Path(table_folder).parent / "weights", folder / "model.safetensors")
    with pytest.raises(ModelError, match="another vocabulary"):
        Splade.load(table_folder)
    words.update({f"more{i}": len(words) + i for i in range(9)})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="more tokens than the model has terms"):
        StaticQueries.load(table_folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read as a tokenizer"):
        StaticQueries.load(table_folder)


@pytest.mark.parametrize("kind", ["binary", "static"])
def test_queries_of_a_table_may_be_longer_than_the_model_has_positions_for(bert_folder, kind, tmp_path):
    model = Splade.load(bert_folder, query_encoder=kind, max_query_length=500)
    words = [word for word in model.term_names() if word.isalpha() and len(word) > 1]
    query = " ".join(words * 20)[: 32 * 60]
    assert len(model.encode_queries([query]).terms) > 10
    model.save(tmp_path / "saved")
    assert Splade.load(tmp_path / "saved").settings.max_query_length == 500
    with pytest.raises(ConfigError, match="positions for"):
        model.use_query_encoder(None)
    assert model.query_kind == kind
    with pytest.raises(ConfigError, match="positions for"):
        Splade.load(bert_folder, max_query_length=500)
