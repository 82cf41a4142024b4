"""Training a teacher: it learns, its losses are the textbook's, it goes on bit for bit, and it asks nobody anything."""

import importlib.util
import json
import os
import shutil
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from everglade.distill.examples import Example, TrainingSet
from everglade.distill.scoring import ScoringSettings, score_to_folder
from everglade.errors import CheckpointError, ConfigError, InputError, MissingExtra, ModelError
from everglade.model.settings import SpladeSettings
from everglade.model.splade import Splade
from everglade.train.cross_encoder import Reranking, TeacherConfig, train_teacher
from everglade.train.teacher_start import find_backbone, load_start

SHORT = {"steps": 4, "batch_size": 4, "negatives_per_query": 2, "checkpoint_every": 2, "log_every": 1}


@pytest.fixture(scope="session")
def held_out(toy):
    """Half of the toy's queries, each with its document at the end of 20 candidates."""
    _, documents, asked, qrels = toy
    texts = {document.id: document.text for document in documents}
    run = {}
    for query in asked[:20]:
        (right,) = qrels[query.id]
        others = [document_id for document_id in texts if document_id != right][:19]
        run[query.id] = {document_id: float(20 - place) for place, document_id in enumerate([*others, right])}
    return Reranking(asked[:20], texts, run, {query.id: qrels[query.id] for query in asked[:20]})


def test_a_trained_teacher_reranks_better_than_its_start(tiny_folder, toy, held_out, tmp_path):
    config = TeacherConfig(steps=40, batch_size=16, learning_rate=3e-3, loss="listwise", validate_every=20)
    result = train_teacher(config, tiny_folder, toy[0], tmp_path / "run", validation=held_out)
    assert result.candidates == {"nDCG@10": 0.0, "RR@10": 0.0}  # all twenty right ones stand at place 20
    assert result.end["nDCG@10"] > result.start["nDCG@10"] + 0.15
    assert result.end["RR@10"] > result.start["RR@10"] + 0.1
    lines = [json.loads(line) for line in result.log.read_text().splitlines()]
    tried = [(line["step"], line["validation"]) for line in lines if "validation" in line]
    assert [step for step, _ in tried] == [0, 20, 40]
    assert (tried[0][1], tried[-1][1]) == (result.start, result.end)

    from sentence_transformers import CrossEncoder

    own = CrossEncoder(str(result.final), local_files_only=True)
    run = {}
    for query in held_out.queries:
        hits = held_out.candidates[query.id]
        scores = own.predict([(query.text, held_out.documents[hit]) for hit in hits], show_progress_bar=False)
        run[query.id] = dict(zip(hits, map(float, scores), strict=True))
    assert held_out.measure(run) == pytest.approx(result.end)


@pytest.fixture
def calm_folder(tiny_folder, tmp_path):
    """The tiny model without dropout."""
    model = Splade.load(tiny_folder)
    model.mlm.config.hidden_dropout_prob = model.mlm.config.attention_probs_dropout_prob = 0.0
    model.save(tmp_path / "calm")
    return tmp_path / "calm"


