"""What happens around the steps of a teacher's training: the log, rerankings, checkpoints, taking a run up again."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from everglade.progress import Progress, ProgressCallback
from everglade.train import checkpoint
from everglade.train.requirements import require_finite
from everglade.train.reranking import Reranking, rerank

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from everglade.train.run_log import RunLog
    from everglade.train.teacher_config import TeacherConfig

__all__ = ["Course"]


class Course:
    """A run in its course.

    Args:
        config: the settings.
        out: the run folder.
        origin: what a resumed run must share.
        state: the state of `found`, or of a run that has done no step. `reranked` is kept up to date in it.
        found: the checkpoint to go on from, or None.
        log: the log.
        validation: what is reranked, if anything.
        progress: whom to tell of every step.

    Attributes:
        done: optimiser steps that are done.
        losses: of the pieces of the step that is under way.
    """

    def __init__(
        self,
        config: TeacherConfig,
        out: Path,
        origin: dict[str, Any],
        state: dict[str, Any],
        found: Path | None,
        log: RunLog,
        validation: Reranking | None,
        progress: ProgressCallback | None,
    ) -> None:
        self.config = config
        self.done: int = state["step"]
        self.losses: list[torch.Tensor] = []
        self._taken: dict[str, Any] = {}
        self._out = out
        self._origin = origin
        self._state = state
        self._found = found
        self._log = log
        self._validation = validation
        self._progress = progress
        self._first, self._began = self.done, time.monotonic()

    def begin(self, model: CrossEncoder) -> None:
        """Tell where the run stands, and how good the start is."""
        self._tell(0.0)
        if self.done == 0 and self._validation is not None:
            candidates = self._validation.measure(self._validation.candidates)
            self._state["reranked"] = {"candidates": candidates}
            self._rerank(model, "start")

    def restore(self, model: CrossEncoder, optimizer: Any, scaler: Any) -> None:  # noqa: ANN401
        """Put everything that moves into the state of the checkpoint, or the generators into that of the seed.

        Optimiser and scaler are those of torch, as accelerate wraps them.
        """
        self._first, self._began = self.done, time.monotonic()
        if self._found is None:
            torch.manual_seed(self.config.seed)
            return
        checkpoint.load_checkpoint(self._found, model, optimizer)
        if scaler is not None:
            scaler.load_state_dict(self._state["scaler"])
        checkpoint.restore_generators(self._state["generators"])

    def check_step(self, rate: float, norm: float, *, may_skip: bool) -> None:
        """Take note of loss, learning rate and norm of the gradient of a step, before the step is taken.

        Raises:
            ConfigError: if the loss is not finite, or the norm, and no scaler passes over such a step by itself.
        """
        loss = float(torch.stack(self.losses).mean().item())
        self.losses.clear()
        require_finite("loss", loss, self.done + 1)
        if not may_skip:
            require_finite("norm of the gradient", norm, self.done + 1)
        self._taken = {"loss": loss, "learning_rate": rate, "gradient_norm": norm if math.isfinite(norm) else None}

    def end_step(self, model: CrossEncoder, optimizer: Any, scaler: Any) -> None:  # noqa: ANN401
        """Take note of a step that is done; now and then log it, rerank, and write a checkpoint."""
        config = self.config
        self.done += 1
        last = self.done == config.steps
        if self.done % config.log_every == 0 or last:
            self._log.write({"step": self.done, **self._taken})
        if self.done % config.validate_every == 0 or last:
            self._rerank(model, "end")
        if self.done % config.checkpoint_every == 0 or last:
            self._save(model, optimizer, scaler)
        self._tell((self.done - self._first) * config.batch_size / max(time.monotonic() - self._began, 1e-9))

    def _rerank(self, model: CrossEncoder, when: str) -> None:
        if self._validation is not None:
            scores = rerank(model, self._validation)
            self._state["reranked"] = {**self._state["reranked"], when: scores}
            self._log.write({"step": self.done, "validation": scores})

    def _save(self, model: CrossEncoder, optimizer: Any, scaler: Any) -> None:  # noqa: ANN401
        state = {
            **self._origin,
            "reranked": self._state["reranked"],
            "log_bytes": self._log.sync(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "environment": checkpoint.environment(1),
        }
        checkpoint.save_checkpoint(self._out / "checkpoints", self.done, model, optimizer, {}, state)
        checkpoint.prune_checkpoints(self._out / "checkpoints", self.config.keep_checkpoints)

    def _tell(self, speed: float) -> None:
        if self._progress is not None:
            done, total = self.done * self.config.batch_size, self.config.steps * self.config.batch_size
            self._progress(Progress(done, total, speed, (total - done) / speed if speed else None))
