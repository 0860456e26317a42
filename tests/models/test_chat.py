from __future__ import annotations

import pytest

import tiny_models
from controlwindow.errors import ModelError, UsageError
from controlwindow.models import Model, load_model
from controlwindow.models.chat import chat_format, conversation, transcript, turns_of
from tiny_models import CHAT_TEMPLATE, THINKING_TEMPLATE

HF_MODEL = tiny_models.llama_in_hand()


def wrapped(template: str | None, system_prompt: str | None = None) -> Model:
    return load_model(HF_MODEL, tokenizer=tiny_models.tokenizer(template), system_prompt=system_prompt)


def words(model: Model, prompt: str) -> str:
    return " ".join(model.tokenizer.convert_ids_to_tokens(model.token_ids([prompt])[0]))


def test_without_a_template_prompts_are_raw_text() -> None:
    model = wrapped(None)
    assert model.chat.template is None
    assert words(model, "bread") == "<bos> bread"


def test_the_template_is_applied_without_a_second_bos() -> None:
    model = wrapped(CHAT_TEMPLATE)
    assert words(model, "What is bread") == "<bos> user What is bread assistant"
    assert model.chat.system_prompt is None
    assert model.chat.thinking == "no switch"


def test_the_system_prompt_is_carried_and_recorded() -> None:
    model = wrapped(CHAT_TEMPLATE, "Suggest")
    assert words(model, "bread") == "<bos> system Suggest <bos> user bread assistant"
    assert model.chat.system_prompt == "Suggest"


def test_thinking_is_switched_off_where_the_template_has_a_switch() -> None:
    model = wrapped(THINKING_TEMPLATE)
    by_default = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "bread"}], tokenize=False, add_generation_prompt=True
    )
    assert by_default.endswith("think")
    assert words(model, "bread") == "<bos> user bread assistant"
    assert model.chat.thinking == "off"
    assert model.chat.switches == ("enable_thinking",)


def test_templates_are_told_apart_by_their_hash() -> None:
    plain, thinking = wrapped(CHAT_TEMPLATE).chat, wrapped(THINKING_TEMPLATE).chat
    assert plain.template != thinking.template
    assert plain == wrapped(CHAT_TEMPLATE).chat


@pytest.mark.parametrize("tag", ["{% generation %}", "{%- generation -%}", "{%generation%}", "{% generation -%}"])
def test_generation_tags_of_transformers_are_understood(tag: str) -> None:
    template = CHAT_TEMPLATE + tag + "{{ enable_thinking }}" + tag.replace("generation", "endgeneration")
    assert chat_format(tiny_models.tokenizer(template), None).switches == ("enable_thinking",)


def test_a_system_prompt_without_a_template_is_refused() -> None:
    with pytest.raises(ModelError, match="no chat template") as caught:
        wrapped(None, "Be brief.")
    assert caught.value.hint


def test_a_template_that_takes_no_system_prompt_says_so() -> None:
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + CHAT_TEMPLATE
    )
    assert words(wrapped(template), "bread") == "<bos> user bread assistant"
    with pytest.raises(ModelError, match="System role not supported") as caught:
        wrapped(template, "Be brief.").encode(["bread"])
    assert "system prompt" in caught.value.hint


def test_a_malformed_template_is_refused_with_its_line() -> None:
    with pytest.raises(ModelError, match="malformed in line 2") as caught:
        wrapped("{% for m in messages %}\n{% if %}")
    assert caught.value.hint


def test_a_prompt_without_tokens_is_refused() -> None:
    tokenizer = tiny_models.tokenizer("{{ messages[0]['content'] }}")
    with pytest.raises(ModelError, match="no tokens"):
        load_model(HF_MODEL, tokenizer=tokenizer).encode(["bread", ""])


TURNS = ("What is bread", "bread is paper", "Why")


def test_all_turns_of_a_conversation_are_wrapped() -> None:
    model = wrapped(CHAT_TEMPLATE)
    expected = "<bos> user What is bread <bos> assistant bread is paper <bos> user Why assistant"
    assert words(model, conversation(*TURNS)) == expected
    assert words(wrapped(CHAT_TEMPLATE, "Suggest"), conversation(*TURNS)) == f"<bos> system Suggest {expected}"
    assert model.encode([conversation(*TURNS), "bread"])["input_ids"].shape[1] == len(expected.split())


def test_a_conversation_keeps_its_turns_and_reads_as_a_transcript() -> None:
    assert turns_of(conversation(*TURNS)) == TURNS
    assert turns_of("bread") == ("bread",)
    assert transcript(conversation(*TURNS)).splitlines() == [
        "User: What is bread",
        "Assistant: bread is paper",
        "User: Why",
    ]
    assert transcript("bread\nand paper") == "bread\nand paper"


def test_a_conversation_that_ends_with_the_assistant_is_refused() -> None:
    with pytest.raises(UsageError, match="2 messages does not end with the user's"):
        conversation(*TURNS[:2])


def test_a_conversation_without_a_template_is_refused() -> None:
    with pytest.raises(ModelError, match="several turns, but the tokenizer has no chat template"):
        wrapped(None).token_ids([conversation(*TURNS)])
