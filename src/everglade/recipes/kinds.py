"""The kinds of stages: what each may be told, and what of other stages it takes.

A stage has settings, which are exactly those of the function it calls, and keys of its own, which say where its inputs
come from. A kind of stage takes the output of certain other kinds; what else an input names is a path or a model id.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everglade.bundled import bundled_model

__all__ = ["KINDS", "NAMED_MODELS", "SCHEMES", "WORDS", "Kind", "setting_names", "settings_class"]

SCHEMES = ("cross-encoder", "dense", "splade", "run")
"""Words before a model or file in a source of negatives or a teacher, as in "splade:@first"."""

WORDS = ("bm25", "shared", "binary", "static")
"""Inputs that are neither a path nor a model: what an evaluation searches with, and query encoders."""

NAMED_MODELS = {"bundled": bundled_model()}
"""Models that a recipe calls by a word."""


@dataclass(frozen=True)
class Kind:
    """One kind of stage.

    Attributes:
        does: What it does, in a few words, for the plan.
        own: Its own keys with their defaults; None where there is none.
        inputs: Those of its own keys that name what it works on, and the kinds of stages that give such a thing.
        required: Own keys that must be given.
        output: What of its folder other stages take.
        needs: What of the collection its result depends on: "documents", "training", "held", "judged" (the evaluated
            documents and queries).
    """

    does: str
    own: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    output: str = ""
    needs: tuple[str, ...] = ()


_EXAMPLES = ("import", "negatives", "score")
_MODELS = ("train", "pretrain")

KINDS: dict[str, Kind] = {
    "import": Kind(
        "convert training data",
        {"file": "", "format": None, "systems": [], "negatives": None},
        {"file": ()},
        ("file",),
        "examples.arrow",
        ("training",),
    ),
    "pretrain": Kind(
        "continue pre-training", {"start": ""}, {"start": ("pretrain",)}, ("start",), "final", ("documents",)
    ),
    "negatives": Kind("mine hard negatives", {}, {}, (), "examples", ("documents", "training")),
    "train-teacher": Kind(
        "train a cross-encoder",
        {"start": "", "examples": "", "rerank": 50},
        {"start": _MODELS, "examples": _EXAMPLES},
        ("start", "examples"),
        "final",
        ("documents", "training", "held"),
    ),
    "score": Kind(
        "score by teachers",
        {"examples": ""},
        {"examples": _EXAMPLES},
        ("examples",),
        "examples",
        ("documents", "training"),
    ),
    "train": Kind(
        "train",
        {
            "start": "",
            "examples": "",
            "query_encoder": None,
            "freeze_documents": False,
            "lora_rank": 0,
            "model": {},
            "give": "best",
        },
        {"start": _MODELS, "examples": _EXAMPLES, "query_encoder": _MODELS},
        ("start", "examples"),
        "best",
        ("documents", "training", "held"),
    ),
    "encode": Kind(
        "encode documents",
        {"model": "", "shard_rows": 8192},
        {"model": _MODELS},
        ("model",),
        "vectors",
        ("evaluated documents",),
    ),
    "index": Kind(
        "index vectors",
        {"vectors": ""},
        {"vectors": ("encode",)},
        ("vectors",),
        "index",
        ("evaluated documents",),
    ),
    "evaluate": Kind(
        "search and measure",
        {"index": "", "label": "", "depth": 1000, "measures": ["nDCG@10", "RR@10", "R@100", "R@1000"]},
        {"index": ("index",)},
        ("index", "label"),
        "run.trec",
        ("evaluated documents", "judged"),
    ),
}


def settings_class(kind: str) -> Any:  # noqa: ANN401 - each kind of stage has a class of its own, or None
    """Give the class of the settings of a kind of stage: with `from_dict` and `to_dict`; None if it has none."""
    if kind == "train":
        from everglade.train.config import TrainConfig

        return TrainConfig
    if kind == "pretrain":
        from everglade.pretrain.config import PretrainConfig

        return PretrainConfig
    if kind == "negatives":
        from everglade.distill.negatives import MiningSettings

        return MiningSettings
    if kind == "score":
        from everglade.distill.scoring import ScoringSettings

        return ScoringSettings
    if kind == "train-teacher":
        from everglade.train.teacher_config import TeacherConfig

        return TeacherConfig
    return None


def setting_names(kind: str) -> list[str]:
    """Give every key that a stage of a kind takes: its own, then its settings."""
    settings = settings_class(kind)
    names = [] if settings is None else [field.name for field in dataclasses.fields(settings)]
    return [*KINDS[kind].own, *names]
