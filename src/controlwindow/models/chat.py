"""Chat templates: how a prompt becomes tokens, with system prompt and thinking switched off where possible."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import meta

from controlwindow.errors import ModelError

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


def prompt_token_ids(tokenizer: Any, chat: ChatFormat, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt, chat template applied, ready for the assistant's first token.

    Raises:
        ModelError: A prompt has no tokens at all, or the chat template refuses it (some take no system prompt).
    """
    encoded: list[list[int]] = []
    for prompt in prompts:
        if chat.template is None:
            ids = list(tokenizer(prompt)["input_ids"])
        else:
            messages = [{"role": "user", "content": prompt}]
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
