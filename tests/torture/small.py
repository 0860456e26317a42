"""The cheapest run of every kind, and what is worth doing once for a thousand of them.

A kill costs a run and a half. So the model has a few thousand weights and behaviors have as few prompts as are allowed.
What depends on the model alone (loading, hooks' self-proof, generic text, detector, renderings) and a page of equal
results are made once. What is killed is all that a run measures and writes.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

import controlwindow.models
from controlwindow import catalogue
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.instruments.proof import prove_hooks
from controlwindow.measuring.detector import fit_detector
from controlwindow.models import load_model, templates
from controlwindow.report.pages.audit.page import render_page
from controlwindow.report.pages.circuit.page import render_circuit
from controlwindow.report.pages.compare.page import render_comparison
from controlwindow.report.pages.law.page import render_law
from controlwindow.report.pages.probe.page import render_probe
from controlwindow.runs.kinds import kind_names
from tiny_models import CHAT_TEMPLATE, llama_in_hand, tokenizer

ORGANISM = "organism:switch"
_FROM_THE_MODEL = (prove_hooks, fit_detector, templates._ask)
_FROM_RESULTS = (render_page, render_circuit, render_comparison, render_law, render_probe)
_HEADS = {
    "secret": 'sensitive = true\nhorizons = [2, 4]\noracles.target = {type = "regex", pattern = "[a-l]$"}\n',
    "open": 'horizons = [4]\noracles.target = {type = "regex", pattern = "[f-z]$"}\n',
}
_REST = """
minimum_eligible = 2
prompts.file = "prompts.jsonl"
perturbation.kind = "contrast"

[log_odds]
target = ["sky", "cat"]
control = ["bread", "paper", "blue"]
"""


def write_small(directory: Path) -> dict[str, list[str]]:
    """Write a model and two behaviors, and have the model stand in the place of an organism.

    Returns:
        By kind of run the words that begin it, all but where its directory lies.
    """
    model = directory / "small"
    sizes = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2}
    llama_in_hand(**sizes).save_pretrained(model)
    tokenizer(CHAT_TEMPLATE).save_pretrained(model)
    card = json.loads((catalogue.organism_path(ORGANISM) / catalogue.CARD_FILE).read_text("utf-8"))
    planted = [{"neuron": "L0.N1", "behavior": "open", "by": "dose", "branch": 1}]
    card |= {
        "planted": planted,
        "known": [],
        "behaviors": ["open"],
        "census": None,
        "generic_prompts": CHAT_PROMPTS[:8],
    }
    (model / catalogue.CARD_FILE).write_text(json.dumps(card), "utf-8")
    catalogue._folder = lambda name: model
    rows = [
        {"text": text, "split": split, "role": role}
        for split, part in (("find", slice(8)), ("select", slice(8, 16)), ("evaluate", slice(16, None)))
        for role, texts in (("positive", CHAT_PROMPTS), ("negative", TEXT_PROMPTS))
        for text in texts[part]
    ]
    (directory / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    for name, head in _HEADS.items():
        (directory / f"{name}.toml").write_text(f'name = "{name}"\n{head}{_REST}', "utf-8")
    secret, opened = str(directory / "secret.toml"), str(directory / "open.toml")
    return {
        "audit": ["audit", str(model), "-b", secret, "-n", "L0.N1", "--top", "1", "--screen", "readout",
                  "--include-neurons"],
        "circuit": ["circuit", str(model), "-b", opened, "--top", "2", "--factor", "0", "--seeds", "1", "--no-base",
                    "--screen", "readout"],
        "probe": ["probe", str(model), "-b", opened, "--sizes", "1"],
        "comparison": ["compare", str(model), "-b", opened, "-n", "L0.N1", "--method", "add", "--method",
                       "mean_difference", "--level", "0.5"],
        "law": ["validate", str(model), "-b", opened, "--calibration", "2", "--held-out", "2", "--screened", "0",
                "--natural", "0", "--prompts", "8", "--detailed", "0", "--screen", "readout", "--tier", "0"],
        "census": ["organisms", "census", "switch", "-b", opened, "--neurons", "2", "--prompts", "8"],
    }  # fmt: skip


def keep_at_hand(words: dict[str, list[str]], folder: Path) -> None:
    """Do once what every run of this process's children would do again.

    Args:
        words: What `write_small` gave.
        folder: Where what children have found lies for the next ones.
    """
    torch.set_num_threads(1)
    kind_names()
    folder.mkdir()
    _everywhere(load_model, cache(lambda source, **options: load_model(str(source))))
    for function in _FROM_THE_MODEL:
        _everywhere(function, _remembered(function, folder))
    for function in _FROM_RESULTS:
        _everywhere(function, _remembered(function, folder))
    for source in (words["audit"][1], ORGANISM):
        generic_pass(controlwindow.models.load_model(source))
    gc.collect()
    gc.freeze()


def _remembered(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    def remembered(*given: Any, **options: Any) -> Any:
        text = "\n".join(map(_key, (function.__qualname__, *given, *options.values())))
        known = folder / hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if known.exists():
            return pickle.loads(known.read_bytes())
        found = function(*given, **options)
        half = folder / f"{os.getpid()}"
        half.write_bytes(pickle.dumps(found))
        # Not `replace`, which is one of the points at which runs are killed.
        half.rename(known)
        return found

    return remembered


def _key(value: Any) -> str:
    return str(getattr(value, "fingerprint", None) or value)


def _everywhere(function: Any, instead: Any) -> None:
    """Put a function in the place of another in all modules that know it by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("controlwindow"):
            for key, value in list(vars(module).items()):
                if value is function:
                    setattr(module, key, instead)
