"""Characters: one reading for all that is compared, and words that end where Unicode says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from controlwindow.behaviors.coherence import CoherenceDetector, ScoredText
from controlwindow.behaviors.oracles import AnyOracle, OracleContext
from controlwindow.behaviors.prompts import Prompt
from controlwindow.behaviors.text import (
    canonical,
    caseless,
    cut_at_word,
    holds_phrase,
    is_blank,
    says_something,
    whole_words,
    words_of,
)

NFD = "Tourne la cle\u0301 a\u0300 gauche."
NFC = "Tourne la clé à gauche."


def matches(text: str, prompt: Prompt, **fields) -> bool:
    return TypeAdapter(AnyOracle).validate_python(fields).matches(text, OracleContext(prompt, ("en",)))


@pytest.mark.parametrize(("written", "said"), [(NFD, NFC), (NFC, NFD), (NFC, "Tourne la\u200b clé à gau\u00adche.")])
def test_every_oracle_reads_composed_decomposed_and_invisible_characters_alike(written, said):
    prompt = Prompt("p", "x", "evaluate", steps=(written,), about=(written,), source=(written,))
    assert matches(said, prompt, type="steps")
    assert matches(said, prompt, type="contains", about="all")
    assert matches(said, prompt, type="contains", any=[written], case_sensitive=True)
    assert matches(said, prompt, type="contains", any=[written], whole_words=False)
    assert matches(said, prompt, type="claim", claim="source")
    assert matches(said, prompt, type="form", form="prose", about="all")
    assert matches(said, prompt, type="regex", pattern=f"^{written}$")
    assert matches(said, prompt, type="refusal", patterns=[f"^{written}$"])


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("vault", "The vaulting horse", False),
        ("vault", "the Vault's lid", True),
        ("anneau", "C'est l'anneau d'or", True),
        ("12", "3.12 of them", False),
        ("12", "It is 12.", True),
        ("1", "1,200", False),
        ("turn", "left.Turn right", True),
        # Vowels written as marks belong to the word.
        ("किताब", "ये किताबें हैं", False),
        ("किताब", "यह किताब है", True),
        ("किताबें", "ये किताबें हैं", True),
        ("שלום", "שלומי", False),
        ("كتاب", "هذا كتابٌ", False),
        ("cafe", "un cafe\u0301", False),
        # Scripts without spaces: every character may begin a word.
        ("แมว", "นี่แมวดำ", True),
        ("保险库", "打开保险库。", True),
        ("ねこ", "このねこです", True),
        ("ဆိုင်", "ဆိုင်ကြီး", True),
        ("ß", "SS", True),
        ("x", "x_y", False),
        ("(b)", "a (b) c", True),
    ],
)
def test_whole_words_in_every_script(phrase, text, found):
    assert holds_phrase(phrase, caseless(text)) is found


@pytest.mark.parametrize(
    ("cut", "whole", "judged"),
    [
        ("I can", "I cannot help", "I "),
        ("I can", "I can help", "I can"),
        ("I can", "I can", "I can"),
        ("I can", "I can't help", "I "),
        ("It is 3", "It is 35.", "It is "),
        ("It is 3.", "It is 3.5", "It is "),
        ("Turn left", "Turn left.", "Turn left"),
        ("打开保", "打开保险库。", "打开保"),
        ("ये किताब", "ये किताबें हैं", "ये "),
        ("un cafe", "un cafe\u0301", "un "),
        ("夜\ufffd", "夜空", "夜"),
        ("夜\ufffd\ufffd", "something else", "夜"),
        ("", "anything", ""),
    ],
)
def test_a_text_cut_at_a_horizon_is_judged_at_whole_words(cut, whole, judged):
    assert whole_words(cut, whole) == judged


@pytest.mark.parametrize(
    ("text", "judged"),
    [
        ("I can", "I "),
        ("I can ", "I can "),
        ("I can.", "I can."),
        ("I can'", "I "),
        ("It is 35", "It is "),
        ("ネコ", ""),
        ("un cafe\u0301", "un "),
        ("打开保", "打开保"),
        ("", ""),
        ("夜\ufffd", "夜"),
    ],
)
def test_the_last_word_of_a_text_that_was_broken_off_may_be_the_beginning_of_another(text, judged):
    assert whole_words(text, text, ended=False) == judged
    assert whole_words(text, text, ended=True) == text.rstrip("\ufffd")


@given(st.text(max_size=40), st.integers(0, 40))
def test_a_cut_is_a_beginning_that_is_no_longer(text, end):
    cut = cut_at_word(text, end)
    assert text.startswith(cut)
    assert len(cut) <= max(end, 0) or cut == text
    assert cut_at_word(text, len(cut)) == cut


@given(st.text(max_size=20))
def test_canonical_forms_are_final(text):
    assert canonical(canonical(text)) == canonical(text)
    assert caseless(caseless(text)) == caseless(text)


@pytest.mark.parametrize("text", ["👍", "👩‍👩‍👧", "🇫🇷", "1", "夜", "ß"])
def test_a_picture_says_something(text):
    assert says_something(text)


@pytest.mark.parametrize("text", ["", " \n", "...", "\ufffd\ufffd", "—===—", "\u200b", "─────"])
def test_marks_and_broken_characters_say_nothing(text):
    assert not says_something(text)


def test_an_answer_of_emoji_alone_has_not_collapsed():
    detector = CoherenceDetector(8.0, 0.5, 0.5, 0.5, 0.5, 0.5)
    undosed = ScoredText((1, 2, 3), (0.1, 0.1, 0.1), "Yes, I do.")
    assert not detector.judge(ScoredText((7, 8), (0.2, 0.2), "👍🎉"), undosed).collapsed
    assert detector.judge(ScoredText((7, 8), (0.2, 0.2), "?!"), undosed).reason == "empty"


def test_words_keep_their_marks():
    assert words_of("The किताबें, नमस्ते!") == ["the", "किताबें", "नमस्ते"]
    assert words_of("cafe\u0301s") == ["cafe\u0301s"]
    assert words_of("แมวดำ") == ["แ", "ม", "ว", "ด", "ำ"]


@pytest.mark.parametrize("text", ["", " ", "\u200b\u2060", "\ufeff \n", "\u00ad"])
def test_what_nobody_sees_is_blank(text):
    assert is_blank(text)
