"""The screen: a contrastive screen of the organism against plain forward passes over the same prompts."""

from __future__ import annotations

from functools import partial

import controlwindow as cw
from benchmarks.contenders import Local
from benchmarks.results import Line, Part
from benchmarks.timing import Aim, ratio, take_turns
from benchmarks.work import Settings, behavior, organism
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.moments import BATCH_TOKENS, batch_sizes
from controlwindow.models import Model


def plain_passes(model: Model, prompts: list[str], tokens: int) -> None:
    """Tokenise prompts and run each distinct one once through the decoder, by length, without logits or hooks."""
    encoded = sorted({tuple(ids) for ids in model.token_ids(prompts)}, key=lambda ids: (len(ids), ids))
    start = 0
    for size in batch_sizes([len(ids) for ids in encoded], tokens):
        batch = model.pad(encoded[start : start + size])
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        with measuring(model):
            model.decoder(input_ids=batch["input_ids"], **model.forward_options(batch["attention_mask"], positions))
        start += size


def run(settings: Settings) -> Part:
    """Time the whole screen, its table included; plain passes are given the fastest of a few batch sizes."""
    model, loaded = organism(settings.device), behavior()
    contrast = loaded.contrast("find")
    prompts = [prompt.text for prompt in (*contrast.positive, *contrast.negative)]
    prompts += generic_pass(model).prompts
    kept = BATCH_TOKENS.get(model.device.type, 16_384)
    sizes = (kept // 2, kept, 2 * kept, 4 * kept)
    tries = {size: Local("plain", "plain", partial(plain_passes, model, prompts, size)) for size in sizes}
    for attempt in tries.values():
        attempt.run()
    best = min(sizes, key=lambda size: min(tries[size].run().seconds for _ in range(3)))
    table = cw.screen(model, loaded, "contrastive")
    contenders = [
        Local("screen", "contrastive screen", lambda: {"table": cw.screen(model, loaded, "contrastive")},
              settle=settings.settle),
        Local("plain", "plain forward passes", partial(plain_passes, model, prompts, best), settle=settings.settle),
    ]  # fmt: skip
    timings = take_turns(contenders, settings.repeats, settings.tell)
    return Part(
        "screen",
        f"screen: {len(set(prompts))} prompts on {model.name}",
        [Line("screen, against plain forward passes", ratio(*timings.values()), Aim("at most", 1.1))],
        list(timings.values()),
        facts={"prompts": len(set(prompts)), "neurons_ranked": len(table), "neurons": len(model.neurons)},
    )
