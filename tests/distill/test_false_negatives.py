import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.distill.examples import Example
from everglade.distill.false_negatives import FalseNegatives, Rule, drop_false_negatives, read_rule
from everglade.errors import ConfigError, InputError

SCORES = st.lists(st.integers(-20, 20).map(lambda n: n / 2), min_size=1, max_size=6)
RULES = st.sampled_from(["1.5", "0", "-2", "95%", "100%", "50%", "most 3", "most -1.5"])


def example(query_id, *scores):
    return Example(query_id, tuple(f"d{i}" for i in range(len(scores))), tuple(map(float, scores)))


@pytest.mark.parametrize(
    ("text", "rule", "positive", "most"),
    [
        ("1.5", Rule("margin", 1.5), 9.0, 7.5),
        (3, Rule("margin", 3.0), 2.0, -1.0),
        ("95%", Rule("share", 0.95), 10.0, 9.5),
        ("95%", Rule("share", 0.95), -10.0, -10.5),  # below 0 a share of the score would be above it
        ("most 3.5", Rule("most", 3.5), 100.0, 3.5),
    ],
)
def test_rules_are_read_and_say_how_high_a_negative_may_score(text, rule, positive, most):
    assert read_rule(text) == rule
    assert read_rule(rule) is rule
    assert read_rule(str(rule)) == rule
    assert rule.most_allowed(positive) == pytest.approx(most)


@given(
    st.sampled_from(["margin", "share", "most"]),
    st.floats(0, 1, exclude_min=True) | st.sampled_from([0.07, 0.123456789, 1e-9]),
)
def test_a_rule_is_written_with_every_digit(kind, value):
    assert read_rule(str(Rule(kind, value))) == Rule(kind, value)


def test_rules_are_written_as_a_person_would():
    rules = [Rule("margin", 1.5), Rule("share", 0.95), Rule("share", 1.0), Rule("share", 0.07), Rule("most", 3.5)]
    assert list(map(str, rules)) == ["1.5", "95%", "100%", "7%", "most 3.5"]


@pytest.mark.parametrize("text", ["", "half", "120%", "0%", "nan", "nan%", "%", "inf", "most", "at most 3"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ConfigError):
        read_rule(text)


def test_high_negatives_go_and_emptied_examples_are_left_out():
    kept, counts = drop_false_negatives([example("a", 9, 8.5, 8, 1), example("b", 2, 3), example("c", 5)], "1.0")
    assert kept == [Example("a", ("d0", "d2", "d3"), (9.0, 8.0, 1.0)), example("c", 5)]
    assert counts == FalseNegatives(examples=3, negatives=4, removed=2, emptied=1)


@given(st.lists(SCORES, max_size=5), RULES)
def test_dropping_is_what_a_loop_does_and_dropping_again_does_nothing(lists, text):
    examples = [example(f"q{i}", *scores) for i, scores in enumerate(lists)]
    kept, counts = drop_false_negatives(examples, text)
    expected = []
    for one in examples:
        positive = one.scores[0]
        limit = {
            "1.5": positive - 1.5, "0": positive, "-2": positive + 2, "95%": positive - 0.05 * abs(positive),
            "100%": positive, "50%": positive / 2 if positive > 0 else 1.5 * positive, "most 3": 3.0, "most -1.5": -1.5,
        }[text]  # fmt: skip
        left = [(d, s) for d, s in zip(one.document_ids[1:], one.scores[1:], strict=True) if s <= limit + 1e-9]
        if left or len(one.document_ids) == 1:
            expected.append((one.query_id, [d for d, _ in left]))
    assert [(one.query_id, list(one.document_ids[1:])) for one in kept] == expected
    assert counts.negatives - counts.removed == sum(len(one.document_ids) - 1 for one in kept)
    assert counts.emptied == len(examples) - len(kept)
    assert drop_false_negatives(kept, text)[0] == kept


def test_examples_without_scores_are_refused():
    with pytest.raises(InputError, match="'q' has no teacher scores"):
        drop_false_negatives([Example("q", ("a", "b"))], 1.0)
