"""What a measurement was made with: processor, versions, commit and time, so that a number is never without them."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["describe_machine"]

PACKAGES = ("everglade", "numpy", "scipy", "torch", "transformers", "tokenizers", "ir-measures")


def describe_machine() -> dict[str, Any]:
    """Give the processor, its cores, the load of the last minute, versions, the commit if there is one, and the time.

    The load counts what else the machine did: with more than one process for each core, times say little.
    """
    return {
        "processor": _name_processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": _find_commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _find_commit() -> str | None:
    """Give the commit of the checkout that this package runs from, with a + if files were changed since."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    commit = _ask_git(root, "rev-parse", "--short=12", "HEAD")
    return commit and commit + ("+" if _ask_git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _ask_git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
