"""Every row is what its settings give: by the library's other ways, again from the row, and after an interruption."""

import json
import shutil

import numpy as np
import pytest

from everglade.assess.judged import open_judged
from everglade.bundled import bundled_model
from everglade.errors import ConfigError, InputError, LockHeld, ModelError, ModelMismatch
from everglade.evaluation.flops import measure_sparsity, term_shares
from everglade.evaluation.measures import evaluate, evaluate_queries
from everglade.evaluation.significance import interval_of_mean
from everglade.frontier import sweep as sweeping
from everglade.frontier.models import FrontierModel, Material, name_models
from everglade.frontier.reproduce import read_frontier, reproduce
from everglade.frontier.settings import Choice, FrontierSettings
from everglade.frontier.sweep import Source, only_process, sweep
from everglade.model.splade import Splade
from everglade.search import Index

from .conftest import SETTINGS, write_part

pytestmark = pytest.mark.usefixtures("one_thread")


def values_of(rows):
    """What does not depend on the clock."""
    return [{name: value for name, value in row.to_dict().items() if name != "latency_ms"} for row in rows]


def search_otherwise(choice, judged, folder):
    """Do by the public index what a choice says; give the run, the index' bytes and both sides' vectors."""
    model = Splade.load(bundled_model(), max_document_terms=choice.document_terms, max_query_terms=choice.query_terms)
    options = {"prune": choice.prune, "impact_bits": 16 if choice.bits == "16" else 8}
    exact = choice.bits == "float"
    with Index.create(folder, model, keep_weights=exact, **options) as index:
        index.add(judged.documents())
        if choice.recall:
            index.calibrate()
        run = index.search_many(judged.queries, 20, recall=choice.recall, float_exact=exact)
        size = index.info().size_bytes
    documents = model.encode_documents([document.full_text for document in judged.documents()])
    return run, size, documents, model.encode_queries([query.text for query in judged.queries])


def test_rows_are_what_the_index_says_by_itself(swept, source, tmp_path):
    judged = open_judged(source.collection, source.split)
    names = list(SETTINGS.measured)
    for row in swept[1].rows:
        run, size, documents, queries = search_otherwise(row.choice, judged, tmp_path / str(row.number))
        expected = evaluate(run, judged.qrels, names)
        assert {name: value["mean"] for name, value in row.measures.items()} == pytest.approx(expected), row.choice
        assert row.bytes_per_document == size / judged.n_documents
        assert row.missing == sum(not hits for hits in run.values())
        assert row.query_terms == pytest.approx(term_shares(queries).sum())
        if row.choice.prune is None:
            sparsity = measure_sparsity(term_shares(queries), term_shares(documents))
            assert row.flops == pytest.approx(sparsity.flops, rel=0.02)
            assert row.document_terms == pytest.approx(sparsity.document_terms, rel=0.02)
        assert row.search_ms <= row.whole_ms
    by_choice = {row.choice: row for row in swept[1].rows}
    assert by_choice[Choice(prune="document:8")].document_terms == 8
    assert by_choice[Choice(prune="document:8")].vector_terms == by_choice[Choice()].vector_terms > 30
    assert by_choice[Choice(document_terms=16)].vector_terms == 16
    assert by_choice[Choice(query_terms=4)].query_terms == pytest.approx(4)
    less = by_choice[Choice(recall=0.8)]
    assert less.effort["kind"] == "approximate" and less.effort["mass"] < 1
    assert less.postings_read < by_choice[Choice()].postings_read


def test_intervals_are_bootstraps_of_the_queries(swept, source, tmp_path):
    judged = open_judged(source.collection, source.split)
    row = swept[1].rows[0]
    run, *_ = search_otherwise(row.choice, judged, tmp_path / "index")
    values = evaluate_queries(run, judged.qrels, ["nDCG@10"])
    low, high = interval_of_mean(np.array([value["nDCG@10"] for value in values.values()]))
    assert (row.measures["nDCG@10"]["low"], row.measures["nDCG@10"]["high"]) == pytest.approx((low, high))
    assert low < row.measures["nDCG@10"]["mean"] < high


