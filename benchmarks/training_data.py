"""Training data of the size of MS MARCO: how much memory it takes and how fast batches come out of it.

    python benchmarks/training_data.py [--scale 1.0] [--folder DIR] [--steps 2000] [--repeats 3]

A made-up collection of 8.8 million passages and 500,000 queries with 100 scored negatives each, times --scale, is
written as Everglade keeps it: an Arrow table of examples and stores of texts. Then, each time in a new process, it is
opened as a TrainingSet, checked, fingerprinted and asked for batches with their texts. Beside it stands the naive form,
a list of examples and dicts of texts, in a process of its own at a twentieth of the size (and a fortieth, to see that
it grows in proportion), as it would not fit at the whole. At scale 1 the files take about 4.5 GB in --folder (by
default a temporary one) and are removed at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from everglade.distill.examples import Example, TrainingSet, read_examples, write_examples
from everglade.distill.text_store import TextStore, write_texts
from everglade.train.batches import batch_at
from everglade.train.config import TrainConfig
from machine import write_result

PASSAGES, QUERIES, NEGATIVES = 8_841_823, 500_000, 100
BATCH = TrainConfig(batch_size=32, negatives_per_query=1, steps=10**6)
NAIVE_PARTS = (40, 20)


class Made:
    """The made-up collection; every part is a function of its number and the seed alone."""

    def __init__(self, scale):
        self.passages, self.queries = round(PASSAGES * scale), round(QUERIES * scale)
        rng = np.random.default_rng(7)
        letters = rng.integers(ord("a"), ord("z") + 1, size=2**22, dtype=np.uint8)
        letters[rng.random(len(letters)) < 1 / 6] = ord(" ")
        self._stream = letters.tobytes().decode()

    def _texts(self, prefix, n, shortest, longest):
        rng = np.random.default_rng(n)
        for start in range(0, n, 2**16):
            size = min(2**16, n - start)
            places = rng.integers(0, len(self._stream) - longest, size).tolist()
            lengths = rng.integers(shortest, longest, size).tolist()
            for number, place, length in zip(range(start, start + size), places, lengths, strict=True):
                yield f"{prefix}{number}", self._stream[place : place + length]

    def passage_texts(self):
        return self._texts("", self.passages, 80, 590)

    def query_texts(self):
        return self._texts("q", self.queries, 10, 60)

    def examples(self):
        rng = np.random.default_rng(9)
        steps = np.arange(NEGATIVES + 1)
        for start in range(0, self.queries, 1024):
            size = min(1024, self.queries - start)
            first = rng.integers(0, self.passages, (size, 1))
            stride = rng.integers(1, self.passages // (NEGATIVES + 1), (size, 1))
            ids = ((first + stride * steps) % self.passages).tolist()
            scores = rng.normal(size=(size, NEGATIVES + 1)).astype(np.float32).tolist()
            for number, row, given in zip(range(start, start + size), ids, scores, strict=True):
                yield Example(f"q{number}", tuple(map(str, row)), tuple(given))


class Memory:
    """The memory of this process, MB: what it holds alone now and at its highest, and mapped pages of files."""

    def __init__(self):
        self.highest = 0.0
        self._watching = True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while self._watching:
            self.highest = max(self.highest, self.own())
            time.sleep(0.01)

    @staticmethod
    def _read(name):
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024

    def own(self):
        return self._read("RssAnon")

    def mapped(self):
        return self._read("RssFile")

    def stop(self):
        self._watching = False
        self._thread.join()
        return {"own_highest_mb": self.highest, "own_at_end_mb": self.own(), "mapped_at_end_mb": self.mapped()}


def draw(training_set, first, steps):
    """Draw batches and their texts; give batches a second."""
    begin = time.perf_counter()
    for step in range(first, first + steps):
        batch = batch_at(step, training_set, BATCH)
        for query_id, documents in zip(batch.query_ids, batch.document_ids, strict=True):
            training_set.queries[query_id], [training_set.documents[one] for one in documents]
    return steps / (time.perf_counter() - begin)


def timed(call):
    begin = time.perf_counter()
    value = call()
    return value, time.perf_counter() - begin


def measure_stored(folder, steps):
    memory = Memory()
    result = {"own_at_start_mb": memory.own()}
    (queries, documents), result["open_texts_s"] = timed(
        lambda: (TextStore.open(folder / "queries"), TextStore.open(folder / "documents"))
    )
    examples, result["open_examples_s"] = timed(lambda: read_examples(folder / "examples.arrow"))
    result["own_when_open_mb"], result["mapped_when_open_mb"] = memory.own(), memory.mapped()
    training_set, result["check_every_id_s"] = timed(lambda: TrainingSet(queries, documents, examples))
    _, result["require_scores_and_negatives_s"] = timed(
        lambda: (training_set.require_scores(), training_set.require_negatives())
    )
    _, result["positives_s"] = timed(lambda: training_set.positives)
    _, result["fingerprint_s"] = timed(lambda: training_set.fingerprint)
    result["batches_per_s"] = [draw(training_set, 1 + part * steps // 4, steps // 4) for part in range(4)]
    return result | memory.stop()


def measure_naive(scale):
    made = Made(scale)
    memory = Memory()
    start = memory.own()
    texts = dict(made.passage_texts())
    after_texts = memory.own()
    queries, examples = dict(made.query_texts()), list(made.examples())
    after_examples = memory.own()
    training_set, check_s = timed(lambda: TrainingSet(queries, texts, examples))
    _, positives_s = timed(lambda: training_set.positives)
    _, fingerprint_s = timed(lambda: training_set.fingerprint)
    return {
        "passages": made.passages,
        "queries": made.queries,
        "bytes_per_passage": (after_texts - start) * 2**20 / made.passages,
        "bytes_per_example_with_its_query": (after_examples - after_texts) * 2**20 / made.queries,
        "check_every_id_s": check_s,
        "positives_s": positives_s,
        "fingerprint_s": fingerprint_s,
        "batches_per_s": [draw(training_set, 1 + part * 100, 100) for part in range(4)],
        **memory.stop(),
    }


def in_new_process(*words):
    done = subprocess.run([sys.executable, __file__, *map(str, words)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def write_made(made, folder):
    documents, documents_s = timed(lambda: write_texts(made.passage_texts(), folder / "documents"))
    _, queries_s = timed(lambda: write_texts(made.query_texts(), folder / "queries"))
    count, examples_s = timed(lambda: write_examples(made.examples(), folder / "examples.arrow"))
    assert (len(documents), count) == (made.passages, made.queries)
    parts = ("documents", "queries", "examples.arrow")
    sizes = {part: sum(file.stat().st_size for file in folder.rglob("*") if part in file.parts) for part in parts}
    return {
        "write_s": {"documents": documents_s, "queries": queries_s, "examples": examples_s},
        "bytes": sizes,
    }


def run(options, folder):
    memory = Memory()
    written = write_made(Made(options.scale), folder)
    written |= memory.stop()
    again = ("--part", "stored", "--folder", folder, "--steps", options.steps)
    stored = [in_new_process(*again) for _ in range(options.repeats)]
    naive = [in_new_process("--part", "naive", "--scale", options.scale / part) for part in NAIVE_PARTS]
    whole_mb = (
        (naive[-1]["bytes_per_passage"] * PASSAGES + naive[-1]["bytes_per_example_with_its_query"] * QUERIES)
        / 2**20
        * options.scale
    )
    highest = max(one["own_highest_mb"] for one in stored)
    return {
        "scale": options.scale,
        "passages": round(PASSAGES * options.scale),
        "queries": round(QUERIES * options.scale),
        "scored_documents_per_query": NEGATIVES + 1,
        "batch": {"queries": BATCH.batch_size, "documents_each": 1 + BATCH.negatives_per_query},
        "written": written,
        "stored": stored,
        "naive": naive,
        "naive_at_this_scale_mb": whole_mb,
        "memory_stored_over_naive": (highest - stored[0]["own_at_start_mb"]) / whole_mb,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=("stored", "naive"), help="for the processes that this one starts")
    options = parser.parse_args()
    if options.part == "stored":
        print(json.dumps(measure_stored(options.folder, options.steps)))
        return
    if options.part == "naive":
        print(json.dumps(measure_naive(options.scale)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = run(options, Path(folder))
    for name, value in result.items():
        print(f"{name}: {value}")
    print(write_result("training_data", result))


if __name__ == "__main__":
    main()
