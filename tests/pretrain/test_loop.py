"""Whole runs: what they learn, what they leave, and that nothing of it depends on interruptions."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file

from everglade.errors import CheckpointError, ConfigError, InputError
from everglade.model.splade import Splade
from everglade.pretrain.config import PretrainConfig
from everglade.pretrain.loop import pretrain
from everglade.train import checkpoint

SIX = PretrainConfig(
    steps=6,
    batch_size=8,
    accumulation_steps=2,
    max_length=24,
    min_span=4,
    learning_rate=3e-3,
    held_out=0.2,
    log_every=1,
    validate_every=4,
    checkpoint_every=2,
)
LEARN = replace(
    SIX,
    steps=24,
    accumulation_steps=1,
    learning_rate=1e-2,
    dropout=False,
    log_every=24,
    validate_every=24,
    checkpoint_every=24,
)


class Stop(Exception):
    """Stands for Ctrl-C, and for a kill at the same point."""


def stop_at(step):
    def progress(now):
        assert 0 <= now.done <= now.total
        if now.done == step * SIX.batch_size:
            raise Stop

    return progress


def remains(out):
    """Every file of a run but the times, by its sha256."""
    return {
        str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in out.rglob("*")
        if file.is_file() and file.name != "times.jsonl"
    }


def read_log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "config",
    [
        replace(SIX, objective="mlm", whole_words=True, steps=4),
        replace(SIX, objective="flops-mlm", steps=4),
        replace(SIX, objective="cocondenser"),
        replace(SIX, objective="cocondenser", precision="bf16", steps=4),
    ],
    ids=lambda config: f"{config.objective}-{config.precision}",
)
def test_an_interrupted_run_leaves_the_bytes_of_the_uninterrupted_one(bert_folder, documents, tmp_path, config):
    whole = pretrain(config, bert_folder, documents, tmp_path / "whole")
    for step in (1, 3):
        with pytest.raises(Stop):
            pretrain(config, bert_folder, documents, tmp_path / "cut", progress=stop_at(step))
        torch.rand(step)  # what else the process draws must not matter
    cut = pretrain(config, bert_folder, documents, tmp_path / "cut")
    assert remains(tmp_path / "cut") == remains(tmp_path / "whole")
    assert (cut.before, cut.after) == (whole.before, whole.after)
    assert "final/model.safetensors" in remains(tmp_path / "whole")

    # A finished run ends at once; a final model that was lost is written again from the checkpoint.
    before = remains(tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "final")
    again = pretrain(config, bert_folder, documents, tmp_path / "cut", progress=stop_at(0))
    assert remains(tmp_path / "cut") == before
    assert again.after == whole.after


@pytest.mark.parametrize("objective", ["mlm", "flops-mlm", "cocondenser"])
def test_pre_training_learns_and_leaves_a_plain_model(bert_folder, documents, tmp_path, objective):
    config = replace(LEARN, objective=objective, lambda_flops=0.05)
    result = pretrain(config, bert_folder, documents, tmp_path / "run")
    assert result.after["mlm"] < result.before["mlm"] - 0.5
    lines = read_log(tmp_path / "run")
    assert lines[0] == {"step": 0, "architecture": "BertForMaskedLM", "new_head": False}
    assert lines[1]["held_out"] == result.before
    assert lines[-1]["held_out"] == result.after
    if objective == "cocondenser":
        assert result.after["contrastive_accuracy"] > result.before["contrastive_accuracy"] + 0.1
        assert {"mlm", "head_mlm", "contrastive", "contrastive_accuracy"} < set(lines[-2])

    assert {file.name for file in result.final.iterdir()} == {
        *("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(result.final)
    trained = checkpoint.latest_checkpoint(tmp_path / "run" / "checkpoints")
    ours = Splade.load(result.final)
    saved = load_file(trained / "weights.safetensors")
    assert any(name.startswith("head.") for name in saved) == (objective == "cocondenser")
    for name, tensor in theirs.state_dict().items():
        if f"mlm.{name}" in saved:
            assert tensor.equal(saved[f"mlm.{name}"]), name
    assert len(ours.encode_documents(["the sun"])) == 1
    assert transformers.AutoTokenizer.from_pretrained(result.final).mask_token == "[MASK]"


def test_flops_are_kept_down(bert_folder, documents, tmp_path):
    config = replace(LEARN, objective="flops-mlm", steps=12)
    free = pretrain(replace(config, lambda_flops=0.0), bert_folder, documents, tmp_path / "free")
    kept = pretrain(replace(config, lambda_flops=0.1), bert_folder, documents, tmp_path / "kept")
    assert kept.after["flops"] < free.after["flops"] / 3
    assert kept.after["active_terms"] < free.after["active_terms"]


def test_what_is_held_out_is_measured_as_transformers_measures_it(bert_folder, documents, tmp_path):
    """Loss and accuracy of the start, from the rows and transformers' own loss."""
    from everglade.pretrain.rows import RowReader, Texts
    from everglade.pretrain.start import load_start

    config = replace(SIX, steps=1)
    result = pretrain(config, bert_folder, documents, tmp_path / "run")
    start, texts = load_start(bert_folder, 0), Texts(documents, config)
    rows = RowReader(start, config).held_out(texts, texts.held)
    labels = torch.full(rows.input_ids.shape, -100)
    labels.view(-1)[rows.places] = rows.labels
    with torch.no_grad():
        found = start.mlm(input_ids=rows.input_ids, attention_mask=rows.attention_mask, labels=labels)
    assert result.before["mlm"] == pytest.approx(found.loss.item(), abs=1e-5)
    guessed = found.logits.flatten(0, 1)[rows.places].argmax(dim=-1)
    assert result.before["mlm_accuracy"] == pytest.approx((guessed == rows.labels).float().mean().item(), abs=1e-6)
    activation = torch.log1p(torch.relu(found.logits)) * rows.attention_mask.unsqueeze(-1)
    wanted = activation.amax(dim=1).mean(dim=0).square().sum().item()
    assert result.before["flops"] == pytest.approx(wanted, rel=1e-3)


