"""The gradient of one optimiser step: that of the loss of the whole batch, however the batch is cut.

The vectors of the batch are gathered over accumulation steps and processes; the loss is computed once on all of them,
and its gradient is led back through the encoder piece by piece. So 1 x 32, 4 accumulation steps x 8 and 2 processes x
16 have one loss and one gradient. With accumulation each text is encoded twice, first for the loss and then for the
gradient (Gao et al., arXiv 2101.06983), so of what the encoder remembers only one piece's is in memory. The vectors of
the whole batch are, with their gradients: about six times 4 V bytes for each of its texts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from everglade.train.batches import Batch, Tokens, piece_seed
from everglade.train.lambdas import Pulls
from everglade.train.losses import rank_loss
from everglade.train.schedule import learning_rate
from everglade.train.sparsity import Activity, Sparsity, measure_activity

if TYPE_CHECKING:
    from accelerate import Accelerator

    from everglade.train.config import TrainConfig
    from everglade.train.penalties import Penalties

__all__ = ["BatchLoss", "StepReport", "accumulate_gradients", "batch_loss"]


class BatchLoss(NamedTuple):
    """The loss of one batch and its parts; scalars."""

    total: Tensor
    ranking: Tensor
    penalty_q: Tensor
    penalty_d: Tensor


class StepReport(NamedTuple):
    """What one step's batch was like."""

    loss: BatchLoss
    lambdas: tuple[float, float]
    """lambda_q and lambda_d of this step."""
    activity: Activity

    def record(self) -> dict[str, float]:
        """Give everything as a flat line of the log."""
        parts = {name: part.item() for name, part in self.loss._asdict().items()}
        return {**parts, "lambda_q": self.lambdas[0], "lambda_d": self.lambdas[1], **self.activity._asdict()}


class _Piece(NamedTuple):
    """The tokens of some rows of the batch, and the seeds of the dropout masks of either side."""

    rows: range
    queries: Tokens
    documents: Tokens
    seeds: tuple[int, int]


def batch_loss(
    queries: Tensor,
    documents: Tensor,
    batch: Batch,
    config: TrainConfig,
    penalties: Penalties,
    lambdas: tuple[float, float],
) -> BatchLoss:
    """Give the loss of a whole batch: ranking + lambda_q * penalty(queries) + lambda_d * penalty(documents).

    Args:
        queries: (B, V) vectors.
        documents: (B * n, V) vectors, the n documents of a query one after another, its positive first.
        batch: what is known about the same B queries.
        config: which loss, and its temperature.
        penalties: which penalties; they have observed this batch.
        lambdas: weights of the queries' and the documents' penalty now.
    """
    grouped = documents.view(len(queries), -1, documents.shape[1])  # (B, n, V)
    positives, negatives = grouped[:, 0], grouped[:, 1:].flatten(0, 1)  # (B, V), (B * (n - 1), V)
    student = torch.einsum("bv,bnv->bn", queries, grouped)  # (B, n)
    ranking = rank_loss(
        config.objective,
        student,
        queries @ positives.T,
        torch.as_tensor(batch.relevant, device=student.device),
        None if batch.teacher is None else torch.as_tensor(batch.teacher, device=student.device),
        config.temperature,
    )
    penalty_q = penalties.of_queries(queries)
    penalty_d = penalties.of_documents(positives, negatives)
    return BatchLoss(ranking + lambdas[0] * penalty_q + lambdas[1] * penalty_d, ranking, penalty_q, penalty_d)


def accumulate_gradients(
    accelerator: Accelerator,
    encoder: nn.Module,
    batch: Batch,
    read: Callable[[range], tuple[Tokens, Tokens]],
    config: TrainConfig,
    step: int,
    sparsity: Sparsity,
) -> StepReport:
    """Add the gradient of a whole batch's loss to the encoder's parameters; give the loss and what was active.

    A side whose vectors depend on no trained parameter, such as binary queries, gets no gradient and needs none.

    Args:
        accelerator: knows the processes and the precision.
        encoder: the model as `accelerator` prepared it.
        batch: the whole batch, the same in every process.
        read: gives the tokens of rows of the batch: their queries, and their documents one after another.
        config: the settings.
        step: the optimiser step, counted from 1.
        sparsity: knows the penalties and their weights, and takes note of the batch.
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
    encoded = encoded if is_whole else []  # the memory of a second copy

    lambdas = sparsity.lambdas.at(step)
    sparsity.penalties.observe(queries, documents)
    sparsity.alarms.observe(queries, documents)
    loss = batch_loss(queries, documents, batch, config, sparsity.penalties, lambdas)
    activity = measure_activity(queries.detach(), documents.detach())
    pull_q, pull_d, lengths = _pull(loss, lambdas, queries, documents, measured=sparsity.lambdas.is_steered)
    if lengths is not None:
        authority = 1.0 if step <= config.warmup else learning_rate(step, config) / config.learning_rate
        sparsity.lambdas.observe(activity, lengths, authority)
    n = len(documents) // len(queries)
    for piece in pieces:
        rows = slice(piece.rows.start, piece.rows.stop)
        document_rows = slice(rows.start * n, rows.stop * n)
        with nullcontext() if piece is pieces[-1] else accelerator.no_sync(encoder):
            own_q, own_d = encoded[0] if is_whole else _encode(encoder, piece)
            surrogate = (own_q * pull_q[rows]).sum() + (own_d * pull_d[document_rows]).sum()
            # Processes' gradients are averaged, but each process holds its own part of a sum.
            accelerator.backward(surrogate * accelerator.num_processes)
    return StepReport(BatchLoss(*(part.detach() for part in loss)), lambdas, activity)


def _pull(
    loss: BatchLoss, lambdas: tuple[float, float], queries: Tensor, documents: Tensor, *, measured: bool
) -> tuple[Tensor, Tensor, Pulls | None]:
    """Give the gradient of the total with respect to query and document vectors, and how long its parts are if asked.

    It is always made of its parts, so that the same lambdas give the same bits, whoever chose them. The penalty's part
    is added in place, because each is as large as the vectors.
    """
    total_q, total_d = torch.autograd.grad(loss.ranking, (queries, documents), retain_graph=True)
    sides = ((total_q, loss.penalty_q, queries, lambdas[0]), (total_d, loss.penalty_d, documents, lambdas[1]))
    lengths = []
    for total, penalty, vectors, weight in sides:
        (part,) = torch.autograd.grad(penalty, vectors, retain_graph=True)
        if measured:
            # What pulls on no active term moves nothing.
            lengths += [(total * (vectors > 0)).norm().item(), part.norm().item()]
        total.add_(part, alpha=weight)
    return total_q, total_d, Pulls(*lengths) if measured else None


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
