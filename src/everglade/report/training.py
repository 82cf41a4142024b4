"""The page of a training folder, as `everglade train`, `train-teacher` and `pretrain` leave it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from everglade.errors import InputError
from everglade.pages.page import Page
from everglade.report.course import Course, add_course, read_course
from everglade.report.provenance import add_provenance, describe_versions, hash_files
from everglade.report.reading import read_json

__all__ = ["report_training"]

SHOWN = ("loss", "steps", "batch_size", "learning_rate", "negatives_per_query", "seed")


def report_training(folder: Path, command: str) -> Page:
    """Make the page of a training.

    Args:
        folder: With config.json and log.jsonl.
        command: What was typed.

    Raises:
        InputError: if a file is missing or cannot be read, or nothing has been logged yet.
        MissingExtra: if matplotlib is not installed.
    """
    config = read_json(folder / "config.json")
    course = read_course(folder / "log.jsonl")
    if not course.steps and not course.validations:
        raise InputError("no step has been logged yet. Wait for the first ones", folder / "log.jsonl")
    name = folder.resolve().name
    page = Page(f"Training {name}", _say_how_far(config, course))
    page.add_heading("How the training went")
    page.add_fields({key.replace("_", " "): config[key] for key in SHOWN if key in config})
    add_course(page, course, config)
    add_provenance(
        page,
        {"folder": name, "written with": describe_versions(), **hash_files(folder, _files(folder))},
        command,
        {"Every setting": config},
    )
    return page


def _say_how_far(config: dict[str, Any], course: Course) -> str:
    done = max((int(line["step"]) for line in [*course.steps, *course.validations]), default=0)
    planned = config.get("steps")
    if isinstance(planned, int) and done < planned:
        return f"{done:,} of {planned:,} steps are done: the training was still under way, or was interrupted"
    return f"{done:,} steps"


def _files(folder: Path) -> list[str]:
    weights = [f"{name}/model.safetensors" for name in ("best", "final")]
    return ["config.json", "log.jsonl", *(name for name in weights if (folder / name).is_file())]
