"""The command line: every verb parses its words, calls the library, and prints what came back.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 a mistake of Everglade's own, 2 wrong words
or settings, 3 texts, qrels, runs or vectors that cannot be used, 4 a model, 5 an index, 6 a missing optional package,
130 interrupted.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from everglade.cli import (
    bench,
    check,
    demo,
    doctor,
    encode,
    evaluate,
    examples,
    explain,
    frontier,
    index,
    info,
    negatives,
    pretrain,
    report,
    run,
    score,
    search,
    study,
    train,
    train_teacher,
    vectors,
)
from everglade.cli.output import print_error
from everglade.errors import ConfigError, EvergladeError, IndexFolderError, InputError, MissingExtra, ModelError

__all__ = ["app", "main"]

app = typer.Typer(
    name="everglade",
    help="Learned sparse retrieval, whole: train, encode, index, search, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXIT_CODES: tuple[tuple[type[EvergladeError], int], ...] = (
    (ConfigError, 2),
    (ModelError, 4),
    (IndexFolderError, 5),
    (MissingExtra, 6),
    (InputError, 3),
    (EvergladeError, 3),
)


def _answering_for_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the library's errors into one clear line and an exit code; leave Everglade's own mistakes a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever the command takes
        try:
            command(*args, **kwargs)
        except EvergladeError as error:
            print_error(error, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind))) from None
        except KeyboardInterrupt:
            print("Interrupted. Run the same command again to go on from here.", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(0) from None

    return run


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Show the version and end."),
) -> None:
    if version:
        from everglade import __version__

        print(f"everglade {__version__}")
        raise typer.Exit


for _command in (
    examples.examples,
    negatives.negatives,
    pretrain.pretrain,
    train_teacher.train_teacher,
    score.score,
    train.train,
    encode.encode,
    vectors.vectors,
    index.index,
    search.search,
    evaluate.evaluate,
    bench.bench,
    frontier.frontier,
    explain.explain,
    info.info,
    check.check,
    doctor.doctor,
    run.run,
    study.study,
    report.report,
    demo.demo,
):
    app.command(_command.__name__.replace("_", "-"))(_answering_for_errors(_command))


def main() -> None:
    """Run the command line."""
    # torch's threads spin while they wait for each other, and on a busy machine spin away what the others need: with a
    # second job beside it encoding fell from 64 to 1.4 texts a second, with this to 27 (docs/log.md, 2026-11-23).
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    app()
