"""The pre-training loop, from top to bottom.

A run folder::

    config.json             the settings of the run
    log.jsonl               one line for each log step and each look at the held-out documents
    times.jsonl             when those lines were written, and how fast it went; not part of what is repeated
    checkpoints/step-*/     the last ones, to go on from (train/checkpoint.py); with CoCondenser its head is in them
    final/                  a plain masked language model folder after the last step
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from everglade.errors import ConfigError
from everglade.model.saving import write_backbone
from everglade.pretrain.gradients import accumulate_gradients
from everglade.pretrain.held_out import read_held_out
from everglade.pretrain.objectives import Pretrainer
from everglade.pretrain.rows import RowReader, Texts
from everglade.pretrain.start import Start, load_start
from everglade.pretrain.states import open_encoder
from everglade.progress import Progress, ProgressCallback
from everglade.train import checkpoint
from everglade.train.machine import is_sharding, make_accelerator, reproducible, set_training
from everglade.train.requirements import require_finite
from everglade.train.resuming import take_up
from everglade.train.run_log import RunLog
from everglade.train.schedule import learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator

    from everglade.pretrain.config import PretrainConfig
    from everglade.train.config import TrainConfig

__all__ = ["PretrainResult", "pretrain"]


@dataclass(frozen=True, slots=True)
class PretrainResult:
    """What a finished run left.

    Attributes:
        steps: Optimiser steps.
        final: The folder of the masked language model.
        log: The log.
        before: What the start made of the held-out documents (`held_out.read_held_out`); {} if there were none.
        after: The same after the last step.
        has_new_head: Whether the start had no masked language head, so that one was made.
    """

    steps: int
    final: Path
    log: Path
    before: dict[str, float]
    after: dict[str, float]
    has_new_head: bool


def pretrain(
    config: PretrainConfig,
    start: str | Path,
    texts: Sequence[str] | Mapping[str, str],
    out: str | Path,
    *,
    resume: bool = True,
    progress: ProgressCallback | None = None,
) -> PretrainResult:
    """Go on pre-training a masked language model on texts, and leave a run folder at `out`.

    A run that was interrupted and is started again with the same arguments goes on from its last checkpoint. On a CPU
    the result is then the same, bit for bit, as without the interruption. A finished run ends at once.

    Args:
        config: the settings.
        start: the folder or hub id of a masked language model, or of an encoder, which gets a new masked language head.
        texts: what to train on, in any order; ids, where there are some, decide which texts are held out.
        out: the run folder.
        resume: whether to go on from a checkpoint in `out`. If not, there must be none.
        progress: called before the first step and after every one, with rows that are documents.

    Raises:
        ConfigError: if the settings fit neither machine nor model, or the loss or its gradient is no longer finite.
        ModelError: if the start cannot be pre-trained.
        CheckpointError: if `out` holds a run with other settings, texts or start, or a damaged one.
        InputError: if no text is long enough, or one is no text.
    """
    # --- what the run is made from ------------------------------------------------------------------------------------
    out, machine = Path(out), config.of_machine()
    accelerator = make_accelerator(machine)
    _require_whole(machine)
    begun = load_start(start, config.seed, from_scratch=config.from_scratch)
    open_encoder(begun.mlm)
    reader, source = RowReader(begun, config), Texts(texts, config)
    inputs = {"examples": source.digest, "start": begun.fingerprint()}
    origin: dict[str, Any] = {"config": config.to_dict(), "model": {}, "trained": [], "inputs": inputs}

    with reproducible(accelerator, config.seed):
        from accelerate.utils import set_seed

        set_seed(config.seed)  # those of Python and numpy too, which checkpoints hold
        trainer = Pretrainer(begun.mlm, config, begun.name)
        encoder, optimizer = _prepare(accelerator, trainer, config)
        # --- what an interrupted run has left -------------------------------------------------------------------------
        state, found = take_up(out, origin, {"before": {}, "after": {}}, accelerator, resume)
        if found is not None:
            checkpoint.load_checkpoint(found, trainer, optimizer)
            checkpoint.restore_generators(state["generators"])
            if accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(state["scaler"])
        log = RunLog(out / "log.jsonl", state["log_bytes"], accelerator.is_main_process)
        times = _open_times(out / "times.jsonl", accelerator)
        look = partial(_look, accelerator, trainer, reader, source, config, log, times)

        # --- how good the start is ------------------------------------------------------------------------------------
        first, spent_s = state["step"] + 1, 0.0
        if first <= config.steps:
            _tell(progress, accelerator, config, state["step"], 0.0)
        if state["step"] == 0:
            log.write({"step": 0, "architecture": type(begun.mlm).__name__, "new_head": begun.has_new_head})
            state["before"] = look(0)

        for step in range(first, config.steps + 1):
            # --- one optimiser step -----------------------------------------------------------------------------------
            began = time.monotonic()
            rate = learning_rate(step, machine)
            for group in optimizer.param_groups:
                group["lr"] = rate
            pieces = [reader.batch(source, step, slots) for slots in _slots(config, accelerator)]
            set_training(encoder, machine)
            report = accumulate_gradients(accelerator, encoder, pieces, config, step)
            require_finite("loss", report.loss, step)
            norm = accelerator.clip_grad_norm_(encoder.parameters(), config.max_gradient_norm)
            if accelerator.scaler is None:  # which passes over such a step by itself
                require_finite("norm of the gradient", norm.item(), step)
            optimizer.step()
            optimizer.zero_grad()
            state["step"] = step
            spent_s += time.monotonic() - began

            # --- once in a while: log, look, save ---------------------------------------------------------------------
            last = step == config.steps
            speed = (step - first + 1) * config.batch_size / spent_s
            if step % config.log_every == 0 or last:
                progressed = {"learning_rate": rate, "gradient_norm": float(norm) if norm.isfinite() else None}
                log.write({"step": step, "loss": report.loss, **report.parts, **progressed})
                times.write({"step": step, "time": round(time.time(), 3), "documents_per_second": round(speed, 2)})
            if step % config.validate_every == 0 or last:
                state["after"] = look(step)
            if step % config.checkpoint_every == 0 or last:
                _save(out, config, origin, trainer, optimizer, state, log, accelerator)
            _tell(progress, accelerator, config, step, speed)

        # --- what the run leaves --------------------------------------------------------------------------------------
        accelerator.unwrap_model(encoder, keep_fp32_wrapper=False)
        if accelerator.is_main_process and (first <= config.steps or not (out / "final").exists()):
            checkpoint.publish_model(partial(_write_model, begun, config), out / "final")
        accelerator.wait_for_everyone()
    return PretrainResult(
        steps=config.steps,
        final=out / "final",
        log=out / "log.jsonl",
        before=state["before"],
        after=state["after"],
        has_new_head=begun.has_new_head,
    )


def _require_whole(machine: TrainConfig) -> None:
    if is_sharding(machine):
        raise ConfigError("pre-training keeps weights whole: launch it without FSDP. accumulation_steps saves memory.")


def _prepare(
    accelerator: Accelerator, trainer: Pretrainer, config: PretrainConfig
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Give what is trained as accelerate runs it, and AdamW without decay on biases and LayerNorm."""
    parameters = [parameter for parameter in trainer.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    with warnings.catch_warnings():
        # Of the newer name of an argument that accelerate passes on; older versions of torch know only this one.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        encoder, optimizer = accelerator.prepare(trainer, torch.optim.AdamW(groups, lr=config.learning_rate))
    return encoder, optimizer


def _slots(config: PretrainConfig, accelerator: Accelerator) -> list[range]:
    """Give the slots of the batch that are this process's, piece by piece."""
    share = config.batch_size // accelerator.num_processes
    size, first = share // config.accumulation_steps, accelerator.process_index * share
    return [range(start, start + size) for start in range(first, first + share, size)]


def _look(
    accelerator: Accelerator,
    trainer: Pretrainer,
    reader: RowReader,
    source: Texts,
    config: PretrainConfig,
    log: RunLog,
    times: RunLog,
    step: int,
) -> dict[str, float]:
    """Look at the held-out documents and log what was seen. Every process does, so that none has to wait to be told."""
    began = time.monotonic()
    found = read_held_out(accelerator, trainer, reader, source, config)
    if found:
        log.write({"step": step, "held_out": found})
        times.write({"step": step, "time": round(time.time(), 3), "held_out_s": round(time.monotonic() - began, 3)})
    return found


def _tell(
    progress: ProgressCallback | None, accelerator: Accelerator, config: PretrainConfig, step: int, speed: float
) -> None:
    if progress is not None and accelerator.is_main_process:
        done, total = step * config.batch_size, config.steps * config.batch_size
        progress(Progress(done, total, speed, (total - done) / speed if speed else None))


def _open_times(path: Path, accelerator: Accelerator) -> RunLog:
    return RunLog(path, path.stat().st_size if path.exists() else 0, accelerator.is_main_process)


def _write_model(begun: Start, config: PretrainConfig, path: Path) -> None:
    """Write the plain folder of the masked language model."""
    write_backbone(path, begun.mlm, begun.tokenizer_files, torch.float32)
    card = (
        f"---\nlibrary_name: transformers\npipeline_tag: fill-mask\ntags:\n- everglade\n---\n\n"
        f"# A {type(begun.mlm).__name__}, pre-trained further\n\n"
        f"{config.steps:,} steps of {config.batch_size} documents with the objective {config.objective}. It is no "
        f"retriever yet: `everglade train` makes one of it.\n"
    )
    (path / "README.md").write_text(card, encoding="utf-8")


def _save(
    out: Path,
    config: PretrainConfig,
    origin: dict[str, Any],
    trainer: Pretrainer,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    log: RunLog,
    accelerator: Accelerator,
) -> None:
    """Write a checkpoint from the main process while the others wait."""
    if accelerator.is_main_process:
        whole = {
            **{key: state[key] for key in ("before", "after")},
            **origin,
            "log_bytes": log.sync(),
            "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
            "environment": checkpoint.environment(accelerator.num_processes),
        }
        checkpoint.save_checkpoint(out / "checkpoints", state["step"], trainer, optimizer, {}, whole)
        checkpoint.prune_checkpoints(out / "checkpoints", config.keep_checkpoints)
    accelerator.wait_for_everyone()
