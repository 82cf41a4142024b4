"""The SPLADE head: from the hidden states of a text to one weight for each term of the vocabulary.

The weight of term j is max over the positions i of log(1 + relu(h_i . E_j + b_j)) (SPLADE v2, arXiv 2109.10086). As
log(1 + relu(x)) never falls, the maximum may be taken over the raw logits first, and as b_j does not depend on the
position, it may be added after. So the vocabulary can be streamed in chunks, nothing of shape (B, L, V) is ever kept,
and the gradient of an active weight reaches one position only: the one that gave the maximum.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from everglade.model.head_screened import Ragged, ScreenedDecoder, gradients, is_supported, ragged

__all__ = ["splade_head", "splade_head_naive", "splade_head_sum"]

# Logits held at once: on a CPU what its caches hold, on a GPU what keeps it busy.
_CPU_CHUNK = 2**18
_GPU_CHUNK = 2**26


def splade_head_naive(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    attention_mask: Tensor,
    *,
    activation: str = "relu",
    position_terms: int | None = None,
) -> Tensor:
    """Compute what `splade_head` computes, as the formula is written: its slow twin, and its test."""
    logits = _logits(hidden, weight, bias)  # (B, L, V)
    if position_terms is not None and position_terms < weight.shape[0]:
        least = logits.detach().topk(position_terms, dim=-1).values[..., -1:]  # (B, L, 1)
        logits = logits.masked_fill(logits < least, -torch.inf)
    activations = _activate(logits, activation)
    return activations.masked_fill(attention_mask.unsqueeze(-1) == 0, 0.0).max(dim=1).values


def splade_head(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    attention_mask: Tensor,
    *,
    activation: str = "relu",
    position_terms: int | None = None,
) -> Tensor:
    """Give the weight of every term, max over positions of log(1 + relu(logit)), in memory O(B * V).

    Args:
        hidden: What the decoder of the masked language model is given, shape (B, L, d).
        weight: The decoder's matrix, shape (V, d).
        bias: The decoder's bias, shape (V,), or None.
        attention_mask: Shape (B, L); positions where it is 0 do not take part.
        activation: "relu", or "log1p_relu" for log(1 + log(1 + relu(logit))) (OpenSearch, arXiv 2504.14839).
        position_terms: At each position only that many of the largest logits take part, and those equal to the last of
            them (SPARSEUP); None lets all.

    Returns:
        Weights of shape (B, V), at least 0, differentiable once in `hidden`, `weight` and `bias`; float32, or float64
        if `hidden` is. A row without any unmasked position is all zeros.
    """
    if hidden.shape[1] == 0:  # as with one position that is masked
        hidden, attention_mask = F.pad(hidden, (0, 0, 0, 1)), F.pad(attention_mask, (0, 1))
    if position_terms is not None and position_terms >= weight.shape[0]:
        position_terms = None
    differentiable = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, weight, bias))
    screened = ScreenedDecoder(weight, bias) if position_terms is None and is_supported(hidden, weight) else None
    if screened is not None and screened.is_finite:
        weights: Tensor = _ScreenedHead.apply(hidden, weight, bias, attention_mask, screened)  # type: ignore[no-untyped-call]
    elif differentiable:
        weights = _SpladeHead.apply(hidden, weight, bias, attention_mask, position_terms)  # type: ignore[no-untyped-call]
    else:
        best, _ = _best_logits(hidden, weight, bias, attention_mask, position_terms, with_positions=False)
        weights = torch.log1p(torch.relu_(best))
    return torch.log1p(weights) if activation == "log1p_relu" else weights


def splade_head_sum(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    attention_mask: Tensor,
    *,
    activation: str = "relu",
    position_terms: int | None = None,
) -> Tensor:
    """Give the sum over positions of the activated logits (SPLADE v1, arXiv 2107.05720), shape (B, V).

    Without a gradient the vocabulary is streamed; with one, autograd keeps all logits, (B, L, V).
    """
    masked = attention_mask.unsqueeze(-1) == 0
    least = None
    if position_terms is not None and position_terms < weight.shape[0]:
        least = _least_logits(hidden, weight, bias, position_terms)  # (B, L, 1)
    sums = []
    for start, stop in _chunks(weight.shape[0], attention_mask):
        logits = _logits(hidden, weight, bias, start, stop)  # (B, L, C)
        if least is not None:
            logits = logits.masked_fill(logits < least, -torch.inf)
        sums.append(_activate(logits, activation).masked_fill(masked, 0.0).sum(dim=1))
    return torch.cat(sums, dim=1)


def _activate(logits: Tensor, activation: str) -> Tensor:
    weights = torch.log1p(torch.relu(logits))
    return torch.log1p(weights) if activation == "log1p_relu" else weights


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, start: int = 0, stop: int | None = None) -> Tensor:
    """Give the logits of a span of terms, (B, L, C); the bias is added in at least float32."""
    logits = _at_least_float32(F.linear(hidden, weight[start:stop]))
    return logits if bias is None else logits + bias[start:stop]


@torch.no_grad()
def _least_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, position_terms: int) -> Tensor:
    """Give at each position the last of the `position_terms` largest logits, (B, L, 1), streaming the vocabulary."""
    largest = None
    for start, stop in _chunks(weight.shape[0], hidden[..., 0]):
        logits = _logits(hidden, weight, bias, start, stop)  # (B, L, C)
        both = logits if largest is None else torch.cat([largest, logits], dim=-1)
        largest = both.topk(min(position_terms, both.shape[-1]), dim=-1).values
    assert largest is not None  # there is at least one term
    return largest[..., -1:]


class _SpladeHead(torch.autograd.Function):
    """The streamed head with a backward that touches only active entries, each at the position of its maximum."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        attention_mask: Tensor,
        position_terms: int | None,
    ) -> Tensor:
        best, positions = _best_logits(hidden, weight, bias, attention_mask, position_terms, with_positions=True)
        weights = torch.log1p(torch.relu_(best))
        ctx.save_for_backward(hidden, weight, weights, positions)
        ctx.bias_dtype = None if bias is None else bias.dtype
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:  # noqa: ANN401
        hidden, weight, weights, positions = ctx.saved_tensors
        n_positions, n_terms = hidden.shape[0] * hidden.shape[1], weight.shape[0]
        # Transposed, so that the active entries come sorted by term.
        terms, texts = (weights.T > 0).nonzero(as_tuple=True)
        all_slopes = _slopes(grad, weights)
        slopes = all_slopes[texts, terms]
        places = texts * hidden.shape[1] + positions[texts, terms].long()
        grad_hidden = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            by_place = torch.sort(places, stable=True).indices
            sums = _sum_rows(weight, terms[by_place], slopes[by_place], places[by_place], n_positions)
            grad_hidden = sums.view(hidden.shape).to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            rows = hidden.reshape(n_positions, -1)
            grad_weight = _sum_rows(rows, places, slopes, terms, n_terms).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = all_slopes.sum(dim=0).to(ctx.bias_dtype)
        return grad_hidden, grad_weight, grad_bias, None, None


