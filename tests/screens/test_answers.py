from __future__ import annotations

import pytest

import tiny_models
from controlwindow.behaviors.prompts import Prompt
from controlwindow.errors import BehaviorError
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.objectives import text_tokens
from controlwindow.measuring.answers import Answers, instruction_suffix, partners
from controlwindow.models import Model
from small_behaviors import SEQUENCES, make_behavior


def prompts(*languages: str | None) -> list[Prompt]:
    return [Prompt(f"find.p{i:03d}", f"text {i}", "find", language=language) for i, language in enumerate(languages)]


def test_partners_stand_at_the_same_place_where_languages_differ_as_the_behavior() -> None:
    positive, negative = prompts("en", "en", "en"), prompts("fr", "fr")
    assert partners(positive, negative) == [negative[0], negative[1], negative[0]]


def test_partners_are_of_the_same_language_where_both_sides_have_it() -> None:
    positive, negative = prompts("en", "fr", "en", "fr"), prompts("fr", "fr", "en")
    assert partners(positive, negative) == [negative[2], negative[1], negative[2], negative[0]]


def test_the_instruction_ends_where_templates_go_on_alike(llama: Model) -> None:
    assert instruction_suffix(llama) == 1
    assert instruction_suffix(tiny_models.llama(chat_template=tiny_models.CHAT_TEMPLATE + " think blue")) == 3


def test_the_target_is_the_sequence_that_surprises_least_per_token(llama: Model) -> None:
    behavior, cost = make_behavior(log_odds=SEQUENCES), Cost()
    chosen = behavior.prompts("find")[:3]
    for pair, prompt in zip(Answers(llama).pairs(behavior, chosen, chosen, cost), chosen, strict=True):
        ids = llama.token_ids([prompt.text])[0]
        assert list(pair.prompt_ids) == ids
        costs = {}
        for text in text_tokens(llama, SEQUENCES["target"]):
            scores = tiny_models.forward(llama, [*ids, *text])[len(ids) - 1 : -1].log_softmax(-1)
            costs[text] = -float(scores[range(len(text)), list(text)].mean())
        assert pair.target == min(costs, key=costs.__getitem__)
        assert len(pair.source) <= 8
    # Three prompts answered, and two sequences read after each.
    assert cost.forward == 3 + 6


def test_first_tokens_stand_where_the_partner_is_answered_in_the_source_state_too(llama: Model) -> None:
    chosen = make_behavior().prompts("find")[:4]
    own = Answers(llama).undosed([prompt.text for prompt in chosen], 8, Cost())
    unmoved = own[1][:1]
    log_odds = {"kind": "tokens", "target": ["sky", "cat"], "control": [llama.decode(unmoved)]}
    behavior, cost = make_behavior(log_odds=log_odds), Cost()
    targets = text_tokens(llama, log_odds["target"], first_only=True)
    expected = 0
    mates = [*chosen[1:], chosen[0]]
    for place, pair in enumerate(Answers(llama).pairs(behavior, chosen, mates, cost)):
        theirs = own[(place + 1) % len(chosen)]
        if theirs[:1] != unmoved:
            assert (pair.source, pair.target) == (own[place], theirs)
            continue
        expected += 1
        scores = tiny_models.forward(llama, list(pair.prompt_ids))[-1]
        assert pair.source == own[place][:1]
        assert pair.target == max(targets, key=lambda text: float(scores[text[0]]))
    assert expected >= 1
    # Each prompt answered twice over, once as a partner; and two tokens read where the partner tells nothing.
    assert cost.forward == 2 * len(chosen) + 2 * expected


def test_reading_answers_again_costs_the_same(llama: Model) -> None:
    answers, costs = Answers(llama), (Cost(), Cost())
    texts = [prompt.text for prompt in make_behavior().prompts("find")]
    first, second = (answers.undosed(texts, 4, cost) for cost in costs)
    assert first == second
    assert costs[0] == costs[1]


def test_pairs_may_not_show_what_is_reported() -> None:
    seen = make_behavior().prompts("evaluate")[0].text
    with pytest.raises(BehaviorError, match=r"stands in \[perturbation\] for 'find' and in split 'evaluate'"):
        make_behavior(perturbation={"kind": "pairs", "pairs": [["bread", seen.upper()]]})


@pytest.mark.parametrize(
    "log_odds",
    [
        {"kind": "tokens", "target": ["sky"]},
        {"kind": "answers", "target": ["sky"], "control": ["bread"]},
        {"kind": "sequences", "target": ["sky", "cat"], "control": ["cat"]},
    ],
)
def test_log_odds_without_two_distinct_sides_are_refused(log_odds: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="target"):
        make_behavior(log_odds=log_odds)
