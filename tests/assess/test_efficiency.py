"""What a bench says is what the index, its files and the clock say."""

import json

import numpy as np
import pytest

from everglade.assess.efficiency import BenchSettings, bench, pick_evenly
from everglade.assess.judged import open_judged
from everglade.assess.machine import describe_machine
from everglade.assess.query_times import QUERY_PARTS, Asking, answer_query, choose_effort, summarise_times
from everglade.assess.systems import SystemSpec
from everglade.bundled import bundled_model
from everglade.errors import ConfigError
from everglade.evaluation.flops import measure_sparsity, term_shares
from everglade.evaluation.measures import evaluate
from everglade.index.calibration import Efforts
from everglade.index.store import Store
from everglade.search import Index

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = BenchSettings(k=10, repeats=2, timed_queries=3, batch_queries=4, timed_documents=2, threads=1)


@pytest.fixture(scope="module")
def judged(place):
    return open_judged(str(place / "small"))


@pytest.fixture(scope="module")
def by_index(place, judged):
    return bench(SystemSpec(str(place / "small.idx"), "it"), judged, QUICK)


def test_effectiveness_and_sparsity_are_those_of_the_index(by_index, judged, place, model):
    with Index.open(place / "small.idx", model=model) as index:
        run = index.search_many(judged.queries, k=10)
    assert by_index.assessment.means == pytest.approx(evaluate(run, judged.qrels, list(by_index.assessment.means)))
    documents = model.encode_documents([document.full_text for document in judged.documents()])
    queries = model.encode_queries([query.text for query in judged.queries])
    sparsity = measure_sparsity(term_shares(queries), term_shares(documents))
    assert by_index.assessment.cost.flops == pytest.approx(sparsity.flops, rel=0.02)  # light weights round to nothing
    # What a query reads of each document is the metric itself.
    assert by_index.postings_read["per_query"] / 5 == pytest.approx(sparsity.flops, rel=0.02)
    assert by_index.effort == {"kind": "exact"}


def test_bytes_are_those_of_the_files(by_index, place):
    files = sum(file.stat().st_size for file in (place / "small.idx").glob("*.segment"))
    index = by_index.index
    assert index["bytes"] == files == sum(index["parts"].values())
    assert index["bytes_per_document"] == files / 5
    assert index["bytes_per_posting"] == files / index["postings"]
    assert by_index.postings_read["share"] == by_index.postings_read["per_query"] / index["postings"]
    assert index["catalog_bytes"] == (place / "small.idx" / "catalog.sqlite").stat().st_size


def test_times_have_parts_percentiles_and_spread(by_index):
    latency = by_index.latency_ms
    assert list(latency) == ["whole", *QUERY_PARTS]
    for times in latency.values():
        assert list(times) == ["p50", "p90", "p99", "max"]
        assert 0 < times["p50"]["value"] <= times["p90"]["value"] <= times["p99"]["value"] <= times["max"]["value"]
        assert all(one["least"] <= one["value"] <= one["greatest"] for one in times.values())
    # Nothing is left out of the whole, and nothing counted twice: the slowest query bounds the sum of every part.
    assert latency["whole"]["max"]["least"] <= sum(latency[part]["max"]["greatest"] for part in QUERY_PARTS)
    assert latency["whole"]["p50"]["greatest"] >= latency["encode"]["p50"]["least"]
    assert set(by_index.throughput) == {"one core", "all cores"} == set(by_index.encoding)
    for rates in by_index.throughput.values():
        assert rates["both"]["greatest"] <= min(rates["encode"]["greatest"], rates["search"]["greatest"])


def test_it_is_plain_json_and_names_the_machine(by_index):
    found = json.loads(json.dumps(by_index.to_dict(), allow_nan=False))
    assert found["format"] == "everglade-bench"
    assert found["settings"]["repeats"] == 2
    assert found["machine"]["versions"]["numpy"] == np.__version__
    assert found["machine"]["cores"] >= 1


ASKED = [Asking(3), Asking(3, recall=1.0), Asking(9, reasons=False), Asking(2, query_terms=2)]
# Scores by weights need all postings.
WAYS = [(None, Asking(3, float_exact=True)), *((prune, one) for prune in (None, "document:4") for one in ASKED)]


@pytest.mark.parametrize(("prune", "asking"), WAYS, ids=str)
def test_the_timed_steps_find_what_search_finds(tmp_path, model, judged, prune, asking):
    with Index.create(tmp_path / "index", model, keep_weights=True, prune=prune) as index:
        index.add(judged.documents())
        with Store.open(index.path) as store:
            for query in judged.queries:
                effort = choose_effort(Efforts(), store.snapshot, asking)
                _, hits, seconds = answer_query(model, store, query.text, asking, effort, model.term_names())
                expected = index.search(query.text, asking.k, recall=asking.recall, float_exact=asking.float_exact)
                if asking.query_terms:
                    vector = model.encode_queries([query.text]).top_terms(asking.query_terms)
                    ids, scores = index.search_vectors(vector, asking.k)
                    assert [hit.id for hit in hits] == [id for id in ids[0] if id is not None]
                    assert [hit.score for hit in hits] == pytest.approx(scores[0][: len(hits)].tolist())
                elif asking.reasons:
                    assert hits == expected
                else:
                    assert [(hit.id, hit.score) for hit in hits] == [(hit.id, hit.score) for hit in expected]
                assert len(seconds) == len(QUERY_PARTS) and min(seconds) >= 0


def test_a_model_is_given_an_index_as_asked(judged):
    settings = BenchSettings(k=10, repeats=1, timed_queries=2, batch_queries=2, timed_documents=0, threads=1)
    options = {"prune": "document:8"}
    found = bench(SystemSpec(str(bundled_model()), "it", options=options), judged, settings)
    assert found.effort == {"kind": "two steps over pruned postings", "mass": 1.0, "candidates_per_hit": 5}
    assert found.index["postings"] == 5 * 8
    assert found.index["prune"] == "document:8"
    assert found.encoding is None


def test_what_cannot_be_measured_is_refused(place, judged):
    with pytest.raises(ConfigError, match="is a run file: nothing of it can be timed"):
        bench(SystemSpec(str(place / "small.trec"), "it"), judged, QUICK)
    with pytest.raises(ConfigError, match="float_exact needs the weights"):
        bench(SystemSpec(str(place / "small.idx"), "it"), judged, BenchSettings(float_exact=True))
    with pytest.raises(ConfigError, match="repeats is 0"):
        BenchSettings(repeats=0)
    with pytest.raises(ConfigError, match="threads is -1"):
        BenchSettings(threads=-1)
    with pytest.raises(ConfigError, match="recall is 2"):
        BenchSettings(recall=2)
    with pytest.raises(ConfigError, match="float_exact is an exact search"):
        BenchSettings(recall=0.9, float_exact=True)


def test_percentiles_are_medians_over_the_repeats():
    repeats = [np.arange(1.0, 102.0), np.arange(1.0, 102.0) * 2, np.arange(1.0, 102.0) * 10]
    found = summarise_times(repeats)
    assert found["p50"] == {"value": 102.0, "least": 51.0, "greatest": 510.0}
    assert found["max"]["value"] == 202.0


def test_values_are_picked_evenly():
    assert pick_evenly(range(10), 4) == [0, 2, 5, 7]
    assert pick_evenly("abc", 5) == ["a", "b", "c"]


def test_the_machine_is_described_without_a_checkout(monkeypatch, tmp_path):
    from everglade.assess import machine

    monkeypatch.setattr(machine, "__file__", str(tmp_path / "a" / "b" / "c" / "machine.py"))
    assert describe_machine()["commit"] is None
