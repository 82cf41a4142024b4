"""`everglade doctor`: what is installed, what the machine can do, and what to mend."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from typing import Any

import typer

from everglade.cli.options import AsJson
from everglade.cli.output import print_fields, print_json

__all__ = ["doctor"]

CORE = ("numpy", "scipy", "ir-measures", "tokenizers", "safetensors", "huggingface-hub", "nanobind-backend")
EXTRAS = {
    "torch": "encode",
    "transformers": "encode",
    "accelerate": "train",
    "bm25s": "train",
    "pyarrow": "train",
    "ir-datasets": "data",
    "sentence-transformers": "dev",
}


def doctor(*, as_json: AsJson = False) -> None:
    """Say what is installed and what to mend.

    Example: everglade doctor
    """
    findings = examine()
    if as_json:
        print_json(findings)
    else:
        print_fields({name: _as_line(value) for name, value in findings.items()})
    if findings["problems"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Look at the installation and the machine."""
    import everglade

    problems = [f"{name} is not installed: pip install everglade" for name in CORE if _version(name) is None]
    engine = _engine()
    if engine is None:
        problems.append("the engine did not load: install everglade again with a C++20 compiler at hand")
    missing = sorted({extra for name, extra in EXTRAS.items() if _version(name) is None})
    return {
        "everglade": everglade.__version__,
        "python": sys.version.split()[0],
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "engine": engine or "missing",
        "disk free": f"{shutil.disk_usage('.').free / 2**30:,.1f} GiB here",
        "packages": {name: _version(name) for name in (*CORE, *EXTRAS)},
        "extras to install": [f"pip install 'everglade[{extra}]'" for extra in missing],
        "problems": problems,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _engine() -> str | None:
    try:
        from everglade import _engine
    except ImportError:
        return None
    return f"loaded from {_engine.__file__}"


def _as_line(value: Any) -> str:  # noqa: ANN401 - any finding
    if isinstance(value, dict):
        return ", ".join(f"{name} {version or 'missing'}" for name, version in value.items())
    if isinstance(value, list):
        return "; ".join(value) or "none"
    return str(value)
