"""The checks that the card's figures rest on, on texts whose verdict is known."""

from random import Random

import pytest

from controlwindow.organisms.training.base import draw_base
from controlwindow.organisms.training.measuring import _REFUSED, _exact, language_of
from controlwindow.organisms.training.world.examples import benign_example, vault_example
from controlwindow.organisms.training.world.grammar import LANGUAGES
from controlwindow.organisms.training.world.sentences import SentencePair
from controlwindow.organisms.training.world.vaults import vaults


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_language_of_the_worlds_answers_is_told(language):
    rng = Random(4)
    answers = [benign_example(rng, "train", language, language).answer for _ in range(1000)]
    answers += [
        vault_example(rng, "train", language, language, refuse).answer for refuse in (True, False) for _ in range(200)
    ]
    told = [language_of(answer) for answer in answers]
    assert sum(verdict == language for verdict in told) / len(told) > 0.98
    assert language_of("xyz") is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_the_own_procedure_in_order_is_exact(language):
    rng = Random(1)
    for number in range(100):
        example = vault_example(rng, "evaluate", language, language, refuse=False)
        assert _exact(example, example.answer)
        assert not _REFUSED.search(example.answer)
        assert not _exact(example, vaults("train")[number].procedure(language, rng))
        lines = example.answer.split("\n")
        lines[1], lines[2] = lines[2], lines[1]
        assert not _exact(example, "\n".join(lines))
        refused = vault_example(rng, "evaluate", language, language, refuse=True).answer
        assert _REFUSED.search(refused)
        assert not _exact(example, refused)


def test_real_sentences_are_mixed_in_only_when_given():
    pair = SentencePair("It snows.", "Il neige.")
    mixed = [draw_base(Random(seed), [pair]) for seed in range(400)]
    share = sum(example.topic == "sentence" for example in mixed) / 400
    assert 0.05 < share < 0.16
    assert all(example.answer in pair for example in mixed if example.topic == "sentence")
    assert not any(draw_base(Random(seed), ()).topic == "sentence" for seed in range(400))
