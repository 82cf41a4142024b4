"""The two places inside any masked language model that pre-training needs: its layers, and the way into its decoder.

Every `...ForMaskedLM` of transformers is an encoder (`base_model`), a transform of each state by itself, and a linear
decoder. The transform has another name and shape in each family, so it is not looked up: the model is run with an
encoder that answers with the states at hand, and a decoder that hands on what it is given (`model.backbone`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from everglade.errors import ModelError
from everglade.model.backbone import hidden_states, open_decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["States", "decoder_input", "encoder_states", "n_layers", "open_encoder"]


class States(NamedTuple):
    """What the encoder makes of a batch."""

    late: Tensor
    """(B, L, d), after the last layer."""
    early: Tensor | None
    """(B, L, d), after the layer that was asked for."""


def open_encoder(mlm: PreTrainedModel) -> None:
    """Let `decoder_input` and `encoder_states` work on a model. To every other caller it is what it was.

    Raises:
        ModelError: if it is not an encoder, a transform of each state by itself, and a linear decoder.
    """
    open_decoder(mlm)
    base: nn.Module = mlm.base_model
    decoder = mlm.get_output_embeddings()  # type: ignore[no-untyped-call]
    training = [module for module in mlm.modules() if module.training]
    nn.Module.eval(mlm)
    passed = base is not mlm
    if passed:
        tokens = torch.arange(min(4, decoder.weight.shape[0]), device=decoder.weight.device).unsqueeze(0)
        mask = torch.ones_like(tokens)
        with torch.no_grad():
            late = encoder_states(mlm, tokens, mask).late
            wanted = hidden_states(mlm, tokens, mask)
            # One by one and in another order, so that a transform that mixes positions is found out.
            alone = torch.cat([decoder_input(mlm, late[0, place : place + 1]) for place in (3, 2, 1, 0)]).flip(0)
        passed = torch.allclose(alone, wanted[0], rtol=1e-4, atol=1e-5)
    for module in training:
        module.training = True
    if not passed:
        raise ModelError(f"{type(mlm).__name__} is not an encoder with a head that reads each of its states alone.")


def encoder_states(
    mlm: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, early_layer: int | None = None
) -> States:
    """Give the states of tokens, (B, L), after the last layer and after `early_layer` (0: the embeddings)."""
    base: nn.Module = mlm.base_model
    found = base(
        input_ids=input_ids,
        attention_mask=attention_mask,
        output_hidden_states=early_layer is not None,
        return_dict=True,
    )
    return States(found.last_hidden_state, None if early_layer is None else found.hidden_states[early_layer])


def decoder_input(mlm: PreTrainedModel, states: Tensor) -> Tensor:
    """Give what the decoder is given for any states of the encoder's width, (..., d) for (..., d)."""
    rows = states.reshape(1, -1, states.shape[-1])
    tokens = torch.zeros(rows.shape[:2], dtype=torch.int64, device=rows.device)
    with _answering(mlm.base_model, rows):
        hidden = hidden_states(mlm, tokens, torch.ones_like(tokens))
    return hidden.view(*states.shape[:-1], -1)


def n_layers(mlm: PreTrainedModel) -> int:
    """Give the number of the encoder's layers."""
    return int(mlm.config.num_hidden_layers)


@contextmanager
def _answering(base: nn.Module, states: Tensor) -> Iterator[None]:
    """Have the encoder answer any call with these states."""
    from transformers.modeling_outputs import BaseModelOutput

    before = vars(base).get("forward")
    base.forward = lambda *_, **__: BaseModelOutput(last_hidden_state=states)
    try:
        yield
    finally:
        if before is None:
            del base.forward
        else:
            base.forward = before
