"""A recipe whose documents are longer than a passage: every stage reads them whole, and in the same way."""

import json
import random
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
from scipy.sparse import csr_array
from typer.testing import CliRunner

from everglade import Index, Splade
from everglade.cli import app
from everglade.distill.examples import read_examples
from everglade.recipes.files import hash_model
from everglade.recipes.recipe import load_recipe
from everglade.recipes.runner import run_recipe
from everglade.texts import open_collection, read_run
from everglade.vectors import SparseMatrix, read_vectors

sys.path.insert(0, str(Path(__file__).parent))
from same import differences

WORDS = [f"word{number:02}" for number in range(40)]  # each is one token of the tiny model
LENGTH, PASSAGES, OVERLAP = 16, 4, 3
ROOM = LENGTH - 3  # beside [CLS], the prefix, which is one token, and [SEP]
BEFORE_QUERIES, BEFORE_DOCUMENTS = "word39 ", "word38 "
N_DOCUMENTS, N_QUERIES = 30, 12
READ = {
    "max_document_length": LENGTH,
    "passages": PASSAGES,
    "passage_overlap": OVERLAP,
    "query_prefix": BEFORE_QUERIES,
    "document_prefix": BEFORE_DOCUMENTS,
}

RECIPE = """
summary = "long documents, from BM25 to a model that learns from its own negatives and scores"

[set]
start = ""
hold_out = 0.2
validate_in = 0.5

[[stage]]
name = "bm25"
kind = "negatives"
sources = ["bm25"]
quotas = 4

[[stage]]
name = "first"
kind = "train"
start = "$start"
examples = "@bm25"
give = "final"
steps = 2
batch_size = 4
learning_rate = 1e-3
max_query_length = 8
max_document_length = 16
checkpoint_every = 1
model = { passages = 4, passage_overlap = 3, query_prefix = "word39 ", document_prefix = "word38 " }

[[stage]]
name = "own"
kind = "negatives"
sources = ["splade:@first"]
depth = 30
quotas = 4

[[stage]]
name = "score"
kind = "score"
examples = "@own"
teachers = ["splade:@first"]
shard_examples = 4

[[stage]]
name = "train"
kind = "train"
start = "@first"
examples = "@score"
loss = "margin_mse"
steps = 4
batch_size = 4
learning_rate = 1e-3
max_query_length = 8
max_document_length = 16
checkpoint_every = 1
validate_every = 2

[[stage]]
name = "encode"
kind = "encode"
model = "@train"
shard_rows = 8

[[stage]]
name = "index"
kind = "index"
vectors = "@encode"

[[stage]]
name = "evaluate"
kind = "evaluate"
index = "@index"
label = "tuned"
"""


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """A collection of MS MARCO's shape whose documents fill one passage, several, or more than are read."""
    folder = tmp_path_factory.mktemp("long")
    draw = random.Random(7)
    texts = {f"d{n:02}": draw.choices(WORDS, k=draw.randint(ROOM, 60)) for n in range(N_DOCUMENTS)}
    write = "".join(f"{key}\t{' '.join(text)}\n" for key, text in texts.items())
    (folder / "collection.tsv").write_text(write)
    for split, first in (("train", 1), ("dev", 500)):
        relevant = {query: draw.choice(list(texts)) for query in range(first, first + N_QUERIES)}
        asked = [f"{query}\t{' '.join(draw.sample(texts[one], 3))}\n" for query, one in relevant.items()]
        (folder / f"queries.{split}.tsv").write_text("".join(asked))
        (folder / f"qrels.{split}.tsv").write_text("".join(f"{q}\t0\t{one}\t1\n" for q, one in relevant.items()))
    return folder


@pytest.fixture(scope="module")
def once(collection, tiny, tmp_path_factory):
    """The folder of the recipe that ran once, and its report; to look at, not to change."""
    folder = tmp_path_factory.mktemp("once")
    (folder / "long.toml").write_text(RECIPE)
    return folder / "out", run_recipe(folder / "long.toml", collection, folder / "out", overrides={"start": str(tiny)})


def cut(text):
    """Cut a text into passages by its words, of which each is one token."""
    found, every = text.split(), ROOM - OVERLAP
    starts = range(0, max(len(found) - OVERLAP, 1), every)
    return [" ".join(found[start : start + ROOM]) for start in starts][:PASSAGES]


class SlowTwin:
    """A model that knows neither passages nor prefixes: what it reads is cut and begun by hand."""

    def __init__(self, folder):
        self._model = Splade.load(folder, query_prefix="", document_prefix="", passages=1, passage_overlap=0)

    def documents(self, texts):
        """Give the maximum over the passages of each text, each encoded alone; shape (n, V)."""
        return np.stack([np.stack([self._passage(one) for one in cut(text)]).max(axis=0) for text in texts])

    def _passage(self, text):
        return self._model.encode_documents([BEFORE_DOCUMENTS + text]).to_scipy().toarray()[0]

    def queries(self, texts):
        return np.stack([self._model.encode_queries([BEFORE_QUERIES + t]).to_scipy().toarray()[0] for t in texts])

    def run(self, collection, split, folder, impact_scale):
        """Give the run of a split over an index that holds what the twin makes of the documents."""
        texts, asked = documents_of(collection), queries_of(collection, split)
        documents, queries = self.documents(texts.values()), self.queries(asked.values())
        with Index.create(folder, n_terms=documents.shape[1], impact_scale=impact_scale) as index:
            index.add_vectors(list(texts), SparseMatrix.from_scipy(csr_array(documents)))
            found = index.search_vectors(SparseMatrix.from_scipy(csr_array(queries)), N_DOCUMENTS)
        return {
            query: {one: float(score) for one, score in zip(ids, scores, strict=True) if one is not None}
            for query, ids, scores in zip(asked, *found, strict=True)
        }


