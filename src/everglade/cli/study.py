"""`everglade study`: every scenario at every level of sparsity with several seeds, measured on many sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everglade.cli.options import AsJson, Quiet, Threads, limit_threads, parse_shard
from everglade.cli.output import print_json, print_table
from everglade.cli.settings import parse_pair
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["study"]

PLAN = ("cell", "scenario", "state")


def study(
    design: Annotated[Path, typer.Argument(help="TOML file that says what is compared.", metavar="STUDY")],
    collection: Annotated[str | None, typer.Option(help="Collection to train on.")] = None,
    sets: Annotated[Path | None, typer.Option(help="Folder with a folder for each test set.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for everything the study makes.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to train on; train, if there is one.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A scenario to run; may repeat.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the preparation, as for everglade run; may repeat.")
    ] = None,
    shard: Annotated[str | None, typer.Option(help="Do part i of n only, as i/n, for several jobs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the trainings and do nothing.")] = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a study: train every scenario at every level with every seed, and measure each on every set.

    What trainings share, such as negatives and teachers' scores, is a recipe that runs first. Whatever is finished is
    reused, so a study that was interrupted goes on when the same command is given again, and one that has grown runs
    what is new. Levels and seeds come one after the other; each has every scenario. Let one job prepare
    before others with --shard join it. study.json in OUT holds every figure; everglade report OUT makes a page of it.

    Example: everglade study study.toml --collection sets/squad --sets sets -o out

    Example: everglade study study.toml --collection sets/squad --sets sets -o out --shard 2/2
    """
    from everglade.study.reading import read_study
    from everglade.study.runner import plan_study, run_study

    chosen = read_study(design).override(dict(map(parse_pair, setting or [])))
    if dry_run:
        plan = plan_study(chosen, out or Path(), only)
        print_json([one._asdict() for one in plan]) if as_json else print_table(PLAN, plan, text_columns=len(PLAN))
        return
    if collection is None or sets is None or out is None:
        raise ConfigError("say what to train on with --collection, where the sets lie with --sets, and --out.")
    part = parse_shard(shard)
    limit_threads(threads)

    def announce(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    summary = run_study(chosen, collection, sets, out, split=split, only=only, part=part, announce=announce)
    print_json(summary) if as_json else _print_means(summary)


def _print_means(summary: Mapping[str, Any]) -> None:
    """Print a line for each scenario and level: the first measure on each set, and what it costs."""
    measure, sets = summary["measures"][0], [*summary["sets"], "zero-shot"]
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for one in summary["means"]:
        lines.setdefault((one["label"], one["level"] or "-"), {})[one["set"]] = one
    rows = []
    for (label, level), found in lines.items():
        values = [_value(found.get(name), measure) for name in sets]
        flops = found.get("all", {}).get("mean", {}).get("flops")
        seeds = next(iter(found.values()))["seeds"]
        rows.append((label, level, seeds, *values, "-" if flops is None else f"{flops:.2f}"))
    print(f"{summary['name']}: {measure}, mean over seeds +- standard deviation")
    print_table(("scenario", "level", "seeds", *sets, "FLOPS"), rows, text_columns=2)
    done = summary["cells"]
    print(f"{done['finished']} of {done['planned']} trainings are finished")


def _value(found: Mapping[str, Any] | None, measure: str) -> str:
    if found is None:
        return "-"
    deviation = found["deviation"][measure]
    return f"{found['mean'][measure]:.4f}" + ("" if deviation is None else f" +-{deviation:.4f}")
