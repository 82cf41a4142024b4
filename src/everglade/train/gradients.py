"""The gradient of one optimiser step: that of the loss of the whole batch, however the batch is cut.

The vectors of the batch are gathered over accumulation steps and processes; the loss is computed once on all of them,
and its gradient is led back through the encoder piece by piece. So 1 x 32, 4 accumulation steps x 8 and 2 processes x
16 have one loss and one gradient. With accumulation each text is encoded twice, first for the loss and then for the
gradient (Gao et al., arXiv 2101.06983), so memory grows with the piece and not with the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from everglade.train.batches import Batch, Tokens, piece_seed
from everglade.train.losses import infonce, margin_mse
from everglade.train.regularizers import flops
from everglade.train.sparsity import Activity, measure_activity

if TYPE_CHECKING:
    from accelerate import Accelerator

    from everglade.train.config import TrainConfig

__all__ = ["BatchLoss", "accumulate_gradients", "batch_loss"]


class BatchLoss(NamedTuple):
    """The loss of one batch and its parts; scalars."""

    total: Tensor
    ranking: Tensor
    flops_q: Tensor
    flops_d: Tensor


class _Piece(NamedTuple):
    """The tokens of some rows of the batch, and the seeds of the dropout masks of either side."""

    rows: range
    queries: Tokens
    documents: Tokens
    seeds: tuple[int, int]


def batch_loss(
    queries: Tensor, documents: Tensor, batch: Batch, loss: str, lambda_q: float, lambda_d: float
) -> BatchLoss:
    """Give the loss of a whole batch: ranking + lambda_q * FLOPS(queries) + lambda_d * FLOPS(documents).

    FLOPS of the documents is the mean of that of the positives and that of the negatives, each a batch of its own, as
    in the paper's code; without negatives it is that of the positives.

    Args:
        queries: (B, V) vectors.
        documents: (B * n, V) vectors, the n documents of a query one after another, its positive first.
        batch: what is known about the same B queries.
        loss: "infonce" or "margin_mse".
        lambda_q: weight of the queries' penalty now.
        lambda_d: weight of the documents' penalty now.
    """
    grouped = documents.view(len(queries), -1, documents.shape[1])  # (B, n, V)
    positives, negatives = grouped[:, 0], grouped[:, 1:].flatten(0, 1)  # (B, V), (B * (n - 1), V)
    student = torch.einsum("bv,bnv->bn", queries, grouped)  # (B, n)
    if loss == "margin_mse":
        ranking = margin_mse(student, torch.as_tensor(batch.teacher, device=student.device))
    else:
        relevant = torch.as_tensor(batch.relevant, device=student.device)
        ranking = infonce(student, queries @ positives.T, relevant)
    flops_q = flops(queries)
    flops_d = (flops(positives) + flops(negatives)) / 2 if len(negatives) else flops(positives)
    return BatchLoss(ranking + lambda_q * flops_q + lambda_d * flops_d, ranking, flops_q, flops_d)


def accumulate_gradients(
    accelerator: Accelerator,
    encoder: nn.Module,
    batch: Batch,
    read: Callable[[range], tuple[Tokens, Tokens]],
    config: TrainConfig,
    step: int,
    lambdas: tuple[float, float],
) -> tuple[BatchLoss, Activity]:
    """Add the gradient of a whole batch's loss to the encoder's parameters; give the loss and what was active.

    Args:
        accelerator: knows the processes and the precision.
        encoder: the model as `accelerator` prepared it.
        batch: the whole batch, the same in every process.
        read: gives the tokens of rows of the batch: their queries, and their documents one after another.
        config: the settings.
        step: the optimiser step, counted from 1.
        lambdas: lambda_q and lambda_d at this step.
    """
    share = len(batch.query_ids) // accelerator.num_processes
    first = accelerator.process_index * share
    size = share // config.accumulation_steps
    pieces = [
        _read_piece(accelerator, read, range(start, start + size), config.seed, step)
        for start in range(first, first + share, size)
    ]
    is_whole = len(pieces) == 1
    with nullcontext() if is_whole else torch.no_grad():
        encoded = [_encode(encoder, piece) for piece in pieces]
    queries, documents = (_gather(accelerator, side) for side in zip(*encoded, strict=True))  # (B, V), (B * n, V)

    loss = batch_loss(queries, documents, batch, config.loss, *lambdas)
    pull_q, pull_d = torch.autograd.grad(loss.total, (queries, documents))
    n = len(documents) // len(queries)
    for piece in pieces:
        rows = slice(piece.rows.start, piece.rows.stop)
        document_rows = slice(rows.start * n, rows.stop * n)
        with nullcontext() if piece is pieces[-1] else accelerator.no_sync(encoder):
            own_q, own_d = encoded[0] if is_whole else _encode(encoder, piece)
            surrogate = (own_q * pull_q[rows]).sum() + (own_d * pull_d[document_rows]).sum()
            # Processes' gradients are averaged, but each process holds its own part of a sum.
            accelerator.backward(surrogate * accelerator.num_processes)
    return BatchLoss(*(part.detach() for part in loss)), measure_activity(queries.detach(), documents.detach())


def _read_piece(
    accelerator: Accelerator, read: Callable[[range], tuple[Tokens, Tokens]], rows: range, seed: int, step: int
) -> _Piece:
    queries, documents = (Tokens(*(part.to(accelerator.device) for part in side)) for side in read(rows))
    return _Piece(
        rows, queries, documents, (piece_seed(seed, step, rows.start, 0), piece_seed(seed, step, rows.start, 1))
    )


def _encode(encoder: nn.Module, piece: _Piece) -> tuple[Tensor, Tensor]:
    """Give the vectors of a piece, (b, V) of its queries and (b * n, V) of its documents, with its dropout masks."""
    torch.manual_seed(piece.seeds[0])
    queries = encoder(*piece.queries, side="query")
    torch.manual_seed(piece.seeds[1])
    return queries, encoder(*piece.documents, side="document")


def _gather(accelerator: Accelerator, parts: tuple[Tensor, ...]) -> Tensor:
    """Give the vectors of all pieces and processes in the order of the batch, as a leaf at which gradients stop."""
    gathered: Tensor = accelerator.gather(torch.cat([part.detach() for part in parts]))
    return gathered.requires_grad_()
