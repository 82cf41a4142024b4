"""Taking up an interrupted run: from its last checkpoint, if it is one of the same run, or from the beginning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Protocol

import torch

from everglade import durable
from everglade.errors import CheckpointError
from everglade.train import checkpoint
from everglade.train.origin import require_same

__all__ = ["Processes", "take_up"]


class Processes(Protocol):
    """What is asked of the machine that a run is on; accelerate's `Accelerator` is one."""

    @property
    def device(self) -> torch.device:
        """Where it trains."""

    @property
    def num_processes(self) -> int:
        """How many processes share a batch."""

    @property
    def is_main_process(self) -> bool:
        """Whether this one writes."""

    def wait_for_everyone(self) -> None:
        """Wait until all processes have come here."""


def take_up(
    out: Path, origin: dict[str, Any], unknown: dict[str, Any], machine: Processes, resume: bool
) -> tuple[dict[str, Any], Path | None]:
    """Give the state to go on from, and its checkpoint if there is one.

    Args:
        out: the run folder; it is made if it is not there.
        origin: what the run is made from, as `require_same` compares it.
        unknown: what the state holds besides step and size of the log, as it is before the first step.
        machine: the processes of the run.
        resume: whether to go on from a checkpoint. If not, there must be none.

    Raises:
        CheckpointError: if `out` holds a run that is made from something else or is of another kind, a damaged one, or
            one that is not to be resumed.
    """
    if machine.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.clear_partial(out)
    machine.wait_for_everyone()
    path = checkpoint.latest_checkpoint(out / "checkpoints")
    if path is None:
        if (out / "final").exists():
            raise CheckpointError(f"{out} holds a finished run without its checkpoints. Train into a new folder.")
        if machine.is_main_process:
            durable.write_json(out / "config.json", origin["config"])
        return {"step": 0, "log_bytes": 0, **unknown}, None
    if not resume:
        raise CheckpointError(f"{out} holds a run already. Resume it, remove it, or train into a new folder.")
    state = checkpoint.read_state(path)
    if not unknown.keys() <= state.keys():
        raise CheckpointError(f"{path} is of another kind of run. Train into a new folder.")
    require_same(path, state, origin)
    if machine.device.type == "cpu":
        torch.set_num_threads(state["environment"]["threads"])
    now = checkpoint.environment(machine.num_processes)
    unlike = [key for key, value in state["environment"].items() if now.get(key) != value]
    if unlike:
        warnings.warn(
            f"{path} was made with another {' and '.join(unlike)}: the run goes on, but its last bits may differ from "
            f"those of an uninterrupted one.",
            stacklevel=3,
        )
    return state, path
