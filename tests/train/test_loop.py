import hashlib
import json
import shutil
from dataclasses import replace

import pytest
import torch

from everglade import evaluate
from everglade.distill.examples import Example, TrainingSet
from everglade.errors import CheckpointError, ConfigError, InputError
from everglade.model.settings import SpladeSettings
from everglade.model.splade import Splade
from everglade.train import checkpoint
from everglade.train.config import TrainConfig
from everglade.train.loop import Validation, learning_rate, train

LEARN = TrainConfig(
    steps=60,
    batch_size=16,
    negatives_per_query=2,
    learning_rate=0.005,
    lambda_q=1e-3,
    lambda_d=1e-3,
    max_query_length=8,
    max_document_length=12,
    validate_every=30,
    checkpoint_every=60,
)
TEN = replace(
    LEARN, steps=10, batch_size=8, accumulation_steps=2, log_every=1, validate_every=4, checkpoint_every=3, dropout=True
)


class Stop(Exception):
    """Stands for Ctrl-C, and for a kill at the same point."""


def stop_at(step):
    def progress(now):
        assert 0 <= now.done <= now.total
        assert now.rows_per_second > 0 or now.eta_s is None
        if now.done == step * TEN.batch_size:
            raise Stop

    return progress


def read_log(out):
    """The log without the times."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("examples_per_second", "seconds")} for line in lines]


def remains(out):
    """Everything that must not depend on interruptions."""
    last = checkpoint.latest_checkpoint(out / "checkpoints")
    state = json.loads((last / "state.json").read_text())
    kept = ("step", "generators", "best_step", "best_score", "start_score", "sparsity", "logit_shift")
    sums = {
        str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest()
        for pattern in ("checkpoints/*/*.safetensors", "best/*", "final/*")
        for file in out.glob(pattern)
        if file.is_file()
    }
    return {key: state[key] for key in kept}, sums, read_log(out)


@pytest.fixture(scope="module")
def validation(toy):
    _, documents, queries, qrels = toy
    return Validation(documents, queries, qrels)


@pytest.fixture(scope="module")
def uninterrupted(tiny_folder, toy, validation, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(TEN, Splade.load(tiny_folder), toy[0], out, validation)
    return remains(out)


@pytest.mark.parametrize("loss", ["infonce", "margin_mse"])
def test_training_learns_words_that_queries_and_documents_do_not_share(tiny, toy, validation, tmp_path, loss):
    result = train(replace(LEARN, loss=loss), tiny, toy[0], tmp_path / "run", validation)
    assert result.start_score < 0.1
    assert result.best_score > 0.35
    logged = [line["validation"] for line in read_log(tmp_path / "run") if "validation" in line]
    assert result.best_score == max(values["RR@10"] for values in logged)

    # What is reported is what a user finds with the model folder that is left.
    _, documents, queries, qrels = toy
    best = Splade.load(result.best)
    scores = best.encode_queries([q.text for q in queries]).to_scipy() @ (
        best.encode_documents([d.text for d in documents]).to_scipy().T
    )
    run = {
        query.id: {document.id: score for document, score in zip(documents, row, strict=True) if score > 0}
        for query, row in zip(queries, scores.toarray().tolist(), strict=True)
    }
    assert evaluate(run, qrels, ["RR@10"])["RR@10"] == pytest.approx(result.best_score, abs=0.02)
    assert best.settings.max_query_length == 8
    assert best.settings.max_document_length == 12
    assert Splade.load(result.final).fingerprint == tiny.fingerprint


@pytest.mark.parametrize("steps", [[5], [1, 3, 4, 9, 10]])
def test_an_interrupted_run_ends_as_the_uninterrupted_one(tiny_folder, toy, validation, tmp_path, uninterrupted, steps):
    for step in steps:
        with pytest.raises(Stop):
            train(TEN, Splade.load(tiny_folder), toy[0], tmp_path / "run", validation, progress=stop_at(step))
        torch.rand(step)  # what else the process draws must not matter
    result = train(TEN, Splade.load(tiny_folder), toy[0], tmp_path / "run", validation)
    assert remains(tmp_path / "run") == uninterrupted
    assert result.best_score == uninterrupted[0]["best_score"]


ALL_AT_ONCE = replace(
    TEN,
    steps=30,
    log_every=4,
    validate_every=15,
    checkpoint_every=1,
    lambda_q=None,
    lambda_d=None,
    target_doc_terms=9.0,
    target_query_terms=7.0,
    lambda_ramp_steps=20,
    regularizer_q="df_flops",
    regularizer_d="df_flops",
    interpolate=0.7,
    start_terms=15,
    gradient_checkpointing=True,
)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_everything_a_run_remembers_survives_an_interruption(tiny_folder, toy, validation, tmp_path, precision):
    """Controllers, running frequencies, alarms, the start for the interpolation, the shift: the same bits after all."""
    config = replace(ALL_AT_ONCE, precision=precision)
    train(config, Splade.load(tiny_folder), toy[0], tmp_path / "whole", validation)
    for step in (1, 13, 26):
        with pytest.raises(Stop):
            train(config, Splade.load(tiny_folder), toy[0], tmp_path / "cut", validation, progress=stop_at(step))
    train(config, Splade.load(tiny_folder), toy[0], tmp_path / "cut", validation)
    assert remains(tmp_path / "cut") == remains(tmp_path / "whole")
    assert (tmp_path / "cut" / "lambdas.json").read_bytes() == (tmp_path / "whole" / "lambdas.json").read_bytes()
    assert len({line["lambda_d"] for line in read_log(tmp_path / "cut") if "total" in line}) > 5


@pytest.mark.parametrize("call", range(8))
def test_a_run_killed_while_it_publishes_a_folder_ends_as_the_uninterrupted_one(
    tiny_folder, toy, validation, tmp_path, uninterrupted, monkeypatch, call
):
    """Every folder of the run, checkpoints, best and final, is published through one function: stop at each call."""
    publish, calls = checkpoint.durable.publish_folder, []

    def killed(partial, final):
        if final.parent.name in ("run", "checkpoints"):
            calls.append(final)
            if len(calls) == call + 1:
                raise Stop
        publish(partial, final)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.durable, "publish_folder", killed)
        with pytest.raises(Stop):
            train(TEN, Splade.load(tiny_folder), toy[0], tmp_path / "run", validation)
    train(TEN, Splade.load(tiny_folder), toy[0], tmp_path / "run", validation)
    assert remains(tmp_path / "run") == uninterrupted


def test_a_finished_run_ends_at_once_with_its_model(tiny_folder, toy, validation, tmp_path):
    model = Splade.load(tiny_folder)
    first = train(replace(TEN, steps=3), model, toy[0], tmp_path, validation)
    log = (tmp_path / "log.jsonl").read_bytes()
    again = Splade.load(tiny_folder)
    assert train(replace(TEN, steps=3), again, toy[0], tmp_path, validation, progress=stop_at(3)) == first
    assert again.fingerprint == model.fingerprint
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_the_log_says_what_happened(tiny, toy, validation, tmp_path):
    train(TEN, tiny, toy[0], tmp_path, validation)
    log = read_log(tmp_path)
    assert [line["step"] for line in log if "validation" in line] == [0, 4, 8, 10]
    steps = [line for line in log if "total" in line]
    assert [line["step"] for line in steps] == list(range(1, 11))
    for line in steps:
        parts = line["ranking"] + line["lambda_q"] * line["penalty_q"] + line["lambda_d"] * line["penalty_d"]
        assert line["total"] == pytest.approx(parts, rel=1e-5)
        assert line["learning_rate"] == learning_rate(line["step"], TEN)
        assert line["query_terms"] > 0
    assert [round(line["lambda_q"] / 1e-3, 4) for line in steps[:4]] == [0.1111, 0.4444, 1.0, 1.0]
    assert set(log[0]["validation"]) == {"RR@10", "flops", "query_terms", "document_terms"}
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000009", "step-00000010"]
    assert json.loads((tmp_path / "config.json").read_text()) == TEN.to_dict()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best",
        "checkpoints",
        "config.json",
        "final",
        "log.jsonl",
    ]


def test_a_checkpoint_of_another_run_is_refused(tiny_folder, toy, tmp_path):
    training_set = toy[0]
    short = replace(TEN, steps=3)
    train(short, Splade.load(tiny_folder), training_set, tmp_path)
    with pytest.raises(CheckpointError, match=r"seed was 123 and is now 5; .*|batch_size") as caught:
        train(replace(short, seed=5, batch_size=16), Splade.load(tiny_folder), training_set, tmp_path)
    assert "batch_size was 8 and is now 16" in str(caught.value)
    fewer = TrainingSet(training_set.queries, training_set.documents, training_set.examples[:40])
    with pytest.raises(CheckpointError, match="other examples or texts"):
        train(short, Splade.load(tiny_folder), fewer, tmp_path)
    changed = Splade.load(tiny_folder)
    with torch.no_grad():
        changed.mlm.cls.predictions.bias[0] += 1
    with pytest.raises(CheckpointError, match="begun from another model"):
        train(short, changed, training_set, tmp_path)
    with pytest.raises(CheckpointError, match="holds a run already"):
        train(short, Splade.load(tiny_folder), training_set, tmp_path, resume=False)
    shutil.copytree(tmp_path / "final", tmp_path / "other" / "final")
    with pytest.raises(CheckpointError, match="finished run without its checkpoints"):
        train(short, Splade.load(tiny_folder), training_set, tmp_path / "other")
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(CheckpointError, match=r"log\.jsonl has 0 bytes"):
        train(short, Splade.load(tiny_folder), training_set, tmp_path)


STATIC = {"query_encoder": "static"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"pooling": "sum"}, "pooling was 'max' and is now 'sum'"),
        ({}, {"activation": "log1p_relu"}, "activation was 'relu' and is now 'log1p_relu'"),
        ({}, {"document_prefix": "tell1 "}, "document_prefix was '' and is now 'tell1 '"),
        (STATIC, {**STATIC, "freeze_documents": True}, "freeze_documents was False and is now True"),
        (STATIC, {"query_encoder": "binary"}, "query_kind was 'static' and is now 'binary'"),
    ],
)
def test_a_checkpoint_of_a_model_with_other_settings_is_refused(tiny_folder, toy, tmp_path, before, after, said):
    short = replace(TEN, steps=1)
    train(short, Splade.load(tiny_folder, **before), toy[0], tmp_path)
    with pytest.raises(CheckpointError, match=said):
        train(short, Splade.load(tiny_folder, **after), toy[0], tmp_path)


def test_a_checkpoint_with_other_parameters_frozen_is_refused(tiny_folder, toy, tmp_path):
    short, other = replace(TEN, steps=1), Splade.load(tiny_folder)
    train(short, Splade.load(tiny_folder), toy[0], tmp_path)
    other.mlm.cls.predictions.bias.requires_grad_(False)
    with pytest.raises(CheckpointError, match="other parameters frozen: .*bias, the first of 1"):
        train(short, other, toy[0], tmp_path)


def test_a_checkpoint_with_another_validation_set_is_refused(tiny_folder, toy, validation, tmp_path):
    short = replace(TEN, steps=1)
    train(short, Splade.load(tiny_folder), toy[0], tmp_path, validation)
    words = [validation.queries[0]._replace(text="ask1"), *validation.queries[1:]]
    for changed in (
        None,
        replace(validation, depth=5),
        replace(validation, documents=validation.documents[1:]),
        replace(validation, queries=words),
        replace(validation, qrels={**validation.qrels, "v00": {"d00": 2}}),
    ):
        with pytest.raises(CheckpointError, match="another validation set"):
            train(short, Splade.load(tiny_folder), toy[0], tmp_path, changed)
    train(short, Splade.load(tiny_folder), toy[0], tmp_path, validation)


def test_another_version_of_torch_is_told(tiny_folder, toy, tmp_path, monkeypatch):
    short = replace(TEN, steps=3)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0.0")
        train(short, Splade.load(tiny_folder), toy[0], tmp_path)
    with pytest.warns(UserWarning, match="another torch"):
        train(short, Splade.load(tiny_folder), toy[0], tmp_path)


def test_the_best_model_may_be_the_one_before_training(tiny, toy, validation, tmp_path):
    start = tiny.fingerprint
    lengths = {"max_query_length": 16, "max_document_length": 16}
    result = train(replace(TEN, learning_rate=1e-12, **lengths), tiny, toy[0], tmp_path, validation)
    assert (result.best_step, result.best_score) == (0, result.start_score)
    assert Splade.load(result.best).fingerprint == start


def test_a_model_may_read_more_of_a_document_than_it_was_trained_on(tiny_folder, toy, tmp_path):
    cut = replace(TEN, steps=3, checkpoint_every=3, max_document_length=3, warmup_steps=1, lambda_ramp_steps=1)
    saved = []
    for out, length in (("short", None), ("long", 12)):
        result = train(replace(cut, saved_document_length=length), Splade.load(tiny_folder), toy[0], tmp_path / out)
        saved.append(Splade.load(result.final))
    assert [model.settings.max_document_length for model in saved] == [3, 12]
    assert all(torch.equal(*pair) for pair in zip(*(model.parameters() for model in saved), strict=True))
    words = ["tell1 tell2 tell3 tell4"]
    assert saved[0].encode_documents(words).to_scipy().nnz < saved[1].encode_documents(words).to_scipy().nnz
    with pytest.raises(ConfigError, match="max_document_length is 5 and saved_document_length 4"):
        train(replace(cut, max_document_length=5, saved_document_length=4), saved[0], toy[0], tmp_path / "refused")


def test_a_collapsed_run_stops_with_advice(tiny, toy, tmp_path):
    config = replace(TEN, steps=40, learning_rate=0.1, lambda_d=1e3, collapse_patience=2, lambda_ramp_steps=0)
    with pytest.raises(ConfigError, match="training has collapsed: every .* vector was empty at 2 log steps"):
        train(config, tiny, toy[0], tmp_path)


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(tiny, toy, tmp_path):
    examples = [Example("q00", ("d00", "d01", "d02"), (3e38, -3e38, 0.0))]
    training_set = TrainingSet(toy[0].queries, toy[0].documents, examples)
    before = checkpoint.weights_sha256(tiny)
    with pytest.raises(ConfigError, match="the loss is inf at step 1"):
        train(replace(TEN, loss="margin_mse"), tiny, training_set, tmp_path)
    assert checkpoint.weights_sha256(tiny) == before


def test_a_gradient_that_is_no_number_stops_before_the_weights_are_spoilt(tiny, toy, tmp_path):
    tiny.mlm.cls.predictions.bias.register_hook(lambda gradient: gradient * float("inf"))
    before = checkpoint.weights_sha256(tiny)
    with pytest.raises(ConfigError, match="the norm of the gradient is (nan|inf) at step 1"):
        train(TEN, tiny, toy[0], tmp_path)
    assert checkpoint.weights_sha256(tiny) == before
    assert checkpoint.latest_checkpoint(tmp_path / "checkpoints") is None


def test_an_echo_needs_positions_for_both_readings(tiny, toy, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    mlm = LlamaForCausalLM(LlamaConfig(vocab_size=tiny.n_terms, max_position_embeddings=16, **sizes))
    model = Splade(mlm, tiny.tokenizer, SpladeSettings(8, 8, reading="echo"), name="echo")
    with pytest.raises(ConfigError, match="max_document_length is 12, which an echo takes twice"):
        train(TEN, model, toy[0], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({"target_doc_terms": 9.0}, {**STATIC, "freeze_documents": True}, "nothing that encodes document texts"),
        ({"start_terms": 9}, {**STATIC, "freeze_documents": True}, "nothing that encodes document texts"),
        ({"target_query_terms": 9.0}, {"query_encoder": "binary"}, "nothing that encodes query texts"),
        ({"target_flops": 1.0}, {"query_encoder": "binary"}, "nothing that encodes query texts"),
        ({"target_doc_terms": 9.0}, {"max_document_terms": 6}, "target_doc_terms is 9, but the model keeps 6 terms"),
        ({"target_query_terms": 9.0}, {"max_query_terms": 6}, "target_query_terms is 9, but the model keeps 6 terms"),
        ({"target_doc_terms": 500.0}, {}, "the vocabulary of .* has 53 terms"),
        ({"start_terms": 53}, {}, "the vocabulary of .* has 53 terms"),
    ],
)
def test_what_no_training_can_reach_is_refused(tiny_folder, toy, tmp_path, settings, changes, said):
    config = replace(TEN, steps=60, lambda_q=None, lambda_d=None, **settings)
    with pytest.raises(ConfigError, match=said):
        train(config, Splade.load(tiny_folder, **changes), toy[0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_measure_is_refused_before_anything_is_done(tiny, toy, validation, tmp_path):
    with pytest.raises(ConfigError, match="the measure 'RR10' is not known"):
        train(replace(TEN, validation_measure="RR10"), tiny, toy[0], tmp_path, validation)
    assert not list(tmp_path.iterdir())


def test_what_the_loss_needs_must_be_there(tiny, toy, tmp_path):
    bare = TrainingSet(toy[0].queries, toy[0].documents, [Example("q00", ("d00",))])
    with pytest.raises(InputError, match="no negative"):
        train(TEN, tiny, bare, tmp_path)
    with pytest.raises(InputError, match="no teacher scores"):
        train(replace(TEN, loss="margin_mse"), tiny, bare, tmp_path)
    with pytest.raises(ConfigError, match="max_document_length is 17, but .* has positions for 16 tokens"):
        train(replace(TEN, max_document_length=17), tiny, toy[0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_precision_is_each_runs_own(tiny, toy, tmp_path):
    train(replace(TEN, steps=2, precision="bf16"), tiny, toy[0], tmp_path / "bf16")
    assert tiny.forward.__func__ is Splade.forward
    assert all(parameter.dtype == torch.float32 for parameter in tiny.parameters())
    train(replace(TEN, steps=2), tiny, toy[0], tmp_path / "no")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="precision = 'fp16' needs a GPU"):
            train(replace(TEN, steps=2, precision="fp16"), tiny, toy[0], tmp_path / "fp16")


def test_the_process_is_left_as_it_was(tiny, toy, tmp_path):
    tiny.train()
    torch.manual_seed(5)
    before = checkpoint.capture_generators()
    train(replace(TEN, steps=2), tiny, toy[0], tmp_path)
    assert checkpoint.capture_generators() == before
    assert not torch.are_deterministic_algorithms_enabled()
    assert tiny.training
    assert torch.is_grad_enabled()


def test_biases_and_layernorm_do_not_decay(tiny, toy, tmp_path):
    """With nothing to learn, decay alone moves the weights."""
    config = replace(
        TEN, steps=1, learning_rate=0.01, weight_decay=0.5, warmup_steps=1, dropout=False, loss="margin_mse"
    )
    texts = {"e1": "", "e2": "", "e3": ""}
    training_set = TrainingSet({"q": ""}, texts, [Example("q", tuple(texts), (0.0, 0.0, 0.0))])
    before = {name: parameter.detach().clone() for name, parameter in tiny.named_parameters()}
    train(config, tiny, training_set, tmp_path)
    for name, parameter in tiny.named_parameters():
        factor = 1 - 0.01 * 0.5 if parameter.ndim > 1 else 1.0
        assert torch.allclose(parameter, before[name] * factor, atol=1e-7), name


def test_the_learning_rate_rises_and_falls_linearly():
    config = TrainConfig(steps=10, warmup_steps=4, learning_rate=1.0)
    rates = [learning_rate(step, config) for step in range(1, 11)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    flat = replace(config, warmup_steps=10)
    assert learning_rate(10, flat) == 1.0
    assert learning_rate(1, replace(config, warmup_steps=0)) == 1.0


def test_the_final_model_lies_between_the_start_and_the_tuned_one(tiny_folder, toy, validation, tmp_path):
    results = {}
    for share in (1.0, 0.7):
        model = Splade.load(tiny_folder)
        results[share] = train(replace(TEN, interpolate=share), model, toy[0], tmp_path / str(share), validation)
        assert Splade.load(results[share].final).fingerprint == model.fingerprint
    start, tuned, mixed = (
        dict(Splade.load(folder).named_parameters()) for folder in (tiny_folder, results[1.0].final, results[0.7].final)
    )
    for name, parameter in mixed.items():
        assert torch.allclose(parameter, 0.7 * tuned[name] + 0.3 * start[name], atol=1e-6), name
    # Training itself knows nothing of it; what is validated is the mixture.
    lines = [read_log(tmp_path / str(share)) for share in (1.0, 0.7)]
    steps = [[line for line in log if "total" in line] for log in lines]
    assert steps[0] == steps[1]
    assert lines[0][0] == lines[1][0]
    assert lines[0][-1] != lines[1][-1]
    _, documents, _, _ = toy
    counted = len(Splade.load(results[0.7].final).encode_documents([d.text for d in documents]).terms) / len(documents)
    assert lines[1][-1]["validation"]["document_terms"] == pytest.approx(counted)


@pytest.mark.parametrize("dropout", [True, False])
def test_gradient_checkpointing_changes_nothing_but_memory(tiny_folder, toy, tmp_path, monkeypatch, dropout):
    from transformers.models.bert.modeling_bert import BertIntermediate

    calls = []
    forward = BertIntermediate.forward
    monkeypatch.setattr(BertIntermediate, "forward", lambda *args, **more: calls.append(1) or forward(*args, **more))
    hashes, counts = [], []
    for on in (False, True):
        model = Splade.load(tiny_folder)
        config = replace(TEN, steps=2, accumulation_steps=1, dropout=dropout, gradient_checkpointing=on)
        calls.clear()
        train(config, model, toy[0], tmp_path / str(on))
        counts.append(len(calls))
        hashes.append(checkpoint.weights_sha256(model))
        assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        assert not any(module._forward_hooks for module in model.modules())
    assert hashes[0] == hashes[1]
    assert counts[1] == 2 * counts[0]  # every layer was computed again on the way back


def test_frozen_parameters_stay_as_they_are(tiny, toy, tmp_path):
    before = {name: parameter.detach().clone() for name, parameter in tiny.named_parameters()}
    for name, parameter in tiny.named_parameters():
        parameter.requires_grad_("encoder" not in name)
    train(replace(TEN, steps=2, interpolate=0.5), tiny, toy[0], tmp_path / "some")
    for name, parameter in tiny.named_parameters():
        assert parameter.equal(before[name]) == ("encoder" in name), name
    for parameter in tiny.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameters to train"):
        train(replace(TEN, steps=2), tiny, toy[0], tmp_path / "none")


def test_progress_is_told_before_the_first_validation(tiny, toy, validation, tmp_path):
    seen = []

    def progress(now):
        seen.append((now.done, now.eta_s is None, (tmp_path / "best").exists()))

    train(replace(TEN, steps=2, batch_size=4), tiny, toy[0], tmp_path, validation, progress=progress)
    assert seen == [(0, True, False), (4, False, True), (8, False, True)]


def test_dense_vectors_stop_the_run_with_advice_but_not_during_the_ramp(tiny, toy, tmp_path):
    with torch.no_grad():
        tiny.mlm.cls.predictions.bias += 2.0
    config = replace(TEN, steps=20, learning_rate=1e-6, lambda_ramp_steps=10, collapse_patience=3)
    with pytest.raises(ConfigError, match="training does not get sparse: query vectors use 53 of 53 terms"):
        train(config, tiny, toy[0], tmp_path)
    assert read_log(tmp_path)[-1]["step"] == 13


def test_the_query_encoder_may_have_a_learning_rate_of_its_own(tiny):
    from everglade.train.machine import _groups

    tiny.query_encoder = torch.nn.Linear(3, 3)
    groups = _groups(TrainConfig(learning_rate=1e-3, query_learning_rate=1e-2), tiny)
    with pytest.raises(ConfigError, match="query_learning_rate is given, but no query encoder of its own is trained"):
        _groups(TrainConfig(query_learning_rate=1e-2), Splade(tiny.mlm, tiny.tokenizer, tiny.settings))
    scales = {id(p): (group["scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert scales[id(tiny.query_encoder.weight)] == (10.0, 0.01)
    assert scales[id(tiny.query_encoder.bias)] == (10.0, 0.0)
    assert scales[id(tiny.mlm.cls.predictions.bias)] == (1.0, 0.0)
    assert len(scales) == len(list(tiny.parameters()))
