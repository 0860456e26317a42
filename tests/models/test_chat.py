from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import tiny_models
from controlwindow.errors import ModelError, UsageError
from controlwindow.models import Model, load_model, templates
from controlwindow.models.chat import PROBES, chat_format, conversation, transcript, turns_of
from tiny_models import CHAT_TEMPLATE, THINKING_TEMPLATE

HF_MODEL = tiny_models.llama_in_hand()


@pytest.fixture(autouse=True)
def _little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates that go on are given less processor time than in use; others need a hundredth of it."""
    monkeypatch.setattr(templates, "SECONDS", 0.3)


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


# The same renderings as Transformers', in a process of their own


TEMPLATES = (
    CHAT_TEMPLATE,
    THINKING_TEMPLATE,
    "{{ bos_token }}{% for m in messages %}\n  {%- if m.role == 'user' %}\n    [{{ m['content'] | trim }}]\n"
    "  {%- else %}\n"
    "    {{ m.content }}{{ eos_token }}\n  {% endif %}\n{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ m | tojson }}"
    "{{ m.content }}{% if loop.last %}{% break %}{% endif %}{% endfor %}{% generation %} answer{% endgeneration %}",
    "{% macro say(m) %}<{{ m.role }}>{{ m.content }}{% endmacro %}{{ dict(a=1) }}{{ tools is none }}"
    "{% for m in messages %}{{ say(m) }}{% endfor %}{{ add_generation_prompt }}",
)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "turns", [("What is bread",), ("What is bread", "bread", "Why \u00e9\u4e2d\U0001f600 {{ x }}")]
)
def test_renderings_are_those_of_transformers(template: str, turns: tuple[str, ...]) -> None:
    tokenizer = tiny_models.tokenizer(template)
    messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]
    variables = {**tokenizer.special_tokens_map, "enable_thinking": False}
    ours = templates.render(template, [messages], variables, None)[0]
    theirs = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert ours == theirs


LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "match"),
    [
        (CHAT_TEMPLATE + LOOP, "does not come to an end"),
        (CHAT_TEMPLATE + "{% if 'river' in messages[0].content %}" + LOOP + "{% endif %}", "does not come to an end"),
        (CHAT_TEMPLATE + "{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}", "characters for one prompt"),
        (CHAT_TEMPLATE + "{{ 'a' * 9999999999 }}", "more memory|MemoryError|OverflowError"),
        (CHAT_TEMPLATE + "{% set x = 'a' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}", "more memory|does not come"),
        ("{% macro m() %}{{ m() }}{% endmacro %}" + CHAT_TEMPLATE + "{{ m() }}", "RecursionError|ended the process"),
        (CHAT_TEMPLATE + "{{ 1 / 0 }}", "ZeroDivisionError"),
        (CHAT_TEMPLATE + "{{ 1 + 'a' }}", "TypeError"),
        (CHAT_TEMPLATE + "{% include 'other' %}", "TypeError"),
        (CHAT_TEMPLATE + "{% import 'os' as os %}", "TypeError"),
        (CHAT_TEMPLATE + "{{ undefined.attribute }}", "UndefinedError"),
        (CHAT_TEMPLATE + "{{ ().__class__.__bases__[0].__subclasses__() }}", "SecurityError|unsafe"),
        (CHAT_TEMPLATE + "{{ messages.append(1) }}", "SecurityError|unsafe"),
        (CHAT_TEMPLATE + "{{ messages | random }}", "malformed in line 1"),
        (CHAT_TEMPLATE + "{{ raise_exception('red\x1b[31m\n\x07') }}", r"red\\x1b\[31m\\x07|red"),
        ("{% if %}" + CHAT_TEMPLATE, "malformed in line 1"),
        ("{" * 5000 + CHAT_TEMPLATE, "chat template"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}" + CHAT_TEMPLATE, "chat template"),
        (CHAT_TEMPLATE + " " * (1 << 20), "has 1,048,"),
    ],
)
def test_a_template_that_fails_or_goes_on_is_one_error(template: str, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        wrapped(template)
    assert caught.value.hint
    assert str(caught.value).isprintable()
    # The next template is rendered as if nothing had been.
    assert words(wrapped(CHAT_TEMPLATE), "bread") == "<bos> user bread assistant"


def test_a_template_may_not_wait_to_loop_until_the_model_is_loaded() -> None:
    model = wrapped(CHAT_TEMPLATE + "{% if 'bread' in messages[0].content %}" + LOOP + "{% endif %}")
    with pytest.raises(ModelError, match="does not come to an end"):
        model.token_ids(["bread"])


def test_the_worker_is_not_shared_with_a_forked_child() -> None:
    model = wrapped(CHAT_TEMPLATE)
    expected = model.token_ids(["bread"])
    child = os.fork()
    if child == 0:
        os._exit(0 if model.token_ids(["bread"]) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert model.token_ids(["bread"]) == expected


# What the template does to what is said


@pytest.mark.parametrize(
    "template",
    [
        # It iterates over parts of content, but not over those of text.
        "{% for m in messages %}{% for p in m.content if p.type == 'image' %}{{ p.text }}{% endfor %}user{% endfor %}",
        "<bos> user assistant",
        "{{ messages[0].content | upper }}",
        "{{ messages[0].content[:5] }}",
    ],
)
def test_a_template_that_drops_what_the_user_says_is_refused(template: str) -> None:
    with pytest.raises(ModelError, match="leaves out what the user says"):
        wrapped(template)


def test_a_template_that_asks_for_parts_of_content_is_given_them() -> None:
    template = (
        "<bos>{% for m in messages %}{{ m.role }} {% for p in m.content if p.type == 'text' %}{{ p.text }} {% endfor %}"
        "{% endfor %}assistant"
    )
    model = wrapped(template, "Suggest")
    assert model.chat.parts
    assert not wrapped(CHAT_TEMPLATE).chat.parts
    assert words(model, "What is bread") == "<bos> system Suggest user What is bread assistant"


def test_a_template_that_drops_the_system_prompt_is_refused_only_with_one() -> None:
    template = "{% for m in messages if m.role != 'system' %}user {{ m.content }} {% endfor %}"
    assert words(wrapped(template), "bread") == "user bread"
    with pytest.raises(ModelError, match="leaves out what the system says") as caught:
        wrapped(template, "Suggest")
    assert "takes none" in caught.value.hint


def test_a_template_that_drops_earlier_turns_is_refused_where_there_are_some() -> None:
    model = wrapped("user {{ messages[-1].content }}")
    assert words(model, "bread") == "user bread"
    with pytest.raises(ModelError, match="leaves out what the user says: 'What is bread'"):
        model.token_ids([conversation(*TURNS)])


@pytest.mark.parametrize(
    ("addition", "thinking", "note"),
    [
        ("<think>", "always on", "inside a thought"),
        ("<|thinking|>\n", "always on", "inside a thought"),
        ("{% if enable_thinking %}{% endif %}<think>", "always on", "inside a thought"),
        ("{% if enable_thinking is false %}<think></think>{% endif %}", "off", None),
        ("{% if thinking is not defined or thinking %}<think>{% endif %}", "off", None),
        ("{% if reasoning %}think{% endif %}", "off", None),
        ("{% if enable_thinking %}{% endif %}", "no known switch", "changes nothing"),
        ("{% if reasoning_effort is defined %}{{ reasoning_effort }}{% endif %}", "no known switch", "knows thoughts"),
        ("{% if '</think>' in messages[0].content %}{% endif %}", "no known switch", "knows thoughts"),
        ("", "no switch", None),
    ],
)
def test_thoughts_are_switched_off_or_said(
    addition: str, thinking: str, note: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    chat = wrapped(CHAT_TEMPLATE + addition).chat
    assert chat.thinking == thinking
    assert [note in said for said in chat.notes] == ([True] if note else []) if note else not chat.notes
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == list(chat.notes)


@pytest.mark.parametrize(
    ("template", "note"),
    [
        ("<bos><bos>user {{ messages[0].content }}", "<bos> twice"),
        ("user {{ messages[0].content }} assistant", "writes no <bos>"),
        ("<bos>user {{ messages[0].content }}<eos>", "ends the prompt with <eos>"),
    ],
)
def test_what_is_odd_in_the_tokens_is_said(template: str, note: str) -> None:
    assert [note in said for said in wrapped(template).chat.notes] == [True]


def test_a_model_made_to_chat_without_a_template_is_said(tmp_path: Path) -> None:
    for name, notes in (("tiny-instruct", 1), ("tiny", 0)):
        HF_MODEL.save_pretrained(tmp_path / name)
        tiny_models.tokenizer().save_pretrained(tmp_path / name)
        assert len(load_model(tmp_path / name, device="cpu").chat.notes) == notes


# What the user says stays text


@pytest.mark.parametrize("text", ["<eos>", "bread <bos> bread", "<pad>"])
def test_a_prompt_cannot_hold_control_tokens(text: str) -> None:
    model = wrapped(CHAT_TEMPLATE)
    with pytest.raises(ModelError, match="reads as a control token"):
        model.token_ids([text])
    with pytest.raises(ModelError, match="reads as a control token"):
        model.token_ids([conversation("bread", text, "bread")])
    with pytest.raises(ModelError, match="system prompt holds"):
        wrapped(CHAT_TEMPLATE, text).token_ids(["bread"])


def test_control_tokens_in_raw_text_are_said(caplog: pytest.LogCaptureFixture) -> None:
    model = wrapped(None)
    assert words(model, "bread <eos>") == "<bos> bread <eos>"
    assert words(model, "bread") == "<bos> bread"
    assert ["'<eos>'" in record.getMessage() for record in caplog.records] == [True]


def test_tokens_that_only_the_template_makes_special_are_control_tokens_too() -> None:
    tokenizer = tiny_models.tokenizer(CHAT_TEMPLATE + "<|end|>")
    tokenizer.add_tokens(["<|end|>", "<|other|>"])
    chat = chat_format(tokenizer, None)
    assert "<|end|>" in chat.control_tokens
    assert "<|other|>" not in chat.control_tokens
    assert "<unk>" not in chat.control_tokens


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE])
def test_half_a_surrogate_pair_is_refused(template: str | None) -> None:
    with pytest.raises(ModelError, match="half of a surrogate pair at character 6") as caught:
        wrapped(template).token_ids(["bread \ud83d"])
    assert str(caught.value).isprintable()


# Where templates lie


def in_folder(directory: Path, **files: Any) -> Path:
    HF_MODEL.save_pretrained(directory)
    tiny_models.tokenizer().save_pretrained(directory)
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text))
    return directory


def digest(template: str) -> str:
    return hashlib.sha256(template.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template_DOT_jinja": CHAT_TEMPLATE},
        {"chat_template_DOT_json": {"chat_template": CHAT_TEMPLATE}},
        {"processor_config_DOT_json": {"chat_template": CHAT_TEMPLATE}},
        {"additional_chat_templates__tool_use_DOT_jinja": "tools", "chat_template_DOT_jinja": CHAT_TEMPLATE},
        {"additional_chat_templates__chat_DOT_jinja": CHAT_TEMPLATE},
    ],
)
def test_templates_are_found_wherever_transformers_keeps_them(tmp_path: Path, files: dict[str, Any]) -> None:
    assert load_model(in_folder(tmp_path, **files), device="cpu").chat.template == digest(CHAT_TEMPLATE)


@pytest.mark.parametrize("given", [CHAT_TEMPLATE, [{"name": "default", "template": CHAT_TEMPLATE}]])
def test_templates_in_the_tokenizer_configuration_are_found(tmp_path: Path, given: Any) -> None:
    path = in_folder(tmp_path) / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": given}))
    assert load_model(tmp_path, device="cpu").chat.template == digest(CHAT_TEMPLATE)


def test_several_templates_without_a_default_are_refused_by_name(tmp_path: Path) -> None:
    path = in_folder(tmp_path) / "tokenizer_config.json"
    given = [{"name": name, "template": CHAT_TEMPLATE} for name in ("rag", "tool_use")]
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": given}))
    with pytest.raises(ModelError, match="templates for rag, tool_use, and none is the default"):
        load_model(tmp_path, device="cpu")


@pytest.mark.parametrize("name", ["template_DOT_jinja", "chat_template_DOT_txt", "chat_template_DOT_jinja2"])
def test_a_template_where_nothing_reads_it_is_refused_not_passed_over(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="prompts would go to the model as raw text") as caught:
        load_model(in_folder(tmp_path, **{name: CHAT_TEMPLATE}), device="cpu")
    assert "chat_template.jinja" in caught.value.hint


@pytest.mark.parametrize("given", [7, {"default": 7}, {"default": ["x"]}])
def test_what_is_no_template_is_refused(given: Any) -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = given
    with pytest.raises(ModelError, match="not text"):
        load_model(HF_MODEL, tokenizer=tokenizer)


# The clock


DATED = "{{ strftime_now('%Y user %m user %d') }} " + CHAT_TEMPLATE


def test_the_clock_of_a_template_stands_still_and_can_be_set() -> None:
    tokenizer = tiny_models.tokenizer(DATED)
    today = load_model(HF_MODEL, tokenizer=tokenizer)
    assert today.chat.date == time.strftime("%Y-%m-%d")
    then = load_model(HF_MODEL, tokenizer=tokenizer, date="2024-02-29")
    assert then.chat.date == "2024-02-29"
    again = load_model(HF_MODEL, tokenizer=tokenizer, date=then.chat.date)
    assert then.chat == again.chat != today.chat
    text = templates.render(DATED, [[{"role": "user", "content": "bread"}]], {}, "2024-02-29")[0]
    assert text.startswith("2024 user 02 user 29 ")


def test_a_template_without_a_clock_has_no_date() -> None:
    assert load_model(HF_MODEL, tokenizer=tiny_models.tokenizer(CHAT_TEMPLATE), date="2024-02-29").chat.date is None


@pytest.mark.parametrize("date", ["yesterday", "2024-13-01", "", 7])
def test_what_is_no_date_is_refused(date: Any) -> None:
    with pytest.raises(UsageError, match="is not a date"):
        load_model(HF_MODEL, tokenizer=tiny_models.tokenizer(DATED), date=date)


def test_the_rendering_fingerprint_is_of_the_tokens_that_the_model_is_given() -> None:
    template = CHAT_TEMPLATE + "{% if strftime_now('%d') == '29' %}bread{% endif %}"
    tokenizer = tiny_models.tokenizer(template)
    first, second, third = (
        load_model(HF_MODEL, tokenizer=tokenizer, date=date) for date in ("2024-02-28", "2024-02-27", "2024-02-29")
    )
    assert first.rendering_fingerprint(PROBES) == second.rendering_fingerprint(PROBES)
    assert first.rendering_fingerprint(PROBES) != third.rendering_fingerprint(PROBES)
    assert first.rendering_fingerprint(PROBES) != first.rendering_fingerprint(PROBES[:1])
    assert first.rendering_fingerprint(PROBES) != wrapped(CHAT_TEMPLATE, "Suggest").rendering_fingerprint(PROBES)


def test_the_template_is_kept_as_it_was_when_the_model_was_loaded() -> None:
    model = wrapped(CHAT_TEMPLATE)
    before = model.token_ids(["bread"])
    model.tokenizer.chat_template = THINKING_TEMPLATE
    assert model.token_ids(["bread"]) == before


def test_an_interrupt_at_the_terminal_leaves_the_worker_alone() -> None:
    model = wrapped(CHAT_TEMPLATE)
    expected = model.token_ids(["bread"])
    running = templates._worker._process
    assert running is not None
    running.send_signal(signal.SIGINT)
    assert model.token_ids(["bread"]) == expected
    assert templates._worker._process is running
