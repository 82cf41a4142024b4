"""How results, progress and errors look on the terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everglade.errors import EvergladeError
    from everglade.progress import Progress

__all__ = ["check_place", "print_error", "print_fields", "print_json", "print_table", "show_progress", "speaks"]

SECONDS_BETWEEN_LOG_LINES = 10.0


def speaks(rank: str = "RANK") -> bool:
    """Say whether this process is to speak: of several that torchrun or accelerate launch started, the first one.

    `rank` is the variable that counts them: "RANK" over all machines, "LOCAL_RANK" on each.
    """
    return os.environ.get(rank, "0") == "0"


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print `value` as JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_error(error: EvergladeError, *, as_json: bool) -> None:
    """Print one clear error on stderr: one on each machine, because a file may be missing on one alone."""
    if not speaks("LOCAL_RANK"):
        return
    if as_json:
        print(json.dumps({"error": {"type": type(error).__name__, "reason": str(error)}}), file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)


def check_place(path: Path | None) -> None:
    """Refuse a file that could not be written, before hours have passed; None is no file.

    Raises:
        ConfigError: if `path` is a folder, or its own folder is not there.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. Name a file in it.")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} is not there, in which {path.name} is to be written. Make it.")


def print_fields(fields: dict[str, Any]) -> None:
    """Print one name and value a line, values aligned."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        print(f"{name:<{width}}  {_as_text(value)}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, text_columns: int = 1) -> None:
    """Print a table: the first `text_columns` columns to the left, numbers to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if place < text_columns else "right")
    for row in rows:
        table.add_row(*(Text(_as_text(value)) for value in row))
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


@contextmanager
def show_progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Give a callable that shows progress on stderr: a bar on a terminal, a line now and then elsewhere."""
    if quiet or not speaks():
        yield lambda progress: None
    elif sys.stderr.isatty():
        with _bar(what) as update:
            yield update
    else:
        yield _LogLines(what)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, rate="", eta="")

        def update(progress: Progress) -> None:
            eta = "" if progress.eta_s is None else f"{_clock(progress.eta_s)} left"
            rate = f"{progress.rows_per_second:,.0f}/s"
            bar.update(task, completed=progress.done, total=progress.total, rate=rate, eta=eta)

        yield update


class _LogLines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        finished = progress.done == progress.total
        if time.monotonic() < self._next and not finished:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LOG_LINES
        of_total = "" if progress.total is None else f" of {progress.total:,}"
        left = "" if progress.eta_s is None or finished else f", {_clock(progress.eta_s)} left"
        line = f"{self._what}: {progress.done:,}{of_total}, {progress.rows_per_second:,.0f}/s{left}"
        print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _as_text(value: Any) -> str:  # noqa: ANN401 - any printable value
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return str(value)
