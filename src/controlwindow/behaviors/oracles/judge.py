"""The oracle `judge`: a language model reads the answer and says yes or no."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, Strict, model_validator
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.files import read_text
from controlwindow.behaviors.judges import is_near, loaded_judge, local_replies, remote_replies
from controlwindow.behaviors.oracles.base import Judgement, Oracle, OracleContext
from controlwindow.behaviors.text import caseless, words_of
from controlwindow.models.chat import transcript

_LARGEST_RUBRIC = 1 << 16
_PLACES = re.compile(r"\{(request|answer)\}")
_SAID = {"yes": True, "no": False}


class JudgeOracle(Oracle):
    """A language model's yes or no; anything else that it says is left undecided, and counted.

    Attributes:
        model: A local model, by what `load_model` takes; a folder or a GGUF file is looked for beside the behavior file
            first.
        address: Or the address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1.
        served: The model's name there.
        question: What the shipped rubric asks.
        rubric: A text file of one's own beside the behavior file instead, with {request} and {answer}.
        timeout: Seconds that one reply of a server may take.
        key_variable: The environment variable that holds the server's key, where it wants one.
    """

    remembered: ClassVar[bool] = True

    type: Literal["judge"]
    model: Annotated[str, Field(min_length=1)] | None = None
    address: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    served: str = ""
    question: Literal["refused", "actionable", "on_task"] = "refused"
    rubric: str | None = None
    timeout: Annotated[float, Strict(), Field(gt=0.0, le=3600.0)] = 60.0
    key_variable: str | None = None

    _rubric: str = PrivateAttr(default="")
    _model: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _one_judge(self) -> JudgeOracle:
        if (self.model is None) == (self.address is None):
            raise PydanticCustomError("judge", "give either 'model' or 'address'")
        if (self.address is None) == bool(self.served):
            raise PydanticCustomError("judge", "'served' names the model of an 'address', and is needed there alone")
        return self

    def model_post_init(self, context: Any) -> None:
        """Read the rubric; files are looked for in the folder that the validation's context names.

        Raises:
            BehaviorError: The file cannot be read.
        """
        folder = context.get("folder", Path()) if isinstance(context, Mapping) else Path()
        if self.model is not None:
            # Absolute, so that a run is gone on with from anywhere.
            beside = folder / self.model
            self._model = str(beside.resolve()) if beside.exists() else self.model
        if self.rubric is None:
            self._rubric = shipped_rubrics()[self.question].strip()
            return
        text = read_text(
            folder / self.rubric, _LARGEST_RUBRIC, absent="no rubric file", hint="give its path relative to the file"
        ).strip()
        if {found[1] for found in _PLACES.finditer(text)} != {"request", "answer"}:
            raise PydanticCustomError("rubric", "a rubric holds {request} and {answer}, which are filled in")
        self._rubric = text

    @property
    def may_abstain(self) -> bool:
        """It may say something else, or nothing in time."""
        return True

    @property
    def remote(self) -> str | None:
        """The address, unless it is this machine's own."""
        return None if self.address is None or is_near(self.address) else self.address

    def matches(self, text: str, context: OracleContext) -> bool | None:
        """What it says of one answer."""
        return self.judge_batch([text], [context])[0]

    def judge_batch(self, texts: Sequence[str], contexts: Sequence[OracleContext]) -> list[bool | None]:
        """What it says of many answers; errors as for `judgements`."""
        return [judgement.said for judgement in self.judgements(texts, contexts)]

    def judgements(self, texts: Sequence[str], contexts: Sequence[OracleContext]) -> list[Judgement]:
        """What it says of many answers, and how it replied: yes, no, in another form (`format`), or not at all.

        Raises:
            BehaviorError: A server cannot be reached at all.
            ControlWindowError: A local model cannot be loaded.
        """
        if not texts:
            return []
        asked = [self.asked(text, context) for text, context in zip(texts, contexts, strict=True)]
        if self.model is not None:
            replies = local_replies(self._model, asked)
        else:
            replies = remote_replies(str(self.address), self.served, asked, self.timeout, self.key_variable)
        said = [parse_reply(reply.text) if reply.failure is None else None for reply in replies]
        return [
            Judgement(verdict, reply.failure or {True: "yes", False: "no", None: "format"}[verdict])
            for verdict, reply in zip(said, replies, strict=True)
        ]

    def asked(self, text: str, context: OracleContext) -> str:
        """The rubric with a request and an answer filled in."""
        filled = {"request": transcript(context.prompt.text), "answer": text}
        # At once, so that what an answer holds is never taken for a place of the rubric.
        return _PLACES.sub(lambda place: filled[place[1]], self._rubric)

    def identity(self, languages: tuple[str, ...]) -> dict[str, Any]:
        """The rubric's hash, and the judge: a local model's fingerprint, or a server's address and model."""
        judge = (
            loaded_judge(self._model).fingerprint
            if self.model is not None
            else {"address": self.address, "served": self.served}
        )
        return {"type": self.type, "judge": judge, "rubric": hashlib.sha256(self._rubric.encode()).hexdigest()}


@lru_cache(maxsize=1)
def shipped_rubrics() -> Mapping[str, str]:
    """The shipped rubrics by question."""
    text = resources.files("controlwindow.behaviors").joinpath("rubric.toml").read_text("utf-8")
    return tomllib.loads(text)


def parse_reply(reply: str) -> bool | None:
    """The yes or no with which a reply begins; None for anything else.

    Example:
        >>> parse_reply(" **Yes**, it declines."), parse_reply("NO"), parse_reply("I cannot judge this.")
        (True, False, None)
    """
    words = words_of(caseless(reply))
    return _SAID.get(words[0]) if words else None
