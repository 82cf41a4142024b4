"""What pre-training can start from, and what it leaves alone."""

import json

import pytest
import torch

from everglade.bundled import bundled_model
from everglade.errors import ModelError
from everglade.pretrain.start import load_start
from everglade.pretrain.states import open_encoder


def save_dense(family, folders, path):
    """An encoder without a head, as sentence-transformers keeps it: modules.json, a bare ...Model."""
    import transformers

    mlm = transformers.AutoModelForMaskedLM.from_pretrained(folders[family])
    mlm.base_model.save_pretrained(path)
    transformers.AutoTokenizer.from_pretrained(folders[family]).save_pretrained(path)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    kinds = [
        {"idx": i, "name": str(i), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for i, (place, kind) in enumerate(modules)
    ]
    (path / "modules.json").write_text(json.dumps(kinds))
    return mlm


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_a_dense_encoder_gets_a_new_head_tied_to_its_embeddings(folders, tmp_path, family):
    mlm = save_dense(family, folders, tmp_path)
    start, again, other = (load_start(tmp_path, seed) for seed in (1, 1, 2))
    assert start.has_new_head
    open_encoder(start.mlm)
    weights = start.mlm.state_dict()
    for name, tensor in mlm.base_model.state_dict().items():
        assert weights[f"{start.mlm.base_model_prefix}.{name}"].equal(tensor), name
    assert start.mlm.get_output_embeddings().weight is start.mlm.get_input_embeddings().weight
    assert start.fingerprint() == again.fingerprint() != other.fingerprint()
    state = torch.get_rng_state()
    load_start(tmp_path, 3)
    assert torch.get_rng_state().equal(state)


def test_from_scratch_only_shape_and_tokenizer_are_taken(folder):
    known, start, again, other = (
        load_start(folder, 0),
        *(load_start(folder, seed, from_scratch=True) for seed in (1, 1, 2)),
    )
    assert start.fingerprint() == again.fingerprint() != other.fingerprint()
    weights = known.mlm.state_dict()
    drawn = start.mlm.state_dict()
    assert {name: tensor.shape for name, tensor in drawn.items()} == {n: tensor.shape for n, tensor in weights.items()}
    assert not any(drawn[name].equal(tensor) for name, tensor in weights.items() if name.endswith("dense.weight"))
    assert start.tokenizer_files == known.tokenizer_files
    assert start.mlm.dtype == torch.float32
    open_encoder(start.mlm)


def test_a_masked_language_model_keeps_its_head(folder):
    start = load_start(folder, 0)
    assert not start.has_new_head
    assert start.mlm.dtype == torch.float32
    assert start.fingerprint() == load_start(folder, 5).fingerprint()


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_another_name_that_has_the_head_keeps_it(folders, tmp_path, tied):
    """BERT as it was published: ...ForPreTraining, with the head of the next sentence beside that of masked words."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folders["bert"])
    config.tie_word_embeddings = tied
    torch.manual_seed(4)
    model = transformers.BertForPreTraining(config)
    with torch.no_grad():
        model.cls.predictions.decoder.bias.normal_()
        model.cls.predictions.transform.dense.weight.normal_()
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
    start = load_start(tmp_path, 0)
    assert type(start.mlm).__name__ == "BertForMaskedLM"
    assert not start.has_new_head
    weights = start.mlm.state_dict()
    for name, tensor in model.state_dict().items():
        if name.startswith("cls.predictions"):
            assert weights[name].equal(tensor), name
    assert (start.mlm.get_output_embeddings().weight is start.mlm.get_input_embeddings().weight) == tied


def test_a_head_that_is_not_whole_is_made_anew(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    save_dense("bert", folders, tmp_path)
    (tmp_path / "modules.json").unlink()
    whole = load_file(folders["bert"] / "model.safetensors")
    transform = "cls.predictions.transform.dense."
    kept = {name: tensor for name, tensor in whole.items() if not name.startswith(transform)}
    assert len(kept) == len(whole) - 2
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    edit_config(tmp_path, architectures=["BertForPreTraining"], tie_word_embeddings=False)
    start = load_start(tmp_path, 0)
    assert start.has_new_head
    assert start.mlm.get_output_embeddings().weight is start.mlm.get_input_embeddings().weight


def test_a_start_with_other_dropout_or_another_tokenizer_is_another_start(folders, tmp_path):
    import shutil

    own = load_start(folders["bert"], 0).fingerprint()
    for name in ("moved", "dropout", "tokens"):
        shutil.copytree(folders["bert"], tmp_path / name)
    edit_config(tmp_path / "moved", transformers_version="4.0.0", _name_or_path="elsewhere")
    assert load_start(tmp_path / "moved", 0).fingerprint() == own
    edit_config(tmp_path / "dropout", attention_probs_dropout_prob=0.3)
    assert load_start(tmp_path / "dropout", 0).fingerprint() != own
    file = tmp_path / "tokens" / "tokenizer.json"
    file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))
    assert load_start(tmp_path / "tokens", 0).fingerprint() != own


def test_a_splade_folder_gives_its_language_model():
    start = load_start(bundled_model(), 0)
    assert type(start.mlm).__name__ == "BertForMaskedLM"
    assert not start.has_new_head


def test_a_router_gives_its_document_encoder(folders, tmp_path):
    from everglade.model.splade import Splade

    model = Splade.load(folders["bert"], query_encoder="binary")
    model.save(tmp_path / "router")
    start = load_start(tmp_path / "router", 0)
    assert start.mlm.get_output_embeddings().weight.equal(model.mlm.get_output_embeddings().weight)


def edit_config(path, **changes):
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_what_cannot_be_pre_trained_is_refused(folders, tmp_path):
    save_dense("bert", folders, tmp_path)
    edit_config(tmp_path, architectures=["LlamaForCausalLM"])
    (tmp_path / "modules.json").unlink()
    with pytest.raises(ModelError, match="holds a decoder"):
        load_start(tmp_path, 0)
    edit_config(tmp_path, architectures=["BertModel"], num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"lacks weights of its encoder \(bert.encoder.layer.2"):
        load_start(tmp_path, 0)
    edit_config(tmp_path, num_hidden_layers=2)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        load_start(tmp_path, 0)
    with pytest.raises(ModelError, match="There is no folder"):
        load_start(tmp_path / "nowhere", 0)


def test_a_tokenizer_without_a_mask_is_refused(folders, tmp_path):
    save_dense("bert", folders, tmp_path)
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config.pop("mask_token")
    file.write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="no mask token"):
        load_start(tmp_path, 0)
