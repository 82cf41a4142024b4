"""How a decoder, a `...ForCausalLM`, reads a text, and which positions of any text are pooled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from everglade.errors import ModelError
from everglade.model.backbone import hidden_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from everglade.model.settings import SpladeSettings
    from everglade.model.tokens import TokenReader

__all__ = ["check_reading", "pooled_positions", "read_hidden_states"]


def read_hidden_states(mlm: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, reading: str | None) -> Tensor:
    """Give what the model's decoder layer is given, shape (B, L, d), from tokens and mask, shape (B, L).

    "bidirectional" hands the model a mask of shape (B, 1, L, L), which transformers takes as it is instead of making a
    causal one; windows of attention that some layers have are then as wide as the text.
    """
    if reading is None:
        return hidden_states(mlm, input_ids, attention_mask)
    if reading == "bidirectional":
        attention_mask = _see_all(mlm, attention_mask)
    return hidden_states(mlm, input_ids, attention_mask, use_cache=False)


def _see_all(mlm: PreTrainedModel, attention_mask: Tensor) -> Tensor:
    """Let every position see every unmasked one and itself: a row without any would not be a number."""
    length = attention_mask.shape[1]
    alone = torch.eye(length, dtype=torch.bool, device=attention_mask.device)
    seen = (attention_mask != 0)[:, None, None, :] | alone  # (B, 1, L, L)
    if mlm.config._attn_implementation == "sdpa":
        return seen
    return torch.zeros(seen.shape, dtype=mlm.dtype, device=seen.device).masked_fill_(~seen, torch.finfo(mlm.dtype).min)


def pooled_positions(
    input_ids: Tensor, attention_mask: Tensor, reader: TokenReader, settings: SpladeSettings
) -> Tensor:
    """Give the mask of the positions that are pooled, shape (B, L).

    Those of special tokens may be left out (in a decoder attention gathers at the first token, and its logits drown
    the text's), and of an echoed text only the second copy counts (arXiv 2408.11119).
    """
    pooled = attention_mask != 0
    if settings.skips_special_positions:
        special = torch.tensor(reader.special_ids, dtype=input_ids.dtype, device=input_ids.device)
        pooled = pooled & ~torch.isin(input_ids, special)
    if settings.reading == "echo":
        lengths = attention_mask.sum(dim=1, keepdim=True)
        copies = torch.div(lengths - reader.before - reader.after, 2, rounding_mode="floor")
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        pooled = pooled & (places >= reader.before + copies)
    return pooled.to(attention_mask.dtype)


def check_reading(mlm: PreTrainedModel, reading: str | None) -> None:
    """Refuse a bidirectional reading by a model that does not see what comes after a token all the same.

    Raises:
        ModelError: if it does not.
    """
    decoder = mlm.get_output_embeddings()  # type: ignore[no-untyped-call]
    if reading != "bidirectional" or decoder.weight.is_meta:
        return
    tokens = torch.tensor([[0, 1, 2], [0, 1, 3]], device=decoder.weight.device)
    with torch.no_grad():
        hidden = read_hidden_states(mlm, tokens, torch.ones_like(tokens), reading)
    if torch.equal(hidden[0, 0], hidden[1, 0]):
        raise ModelError(
            f"{type(mlm).__name__} does not let a token see those after it, so reading cannot be 'bidirectional'. "
            f"Use 'echo'."
        )
