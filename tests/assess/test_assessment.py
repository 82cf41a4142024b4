"""One system on one set: a run file, an index and a model come to the same, by the convention that was named."""

import math

import pytest

from everglade.assess.assessment import assess
from everglade.assess.judged import open_judged
from everglade.assess.systems import (
    System,
    SystemSpec,
    Workplace,
    load_encoder,
    name_sources,
    name_systems,
    open_system,
)
from everglade.bundled import bundled_model
from everglade.errors import ConfigError, InputError, ModelError
from everglade.evaluation.measures import evaluate
from everglade.search import Index
from everglade.texts import open_collection, read_run

WORK = Workplace(k=3, timed=False)
MEASURES = ["nDCG@3", "RR@3", "AP"]


def measure(source, judged, measures=MEASURES, convention="plain", workplace=WORK, **spec):
    with open_system(SystemSpec(str(source), "it", **spec), judged, workplace) as system:
        return assess(system, judged, measures, convention)


@pytest.fixture(scope="module")
def judged(place):
    return open_judged(str(place / "small"))


@pytest.fixture(scope="module")
def by_model(judged):
    return measure(bundled_model(), judged)


def test_a_model_comes_to_what_its_vectors_say(by_model, judged, model):
    documents = list(open_collection(judged.collection.documents_file.parent).documents())
    vectors = model.encode_documents([document.full_text for document in documents]).to_scipy()
    for query, text in (
        ("d4", "flood damage to a bridge"),
        ("q1", "what helps a headache"),
        ("q2", "plants for the shade"),
    ):
        scores = (model.encode_queries([text]).to_scipy() @ vectors.T).toarray()[0]
        expected = {document.id: scores[place] for place, document in enumerate(documents)}
        for id, score in by_model.run[query].items():
            assert score == pytest.approx(expected[id], rel=0.05)  # impacts are rounded weights
        assert next(iter(by_model.run[query])) == max(expected, key=expected.get)
    assert by_model.means == pytest.approx(evaluate(by_model.run, judged.qrels, MEASURES))
    assert (by_model.kind, by_model.judged, by_model.name) == ("model", "small/test", "it")


def test_an_index_comes_to_what_its_model_does(by_model, judged, place):
    by_index = measure(place / "small.idx", judged)
    assert by_index.run == by_model.run
    assert by_index.per_query == by_model.per_query
    assert by_index.cost[:3] == by_model.cost[:3]
    assert math.isnan(by_index.cost.median_ms)
    assert by_index.to_dict()["cost"]["median_ms"] is None
    assert measure(place / "small.idx", judged, workplace=Workplace(k=3)).cost.median_ms > 0


def test_queries_that_were_not_answered_or_judged_are_counted(judged, place, by_model):
    by_run = measure(place / "small.trec", judged)
    # q2 has no hits and "gone" no text; q3 is not judged.
    assert (by_run.queries, by_run.missing, by_run.unjudged) == (4, 2, 1)
    assert (by_model.queries, by_model.missing, by_model.unjudged) == (4, 1, 0)
    assert by_run.per_query["q2"] == dict.fromkeys(MEASURES, 0.0)
    assert by_run.means["RR@3"] == pytest.approx(sum(row["RR@3"] for row in by_run.per_query.values()) / 4)
    assert by_run.cost is None


def test_beir_leaves_out_the_querys_own_document_of_one_more_hit(judged, place, by_model):
    assert by_model.self_hits == 1
    assert "d4" in by_model.run["d4"]
    for source in (place / "small.idx", place / "small.trec"):
        found = measure(source, judged, convention="beir")
        assert found.self_hits == 1
        assert "d4" not in found.run["d4"]
        assert found.per_query["d4"]["RR@3"] == 1.0
    by_index = measure(place / "small.idx", judged, convention="beir")
    assert len(by_index.run["d4"]) == 3
    with open_system(SystemSpec(str(place / "small.idx"), "it"), judged, WORK) as system:
        four = system.index.search_many(judged.queries, k=4)
    for query, found in by_index.run.items():
        assert list(found) == [id for id in four[query] if id != query][:3]


def test_trec_dl_counts_from_2_on(judged, place):
    found = measure(place / "small.trec", judged, ["R@5", "nDCG@5"], "trec-dl")
    assert list(found.means) == ["R(rel=2)@5", "nDCG@5"]
    assert found.per_query["q2"]["R(rel=2)@5"] == 0.0
    assert found.per_query["q1"]["R(rel=2)@5"] == 1.0


