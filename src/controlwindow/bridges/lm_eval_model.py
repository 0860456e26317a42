"""A dosed model as a model of lm-eval: `DosedLM` in Python, or `python -m controlwindow.bridges.lm_eval_model`.

It is lm-eval's own model of Transformers, whose every pass runs under `dosed`; so batching, log-likelihoods and
generation are lm-eval's; greedy answers are those of `rollout`, unless the checkpoint's generation settings say more.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.registry import model_registry
from lm_eval.models.huggingface import HFLM

from controlwindow.bridges.settings import Setting, read_setting
from controlwindow.errors import ControlWindowError, UsageError
from controlwindow.instruments.dosed import dosed
from controlwindow.models import Model, load_model
from controlwindow.models.chat import message_text

NAME = "controlwindow"


class DosedLM(HFLM):  # type: ignore[misc]
    """One model under one dose.

    Args:
        pretrained: What `load_model` takes, or a model in hand.
        device: auto, cpu, cuda or cuda:N.
        dtype: Type of the weights; None for the default.
        adapter: Folder of a PEFT adapter to merge.
        batch_size: As lm-eval takes it.
        max_batch_size: Likewise.
        max_length: Likewise.
        neuron: As for `settings.read_setting`, and so the following ones.
        branch: The branch.
        c: Control coordinate.
        t: Dose in budget units.
        run: An audit's directory.
        behavior: Whose window of it.
        options: Whatever else lm-eval's model of Transformers takes.

    Raises:
        UsageError: The options name no dose, or one that is unknown, or positions other than all.
        ModelError: The model cannot be loaded.
    """

    def __init__(
        self,
        pretrained: str | Model,
        *,
        device: str | None = "auto",
        dtype: str | None = None,
        adapter: str | None = None,
        batch_size: int | str | None = 1,
        max_batch_size: int | None = 64,
        max_length: int | None = None,
        neuron: str | None = None,
        branch: int | str = 1,
        c: float | str | None = None,
        t: float | str | None = None,
        run: str | None = None,
        behavior: str | None = None,
        **options: Any,
    ) -> None:
        if options.pop("positions", "all") != "all":
            raise UsageError(
                "lm-eval scores texts that are given, and in them no position was generated",
                "leave positions out: the dose is added at all of them",
            )
        loaded = (
            pretrained
            if isinstance(pretrained, Model)
            else load_model(
                pretrained,
                device="auto" if device is None or _is_default(device) else device,
                dtype=None if dtype == "auto" else dtype,
                adapter=None if adapter is None else Path(adapter),
            )
        )
        self.controlwindow = loaded
        # lm-eval scores whole texts padded on the right, where a last column is nobody's first generated position.
        self.setting: Setting = read_setting(
            loaded, neuron=neuron, branch=branch, c=c, t=t, run=run, behavior=behavior, positions="all"
        )
        super().__init__(
            pretrained=loaded.hf_model,
            # lm-eval sets padding on it, and the model in hand comes back as it was.
            tokenizer=deepcopy(loaded.tokenizer),
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            max_length=max_length or loaded.context,
            **options,
        )

    def _dosed(self) -> AbstractContextManager[Any]:
        return dosed(self.controlwindow, self.setting.operations)

    def _model_call(self, *args: Any, **kwargs: Any) -> Any:
        with self._dosed():
            return super()._model_call(*args, **kwargs)

    def _model_generate(self, context: Any, max_length: int, *args: Any, **kwargs: Any) -> Any:
        # A checkpoint's own max_new_tokens would go before lm-eval's max_length.
        kwargs.setdefault("max_new_tokens", max_length - context.shape[1])
        with self._dosed():
            return super()._model_generate(context, max_length, *args, **kwargs)

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the model is given it everywhere else in this package.

        Raises:
            UsageError: An answer is begun for the model.
            ModelError: The template refuses a message, or there is none.
        """
        if not add_generation_prompt:
            raise UsageError("an answer that is begun for the model is not supported", "leave gen_prefix out")
        return message_text(self.controlwindow.tokenizer, self.controlwindow.chat, chat_history)

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes beside its results: the model, its weights, and the dose."""
        return {
            "model_name": self.controlwindow.name,
            "model_sha": self.controlwindow.fingerprint,
            "model_dtype": str(self.controlwindow.dtype),
            "model_num_parameters": sum(p.numel() for p in self.controlwindow.hf_model.parameters()),
            "controlwindow": self.setting.to_json(),
        }


def _is_default(device: str) -> bool:
    """Whether a device is what lm-eval's command line says where nobody said anything, and there is none."""
    return device in ("cuda", "cuda:0") and not torch.cuda.is_available()


if NAME not in model_registry:
    model_registry.register(NAME, target=DosedLM)


def main() -> None:
    """Run lm-eval's own command line, which then knows the model `controlwindow`.

    The versions of lm-eval that this was tried with (0.4.13) read no entry points; one that does needs no wrapper.
    """
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except ControlWindowError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
