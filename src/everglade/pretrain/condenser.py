"""CoCondenser: a head that must guess words from [CLS], and spans of one document told from those of others.

Condenser (Gao and Callan, arXiv 2104.08253) gives a short head the state of [CLS] after the last layer and the states
of all other tokens after an early one, and has it do the MLM: what the late layers know can only reach it through
[CLS]. coCondenser (arXiv 2108.05540) adds a loss over [CLS] states, of two spans of each document. The head is thrown
away after pre-training.

Its layers are torch's own `TransformerEncoderLayer`, with the sizes of the backbone's. With post-norm, GELU and dropout
where BERT has it that is BERT's layer, which the paper uses; those of other families want their own attention masks and
positions, which differ from one version of transformers to the next, and the head has positions in its early states
anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from everglade.errors import ConfigError
from everglade.pretrain.states import n_layers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from everglade.pretrain.config import PretrainConfig

__all__ = ["CondenserHead", "Contrast", "contrast", "skipped_layer"]


class CondenserHead(nn.Module):
    """The head: a few transformer layers over the late [CLS] and the early states of the other tokens.

    Its weights are drawn as BERT's are, from the generator of torch as it stands.
    """

    def __init__(self, config: PretrainedConfig, layers: int) -> None:
        super().__init__()
        width = int(config.hidden_size)
        self.layers = nn.ModuleList(_bert_layer(config, width) for _ in range(layers))
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=float(_first(config, ("initializer_range",), 0.02)))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, late: Tensor, early: Tensor, attention_mask: Tensor) -> Tensor:
        """Give the head's states, (B, L, d), from late and early states, (B, L, d), and the mask, (B, L)."""
        states = torch.cat([late[:, :1], early[:, 1:]], dim=1)
        is_padding = attention_mask == 0
        for layer in self.layers:
            states = layer(states, src_key_padding_mask=is_padding)
        return states


def _bert_layer(config: PretrainedConfig, width: int) -> nn.TransformerEncoderLayer:
    layer = nn.TransformerEncoderLayer(
        width,
        int(config.num_attention_heads),
        int(_first(config, ("intermediate_size", "hidden_dim"), 4 * width)),
        dropout=float(_first(config, ("hidden_dropout_prob", "dropout"), 0.1)),
        activation="gelu",
        layer_norm_eps=1e-12,
        batch_first=True,
    )
    # torch's drops between the two feed-forward matrices too, and attention as often as states; BERT does neither.
    layer.dropout.p = 0.0
    layer.self_attn.dropout = float(_first(config, ("attention_probs_dropout_prob", "attention_dropout"), 0.1))
    return layer


class Contrast(NamedTuple):
    """How well spans of one document are told from those of others; scalars."""

    loss: Tensor
    accuracy: Tensor
    """Share of spans whose partner scores highest."""


def contrast(vectors: Tensor, documents: Tensor, temperature: float = 1.0) -> Contrast:
    """Give the contrastive loss of spans, partners standing next to each other, (0, 1), (2, 3), ...

    For span i with partner p it is -log(exp(s_ip) / sum_j exp(s_ij)), j over all spans but i itself, with the dot
    product of [CLS] states as s; the mean over spans. Source: coCondenser (arXiv 2108.05540), equation 6. Other spans
    of the same document, which are there when a batch sees it twice, are left out of the sum.

    Args:
        vectors: (R, d) float32, the [CLS] states of the whole batch.
        documents: (R,) which document a span is of.
        temperature: what dot products are divided by; the paper's is 1.
    """
    here = torch.arange(len(vectors), device=vectors.device)
    partner = here ^ 1
    aside = documents.unsqueeze(0) == documents.unsqueeze(1)  # (R, R)
    aside[here, partner] = False
    scores = (vectors @ vectors.T / temperature).masked_fill(aside, -torch.inf)
    is_right = scores.detach().argmax(dim=1) == partner
    return Contrast(F.cross_entropy(scores, partner), is_right.float().mean())


def skipped_layer(config: PretrainConfig, mlm: PreTrainedModel) -> int:
    """Give the layer whose states skip to the head: `skip_from`, or half way up, as in the paper (6 of 12).

    Raises:
        ConfigError: if the model has no such layer before its last.
    """
    layers = n_layers(mlm)
    if config.skip_from is None:
        return layers // 2
    if config.skip_from >= layers:
        raise ConfigError(
            f"skip_from is {config.skip_from}, but the model has {layers} layers: it must be below that, so that the "
            f"late layers can be skipped."
        )
    return config.skip_from


def _first(config: PretrainedConfig, names: tuple[str, ...], otherwise: float) -> float:
    """Give the first of these values that a model's config has; families call them differently."""
    return next((value for name in names if (value := getattr(config, name, None)) is not None), otherwise)
