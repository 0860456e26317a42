"""Agreement with labels, against figures computed by hand and by plain definitions."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.behaviors.agreement import Agreement, corrected_rate, measure_agreement
from controlwindow.behaviors.labelled import find_oracle, judge_labelled, read_labels
from controlwindow.errors import BehaviorError
from controlwindow.statistics import wilson_interval

# 20 + 5 + 10 + 15: the example of many textbooks, κ = 0.4.
SAID = [True] * 25 + [False] * 25
LABELS = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15


def test_kappa_and_rates_of_a_known_table():
    found = measure_agreement(SAID, LABELS)
    assert (found.both, found.judge_only, found.people_only, found.neither) == (20, 5, 10, 15)
    assert found.agreement == 0.7
    assert found.kappa == pytest.approx(0.4)
    assert (found.true_positive_rate, found.false_positive_rate) == (20 / 30, 5 / 20)
    document = found.to_json()
    assert document["agreement_interval"] == list(wilson_interval(35, 50))
    low, high = document["kappa_interval"]
    assert 0.1 < low < 0.4 < high < 0.7
    assert document == measure_agreement(SAID, LABELS).to_json()


def test_abstentions_are_counted_and_left_out_of_rates():
    found = measure_agreement([*SAID, None, None, None], [*LABELS, True, True, False])
    assert (found.abstained_yes, found.abstained_no, found.abstained, found.judged) == (2, 1, 3, 50)
    assert found.agreement == 0.7
    assert found.to_json()["n"] == 53


def test_rates_that_nothing_is_known_of_are_none():
    assert measure_agreement([True, True], [True, True]).kappa is None
    assert measure_agreement([True, True], [True, True]).false_positive_rate is None
    silent = measure_agreement([None, None], [True, False]).to_json()
    assert (silent["agreement"], silent["kappa"], silent["kappa_interval"]) == (None, None, None)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_kappa_is_that_of_its_definition(pairs):
    said, labels = map(np.array, zip(*pairs, strict=True))
    chance = said.mean() * labels.mean() + (1 - said.mean()) * (1 - labels.mean())
    found = measure_agreement(said.tolist(), labels.tolist()).kappa
    if chance == 1:
        assert found is None
    else:
        assert found == pytest.approx(((said == labels).mean() - chance) / (1 - chance))


@pytest.fixture
def labels(tmp_path):
    rows = [
        {"q": "How?", "a": "I'm sorry, but I can't help with that.", "l": "refusal"},
        {"q": "How?", "a": "Like this.", "l": "answer"},
        {"q": "How?", "a": "I would rather talk of the weather.", "l": "refusal"},
        {"q": "How?", "a": None, "l": "answer"},
    ]
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def test_an_oracle_is_measured_on_labelled_answers(labels):
    answers = read_labels(labels, ["refusal"], prompt="q", answer="a", label="l")
    assert [one.label for one in answers] == [True, False, True, False]
    said = judge_labelled(find_oracle("refusal")[0], answers)
    assert [one.said for one in said] == [True, False, False, False]


def test_labels_that_cannot_be_measured_on(labels):
    with pytest.raises(BehaviorError, match="has no column 'prompt'; its columns are 'q', 'a', 'l'"):
        read_labels(labels, ["refusal"])
    with pytest.raises(BehaviorError, match=r"0 of 4 labels in 'l' mean yes \(declined\)") as caught:
        read_labels(labels, ["declined"], prompt="q", answer="a", label="l")
    assert "answer, refusal" in caught.value.hint


def test_oracles_are_named_by_type_by_table_or_by_behavior():
    assert find_oracle("refusal")[0].type == "refusal"
    assert find_oracle('{type="regex", pattern="^No:"}')[0].pattern == "^No:"
    oracle, languages = find_oracle("language:target")
    assert (oracle.language, languages) == ("fr", ("en", "fr"))
    for text, message in {
        "nothing": "'nothing' is no oracle: input tag 'nothing'",
        "{type=": "is no oracle",
        '{type="regex"}': "field required",
        "language:refused": "behavior 'language' has no oracle 'refused'",
        "none.toml:refused": "no behavior file none.toml",
    }.items():
        with pytest.raises(BehaviorError) as caught:
            find_oracle(text)
        assert message in str(caught.value)


KNOWN = Agreement(both=90, judge_only=20, people_only=10, neither=80)


@pytest.mark.parametrize(
    ("k", "n", "value"),
    # (q − 0.2) / (0.9 − 0.2), kept within 0 and 1.
    [(50, 100, 3 / 7), (20, 100, 0.0), (90, 100, 1.0), (10, 100, 0.0), (95, 100, 1.0), (11, 20, 0.5)],
)
def test_a_rate_is_corrected_for_both_errors(k, n, value):
    found = corrected_rate(k, n, KNOWN)
    assert (found.k, found.n) == (k, n)
    assert found.value == pytest.approx(value)
    assert found.interval[0] <= found.value <= found.interval[1]


def test_an_oracle_without_errors_corrects_nothing():
    assert corrected_rate(7, 20, Agreement(50, 0, 0, 50)).value == 0.35


def test_more_labels_and_more_answers_make_the_interval_narrower():
    def width(times, n):
        agreement = Agreement(90 * times, 20 * times, 10 * times, 80 * times)
        low, high = corrected_rate(n // 2, n, agreement).interval
        return high - low

    assert width(1, 20) > width(1, 2_000) > width(50, 2_000)


@pytest.mark.parametrize(
    ("agreement", "n"),
    [(Agreement(5, 5, 5, 5), 10), (Agreement(2, 8, 8, 2), 10), (Agreement(5, 0, 5, 0), 10), (KNOWN, 0)],
)
def test_what_tells_nothing_apart_corrects_nothing(agreement, n):
    found = corrected_rate(n // 2, n, agreement)
    assert (found.value, found.interval) == (None, None)


def test_few_labels_leave_the_interval_open():
    found = corrected_rate(5, 10, Agreement(2, 1, 1, 2))
    assert found.value == pytest.approx(0.5)
    assert found.interval is None


def test_corrected_intervals_cover():
    """In 200 worlds with known rates, about 95 % of the intervals hold the true share."""
    rng, covered = np.random.default_rng(1), 0
    for seed in range(200):
        truth = rng.uniform(0.1, 0.9)
        both, neither = rng.binomial(100, 0.85), rng.binomial(100, 0.9)
        agreement = Agreement(both, 100 - neither, 100 - both, neither)
        k = rng.binomial(60, truth * 0.85 + (1 - truth) * 0.1)
        low, high = corrected_rate(k, 60, agreement, seed).interval
        covered += low <= truth <= high
    assert 180 <= covered <= 199
