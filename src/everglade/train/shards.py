"""Fully sharded training: each process keeps a part of every weight, gradient and moment, and the rest only in use.

It is FSDP2 (`torch.distributed.fsdp.fully_shard`; Zhao et al., arXiv 2304.11277). What the processes train is a copy,
of which each holds its share; the model it was made from stays whole, and gets the weights back when they are needed
in one piece: to validate, to save, and at the end.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from everglade.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

    from everglade.model.splade import Splade

__all__ = ["collect_weights", "fill", "gather_whole", "shard_like", "shard_model"]


def shard_model(model: Splade, device: torch.device) -> Splade:
    """Give a copy of a model, cut up over all processes layer by layer, with each process's parts on its device.

    Raises:
        ConfigError: if this torch has no FSDP2, or there is no group of processes.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ConfigError(f"shard needs torch 2.6 or later, this is {torch.__version__}. Set shard = false.") from error
    from transformers.modeling_layers import GradientCheckpointingLayer

    if not torch.distributed.is_initialized():
        raise ConfigError("shard needs several processes: start them with torchrun or accelerate launch.")
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    sharded = copy.deepcopy(model)  # fully_shard moves what it has cut, so no device ever holds the whole
    # The layers are the parts whose weights are put together only while they are used. Embeddings and decoder, often
    # one and the same weight, stay with the whole, which keeps them together from forward to backward.
    layers = [module for module in sharded.modules() if isinstance(module, GradientCheckpointingLayer)]
    for module in (*layers, sharded):
        fully_shard(module, mesh=mesh)
    return sharded


def collect_weights(sharded: nn.Module, model: nn.Module) -> None:
    """Put the weights of a sharded copy into the model it was made from. All processes must call this together."""
    parts = [(sharded.named_parameters(), model.named_parameters()), (sharded.named_buffers(), model.named_buffers())]
    with torch.no_grad():
        for theirs, ours in parts:
            own = dict(ours)
            for name, tensor in theirs:
                own[name].copy_(gather_whole(tensor))


def gather_whole(tensor: Tensor) -> Tensor:
    """Give a tensor in one piece; all processes must ask for a sharded one together."""
    return _as_sharded(tensor).full_tensor() if _is_sharded(tensor) else tensor


def fill(tensor: Tensor, values: Tensor) -> None:
    """Copy values in one piece into a tensor that may be sharded."""
    tensor.copy_(shard_like(tensor, values))


def shard_like(tensor: Tensor, values: Tensor) -> Tensor:
    """Give values in one piece on the device of a tensor, and sharded as it is."""
    if not _is_sharded(tensor):
        return values.to(tensor.device)
    from torch.distributed.tensor import distribute_tensor

    shards = _as_sharded(tensor)
    return distribute_tensor(values.to(shards.to_local().device), shards.device_mesh, shards.placements)


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _as_sharded(tensor: Tensor) -> DTensor:
    return cast("DTensor", tensor)
