"""The gradient of one optimiser step: that of the loss of the whole batch, however the batch is cut.

A masked-LM loss is a sum over hidden tokens and needs nothing but their number in the whole batch. FLOPS and the
contrastive loss see the vectors of all rows, so with several pieces these are made first, without a graph; the gradient
of the loss with respect to them is then led back piece by piece (gradient caching, Gao et al., arXiv 2101.06983).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from everglade.errors import InputError
from everglade.pretrain.condenser import contrast
from everglade.pretrain.objectives import Outcome
from everglade.pretrain.rows import Rows
from everglade.train.batches import piece_seed
from everglade.train.regularizers import flops
from everglade.train.schedule import ramp

if TYPE_CHECKING:
    from accelerate import Accelerator

    from everglade.pretrain.config import PretrainConfig

__all__ = ["StepReport", "accumulate_gradients"]


class StepReport(NamedTuple):
    """The loss of one step's whole batch, and its parts."""

    loss: float
    parts: dict[str, float]
    """Parts by name: masked-LM losses are means over the hidden tokens."""


class _Coupled(NamedTuple):
    """The part of the loss that sees all rows."""

    loss: Tensor
    parts: dict[str, float]


def accumulate_gradients(
    accelerator: Accelerator, encoder: nn.Module, pieces: list[Rows], config: PretrainConfig, step: int
) -> StepReport:
    """Add the gradient of a whole batch's loss to the parameters, and give the loss.

    Args:
        accelerator: knows the processes and the precision.
        encoder: a `Pretrainer` as `accelerator` prepared it.
        pieces: this process's rows of the batch, cut into pieces of equally many rows.
        config: the settings.
        step: the optimiser step, counted from 1.

    Raises:
        InputError: if all spans of a batch for CoCondenser are of one document.
    """
    pieces = [Rows(*(part.to(accelerator.device) for part in piece)) for piece in pieces]
    seeds = [piece_seed(config.seed, step, accelerator.process_index, place) for place in range(len(pieces))]
    n_hidden = _total(accelerator, [torch.tensor(float(sum(len(piece.labels) for piece in pieces)))])[0]
    first: Outcome | None = None
    coupled, pulls = None, None
    if config.objective != "mlm":
        is_whole = len(pieces) == 1
        with nullcontext() if is_whole else torch.no_grad():
            seen = [_run(encoder, *one, vectors_only=not is_whole) for one in zip(pieces, seeds, strict=True)]
        first = seen[0] if is_whole else None
        vectors = accelerator.gather(torch.cat([outcome.vectors.detach() for outcome in seen])).requires_grad_()
        del seen
        documents = accelerator.gather(torch.cat([piece.documents for piece in pieces]))
        coupled = _couple(vectors, documents, config, step)
        pulls = torch.autograd.grad(coupled.loss, vectors)[0].chunk(accelerator.num_processes * len(pieces))
        pulls = pulls[accelerator.process_index * len(pieces) :]

    sums = [torch.zeros(()), torch.zeros(())]
    for place, piece in enumerate(pieces):
        with nullcontext() if place == len(pieces) - 1 else accelerator.no_sync(encoder):
            outcome = _run(encoder, piece, seeds[place]) if first is None else first
            part = (outcome.mlm + outcome.head_mlm) / max(n_hidden, 1.0)
            if pulls is not None:
                part = part + (outcome.vectors * pulls[place]).sum()
            # Processes' gradients are averaged, but each process holds its own part of a sum.
            accelerator.backward(part * accelerator.num_processes)
        sums = [total + one.detach().cpu() for total, one in zip(sums, outcome[:2], strict=True)]
    mlm, head_mlm = (total / max(n_hidden, 1.0) for total in _total(accelerator, sums))
    parts = {"mlm": mlm} if config.objective != "cocondenser" or config.late_mlm else {}
    if config.objective == "cocondenser":
        parts["head_mlm"] = head_mlm
    if coupled is None:
        return StepReport(mlm, parts)
    return StepReport(mlm + head_mlm + coupled.loss.item(), parts | coupled.parts)


def _run(encoder: nn.Module, piece: Rows, seed: int, *, vectors_only: bool = False) -> Outcome:
    """Give the outcome of a piece with its dropout masks."""
    torch.manual_seed(seed)
    outcome: Outcome = encoder(*piece[:4], vectors_only=vectors_only)
    return outcome


def _couple(vectors: Tensor, documents: Tensor, config: PretrainConfig, step: int) -> _Coupled:
    """Give the loss of all vectors: FLOPS (Efficient SPLADE, arXiv 2207.03834), or that of coCondenser."""
    if config.objective == "flops-mlm":
        weight, penalty = ramp(config.lambda_flops, step, config.lambda_ramp), flops(vectors)
        terms = (vectors.detach() > 0).sum(dim=1).float().mean().item()
        return _Coupled(weight * penalty, {"flops": penalty.item(), "lambda_flops": weight, "active_terms": terms})
    if bool((documents == documents[0]).all()):
        raise InputError(
            f"all spans of step {step} are of one document, so that there is no other to tell them from: too few texts "
            f"have {2 * config.min_span} tokens. Give more of them, a smaller min_span or a larger batch_size"
        )
    found = contrast(vectors, documents, config.temperature)
    return _Coupled(found.loss, {"contrastive": found.loss.item(), "contrastive_accuracy": found.accuracy.item()})


def _total(accelerator: Accelerator, parts: list[Tensor]) -> list[float]:
    """Give the sums of scalars over all processes."""
    stacked = torch.stack(parts).double().to(accelerator.device)
    total: Tensor = accelerator.reduce(stacked, reduction="sum")
    return [float(value) for value in total.tolist()]
