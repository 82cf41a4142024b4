"""`everglade pretrain`: a masked language model, and a collection's documents, to one that knows them better."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from everglade.cli.options import AsJson, Quiet, Threads, limit_threads
from everglade.cli.output import print_fields, print_json, show_progress, speaks
from everglade.cli.settings import read_settings

__all__ = ["pretrain"]


def pretrain(
    model: Annotated[str, typer.Argument(help="Masked language model or dense encoder to start from: a folder or id.")],
    collection: Annotated[str, typer.Argument(help="Collection: a BEIR folder, a JSONL or TSV file, irds:ID.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: log, checkpoints, final model.")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; see docs/guide/pretrain.md.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="One setting, as key=value; may repeat.")] = None,
    texts: Annotated[
        Path | None, typer.Option(help="Keep the texts mapped in this folder, for collections larger than memory.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Refuse to go on with a run that is in --out.")] = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on pre-training a masked language model on the documents of a collection.

    The objective is mlm, flops-mlm (its output kept sparse) or cocondenser (texts gathered in the first token). A share
    of the documents is held out and read before and after. OUT/final is a plain model folder to train a retriever
    from. An interrupted run goes on, bit for bit, when the same command is given again.

    Example: everglade pretrain MODEL scifact -o pretrained --set objective=cocondenser --set steps=500

    Example: everglade pretrain MODEL scifact -o pretrained --config pretrain.toml --set accumulation_steps=8
    """
    from everglade.pretrain.config import PretrainConfig
    from everglade.pretrain.loop import pretrain as pretrain_model
    from everglade.train.machine import leave_processes

    settings = read_settings(PretrainConfig, config, setting)
    limit_threads(threads)
    documents = _read_documents(collection, texts)
    # Under torchrun or accelerate launch every process does the same; one of them speaks.
    with show_progress("pre-training", quiet=quiet) as progress:
        result = pretrain_model(settings, model, documents, out, resume=not fresh, progress=progress)
    report: dict[str, Any] = {"documents": len(documents), "final": str(result.final), "log": str(result.log)}
    if settings.from_scratch:
        report["weights"] = "new: of the start only shape and tokenizer were taken"
    elif result.has_new_head:
        report["head"] = "new: the start had no masked language head"
    for name, value in result.after.items():
        report[f"held-out {name} before"], report[f"held-out {name} after"] = result.before[name], value
    if speaks():
        print_json(report) if as_json else print_fields(report)
    leave_processes()


def _read_documents(collection: str, folder: Path | None) -> Mapping[str, str]:
    from everglade.texts import open_collection

    source = open_collection(collection)
    if folder is None:
        return {document.id: document.full_text for document in source.documents()}
    from everglade.distill.text_store import store_documents

    return store_documents(source, folder)
