"""Router folders: what we save opens in sentence-transformers, what it saves opens here, with the same vectors."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch

from everglade.errors import ModelError
from everglade.model.folder import describe_model
from everglade.model.query import write_idf
from everglade.model.splade import Splade


def dense(matrix):
    return matrix.to_scipy().toarray()


def assert_same_vectors(ours, theirs, texts):
    filled = [text for text in texts if text.strip()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the two sides may have different lengths, and it says so
        for side in ("query", "document"):
            encode = theirs.encode_query if side == "query" else theirs.encode_document
            expected = encode(filled, convert_to_sparse_tensor=False).numpy()
            found = dense(ours.encode_queries(filled) if side == "query" else ours.encode_documents(filled))
            assert expected.any()
            # Its table ends with the tokenizer's vocabulary, ours with the model's terms.
            assert not found[:, expected.shape[1] :].any()
            np.testing.assert_allclose(found[:, : expected.shape[1]], expected, atol=1e-5, err_msg=side)


@pytest.fixture
def second_folder(mlm_folder, tmp_path):
    model = Splade.load(mlm_folder, activation="log1p_relu", max_query_length=9)
    with torch.no_grad():
        for parameter in model.mlm.parameters():
            parameter.mul_(1.1)
    model.save(tmp_path / "second")
    return tmp_path / "second"


# What we write, sentence-transformers opens


@pytest.mark.parametrize("kind", ["binary", "static", "separate"])
def test_sentence_transformers_opens_a_saved_router(
    mlm_folder, second_folder, kind, texts, tmp_path, sentence_transformers
):
    spec = second_folder if kind == "separate" else kind
    model = Splade.load(mlm_folder, query_encoder=spec, max_document_length=20, query_prefix="sun ")
    if kind == "static":
        with torch.no_grad():
            model.query_encoder.weight += torch.linspace(-2, 3, model.n_terms)
    model.settings = model.settings.__class__(**{**model.settings.to_dict(), "max_query_length": 7})
    model.save(tmp_path / "saved")
    theirs = sentence_transformers.SparseEncoder(str(tmp_path / "saved"), device="cpu")
    assert type(theirs[0]) is sentence_transformers.Router
    assert_same_vectors(model, theirs, texts)


# What sentence-transformers writes, we open


def build(sentence_transformers, folder, query_modules):
    document = sentence_transformers.Transformer(str(folder), transformer_task="fill-mask")
    pooling = sentence_transformers.SpladePooling(pooling_strategy="max")
    router = sentence_transformers.Router.for_query_document(
        query_modules=query_modules(document), document_modules=[document, pooling]
    )
    return sentence_transformers.SparseEncoder(modules=[router], device="cpu", similarity_fn_name="dot")


@pytest.mark.parametrize("frozen", [True, False])
def test_opens_a_static_router_of_sentence_transformers(mlm_folder, frozen, texts, tmp_path, sentence_transformers):
    def table(document):
        weights = torch.linspace(0, 2, len(document.tokenizer.get_vocab()))
        return [sentence_transformers.SparseStaticEmbedding(document.tokenizer, weight=weights, frozen=frozen)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = build(sentence_transformers, mlm_folder, table)
        theirs.prompts = {"query": "sun ", "document": "moss "}
        theirs.save(str(tmp_path / "theirs"))
    model = Splade.load(tmp_path / "theirs")
    assert model.query_kind == "static" and model.query_encoder.learned is not frozen
    assert model.settings.query_prefix == "sun "
    assert describe_model(tmp_path / "theirs")["query_encoder"] == f"static, {'fixed' if frozen else 'learned'}"
    assert_same_vectors(model, theirs, texts)


def test_opens_a_router_of_two_transformers(mlm_folder, second_folder, texts, tmp_path, sentence_transformers):
    def transformer(document):
        second = sentence_transformers.Transformer(str(second_folder), transformer_task="fill-mask")
        second.max_seq_length = 9
        return [second, sentence_transformers.SpladePooling("max", activation_function="log1p_relu")]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = build(sentence_transformers, mlm_folder, transformer)
        theirs.save(str(tmp_path / "theirs"))
    model = Splade.load(tmp_path / "theirs")
    assert model.query_kind == "separate" and model.settings.max_query_length == 9
    assert model.query_encoder.settings.activation == "log1p_relu" and model.settings.activation == "relu"
    assert_same_vectors(model, theirs, texts)
    model.save(tmp_path / "ours")
    assert Splade.load(tmp_path / "ours").fingerprint == model.fingerprint


def test_opens_an_idf_file_named_in_a_router(bert_folder, texts, tmp_path, sentence_transformers):
    """As OpenSearch publishes some models: the document encoder at the root, weights in idf.json."""
    folder = tmp_path / "model"
    Splade.load(bert_folder).save(folder)
    (folder / "splade_config.json").unlink()
    write_idf(folder / "idf.json", {"sun": 1.5, "moss": 0.25, "the": 2.0})
    table = folder / "query_0_SparseStaticEmbedding"
    table.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, table)
    (table / "config.json").write_text(json.dumps({"frozen": True, "path": str(folder / "idf.json")}))
    models = "sentence_transformers.sparse_encoder.models"
    structure = {"query": [table.name], "document": ["", "1_SpladePooling"]}
    kinds = {"": "MLMTransformer", "1_SpladePooling": "SpladePooling", table.name: "SparseStaticEmbedding"}
    router = {
        "types": {name: f"{models}.{kind}" for name, kind in kinds.items()},
        "structure": structure,
        "parameters": {"default_route": "document"},
    }
    (folder / "router_config.json").write_text(json.dumps(router))
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    theirs = sentence_transformers.SparseEncoder(str(folder), device="cpu")
    assert_same_vectors(Splade.load(folder), theirs, texts)


def test_opens_a_plain_folder_with_an_idf_file(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    write_idf(folder / "idf.json", {"sun": 1.5, "moss": 0.25})
    model = Splade.load(folder)
    names = model.term_names()
    terms, weights = model.encode_queries(["sun over moss, sun"]).row(0)
    assert {names[term]: weight for term, weight in zip(terms, weights, strict=True)} == {"sun": 1.5, "moss": 0.25}
    assert model.settings.drop_special_tokens
    assert not dense(model.encode_documents(["sun"]))[:, model.tokenizer.all_special_ids].any()
    model.save(tmp_path / "saved")
    assert Splade.load(tmp_path / "saved").fingerprint == model.fingerprint


# What is refused


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda router: router.pop("types"), "types and structure"),
        (lambda router: router["structure"].pop("query"), "no query route"),
        (lambda router: router["structure"].update(document=["absent"]), "no document route"),
        (lambda router: router["structure"].update(query=[[]]), "no query route"),
        (lambda router: router["types"].update(document_0_Transformer="own.Model"), "runs no code"),
        (lambda router: router["structure"]["document"].pop(), "another kind"),
        (
            lambda router: (
                router["types"].update({"../x": "sentence_transformers.models.MLMTransformer"}),
                router["structure"].update(document=["../x", "document_1_SpladePooling"]),
            ),
            "no folder inside",
        ),
    ],
)
def test_a_router_that_is_no_splade_model_is_refused(bert_folder, tmp_path, change, message):
    folder = tmp_path / "model"
    Splade.load(bert_folder, query_encoder="static").save(folder)
    (folder / "splade_config.json").unlink()
    Splade.load(folder)
    router = json.loads((folder / "router_config.json").read_text())
    change(router)
    (folder / "router_config.json").write_text(json.dumps(router))
    with pytest.raises(ModelError, match=message):
        Splade.load(folder)
