"""Systems against a baseline: the figures are those of the tests, and what moved is told with ranks and terms."""

import pytest

from everglade import Index
from everglade.assess.comparison import compare_systems
from everglade.assess.judged import open_judged
from everglade.assess.systems import SystemSpec, Workplace
from everglade.bundled import bundled_model
from everglade.errors import ConfigError, ModelError
from everglade.evaluation.significance import compare_values
from everglade.texts import write_run

WORK = Workplace(k=5, timed=False)


@pytest.fixture(scope="module")
def judged(place):
    return open_judged(str(place / "small"))


@pytest.fixture(scope="module")
def specs(place, tmp_path_factory):
    """The index, the same model with only terms of the text itself, and a run that puts the best last."""
    with Index.open(place / "small.idx") as index:
        found = index.search_many({"q1": "what helps a headache", "d4": "flood damage to a bridge"}, k=5)
    worst = {query: {id: -score for id, score in hits.items()} for query, hits in found.items()}
    turned = tmp_path_factory.mktemp("runs") / "turned.trec"
    write_run(worst, turned)
    return [
        SystemSpec(str(place / "small.idx"), "index"),
        SystemSpec(str(bundled_model()), "lexical", settings={"lexical": "both"}),
        SystemSpec(str(turned), "turned"),
    ]


@pytest.fixture(scope="module")
def compared(specs, judged):
    return compare_systems(specs, judged, "index", ["nDCG@5", "RR@5"], workplace=WORK, seed=4)


def test_figures_are_those_of_the_paired_tests(compared):
    values = {one.name: one.per_query for one in compared.assessments}
    assert list(compared.comparisons) == compare_values(values, "index", ["nDCG@5", "RR@5"], 4)
    assert [(one.run, one.measure) for one in compared.comparisons] == [
        ("lexical", "nDCG@5"),
        ("turned", "nDCG@5"),
        ("lexical", "RR@5"),
        ("turned", "RR@5"),
    ]


def test_ranks_and_terms_say_why_a_query_moved(compared, place):
    texts = {"d4": "flood damage to a bridge", "q1": "what helps a headache", "q2": "plants for the shade"}
    moved = compared.moved["lexical"]
    assert moved
    with Index.open(place / "small.idx") as index:
        for query in moved:
            assert query.before == compared.assessments[0].per_query[query.query]["nDCG@5"]
            assert query.after == compared.assessments[1].per_query[query.query]["nDCG@5"]
            best = max(compared.assessments[0].run[query.query].values())
            for document in query.documents:
                explanation = index.explain(texts[query.query], document.document)
                added = {match.term: match.contribution for match in explanation.matches}
                for term in document.terms:
                    assert term.before == pytest.approx(added.get(term.term, 0.0))
                    assert term.share_before == pytest.approx(added.get(term.term, 0.0) / best)


def test_of_a_run_file_only_ranks_are_known(compared):
    documents = [one for query in compared.moved["turned"] for one in query.documents]
    assert documents
    assert all(one.terms is None for one in documents)


def test_without_a_baseline_systems_stand_side_by_side(specs, judged):
    alone = compare_systems(specs[:1], judged, measures=["RR@5"], workplace=WORK)
    assert (alone.comparisons, alone.moved, alone.baseline) == ((), {}, None)
    assert set(alone.to_dict()) == {"systems"}


def test_everything_is_plain_for_json(compared):
    plain = compared.to_dict()
    assert plain["baseline"] == "index"
    assert [system["measures"] for system in plain["systems"]] == [one.means for one in compared.assessments]
    assert plain["comparisons"][0]["p_t_corrected"] == compared.comparisons[0].p_t_corrected
    assert {query["query"] for query in plain["moved"]["lexical"]} == {one.query for one in compared.moved["lexical"]}


def test_mistakes_are_known_before_any_collection_is_read(specs, judged):
    read = []
    work = Workplace(k=5, timed=False, progress=read.append)
    with pytest.raises(ModelError):
        compare_systems([*specs, SystemSpec("no/such", "none")], judged, "index", ["RR@5"], workplace=work)
    with pytest.raises(ConfigError, match="nDGC"):
        compare_systems(specs, judged, "index", ["nDGC@5"], workplace=work)
    with pytest.raises(ConfigError, match="looks at 1,000 hits"):
        compare_systems(specs, judged, "index", ["R@1000"], workplace=work)
    with pytest.raises(ConfigError, match="no convention"):
        compare_systems(specs, judged, "index", ["R@5"], "bier", workplace=work)
    with pytest.raises(ConfigError, match="no system 'other'"):
        compare_systems(specs, judged, "other", workplace=work)
    with pytest.raises(ConfigError, match="two systems are called 'index'"):
        compare_systems([specs[0], specs[0]], judged, workplace=work)
    assert not read
