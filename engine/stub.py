"""Print the type stub of the engine as it is built: python engine/stub.py >src/everglade/_engine.pyi."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nanobind.stubgen import StubGen

import everglade._engine

STUB = Path(__file__).parents[1] / "src" / "everglade" / "_engine.pyi"


def generate() -> str:
    """Give the stub in the house format."""
    generator = StubGen(everglade._engine)
    generator.put(everglade._engine)
    # nanobind leaves the type open, which strict type checking refuses.
    text = generator.get().replace("os.PathLike", "os.PathLike[str]")
    for step in (["check", "--fix-only", "--unsafe-fixes"], ["format"]):
        command = [sys.executable, "-m", "ruff", *step, "--quiet", "--stdin-filename", str(STUB), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return text


if __name__ == "__main__":
    sys.stdout.write(generate())
