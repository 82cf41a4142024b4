"""The training loop, from top to bottom.

A run folder::

    config.json             the settings of the run
    log.jsonl               one line for each log step and each validation
    checkpoints/step-*/     the last ones, to go on from (checkpoint.py)
    best/                   the model folder with the best validation so far; the starting model counts
    final/                  the model folder after the last step
    lambdas.json            what a controller chose, for `lambda_schedule` of another run; only if there was a target
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from everglade import durable
from everglade.progress import Progress, ProgressCallback
from everglade.train import checkpoint
from everglade.train.batches import batch_at, read_rows
from everglade.train.blend import Blend
from everglade.train.gradients import accumulate_gradients
from everglade.train.machine import Prepared, from_main, make_accelerator, prepared, reproducible, set_training
from everglade.train.origin import describe_origin
from everglade.train.penalties import count_idf
from everglade.train.requirements import require_examples, require_finite, require_reachable, trained_settings
from everglade.train.resuming import take_up
from everglade.train.run_log import RunLog
from everglade.train.schedule import learning_rate
from everglade.train.shift import shift_logits
from everglade.train.sparsity import Sparsity
from everglade.train.validation import Validation, require_measure, validate

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
        progress: called before the first step and after every one, with rows that are examples.

    Raises:
        ConfigError: if the settings fit neither machine nor model, the loss or its gradient is no longer finite, or the
            vectors have collapsed.
        CheckpointError: if `out` holds a run with other settings, examples, starting model or validation set, or a
            damaged one.
        InputError: if the examples lack what the loss needs.
    """
    # --- what the run is made from ------------------------------------------------------------------------------------
    out = Path(out)
    require_examples(config, training_set)
    require_reachable(config, model)
    if validation is not None:
        require_measure(config.validation_measure)
    settings = trained_settings(config, model)
    accelerator = make_accelerator(config)
    origin = describe_origin(config, model, training_set, validation, is_main=accelerator.is_main_process)
    model.settings = settings

    with reproducible(accelerator, config.seed), prepared(accelerator, config, model) as run:
        encoder, optimizer, blend = run.encoder, run.optimizer, Blend(run.trained, config.interpolate)

        # --- what an interrupted run has left -------------------------------------------------------------------------
        unknown = dict.fromkeys(("best_step", "best_score", "start_score", "logit_shift"))
        state, found = take_up(out, origin, unknown, accelerator, resume)
        with run.lent():
            shift_logits(config, model, training_set, state, accelerator)
        run.trained.settings = model.settings
        sparsity = Sparsity(config, model.n_terms, _idf(config, model, training_set))
        if found is not None:
            sparsity.load(checkpoint.load_checkpoint(found, run.trained, optimizer), state["sparsity"])
            checkpoint.restore_generators(state["generators"])
            if accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(state["scaler"])
        log = RunLog(out / "log.jsonl", state["log_bytes"], accelerator.is_main_process)
        examine = partial(_validate, config, run, validation, out, log, accelerator, blend)
        tell = _teller(config, accelerator, progress)

        # --- how good the start is ------------------------------------------------------------------------------------
        first, spent_s = state["step"] + 1, 0.0
        if first <= config.steps:
            tell(state["step"], 0.0)
        if state["step"] == 0:
            state |= examine(state)

        for step in range(first, config.steps + 1):
            # --- one optimiser step -----------------------------------------------------------------------------------
            began = time.monotonic()
            rate = learning_rate(step, config)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            batch = batch_at(step, training_set, config)
            read = partial(read_rows, batch, training_set, model, document_length=config.max_document_length)
            set_training(encoder, config)
            report = accumulate_gradients(accelerator, encoder, batch, read, config, step, sparsity)
            require_finite("loss", report.loss.total.item(), step)
            norm = accelerator.clip_grad_norm_(encoder.parameters(), config.max_gradient_norm)
            if accelerator.scaler is None:  # which passes over such a step by itself
                require_finite("norm of the gradient", norm.item(), step)
            optimizer.step()
            optimizer.zero_grad()
            state["step"] = step
            spent_s += time.monotonic() - began

            # --- once in a while: log, validate, save -----------------------------------------------------------------
            last = step == config.steps
            speed = (step - first + 1) * config.batch_size / spent_s
            if step % config.log_every == 0 or last:
                progressed = {"learning_rate": rate, "gradient_norm": float(norm) if norm.isfinite() else None}
                log.write({"step": step, **report.record(), **progressed, "examples_per_second": round(speed, 2)})
                sparsity.alarms.check(step, report.activity)
            if step % config.validate_every == 0 or last:
                state |= examine(state)
            if step % config.checkpoint_every == 0 or last:
                _save(out, config, origin, run, sparsity, state, log, accelerator)
            tell(step, speed)

        # --- what the run leaves --------------------------------------------------------------------------------------
        blend.apply()
        run.settle()
        if accelerator.is_main_process and (first <= config.steps or not (out / "final").exists()):
            if sparsity.lambdas.schedule is not None:
                durable.write_json(out / "lambdas.json", sparsity.lambdas.schedule)
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


