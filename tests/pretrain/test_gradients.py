"""However a batch is cut, the gradient is that of the loss of the whole batch in one pass."""

from dataclasses import replace

import pytest
import torch

from everglade.pretrain.condenser import contrast
from everglade.pretrain.config import PretrainConfig
from everglade.pretrain.gradients import accumulate_gradients
from everglade.pretrain.objectives import Pretrainer
from everglade.pretrain.rows import RowReader, Texts
from everglade.pretrain.start import load_start
from everglade.pretrain.states import open_encoder
from everglade.train.batches import piece_seed
from everglade.train.machine import make_accelerator
from everglade.train.regularizers import flops

CONFIG = PretrainConfig(batch_size=8, max_length=24, min_span=4, held_out=0.0, dropout=False, steps=6, lambda_flops=0.1)
OBJECTIVES = ("mlm", "flops-mlm", "cocondenser")


def gradient(folder, documents, config, step=2):
    """The report and gradient of one step, as the loop makes it."""
    start = load_start(folder, 0)
    open_encoder(start.mlm)
    torch.manual_seed(0)
    trainer = Pretrainer(start.mlm, config, "tiny")
    trainer.train(config.dropout)
    accelerator = make_accelerator(config.of_machine())
    reader, texts = RowReader(start, config), Texts(documents, config)
    size = config.batch_size // config.accumulation_steps
    pieces = [reader.batch(texts, step, range(first, first + size)) for first in range(0, config.batch_size, size)]
    report = accumulate_gradients(accelerator, trainer, pieces, config, step)
    return report, {name: parameter.grad for name, parameter in trainer.named_parameters()}, trainer, pieces


def one_pass(trainer, pieces, config, step=2):
    """The loss of the whole batch in one graph, from its definition."""
    trainer.zero_grad()
    outcomes = [trainer(*piece[:4]) for piece in pieces]
    n_hidden = sum(len(piece.labels) for piece in pieces)
    loss = sum(outcome.mlm + outcome.head_mlm for outcome in outcomes) / n_hidden
    vectors = torch.cat([outcome.vectors for outcome in outcomes])
    if config.objective == "flops-mlm":
        loss = loss + config.lambda_flops * min(1, step / config.lambda_ramp) ** 2 * flops(vectors)
    elif config.objective == "cocondenser":
        loss = loss + contrast(vectors, torch.cat([piece.documents for piece in pieces]), config.temperature).loss
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in trainer.named_parameters()}


@pytest.mark.parametrize("pieces", [1, 2, 8])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_cached_gradient_is_that_of_one_pass(bert_folder, documents, objective, pieces):
    config = replace(CONFIG, objective=objective, accumulation_steps=pieces)
    report, ours, trainer, cut = gradient(bert_folder, documents, config)
    loss, theirs = one_pass(trainer, cut, config)
    assert report.loss == pytest.approx(loss, rel=1e-5)
    for name, wanted in theirs.items():
        torch.testing.assert_close(ours[name], wanted, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pieces_do_not_change_the_loss(folder, documents, objective):
    whole, gradients, *_ = gradient(folder, documents, replace(CONFIG, objective=objective))
    cut, others, *_ = gradient(folder, documents, replace(CONFIG, objective=objective, accumulation_steps=4))
    assert cut.loss == pytest.approx(whole.loss, rel=1e-5)
    assert cut.parts == pytest.approx(whole.parts, rel=1e-4)
    for name, wanted in gradients.items():
        torch.testing.assert_close(others[name], wanted, rtol=1e-3, atol=1e-5, msg=name)


def test_dropout_masks_are_the_same_in_both_passes(bert_folder, documents):
    """With dropout the cached gradient is still that of one pass with each piece's masks."""
    config = replace(CONFIG, objective="cocondenser", accumulation_steps=2, dropout=True)
    _, ours, trainer, pieces = gradient(bert_folder, documents, config)
    trainer.zero_grad()
    outcomes = []
    for place, piece in enumerate(pieces):
        torch.manual_seed(piece_seed(config.seed, 2, 0, place))
        outcomes.append(trainer(*piece[:4]))
    n_hidden = sum(len(piece.labels) for piece in pieces)
    loss = sum(outcome.mlm + outcome.head_mlm for outcome in outcomes) / n_hidden
    vectors = torch.cat([outcome.vectors for outcome in outcomes])
    (loss + contrast(vectors, torch.cat([piece.documents for piece in pieces])).loss).backward()
    for name, parameter in trainer.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_what_is_reported(bert_folder, documents):
    report, *_ = gradient(bert_folder, documents, replace(CONFIG, objective="cocondenser", late_mlm=False))
    assert set(report.parts) == {"head_mlm", "contrastive", "contrastive_accuracy"}
    assert report.loss == pytest.approx(report.parts["head_mlm"] + report.parts["contrastive"])
    report, *_ = gradient(bert_folder, documents, replace(CONFIG, objective="flops-mlm"), step=1)
    assert report.parts["lambda_flops"] == pytest.approx(0.1 / 4)  # half way up the ramp of 2 steps, squared
    assert report.loss == pytest.approx(report.parts["mlm"] + 0.025 * report.parts["flops"], rel=1e-5)
