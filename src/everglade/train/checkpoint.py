"""Checkpoints: everything a run needs to go on as if it had never stopped, in files a person can read.

A checkpoint folder::

    step-00000010/
      weights.safetensors    every parameter and buffer of the model, by name; tied ones once
      optimizer.safetensors  AdamW's PARAMETER/exp_avg, PARAMETER/exp_avg_sq and PARAMETER/step
      sparsity.safetensors   document frequencies, terms in use, and lambdas so far
      state.json             step, origin (origin.py), controllers, generators, scaler, versions, best score, log size
      SHA256SUMS             of these files, as sha256sum prints them

It is written as `step-00000010.partial` and takes its name when every byte is on the disk. There is no pickle in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from everglade import durable
from everglade.errors import CheckpointError
from everglade.train.shards import fill, gather_whole, shard_like

__all__ = [
    "capture_generators",
    "clear_partial",
    "environment",
    "latest_checkpoint",
    "load_checkpoint",
    "prune_checkpoints",
    "publish_model",
    "read_state",
    "restore_generators",
    "save_checkpoint",
    "weights_sha256",
]

FORMAT = "everglade-checkpoint"
VERSION = 4
_FILES = ("weights.safetensors", "optimizer.safetensors", "sparsity.safetensors", "state.json")


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    sparsity: dict[str, Tensor],
    state: dict[str, Any],
    *,
    is_main: bool = True,
) -> Path:
    """Write the checkpoint of a step into `folder`, whole or not at all, and give its path.

    `sparsity` is any named arrays, `state` any JSON object; step, format and generators are added to it. All processes
    must call this together where the model is in shards; the main one writes, in the same form as without shards.
    """
    final = folder / f"step-{step:08d}"
    weights, moments = _in_one_piece(_weights(model), is_main), _in_one_piece(_moments(model, optimizer), is_main)
    if not is_main:
        return final
    partial = folder / f"{final.name}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    save_file(weights, partial / "weights.safetensors")
    save_file(moments, partial / "optimizer.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in sparsity.items()}, partial / "sparsity.safetensors")
    whole = {"format": FORMAT, "version": VERSION, "step": step, **state, "generators": capture_generators()}
    (partial / "state.json").write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    sums = "".join(f"{_sha256(partial / name)}  {name}\n" for name in _FILES)
    (partial / "SHA256SUMS").write_text(sums, encoding="utf-8")
    durable.publish_folder(partial, final)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """Give the checkpoint of the highest step, or None if there is none. Unfinished ones do not count."""
    return max(_checkpoints(folder), default=None)


def read_state(path: Path) -> dict[str, Any]:
    """Verify every file of a checkpoint and give its state.

    Raises:
        CheckpointError: if a file is missing or not what was written, or the format is not known.
    """
    try:
        lines = (path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        wrong = [name for name in _FILES if sums.get(name) != _sha256(path / name)]
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if wrong:
        raise _damaged(path, f"the sha256 of {', '.join(wrong)} is not the one in SHA256SUMS")
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if state.get("format") != FORMAT or state.get("version") != VERSION:
        raise CheckpointError(
            f"{path} is not a checkpoint of version {VERSION}, the one this Everglade can read. Train into a new "
            f"folder, or resume with the Everglade that wrote it."
        )
    return state


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Put weights and optimiser state of a verified checkpoint into a model and its optimiser; give the other arrays.

    Raises:
        CheckpointError: if the checkpoint is of a model of another shape.
    """
    weights = load_file(path / "weights.safetensors")
    own = _weights(model)
    unlike = [name for name in sorted(own.keys() | weights.keys()) if _shape(own, name) != _shape(weights, name)]
    if unlike:
        raise CheckpointError(f"{path} is of another model: {_some(unlike)} do not fit. Resume with the same model.")
    with torch.no_grad():
        for name, tensor in own.items():
            fill(tensor, weights[name])
    moments = load_file(path / "optimizer.safetensors")
    for name, parameter in model.named_parameters():
        found = {key.rpartition("/")[2]: value for key, value in moments.items() if key.rpartition("/")[0] == name}
        if found:
            # AdamW keeps its step count on the CPU, its moments beside the parameter.
            optimizer.state[parameter] = {
                key: value if key == "step" else shard_like(parameter, value) for key, value in found.items()
            }
    return load_file(path / "sparsity.safetensors")


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Remove all but the last `keep` checkpoints."""
    for path in sorted(_checkpoints(folder))[:-keep]:
        # Renamed first, so that a removal cut short leaves no half checkpoint under a good name.
        doomed = path.with_name(path.name + ".partial")
        path.rename(doomed)
        shutil.rmtree(doomed)


def clear_partial(folder: Path) -> None:
    """Remove what an interrupted writer left, and give back the model folder it was about to replace."""
    for previous in folder.glob("*.previous"):
        target = previous.with_suffix("")
        if target.exists():
            shutil.rmtree(previous)
        else:
            previous.rename(target)
    for partial in [*folder.glob("*.partial"), *folder.glob("checkpoints/*.partial")]:
        shutil.rmtree(partial)


def publish_model(save: Callable[[Path], object], target: Path) -> None:
    """Have a model saved under `target`, replacing the model folder there; at every moment one of the two is whole."""
    partial, previous = target.with_name(target.name + ".partial"), target.with_name(target.name + ".previous")
    if partial.exists():
        shutil.rmtree(partial)
    save(partial)
    if target.exists():
        target.rename(previous)
    durable.publish_folder(partial, target)
    if previous.exists():
        shutil.rmtree(previous)


def environment(processes: int) -> dict[str, Any]:
    """Give what the last bits of a result depend on besides the inputs."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "processes": processes,
    }


def capture_generators() -> dict[str, Any]:
    """Give the state of Python's, numpy's and torch's random number generators as JSON values."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - others may draw from it
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, np.asarray(keys).tolist(), int(place), int(has_gauss), float(cached)],
        "torch": base64.b64encode(torch.get_rng_state().numpy().tobytes()).decode(),
        "cuda": [base64.b64encode(state.numpy().tobytes()).decode() for state in torch.cuda.get_rng_state_all()],
    }


def restore_generators(saved: dict[str, Any]) -> None:
    """Put the generators back into a captured state. GPUs are restored where their number is the same."""
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, place, has_gauss, cached = saved["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), place, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(_bytes(saved["torch"]))
    if len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_bytes(state) for state in saved["cuda"]])


def weights_sha256(model: nn.Module) -> str:
    """Give the sha256 of a model's parameters and buffers, with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_weights(model).items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _weights(model: nn.Module) -> dict[str, Tensor]:
    seen: set[int] = set()
    kept = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            kept[name] = tensor.detach()
    return kept


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _in_one_piece(tensors: dict[str, Tensor], keep: bool) -> dict[str, Tensor]:
    pieces = {}
    for name, tensor in tensors.items():
        piece = gather_whole(tensor)  # with the other processes, whether it is kept or not
        if keep:
            pieces[name] = piece.cpu().contiguous()  # a device for shards has no room for all of them
    return pieces


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shape(weights: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(weights[name].shape) if name in weights else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: {why}. Remove it to go on from the checkpoint before it.")
