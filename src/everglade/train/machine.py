"""What a run runs on: processes, precision, optimiser and generators, all put back afterwards."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from everglade.errors import ConfigError, MissingExtra
from everglade.train import checkpoint
from everglade.train.shards import collect_weights, shard_model

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from everglade.model.splade import Splade
    from everglade.train.config import TrainConfig

__all__ = [
    "Prepared",
    "from_main",
    "is_sharding",
    "leave_processes",
    "make_accelerator",
    "prepared",
    "reproducible",
    "set_training",
]

_FSDP = "ACCELERATE_USE_FSDP"  # what `accelerate launch --use_fsdp` sets


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model as the machine trains it."""

    model: Splade
    """The model, whole."""
    trained: Splade
    """Whose parameters the optimiser moves: `model` itself, or its copy in shards."""
    encoder: nn.Module
    """What is called to encode: `trained` as accelerate runs it."""
    optimizer: torch.optim.Optimizer

    def settle(self) -> None:
        """Have the trained weights in `model`. All processes must call this together."""
        if self.trained is not self.model:
            collect_weights(self.trained, self.model)

    @contextmanager
    def lent(self) -> Iterator[Splade]:
        """Give `model` on the device of the training, to encode with; beside shards it stays in the host's memory."""
        home, here = (next(model.parameters()).device for model in (self.model, self.trained))
        try:
            yield self.model.to(here)
        finally:
            self.model.to(home)


def is_sharding(config: TrainConfig) -> bool:
    """Say whether the weights are cut up over the processes: by the settings, or by accelerate's."""
    return config.shard or os.environ.get(_FSDP, "").lower() == "true"


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Give the processes and the precision of a run.

    Raises:
        MissingExtra: if accelerate is not installed.
        ConfigError: if the precision does not work here, alone or sharded, or the batch cannot be cut into equal parts.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState
        from accelerate.utils import DistributedDataParallelKwargs
    except ImportError as error:
        raise MissingExtra("accelerate", "train") from error
    # accelerate keeps the precision of the first run in a process and refuses another; each run here has its own.
    # So it does with whether gradients are whole, which an interrupted run leaves at "no": no step would be taken.
    AcceleratorState._reset_state()
    GradientState._reset_state()
    # Buffers are constant, and sending them between the two forward passes of a step would spoil the first one's graph.
    constant_buffers = DistributedDataParallelKwargs(broadcast_buffers=False)
    try:
        with _unasked(_FSDP):
            accelerator = Accelerator(mixed_precision=config.precision, kwargs_handlers=[constant_buffers])
    except ValueError as error:
        raise ConfigError(f"precision = {config.precision!r} does not work on this machine: {error}") from error
    _require_usable(config, accelerator)
    return accelerator


def _require_usable(config: TrainConfig, accelerator: Accelerator) -> None:
    from accelerate.utils import DistributedType

    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != accelerator.num_processes:
        raise ConfigError(
            f"{launched} processes were launched, but accelerate knows of {accelerator.num_processes}: each would "
            f"train alone into the same folder. On a machine without a GPU set ACCELERATE_USE_CPU=true."
        )
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise ConfigError(
            f"accelerate is set up for {accelerator.distributed_type.value}, which Everglade does not know. Use "
            f"MULTI_GPU, MULTI_CPU or FSDP; for models larger than one machine's memory set shard = true."
        )
    if config.precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError("precision = 'fp16' needs a GPU. On this machine use 'bf16' or 'no'.")
    if config.precision == "fp16" and is_sharding(config):
        raise ConfigError("precision = 'fp16' cannot be sharded: its scaler looks at whole gradients. Use 'bf16'.")
    if config.batch_size % (config.accumulation_steps * accelerator.num_processes):
        raise ConfigError(
            f"batch_size ({config.batch_size}) must be a multiple of accumulation_steps x processes "
            f"({config.accumulation_steps} x {accelerator.num_processes})."
        )


@contextmanager
def _unasked(name: str) -> Iterator[None]:
    """Hide a wish of the environment: accelerate would shard the model itself, and does that on GPUs only."""
    wish = os.environ.pop(name, None)
    try:
        yield
    finally:
        if wish is not None:
            os.environ[name] = wish


