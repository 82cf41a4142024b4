"""What a run is made from: a checkpoint is gone on from only by the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.errors import CheckpointError
from everglade.model.splade import Splade
from everglade.train.checkpoint import weights_sha256
from everglade.train.lambdas import read_schedule

if TYPE_CHECKING:
    from everglade.distill.examples import TrainingSet
    from everglade.train.config import TrainConfig
    from everglade.train.validation import Validation

__all__ = ["describe_origin", "require_same"]

_WITHOUT_EFFECT = ("shard",)
"""Settings that say where numbers lie, not which."""

_REFUSALS = {
    "examples": "was made with other examples or texts. Resume with the same, or train into a new folder.",
    "lambdas": "was made with another lambda_schedule. Put that file back, or train anew.",
    "start": "was begun from another model. Load the starting model anew (training changes a model in place), or train "
    "into a new folder.",
    "validation": "was made with another validation set, whose scores do not compare. Resume with the same documents, "
    "queries, judgements and depth, or train into a new folder.",
}


def describe_origin(
    config: TrainConfig, model: Splade, training_set: TrainingSet, validation: Validation | None, *, is_main: bool
) -> dict[str, Any]:
    """Give what a resumed run must share with the one before, as JSON values.

    Only the main process validates, so the others say nothing of it.
    """
    schedule = None if config.lambda_schedule is None else read_schedule(config.lambda_schedule)
    inputs = {
        "examples": training_set.fingerprint,
        "lambdas": hashlib.sha256(repr(schedule).encode()).hexdigest(),
        "start": weights_sha256(model),
    }
    if is_main:
        inputs["validation"] = _hash_validation(validation)
    return {
        "config": config.to_dict(),
        "model": _describe_model(model),
        "trained": sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad),
        "inputs": inputs,
    }


def require_same(path: Path, saved: dict[str, Any], origin: dict[str, Any]) -> None:
    """Make sure that a checkpoint belongs to the run that is now asked for.

    Raises:
        CheckpointError: naming every setting that differs with both values, or the input that differs.
    """
    for part, unlike in (("config", "made with another configuration"), ("model", "begun with other model settings")):
        before, now = saved[part], origin[part]
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key) and key not in _WITHOUT_EFFECT]
        if keys:
            pairs = "; ".join(f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in keys)
            raise CheckpointError(
                f"{path} was {unlike}: {pairs}. Resume with the same settings, or train into a new folder."
            )
    for name, digest in origin["inputs"].items():
        if saved["inputs"][name] != digest:
            raise CheckpointError(f"{path} {_REFUSALS[name]}")
    changed = sorted(set(saved["trained"]) ^ set(origin["trained"]))
    if changed:
        raise CheckpointError(
            f"{path} was made with other parameters frozen: {changed[0]}, the first of {len(changed)}. Freeze the same "
            f"ones, or train into a new folder."
        )


def _describe_model(model: Splade) -> dict[str, Any]:
    described = {"query_kind": model.query_kind, **model.settings.to_dict()}
    if isinstance(model.query_encoder, Splade):
        described |= {f"query_encoder.{key}": value for key, value in model.query_encoder.settings.to_dict().items()}
    return described


def _hash_validation(validation: Validation | None) -> str:
    digest = hashlib.sha256()
    if validation is not None:
        qrels = {query_id: sorted(judged.items()) for query_id, judged in sorted(validation.qrels.items())}
        digest.update(json.dumps([validation.depth, qrels]).encode())
        for query in validation.queries:
            digest.update(json.dumps(["query", query.id, query.text]).encode())
        for document in validation.documents:
            digest.update(json.dumps(["document", document.id, document.full_text]).encode())
    return digest.hexdigest()
