"""The thresholds on synthetic models of two temperaments, where coherent text is known by construction."""

import json

import numpy as np
import pytest

from controlwindow.behaviors.coherence import ScoredText, coherence_features, shuffle_scale
from controlwindow.behaviors.controls import COHERENT_KINDS, build_controls
from controlwindow.behaviors.detector_setting import LabelledFeatures, fit_thresholds
from controlwindow.errors import ControlWindowError

LENGTHS = (8, 16, 32, 64)
VOCABULARY = 500


class CountingModel:
    """Text is counting upwards; any other next token surprises by `shock` nats, give or take `noise`."""

    def __init__(self, usual: float, noise: float, shock: float, slips: float):
        self.usual, self.noise, self.shock, self.slips = usual, noise, shock, slips
        self.random = np.random.default_rng(5)

    def restarted(self) -> "CountingModel":
        return CountingModel(self.usual, self.noise, self.shock, self.slips)

    def answer(self, slips: float = 0.0) -> list[int]:
        tokens = [int(self.random.integers(VOCABULARY))]
        while len(tokens) < max(LENGTHS):
            step = 1 if self.random.random() >= slips else int(self.random.integers(2, 9))
            tokens.append((tokens[-1] + step) % VOCABULARY)
        return tokens

    def score(self, own_start: int, tokens: tuple[int, ...]) -> ScoredText:
        expected = [own_start, *(token + 1 for token in tokens[:-1])]
        surprisals = [
            max(0.0, (self.usual if token == next_token % VOCABULARY else self.shock) + self.noise * error)
            for token, next_token, error in zip(
                tokens, expected, self.random.standard_normal(len(tokens)), strict=False
            )
        ]
        # A loop is cheap from its second round on, as for real models.
        for place in range(6, len(tokens)):
            if any(tokens[place - 2 * lag : place] == tokens[place - lag : place] * 2 for lag in range(1, 4)):
                surprisals[place] = 0.01
        return ScoredText(tokens, tuple(surprisals), " ".join(f"w{token}" for token in tokens))


SHARP = CountingModel(usual=0.05, noise=0.05, shock=13.0, slips=0.0)
SOFT = CountingModel(usual=0.7, noise=0.6, shock=9.0, slips=0.08)


def calibrated(temperament: CountingModel, prompts: int = 24):
    # Each test draws afresh, whichever ran before it.
    model = temperament.restarted()
    greedy = [model.answer() for _ in range(prompts)]
    sampled = [model.answer(model.slips) for _ in range(prompts)]
    controls = build_controls(greedy, sampled, LENGTHS)
    scored = [(control, model.score(greedy[control.prompt][0], control.token_ids)) for control in controls]
    undosed = {(control.prompt, control.length): text for control, text in scored if control.kind == "greedy"}
    shuffled = [(control, text) for control, text in scored if control.kind == "shuffled"]
    scale = shuffle_scale(
        [text for _, text in shuffled], [undosed[control.prompt, control.length] for control, _ in shuffled]
    )
    rows = [
        LabelledFeatures(
            control.kind,
            control.collapsed,
            control.prompt,
            control.length,
            coherence_features(text, undosed[control.prompt, control.length], scale),
        )
        for control, text in scored
    ]
    return rows, scale, undosed


@pytest.mark.parametrize("model", [SHARP, SOFT], ids=["sharp", "soft"])
def test_controls_are_separated_on_models_of_both_temperaments(model):
    rows, scale, undosed = calibrated(model)
    detector, report = fit_thresholds(rows, scale)
    assert report.agreement >= 0.95
    assert report.agreement_interval[0] <= report.agreement <= report.agreement_interval[1]
    assert report.false_positive_rate <= 0.08
    assert report.auc["severity"] >= 0.99
    assert (report.total, report.prompts) == (len(rows), 24)
    # A clean switch: one token that shocks, then another text that is as fluent.
    (prompt, _), reference = next(iter(undosed.items()))
    start = (reference.token_ids[0] + 250) % VOCABULARY
    for horizon in LENGTHS:
        answer = tuple((start + step) % VOCABULARY for step in range(horizon))
        switched = model.restarted().score(reference.token_ids[0], answer)
        own = undosed[prompt, horizon]
        assert switched.surprisals[0] > 5
        assert not detector.judge(switched, own).collapsed


def test_thresholds_lie_between_the_sides_where_there_is_a_gap():
    rows, scale, _ = calibrated(SHARP)
    detector, report = fit_thresholds(rows, scale)
    assert report.separable["window_excess"]
    long = [row for row in rows if row.length >= 32]
    coherent = [row.features.window_excess for row in long if row.kind in COHERENT_KINDS]
    shuffled = [row.features.window_excess for row in long if row.kind == "shuffled"]
    assert max(coherent) < detector.window_excess < min(shuffled)
    assert report.thresholds["window_excess"] == detector.window_excess


def test_the_report_accounts_for_every_control():
    rows, scale, _ = calibrated(SOFT)
    detector, report = fit_thresholds(rows, scale)
    assert sum(share.total for share in report.shares) == len(rows)
    greedy = [share for share in report.shares if share.kind == "greedy"]
    assert [share.length for share in greedy] == list(LENGTHS)
    assert sum(share.collapsed for share in greedy) == 0
    judged = sum(detector.judge_features(row.features).collapsed for row in rows)
    assert sum(share.collapsed for share in report.shares) == judged
    false_positives = [point.false_positive_rate for point in report.roc]
    assert false_positives == sorted(false_positives, reverse=True)
    assert report.roc[0].true_positive_rate == 1.0
    written = json.loads(report.to_json())
    assert written["scale"] == scale
    assert len(written["shares"]) == len(report.shares)


def test_the_thresholds_do_not_depend_on_the_order_of_the_controls():
    rows, scale, _ = calibrated(SOFT)
    assert fit_thresholds(rows[::-1], scale)[0] == fit_thresholds(rows, scale)[0]


def test_held_out_agreement_is_not_that_of_the_fit():
    rows, scale, _ = calibrated(SOFT, prompts=8)
    # The labels of one half contradict those of the other, so no threshold carries over.
    crossed = [
        row._replace(features=row.features._replace(onset_excess=9.0)) if row.prompt % 2 else row for row in rows
    ]
    _, report = fit_thresholds(crossed, scale)
    assert report.agreement < 0.9


def test_answers_that_end_within_the_onset_borrow_its_threshold():
    rows, scale, _ = calibrated(SHARP, prompts=8)
    short = [row for row in rows if row.length == 8]
    detector, report = fit_thresholds(short, scale)
    assert detector.mean_excess == detector.window_excess == detector.onset_excess
    assert "mean_excess" not in report.auc


def test_answers_too_short_to_scramble_are_refused():
    rows, scale, _ = calibrated(SHARP, prompts=4)
    coherent = [row for row in rows if not row.collapsed]
    with pytest.raises(ControlWindowError, match="both labels"):
        fit_thresholds(coherent, scale)
