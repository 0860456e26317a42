"""What a model's prompts look like as tokens, looked at once when it is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from logging import getLogger

from controlwindow.models.chat import PROBES
from controlwindow.models.model import Model
from controlwindow.models.pretrained import foreign_errors
from controlwindow.text import printable

_log = getLogger(__name__)

_MADE_TO_CHAT = re.compile(r"instruct|chat|assistant|(^|[-_.])it([-_.]|$)", re.IGNORECASE)


def with_notes(known: Sequence[str], model: Model) -> Model:
    """The model with what is to be said of its rendered prompts; each note is logged.

    Args:
        known: What is to be said already.
        model: The model.

    Raises:
        ModelError: The tokenizer fails on an ordinary prompt, or gives tokens that the model does not have.
    """
    notes = (*known, *model.chat.notes, *_notes(model))
    for note in notes:
        _log.warning("%s: %s", printable(model.name), note)
    return replace(model, chat=replace(model.chat, notes=notes))


def _notes(model: Model) -> list[str]:
    tokenizer, stops, found = model.tokenizer, model.stop_ids, []
    first, second = model.token_ids(PROBES)
    if first == second:
        found.append("the tokenizer gives two different prompts the same tokens: most words are unknown to it")
    if model.chat.template is None:
        if _MADE_TO_CHAT.search(model.name):
            found.append("it has no chat template, so prompts go to it as raw text")
        return found
    begin = getattr(tokenizer, "bos_token_id", None)
    with foreign_errors("the tokenizer cannot read an ordinary prompt", "give the tokenizer that belongs to the model"):
        raw = list(tokenizer(PROBES[0])["input_ids"])
    if begin is not None and first[:2] == [begin, begin]:
        found.append(f"the chat template writes {printable(tokenizer.bos_token, 40)} twice at the beginning")
    elif begin is not None and raw[:1] == [begin] and first[:1] != [begin]:
        found.append(
            f"the chat template writes no {printable(tokenizer.bos_token, 40)} at the beginning, where the tokenizer "
            "puts one before any other text"
        )
    if first[-1] in stops:
        found.append(
            f"the chat template ends the prompt with {printable(tokenizer.decode([first[-1]]), 40)}, at which the "
            "model stops, and opens no answer"
        )
    return found
