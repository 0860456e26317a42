import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.behaviors.coherence import (
    CoherenceDetector,
    CoherenceFeatures,
    CollapseWatch,
    ScoredText,
    coherence_features,
    distinct_share,
    shuffle_scale,
    twice_share,
    words_of,
)
from controlwindow.errors import ControlWindowError

DETECTOR = CoherenceDetector(
    scale=10.0, onset_excess=0.5, mean_excess=0.15, window_excess=0.3, distinctness=0.5, window_distinctness=0.6
)


def certainly_collapsed(detector: CoherenceDetector, token_ids, undosed, horizons) -> bool:
    """Whether a rollout is collapsed at every horizon that it has not passed, whatever it goes on with."""
    return CollapseWatch(detector.collapse_limits(undosed, horizons))(token_ids)


def text_of(tokens, surprisals) -> ScoredText:
    return ScoredText(tuple(tokens), tuple(surprisals), " ".join(f"w{token}" for token in tokens))


UNDOSED = text_of(range(32), [0.5] * 32)


def test_the_undosed_text_itself_has_no_excess():
    assert coherence_features(UNDOSED, UNDOSED, 10.0) == CoherenceFeatures(32, 0.0, 0.0, 0.0, 1.0, 1.0, False)
    assert not DETECTOR.judge(UNDOSED, UNDOSED).collapsed


def test_excess_by_hand():
    surprisals = [0.5] * 4 + [8.5] * 4 + [0.5] * 12 + [8.5] * 3 + [0.5] * 9
    text = text_of(range(100, 132), surprisals)
    features = coherence_features(text, UNDOSED, 10.0)
    # Four tokens of 8 nats beyond 0.5 in the onset; three after it: 24 nats over 16 tokens, and in the worst eight.
    assert features.onset_excess == pytest.approx(0.4)
    assert features.mean_excess == pytest.approx(0.15)
    assert features.window_excess == pytest.approx(0.3)
    assert not DETECTOR.judge(text.cut(16, "text"), UNDOSED.cut(16, "text")).collapsed
    assert DETECTOR.judge(text_of(range(100, 132), [*surprisals[:31], 2.0]), UNDOSED).reason == "mean_excess"


def test_a_switch_may_surprise_at_the_beginning_and_not_later():
    burst = [4.0] * 8
    for start, collapsed in ((0, False), (8, False), (16, True), (24, True)):
        surprisals = [0.5] * 32
        surprisals[start : start + 8] = burst
        assert DETECTOR.judge(text_of(range(100, 132), surprisals), UNDOSED).collapsed is collapsed


def test_a_clean_switch_is_coherent_at_every_horizon():
    # One very surprising token, then text that the undosed model finds as easy as its own, or half a nat harder.
    switched = text_of(range(200, 232), [13.0] + [1.0] * 31)
    for length in (1, 2, 4, 8, 16, 32):
        cut, reference = (one.cut(length, " ".join(one.text.split()[:length])) for one in (switched, UNDOSED))
        assert not DETECTOR.judge(cut, reference).collapsed


def test_shuffled_text_is_collapsed_at_every_horizon():
    noise = text_of(range(31, -1, -1), [10.5] * 32)
    for length in (8, 16, 32):
        judgement = DETECTOR.judge(noise.cut(length, "a b c"), UNDOSED.cut(length, "a b c"))
        assert judgement.collapsed
        assert judgement.reason in {"onset_excess", "mean_excess"}


def test_a_loop_is_collapsed_though_nothing_in_it_is_surprising():
    loop = text_of([1, 2, 3] * 11, [0.01] * 33)
    judgement = DETECTOR.judge(loop, UNDOSED)
    assert judgement.collapsed
    assert judgement.reason in {"repetition", "window_repetition"}
    assert judgement.features.distinctness < DETECTOR.distinctness
    assert judgement.features.mean_excess < 0


def test_a_late_stutter_is_seen_in_its_window():
    late = text_of([*range(40), *[7] * 24], [0.1] * 64)
    reference = text_of(range(64), [0.5] * 64)
    judgement = DETECTOR.judge(late, reference)
    assert judgement.features.distinctness > DETECTOR.distinctness
    assert judgement.reason == "window_repetition"