def test_a_dense_encoder_is_given_a_head_and_the_log_says_so(bert_folder, documents, tmp_path):
    mlm = transformers.AutoModelForMaskedLM.from_pretrained(bert_folder)
    mlm.base_model.save_pretrained(tmp_path / "dense")
    transformers.AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path / "dense")
    result = pretrain(replace(SIX, steps=2), tmp_path / "dense", documents, tmp_path / "run")
    assert result.has_new_head
    assert read_log(tmp_path / "run")[0]["new_head"] is True
    assert Splade.load(result.final).n_terms == 80
    config = json.loads((result.final / "config.json").read_text())
    assert (config["architectures"], config["tie_word_embeddings"]) == (["BertForMaskedLM"], True)


def test_other_settings_texts_and_starts_are_refused(bert_folder, folders, documents, tmp_path):
    config = replace(SIX, steps=2)
    pretrain(config, bert_folder, documents, tmp_path / "run")
    with pytest.raises(CheckpointError, match="learning_rate was 0.003 and is now 0.1"):
        pretrain(replace(config, learning_rate=0.1), bert_folder, documents, tmp_path / "run")
    with pytest.raises(CheckpointError, match="other examples or texts"):
        pretrain(config, bert_folder, {**documents, "d00": "sun"}, tmp_path / "run")
    with pytest.raises(CheckpointError, match="another model"):
        pretrain(config, folders["roberta"], documents, tmp_path / "run")
    with pytest.raises(CheckpointError, match="holds a run already"):
        pretrain(config, bert_folder, documents, tmp_path / "run", resume=False)


def test_a_list_of_texts_will_do_and_nothing_need_be_held_out(bert_folder, documents, tmp_path):
    config = replace(SIX, steps=1, held_out=0.0)
    result = pretrain(config, bert_folder, list(documents.values()), tmp_path / "run")
    assert (result.before, result.after) == ({}, {})
    with pytest.raises(InputError, match="no text to train on"):
        pretrain(config, bert_folder, [], tmp_path / "none")


def test_spans_of_one_document_alone_are_refused(bert_folder, documents, tmp_path):
    """There is nothing to tell them from: the contrastive loss would be 0 at every step."""
    config = replace(SIX, objective="cocondenser", held_out=0.0)
    texts = {name: text if name == "d07" else "sun" for name, text in documents.items()}
    with pytest.raises(InputError, match="all spans of step 1 are of one document"):
        pretrain(config, bert_folder, texts, tmp_path / "one")
    assert not (tmp_path / "one" / "final").exists()
    texts["d37"] = documents["d37"]
    assert pretrain(replace(config, steps=1), bert_folder, texts, tmp_path / "two").steps == 1


def test_one_held_out_document_is_told_from_no_other(bert_folder, documents, tmp_path):
    from everglade.pretrain.rows import Texts

    config = replace(SIX, objective="cocondenser", steps=1)
    held = [list(documents)[place] for place in Texts(documents, config).held]
    texts = {name: "sun" if name in held[1:] else text for name, text in documents.items()}
    result = pretrain(config, bert_folder, texts, tmp_path / "run")
    assert set(result.after) == {"mlm", "mlm_accuracy", "flops", "active_terms"}


def test_a_loss_that_is_no_number_stops_the_run(bert_folder, documents, tmp_path):
    with pytest.raises(ConfigError, match=r"is (nan|inf) at step \d"):
        pretrain(replace(SIX, learning_rate=1e30, warmup_steps=0), bert_folder, documents, tmp_path / "run")
    assert not (tmp_path / "run" / "final").exists()


def test_a_wish_to_shard_is_refused(bert_folder, documents, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="launch it without FSDP"):
        pretrain(SIX, bert_folder, documents, tmp_path / "run")
    assert not (tmp_path / "run").exists()
