"""Model folders: one folder that many loaders open, and a clear refusal of what is no SPLADE model."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from everglade import durable
from everglade.errors import ConfigError, ModelError
from everglade.model.folder import describe_model
from everglade.model.settings import SpladeSettings
from everglade.model.splade import Splade


def dense(matrix):
    return matrix.to_scipy().toarray()


def change_json(file, **changes):
    values = json.loads(file.read_text())
    values.update(changes)
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def copied(bert_folder, tmp_path):
    """A plain masked language model folder to be damaged."""
    return Path(shutil.copytree(bert_folder, tmp_path / "copied"))


@pytest.fixture
def saved(bert, tmp_path):
    bert.save(tmp_path / "saved")
    return tmp_path / "saved"


# What we write, others open


def test_a_saved_folder_is_what_was_saved(mlm_folder, texts, tmp_path):
    settings = {
        "max_query_length": 9,
        "max_document_length": 20,
        "max_document_terms": 30,
        "query_prefix": "sun ",
        "drop_special_tokens": True,
        "activation": "log1p_relu",
    }
    model = Splade.load(mlm_folder, **settings)
    model.save(tmp_path / "saved")
    again = Splade.load(tmp_path / "saved")
    assert again.settings == model.settings and again.fingerprint == model.fingerprint
    assert again.name == str(tmp_path / "saved")
    for side in ("encode_queries", "encode_documents"):
        ours, theirs = getattr(model, side)(texts), getattr(again, side)(texts)
        np.testing.assert_array_equal(dense(ours), dense(theirs))


def test_transformers_opens_a_saved_folder(mlm_folder, tmp_path):
    model = Splade.load(mlm_folder)
    model.save(tmp_path / "saved")
    mlm, info = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert type(mlm) is type(model.mlm) and list(mlm.state_dict()) == list(model.mlm.state_dict())
    for ours, theirs in zip(model.mlm.parameters(), mlm.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert tokenizer("The river")["input_ids"] == model.tokenize(["The river"], "query")["input_ids"][0].tolist()


@pytest.mark.parametrize("changes", [{}, {"pooling": "sum"}, {"activation": "log1p_relu", "query_prefix": "sun "}])
def test_sentence_transformers_opens_a_saved_folder(mlm_folder, texts, tmp_path, sentence_transformers, changes):
    model = Splade.load(mlm_folder, max_document_length=20, max_query_length=20, **changes)
    model.save(tmp_path / "saved")
    theirs = sentence_transformers.SparseEncoder(str(tmp_path / "saved"), device="cpu")
    filled = [text for text in texts if text.strip()]
    documents = theirs.encode_document(filled, convert_to_sparse_tensor=False).numpy()
    queries = theirs.encode_query(filled, convert_to_sparse_tensor=False).numpy()
    atol = 1e-4 if changes.get("pooling") == "sum" else 1e-5
    np.testing.assert_allclose(dense(model.encode_documents(filled)), documents, atol=atol)
    np.testing.assert_allclose(dense(model.encode_queries(filled)), queries, atol=atol)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_half_the_size(bert, saved, tmp_path, kind):
    bert.save(tmp_path / "half", dtype=kind)
    size = (tmp_path / "half" / "model.safetensors").stat().st_size
    assert size < 0.6 * (saved / "model.safetensors").stat().st_size
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == kind
    half = Splade.load(tmp_path / "half")
    assert all(parameter.dtype == torch.float32 for parameter in half.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in bert.parameters())
    np.testing.assert_allclose(
        dense(half.encode_queries(["the river"])), dense(bert.encode_queries(["the river"])), atol=0.05
    )


def test_weights_too_large_for_half_precision_are_not_saved(bert, tmp_path):
    with torch.no_grad():
        bert.mlm.get_output_embeddings().bias[0] = 1e5
    with pytest.raises(ModelError, match="float32"):
        bert.save(tmp_path / "half", dtype="float16")
    with pytest.raises(ConfigError, match="float32, float16"):
        bert.save(tmp_path / "half", dtype="int8")
    assert not (tmp_path / "half").exists()
    bert.save(tmp_path / "half")


def test_saving_replaces_nothing(bert, saved, tmp_path):
    with pytest.raises(ModelError, match="exists already"):
        bert.save(saved)
    (tmp_path / "empty").mkdir()
    bert.save(tmp_path / "empty")
    assert Splade.load(tmp_path / "empty").fingerprint == bert.fingerprint


def test_a_save_that_fails_leaves_no_folder(bert, tmp_path, monkeypatch):
    def fail(partial, final):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "publish_folder", fail)
        with pytest.raises(OSError, match="disk full"):
            bert.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    bert.save(tmp_path / "model")
    assert Splade.load(tmp_path / "model").fingerprint == bert.fingerprint
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_tokenizer_files_are_saved_as_they_were(copied, tmp_path):
    change_json(copied / "tokenizer_config.json", note="kept", tokenizer_class="TokenizersBackend")
    Splade.load(copied).save(tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").read_bytes() == (copied / "tokenizer.json").read_bytes()
    config = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert config["note"] == "kept" and config["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_the_card_is_ours_or_the_makers(bert, saved, tmp_path):
    assert "BertForMaskedLM" in (saved / "README.md").read_text()
    bert.save(tmp_path / "own", card="# Mine")
    assert (tmp_path / "own" / "README.md").read_text() == "# Mine"


# What others write, we open


def test_opens_what_sentence_transformers_saves(mlm_folder, texts, tmp_path, sentence_transformers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sentence_transformers.SparseEncoder(str(mlm_folder), device="cpu")
        theirs.prompts = {"query": "sun ", "document": "moss "}
        theirs[1].activation_function = "log1p_relu"
        theirs.max_seq_length = 11
        theirs.save(str(tmp_path / "theirs"))
    model = Splade.load(tmp_path / "theirs")
    assert model.settings == SpladeSettings(
        max_query_length=11,
        max_document_length=11,
        activation="log1p_relu",
        query_prefix="sun ",
        document_prefix="moss ",
    )
    filled = [text for text in texts if text.strip()]
    documents = theirs.encode_document(filled, convert_to_sparse_tensor=False).numpy()
    queries = theirs.encode_query(filled, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(dense(model.encode_documents(filled)), documents, atol=1e-5)
    np.testing.assert_allclose(dense(model.encode_queries(filled)), queries, atol=1e-5)


def test_opens_a_legacy_folder_whose_backbone_lies_inside(saved, bert, tmp_path):
    legacy = tmp_path / "legacy"
    (legacy / "0_MLMTransformer").mkdir(parents=True)
    modules = json.loads((saved / "modules.json").read_text())
    modules[0]["path"] = "0_MLMTransformer"
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(saved / name, legacy / "0_MLMTransformer")
    shutil.copytree(saved / "1_SpladePooling", legacy / "1_SpladePooling")
    (legacy / "modules.json").write_text(json.dumps(modules))
    (legacy / "0_MLMTransformer" / "sentence_bert_config.json").write_text('{"max_seq_length": 13}')
    model = Splade.load(legacy)
    assert model.settings.max_document_length == 13 and model.settings.query_prefix == ""
    np.testing.assert_allclose(dense(model.encode_queries(["river"])), dense(bert.encode_queries(["river"])), atol=1e-6)


def test_a_plain_folder_reads_at_most_what_its_tokenizer_does(copied):
    change_json(copied / "tokenizer_config.json", model_max_length=12)
    assert Splade.load(copied).settings == SpladeSettings(max_query_length=12, max_document_length=12)
    assert Splade.load(copied, max_query_length=20).settings.max_query_length == 20


def test_settings_given_stand_over_settings_stored(saved):
    change_json(saved / "splade_config.json", max_query_length=7, pooling="sum")
    model = Splade.load(saved, max_query_length=8)
    assert model.settings.max_query_length == 8 and model.settings.pooling == "sum"
    with pytest.raises(ConfigError, match="Did you mean max_query_length"):
        Splade.load(saved, max_query_len=8)


def test_spare_heads_of_a_checkpoint_are_left_out(copied, bert):
    def add(weights):
        weights["cls.seq_relationship.weight"] = torch.zeros(2, 24)
        weights["cls.seq_relationship.bias"] = torch.zeros(2)
        weights["bert.pooler.dense.weight"] = torch.zeros(24, 24)

    change_weights(copied, add)
    assert Splade.load(copied).fingerprint == bert.fingerprint


def test_a_hub_id_is_fetched_without_code_or_pickles(copied, bert, monkeypatch):
    asked = {}

    def snapshot_download(name, *, allow_patterns):
        asked[name] = allow_patterns
        return str(copied)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    model = Splade.load("someone/tiny")
    assert model.name == "someone/tiny" and model.fingerprint == bert.fingerprint
    (patterns,) = asked.values()
    for file in ("config.json", "model.safetensors", "1_SpladePooling/config.json", "vocab.txt", "merges.txt"):
        assert any(Path(file).match(pattern) for pattern in patterns), file
    for file in ("pytorch_model.bin", "modeling_own.py", "heads.pt", "training_args.pkl", "model.onnx"):
        assert not any(Path(file).match(pattern) for pattern in patterns), file


def test_without_a_network_the_message_says_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no folder someone/absent, .* hub or its cache"):
        Splade.load("someone/absent")
    for absent in (tmp_path / "absent", "./absent", "/absent/model", "a/b/c"):
        with pytest.raises(ModelError, match=r"There is no folder .*absent|a/b/c"):
            Splade.load(absent)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        Splade.load(tmp_path / "file")


def test_describing_loads_nothing(saved, copied):
    described = describe_model(saved)
    assert described["architecture"] == "BertForMaskedLM" and described["weights"] == "float32"
    assert described["max_query_length"] == 32 and described["pooling"] == "max"
    assert described["size_bytes"] == (saved / "model.safetensors").stat().st_size
    assert describe_model(copied)["max_document_length"] == 32
    assert json.dumps(described)


# What is refused


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda folder: change_json(folder / "config.json", architectures=["BertModel"]), "BertModel.*ForMaskedLM"),
        (lambda folder: change_json(folder / "config.json", architectures=...), "architecture none"),
        (
            lambda folder: change_json(folder / "config.json", auto_map={"AutoModel": "own.Model"}),
            "never runs such code",
        ),
        (
            lambda folder: change_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.T", None]}),
            "never runs such code",
        ),
        (lambda folder: (folder / "config.json").write_text("[]"), "does not hold what it should"),
        (lambda folder: (folder / "modules.json").write_text("{}"), "does not hold what it should"),
        (lambda folder: (folder / "modules.json").write_text('[{"idx": 0}]'), "does not hold what it should"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be opened by transformers"),
        (
            lambda folder: change_json(folder / "tokenizer.json", normalizer={"type": "Unheard"}),
            "cannot be opened by transformers: data did not match",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "pickle"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no tensors"), "cannot be opened"),
        (lambda folder: change_json(folder / "config.json", model_type="unheard"), "cannot be opened"),
        (lambda folder: change_json(folder / "config.json", num_hidden_layers=3), "would be random"),
        (lambda folder: change_json(folder / "config.json", num_hidden_layers=1), "do not fit its architecture"),
        (lambda folder: change_json(folder / "config.json", hidden_size=48), "cannot be opened|do not fit"),
        (
            lambda folder: change_weights(folder, lambda w: w.pop("cls.predictions.transform.dense.weight")),
            "would be random",
        ),
    ],
)
def test_a_folder_that_is_no_splade_model_is_refused(copied, damage, message):
    damage(copied)
    with pytest.raises(ModelError, match=message):
        Splade.load(copied)


@pytest.mark.parametrize(
    "kinds, message",
    [
        (["base.modules.router.Router"], "router_config.json is missing"),
        (["base.modules.router.Router", "models.Normalize"], "a Router among other modules"),
        (["models.Transformer", "models.Pooling", "sparse_encoder.models.SparseAutoEncoder"], "a CSR model"),
        (["models.Transformer", "models.Pooling"], "another kind of sentence-transformers model"),
        (["models.Transformer", "models.SpladePooling", "models.Normalize"], "modules that Everglade does not know"),
        (["base.modules.transformer.Transformer", "models.SpladePooling"], "not as a masked language model"),
    ],
)
def test_other_sentence_transformers_models_are_named_and_refused(saved, kinds, message):
    paths = ["", "1_SpladePooling", "2_More"]
    modules = [
        {"path": path, "type": f"sentence_transformers.{kind}"} for path, kind in zip(paths, kinds, strict=False)
    ]
    (saved / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=message):
        Splade.load(saved)


def test_modules_with_code_of_their_own_are_refused(saved):
    modules = json.loads((saved / "modules.json").read_text())
    modules[1]["type"] = "own_code.Pooling"
    (saved / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"own_code.Pooling.* runs no code"):
        Splade.load(saved)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"version": 2}, ModelError, "Install a newer one"),
        ({"format": "other"}, ModelError, "not written by Everglade"),
        ({"pooling": "mean"}, ConfigError, "max, sum"),
        ({"poling": "max"}, ConfigError, "Did you mean pooling"),
        ({"max_document_length": 64}, ConfigError, "positions for 32"),
    ],
)
def test_stored_settings_are_checked(saved, changes, error, message):
    change_json(saved / "splade_config.json", **changes)
    with pytest.raises(error, match=message):
        Splade.load(saved)


def test_lower_casing_that_the_tokenizer_does_not_do_is_refused(mlm_folders, tmp_path):
    for family in ("bert", "roberta"):
        Splade.load(mlm_folders[family]).save(tmp_path / family)
        (tmp_path / family / "splade_config.json").unlink()
        change_json(tmp_path / family / "sentence_bert_config.json", do_lower_case=True)
    Splade.load(tmp_path / "bert")
    with pytest.raises(ModelError, match="keeps upper case"):
        Splade.load(tmp_path / "roberta")


def test_loading_says_nothing(bert_folder, capfd):
    Splade.load(bert_folder)
    assert capfd.readouterr() == ("", "")
