"""What is checked of a recipe before its first stage begins: hours of work must not end at a typing mistake."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError, suggest_name
from everglade.recipes.kinds import KINDS, WORDS, setting_names, settings_class

if TYPE_CHECKING:
    from everglade.recipes.recipe import StageSpec

__all__ = ["check_machine", "check_settings", "same_type"]

_LEAST = {"shard_rows": 1, "depth": 1, "rerank": 1, "negatives": 1, "lora_rank": 0}
_NONE_OR = {"format": "", "negatives": 1, "query_encoder": ""}
"""Own keys without a default, by a value of the type they take."""

_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}
_HINTS = {
    bool: "Write true or false, in small letters.",
    float: "Write it as 0.1.",
    str: "Write it in quotes.",
    list: 'Write it as ["one", "two"].',
    dict: "Write it as { key = value }.",
}


def same_type(key: str, value: Any, default: Any) -> Any:  # noqa: ANN401 - any TOML value
    """Give a value that stands in the place of another one.

    Raises:
        ConfigError: if it is of another type. A whole number may stand for any number, and "none" for an empty text.
    """
    wanted = type(default)
    if wanted is str and value is None:
        return ""
    if type(value) is wanted or (wanted is float and type(value) is int):
        return value
    hint = f" {_HINTS[wanted]}" if wanted in _HINTS else ""
    raise ConfigError(f"{key} must be {_TYPES[wanted]}, not {value!r}.{hint}")


def check_settings(stage: StageSpec, source: str) -> None:
    """Make sure that a stage's keys are known and can be used, as far as this shows without its inputs.

    Raises:
        ConfigError: naming the recipe, the stage and the key, with the nearest known one.
    """
    place = f"{source}, stage {stage.name}"
    known = setting_names(stage.kind)
    for key in stage.values:
        if key not in known:
            raise ConfigError(f"{place}: unknown setting {key!r} of kind {stage.kind}. {suggest_name(key, known)}")
    for key in KINDS[stage.kind].required:
        if stage.values.get(key) in (None, "", []):
            raise ConfigError(f"{place}: {key} must be given.")
    try:
        _check_own(stage)
        settings = settings_class(stage.kind)
        if settings is not None:
            settings.from_dict(stage.settings)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _check_own(stage: StageSpec) -> None:
    own = KINDS[stage.kind].own
    for key in own.keys() & stage.values.keys():
        value, default = stage.values[key], own[key]
        if value is None and default is None:
            continue
        same_type(key, value, _NONE_OR[key] if default is None else default)
        if key in _LEAST and value < _LEAST[key]:
            raise ConfigError(f"{key} must be at least {_LEAST[key]}, not {value}.")
        if isinstance(value, list) and not all(isinstance(one, str) for one in value):
            raise ConfigError(f"{key} must be a list of texts, not {value!r}.")
    if stage.kind == "evaluate":
        _check_evaluation(stage)
    elif stage.kind == "train":
        _check_training(stage)
    elif stage.kind == "index" and not stage.own("vectors").startswith("@"):
        raise ConfigError(f"vectors must be a stage of kind encode, such as @encode, not {stage.own('vectors')!r}.")
    elif stage.kind == "import":
        _check_format(stage.own("format"))


def _check_evaluation(stage: StageSpec) -> None:
    from everglade.evaluation.measures import evaluate

    if stage.own("index") != "bm25" and not stage.own("index").startswith("@"):
        raise ConfigError(f"index must be bm25, or a stage of kind index such as @index, not {stage.own('index')!r}.")
    evaluate({}, {"query": {"document": 1}}, stage.own("measures"))  # says which measures are not known


def _check_training(stage: StageSpec) -> None:
    from everglade.model.settings import SpladeSettings

    if stage.own("give") not in ("best", "final"):
        raise ConfigError(f"give must be best or final, not {stage.own('give')!r}.")
    model = SpladeSettings.from_dict(stage.own("model"))
    for key in ("max_query_length", "max_document_length"):
        if key in stage.own("model"):
            raise ConfigError(f"{key} is no part of the table model: write it beside it, as a setting of the training.")
    length = settings_class("train").from_dict(stage.settings).max_document_length
    if model.passages > 1 and model.passage_overlap >= length:
        raise ConfigError(
            f"passage_overlap is {model.passage_overlap}, but a passage has {length} tokens (max_document_length). "
            f"Use a smaller overlap or longer passages."
        )
    encoder = stage.own("query_encoder") or ""
    near = difflib.get_close_matches(encoder, WORDS, n=1, cutoff=0.8)
    if near and encoder not in WORDS:
        raise ConfigError(f"there is no query encoder {encoder!r}. Did you mean {near[0]}?")


def _check_format(name: str | None) -> None:
    from everglade.distill.formats import FORMATS

    if name is not None and name not in FORMATS:
        raise ConfigError(f"there is no format {name!r}. {suggest_name(name, list(FORMATS), 'formats')}")


def check_machine(kind: str, settings: Mapping[str, Any], name: str) -> None:
    """Make sure that a stage can run on this machine: whether its precision works, and its batch can be cut.

    Raises:
        ConfigError: naming the stage.
        MissingExtra: if accelerate is not installed.
    """
    if kind not in ("train", "pretrain", "train-teacher"):
        return
    from everglade.train.config import TrainConfig
    from everglade.train.machine import make_accelerator

    known = settings_class(kind).from_dict({key: settings[key] for key in settings if key not in KINDS[kind].own})
    config = known if kind == "train" else known.of_machine() if kind == "pretrain" else None
    try:
        make_accelerator(config or TrainConfig(precision=known.precision, batch_size=1))
    except ConfigError as error:
        raise ConfigError(
            f"stage {name} cannot run here: {error} Or choose another machine; no stage has begun."
        ) from error
