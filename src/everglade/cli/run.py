"""`everglade run`: a recipe, from raw texts to an evaluated model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everglade.cli.options import AsJson, Fresh, Quiet, Threads, limit_threads
from everglade.cli.output import print_json, print_table, show_progress
from everglade.cli.settings import parse_pair
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from everglade.recipes.plan import Plan
    from everglade.recipes.report import RecipeReport

__all__ = ["run"]


def run(
    recipe: Annotated[str | None, typer.Argument(help="Name of a recipe, or path of a TOML file.")] = None,
    collection: Annotated[
        str | None, typer.Option(help="Collection to train on; the word bundled means SciFact as it comes along.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for everything the recipe makes.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to train on; train, if there is one.")] = None,
    eval_collection: Annotated[str | None, typer.Option(help="Collection to evaluate on, if not the same.")] = None,
    eval_split: Annotated[str | None, typer.Option(help="Split to evaluate on; test or dev, if there is one.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, as key=value or stage.key=value; may repeat.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Print the recipe's TOML, as --set has it, and do nothing.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the recipes that come with Everglade.")] = False,
    fresh: Fresh = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe, from raw texts to an evaluated model.

    A recipe is a list of stages: negatives, teacher, scores, training, encoding, indexing, evaluation. Without a
    recipe the ones that come with Everglade are listed; those called NAME-small are for one CPU and a few minutes.

    Each stage leaves a folder. Stages that are finished are reused, an interrupted one goes on when the same command is
    given again, and one whose settings or inputs have changed is made again; what was there is moved to OUT/set-aside.

    Example: everglade run self-distil-small --collection scifact -o out

    Example: everglade run self-distil-small --collection scifact -o out --set teacher=MODEL --set train.steps=300

    Example: everglade run ensemble-distil --collection irds:msmarco-passage --eval-split dev/small -o out --dry-run
    """
    from everglade.recipes.recipe import list_recipes, load_recipe

    if recipe is None or list_:
        recipes = list_recipes()
        print_json(recipes) if as_json else print_table(("recipe", "what it is"), list(recipes.items()), text_columns=2)
        return
    chosen = load_recipe(recipe).override(dict(map(parse_pair, setting or [])))
    if show:
        from everglade.recipes.as_toml import write_toml

        print(write_toml(chosen) if chosen.overrides else chosen.text, end="")
        return
    from everglade.recipes.runner import plan_recipe, run_recipe

    if dry_run:
        plan = plan_recipe(
            chosen,
            collection,
            out,
            split=split,
            eval_collection=eval_collection,
            eval_split=eval_split,
            fresh=fresh,
        )
        print_json(plan.to_dict()) if as_json else _print_plan(plan)
        return
    if collection is None or out is None:
        raise ConfigError("say what to work on with --collection, and where to leave it with --out; or try --dry-run.")
    limit_threads(threads)

    def announce(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    report = run_recipe(
        chosen,
        collection,
        out,
        split=split,
        eval_collection=eval_collection,
        eval_split=eval_split,
        fresh=fresh,
        announce=announce,
        show_progress=lambda what: show_progress(what, quiet=quiet),
    )
    print_json(report.to_dict()) if as_json else _print_report(report)


def _print_plan(plan: Plan) -> None:
    from everglade.recipes.plan import COLUMNS

    print(f"{plan.recipe.name}: {plan.recipe.summary}")
    print(", ".join(f"{key} = {value!r}" for key, value in plan.recipe.settings.items()))
    print_table(COLUMNS, [stage.cells() for stage in plan.stages], text_columns=len(COLUMNS) - 1)
    for line in plan.remarks():
        print(line)


def _print_report(report: RecipeReport) -> None:
    from everglade.recipes.report import COLUMNS

    print_table(COLUMNS, [row.cells() for row in report.rows])
    stages = [(stage.name, stage.kind, f"{stage.seconds:.1f}", stage.reused) for stage in report.stages]
    print_table(("stage", "kind", "seconds", "reused"), stages, text_columns=2)
    print(f"report: {report.path}")
