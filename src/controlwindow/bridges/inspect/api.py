"""A dosed model as a model of Inspect: `--model controlwindow/NAME -M neuron=L3.N7 -M c=0.4`, or `-M run=RUN`."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from time import monotonic
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from controlwindow.bridges.batching import BATCH_ROWS, Engine, Request, engine_of
from controlwindow.bridges.inspect.waiting import answered
from controlwindow.bridges.settings import Setting, read_setting
from controlwindow.errors import UsageError
from controlwindow.instruments.rows import RowRollout, mean_coordinate
from controlwindow.models.chat import message_token_ids

KEY = "controlwindow"
"""Under this key a log says of every answer which dose gave it."""

TOKENS = 256
"""Most tokens of an answer where a task says nothing."""

_OTHERS = ("top_p", "top_k", "frequency_penalty", "presence_penalty", "logit_bias", "num_choices", "response_schema")
"""Settings that would change what is generated, and that the decode loop does not have."""

_log = getLogger(__name__)


class DosedModel(ModelAPI):  # type: ignore[misc]
    """One model under one dose; all doses of a model share its weights and its batches.

    Args:
        model_name: What `load_model` takes, or the name of a model in hand.
        base_url: Not used.
        api_key: Not used.
        config: Inspect's settings of generation.
        device: auto, cpu, cuda or cuda:N.
        dtype: Type of the weights; None for the default.
        adapter: Folder of a PEFT adapter to merge.
        dose: neuron, branch, c, t, run, behavior and positions, as `settings.read_setting` reads them.

    Raises:
        UsageError: The options name no dose, or one that is unknown.
        ModelError: The model cannot be loaded.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
        device: str = "auto",
        dtype: str | None = None,
        adapter: str | None = None,
        **dose: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        known = {"neuron", "branch", "c", "t", "run", "behavior", "positions"}
        unknown = sorted(set(dose) - known)
        if unknown:
            raise UsageError(f"unknown model argument {unknown[0]!r}", f"there are {', '.join(sorted(known))}")
        self.engine: Engine = engine_of(model_name, device=device, dtype=dtype, adapter=adapter)
        with self.engine.lock:
            self.setting: Setting = read_setting(self.engine.model, **dose)
            self.fingerprint = self.engine.model.fingerprint

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One answer, computed with whatever else is asked for meanwhile.

        Raises:
            UsageError: Tools, pictures or a way to sample are asked for that there are not.
            ModelError: A message cannot be rendered.
        """
        if tools:
            raise UsageError("a dosed model calls no tools", "use a task without tools")
        model, begun = self.engine.model, monotonic()
        (ids,) = message_token_ids(model.tokenizer, model.chat, [[_message(message) for message in input]])
        wanted = config.max_tokens or TOKENS
        # The last token is emitted and never read, so it needs no position.
        room = wanted if model.context is None else model.context - len(ids) + 1
        if room < 1:
            raise UsageError(
                f"a prompt of {len(ids)} tokens exceeds the context of {model.name} ({model.context} tokens)",
                "use a task with shorter prompts",
            )
        tokens = min(wanted, room)
        seed = self.engine.seed(config.seed, ids) if _samples(config) else None
        stops = tuple(config.stop_seqs or ())
        row = await answered(self.engine.ask(Request(tuple(ids), self.setting.operations, tokens, seed, stops)))
        return self._output(ids, row, stops, cut=tokens < wanted, seconds=monotonic() - begun)

    def _output(
        self, ids: list[int], row: RowRollout, stops: tuple[str, ...], *, cut: bool, seconds: float
    ) -> ModelOutput:
        model = self.engine.model
        text = model.decode(row.token_ids)
        found = [place for place in (text.find(stop) for stop in stops) if place >= 0]
        ended = bool(found) or bool({*row.token_ids[-1:]} & model.stop_ids)
        measured = mean_coordinate(row)
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(
                        content=text[: min(found)] if found else text, model=self.model_name, source="generate"
                    ),
                    stop_reason="stop" if ended else "model_length" if cut else "max_tokens",
                )
            ],
            usage=ModelUsage(
                input_tokens=len(ids), output_tokens=len(row.token_ids), total_tokens=len(ids) + len(row.token_ids)
            ),
            time=seconds,
            metadata={
                KEY: {
                    **self.setting.to_json(),
                    "c_measured": None if measured != measured else round(measured, 6),
                    "fingerprint": self.fingerprint,
                    "prompt_ids": ids,
                    "token_ids": list(row.token_ids),
                }
            },
        )

    def max_tokens(self) -> int | None:
        """Most tokens of an answer where a task says nothing."""
        return TOKENS

    def max_connections(self) -> int:
        """Answers that are asked for at once: a batch."""
        return BATCH_ROWS

    def connection_key(self) -> str:
        """All doses of a model share what it can do at once."""
        return f"controlwindow/{self.fingerprint}"

    def collapse_user_messages(self) -> bool:
        """Chat templates want the user's and the assistant's messages in turn."""
        return True


# The decorator gives back a function that makes one, and a class is what `isinstance` asks for.
modelapi(name="controlwindow")(DosedModel)


def _message(message: ChatMessage) -> Mapping[str, str]:
    if message.role not in ("system", "user", "assistant"):
        raise UsageError(f"a message of the role {message.role} cannot be rendered", "use a task without tools")
    if not isinstance(message.content, str) and any(part.type != "text" for part in message.content):
        raise UsageError("a message holds more than text", "use a task of texts alone")
    return {"role": message.role, "content": message.text}


def _samples(config: GenerateConfig) -> bool:
    """Whether to sample at temperature 1; greedy where nothing is said.

    Raises:
        UsageError: Another way to generate is asked for.
    """
    for name in _OTHERS:
        value = getattr(config, name, None)
        if value is not None and value != {"top_p": 1, "num_choices": 1}.get(name):
            raise UsageError(
                f"{name} is {value!r}, and answers are greedy or sampled at temperature 1", f"leave {name} out"
            )
    if config.temperature in (None, 0, 0.0):
        return False
    if config.temperature == 1:
        return True
    raise UsageError(
        f"temperature is {config.temperature}, and answers are greedy or sampled at temperature 1",
        "give --temperature 0 or --temperature 1",
    )
