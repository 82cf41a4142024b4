"""What each setting of a training run may be: types, ranges, and which settings exclude each other."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from everglade.errors import ConfigError
from everglade.train.losses import TAUGHT, parse_objective
from everglade.train.regularizers import REGULARIZERS

if TYPE_CHECKING:
    from everglade.train.config import TrainConfig

__all__ = ["MIN_CONTROL_STEPS", "PRECISIONS", "out_of_range", "wrong_types"]

PRECISIONS = ("no", "bf16", "fp16")
MIN_CONTROL_STEPS = 20
"""A controller needs so many steps of ramp to find a lambda."""

_AT_LEAST_ONE = (
    *("steps", "batch_size", "accumulation_steps", "log_every", "keep_checkpoints"),
    *("collapse_patience", "validate_every", "checkpoint_every", "start_terms"),
)
_AT_LEAST_ZERO = (
    *("negatives_per_query", "weight_decay", "lambda_q", "lambda_d", "seed", "threshold_q", "threshold_d"),
    "min_vocabulary",
)
_AT_LEAST = {
    **dict.fromkeys(_AT_LEAST_ONE, 1),
    **dict.fromkeys(_AT_LEAST_ZERO, 0),
    **dict.fromkeys(("max_query_length", "max_document_length", "saved_document_length"), 3),
}
_ABOVE_ZERO = (
    *("learning_rate", "query_learning_rate", "max_gradient_norm", "temperature", "df_beta"),
    *("target_query_terms", "target_doc_terms", "target_flops", "max_density"),
)
_CHOICES = {"precision": PRECISIONS, "regularizer_q": REGULARIZERS, "regularizer_d": REGULARIZERS}


def wrong_types(config: TrainConfig) -> list[str]:
    """Give a sentence for each value of the wrong type; whole numbers become floats where a float is wanted."""
    problems = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        wanted, _, optional = str(field.type).partition(" | ")
        if value is None and optional:
            continue
        if wanted == "float" and type(value) is int:
            object.__setattr__(config, field.name, float(value))
        elif type(value).__name__ != wanted:
            problems.append(f"{field.name} must be {_spoken(wanted)}, not {value!r}")
    return problems


def out_of_range(config: TrainConfig) -> list[str]:
    """Give a sentence for each value that cannot be, and for each pair of settings that exclude each other."""
    given = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    problems = [
        f"{name} must be at least {least}, not {given[name]}"
        for name, least in _AT_LEAST.items()
        if name in given and not (given[name] >= least and math.isfinite(given[name]))
    ]
    problems += [
        f"{name} must be above 0 and finite, not {given[name]}"
        for name in _ABOVE_ZERO
        if name in given and not 0 < given[name] < math.inf
    ]
    problems += [
        f"{name} must be one of {', '.join(allowed)}, not {given[name]!r}"
        for name, allowed in _CHOICES.items()
        if given[name] not in allowed
    ]
    if not 0 < config.interpolate <= 1:
        problems.append(f"interpolate must be above 0 and at most 1, not {config.interpolate}")
    if not 0 < config.df_alpha < 1:
        problems.append(f"df_alpha must lie between 0 and 1, not {config.df_alpha}")
    if config.min_vocabulary >= 1:
        problems.append(f"min_vocabulary must be below 1, not {config.min_vocabulary}")
    if config.seed >= 2**63:
        problems.append(f"seed must be below 2^63, not {config.seed}")
    for name in ("warmup_steps", "lambda_ramp_steps"):
        if not 0 <= given.get(name, 0) <= config.steps:
            problems.append(f"{name} must lie between 0 and steps ({config.steps}), not {given[name]}")
    if config.batch_size % max(config.accumulation_steps, 1):
        problems.append(f"batch_size ({config.batch_size}) must be a multiple of accumulation_steps")
    return [*problems, *_wrong_loss(config), *_clashing_lambdas(config)]


def _wrong_loss(config: TrainConfig) -> list[str]:
    try:
        names = [name for _, name in parse_objective(config.loss)]
    except ConfigError as error:
        return [str(error)]
    problems = []
    if config.negatives_per_query == 0:
        problems += [
            f"loss = {name} needs negatives: negatives_per_query must be at least 1"
            for name in names
            if name in (*TAUGHT, "pairwise_nll")
        ]
        if config.batch_size == 1:
            problems.append("batch_size 1 with negatives_per_query 0 leaves nothing to tell the positive from")
    if names == ["margin_mse"] and config.temperature != 1:
        problems.append(f"temperature does nothing to margin_mse: leave it out, not {config.temperature}")
    return problems


def _clashing_lambdas(config: TrainConfig) -> list[str]:
    """A side's penalty is weighed in one way: a lambda, a target, or the lambdas of an earlier run."""
    problems = []
    targets = {
        "lambda_q": [name for name in ("target_query_terms", "target_flops") if getattr(config, name) is not None],
        "lambda_d": [name for name in ("target_doc_terms", "target_flops") if getattr(config, name) is not None],
    }
    for name, against in targets.items():
        if getattr(config, name) is not None and against:
            problems.append(f"{name} and {against[0]} are both given: the target finds {name}, so leave one out")
        if config.lambda_schedule is not None and (against or getattr(config, name) is not None):
            problems.append(
                f"lambda_schedule replaces {name} and {against[0] if against else 'targets'}: leave one out"
            )
    if config.target_flops is not None and (config.target_query_terms or config.target_doc_terms) is not None:
        problems.append("target_flops steers both sides: give it alone, or target_query_terms and target_doc_terms")
    for name, target in (("threshold_q", "target_query_terms"), ("threshold_d", "target_doc_terms")):
        wanted = getattr(config, target)
        if wanted is not None and getattr(config, name) > wanted:
            problems.append(f"{name} spares vectors of more terms than {target} ({wanted:g}) asks for: lower it")
    if any(targets.values()) and config.lambda_ramp < MIN_CONTROL_STEPS:
        problems.append(
            f"lambda_ramp_steps must be at least {MIN_CONTROL_STEPS} to reach a target, not {config.lambda_ramp}"
        )
    return problems


def _spoken(annotation: str) -> str:
    return {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}[annotation]