def test_the_file_holds_everything_and_reads_again(swept):
    out, frontier = swept
    again = read_frontier(out / "frontier.json")
    assert again == frontier
    values = json.loads((out / "frontier.json").read_text())
    assert [row["number"] for row in values["rows"]] == list(range(1, 9))
    for cost in frontier.costs:
        chosen = [values["rows"][number - 1] for number in values["fronts"][cost]]
        means = [row["measures"]["nDCG@10"]["mean"] for row in chosen]
        assert means == sorted(means) and chosen
    assert "--document-terms 16" in values["rows"][1]["command"]


@pytest.mark.parametrize("number", range(1, 9))
def test_every_point_is_made_again_from_its_row(swept, number):
    out, _ = swept
    kept = sorted(file.read_bytes() for file in (out / "work" / "rows").iterdir())
    found = reproduce(out / "frontier.json", number, out, threads=1)
    assert found.is_equal
    assert values_of([found.now]) == values_of([found.before])
    assert found.now.latency_ms != found.before.latency_ms  # it was measured, not read
    assert sorted(file.read_bytes() for file in (out / "work" / "rows").iterdir()) == kept


def test_a_collection_too_small_to_calibrate_is_searched_exactly(tmp_path):
    write_part(tmp_path / "few", judged=3, others=3)
    settings = FrontierSettings(recall=(0.9,), k=10, timed_queries=1, repeats=1, threads=1)
    found = sweep(Source(str(tmp_path / "few"), "test"), name_models(["bundled"]), tmp_path / "out", settings)
    whole, less = found.rows
    assert less.effort["kind"] == "exact" and less.measures == whole.measures


def test_a_point_is_made_again_from_texts_alone(swept, part, tmp_path):
    moved = shutil.copytree(part, tmp_path / "moved")
    shutil.copy(swept[0] / "frontier.json", tmp_path)
    found = reproduce(tmp_path / "frontier.json", 3, collection=str(moved), model=str(bundled_model()), threads=1)
    assert found.is_equal
    assert sorted(file.name for file in tmp_path.iterdir()) == ["frontier.json", "moved"]


def test_a_changed_row_is_told(swept, tmp_path):
    values = json.loads((swept[0] / "frontier.json").read_text())
    values["rows"][0]["measures"]["nDCG@10"]["mean"] += 1e-6
    (tmp_path / "frontier.json").write_text(json.dumps(values))
    assert not reproduce(tmp_path / "frontier.json", 1, swept[0], threads=1).is_equal


def test_other_texts_models_and_points_are_refused(swept, part, tmp_path):
    out, _ = swept
    other = shutil.copytree(part, tmp_path / "other")
    with (other / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "text": "one more"}\n')
    with pytest.raises(InputError, match="holds other documents, queries or judgements"):
        reproduce(out / "frontier.json", 1, out, collection=str(other))
    cut = tmp_path / "cut"
    Splade.load(bundled_model(), max_document_length=16).save(cut)
    with pytest.raises(ModelMismatch, match="is not the model of"):
        reproduce(out / "frontier.json", 1, out, model=str(cut))
    with pytest.raises(ConfigError, match="has no point 9. It has 1 to 8"):
        reproduce(out / "frontier.json", 9)
    (tmp_path / "none.json").write_text('{"format": "another", "version": 1}')
    with pytest.raises(InputError, match="'another', version 1, not a frontier's"):
        read_frontier(tmp_path / "none.json")
    with pytest.raises(InputError, match="no frontier can be read"):
        read_frontier(tmp_path / "missing.json")


