"""Chat templates: how a prompt becomes tokens, with system prompt and thinking switched off where possible."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import meta

from controlwindow.errors import ModelError, UsageError

# Between the turns of a conversation: ASCII's own separator of records, which no prompt holds.
_BETWEEN_TURNS = "\x1e"

_THINKING_SWITCHES = ("enable_thinking", "thinking")

# An extension tag of Transformers that plain jinja2 does not parse.
_GENERATION_TAG = re.compile(r"\{%[-+]?\s*(?:end)?generation\s*[-+]?%\}")


@dataclass(frozen=True)
class ChatFormat:
    """How prompts are wrapped; recorded with every run.

    Attributes:
        template: Short hash of the chat template; None when the tokenizer has none and prompts are raw text.
        system_prompt: The system message; None leaves the role out (a template may still write its own default).
        thinking: "off" when the template's own switch was set, "no switch" when it has none.
        switches: The template variables set to switch thinking off.
    """

    template: str | None
    system_prompt: str | None
    thinking: str
    switches: tuple[str, ...] = ()


def chat_format(tokenizer: Any, system_prompt: str | None) -> ChatFormat:
    """Read a tokenizer's chat template.

    Raises:
        ModelError: A system prompt was given but there is no chat template to carry it, or the template is malformed.
    """
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        if system_prompt is not None:
            raise ModelError(
                "a system prompt was given, but the tokenizer has no chat template",
                "leave the system prompt out, or put its text into the prompts",
            )
        return ChatFormat(None, None, "no switch")
    # The template runs in Transformers' own sandbox; here it is only parsed for the variables it reads.
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=True)
    try:
        names = meta.find_undeclared_variables(environment.parse(_GENERATION_TAG.sub("", template)))
    except jinja2.TemplateSyntaxError as error:
        raise ModelError(
            f"the tokenizer's chat template is malformed in line {error.lineno}: {error.message}",
            "restore chat_template.jinja or tokenizer_config.json from the model's source",
        ) from error
    switches = tuple(name for name in _THINKING_SWITCHES if name in names)
    digest = hashlib.sha256(template.encode()).hexdigest()[:16]
    return ChatFormat(digest, system_prompt, "off" if switches else "no switch", switches)


def conversation(*turns: str) -> str:
    """Join the turns of a conversation into one prompt.

    A prompt stays one text wherever prompts are passed, stored and compared; where it becomes tokens, its turns are
    told apart again and the chat template is applied to all of them.

    Args:
        *turns: The user's and the assistant's messages in turn; the first and the last are the user's.

    Raises:
        UsageError: The last message is not the user's.

    Example:
        >>> turns_of(conversation("Where does it live?", "In the forest.", "Are you sure?"))
        ('Where does it live?', 'In the forest.', 'Are you sure?')
        >>> conversation("Hello.")
        'Hello.'
    """
    if len(turns) % 2 == 0:
        raise UsageError(
            f"a conversation of {len(turns)} messages does not end with the user's",
            "give the user's and the assistant's messages in turn, the user's first and last",
        )
    return _BETWEEN_TURNS.join(turns)


def turns_of(prompt: str) -> tuple[str, ...]:
    """The turns of a prompt, the user's first; a plain prompt is one turn."""
    return tuple(prompt.split(_BETWEEN_TURNS))


def messages_of(prompt: str) -> list[dict[str, str]]:
    """The turns of a prompt as chat templates take them."""
    return [
        {"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns_of(prompt))
    ]


def transcript(prompt: str) -> str:
    """A prompt as people read it: itself, or who says what, one turn a line.

    Example:
        >>> print(transcript(conversation("Where does it live?", "In the forest.", "Are you sure?")))
        User: Where does it live?
        Assistant: In the forest.
        User: Are you sure?
    """
    turns = turns_of(prompt)
    if len(turns) == 1:
        return prompt
    return "\n".join(f"{('User', 'Assistant')[number % 2]}: {turn}" for number, turn in enumerate(turns))


def prompt_token_ids(tokenizer: Any, chat: ChatFormat, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt, chat template applied, ready for the assistant's first token.

    Raises:
        ModelError: A prompt has no tokens at all, it has several turns and there is no chat template to tell them
            apart, or the chat template refuses it (some take no system prompt).
    """
    encoded: list[list[int]] = []
    for prompt in prompts:
        if chat.template is None and len(turns_of(prompt)) > 1:
            raise ModelError(
                f"the prompt {transcript(prompt)!r} has several turns, but the tokenizer has no chat template",
                "use a model with a chat template, or a behavior whose prompts are single messages",
            )
        if chat.template is None:
            ids = list(tokenizer(prompt)["input_ids"])
        else:
            messages = messages_of(prompt)
            if chat.system_prompt is not None:
                messages.insert(0, {"role": "system", "content": chat.system_prompt})
            switches = dict.fromkeys(chat.switches, False)
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **switches)
            except jinja2.TemplateError as error:
                raise ModelError(
                    f"the tokenizer's chat template refuses the prompt: {error}",
                    "leave the system prompt out: many templates take none"
                    if chat.system_prompt is not None
                    else "restore the template from the model's source",
                ) from error
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        if not ids:
            raise ModelError(f"the prompt {prompt!r} has no tokens", "remove empty prompts")
        encoded.append(ids)
    return encoded
