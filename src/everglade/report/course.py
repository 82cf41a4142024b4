"""The course of a training as its log tells it: losses, active terms, FLOPS, validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everglade.pages.figures import draw_curves
from everglade.pages.page import Column, Page
from everglade.report.reading import read_lines

__all__ = ["Course", "add_course", "read_course"]

Curve = list[tuple[float, float]]

POINTS_SHOWN = 240
"""A longer curve is drawn as means over equal parts."""

LOSSES = {"total": "total", "ranking": "ranking alone", "loss": "loss"}
TERMS = {"document_terms": "terms of a document", "query_terms": "terms of a query"}
LAMBDAS = {"lambda_q": "lambda of queries", "lambda_d": "lambda of documents"}


@dataclass(frozen=True)
class Course:
    """A log, taken apart.

    Attributes:
        steps: What each log line says of its step's batch.
        validations: What each validation found, with its step; of a pre-training what held-out documents gave.
    """

    steps: list[Mapping[str, Any]]
    validations: list[Mapping[str, Any]]

    def curve(self, name: str) -> Curve:
        """Give a value over the steps; empty where no line has it."""
        return _thin([(float(line["step"]), float(line[name])) for line in self.steps if _is_number(line.get(name))])

    def validated(self, name: str) -> Curve:
        """Give a value over the validations."""
        return [(float(line["step"]), float(line[name])) for line in self.validations if _is_number(line.get(name))]


def read_course(path: Path) -> Course:
    """Read log.jsonl of a training.

    Raises:
        InputError: if it cannot be read.
    """
    steps: list[Mapping[str, Any]] = []
    validations: list[Mapping[str, Any]] = []
    for record in read_lines(path):
        looked = record.get("validation") or record.get("held_out")
        if isinstance(looked, dict):
            validations.append({**looked, "step": record.get("step", 0)})
        elif "step" in record:
            steps.append(record)
    return Course(steps, validations)


def add_course(page: Page, course: Course, config: Mapping[str, Any]) -> None:
    """Add what there is to see of a training: a table of validations, and curves.

    Args:
        page: Where to.
        course: The log.
        config: The settings of the training: targets, and the measure of its validation.
    """
    add_validations(page, course, config)
    if losses := _pick(course, LOSSES):
        more = "" if "total" not in _names(course) else " The total is the ranking loss plus the weighted penalties."
        _draw(page, losses, "loss", f"Loss of a step's batch: lower is better.{more}")
    if terms := _pick(course, TERMS):
        levels = _targets(config, {"target_doc_terms": "of a document", "target_query_terms": "of a query"})
        said = " Dashed: the target it was to be brought to." if levels else ""
        caption = f"Active terms of a vector, means of a step's batch: fewer make search cheaper.{said}"
        _draw(page, terms, "active terms", caption, levels, log_y=_spreads(terms))
    if len(flops := course.curve("flops")) > 1:
        curves = {"a step's batch": flops}
        if validated := course.validated("flops"):
            curves["validation"] = validated
        levels = _targets(config, {"target_flops": ""})
        said = " Dashed: the target it was to be brought to." if levels else ""
        caption = f"FLOPS: terms that a random query and a random document share; less makes search cheaper.{said}"
        _draw(page, curves, "FLOPS", caption, levels)
    if lambdas := _pick(course, LAMBDAS):
        caption = "Lambdas: how much the penalties on dense vectors weigh; a controller moves them to reach a target."
        _draw(page, lambdas, "lambda", caption)


def add_validations(page: Page, course: Course, config: Mapping[str, Any]) -> None:
    """Add what the validations found, as a table of the first, the best and the last, and as a curve."""
    lines = course.validations
    names = [name for name in (lines[0] if lines else {}) if name != "step" and _is_number(lines[0][name])]
    if not names:
        return
    measure = config.get("validation_measure")
    decisive = measure if measure in names else names[0]
    lower = "loss" in decisive
    measured = [line for line in lines if _is_number(line.get(decisive))] or lines
    best = (min if lower else max)(measured, key=lambda line: line.get(decisive) or 0.0)
    rows = []
    for line in (lines[0], best, lines[-1]):
        known = [what for what, other in (("first", lines[0]), ("best", best), ("last", lines[-1])) if other is line]
        row = (", ".join(known), int(line["step"]), *(_number(line.get(name)) for name in names))
        if row not in rows:
            rows.append(row)
    words = {"flops": "FLOPS", "query_terms": "query terms", "document_terms": "document terms"}
    columns = [
        Column(words.get(name, name), ("min" if lower else "max") if name == decisive else None) for name in names
    ]
    way = "lower" if lower else "greater"
    page.add_table(
        ["validation", "step", *columns],
        rows,
        f"What was found on held-out queries or documents before, during and after the training: of {decisive}, {way} "
        f"is better. Its values compare only with each other, as what is held out is a small part of a collection.",
    )
    if len(curve := course.validated(decisive)) > 2:
        _draw(page, {decisive: curve}, f"{decisive}, validation", f"{decisive} in validation: {way} is better.")


def _draw(
    page: Page,
    curves: Mapping[str, Curve],
    y_label: str,
    caption: str,
    levels: Mapping[str, float] | None = None,
    *,
    log_y: bool = False,
) -> None:
    wide, narrow = (
        draw_curves(curves, "step", y_label, levels=levels, log_y=log_y, narrow=narrow) for narrow in (False, True)
    )
    page.add_figure(wide, caption, narrow)


def _pick(course: Course, names: Mapping[str, str]) -> dict[str, Curve]:
    found = {shown: course.curve(name) for name, shown in names.items()}
    return {shown: curve for shown, curve in found.items() if len(curve) > 1}


def _names(course: Course) -> set[str]:
    return set(course.steps[0]) if course.steps else set()


def _targets(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    return {f"target {of}".rstrip(): float(config[name]) for name, of in names.items() if _is_number(config.get(name))}


def _spreads(curves: Mapping[str, Curve]) -> bool:
    """Whether a scale of ratios shows more: the greatest value is many times the smallest."""
    values = [y for curve in curves.values() for _, y in curve]
    return min(values) > 0 and max(values) / min(values) > 5


def _thin(curve: Curve) -> Curve:
    """Give a curve of no more than `POINTS_SHOWN` points: means over equal parts."""
    size = -(-len(curve) // POINTS_SHOWN)
    parts: Sequence[Curve] = [curve[start : start + size] for start in range(0, len(curve), max(size, 1))]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _number(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    return float(value) if _is_number(value) else None
