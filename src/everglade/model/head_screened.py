"""The SPLADE head on a CPU with 8-bit dot products: screen all logits in 8 bits, compute what matters in float32.

Fewer than one term in ten has a weight, so most of the product of hidden states and decoder only has to show that a
logit is not above 0; 8 bits and a bound on their error do that (engine/include/everglade/head.hpp). What is left is
computed in float32, so weights and positions are those of float32 arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from everglade import _head

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Ragged", "ScreenedDecoder", "gradients", "is_supported", "ragged"]


def is_supported(hidden: Tensor, weight: Tensor) -> bool:
    """Whether these tensors can be screened: on a CPU that can, and of at most 32 bits."""
    return hidden.device.type == "cpu" and torch.float64 not in (hidden.dtype, weight.dtype) and _head.is_supported()


class Ragged(NamedTuple):
    """The hidden states of some texts without padding: those of text t are rows starts[t] to starts[t + 1]."""

    rows: Tensor
    """(N, d) float32."""
    starts: Tensor
    """(B + 1,) int64."""
    places: Tensor
    """(N,) int64: where each row lies among the B * L positions."""


def ragged(hidden: Tensor, attention_mask: Tensor) -> Ragged:
    """Take the unmasked positions of hidden states, (B, L, d)."""
    unmasked = attention_mask != 0
    places = unmasked.flatten().nonzero().squeeze(1)
    starts = torch.nn.functional.pad(unmasked.sum(dim=1).cumsum(0), (1, 0))
    rows = hidden.detach().flatten(0, 1).index_select(0, places)
    return Ragged(rows.to(torch.float32).contiguous(), starts, places)


class ScreenedDecoder:
    """A decoder made ready for the screening; its weight must not change while this is in use.

    Args:
        weight: The decoder's matrix, shape (V, d).
        bias: The decoder's bias, shape (V,), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.detach().to(torch.float32).contiguous()
        self._bias = None if bias is None else _array(bias.detach().to(torch.float32).contiguous())
        self._packed = _head.PackedDecoder(_array(self.weight), torch.get_num_threads())

    @property
    def is_finite(self) -> bool:
        """Whether every weight is finite; if not, this must not be used."""
        return self._packed.is_finite

    def weights(self, states: Ragged) -> tuple[Tensor, Tensor]:
        """Give the weights of every term and the positions they come from, both (B, V), the latter int32.

        A position is counted among the text's unmasked ones. Where the weight is 0 it means nothing.
        """
        shape = (len(states.starts) - 1, len(self.weight))
        weights, positions = torch.zeros(shape), torch.zeros(shape, dtype=torch.int32)
        self._packed.best(
            _array(self.weight),
            self._bias,
            states.rows.numpy(),
            states.starts.numpy(),
            weights.numpy(),
            positions.numpy(),
            torch.get_num_threads(),
        )
        return weights, positions

    def sparse_weights(self, states: Ragged) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Give the same weights as compressed sparse rows: indptr, terms, weights.

        A text whose hidden states are not finite has one entry, of term -1.
        """
        return self._packed.sparse(
            _array(self.weight), self._bias, states.rows.numpy(), states.starts.numpy(), torch.get_num_threads()
        )


def gradients(
    slopes: Tensor,
    positions: Tensor,
    weight: Tensor,
    states: Ragged,
    *,
    of_hidden: bool,
    of_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Lead the slopes of a loss by the largest logits, (B, V), back: to the rows, (N, d), and the decoder, (V, d).

    `positions` are those that `ScreenedDecoder.weights` gave; entries with a slope of 0 are passed over.
    """
    grad_rows = torch.zeros_like(states.rows) if of_hidden else None
    grad_weight = torch.empty_like(weight) if of_weight else None
    _head.gradients(
        slopes.contiguous().numpy(),
        positions.numpy(),
        _array(weight),
        states.rows.numpy(),
        states.starts.numpy(),
        None if grad_rows is None else grad_rows.numpy(),
        None if grad_weight is None else grad_weight.numpy(),
        torch.get_num_threads(),
    )
    return grad_rows, grad_weight


def _array(weight: Tensor) -> NDArray[np.float32]:
    """Give a decoder's numbers as an array; unlike `Tensor.numpy`, with memory that FSDP can still free."""
    return cast("NDArray[np.float32]", np.from_dlpack(weight))