@pytest.mark.parametrize(
    ("loss", "weight"), [("binary_cross_entropy", 1.0), ("binary_cross_entropy", 3.0), ("listwise", 1)]
)
@pytest.mark.parametrize("parts", [1, 2])
def test_losses_and_gradients_are_the_textbooks(calm_folder, toy, tmp_path, loss, weight, parts):
    """The gradient is read from AdamW's first moment, 0.1 of it after one step."""
    training_set = TrainingSet(toy[0].queries, toy[0].documents, toy[0].examples[:6])
    config = TeacherConfig(
        steps=1,
        batch_size=6,
        accumulation_steps=parts,
        negatives_per_query=4,
        loss=loss,
        positive_weight=weight,
        max_gradient_norm=1e9,
        log_every=1,
    )
    result = train_teacher(config, calm_folder, training_set, tmp_path / "run")
    torch.manual_seed(config.seed)
    start = load_start(calm_folder, None)
    pairs = [
        (training_set.queries[example.query_id], training_set.documents[document_id])
        for example in training_set.examples
        for document_id in example.document_ids
    ]
    tokens = start.tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    scores = start.transformers_model(**tokens).logits.reshape(6, 5)
    if loss == "listwise":
        wanted = functional.cross_entropy(scores, torch.zeros(6, dtype=torch.int64))
    else:
        shares = torch.sigmoid(scores.double())
        terms = torch.cat([-weight * torch.log(shares[:, :1]), -torch.log(1 - shares[:, 1:])], dim=1)
        wanted = terms.mean()
    (line,) = map(json.loads, result.log.read_text().splitlines())
    assert line["loss"] == pytest.approx(wanted.item(), rel=1e-5)
    wanted.backward()
    gradients = {name: parameter.grad for name, parameter in start.named_parameters()}
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert line["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)
    moments = load_file(tmp_path / "run" / "checkpoints" / "step-00000001" / "optimizer.safetensors")
    for name, gradient in gradients.items():
        torch.testing.assert_close(10 * moments[f"{name}/exp_avg"], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_gradients_are_shortened_and_the_rate_is_that_of_all_training(calm_folder, toy, tmp_path):
    config = TeacherConfig(
        **{**SHORT, "steps": 5}, warmup_steps=2, learning_rate=0.3, max_gradient_norm=1e-3, keep_checkpoints=9
    )
    result = train_teacher(config, calm_folder, toy[0], tmp_path / "run")
    lines = [json.loads(line) for line in result.log.read_text().splitlines()]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.15, 0.3, 0.3, 0.2, 0.1])
    assert all(line["gradient_norm"] > 1e-2 for line in lines)
    moments = load_file(tmp_path / "run" / "checkpoints" / "step-00000002" / "optimizer.safetensors")
    first = torch.stack([moment.norm() for name, moment in moments.items() if name.endswith("exp_avg")]).norm()
    assert 0 < float(first) < 0.2 * 1e-3  # of two gradients of at most 1e-3, each by a tenth


class Stop(Exception):
    """Stands for Ctrl-C."""


def test_an_interruption_between_two_pieces_leaves_nothing_behind(tiny_folder, toy, tmp_path):
    """accelerate keeps for the whole process whether gradients are whole; at "no" no optimiser takes a step."""
    from accelerate import Accelerator

    def stop(module, _):
        if type(module).__name__ == "BertModel":
            raise Stop

    hook = torch.nn.modules.module.register_module_forward_pre_hook(stop)
    try:
        with pytest.raises(Stop):
            train_teacher(TeacherConfig(**SHORT, accumulation_steps=2), tiny_folder, toy[0], tmp_path / "run")
    finally:
        hook.remove()
    layer = torch.nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    accelerator = Accelerator(cpu=True)
    layer, optimizer = accelerator.prepare(layer, torch.optim.SGD(layer.parameters(), lr=1.0))
    accelerator.backward(layer(torch.ones(2)).sum())
    optimizer.step()
    assert not torch.equal(layer.weight, before)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_killed_at_any_step_it_ends_with_the_same_bytes(tiny_folder, toy, held_out, tmp_path):
    config = TeacherConfig(**SHORT, accumulation_steps=2, validate_every=3)
    train_teacher(config, tiny_folder, toy[0], tmp_path / "whole", validation=held_out)
    whole = contents(tmp_path / "whole")
    assert {"config.json", "log.jsonl", "final/model.safetensors", "checkpoints/step-00000004/state.json"} <= set(whole)
    for calls in (1, 3, 4):  # before a checkpoint, between two, and after the last before the model is there
        out = tmp_path / f"killed-{calls}"
        if (child := os.fork()) == 0:
            train_teacher(config, tiny_folder, toy[0], out, validation=held_out, progress=killer(calls))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 9
        assert not (out / "final").exists()
        train_teacher(config, tiny_folder, toy[0], out, validation=held_out)
        assert contents(out) == whole
    before = (tmp_path / "whole" / "final" / "model.safetensors").stat().st_mtime_ns
    again = train_teacher(config, tiny_folder, toy[0], tmp_path / "whole", validation=held_out)
    assert again.end is not None
    assert (again.final / "model.safetensors").stat().st_mtime_ns == before
    assert contents(tmp_path / "whole") == whole


def killer(calls):
    """Give a callback that kills its process when it is called for that many times after the first."""
    told = iter(range(calls, -1, -1))
    return lambda _: next(told) or os.kill(os.getpid(), 9)


