"""Write docs/cli.md from the commands' own help: `python -m everglade.cli.reference`."""

from __future__ import annotations

import os

os.environ["COLUMNS"] = "110"

from everglade.cli import app

__all__ = ["reference"]


def reference() -> str:
    """Give the page that describes every command."""
    import typer

    group = typer.main.get_group(app)
    page = [
        "# Commands",
        "",
        "Written by `make docs` from the commands' own help. Results go to stdout, progress and errors to stderr.",
        "",
        "Exit codes: 0 done; 1 a mistake of Everglade's own, with its traceback; 2 wrong words or settings; 3 texts,",
        "qrels, runs or vectors that cannot be used; 4 a model; 5 an index; 6 a missing optional package;",
        "130 interrupted.",
    ]
    for name, command in group.commands.items():
        context = command.make_context(name, [], parent=None, resilient_parsing=True)
        context.info_name = f"everglade {name}"
        page += ["", f"## everglade {name}", "", "```", command.get_help(context).rstrip(), "```"]
    return "\n".join(page) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
