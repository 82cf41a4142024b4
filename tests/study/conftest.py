"""A study of two scenarios on a collection and a model that train in a second."""

import json
import random

import pytest

from everglade.study.reading import read_study
from everglade.study.runner import run_study

WORDS = "sun river glade moss heron otter fern rain warm cold swim fly grow stone cloud".split()  # noqa: SIM905


@pytest.fixture(autouse=True, scope="module")
def _quick(one_thread, no_waiting_for_the_disk):
    """Every test of this folder runs on one thread and does not wait for the disk."""


def write_set(folder, seed, splits):
    """A BEIR folder of 20 documents of five words; queries are two words of their document."""
    draw = random.Random(seed)
    (folder / "qrels").mkdir(parents=True)
    documents = {f"{folder.name}-{number}": draw.sample(WORDS, 5) for number in range(20)}
    rows = [{"_id": id, "title": "", "text": " ".join(text)} for id, text in documents.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = []
    for split, count in splits.items():
        lines = ["query-id\tcorpus-id\tscore"]
        for number in range(count):
            id = draw.choice(list(documents))
            query = f"{split}-{number}"
            queries.append({"_id": query, "text": f"{split} {' '.join(draw.sample(documents[id], 2))} {number}"})
            lines.append(f"{query}\t{id}\t1")
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))


PREPARE = """
summary = "negatives"

[set]
first = "bundled"
unset = ""

[[stage]]
name = "bm25"
kind = "negatives"
sources = ["bm25"]
depth = 10
negatives_per_query = 2

[[stage]]
name = "scored"
kind = "score"
examples = "@bm25"
teachers = ["bm25"]
rescale = "splade:$first"

[[stage]]
name = "left-out"
kind = "pretrain"
when = "unset"
start = "$unset"
"""

SUITE = """
convention = "plain"
measures = ["nDCG@10", "RR@10"]

[[sets]]
name = "near"
split = "test"

[[sets]]
name = "far"
split = "test"
"""

STUDY = """
summary = "a very small study"
prepare = "prepare.toml"
suite = "suite.toml"
in_domain = ["near"]
baseline = "plain"
seeds = [1, 2]

[train]
steps = 2
batch_size = 4
learning_rate = 1e-3
max_query_length = 16
max_document_length = 16
checkpoint_every = 1

[[level]]
name = "light"
lambda_q = 0.1
lambda_d = 0.1

[[level]]
name = "none"
lambda_q = 0.0
lambda_d = 0.0

[[scenario]]
name = "plain"
label = "InfoNCE"
start = "bundled"
examples = "@bm25"
loss = "infonce"

[[scenario]]
name = "taught"
label = "MarginMSE"
start = "$first"
examples = "@scored"
loss = "margin_mse"
levels = ["light"]

[[reference]]
name = "bm25"
label = "BM25"
model = "bm25"

[[reference]]
name = "untrained"
label = "as it was"
model = "$first"

[[gain]]
name = "training"
of = "plain"
over = "untrained"

[[gain]]
name = "distillation"
of = "taught"
over = "plain"
"""


@pytest.fixture(scope="session")
def ground(tmp_path_factory, write_tiny):
    """A folder with `study.toml`, what it names, and `sets/near` (which has training queries) and `sets/far`."""
    folder = tmp_path_factory.mktemp("study")
    tiny = write_tiny(WORDS, folder / "tiny")
    write_set(folder / "sets" / "near", 1, {"train": 12, "test": 6})
    write_set(folder / "sets" / "far", 2, {"test": 6})
    for name, text in (("prepare", PREPARE), ("suite", SUITE), ("study", STUDY)):
        (folder / f"{name}.toml").write_text(text.replace("bundled", str(tiny)))
    return folder


@pytest.fixture(scope="session")
def run_in():
    """Run the study of a ground, or another file beside it."""

    def run(ground, out, study=None, **how):
        design = read_study(study or ground / "study.toml")
        return run_study(design, ground / "sets" / "near", ground / "sets", out, **how)

    return run


@pytest.fixture(scope="module")
def done(_quick, ground, run_in, tmp_path_factory):
    """A finished study: its folder, its summary and what it said."""
    out = tmp_path_factory.mktemp("done") / "out"
    said = []
    return out, run_in(ground, out, announce=said.append), said
