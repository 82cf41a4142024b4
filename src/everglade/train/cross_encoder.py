"""Training a teacher: a cross-encoder on the user's examples, by sentence-transformers' CrossEncoderTrainer.

A run folder::

    config.json             the settings of the run
    log.jsonl               one line for each log step and each reranking; no times, so that it repeats byte for byte
    checkpoints/step-*/     the last ones, to go on from (checkpoint.py)
    final/                  the cross-encoder after the last step

The trainer does the steps (teacher_trainer.py): forward, backward, clipping, AdamW and the schedule. What it would save
by torch.save it never saves: checkpoints are written around it, without pickle (teacher_course.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from everglade.errors import ConfigError
from everglade.model.fingerprint import hash_start, tokenizer_rules
from everglade.model.loading import quiet_transformers, read_tokenizer_files
from everglade.train import checkpoint
from everglade.train.machine import reproducible
from everglade.train.reranking import Reranking
from everglade.train.resuming import take_up
from everglade.train.run_log import RunLog
from everglade.train.teacher_config import TeacherConfig
from everglade.train.teacher_course import Course
from everglade.train.teacher_start import load_start, save_teacher

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from everglade.distill.examples import TrainingSet
    from everglade.progress import ProgressCallback

__all__ = ["Reranking", "TeacherConfig", "TeacherResult", "train_teacher"]


@dataclass(frozen=True, slots=True)
class TeacherResult:
    """What a finished run left. Scores are nDCG@10 and RR@10 of the held-out queries, None where there were none.

    Attributes:
        steps: Optimiser steps of the run.
        final: The folder of the cross-encoder.
        log: The log of the run.
        candidates: Of the candidates in the order in which they came.
        start: Of the candidates as the start reranks them.
        end: As the trained cross-encoder does.
    """

    steps: int
    final: Path
    log: Path
    candidates: dict[str, float] | None
    start: dict[str, float] | None
    end: dict[str, float] | None


def train_teacher(
    config: TeacherConfig,
    start: str | Path,
    training_set: TrainingSet,
    out: str | Path,
    *,
    validation: Reranking | None = None,
    resume: bool = True,
    progress: ProgressCallback | None = None,
) -> TeacherResult:
    """Train a cross-encoder and leave a run folder at `out`.

    A run that was interrupted and is started again with the same arguments goes on from its last checkpoint. On a CPU
    the result is then the same, bit for bit, as without the interruption. A finished run ends at once.

    Source: the teacher of SelfDistil, a cross-encoder trained before its student (Formal et al., arXiv 2205.04733). The
    losses are BinaryCrossEntropyLoss and ListNetLoss of sentence-transformers; the latter is -log softmax(s)[positive]
    over the documents of a query here, because all of the label lies on the positive.

    Args:
        config: the settings.
        start: a cross-encoder, or any encoder that is to get a head; see `load_start`.
        training_set: the examples and their texts; teacher scores in them play no part.
        out: the run folder.
        validation: held-out queries, reranked before the first step, every `validate_every` steps and after the last.
        resume: whether to go on from a checkpoint in `out`. If not, there must be none.
        progress: called before the first step and after every one, with rows that are examples.

    Raises:
        ConfigError: if the settings fit neither machine nor model, there are several processes, or the loss or its
            gradient is no longer finite.
        CheckpointError: if `out` holds a run with other settings, examples, start or validation, or a damaged one.
        InputError: if an example has no negative.
        ModelError: if the start cannot be opened.
        MissingExtra: if sentence-transformers, accelerate or datasets is not installed.
    """
    out = Path(out)
    training_set.require_negatives()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a teacher is trained in one process. Start it without torchrun or accelerate launch.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.precision == "fp16" and device.type == "cpu":
        raise ConfigError("precision = 'fp16' needs a GPU. On this machine use 'bf16' or 'no'.")
    machine: Any = _Machine(device)
    with reproducible(machine, config.seed), quiet_transformers():
        model = load_start(start, config.max_length)
        origin = _describe_origin(config, model, training_set, validation)
        state, found = take_up(out, origin, {"reranked": None}, machine, resume)
        log = RunLog(out / "log.jsonl", state["log_bytes"], True)
        if state["step"] < config.steps:
            from everglade.train.teacher_trainer import run_trainer

            course = Course(config, out, origin, state, found, log, validation, progress)
            course.begin(model)
            run_trainer(model, config, training_set, out, course)
        elif found is not None and not (out / "final").exists():
            checkpoint.load_checkpoint(found, model, torch.optim.AdamW(model.parameters()))
        if not (out / "final").exists():
            checkpoint.publish_model(lambda path: save_teacher(model, path), out / "final")
    reranked = state["reranked"] or {}
    return TeacherResult(
        steps=config.steps,
        final=out / "final",
        log=out / "log.jsonl",
        candidates=reranked.get("candidates"),
        start=reranked.get("start"),
        end=reranked.get("end"),
    )


@dataclass(frozen=True, slots=True)
class _Machine:
    """As much of an accelerator as is asked here: the trainer makes its own, and seeds before it does."""

    device: torch.device
    num_processes: int = 1
    is_main_process: bool = True

    def wait_for_everyone(self) -> None:
        """Nobody else is there."""


def _describe_origin(
    config: TeacherConfig, model: CrossEncoder, training_set: TrainingSet, validation: Reranking | None
) -> dict[str, Any]:
    """Give what a resumed run must share with the one before, as JSON values."""
    language_model: Any = model.transformers_model
    rules = tokenizer_rules(read_tokenizer_files(model.tokenizer))
    return {
        "config": config.to_dict(),
        "model": {"max_length": model.max_seq_length},
        "trained": [],  # everything is
        "inputs": {
            "examples": training_set.fingerprint,
            "start": hash_start(checkpoint.weights_sha256(model), language_model.config, rules),
            "validation": None if validation is None else validation.fingerprint,
        },
    }
