"""`everglade check`: is an index whole, and if not, what can be saved."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everglade.cli.options import AsJson
from everglade.cli.output import print_fields, print_json, print_table

if TYPE_CHECKING:
    from everglade.index.check import Report
    from everglade.index.repair import Repair

__all__ = ["check"]

IDS_SHOWN = 20


def check(
    path: Annotated[Path, typer.Argument(help="Index folder.")],
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Keep what is intact, leave out what is damaged, and name the lost ids.")
    ] = False,
    impact_scale: Annotated[
        float | None, typer.Option(help="With --repair: the impact scale, where the catalog has lost it.")
    ] = None,
    prune: Annotated[
        str | None, typer.Option(help="With --repair: the rule of pruning, where the catalog has lost it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every byte of an index and say whether it is sound. The exit code is 0 if it is, and 1 if not.

    Example: everglade check glade.idx

    Example: everglade check glade.idx --repair
    """
    from everglade.index.check import check_index
    from everglade.index.repair import repair_index

    done = repair_index(path, impact_scale=impact_scale, prune=prune) if repair else None
    report = check_index(path)
    if as_json:
        print_json({**report.to_dict(), "repair": None if done is None else asdict(done)})
    else:
        if done is not None:
            _print_repair(done)
        _print_report(report)
    if not report.sound:
        raise typer.Exit(1)


def _print_report(report: Report) -> None:
    if report.segments:
        rows = [[*segment[:5], "sound" if segment.problem is None else "DAMAGED"] for segment in report.segments]
        print_table(["segment", "documents", "deleted", "postings", "bytes", "state"], rows)
    for problem in report.problems:
        print(f"problem: {problem}")
    for name in report.left_over:
        print(f"left over: {name}")
    if report.sound:
        print(f"sound: {report.documents:,} documents in {len(report.segments):,} segments")
    else:
        print(f"{len(report.problems):,} problems. everglade check {report.path} --repair keeps what is intact.")


def _print_repair(done: Repair) -> None:
    print_fields(
        {
            "documents now": done.documents,
            "segments kept": len(done.kept),
            "segments dropped": ", ".join(done.dropped) or "none",
            "documents lost": len(done.lost),
            "without text": len(done.without_text),
            "backup": done.backup,
        }
    )
    for remark in done.remarks:
        print(f"note: {remark}")
    for id in done.lost[:IDS_SHOWN]:
        print(f"lost: {id}")
    if len(done.lost) > IDS_SHOWN:
        print(f"lost: {len(done.lost) - IDS_SHOWN:,} more, all in {done.backup}/lost-ids.txt")
