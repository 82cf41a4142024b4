"""What the decoder of any language model is given, without computing what it gives.

The decoder is the linear map from hidden states, (B, L, d), to logits, (B, L, V), that ends a `...ForMaskedLM` and a
`...ForCausalLM`. The
logits are the largest thing such a model makes, so here the decoder hands on its input and the head does the rest.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from everglade.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["find_decoder", "freeze_parameters", "hidden_states", "open_decoder", "position_limit", "shift_bias"]

# Set while `hidden_states` runs in this thread: decoders then hand on their input.
_skipping: ContextVar[bool] = ContextVar("_skipping", default=False)


def find_decoder(mlm: PreTrainedModel) -> nn.Linear:
    """Give the linear decoder of a masked language model.

    Raises:
        ModelError: if its output embeddings are not a linear layer.
    """
    decoder: object = mlm.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(decoder, nn.Linear):
        raise ModelError(f"{type(mlm).__name__} does not end in a linear decoder, so its logits cannot be streamed.")
    return decoder


def shift_bias(decoder: nn.Linear, shift: float) -> Tensor | None:
    """Give the decoder's bias, shape (V,), with `shift` taken off every logit; None if it has none and nothing is."""
    if not shift:
        return decoder.bias
    bias = 0.0 if decoder.bias is None else decoder.bias
    return decoder.weight.new_full((len(decoder.weight),), -shift) + bias


def freeze_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Train nothing of a module any more; gives the parameters that were to be trained."""
    frozen = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


def open_decoder(mlm: PreTrainedModel) -> None:
    """Let `hidden_states` pass the decoder. To every other caller the model is what it was, its state_dict too.

    Raises:
        ModelError: if the model's logits are not just what its decoder makes of its input.
    """
    decoder = find_decoder(mlm)
    decoder.forward = partial(_decode, decoder)  # type: ignore[method-assign]
    if decoder.weight.is_meta:
        return
    training = [module for module in mlm.modules() if module.training]
    nn.Module.eval(mlm)
    with torch.no_grad():
        tokens = torch.arange(min(3, decoder.weight.shape[0]), device=decoder.weight.device).unsqueeze(0)
        mask = torch.ones_like(tokens)
        hidden = hidden_states(mlm, tokens, mask)
        logits = mlm(input_ids=tokens, attention_mask=mask, return_dict=True).logits
        passed = hidden.shape[-1] == decoder.in_features and torch.equal(_decode(decoder, hidden), logits)
    for module in training:
        module.training = True
    if not passed:
        raise ModelError(f"{type(mlm).__name__} changes its logits after the decoder; Everglade cannot stream them.")


def hidden_states(mlm: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, **options: bool) -> Tensor:
    """Give what the decoder is given, shape (B, L, d), from tokens and mask, shape (B, L).

    `options` are further arguments of the model's forward.
    """
    token = _skipping.set(True)
    try:
        hidden: Tensor = mlm(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **options).logits
    finally:
        _skipping.reset(token)
    return hidden


def position_limit(mlm: PreTrainedModel) -> int | None:
    """Give the longest text in tokens that the model has positions for, or None when it has no such limit."""
    for name, module in mlm.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from the one after padding.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    limit = getattr(mlm.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _decode(decoder: nn.Linear, hidden: Tensor, *_: Any) -> Tensor:  # noqa: ANN401
    return hidden if _skipping.get() else nn.functional.linear(hidden, decoder.weight, decoder.bias)
