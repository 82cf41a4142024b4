"""What adding, opening and searching take of the memory: the bounds of docs/guide/index.md.

This file is also the program that is measured: `python tests/index/test_memory.py FOLDER OPTIONS` prints JSON.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from everglade.index.options import IndexOptions
from everglade.index.store import Store
from everglade.vectors import SparseMatrix

N_TERMS = 30_000
DOCUMENTS, TERMS = 30_000, 40
BYTES_OF_ENTRY, BYTES_OF_DOCUMENT = 48, 200
OPTIONS = {
    "default": {},
    "wide, with weights": {"impact_bits": 16, "keep_weights": True},
    "pruned": {"prune": "term:0.7"},
    "without rows": {"rows": False},
}


def made(n_documents):
    """Give vectors of TERMS terms each, all of different terms."""
    generator = np.random.default_rng(3)
    step = N_TERMS // TERMS
    terms = np.arange(TERMS) * step + generator.integers(0, step, (n_documents, TERMS))
    weights = generator.random(terms.size, dtype=np.float32) + np.float32(0.1)
    starts = np.arange(0, terms.size + 1, TERMS, dtype=np.int64)
    return SparseMatrix(starts, terms.astype(np.int32).reshape(-1), weights, N_TERMS)


def resident(name):
    """Give the bytes of this process that are in memory: RssAnon its own, VmRSS all, VmHWM the most of all so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


def measure(folder, options):
    warm = Path(f"{folder}-small")
    with Store.create(warm, n_terms=N_TERMS, options=IndexOptions(**options)) as store:
        store.add(None, ["a"], made(1))
        store.search(made(1), 10)
    ids, matrix = [f"{place:06}" for place in range(DOCUMENTS)], made(DOCUMENTS)
    with Store.create(folder, n_terms=N_TERMS, options=IndexOptions(**options)) as store:
        before = resident("VmRSS")
        store.add(None, ids, matrix)
    added = resident("VmHWM") - before
    own = resident("RssAnon")
    with Store.open(folder) as store:
        opened = resident("RssAnon") - own
        store.search(made(5), 10)
        searched = resident("RssAnon") - own
    return {"added": added, "opened": opened, "searched": searched}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), json.loads(sys.argv[2]))))  # noqa: T201 - this is how it answers


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is in memory is read from /proc")
@pytest.mark.parametrize("options", OPTIONS)
def test_memory_stays_within_what_is_stated(tmp_path, options):
    command = [sys.executable, "-B", __file__, str(tmp_path / "i"), json.dumps(OPTIONS[options])]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    bound = BYTES_OF_ENTRY * DOCUMENTS * TERMS + BYTES_OF_DOCUMENT * DOCUMENTS
    assert bound / 4 < found["added"] < bound, found  # the lower bound: it was measured at all
    size = sum(path.stat().st_size for path in (tmp_path / "i").glob("*.segment"))
    assert size > 4e6
    assert found["opened"] < size / 8, found  # files are mapped, not read into memory of its own
    assert found["searched"] < size / 4, found
