"""The plan of an audit: everything its results depend on, committed before anything is measured."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from controlwindow.models import Model

DECIDING = ("torch", "transformers")
"""Libraries whose version may change what a model generates."""

_LIBRARIES = ("controlwindow", "torch", "transformers", "tokenizers", "numpy", "scipy", "polars", "py3langid")


class BehaviorReference(BaseModel):
    """A behavior as planned: what it was loaded from, and its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    fingerprint: str


class AuditPlan(BaseModel):
    """What an audit does.

    Attributes:
        run: The run's name.
        model: The model's name.
        source: What it was loaded from; None for a model in hand.
        fingerprint: Its weights hash.
        system_prompt: The system message, if any.
        dtype: Type of the weights.
        device: Kind of device, since rounding differs between them.
        chat_template: Hash of the chat template, if any.
        behaviors: The behaviors.
        neurons: Neurons named by the user.
        screen: The screen whose top is tested.
        top: How many of the screen's top, and how many at random.
        planted: Whether an organism's planted neurons are tested.
        seed: Seed of everything random.
        generic_prompts: Ordinary prompts given by the user; None for the default.
        chunk_rows: Most rows of a chunk.
        include_completions: Whether reports show completions of sensitive behaviors.
        include_neurons: Whether reports on other models than organisms name neurons of sensitive behaviors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    model: str
    source: str | None
    fingerprint: str
    system_prompt: str | None
    dtype: str
    device: str = "cpu"
    chat_template: str | None = None
    behaviors: tuple[BehaviorReference, ...]
    neurons: tuple[str, ...] = ()
    screen: str = "contrastive"
    top: Annotated[int, Field(ge=0)] = 4
    planted: bool = True
    seed: int = 0
    generic_prompts: tuple[str, ...] | None = None
    chunk_rows: int = 512
    include_completions: bool = False
    include_neurons: bool = False

    def differences(self, other: AuditPlan) -> list[str]:
        """Keys in which two plans would measure something else; what only the report shows does not count."""
        ignored = {"run", "source", "include_completions", "include_neurons"}
        mine, theirs = self.model_dump(exclude=ignored), other.model_dump(exclude=ignored)
        for plan in (mine, theirs):
            plan["behaviors"] = [(b["name"], b["fingerprint"]) for b in plan["behaviors"]]
        return [key for key in mine if mine[key] != theirs[key]]


def library_versions() -> dict[str, str]:
    """Versions of what results depend on."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def model_record(model: Model) -> dict[str, Any]:
    """What a report says of the model."""
    return {
        "name": model.name,
        "source": model.source or "in hand",
        "fingerprint": model.fingerprint,
        "family": model.family.name,
        "layers": model.layers,
        "neurons_total": len(model.neurons),
        "d_model": model.d_model,
        "dtype": str(model.dtype).removeprefix("torch."),
        "chat_template": model.chat.template,
        "system_prompt": model.chat.system_prompt,
        "thinking": model.chat.thinking,
        "organism": model.organism is not None,
    }
