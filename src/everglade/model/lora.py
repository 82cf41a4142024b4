"""Low-rank adapters (LoRA, arXiv 2106.09685), by which a large model is trained through few weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from everglade.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from everglade.model.splade import Splade

__all__ = ["add_lora", "merge_lora"]


def add_lora(
    model: Splade,
    rank: int = 16,
    *,
    alpha: int = 32,
    dropout: float = 0.0,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Freeze the language model and put adapters beside its linear layers, which alone are then trained.

    A layer W becomes W + (alpha / rank) B A, with A of `rank` rows and B zero at the start: no vector changes yet.
    `Splade.save` writes the sum as a plain folder. With a separate query encoder, call this for `model.query_encoder`
    as well.

    Args:
        model: The model; its language model is changed in place.
        rank: Rows of A, columns of B.
        alpha: Weight of the adapters.
        dropout: Share of an adapter's inputs that is dropped in training.
        layers: Ends of the names of the linear layers, such as ("q_proj", "v_proj"); by default all but the last, which
            gives the logits.
        seed: Decides the A: the same model and seed give the same adapters, which going on with a training run needs.

    Raises:
        ConfigError: if the model has adapters already, or no layer of such a name.
        MissingExtra: if peft is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("peft", "lora") from error
    if _adapted(model.mlm):
        raise ConfigError(f"{model.name} has adapters already. Save it first: what is saved is the sum.")
    targets = "all-linear" if layers is None else list(layers)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none")
    try:
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(config, model.mlm)
    except ValueError as error:
        raise ConfigError(f"adapters of rank {rank} cannot be put beside {targets}: {error}") from error


def merge_lora(mlm: PreTrainedModel) -> PreTrainedModel:
    """Give the model with its adapters added to its weights: a copy, or the model itself if it has none."""
    if not _adapted(mlm):
        return mlm
    merged = copy.deepcopy(mlm)
    for name, layer in _adapted(merged):
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(merged.get_submodule(parent), own, layer.get_base_layer())
    return merged


def _adapted(mlm: PreTrainedModel) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in mlm.named_modules() if hasattr(module, "lora_A")]
