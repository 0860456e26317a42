"""What the ledger says of a model, the libraries and a behavior, so that a report needs neither file nor model."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.prompts import SPLITS
from controlwindow.models import Model
from controlwindow.models.chat import PROBES, transcript

_LIBRARIES = ("controlwindow", "torch", "transformers", "tokenizers", "numpy", "scipy", "polars", "py3langid")


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


def origin_record(model: Model) -> dict[str, Any]:
    """How the weights came about and how prompts are rendered, for manifest and report."""
    return {
        "quantisation": model.quantisation,
        "file_sha256": model.file_sha256,
        "adapter": None if model.adapter is None else {"name": model.adapter.name, "sha256": model.adapter.sha256},
        "date": model.chat.date,
        "rendering": rendering(model),
        "example": str(model.tokenizer.decode(model.token_ids([PROBES[0]])[0])),
        "notes": list(model.chat.notes),
    }


def rendering(model: Model) -> str:
    """Hash of the token ids that ordinary prompts become: template, date, switches and tokenizer."""
    return model.rendering_fingerprint(PROBES)[:16]


def behavior_record(behavior: Behavior) -> dict[str, Any]:
    """What the ledger says of a behavior."""
    return {
        "name": behavior.name,
        "description": behavior.description,
        "sensitive": behavior.sensitive,
        "languages": list(behavior.languages),
        "horizons": list(behavior.horizons),
        "outcomes": list(behavior.outcomes),
        "source_outcome": behavior.source_outcome,
        "target_outcomes": sorted(behavior.target_outcomes),
        "threshold": behavior.threshold,
        "positions": behavior.positions,
        "prompts": {split: len(behavior.prompts(split)) for split in SPLITS},
        "split_fingerprints": behavior.split_fingerprints,
        "fingerprint": behavior.fingerprint,
        "texts": {p.id: transcript(p.text) for p in behavior.prompts("evaluate")},
    }