def test_repetition_counts_only_beyond_that_of_the_undosed_rollout():
    refrain = text_of([1, 2, 3, 4, 5, 6, 7, 8] * 4, [0.1] * 32)
    assert coherence_features(refrain, refrain, 10.0).distinctness == 1.0
    assert coherence_features(refrain, UNDOSED, 10.0).distinctness < 0.5


def test_words_that_repeat_in_other_tokens_are_found():
    tokens = text_of(range(50, 82), [0.5] * 32)
    stutter = ScoredText(tokens.token_ids, tokens.surprisals, "so it goes on and " * 5)
    assert coherence_features(stutter, UNDOSED, 10.0).distinctness == pytest.approx(6 / 22 * 1.0, abs=0.05)


@pytest.mark.parametrize("text", ["", " \n", "...", "?! —"])
def test_text_without_a_letter_or_digit_is_empty(text):
    judgement = DETECTOR.judge(ScoredText((1, 2), (0.1, 0.1), text), UNDOSED)
    assert (judgement.collapsed, judgement.reason, judgement.severity) == (True, "empty", math.inf)


def test_no_token_at_all_is_empty():
    assert DETECTOR.judge(ScoredText((), (), ""), UNDOSED).reason == "empty"
    assert not DETECTOR.judge(text_of([1, 2, 3], [0.5] * 3), ScoredText((), (), "")).collapsed


@pytest.mark.parametrize("surprisals", [[math.nan, 1.0], [math.inf, 1.0], [1.0]])
def test_bad_scores_are_refused(surprisals):
    with pytest.raises(ValueError, match="surprisals"):
        ScoredText((1, 2), tuple(surprisals), "a b")


def worst_window(excess: list[float]) -> float:
    padded = [*excess, *[0.0] * (8 - len(excess))]
    return max(sum(padded[start : start + 8]) / 8 for start in range(len(padded) - 7))


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=40),
    st.lists(st.floats(0, 20), min_size=1, max_size=40),
    st.floats(0.5, 20),
)
def test_excess_matches_a_slow_reference(rollout, undosed, scale):
    features = coherence_features(text_of(range(len(rollout)), rollout), text_of(range(len(undosed)), undosed), scale)
    excess = [(value - sum(undosed) / len(undosed)) / scale for value in rollout]
    assert features.tokens == len(rollout)
    assert features.onset_excess == pytest.approx(worst_window(excess[:16]), abs=1e-9)
    assert features.window_excess == pytest.approx(worst_window(excess[16:]), abs=1e-9)
    assert features.mean_excess == pytest.approx(sum(excess[16:]) / max(len(excess) - 16, 8), abs=1e-9)


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=40),
    st.lists(st.floats(0, 20), min_size=1, max_size=40),
    st.floats(0, 5),
)
def test_more_surprise_is_never_more_coherent(rollout, undosed, more):
    reference = text_of(range(len(undosed)), undosed)
    before = coherence_features(text_of(range(len(rollout)), rollout), reference, 10.0)
    after = coherence_features(text_of(range(len(rollout)), [value + more for value in rollout]), reference, 10.0)
    for name in ("onset_excess", "mean_excess", "window_excess"):
        assert getattr(after, name) >= getattr(before, name) - 1e-12
    assert DETECTOR.judge_features(after).severity >= DETECTOR.judge_features(before).severity - 1e-9