def documents_of(collection):
    return {document.id: document.full_text for document in open_collection(collection).documents()}


def queries_of(collection, split):
    return {query.id: query.text for query in open_collection(collection).queries(split)}


def scale_of(index):
    with Index.open(index) as opened:
        return opened.info().impact_scale


def test_the_recipe_of_the_guide_can_be_run(tmp_path):
    guide = Path(__file__).parents[2] / "docs" / "guide" / "long-documents.md"
    (tmp_path / "long.toml").write_text(guide.read_text().partition("```toml\n")[2].partition("```")[0])
    stages = {stage.name: stage for stage in load_recipe(tmp_path / "long.toml").resolve()}
    assert stages["first"].own("model")["passages"] == 8
    assert stages["negatives"].settings["sources"] == ["splade:@first"]


def test_the_collection_has_documents_of_every_length(collection):
    texts = documents_of(collection).values()
    assert {len(cut(text)) for text in texts} == {1, 2, 3, 4}
    assert any(len(text.split()) > PASSAGES * (ROOM - OVERLAP) + OVERLAP for text in texts), "one has its end cut"


@pytest.mark.parametrize("stage", ["first", "train"])
def test_model_folders_say_how_they_read(once, stage):
    _, report = once
    settings = Splade.load(report.outputs[stage]).settings
    assert {key: getattr(settings, key) for key in READ} == READ
    written = json.loads((report.outputs[stage] / "splade_config.json").read_text())
    assert {key: written[key] for key in READ} == READ


def test_vectors_are_the_maximum_of_passages_that_were_encoded_alone(once, collection):
    _, report = once
    texts = documents_of(collection)
    shards = list(read_vectors(report.outputs["encode"]))
    ids = [one for shard in shards for one in shard.ids]
    assert sorted(ids) == sorted(texts)
    found = SparseMatrix.stack([shard.matrix for shard in shards]).to_scipy().toarray()
    expected = SlowTwin(report.outputs["train"]).documents([texts[one] for one in ids])
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_index_is_searched_as_the_slow_twin_searches(once, collection, tmp_path):
    _, report = once
    twin = SlowTwin(report.outputs["train"])
    expected = twin.run(collection, "dev", tmp_path / "twin", scale_of(report.outputs["index"]))
    found = read_run(report.outputs["evaluate"])
    assert found.keys() == expected.keys()
    for query, hits in expected.items():
        assert found[query] == pytest.approx(hits, abs=1e-3)


def test_negatives_and_scores_come_from_whole_documents(once, collection, tmp_path):
    _, report = once
    twin, texts, asked = SlowTwin(report.outputs["first"]), documents_of(collection), queries_of(collection, "train")
    mined = read_run(report.outputs["own"].parent / "runs" / "splade-final.trec")
    with Index.create(tmp_path / "scale", Splade.load(report.outputs["first"])) as index:
        index.add(list(texts.items()))
    expected = twin.run(collection, "train", tmp_path / "twin", scale_of(tmp_path / "scale"))
    assert 0 < len(mined) < len(expected), "what is held out is not mined"
    for query, hits in mined.items():
        assert hits == pytest.approx(expected[query], abs=1e-3)
    scored = list(read_examples(report.outputs["score"]))
    assert scored
    for example in scored:
        vectors = twin.documents([texts[one] for one in example.document_ids])
        assert example.scores == pytest.approx(vectors @ twin.queries([asked[example.query_id]])[0], rel=1e-5)


def test_whoever_opens_the_index_reads_as_it_was_made(once, collection):
    _, report = once
    asked = queries_of(collection, "dev")
    with Index.open(report.outputs["index"], model=str(report.outputs["train"])) as index:
        found = index.search_many(asked, N_DOCUMENTS)
        assert {key: getattr(index.encoder.settings, key) for key in READ} == READ
    for query, hits in read_run(report.outputs["evaluate"]).items():
        assert found[query] == pytest.approx(hits, rel=1e-6)
    query, text = next(iter(asked.items()))
    result = CliRunner().invoke(app, ["search", str(report.outputs["index"]), text, "--json"])
    hits = {hit["id"]: hit["score"] for hit in json.loads(result.stdout)}
    assert hits == dict(list(found[query].items())[:10])


class Interruptions:
    """Interrupts every stage once, at its second word of progress."""

    def __init__(self):
        self.stages = []

    @contextmanager
    def watch(self, stage):
        calls = iter(range(2))

        def hear(_):
            if stage not in self.stages and next(calls) == 1:
                self.stages.append(stage)
                raise KeyboardInterrupt

        yield hear


def test_what_was_interrupted_in_every_stage_ends_the_same(once, collection, tiny, tmp_path):
    out, _ = once
    whole = out.rename(tmp_path / "whole")  # the same name for both, as names of models are written down
    interruptions, report = Interruptions(), None
    try:
        for _ in range(8):
            with suppress(KeyboardInterrupt):
                report = run_recipe(
                    out.parent / "long.toml",
                    collection,
                    out,
                    overrides={"start": str(tiny)},
                    show_progress=interruptions.watch,
                )
        assert interruptions.stages == ["bm25", "first", "own", "score", "train", "encode", "index"]
        assert report is not None and not any(stage.reused for stage in report.stages if stage.name == "evaluate")
        assert differences(whole, out) == []
    finally:
        rmtree(out)
        whole.rename(out)


def test_what_is_finished_is_reused_and_stays_as_it_is(once, collection, tiny):
    out, _ = once
    before = hash_model(out)
    report = run_recipe(out.parent / "long.toml", collection, out, overrides={"start": str(tiny)})
    assert all(stage.reused for stage in report.stages)
    assert hash_model(out) == before