def _idf(config: TrainConfig, model: Splade, training_set: TrainingSet) -> torch.Tensor | None:
    wanted = "idf_flops" in (config.regularizer_q, config.regularizer_d)
    return count_idf(training_set, model) if wanted else None


def _teller(
    config: TrainConfig, accelerator: Accelerator, progress: ProgressCallback | None
) -> Callable[[int, float], None]:
    """Give what tells the main process's caller how many steps are done, at how many examples a second."""

    def tell(step: int, speed: float) -> None:
        if progress is not None and accelerator.is_main_process:
            done, total = step * config.batch_size, config.steps * config.batch_size
            progress(Progress(done, total, speed, (total - done) / speed if speed else None))

    return tell


def _validate(
    config: TrainConfig,
    run: Prepared,
    validation: Validation | None,
    out: Path,
    log: RunLog,
    accelerator: Accelerator,
    blend: Blend,
    state: Mapping[str, Any],
) -> dict[str, Any]:
    """Try the model, log what came of it, keep it if it is the best so far; give what changed in the state."""
    if validation is None:
        return {}
    began, values = time.monotonic(), {config.validation_measure: 0.0}
    with blend.applied():
        run.settle()
        if accelerator.is_main_process:
            with run.lent() as model:
                values = validate(model, validation, config.validation_measure, out / "validation.partial")
        score = from_main(accelerator, values[config.validation_measure])
        is_best = state["best_score"] is None or score > state["best_score"]
        if is_best and accelerator.is_main_process:
            checkpoint.publish_model(run.model.save, out / "best")
    log.write({"step": state["step"], "validation": values, "seconds": round(time.monotonic() - began, 3)})
    changed = {"best_score": score, "best_step": state["step"]} if is_best else {}
    return changed | ({"start_score": score} if state["step"] == 0 else {})


def _save(
    out: Path,
    config: TrainConfig,
    origin: dict[str, Any],
    run: Prepared,
    sparsity: Sparsity,
    state: Mapping[str, Any],
    log: RunLog,
    accelerator: Accelerator,
) -> None:
    """Write a checkpoint from the main process while the others wait, or hand it their shards."""
    is_main = accelerator.is_main_process
    whole = {
        **{key: state[key] for key in ("best_step", "best_score", "start_score", "logit_shift")},
        "sparsity": sparsity.state(),
        **origin,
        "log_bytes": log.sync(),
        "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
        "environment": checkpoint.environment(accelerator.num_processes),
    }
    folder = out / "checkpoints"
    checkpoint.save_checkpoint(
        folder, state["step"], run.trained, run.optimizer, sparsity.tensors(), whole, is_main=is_main
    )
    if is_main:
        checkpoint.prune_checkpoints(folder, config.keep_checkpoints)
    accelerator.wait_for_everyone()