@given(st.lists(st.integers(0, 4), max_size=30))
def test_distinct_share_matches_a_slow_reference(items):
    groups = [tuple(items[start : start + 4]) for start in range(max(0, len(items) - 3))]
    unique = [group for place, group in enumerate(groups) if group not in groups[:place]]
    assert distinct_share(items) == (len(unique) / len(groups) if groups else 1.0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_the_worst_window_matches_a_slow_reference(tokens):
    features = coherence_features(text_of(tokens, [0.5] * len(tokens)), UNDOSED, 10.0)
    windows = [tokens[start : start + 16] for start in range(max(1, len(tokens) - 15))]
    assert features.window_distinctness == min(map(distinct_share, windows))


def test_words_in_scripts_with_and_without_spaces():
    assert words_of("Don't stop—the 2 foxes!") == ["don", "t", "stop", "the", "2", "foxes"]
    assert words_of("我不能ok") == ["我", "不", "能", "ok"]


def test_the_scale_is_the_mean_excess_of_shuffled_text():
    shuffled = [text_of([3, 2, 1], [12.0, 9.0, 9.0]), text_of([6, 5], [14.0, 16.0])]
    undosed = [text_of([1, 2, 3], [0.5, 0.5, 2.0]), text_of([5, 6], [1.0, 1.0])]
    assert shuffle_scale(shuffled, undosed) == pytest.approx((9.0 + 14.0) / 2)
    with pytest.raises(ControlWindowError, match="nats per token"):
        shuffle_scale(undosed, undosed)


def test_judgements_agree_with_severity_and_survive_json():
    for features in (
        CoherenceFeatures(32, 0.5, 0.1, 0.1, 1.0, 1.0, False),
        CoherenceFeatures(32, 0.2, 0.1, 0.1, 0.5, 1.0, False),
        CoherenceFeatures(32, 0.49, 0.14, 0.29, 0.51, 0.61, False),
    ):
        judgement = DETECTOR.judge_features(features)
        assert judgement.collapsed == (judgement.severity >= 1) == bool(judgement.reason)
    assert CoherenceDetector.from_json(DETECTOR.to_json()) == DETECTOR
    for broken in ("{}", "[]", "nonsense", DETECTOR.to_json().replace("10.0", "-1.0")):
        with pytest.raises(ControlWindowError, match="not a coherence detector"):
            CoherenceDetector.from_json(broken)


@st.composite
def loops_and_what_follows(draw):
    """A rollout that may loop, split anywhere, an undosed one, horizons, and a detector."""
    token = st.integers(0, draw(st.sampled_from([0, 1, 3, 30])))
    rollout = draw(st.lists(token, min_size=16, max_size=60))
    if draw(st.booleans()):
        start, period = draw(st.integers(0, 20)), draw(st.integers(1, 6))
        rollout[start:] = [rollout[start % len(rollout)] + i % period for i in range(len(rollout[start:]))]
    undosed = draw(st.lists(st.integers(0, draw(st.sampled_from([1, 4, 40]))), min_size=1, max_size=60))
    horizons = draw(st.lists(st.integers(8, 60), min_size=1, max_size=3, unique=True))
    threshold = draw(st.sampled_from([0.2, 0.4, 0.6, 0.8, 0.95, 9 / 13]))
    surprisals = st.floats(0, 30)
    rows = [draw(st.lists(surprisals, min_size=len(x), max_size=len(x))) for x in (rollout, undosed)]
    detector = CoherenceDetector(10.0, 0.5, 0.15, 0.3, 0.5, threshold)
    return (
        rollout,
        text_of(rollout, rows[0]),
        text_of(undosed, rows[1]),
        horizons,
        detector,
        draw(st.integers(1, len(rollout))),
    )


def cut_of(text: ScoredText, length: int) -> ScoredText:
    return text.cut(length, " ".join(text.text.split()[:length]))


@given(loops_and_what_follows())
def test_what_has_certainly_collapsed_is_judged_so_however_it_goes_on(data):
    rollout, whole, undosed, horizons, detector, length = data
    reached = [h for h in horizons if h >= length]
    if certainly_collapsed(detector, rollout[:length], undosed, horizons):
        for horizon in reached:
            assert detector.judge(cut_of(whole, horizon), cut_of(undosed, horizon)).collapsed
            # The row that was stopped is judged as the whole one is.
            assert detector.judge(cut_of(whole, length), cut_of(undosed, horizon)).collapsed
    elif length >= 16:
        # Not too timid either: the best continuation is judged by its repetition in a window alone, and passes.
        fresh = text_of([*rollout[:length], *range(1000, 1060)], [0.0] * (length + 60))
        passed = [
            detector.judge(cut_of(fresh, h), cut_of(undosed, h)).features.window_distinctness
            > detector.window_distinctness - 1e-12
            for h in reached
        ]
        assert any(passed)


@given(loops_and_what_follows(), st.integers(1, 7))
def test_a_watch_that_looks_every_few_tokens_knows_what_a_fresh_one_knows(data, every):
    rollout, _, undosed, horizons, detector, _ = data
    watch = CollapseWatch(detector.collapse_limits(undosed, horizons))
    for length in range(every, max(horizons) + 1, every):
        if length > len(rollout):
            break
        assert watch(rollout[:length]) == certainly_collapsed(detector, rollout[:length], undosed, horizons)


def test_a_loop_is_certain_after_a_window_of_it():
    loop = [1, 2, 3] * 20
    certain = [n for n in range(1, 60) if certainly_collapsed(DETECTOR, loop[:n], UNDOSED, (32, 60))]
    assert certain == list(range(16, 60))
    late = [*range(100, 124), *loop]
    assert not certainly_collapsed(DETECTOR, late[:30], UNDOSED, (60,))
    assert certainly_collapsed(DETECTOR, late[:40], UNDOSED, (60,))
    # A horizon that ends before the loop fills a window is judged by what came before.
    assert not certainly_collapsed(DETECTOR, late[:26], UNDOSED, (26, 60))
    assert not any(certainly_collapsed(DETECTOR, list(range(n)), UNDOSED, (60,)) for n in range(1, 60))
    assert not certainly_collapsed(DETECTOR, loop, text_of([1] * 60, [0.5] * 60), (60,)), (
        "the undosed rollout loops too"
    )


WANTED = "What do you want to be? "


def plain_twice(words):
    """The longest stretch that tells the same twice, tried in every place."""
    longest = 0
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            part = words[start:end]
            for period in range(5, len(part) // 2 + 1):
                if all(part[i] == part[i - period] for i in range(period, len(part))):
                    longest = max(longest, len(part))
    return longest / len(words) if words else 0.0


@given(st.lists(st.sampled_from("ab"), max_size=24))
def test_the_share_told_twice_is_that_of_a_plain_search(words):
    assert twice_share(words) == plain_twice(words)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (WANTED * 2, 1.0),
        (WANTED * 4, 1.0),
        (WANTED, 0.0),
        ("I asked it. " + WANTED * 2, 12 / 15),
        # Four words are a turn of phrase, and what is told again later on is not told in a row.
        ("Row, row, row your boat. Row, row, row your boat.", 1.0),
        ("A loop is this. A loop is this.", 0.0),
        (WANTED + "I ask because I must know. " + WANTED, 0.0),
        ("", 0.0),
    ],
)
def test_what_is_told_twice_in_a_row(text, share):
    assert twice_share(words_of(text)) == pytest.approx(share)


def told(text, undosed, **changes):
    detector = CoherenceDetector(5.0, 0.8, 0.5, 0.8, 0.3, 0.3, **changes)
    texts = [ScoredText(tuple(range(len(t.split()))), (1.0,) * len(t.split()), t) for t in (text, undosed)]
    return detector.judge(*texts)


def test_a_sentence_told_twice_is_collapsed_unless_the_undosed_model_does_so_too():
    other = "I want to be a gardener when I am grown up, or a baker of bread."
    found = told(WANTED * 2, other, told_twice=0.5)
    assert (found.collapsed, found.reason, found.severity) == (True, "told_twice", 2.0)
    assert not told(WANTED * 2, WANTED * 2, told_twice=0.5).collapsed
    assert not told(other, WANTED * 2, told_twice=0.5).collapsed


def test_detectors_from_before_do_not_look_at_it():
    old = CoherenceDetector.from_json(
        '{"scale": 5, "onset_excess": 0.8, "mean_excess": 0.5, "window_excess": 0.8, "distinctness": 0.3, '
        '"window_distinctness": 0.3}'
    )
    assert old.told_twice is None
    assert not told(WANTED * 2, "I want to be a gardener.").collapsed
