"""What tells two models apart: hashes over weights, tokenizers and settings, not over files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PretrainedConfig

__all__ = ["hash_encoder", "hash_model", "hash_start", "tokenizer_rules"]

# Keys of tokenizer_config.json that change the tokens, beside what tokenizer.json says.
_TOKENIZER_SWITCHES = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space")
# Keys of a config that say where a model came from and how it was kept, not what it is.
_PROVENANCE = frozenset({"dtype", "torch_dtype", "transformers_version"})
# What of a backbone's config changes its output although its weights have the same shapes.
_BACKBONE_SWITCHES = frozenset(
    "activation hidden_act hidden_activation num_attention_heads num_key_value_heads n_heads head_dim layer_norm_eps "  # noqa: SIM905
    "norm_eps rms_norm_eps rope_theta rope_parameters local_attention sliding_window "
    "layer_types".split()
)


def hash_encoder(module: nn.Module, *rules: object, dtype: torch.dtype | None = None) -> str:
    """Give the sha256 over the parameters of a module, what of its config decides its output, and rules.

    Weights are hashed as float32, so that it does not matter how they are stored.

    Args:
        module: The module.
        rules: What else decides its output, plain JSON values.
        dtype: Round the weights to this type first, as storing them in it does.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(module.named_parameters()):
        total.update(f"{name} {tuple(tensor.shape)}\n".encode())
        rounded = tensor.detach() if dtype is None else tensor.detach().to(dtype)
        total.update(rounded.cpu().float().contiguous().numpy().tobytes())
    config: Any = getattr(module, "config", None)
    said = {} if config is None else config.to_dict()
    backbone = {key: value for key, value in said.items() if key in _BACKBONE_SWITCHES}
    total.update(json.dumps([backbone, rules], sort_keys=True).encode())
    return total.hexdigest()


def hash_model(document_hash: str, settings: Mapping[str, Any], query: object) -> str:
    """Give the fingerprint of a model with a query encoder of its own, from the hash of its document encoder."""
    return hashlib.sha256(json.dumps([document_hash, settings, query], sort_keys=True).encode()).hexdigest()


def hash_start(weights: str, config: PretrainedConfig, tokenizer: object) -> str:
    """Give the sha256 over all of a model that a training from it depends on.

    Args:
        weights: A hash of its weights.
        config: Its config, of which everything counts but paths and versions: dropout changes no vector, but training.
        tokenizer: What decides its tokens, as JSON.
    """
    said = {key: value for key, value in config.to_dict().items() if not (key[:1] == "_" or key in _PROVENANCE)}
    return hashlib.sha256(json.dumps([weights, said, tokenizer], sort_keys=True).encode()).hexdigest()


def tokenizer_rules(tokenizer_files: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what of a tokenizer's files decides the tokens.

    Lengths are left in tokenizer.json by whoever used it last; a reader sets its own.
    """
    rules = json.loads(tokenizer_files["tokenizer.json"])
    written = json.loads(tokenizer_files.get("tokenizer_config.json", b"{}"))
    switches = {key: written[key] for key in _TOKENIZER_SWITCHES if key in written}
    if written.get("truncation_side", "right") != "right":
        switches["truncation_side"] = written["truncation_side"]
    return {key: value for key, value in rules.items() if key not in ("truncation", "padding")}, switches
