"""A small collection to mine in, and a teacher that stands in for those that models make."""

import json
import random

import numpy as np
import pytest

from everglade import durable
from everglade.distill import negatives
from everglade.texts import open_collection

WORDS = "fern moss reed sedge grass water river stone sand heron otter frog".split()  # noqa: SIM905


class SharedWords:
    """Scores by the words that query and document share; may be told to fail at a later block."""

    name = "shared-words"

    def __init__(self, fail_at=None, fingerprint="ee"):
        self.calls, self.fail_at, self.fingerprint = 0, fail_at, fingerprint

    def score(self, queries, documents):
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        pairs = zip(queries, documents, strict=True)
        return np.array([len(set(query.split()) & set(document.split())) for query, document in pairs], np.float32)


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(durable, "sync_file", lambda path: None)
    monkeypatch.setattr(durable, "sync_folder", lambda path: None)


@pytest.fixture
def stand_in(monkeypatch):
    """Call this with how to make a teacher of shared words, and it opens whatever teacher is named."""

    def replace(**how):
        teacher = SharedWords(**how)
        monkeypatch.setattr(negatives, "open_teacher", lambda spec, documents: teacher)
        return teacher

    return replace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A collection of 60 documents; d59 has the text of d00, which is relevant to q00."""
    folder = tmp_path_factory.mktemp("collection")
    draw_from = random.Random(3)
    texts = [" ".join(draw_from.choices(WORDS, k=6)) for _ in range(59)]
    texts.append(texts[0])
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{i:02d}", "text": text}) + "\n" for i, text in enumerate(texts))
    )
    asked = [" ".join(texts[i].split()[:3]) for i in range(12)]
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{i:02d}", "text": text}) + "\n" for i, text in enumerate(asked))
    )
    judged = [f"q{i:02d}\td{i:02d}\t{1 + i % 2}" for i in range(12)]
    judged += ["q03\td40\t1", "q04\td41\t0", "q05\tnowhere\t1", "silent\td01\t1", "q06\td42\t2"]
    (folder / "qrels").mkdir()
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n")
    return folder


@pytest.fixture(scope="module")
def collection(folder):
    return open_collection(folder)
