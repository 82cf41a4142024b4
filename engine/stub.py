"""Print the type stub of a compiled module as it is built: python engine/stub.py _engine >src/everglade/_engine.pyi."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from nanobind.stubgen import StubGen

MODULES = ("_engine", "_head")
PACKAGE = Path(__file__).parents[1] / "src" / "everglade"


def generate(name: str) -> str:
    """Give the stub of a module in the house format."""
    module = importlib.import_module(f"everglade.{name}")
    generator = StubGen(module)
    generator.put(module)
    # nanobind leaves the type open, which strict type checking refuses.
    text = generator.get().replace("os.PathLike", "os.PathLike[str]")
    for step in (["check", "--fix-only", "--unsafe-fixes"], ["format"]):
        command = [
            sys.executable,
            "-m",
            "ruff",
            *step,
            "--quiet",
            "--stdin-filename",
            str(PACKAGE / f"{name}.pyi"),
            "-",
        ]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    sys.stdout.write(generate(sys.argv[1]))
