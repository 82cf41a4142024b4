"""sentence-transformers' CrossEncoderTrainer with batches, log and checkpoints of Everglade's.

Of the trainer only its public hooks are used: the data loader, the loss, and callbacks. Its own saving, logging,
evaluation, reporting and model card are off. This module needs the extra "teachers" as soon as it is imported.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments, losses
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, TrainerCallback

from everglade.errors import ConfigError
from everglade.train.batches import documents_of, visits_at
from everglade.train.schedule import learning_rate

if TYPE_CHECKING:
    from everglade.distill.examples import TrainingSet
    from everglade.train.teacher_config import TeacherConfig
    from everglade.train.teacher_course import Course

__all__ = ["run_trainer"]

_ONE_HOT = 1e4
"""A label of this size beside labels of 0 becomes exactly 1 in the softmax that ListNet takes of its labels."""


def run_trainer(
    model: CrossEncoder, config: TeacherConfig, training_set: TrainingSet, out: Path, course: Course
) -> None:
    """Train `model` in place, from the next step of `course` to the last."""
    trainer = _Trainer(model, _arguments(config, out), _make_loss(model, config), course)
    # A batch's gradient is the mean over its pieces, whatever arguments the model happens to take.
    trainer.model_accepts_loss_kwargs = False
    trainer.batches = _Pieces(training_set, config, course.done)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Steps(trainer, course))
    try:
        trainer.train()
    finally:
        # accelerate keeps this for the whole process: at "no", as between two pieces, nobody's optimiser takes a step.
        trainer.accelerator.gradient_state._set_sync_gradients(True)
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)


def _arguments(config: TeacherConfig, out: Path) -> CrossEncoderTrainingArguments:
    try:
        arguments = CrossEncoderTrainingArguments(
            output_dir=str(out),
            max_steps=config.steps,
            per_device_train_batch_size=config.batch_size // config.accumulation_steps,
            gradient_accumulation_steps=config.accumulation_steps,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            lr_scheduler_type="constant",  # `_Steps` sets the rate, and clips
            max_grad_norm=math.inf,
            optim="adamw_torch",
            bf16=config.precision == "bf16",
            fp16=config.precision == "fp16",
            use_cpu=not torch.cuda.is_available(),
            seed=config.seed,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to="none",
            push_to_hub=False,
            disable_tqdm=True,
            log_level="error",
        )
    except ValueError as error:
        raise ConfigError(f"precision = {config.precision!r} does not work on this machine: {error}") from error
    # Several GPUs that one process sees would be used by DataParallel, which changes the batch.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _make_loss(model: CrossEncoder, config: TeacherConfig) -> nn.Module:
    if config.loss == "binary_cross_entropy":
        weight = None if config.positive_weight == 1 else torch.tensor(config.positive_weight)
        return losses.BinaryCrossEntropyLoss(model, pos_weight=weight)
    return losses.ListNetLoss(model, mini_batch_size=-1)  # all pairs of a piece at once


class _Trainer(CrossEncoderTrainer):
    batches: _Pieces

    def __init__(
        self, model: CrossEncoder, arguments: CrossEncoderTrainingArguments, loss: nn.Module, course: Course
    ) -> None:
        super().__init__(model=model, args=arguments, loss=loss)
        self._course = course

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave the card out: `save_teacher` writes one, and this one would ask a hub."""

    def get_train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Give the batches from the next step on."""
        # With a generator of its own the loader draws nothing from torch's, which a resumed run has restored.
        return DataLoader(self.batches, batch_size=None, generator=torch.Generator())

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the trainer has it
        """Compute the loss of a piece of a batch, and let the log know."""
        loss = super().compute_loss(*args, **kwargs)
        self._course.losses.append((loss[0] if isinstance(loss, tuple) else loss).detach())
        return loss


class _Steps(TrainerCallback):
    """Hands the steps on to the course."""

    def __init__(self, trainer: _Trainer, course: Course) -> None:
        self._trainer = trainer
        self._course = course

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:  # noqa: ANN401
        state.global_step = self._course.done
        self._course.restore(self._trainer.model, parts["optimizer"], self._trainer.accelerator.scaler)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **parts: Any) -> None:  # noqa: ANN401
        course, config = self._course, self._course.config
        schedule: Any = config  # which has what the schedule of all training needs
        rate = learning_rate(course.done + 1, schedule)
        for group in parts["optimizer"].param_groups:
            group["lr"] = rate
        # The trainer has unscaled the gradients.
        norm = nn.utils.clip_grad_norm_(self._trainer.model.parameters(), config.max_gradient_norm)
        course.check_step(rate, float(norm), may_skip=self._trainer.accelerator.scaler is not None)

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:  # noqa: ANN401
        self._course.end_step(self._trainer.model, parts["optimizer"], self._trainer.accelerator.scaler)


class _Pieces(Dataset[dict[str, Any]]):
    """The pieces of the batches after `done` steps, `accumulation_steps` a step: a pure function of seed and step."""

    def __init__(self, training_set: TrainingSet, config: TeacherConfig, done: int) -> None:
        self._training_set = training_set
        self._config = config
        self._done = done

    def __len__(self) -> int:
        return (self._config.steps - self._done) * self._config.accumulation_steps

    def __getitem__(self, place: int) -> dict[str, Any]:
        config, known = self._config, self._training_set
        step, piece = divmod(place, config.accumulation_steps)
        size = config.batch_size // config.accumulation_steps
        visits = visits_at(self._done + step + 1, len(known.examples), config.batch_size, config.seed)
        queries, documents = [], []
        for visit in visits[piece * size : (piece + 1) * size]:
            example = known.examples[visit.example]
            chosen = documents_of(example, visit, config.negatives_per_query, config.seed)
            queries.append(known.queries[example.query_id])
            documents.append([known.documents[example.document_ids[place]] for place in chosen])
        return _as_columns(queries, documents, config.loss)


def _as_columns(queries: list[str], documents: list[list[str]], loss: str) -> dict[str, Any]:
    """Give what a loss of sentence-transformers takes: the positive is the first document of each query."""
    if loss == "listwise":
        labels = [torch.tensor([_ONE_HOT] + [0.0] * (len(texts) - 1)) for texts in documents]
        return {"query": queries, "documents": documents, "label": labels}
    return {
        "query": [query for query, texts in zip(queries, documents, strict=True) for _ in texts],
        "document": [text for texts in documents for text in texts],
        "label": torch.tensor([float(place == 0) for texts in documents for place in range(len(texts))]),
    }