def test_settings_of_a_model_are_its_own_unless_given(judged, by_model):
    cut = measure(bundled_model(), judged, settings={"max_document_terms": 4})
    assert cut.cost.document_terms == 4
    assert by_model.cost.document_terms > 10
    with pytest.raises(ConfigError, match="Did you mean passages"):
        load_encoder(SystemSpec(str(bundled_model()), "it", settings={"passage": 3}))


def test_a_run_file_may_go_with_judgements_alone_but_an_index_needs_queries(place, judged):
    qrels = str(place / "small" / "qrels" / "test.tsv")
    alone = open_judged(qrels)
    assert measure(place / "small.trec", alone).means == measure(place / "small.trec", judged).means
    assert alone.texts == {}
    with pytest.raises(ConfigError, match="judgements only"):
        measure(place / "small.idx", alone)
    with pytest.raises(ConfigError, match="no documents"):
        measure(bundled_model(), alone)
    with_queries = open_judged(qrels, queries=place / "small" / "queries.jsonl")
    assert measure(place / "small.idx", with_queries).means == measure(place / "small.idx", judged).means


def test_a_measure_may_not_look_deeper_than_the_search(judged, place):
    with pytest.raises(ConfigError, match="R@100 looks at 100 hits, and k is 3"):
        measure(place / "small.idx", judged, ["R@100"])
    assert measure(place / "small.trec", judged, ["R@100"]).means["R@100"] > 0
    usual = measure(place / "small.idx", judged, None, workplace=Workplace(k=100, timed=False))
    assert list(usual.means) == ["nDCG@10", "RR@10", "R@100"]


def test_what_is_no_system_is_said(place, judged, tmp_path):
    with pytest.raises(InputError, match=r"missing.trec: no such file"):
        load_encoder(SystemSpec(str(place / "missing.trec"), "it"))
    with pytest.raises(ModelError, match="no/such"):
        load_encoder(SystemSpec("no/such", "it"))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="vectors folder"):
        load_encoder(SystemSpec(str(tmp_path), "it"))
    with pytest.raises(ConfigError, match="passages: for a model that reads texts"):
        measure(place / "small.idx", judged, settings={"passages": 2})


def test_sets_without_judgements_or_common_queries_are_refused(place, tmp_path):
    (tmp_path / "empty.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(InputError, match="no judgements"):
        open_judged(str(tmp_path / "empty.tsv"))
    (tmp_path / "other.tsv").write_text("elsewhere\td1\t1\n")
    other = open_judged(str(tmp_path / "other.tsv"), queries=place / "small" / "queries.jsonl")
    with pytest.raises(InputError, match="none of the 4 queries is judged"):
        measure(place / "small.idx", other)


def test_the_collections_only_split_need_not_be_named(place, tmp_path):
    assert open_judged(str(place / "small")).split == "test"
    with pytest.raises(InputError, match="no split 'dev'"):
        open_judged(str(place / "small"), "dev")


def test_the_run_is_what_the_file_says(place, judged):
    assert measure(place / "small.trec", judged).run == read_run(place / "small.trec")


def test_names_are_the_shortest_ends_that_differ():
    assert name_systems(["a/x.idx", "b/x.idx", "c/y"]) == {"a/x.idx": "a/x.idx", "b/x.idx": "b/x.idx", "c/y": "y"}
    assert name_systems(["x", "a/x"]) == {"x": "x", "a/x": "a/x"}
    assert name_systems(["only/one"]) == {"only/one": "one"}


def test_systems_are_named_as_asked_or_by_their_paths(tmp_path):
    (tmp_path / "a=b").touch()
    assert name_sources(["one=x/y", "z/last", str(tmp_path / "a=b")]) == {
        "one": "x/y",
        "last": "z/last",
        "a=b": str(tmp_path / "a=b"),
    }
    with pytest.raises(ConfigError, match="two systems are called 'y'"):
        name_sources(["x/y", "y=other"])


def test_each_system_is_asked_in_its_own_way(place, judged):
    asked = []

    class Watched(Index):
        def search_vectors(self, *words, **how):
            asked.append(how)
            return super().search_vectors(*words, **how)

    with Watched.open(place / "small.idx") as index:
        for spec in (SystemSpec("i", "a"), SystemSpec("i", "b", asking={"recall": 0.9})):
            System(spec, judged, Workplace(timed=False, recall=0.99), index).answer(judged, 5)
    assert [how["recall"] for how in asked] == [0.99, 0.9]
