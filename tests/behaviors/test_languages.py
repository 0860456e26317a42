from collections import Counter
from pathlib import Path

import pytest

from controlwindow.behaviors.languages import identify_language, known_languages
from controlwindow.statistics import wilson_interval

SENTENCES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "prompts" / "ntrex128"
FILES = {
    "en": "newstest2019-src.eng.txt",
    "fr": "newstest2019-ref.fra.txt",
    "de": "newstest2019-ref.deu.txt",
    "es": "newstest2019-ref.spa.txt",
    "ru": "newstest2019-ref.rus.txt",
    "zh": "newstest2019-ref.zho-CN.txt",
}
real_sentences = pytest.mark.skipif(not SENTENCES.is_dir(), reason="the NTREX-128 sentences are not at hand")


@pytest.mark.parametrize(
    ("text", "languages", "expected"),
    [
        ("The old mill stands by the river and nobody lives there.", ["en", "fr"], "en"),
        ("Le vieux moulin est au bord de la rivière.", ["en", "fr"], "fr"),
        ("Старая мельница стоит у реки.", ["en", "ru"], "ru"),
        ("老磨坊在河边，没有人住在那里。", ["en", "zh", "ja"], "zh"),
        ("古い水車小屋は川のそばにあります。", ["en", "zh", "ja"], "ja"),
        ("오래된 방앗간은 강가에 있다.", ["en", "ko"], "ko"),
    ],
)
def test_languages_are_told_apart(text, languages, expected):
    assert identify_language(text, languages).language == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "short"),
        ("12 + 30 = 42 !!!", "short"),
        ("Oui.", "short"),
        ("Старая мельница стоит у реки.", "script"),
        ("The mill Старая мельница stands стоит", "mixed"),
        ("Die alte Mühle steht am Fluss, und dort wohnt schon lange niemand mehr als die Eulen.", "other"),
    ],
)
def test_what_cannot_be_told_is_undetermined(text, reason):
    guess = identify_language(text, ["en", "fr"])
    assert guess.language is None
    assert guess.confidence == 0.0
    # A foreign text may already fail at the first of the two tests that it would fail.
    assert guess.reason in {reason, "unsure"} if reason == "other" else guess.reason == reason


def test_a_stricter_confidence_leaves_more_undetermined():
    text = "place table village"
    assert identify_language(text, ["en", "fr"], 1.0).language is None


def test_identifying_one_set_of_languages_does_not_restrict_another():
    german = "Die alte Mühle steht am Fluss, und dort wohnt schon lange niemand mehr."
    identify_language(german, ["en", "fr"])
    assert identify_language(german, ["de", "en"]).language == "de"
    assert {"en", "fr", "de"} <= known_languages()


def counts(language: str, length: int, languages: tuple[str, ...]) -> Counter[str | None]:
    lines = (SENTENCES / FILES[language]).read_text(encoding="utf-8").splitlines()
    return Counter(identify_language(line[:length], languages).language for line in lines if len(line) >= 30)


@real_sentences
@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize(("length", "least"), [(30, 0.97), (60, 0.99), (1000, 0.995)])
def test_real_sentences_in_two_languages(language, length, least):
    found = counts(language, length, ("en", "fr"))
    total = sum(found.values())
    wrong = total - found[language] - found[None]
    assert wilson_interval(found[language], total).low >= least
    assert wrong / total <= 0.01


@real_sentences
@pytest.mark.parametrize("language", list(FILES))
def test_real_sentences_in_six_languages(language):
    found = counts(language, 60, tuple(FILES))
    total = sum(found.values())
    assert wilson_interval(found[language], total).low >= 0.97
    assert (total - found[language] - found[None]) / total <= 0.005


@real_sentences
@pytest.mark.parametrize("language", ["de", "es", "ru", "zh"])
def test_real_sentences_in_other_languages_are_mostly_neither(language):
    found = counts(language, 1000, ("en", "fr"))
    assert found[None] / sum(found.values()) >= 0.9