def test_there_is_no_pickle_and_no_question_to_a_hub(tiny_folder, toy, held_out, tmp_path, monkeypatch):
    import huggingface_hub.constants

    asked = []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address) or [][0])
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    for name in ("save", "load"):
        monkeypatch.setattr(torch, name, lambda *_, name=name, **__: asked.append(f"torch.{name}"))
    out, texts = tmp_path / "run", toy[0]
    result = train_teacher(TeacherConfig(**SHORT), tiny_folder, texts, out, validation=held_out)
    again = TeacherConfig(**{**SHORT, "steps": 2})
    train_teacher(again, result.final, texts, tmp_path / "again", validation=held_out)
    chosen = ScoringSettings((f"cross-encoder:{result.final}", f"splade:{tiny_folder}"))
    score_to_folder(texts.examples[:5], texts.queries, texts.documents, chosen, tmp_path / "scores")
    assert asked == []
    kinds = {file.suffix for file in tmp_path.rglob("*") if file.is_file()}
    assert kinds == {".json", ".jsonl", ".md", ".safetensors", ""}
    assert {file.name for file in tmp_path.rglob("*") if file.is_file() and not file.suffix} == {"SHA256SUMS"}
    machine = [file for file in tmp_path.rglob("*.json*") if str(tmp_path) in file.read_text()]
    assert machine == []  # no path of this machine in a result


def test_it_leaves_the_generators_as_they_were(tiny_folder, toy, tmp_path):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train_teacher(TeacherConfig(**SHORT), tiny_folder, toy[0], tmp_path / "run")
    assert torch.rand(3).tolist() == wanted.tolist()


def test_a_cross_encoder_as_the_start_keeps_its_head(tiny_folder, toy, tmp_path):
    from sentence_transformers import CrossEncoder

    result = train_teacher(TeacherConfig(**SHORT), tiny_folder, toy[0], tmp_path / "run")
    pair = [("ask1 ask2", "tell1 tell4")]
    own = CrossEncoder(str(result.final), local_files_only=True).predict(pair, show_progress_bar=False)
    assert load_start(result.final, 12).predict(pair, show_progress_bar=False).tolist() == own.tolist()


def test_half_precision_trains_whole_weights(calm_folder, toy, tmp_path):
    short = {**SHORT, "steps": 1}
    losses = {}
    for precision in ("no", "bf16"):
        result = train_teacher(TeacherConfig(**short, precision=precision), calm_folder, toy[0], tmp_path / precision)
        losses[precision] = json.loads(result.log.read_text())["loss"]
        assert {tensor.dtype for tensor in load_file(result.final / "model.safetensors").values()} == {torch.float32}
    assert losses["bf16"] == pytest.approx(losses["no"], rel=0.01)
    assert losses["bf16"] != losses["no"]


