"""Chat templates: how a prompt becomes tokens, with system prompt and thinking switched off where possible."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import getLogger
from typing import Any

from controlwindow.errors import ModelError, UsageError
from controlwindow.models.conversations import conversation, messages_of, transcript, turns_of
from controlwindow.models.pretrained import foreign_errors
from controlwindow.models.templates import TemplateReading, read_template, render
from controlwindow.text import printable

__all__ = [
    "PROBES",
    "ChatFormat",
    "chat_format",
    "chosen_template",
    "conversation",
    "messages_of",
    "prompt_token_ids",
    "transcript",
    "turns_of",
]

_log = getLogger(__name__)

_THINKING_SWITCHES = ("enable_thinking", "thinking", "enable_reasoning", "reasoning", "think")
_OPEN_THOUGHT = re.compile(r"<\|?(think|thinking|thought|reasoning|scratchpad)\|?>(?!.*<\|?/\1\|?>)", re.DOTALL)
_SPEAKS_OF_THOUGHT = re.compile(r"reasoning|</?think|thinking|<\|channel\|>", re.IGNORECASE)

PROBES = ("Where does the river end?", "How many birds are in the old tree?")
"""Two ordinary prompts, whose renderings tell what a template does."""


@dataclass(frozen=True)
class ChatFormat:
    """How prompts are wrapped; recorded with every run.

    Attributes:
        template: Short hash of the chat template; None when the tokenizer has none and prompts are raw text.
        system_prompt: The system message; None leaves the role out (a template may still write its own default).
        thinking: "off" when the template's own switch was set and does something, "no switch" when the template knows
            nothing of thoughts, "no known switch" when it does but none of the known switches is in it, "always on"
            when the prompt ends inside a thought whatever is set.
        switches: The template variables set to switch thinking off.
        date: The day that the template's clock shows, in ISO form, frozen when the model was loaded; None for a
            template that reads no clock.
        notes: What a reader of results must know of the rendering; logged when the model is loaded.
        parts: Whether messages are given as lists of one part of text, as templates of multimodal models may ask for.
        text: The template.
        control_tokens: Tokens that structure the prompt, as text. A prompt that holds one is refused; without a
            template it is said, since the prompts themselves then write them.
    """

    template: str | None
    system_prompt: str | None
    thinking: str
    switches: tuple[str, ...] = ()
    date: str | None = None
    notes: tuple[str, ...] = ()
    parts: bool = False
    text: str | None = field(default=None, repr=False, compare=False)
    control_tokens: tuple[str, ...] = field(default=(), repr=False, compare=False)


def chat_format(tokenizer: Any, system_prompt: str | None, date: str | None = None) -> ChatFormat:
    """Read a tokenizer's chat template and try it on two ordinary prompts.

    Args:
        tokenizer: The tokenizer.
        system_prompt: The system message, if there is to be one.
        date: The day, in ISO form, that a template with a clock is shown; default today.

    Raises:
        ModelError: A system prompt was given but there is no chat template to carry it; the template is malformed,
            needs too much time or memory, or does not give the model what the prompt says.
        UsageError: The date is none.
    """
    day = _day(date)
    template = chosen_template(tokenizer)
    if template is None:
        if system_prompt is not None:
            raise ModelError(
                "a system prompt was given, but the tokenizer has no chat template",
                "leave the system prompt out, or put its text into the prompts",
            )
        # Without a template, control tokens can come from nowhere but the prompts, and may be meant.
        return ChatFormat(None, None, "no switch", control_tokens=_control_tokens(tokenizer, TemplateReading.nothing()))
    reading = read_template(template)
    made = ChatFormat(
        template=hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        system_prompt=system_prompt,
        thinking="no switch",
        switches=tuple(name for name in _THINKING_SWITCHES if name in reading.names),
        date=day if reading.clock else None,
        text=template,
        control_tokens=_control_tokens(tokenizer, reading),
    )
    made = _with_form(tokenizer, made)
    thinking, notes = _thinking(tokenizer, made, reading)
    return replace(made, thinking=thinking, notes=notes)


def chosen_template(tokenizer: Any) -> str | None:
    """The template that prompts are wrapped in, among those that a tokenizer has; None if it has none.

    Raises:
        ModelError: It has several and none is the default, or what stands there is no template.
    """
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, dict) and found:
        names = [str(name) for name in found]
        if "default" not in found and len(found) > 1:
            raise ModelError(
                f"the tokenizer has chat templates for {printable(', '.join(names), 200)}, and none is the default",
                "put the one to use into chat_template.jinja, or set tokenizer.chat_template",
            )
        found = found["default"] if "default" in found else next(iter(found.values()))
    if not found:
        return None
    if not isinstance(found, str):
        raise ModelError(
            f"the tokenizer's chat template is {type(found).__name__}, not text",
            "restore chat_template.jinja or tokenizer_config.json from the model's source",
        )
    return found


def _with_form(tokenizer: Any, chat: ChatFormat) -> ChatFormat:
    """The form of messages in which the template gives the model what they say: plain text, else parts of text."""
    if all(_left_out(*rendering) is None for rendering in _renderings(tokenizer, chat, PROBES)):
        return chat
    in_parts = replace(chat, parts=True)
    try:
        renderings = _renderings(tokenizer, in_parts, PROBES)
    except ModelError:
        return chat
    # A list that is written out as it is holds the text as well.
    as_text = all("'type'" not in text and '"type"' not in text for _, text in renderings)
    return in_parts if as_text and all(_left_out(*rendering) is None for rendering in renderings) else chat


def _thinking(tokenizer: Any, chat: ChatFormat, reading: TemplateReading) -> tuple[str, tuple[str, ...]]:
    """What the template does about thoughts, and what is to be said of it."""
    texts = _rendered(tokenizer, chat, PROBES)
    if texts[0] == texts[1]:
        raise ModelError(
            "the tokenizer's chat template renders two different prompts alike",
            "restore chat_template.jinja or tokenizer_config.json from the model's source",
        )
    if _OPEN_THOUGHT.search(texts[0].rpartition(PROBES[0])[2]):
        return "always on", (
            "the chat template begins every answer inside a thought and no switch ends it: thoughts are judged as "
            "answers",
        )
    if chat.switches:
        switched_on = _rendered(tokenizer, chat, PROBES[:1], thinking=True)[0]
        if switched_on != texts[0]:
            return "off", ()
        return "no known switch", (
            f"the chat template's switch {', '.join(chat.switches)} changes nothing: answers may begin with thoughts",
        )
    if any(_SPEAKS_OF_THOUGHT.search(word) for word in (*reading.words, *reading.names)):
        return "no known switch", (
            "the chat template knows thoughts but has no switch that is known here: answers may begin with thoughts, "
            "which are judged as answers",
        )
    return "no switch", ()


def _control_tokens(tokenizer: Any, reading: TemplateReading) -> tuple[str, ...]:
    """Tokens that are matched in any text: the special ones, and others that the template itself writes.

    The unknown token is none: it is what stands for text.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    unknown = getattr(tokenizer, "unk_token", None)
    return tuple(
        token.content
        for token in added
        if token.content != unknown
        and not token.content.isspace()
        and (token.special or any(token.content in word for word in reading.words))
    )


