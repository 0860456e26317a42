"""What the ledger says of a model, the libraries and a behavior, so that a report needs neither file nor model."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.agreement_files import agreement_records
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
        "notes": [*model.chat.notes, *_unheeded(model)],
    }


_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "sequence_bias": (None,),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "exponential_decay_length_penalty": (None,),
    "guidance_scale": (None, 1.0),
    "num_beams": (None, 1),
    "penalty_alpha": (None,),
    "dola_layers": (None,),
    "stop_strings": (None, []),
    "watermarking_config": (None,),
    "token_healing": (None, False),
    "force_words_ids": (None,),
    "constraints": (None,),
    "diversity_penalty": (None, 0.0),
    "max_time": (None,),
}
"""Settings that Transformers' greedy `generate` obeys, with the values under which they change nothing."""


def _unheeded(model: Model) -> list[str]:
    """What the checkpoint's generation settings ask for and rollouts, which are plain greedy decoding, do not do."""
    settings = getattr(model.hf_model, "generation_config", None)
    found = [
        f"{name} {value!r}"
        for name, neutral in _NEUTRAL.items()
        if (value := getattr(settings, name, None)) not in neutral
    ]
    if not found:
        return []
    return [f"The checkpoint's generation settings ask for {', '.join(found)}; rollouts are greedy and leave it out."]


def rendering(model: Model) -> str:
    """Hash of the token ids that ordinary prompts become: template, date, switches and tokenizer."""
    return model.rendering_fingerprint(PROBES)[:16]


def behavior_record(behavior: Behavior) -> dict[str, Any]:
    """What the ledger says of a behavior."""
    judges = {
        name: oracle.identity(behavior.languages)
        for name, oracle in behavior.definition.oracles.items()
        if oracle.remembered
    }
    agreement = agreement_records(behavior)
    return {
        **({"judges": judges} if judges else {}),
        **({"agreement": agreement} if agreement else {}),
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