class _ScreenedHead(torch.autograd.Function):
    """The same on CPUs with 8-bit dot products, and without work on padding (`head_screened`)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        attention_mask: Tensor,
        decoder: ScreenedDecoder,
    ) -> Tensor:
        states = ragged(hidden, attention_mask)
        weights, positions = decoder.weights(states)
        ctx.save_for_backward(weights, positions, decoder.weight, *states)
        ctx.hidden, ctx.dtypes = (hidden.shape, hidden.dtype), (weight.dtype, None if bias is None else bias.dtype)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:  # noqa: ANN401
        weights, positions, weight, *states = ctx.saved_tensors
        slopes = _slopes(grad, weights)
        of_hidden, of_weight, of_bias = ctx.needs_input_grad[:3]
        grad_rows, grad_weight = gradients(
            slopes, positions, weight, Ragged(*states), of_hidden=of_hidden, of_weight=of_weight
        )
        grad_hidden = None
        if grad_rows is not None:
            shape, dtype = ctx.hidden
            grad_hidden = grad_rows.new_zeros(shape)
            grad_hidden.view(-1, shape[-1])[states[2]] = grad_rows
            grad_hidden = grad_hidden.to(dtype)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(ctx.dtypes[0]),
            slopes.sum(dim=0).to(ctx.dtypes[1]) if of_bias else None,
            None,
            None,
        )


def _slopes(grad: Tensor, weights: Tensor) -> Tensor:
    """Give the slopes of the loss by the largest logits, (B, V): d log(1 + x) / dx = 1 / (1 + x) if x > 0, else 0."""
    return (grad * torch.exp(-weights)).masked_fill_(weights <= 0, 0.0)


def _best_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    attention_mask: Tensor,
    position_terms: int | None,
    *,
    with_positions: bool,
) -> tuple[Tensor, Tensor | None]:
    """Give the largest logit of each term over the unmasked positions and, if asked, its position; both (B, V)."""
    unmasked = attention_mask != 0
    if position_terms is None and _fits_triton(hidden):
        from everglade.model.head_triton import best_logits

        kind = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else hidden.dtype
        largest, places = best_logits(hidden.to(kind), weight.to(kind), attention_mask)
        return (largest if bias is None else largest + bias), places
    # A masked position repeats the first unmasked one: that leaves every maximum as it was, without a pass over logits.
    first = unmasked.to(torch.uint8).argmax(dim=1, keepdim=True)  # (B, 1)
    source = torch.where(unmasked, torch.arange(hidden.shape[1], device=hidden.device), first)  # (B, L)
    repeated = hidden.gather(1, source.unsqueeze(-1).expand_as(hidden))
    n_texts, n_terms = hidden.shape[0], weight.shape[0]
    best = torch.empty(n_texts, n_terms, dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
    positions = torch.empty(n_texts, n_terms, dtype=torch.int32, device=hidden.device) if with_positions else None
    # Compared with logits that were computed alike: the last of the largest must not lose to its own rounding.
    least = None if position_terms is None else _least_logits(repeated, weight, bias, position_terms)  # (B, L, 1)
    for start, stop in _chunks(n_terms, attention_mask):
        if least is None:
            logits = F.linear(repeated, weight[start:stop])  # (B, L, C)
        else:
            logits = _logits(repeated, weight, bias, start, stop)
            logits = logits.masked_fill(logits < least, -torch.inf)
        if positions is None:
            best[:, start:stop] = logits.amax(dim=1)
        else:
            largest, where = logits.max(dim=1)
            best[:, start:stop] = largest
            positions[:, start:stop] = source.gather(1, where)
    if bias is not None and least is None:
        best += bias
    return best.masked_fill_(~unmasked.any(dim=1, keepdim=True), -torch.inf), positions


def _fits_triton(hidden: Tensor) -> bool:
    return hidden.device.type == "cuda" and hidden.dtype != torch.float64 and find_spec("triton") is not None


def _chunks(n_terms: int, positions: Tensor) -> list[tuple[int, int]]:
    budget = _CPU_CHUNK if positions.device.type == "cpu" else _GPU_CHUNK
    size = max(64, budget // max(1, positions.numel()))
    return [(start, min(start + size, n_terms)) for start in range(0, n_terms, size)]


def _sum_rows(table: Tensor, rows: Tensor, factors: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """Give for each group the sum of factor * table[row] over its entries; `groups` ascends. Shape (n_groups, d)."""
    offsets = torch.searchsorted(groups, torch.arange(n_groups, device=groups.device))
    table = _at_least_float32(table)
    return F.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=factors.to(table.dtype))


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