def leave_processes() -> None:
    """Leave the group of processes that a launcher started, if there is one: the last thing such a process does."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def prepared(accelerator: Accelerator, config: TrainConfig, model: Splade) -> Iterator[Prepared]:
    """Give the model as accelerate runs it, and AdamW without decay on biases and LayerNorm; undo it afterwards.

    Each group of the optimiser has a `scale`: its learning rate over that of the run.

    Raises:
        ConfigError: if nothing is left to train, `query_learning_rate` has nothing to act on, the backbone cannot do
            gradient checkpointing, or there is nothing to shard over.
    """
    trained = shard_model(model, accelerator.device) if is_sharding(config) else model
    optimizer = torch.optim.AdamW(_groups(config, trained), lr=config.learning_rate)
    was_training = model.training
    checkpointed = _checkpointed(trained) if config.gradient_checkpointing else []
    for backbone in checkpointed:
        _switch_checkpointing(backbone, on=True)
    with warnings.catch_warnings():
        # Of the newer name of an argument that accelerate passes on; older versions of torch know only this one.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        # Evaluation mode leaves out DDP, which shards have no use for.
        encoder = accelerator.prepare_model(trained, evaluation_mode=trained is not model)
    try:
        yield Prepared(model, trained, encoder, accelerator.prepare_optimizer(optimizer))
    finally:
        accelerator.unwrap_model(encoder, keep_fp32_wrapper=False)
        for backbone in checkpointed:
            _switch_checkpointing(backbone, on=False)
        model.train(was_training)


def set_training(encoder: nn.Module, config: TrainConfig) -> None:
    """Turn dropout on or off, with gradient checkpointing on where the settings say so."""
    encoder.train(config.dropout)
    if config.gradient_checkpointing and not config.dropout:
        # Layers checkpoint only while they train; they have no dropout of their own, only their parts do.
        for module in encoder.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = True


def from_main(accelerator: Accelerator, value: float) -> float:
    """Give the main process's value in every process."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device=accelerator.device)).item())


def _groups(config: TrainConfig, model: Splade) -> list[dict[str, Any]]:
    """Parameters that are trained, by whether they decay and whether they are the query encoder's own."""
    query_scale = (config.query_learning_rate or config.learning_rate) / config.learning_rate
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    has_own = False
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_own = name.startswith("query_encoder.")
            has_own, scale = has_own or is_own, query_scale if is_own else 1.0
            groups.setdefault((parameter.ndim > 1, scale), []).append(parameter)
    if not groups:
        raise ConfigError(f"{model.name} has no parameters to train: all of them are frozen.")
    if config.query_learning_rate is not None and not has_own:
        raise ConfigError("query_learning_rate is given, but no query encoder of its own is trained: leave it out.")
    return [
        {"params": parameters, "weight_decay": config.weight_decay if decays else 0.0, "scale": scale}
        for (decays, scale), parameters in groups.items()
    ]


def _checkpointed(model: Splade) -> list[PreTrainedModel]:
    from transformers import PreTrainedModel

    found = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    for backbone in found:
        if not backbone.supports_gradient_checkpointing:
            raise ConfigError(
                f"{type(backbone).__name__} cannot do gradient checkpointing. Set gradient_checkpointing = false; "
                f"accumulation_steps saves memory too."
            )
    return found


def _switch_checkpointing(backbone: PreTrainedModel, *, on: bool) -> None:
    # Transformers 5 calls it activation checkpointing, and warns of the old name.
    name = "activation" if hasattr(backbone, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(backbone, f"{name}_checkpointing_enable")({"use_reentrant": False})
        if getattr(backbone, "_require_grads_hooks", None) or hasattr(backbone, "_require_grads_hook"):
            # Only checkpointing by reentry needs inputs with a gradient, and the hook would outlive the run.
            backbone.disable_input_require_grads()  # type: ignore[no-untyped-call]
    else:
        getattr(backbone, f"{name}_checkpointing_disable")()


@contextmanager
def reproducible(accelerator: Accelerator, seed: int) -> Iterator[None]:
    """Seed the generators and ask for deterministic kernels; put everything back afterwards."""
    generators, threads = checkpoint.capture_generators(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        torch.manual_seed(seed)
        # On a GPU some kernels have no deterministic form: equality to the bit is promised on the CPU only.
        torch.use_deterministic_algorithms(accelerator.device.type == "cpu")
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
        checkpoint.restore_generators(generators)
