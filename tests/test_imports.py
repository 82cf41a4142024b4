"""Searching, evaluating and asking for help never pay for training: no torch, and help within 0.3 s."""

import json
import subprocess
import sys
import time

import pytest

import everglade

LIGHT = [
    "everglade",
    "everglade.cli",
    "everglade.durable",
    "everglade.errors",
    "everglade.evaluation.flops",
    "everglade.evaluation.measures",
    "everglade.index.store",
    "everglade.reference",
    "everglade.search",
    "everglade.texts",
    "everglade.vectors",
]
HEAVY = {"torch", "transformers", "accelerate", "sentence_transformers", "pandas", "bm25s"}


def modules_after(code):
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_no_heavy_package(module):
    assert not modules_after(f"import {module}") & HEAVY


def test_searching_and_evaluating_vectors_import_no_heavy_package(tmp_path):
    loaded = modules_after(f"""
import numpy as np
from everglade import Index, SparseMatrix, evaluate
vectors = SparseMatrix(np.array([0, 1, 2]), np.array([3, 4]), np.array([1.0, 2.0]), 10)
with Index.create({str(tmp_path / "i")!r}, n_terms=10) as index:
    index.add_vectors(["a", "b"], vectors)
    ids, scores = index.search_vectors(vectors, k=1)
assert ids.tolist() == [["a"], ["b"]]
run = {{"q": {{"a": 1.0}}}}
assert evaluate(run, {{"q": {{"a": 1}}}}, ["RR@10", "nDCG@10"]) == {{"RR@10": 1.0, "nDCG@10": 1.0}}
""")
    assert not loaded & HEAVY


def test_help_imports_no_heavy_package():
    loaded = modules_after(
        "import sys\nsys.argv = ['everglade', '--help']\nfrom everglade.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert not loaded & (HEAVY | {"numpy", "scipy", "ir_measures"})


def test_help_answers_within_its_budget():
    """One of many starts must do, so that a busy machine does not decide."""

    def start():
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "everglade.cli", "--help"], capture_output=True, check=True)
        return time.perf_counter() - begin

    assert any(start() < 0.3 for _ in range(40))


def test_public_names_are_complete():
    assert sorted(everglade.__all__) == [name for name in dir(everglade) if name != "__version__"]
    for name in everglade.__all__:
        assert getattr(everglade, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        everglade.nothing  # noqa: B018
