"""The bundled suites are whole and agree with the means that were published; a suite of one's own is checked."""

import pytest

from everglade.errors import ConfigError
from everglade.evaluation.suite import known_suites, read_suite

# Means as their sources print them, in percent; method.md 1.8 has the places.
MEANS = {"SPLADE++ SD": 50.7, "SPLADE++ ED": 50.5, "SPLADE-v3": 51.7, "BM25": 43.7}


def test_the_bundled_suites():
    assert known_suites() == ["beir-13", "msmarco-dev", "nano-beir", "trec-dl"]
    assert {name: len(read_suite(name).sets) for name in known_suites()} == {
        "beir-13": 13,
        "nano-beir": 13,
        "trec-dl": 2,
        "msmarco-dev": 1,
    }


@pytest.mark.parametrize("name", ["beir-13", "msmarco-dev", "nano-beir", "trec-dl"])
def test_every_set_of_a_bundled_suite_has_counts_an_id_and_a_source_for_its_figures(name):
    import ir_datasets

    suite = read_suite(name)
    assert suite.counts_from
    for one in suite.sets:
        found = ir_datasets.load(one.irds).metadata()
        assert (one.documents, one.queries, one.judgements) == tuple(
            found[part]["count"] for part in ("docs", "queries", "qrels")
        )
    for published in suite.published:
        assert published.source
        assert published.measure in suite.measures
        assert all(0 < value < 1 for value in published.values.values())


def test_the_mean_of_13_sets_is_the_published_one():
    suite = read_suite("beir-13")
    names = {one.name for one in suite.sets}
    for published in suite.published:
        assert set(published.values) == names
        assert 100 * sum(published.values.values()) / 13 == pytest.approx(MEANS[published.system], abs=0.05)


def test_a_suite_of_ones_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'convention = "trec-dl"\nmeasures = ["R@5"]\n[[sets]]\nname = "a"\nqueries = 3\n[[sets]]\nname = "b"\n'
    )
    suite = read_suite(file)
    assert (suite.name, suite.measures, suite.convention) == ("mine", ("R(rel=2)@5",), "trec-dl")
    assert [one.name for one in suite.choose(["b"])] == ["b"]
    assert suite.sets[0].compare_counts({"queries": 2, "judgements": 9}) == ["2 queries where 3 are expected"]
    assert suite.sets[0].compare_counts({"queries": 3}) == []
    with pytest.raises(ConfigError, match="no set 'c'"):
        suite.choose(["c"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no sets"),
        ("sets = 3", r"\[\[sets\]\]"),
        ("[[sets]]\nqueries = 3", "set 1 lacks 'name'"),
        ('[[sets]]\nname = "a"\nquerys = 3', "Did you mean queries"),
        ('[[sets]]\nname = "a"\nqueries = "3"', "not a whole number"),
        ('[[sets]]\nname = "a"\nqueries = true', "not a whole number"),
        ('[[sets]]\nname = "a"\n[[sets]]\nname = "a"', "two sets are called 'a'"),
        ('[[sets]]\nname = "../a"', "Leave out slashes"),
        ('mesures = ["R@5"]\n[[sets]]\nname = "a"', "Did you mean measures"),
        ('measures = "R@5"\n[[sets]]\nname = "a"', "measures is 'R@5', not a list"),
        ('measures = ["R@@5"]\n[[sets]]\nname = "a"', "'R@@5' is not known"),
        ('convention = "tric"\n[[sets]]\nname = "a"', "no convention 'tric'"),
        (
            '[[sets]]\nname = "a"\n[[published]]\nsystem = "s"\nmeasure = "R@5"\nsource = "x"\nvalues = { b = 1 }',
            "figure for 'b'",
        ),
        (
            '[[sets]]\nname = "a"\n[[published]]\nsystem = "s"\nmeasure = "R@5"\nsource = "x"\nvalues = { a = "1" }',
            "not a number",
        ),
        (
            '[[sets]]\nname = "a"\n[[published]]\nsystem = "s"\nmeasure = "nDCG10"\nsource = "x"\nvalues = { a = 1 }',
            "published figures of s: the measure 'nDCG10'",
        ),
        ("[[sets", "cannot be read as a suite"),
    ],
)
def test_what_is_wrong_with_a_suite_is_said(tmp_path, text, said):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_suite(file)


def test_an_unknown_suite_names_the_known_ones():
    with pytest.raises(ConfigError, match="Did you mean beir-13"):
        read_suite("beir-14")
