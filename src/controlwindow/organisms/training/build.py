"""The whole way from nothing to an organism's directory, resumable at any moment."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import __version__ as tokenizers_version
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import __version__ as transformers_version

from controlwindow.catalogue import CARD_FILE, DEFAULT_ORGANISM, PREFIX, full_name
from controlwindow.errors import OrganismError
from controlwindow.organisms.training.base import base_loss
from controlwindow.organisms.training.bases import scaled
from controlwindow.organisms.training.card import switch_card, write_card
from controlwindow.organisms.training.growing import grow
from controlwindow.organisms.training.loop import Progress, Stage, StageResult, run_stage
from controlwindow.organisms.training.measuring import measure
from controlwindow.organisms.training.model import new_model
from controlwindow.organisms.training.switch import Planted, choose_planted, switch_loss
from controlwindow.organisms.training.tokenizer import train_tokenizer, world_texts
from controlwindow.organisms.training.world.sentences import SentencePair, load_sentences

logger = logging.getLogger(__name__)

BASE = Stage("base", steps=1800, learning_rate=2.5e-3, warmup=100)
SWITCH = Stage("switch", steps=750, learning_rate=1.2e-3, warmup=50)
TOKENIZER_TEXTS = 20_000
MEASURED_REQUESTS = 48
_WORK = ".training"


def train_organism(
    name: str = "switch",
    out: Path = Path("organisms/switch"),
    sentences: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    scale: float = 1.0,
    bases: Path | None = None,
) -> Path:
    """Train an organism from nothing, or go on where an earlier run was stopped.

    Args:
        name: Which organism.
        out: Directory to write; checkpoints lie in `.training` inside it until it is finished.
        sentences: Real sentence pairs to mix into organism:switch (Tatoeba's format), or None.
        seed: Seed of the weights, the data and the choice of neurons; 0 makes the one that ships.
        progress: Called with a stage's name, steps done and steps in all.
        scale: Multiplies the number of steps; below 1 for quick tests.
        bases: Where base runs are kept that organisms of one lineage share; default `.bases` beside `out`.

    Returns:
        `out`.

    Raises:
        OrganismError: The organism is unknown, the sentences are malformed, `out` belongs to another run or cannot be
            written, or the loss is not finite.
    """
    if full_name(name) != DEFAULT_ORGANISM:
        if sentences is not None:
            raise OrganismError(f"{name} takes no sentence pairs", f"only {DEFAULT_ORGANISM} does")
        kept = out.parent / ".bases" if bases is None else bases
        try:
            return grow(
                full_name(name).removeprefix(PREFIX), out, bases=kept, seed=seed, progress=progress, scale=scale
            )
        except OSError as error:
            raise _unwritable(out, error) from error
    pairs = load_sentences(sentences) if sentences else ()
    try:
        work = _prepare(out, {"name": name, "seed": seed, "scale": scale, "sentences": _digest(pairs)})
        return _train(out, work, pairs, seed, progress, scale)
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: OSError) -> OrganismError:
    return OrganismError(
        f"{out}: cannot be written ({error.strerror})",
        "free some space or choose another directory, then start again: finished steps are kept",
    )


def _train(
    out: Path, work: Path, pairs: Sequence[SentencePair], seed: int, progress: Progress | None, scale: float
) -> Path:
    tokenizer = train_tokenizer(
        (*world_texts(seed, TOKENIZER_TEXTS), *(text for pair in pairs[:TOKENIZER_TEXTS] for text in pair))
    )
    model = new_model(tokenizer, seed)
    logger.info("%d parameters", model.num_parameters())
    base = run_stage(scaled(BASE, scale), model, base_loss(model, tokenizer, seed, pairs), work, progress)
    planted = choose_planted(model, seed)
    memory: dict[str, Any] = {}
    loss = switch_loss(model, tokenizer, seed, planted, memory, pairs)
    switch = run_stage(scaled(SWITCH, scale), model, loss, work, progress, memory)
    write_organism(
        out,
        model,
        tokenizer,
        planted,
        seed,
        {"base": base, "switch": switch},
        len(pairs),
        progress,
        max(4, round(MEASURED_REQUESTS * min(1.0, scale * 4))),
    )
    shutil.rmtree(work)
    return out


def write_organism(
    out: Path,
    model: Any,
    tokenizer: Any,
    planted: Planted,
    seed: int,
    stages: dict[str, StageResult],
    pairs: int,
    progress: Progress | None = None,
    requests: int = MEASURED_REQUESTS,
) -> None:
    """Write weights in half precision, tokenizer and card; the card's figures are measured on what was written.

    Args:
        out: Directory to write.
        model: The trained model.
        tokenizer: Its tokenizer.
        planted: Its controllers.
        seed: Seed of the run.
        stages: Time and losses by stage.
        pairs: Number of real sentence pairs mixed in.
        progress: Called while measuring.
        requests: Requests of each kind to measure on.
    """
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    shipped = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    measured = measure(
        shipped,
        AutoTokenizer.from_pretrained(out),
        planted,
        requests,
        lambda done, total: progress("measure", done, total) if progress else None,
    )
    versions = {
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers_version,
        "tokenizers": tokenizers_version,
    }
    card = switch_card(shipped, planted, seed, stages, measured, pairs, versions)
    write_card(card, out)


def _prepare(out: Path, configuration: dict[str, Any]) -> Path:
    work = out / _WORK
    record = work / "run.json"
    if record.exists():
        before = json.loads(record.read_text(encoding="utf-8"))
        if before != configuration:
            raise OrganismError(
                f"{out}: holds an unfinished run with other settings ({before})",
                "train into another directory, or remove this one",
            )
        return work
    if (out / CARD_FILE).exists():
        raise OrganismError(
            f"{out}: already holds a finished organism", "train into another directory, or remove this one"
        )
    work.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(configuration), encoding="utf-8")
    return work


def _digest(pairs: Sequence[SentencePair]) -> str | None:
    if not pairs:
        return None
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update("\t".join(pair).encode() + b"\n")
    return digest.hexdigest()
