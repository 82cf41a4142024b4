"""What pre-training minimises: masked-LM losses of rows, and the vectors that a loss of the whole batch sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from everglade.model.head import splade_head
from everglade.pretrain.condenser import CondenserHead, skipped_layer
from everglade.pretrain.states import decoder_input, encoder_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from everglade.pretrain.config import PretrainConfig

__all__ = ["Outcome", "Pretrainer", "decode", "masked_lm_loss", "splade_vectors"]


class Outcome(NamedTuple):
    """What a model makes of some rows. Losses are sums over their hidden tokens."""

    mlm: Tensor
    """The backbone's own masked-LM loss; 0 where it is not asked for."""
    head_mlm: Tensor
    """The Condenser head's; 0 without one."""
    vectors: Tensor
    """What the loss of the whole batch is made of: (R, V) SPLADE vectors, (R, d) states of [CLS], or (R, 0)."""


class Pretrainer(nn.Module):
    """A masked language model, and with CoCondenser its head, as they are trained.

    Args:
        mlm: The model; `open_encoder` has opened it.
        config: The settings. The head's weights are drawn from the generator of torch as it stands.
        name: What to call the model in messages.

    Raises:
        ConfigError: if `skip_from` is not a layer below the last.
    """

    def __init__(self, mlm: PreTrainedModel, config: PretrainConfig, name: str) -> None:
        super().__init__()
        self.name = name
        self.mlm = mlm
        self.head: CondenserHead | None = None
        self._config = config
        if config.objective == "cocondenser":
            self._early_layer = skipped_layer(config, mlm)
            self.head = CondenserHead(mlm.config, config.head_layers)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, places: Tensor, labels: Tensor, *, vectors_only: bool = False
    ) -> Outcome:
        """Give the outcome of rows (`Rows`); with `vectors_only` the losses are 0 and not computed.

        Random draws of dropout come in the same order with and without the losses, as far as the vectors go.
        """
        nothing = torch.zeros((), device=input_ids.device)
        if self.head is not None:
            late, early = encoder_states(self.mlm, input_ids, attention_mask, self._early_layer)
            vectors = late[:, 0].float()
            if vectors_only:
                return Outcome(nothing, nothing, vectors)
            assert early is not None
            states = self.head(late, early, attention_mask)
            head_mlm = masked_lm_loss(self.mlm, decoder_input(self.mlm, _at(states, places)), labels)
            mlm = nothing
            if self._config.late_mlm:
                mlm = masked_lm_loss(self.mlm, decoder_input(self.mlm, _at(late, places)), labels)
            return Outcome(mlm, head_mlm, vectors)
        late, _ = encoder_states(self.mlm, input_ids, attention_mask)
        if self._config.objective == "mlm":
            hidden = decoder_input(self.mlm, _at(late, places))
            return Outcome(masked_lm_loss(self.mlm, hidden, labels), nothing, late.new_zeros(len(input_ids), 0))
        all_hidden = decoder_input(self.mlm, late)
        vectors = splade_vectors(self.mlm, all_hidden, attention_mask)
        mlm = nothing if vectors_only else masked_lm_loss(self.mlm, _at(all_hidden, places), labels)
        return Outcome(mlm, nothing, vectors)


def masked_lm_loss(mlm: PreTrainedModel, hidden: Tensor, labels: Tensor) -> Tensor:
    """Give the summed cross-entropy of hidden tokens, from the decoder's input there, (M, d), and labels, (M,)."""
    return F.cross_entropy(decode(mlm, hidden), labels, reduction="sum")


def decode(mlm: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Give the logits, (M, V) float32, of the decoder's input, (M, d)."""
    decoder = mlm.get_output_embeddings()  # type: ignore[no-untyped-call]
    return F.linear(hidden, decoder.weight, decoder.bias).float()


def splade_vectors(mlm: PreTrainedModel, hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Give the SPLADE vectors of rows, (R, V), from the decoder's input at all their positions, (R, L, d)."""
    decoder = mlm.get_output_embeddings()  # type: ignore[no-untyped-call]
    return splade_head(hidden, decoder.weight, decoder.bias, attention_mask)


def _at(states: Tensor, places: Tensor) -> Tensor:
    """Give the states of places, (M, d), among those of all rows, (R, L, d)."""
    return states.flatten(0, 1).index_select(0, places)