def test_an_interrupted_sweep_goes_on(swept, source, tmp_path, monkeypatch):
    measured = []
    real = sweeping.measure_point

    def stop_at_the_fourth(number, *others):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(number)
        return real(number, *others)

    model, out = FrontierModel("tiny", "bundled"), tmp_path / "out"
    monkeypatch.setattr(sweeping, "measure_point", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        sweep(source, [model], out, SETTINGS)
    assert not (out / "frontier.json").exists()
    kept = {file.name: file.read_bytes() for file in (out / "work" / "rows").iterdir()}
    assert len(kept) == 3
    assert not list((out / "work").glob("index-*"))
    (out / "work" / "index-left").mkdir()  # as a kill leaves one

    def no_more_than_the_rest(number, *others):
        assert number not in measured
        return real(number, *others)

    monkeypatch.setattr(sweeping, "measure_point", no_more_than_the_rest)
    monkeypatch.setattr(FrontierModel, "encode_documents", _only_reading(FrontierModel.encode_documents))
    found = sweep(source, [model], out, SETTINGS)
    assert {name: (out / "work" / "rows" / name).read_bytes() for name in kept} == kept
    assert values_of(found.rows) == values_of(swept[1].rows)
    assert not (out / "work" / "index-left").exists()


def _only_reading(encode):
    """Documents were encoded before the interruption; they are not again."""

    def read(self, material, work, threads, progress=None):
        shards = {file: file.stat().st_mtime_ns for file in work.glob("documents-*/*")}
        assert shards
        folder = encode(self, material, work, threads, progress)
        assert {file: file.stat().st_mtime_ns for file in work.glob("documents-*/*")} == shards
        return folder

    return read


def test_more_points_and_models_join_what_is_there(swept, source, tmp_path, monkeypatch):
    out = shutil.copytree(swept[0], tmp_path / "out")
    short = tmp_path / "short"
    Splade.load(bundled_model(), max_document_length=16).save(short)
    measured = []
    real = sweeping.measure_point
    monkeypatch.setattr(
        sweeping, "measure_point", lambda number, model, *others: measured.append(model) or real(number, model, *others)
    )
    models = [FrontierModel("tiny", "bundled"), FrontierModel("short", str(short))]
    settings = FrontierSettings.from_dict(
        {**SETTINGS.to_dict(), "prune": (), "query_terms": (), "bits": (), "recall": (), "document_terms": (16, 8)}
    )
    found = sweep(source, models, out, settings)
    assert [(row.model, row.choice.document_terms) for row in found.rows] == [
        *(("tiny", terms) for terms in (None, 16, 8)),
        *(("short", terms) for terms in (None, 16, 8)),
    ]
    assert measured == ["tiny", "short", "short", "short"]
    assert found.rows[0].flops > found.rows[3].flops


def test_a_finished_frontier_may_lose_its_work(swept, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(swept[0] / "frontier.json", out)
    with only_process(out) as work:
        assert work.is_dir()


def test_only_some_of_the_queries(part):
    judged = open_judged(str(part), "test")
    material = Material(judged, 3)
    assert len(material.queries) == len(material.qrels) == 3
    whole = Material(judged)
    assert len(whole.queries) == len(judged.queries)
    assert material.documents_digest == whole.documents_digest
    assert material.digest != whole.digest


def test_models_are_named(tmp_path):
    (tmp_path / "a=b").mkdir()
    models = name_models(["old=runs/x/final", "runs/y/final", str(tmp_path / "a=b")])
    assert [model.label for model in models] == ["old", "final", "a=b"]
    assert [model.source for model in models] == ["runs/x/final", "runs/y/final", str(tmp_path / "a=b")]
    with pytest.raises(ConfigError, match="two systems are called 'x'"):
        name_models(["x=a", "x=b"])
    with pytest.raises(ModelError, match="the model gone: "):
        _ = FrontierModel("gone", str(tmp_path / "nothing")).fingerprint


def test_a_folder_of_something_else_is_refused_and_one_in_use(tmp_path, source):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(ConfigError, match="holds something else than a frontier"):
        sweep(source, [FrontierModel("tiny", "bundled")], tmp_path / "mine", SETTINGS)
    with only_process(tmp_path / "out"), pytest.raises(LockHeld), only_process(tmp_path / "out"):
        pass
    with pytest.raises(ConfigError, match="no model to measure"):
        sweep(Source("x"), [], tmp_path / "other", SETTINGS)