def test_a_start_of_half_precision_is_trained_as_whole_weights(calm_folder, toy, tmp_path):
    """A cross-encoder stored in bfloat16 becomes what the same numbers stored in float32 become."""
    short = TeacherConfig(**{**SHORT, "steps": 2})
    first = train_teacher(short, calm_folder, toy[0], tmp_path / "first").final
    for number_type in ("bfloat16", "float32"):
        folder = tmp_path / number_type
        shutil.copytree(first, folder)
        weights = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
        if number_type == "float32":
            weights = {name: tensor.float() for name, tensor in weights.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        edit_json(folder / "config.json", dtype=number_type)
        train_teacher(short, folder, toy[0], tmp_path / f"run-{number_type}")
    half, whole = (
        load_file(tmp_path / f"run-{name}" / "final" / "model.safetensors") for name in ("bfloat16", "float32")
    )
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    assert all(half[name].equal(tensor) for name, tensor in whole.items())


def edit_json(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_start_with_other_dropout_or_tokens_is_another_start(tiny_folder, toy, tmp_path):
    """Neither changes a weight, but both change what comes of training."""
    config = TeacherConfig(**{**SHORT, "steps": 2})
    for name in ("start", "dropout", "tokens"):
        shutil.copytree(tiny_folder, tmp_path / name)
    train_teacher(config, tmp_path / "start", toy[0], tmp_path / "run")
    edit_json(tmp_path / "dropout" / "config.json", hidden_dropout_prob=0.3)
    file = tmp_path / "tokens" / "tokenizer.json"
    written = json.loads(file.read_text())
    vocabulary = written["model"]["vocab"]
    vocabulary["ask0"], vocabulary["ask1"] = vocabulary["ask1"], vocabulary["ask0"]
    file.write_text(json.dumps(written))
    for name in ("dropout", "tokens"):
        with pytest.raises(CheckpointError, match="another model"):
            train_teacher(config, tmp_path / name, toy[0], tmp_path / "run")
    shutil.copytree(tiny_folder, tmp_path / "moved")
    edit_json(tmp_path / "moved" / "config.json", transformers_version="4.0.0")
    assert train_teacher(config, tmp_path / "moved", toy[0], tmp_path / "run").steps == 2


def test_another_run_is_refused(tiny_folder, toy, held_out, tmp_path):
    out, config = tmp_path / "run", TeacherConfig(**{**SHORT, "steps": 2})
    result = train_teacher(config, tiny_folder, toy[0], out)
    fewer = TrainingSet(toy[0].queries, toy[0].documents, toy[0].examples[:9])
    with pytest.raises(CheckpointError, match="learning_rate was 2e-05 and is now 0.1"):
        train_teacher(TeacherConfig(**{**SHORT, "steps": 2}, learning_rate=0.1), tiny_folder, toy[0], out)
    with pytest.raises(CheckpointError, match="other examples"):
        train_teacher(config, tiny_folder, fewer, out)
    with pytest.raises(CheckpointError, match="another model"):
        train_teacher(config, result.final, toy[0], out)
    with pytest.raises(CheckpointError, match="another validation set"):
        train_teacher(config, tiny_folder, toy[0], out, validation=held_out)
    with pytest.raises(CheckpointError, match="holds a run already"):
        train_teacher(config, tiny_folder, toy[0], out, resume=False)
    moments = out / "checkpoints" / "step-00000002" / "optimizer.safetensors"
    moments.write_bytes(moments.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match="is damaged"):
        train_teacher(config, tiny_folder, toy[0], out)


def test_every_kind_of_encoder_can_be_the_start(tiny_folder, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    own = Splade.load(tiny_folder)
    own.mlm.save_pretrained(tmp_path / "mlm")
    own.tokenizer.save_pretrained(tmp_path / "mlm")
    pooling = Pooling(64)
    dense = SentenceTransformer(modules=[Transformer(str(tmp_path / "mlm")), pooling])
    dense.save_pretrained(str(tmp_path / "dense"), create_model_card=False)
    Splade.load(tiny_folder, query_encoder="static").save(tmp_path / "router")
    Splade(own.mlm, own.tokenizer, SpladeSettings(8, 8)).save(tmp_path / "shared")
    words = own.mlm.bert.embeddings.word_embeddings.weight
    scores = {}
    for name in ("mlm", "dense", "router", "shared"):
        torch.manual_seed(3)
        start = load_start(tmp_path / name, None)
        assert torch.equal(start.transformers_model.bert.embeddings.word_embeddings.weight, words)
        assert start.max_seq_length == 16
        scores[name] = float(start.predict([("ask1 ask2", "tell1 tell4")], show_progress_bar=False)[0])
    assert find_backbone(tmp_path / "router") == tmp_path / "router" / "document_0_Transformer"
    # The same body and the same draw of a head. The dense one alone brings a pooler, and so draws less.
    assert scores["mlm"] == scores["router"] == scores["shared"] != scores["dense"]


def test_an_encoder_that_lacks_weights_is_no_start(tiny_folder, tmp_path):
    own = Splade.load(tiny_folder)
    own.mlm.save_pretrained(tmp_path / "mlm")
    own.tokenizer.save_pretrained(tmp_path / "mlm")
    edit_json(tmp_path / "mlm" / "config.json", num_hidden_layers=2)
    with pytest.raises(ModelError, match=r"lacks weights of its encoder \(bert\.encoder\.layer\.1\."):
        load_start(tmp_path / "mlm", None)


def test_held_out_queries_without_candidates_are_refused(held_out):
    """As a run of other queries gives: all measures would be 0."""
    with pytest.raises(InputError, match="no held-out query has a candidate"):
        Reranking(held_out.queries, held_out.documents, {"other": {"d00": 1.0}}, held_out.qrels)
    some = dict([next(iter(held_out.candidates.items()))])
    assert Reranking(held_out.queries, held_out.documents, some, held_out.qrels).measure(some)["RR@10"] == 0


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"max_length": 17}, ConfigError, "positions for 16 tokens"),
        ({"precision": "fp16"}, ConfigError, "needs a GPU"),
    ],
)
def test_what_does_not_fit_the_model_or_the_machine_is_refused(tiny_folder, toy, tmp_path, changes, error, said):
    if torch.cuda.is_available() and "precision" in changes:
        pytest.skip("this machine has a GPU")
    with pytest.raises(error, match=said):
        train_teacher(TeacherConfig(**SHORT, **changes), tiny_folder, toy[0], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_a_start_is_refused(tiny_folder, toy, tmp_path, monkeypatch):
    decoder = tmp_path / "decoder"
    decoder.mkdir()
    (decoder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    with pytest.raises(ModelError, match="holds a decoder"):
        train_teacher(TeacherConfig(**SHORT), decoder, toy[0], tmp_path / "run")
    (decoder / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (decoder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="is a pickle"):
        load_start(decoder, None)
    with pytest.raises(InputError, match="has no negative"):
        alone = TrainingSet(toy[0].queries, toy[0].documents, [Example("q00", ("d00",))])
        train_teacher(TeacherConfig(**SHORT), tiny_folder, alone, tmp_path / "run")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        train_teacher(TeacherConfig(**SHORT), tiny_folder, toy[0], tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(tiny_folder, toy, tmp_path):
    config = TeacherConfig(**{**SHORT, "steps": 40}, learning_rate=1e30, max_gradient_norm=1e30, warmup_steps=1)
    with pytest.raises(ConfigError, match="the loss is nan at step"):
        train_teacher(config, tiny_folder, toy[0], tmp_path / "run")
    assert not (tmp_path / "run" / "final").exists()


def test_a_gradient_that_is_no_number_stops_the_run(tiny_folder, toy, tmp_path):
    """Even of the last step, whose loss is finite and after which no loss is asked for."""
    first = train_teacher(TeacherConfig(**{**SHORT, "steps": 1}), tiny_folder, toy[0], tmp_path / "first").final
    weights = load_file(first / "model.safetensors")
    weights["classifier.weight"] *= 1e25  # the loss is of that size, and the norm has its square in it
    save_file(weights, first / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="the norm of the gradient is (inf|nan) at step 1"):
        train_teacher(TeacherConfig(**{**SHORT, "steps": 1}), first, toy[0], tmp_path / "run")
    assert not (tmp_path / "run" / "final").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"loss": "bce"}, "must be one of binary_cross_entropy, listwise"),
        ({"negative_per_query": 2}, "Did you mean negatives_per_query"),
        ({"steps": 0, "batch_size": 0}, "steps must be at least 1, not 0; batch_size must be at least 1, not 0"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"learning_rate": 0}, "above 0"),
        ({"warmup_steps": 30, "steps": 20}, "warmup_steps must be at most steps"),
        ({"batch_size": 5, "accumulation_steps": 2}, "multiple of accumulation_steps"),
        ({"positive_weight": 2.0, "loss": "listwise"}, "does nothing"),
        ({"seed": 2**63}, "below 2^63"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, said):
    with pytest.raises(ConfigError, match=said.replace("^", r"\^")):
        TeacherConfig.from_dict(values)


def test_settings_come_from_toml(tmp_path):
    file = tmp_path / "teacher.toml"
    file.write_text('steps = 30\nloss = "listwise"\nlearning_rate = 1\n')
    config = TeacherConfig.from_toml(file)
    assert (config.steps, config.warmup, config.learning_rate) == (30, 3, 1.0)
    assert TeacherConfig.from_dict(config.to_dict()) == config
    file.write_text("steps = = 3")
    with pytest.raises(ConfigError, match="is not TOML"):
        TeacherConfig.from_toml(file)


@pytest.mark.parametrize("package", ["sentence_transformers", "datasets"])
def test_a_missing_package_is_named_with_its_extra(tiny_folder, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    with pytest.raises(MissingExtra, match=r"everglade\[teachers\]"):
        load_start(tiny_folder, None)
