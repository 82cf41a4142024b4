"""What is reported: a small recipe and a small training that were really run, systems, and a study's file."""

import json

import pytest

from everglade import Index, Splade
from everglade.bundled import bundled_model
from everglade.evaluation.measures import rank
from everglade.recipes.runner import run_recipe
from everglade.texts import open_collection, write_run

HOSTILE = "<script>alert('x')</script> & \"more\""
SUBJECTS = {
    "headache": "Aspirin and rest relieve most headaches",
    "flood": "The bridge was closed after the flood of the river",
    "garden": "Moss and fern grow in the shade of the garden",
    "migraine": "Triptans are given against a migraine",
    "rain": "Heavy rain wets the road and the field",
    "bread": "Bread is baked from flour, water and salt",
}

RECIPE = """
summary = "a small one"
source = "the tests"

[set]
start = "bundled"
hold_out = 0.34

[[stage]]
name = "bm25"
kind = "negatives"
sources = ["bm25"]
depth = 6
negatives_per_query = 2

[[stage]]
name = "train"
kind = "train"
start = "$start"
examples = "@bm25"
steps = 24
batch_size = 2
learning_rate = 1e-4
target_flops = 9
lambda_ramp_steps = 20
log_every = 4
validate_every = 12
validation_measure = "RR@10"
max_query_length = 40
max_document_length = 32
give = "final"

[[stage]]
name = "encode"
kind = "encode"
model = "@train"

[[stage]]
name = "index"
kind = "index"
vectors = "@encode"

[[stage]]
name = "evaluate-bm25"
kind = "evaluate"
index = "bm25"
label = "BM25"

[[stage]]
name = "evaluate"
kind = "evaluate"
index = "@index"
label = "tuned <b>"
"""


@pytest.fixture(autouse=True, scope="module")
def _quick(one_thread, no_waiting_for_the_disk):
    """Every test of this folder runs on one thread and does not wait for the disk."""


def write_collection(folder):
    """A BEIR folder whose titles, ids and queries are hostile here and there; each test query wants an odd document."""
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"{subject}<{number}>", "title": HOSTILE if number == 1 else subject, "text": f"{text}, part {number}."}
        for subject, text in SUBJECTS.items()
        for number in (1, 2)
    ]
    asked = {f"train&{subject}": f"what about {subject}" for subject in SUBJECTS}
    asked |= {f"test&{subject}": f"{HOSTILE} {subject}" for subject in SUBJECTS}
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    rows = [{"_id": id, "text": text} for id, text in asked.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, number in (("train", 1), ("test", 2)):
        lines = [f"{split}&{subject}\t{subject}<{number}>\t1" for subject in SUBJECTS]
        if split == "test":  # nothing that is found first
            lines[-1] = "test&bread\theadache<2>\t1"
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with `small` (the collection), `small.idx`, `pruned.idx`, `run.trec` and `out`, where a recipe ran."""
    folder = tmp_path_factory.mktemp("report")
    collection = open_collection(write_collection(folder / "small"))
    model = Splade.load(bundled_model())
    with Index.create(folder / "small.idx", model) as index:
        index.add(collection.documents())
        run = index.search_many(collection.queries("test"), k=6)
    with Index.create(folder / "pruned.idx", model, prune="document:2") as index:
        index.add(collection.documents())
    turned = {
        query: {document: float(place) for place, document in enumerate(rank(hits))} for query, hits in run.items()
    }
    write_run(turned, folder / "run.trec")
    (folder / "recipe.toml").write_text(RECIPE)
    run_recipe(folder / "recipe.toml", str(folder / "small"), folder / "out", split="train", eval_split="test")
    return folder


def study_rows():
    """Rows of two scenarios at two levels with two seeds on three sets, and a reference that costs nothing."""
    rows = [
        {
            "scenario": scenario,
            "label": f"{scenario} <i>",
            "level": level,
            "seed": seed,
            "set": name,
            "measures": {"nDCG@10": 0.5 + 0.1 * gain + 0.05 * dense + 0.01 * seed, "R@100": 0.9},
            "flops": 1.0 + 4 * dense + 0.1 * seed,
            "query_terms": 10.0,
            "document_terms": 100.0,
        }
        for gain, scenario in enumerate(("plain", "distil"))
        for dense, level in enumerate(("sparse", "dense"))
        for seed in (0, 1)
        for name in ("squad", "scifact", "medquad")
    ]
    reference = {"scenario": "bm25", "label": "BM25", "level": None, "seed": None, "measures": {"nDCG@10": 0.55}}
    return rows + [{**reference, "set": name} for name in ("squad", "scifact", "medquad")]


@pytest.fixture
def study(tmp_path):
    """The folder of a study."""
    test = {
        "level": "sparse",
        "set": "squad",
        "run": "distil",
        "measure": "nDCG@10",
        "difference": 0.1,
        "low": 0.05,
        "high": 0.15,
        "p_randomisation_corrected": 0.01,
    }
    gain = {"name": "teachers", "of": "distil", "over": "plain", "level": "sparse", "gain": {"squad": 0.1, "all": 0.1}}
    gain["tests"] = {"squad": {"p_randomisation": 0.01}}
    whole = {
        "name": "of the tests",
        "summary": f"What is added? {HOSTILE}",
        "baseline": "plain",
        "in_domain": ["squad"],
        "measures": ["nDCG@10", "R@100"],
        "cells": {"planned": 9, "finished": 8},
        "rows": study_rows(),
        "tests": [test],
        "gains": [gain],
        "seconds": {"plain.sparse.0": {"train": 60.0}, "plain.sparse.1": {"train": 61.0}},
        "courses": {
            "plain.sparse.0": [[10, 2.0, 40.0], [20, 1.0, 4.0]],
            "plain.sparse.1": [[10, 4.0, 60.0], [20, 3.0, 6.0], [30, 1.0, 1.0]],
        },
        "preparation": {"settings": {"start": HOSTILE}, "stages": [], "seconds": {"bm25": 1000.0}},
        "ground": {"collection": "squad", "split": None, "trained on": "sha256:aa", "sets": {"squad": "sha256:bb"}},
        "trained_with": [{"everglade": "1.2", "torch": "3.4"}],
    }
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(whole))
    return folder
