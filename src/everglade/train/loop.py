"""The training loop, from top to bottom.

A run folder::

    config.json             the settings of the run
    log.jsonl               one line for each log step and each validation
    checkpoints/step-*/     the last ones, to go on from (checkpoint.py)
    best/                   the model folder with the best validation so far; the starting model counts
    final/                  the model folder after the last step
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from everglade import durable
from everglade.errors import CheckpointError, ConfigError, MissingExtra
from everglade.model.backbone import position_limit
from everglade.progress import Progress, ProgressCallback
from everglade.train import checkpoint
from everglade.train.batches import batch_at, read_rows
from everglade.train.gradients import accumulate_gradients
from everglade.train.sparsity import check_collapse, ramp
from everglade.train.validation import Validation, validate

if TYPE_CHECKING:
    from accelerate import Accelerator

    from everglade.distill.examples import TrainingSet
    from everglade.model.splade import Splade
    from everglade.train.config import TrainConfig

__all__ = ["TrainResult", "Validation", "learning_rate", "train"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run left. Scores are of `validation_measure`, None where there was no validation."""

    steps: int
    final: Path
    best: Path | None
    best_step: int | None
    best_score: float | None
    start_score: float | None
    log: Path


def train(  # noqa: C901 - the loop is one story, told in one place
    config: TrainConfig,
    model: Splade,
    training_set: TrainingSet,
    out: str | Path,
    validation: Validation | None = None,
    resume: bool = True,
    progress: ProgressCallback | None = None,
) -> TrainResult:
    """Train `model` in place and leave a run folder at `out`.

    A run that was interrupted and is started again with the same arguments goes on from its last checkpoint. On a CPU
    the result is then the same, bit for bit, as without the interruption. A finished run ends at once, with the model
    as it was after its last step.

    Args:
        config: the settings.
        model: where to start. Its maximum lengths become those of `config`, in it and in what is saved.
        training_set: the examples and their texts.
        out: the run folder.
        validation: what to search before the first step, every `validate_every` steps and after the last. Without it
            there is no `best`.
        resume: whether to go on from a checkpoint in `out`. If not, there must be none.
        progress: called after every optimiser step, with rows that are examples.

    Raises:
        ConfigError: if the settings do not fit the machine, the loss is no longer a number, or the vectors have
            collapsed to empty ones.
        CheckpointError: if `out` holds a run with other settings, examples or starting model, or a damaged one.
        InputError: if the examples lack what the loss needs.
    """
    # --- what the run is made from ------------------------------------------------------------------------------------
    out = Path(out)
    if config.loss == "margin_mse":
        training_set.require_scores()
    if config.negatives_per_query:
        training_set.require_negatives()
    _require_positions(config, model)
    accelerator = _accelerator(config)
    inputs = {"examples": training_set.fingerprint, "start": checkpoint.weights_sha256(model)}
    model.settings = replace(
        model.settings, max_query_length=config.max_query_length, max_document_length=config.max_document_length
    )

    with _reproducible(accelerator, config.seed), _prepared(accelerator, config, model) as (encoder, optimizer):
        # --- what an interrupted run has left -------------------------------------------------------------------------
        state, found = _take_up(out, config, inputs, accelerator, resume)
        if found is not None:
            checkpoint.load_checkpoint(found, model, optimizer)
            checkpoint.restore_generators(state["generators"])
            if accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(state["scaler"])
        log = _Log(out / "log.jsonl", state["log_bytes"], accelerator.is_main_process)
        examine = partial(_validate, config, model, validation, out, log, accelerator)

        # --- how good the start is ------------------------------------------------------------------------------------
        if state["step"] == 0:
            state |= examine(state)

        first, spent_s = state["step"] + 1, 0.0
        for step in range(first, config.steps + 1):
            # --- one optimiser step -----------------------------------------------------------------------------------
            began = time.monotonic()
            rate = learning_rate(step, config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            lambdas = (
                ramp(config.lambda_q, step, config.lambda_ramp),
                ramp(config.lambda_d, step, config.lambda_ramp),
            )
            batch = batch_at(step, training_set, config)
            read = partial(read_rows, batch, training_set, model)
            encoder.train(config.dropout)
            loss, activity = accumulate_gradients(accelerator, encoder, batch, read, config, step, lambdas)
            if not math.isfinite(loss.total.item()):
                raise ConfigError(
                    f"the loss is {loss.total.item()} at step {step}. Begin again in a new folder with a smaller "
                    f"learning_rate, a longer warmup_steps or precision = 'no'."
                )
            norm = accelerator.clip_grad_norm_(encoder.parameters(), config.max_gradient_norm)
            optimizer.step()
            optimizer.zero_grad()
            state["step"] = step
            spent_s += time.monotonic() - began

            # --- once in a while: log, validate, save -----------------------------------------------------------------
            last = step == config.steps
            speed = (step - first + 1) * config.batch_size / spent_s
            if step % config.log_every == 0 or last:
                record = {name: part.item() for name, part in loss._asdict().items()}
                record |= {"lambda_q": lambdas[0], "lambda_d": lambdas[1], **activity._asdict()}
                record |= {"learning_rate": rate, "gradient_norm": float(norm) if norm.isfinite() else None}
                log.write({"step": step, **record, "examples_per_second": round(speed, 2)})
                state["empty_logs"] = check_collapse(activity, state["empty_logs"], config.collapse_patience)
            if step % config.validate_every == 0 or last:
                state |= examine(state)
            if step % config.checkpoint_every == 0 or last:
                _save(out, config, inputs, model, optimizer, state, log, accelerator)
            if progress is not None and accelerator.is_main_process:
                done, total = step * config.batch_size, config.steps * config.batch_size
                progress(Progress(done, total, speed, (total - done) / speed))

        # --- what the run leaves --------------------------------------------------------------------------------------
        if accelerator.is_main_process and (first <= config.steps or not (out / "final").exists()):
            checkpoint.publish_model(model.save, out / "final")
        accelerator.wait_for_everyone()
    return TrainResult(
        steps=config.steps,
        final=out / "final",
        best=None if state["best_step"] is None else out / "best",
        best_step=state["best_step"],
        best_score=state["best_score"],
        start_score=state["start_score"],
        log=out / "log.jsonl",
    )


def learning_rate(step: int, config: TrainConfig) -> float:
    """Give the learning rate of an optimiser step, counted from 1: a linear rise, then a linear fall towards 0."""
    if step <= config.warmup:
        return config.learning_rate * step / config.warmup
    return config.learning_rate * (config.steps - step + 1) / (config.steps - config.warmup)


def _validate(
    config: TrainConfig,
    model: Splade,
    validation: Validation | None,
    out: Path,
    log: _Log,
    accelerator: Accelerator,
    state: Mapping[str, Any],
) -> dict[str, Any]:
    """Try the model, log what came of it, keep it if it is the best so far; give what changed in the state."""
    if validation is None:
        return {}
    began, values = time.monotonic(), {config.validation_measure: 0.0}
    if accelerator.is_main_process:
        values = validate(model, validation, config.validation_measure, out / "validation.partial")
    score = _from_main(accelerator, values[config.validation_measure])
    is_best = state["best_score"] is None or score > state["best_score"]
    if is_best and accelerator.is_main_process:
        checkpoint.publish_model(model.save, out / "best")
    log.write({"step": state["step"], "validation": values, "seconds": round(time.monotonic() - began, 3)})
    changed = {"best_score": score, "best_step": state["step"]} if is_best else {}
    return changed | ({"start_score": score} if state["step"] == 0 else {})


def _from_main(accelerator: Accelerator, value: float) -> float:
    """Give the main process's value in every process."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device=accelerator.device)).item())


def _take_up(
    out: Path, config: TrainConfig, inputs: dict[str, str], accelerator: Accelerator, resume: bool
) -> tuple[dict[str, Any], Path | None]:
    """Give the state to go on from, and its checkpoint if there is one."""
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.clear_partial(out)
    accelerator.wait_for_everyone()
    path = checkpoint.latest_checkpoint(out / "checkpoints")
    if path is None:
        if (out / "final").exists():
            raise CheckpointError(f"{out} holds a finished run without its checkpoints. Train into a new folder.")
        if accelerator.is_main_process:
            durable.write_json(out / "config.json", config.to_dict())
        unknown = dict.fromkeys(("best_step", "best_score", "start_score"))
        return {"step": 0, "log_bytes": 0, "empty_logs": 0, **unknown}, None
    if not resume:
        raise CheckpointError(f"{out} holds a run already. Resume it, remove it, or train into a new folder.")
    state = checkpoint.read_state(path)
    checkpoint.require_same(path, state, config.to_dict(), inputs)
    if accelerator.device.type == "cpu":
        torch.set_num_threads(state["environment"]["threads"])
    now = checkpoint.environment(accelerator.num_processes)
    unlike = [key for key, value in state["environment"].items() if now.get(key) != value]
    if unlike:
        warnings.warn(
            f"{path} was made with another {' and '.join(unlike)}: the run goes on, but its last bits may differ from "
            f"those of an uninterrupted one.",
            stacklevel=3,
        )
    return state, path


def _save(
    out: Path,
    config: TrainConfig,
    inputs: dict[str, str],
    model: Splade,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    log: _Log,
    accelerator: Accelerator,
) -> None:
    """Write a checkpoint from the main process while the others wait."""
    if accelerator.is_main_process:
        whole = {
            **{key: state[key] for key in ("empty_logs", "best_step", "best_score", "start_score")},
            "config": config.to_dict(),
            "inputs": inputs,
            "log_bytes": log.sync(),
            "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
            "environment": checkpoint.environment(accelerator.num_processes),
        }
        checkpoint.save_checkpoint(out / "checkpoints", state["step"], model, optimizer, whole)
        checkpoint.prune_checkpoints(out / "checkpoints", config.keep_checkpoints)
    accelerator.wait_for_everyone()


class _Log:
    """The log file, cut back to its size at the checkpoint; only the main process writes."""

    def __init__(self, path: Path, size_bytes: int, is_writer: bool) -> None:
        self._path = path if is_writer else None
        if not is_writer:
            return
        found = path.stat().st_size if path.exists() else 0
        if found < size_bytes:
            raise CheckpointError(
                f"{path} has {found} bytes, but had {size_bytes} when the checkpoint was taken. Put it back, or train "
                f"into a new folder."
            )
        with path.open("ab") as file:
            file.truncate(size_bytes)

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

    def sync(self) -> int:
        """Make what was written durable and give the size in bytes."""
        if self._path is None:
            return 0
        durable.sync_file(self._path)
        return self._path.stat().st_size


def _require_positions(config: TrainConfig, model: Splade) -> None:
    limit = position_limit(model.mlm)
    for key in ("max_query_length", "max_document_length"):
        if limit is not None and getattr(config, key) > limit:
            raise ConfigError(
                f"{key} is {getattr(config, key)}, but {model.name} has positions for {limit} tokens only."
            )


def _accelerator(config: TrainConfig) -> Accelerator:
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import DistributedDataParallelKwargs
    except ImportError as error:
        raise MissingExtra("accelerate", "train") from error
    # accelerate keeps the precision of the first run in a process and refuses another; each run here has its own.
    AcceleratorState._reset_state()
    # Buffers are constant, and sending them between the two forward passes of a step would spoil the first one's graph.
    constant_buffers = DistributedDataParallelKwargs(broadcast_buffers=False)
    try:
        accelerator = Accelerator(mixed_precision=config.precision, kwargs_handlers=[constant_buffers])
    except ValueError as error:
        raise ConfigError(f"precision = {config.precision!r} does not work on this machine: {error}") from error
    if config.precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError("precision = 'fp16' needs a GPU. On this machine use 'bf16' or 'no'.")
    if config.batch_size % (config.accumulation_steps * accelerator.num_processes):
        raise ConfigError(
            f"batch_size ({config.batch_size}) must be a multiple of accumulation_steps x processes "
            f"({config.accumulation_steps} x {accelerator.num_processes})."
        )
    return accelerator


@contextmanager
def _prepared(
    accelerator: Accelerator, config: TrainConfig, model: Splade
) -> Iterator[tuple[torch.nn.Module, torch.optim.Optimizer]]:
    """Give the encoder as accelerate runs it, and AdamW without decay on biases and LayerNorm; undo it afterwards."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    was_training = model.training
    encoder, optimizer = accelerator.prepare(model, torch.optim.AdamW(groups, lr=config.learning_rate))
    try:
        yield encoder, optimizer
    finally:
        accelerator.unwrap_model(encoder, keep_fp32_wrapper=False)
        model.train(was_training)


@contextmanager
def _reproducible(accelerator: Accelerator, seed: int) -> Iterator[None]:
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