def _day(date: str | None) -> str:
    try:
        return (datetime.date.today() if date is None else datetime.date.fromisoformat(date)).isoformat()
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{printable(date, 80)!r} is not a date", "write the year, the month and the day, as in 2026-01-31"
        ) from error


def prompt_token_ids(tokenizer: Any, chat: ChatFormat, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt, chat template applied, ready for the assistant's first token.

    Raises:
        ModelError: A prompt has no tokens at all or is no text, it has several turns and there is no chat template to
            tell them apart, it holds a control token, or the chat template refuses it, drops a part of it (some take no
            system prompt), or goes beyond its limits.
    """
    for prompt in prompts:
        _check_prompt(chat, prompt)
    texts = list(prompts) if chat.text is None else _rendered(tokenizer, chat, prompts)
    with foreign_errors("the tokenizer cannot read the prompts", "check that the tokenizer belongs to the model"):
        options = {} if chat.text is None else {"add_special_tokens": False}
        encoded = [[int(token) for token in ids] for ids in tokenizer(texts, **options)["input_ids"]] if texts else []
    for prompt, ids in zip(prompts, encoded, strict=True):
        if not ids:
            raise ModelError(f"the prompt {prompt!r} has no tokens", "remove empty prompts")
    return encoded


def message_token_ids(
    tokenizer: Any, chat: ChatFormat, conversations: Sequence[Sequence[Mapping[str, str]]]
) -> list[list[int]]:
    """Token ids of conversations that bring messages and roles of their own, as other tools give them.

    Where a conversation has no system message, the model's own stands before it. Without a chat template the messages
    follow each other, an empty line between them.

    Args:
        tokenizer: The tokenizer.
        chat: How prompts are wrapped.
        conversations: Messages with `role` and `content`.

    Raises:
        ModelError: A message holds a control token, or the template refuses or drops one, or goes beyond its limits.
        UsageError: A conversation does not end with what is to be answered.
    """
    texts = [message_text(tokenizer, chat, messages) for messages in conversations]
    with foreign_errors("the tokenizer cannot read the prompts", "check that the tokenizer belongs to the model"):
        options = {} if chat.text is None else {"add_special_tokens": False}
        return [[int(token) for token in ids] for ids in tokenizer(texts, **options)["input_ids"]] if texts else []


def message_text(tokenizer: Any, chat: ChatFormat, given: Sequence[Mapping[str, str]]) -> str:
    """The text that a conversation of messages with roles becomes; as `message_token_ids`."""
    messages = [{"role": str(message["role"]), "content": message["content"]} for message in given]
    if not messages or messages[-1]["role"] == "assistant":
        raise UsageError(
            "a conversation ends with the assistant's message, and there is nothing to answer",
            "end it with the user's; answers that are begun for the model are not supported",
        )
    if chat.system_prompt is not None and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": chat.system_prompt})
    for message in messages:
        _check_prompt(chat, message["content"])
    if chat.text is None:
        return "\n\n".join(message["content"] for message in messages)
    return _whole(_of_messages(tokenizer, chat, [messages]))[0]


def _check_prompt(chat: ChatFormat, prompt: str) -> None:
    if not isinstance(prompt, str):
        raise UsageError(
            f"the prompt {prompt!r} is {type(prompt).__name__}, not a text"[:200],
            "give texts; controlwindow.models.conversation joins several turns to one",
        )
    shown = repr(transcript(prompt))
    shown = shown if len(shown) <= 200 else shown[:199] + "…"
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ModelError(
            f"the prompt {shown} holds half of a surrogate pair at character {error.start}",
            "read the prompts as UTF-8; such characters stand for bytes that are none",
        ) from error
    if chat.text is None:
        if len(turns_of(prompt)) > 1:
            raise ModelError(
                f"the prompt {shown} has several turns, but the tokenizer has no chat template",
                "use a model with a chat template, or a behavior whose prompts are single messages",
            )
        found = [token for token in chat.control_tokens if token in prompt]
        if found:
            _log.warning(
                "the prompt %s holds %s, which the tokenizer reads as a control token",
                printable(shown),
                printable(found),
            )
        return
    for text in (prompt, chat.system_prompt or ""):
        for token in chat.control_tokens:
            if token in text:
                raise ModelError(
                    f"the prompt {shown} holds {token!r}, which the tokenizer reads as a control token"
                    if text is prompt
                    else f"the system prompt holds {token!r}, which the tokenizer reads as a control token",
                    "the chat template writes such tokens itself; take it out of the text, or write it differently",
                )


def _rendered(tokenizer: Any, chat: ChatFormat, prompts: Sequence[str], *, thinking: bool = False) -> list[str]:
    """The text of each prompt as the model is given it; every message is found in it again."""
    return _whole(_renderings(tokenizer, chat, prompts, thinking=thinking))


def _whole(renderings: Sequence[tuple[list[dict[str, str]], str]]) -> list[str]:
    """The renderings of conversations, from which no message is missing."""
    for messages, text in renderings:
        lost = _left_out(messages, text)
        if lost is not None:
            role, content = lost["role"], printable(lost["content"], 100)
            raise ModelError(
                f"the tokenizer's chat template leaves out what the {role} says: {content!r} is not in its rendering",
                "leave the system prompt out: this template takes none"
                if role == "system"
                else "restore the template from the model's source; this one reads messages in another form",
            )
    return [text for _, text in renderings]


def _renderings(
    tokenizer: Any, chat: ChatFormat, prompts: Sequence[str], *, thinking: bool = False
) -> list[tuple[list[dict[str, str]], str]]:
    """The messages of each prompt, and what the template makes of them."""
    conversations = []
    for prompt in prompts:
        messages = messages_of(prompt)
        if chat.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": chat.system_prompt})
        conversations.append(messages)
    return _of_messages(tokenizer, chat, conversations, thinking=thinking)


def _of_messages(
    tokenizer: Any, chat: ChatFormat, conversations: Sequence[list[dict[str, str]]], *, thinking: bool = False
) -> list[tuple[list[dict[str, str]], str]]:
    """What the template makes of each conversation, beside it."""
    assert chat.text is not None
    given: list[list[dict[str, Any]]] = [list(messages) for messages in conversations]
    if chat.parts:
        given = [[{**m, "content": [{"type": "text", "text": m["content"]}]} for m in c] for c in conversations]
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if not isinstance(token, list)}
    texts = render(chat.text, given, {**special, **dict.fromkeys(chat.switches, thinking)}, chat.date)
    return list(zip(conversations, texts, strict=True))


def _left_out(messages: list[dict[str, str]], text: str) -> dict[str, str] | None:
    """The first message that is not in a rendering; templates trim what they are given."""
    return next((message for message in messages if message["content"].strip() not in text), None)
