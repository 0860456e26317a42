"""The atlas of a large model against one forward pass over the same text and one read of the FFN's output weights."""

from __future__ import annotations

import torch

from benchmarks.contenders import Local
from benchmarks.results import Line, Part
from benchmarks.timing import Aim, ratio, take_turns
from benchmarks.work import SIZES, Settings, random_llama
from controlwindow import predict_ceilings
from controlwindow.instruments.generic import GENERIC_TOKENS, generic_pass
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.sequences import pack
from controlwindow.models import Model


def decode(model: Model, prompts: tuple[tuple[int, ...], ...], tokens: int) -> None:
    """Transformers' greedy `generate` of the generic text, all prompts in one batch, no hook."""
    batch = model.pad(prompts)
    with measuring(model):
        model.hf_model.generate(
            **batch, do_sample=False, max_new_tokens=tokens, pad_token_id=model.pad_id,
            eos_token_id=sorted(model.stop_ids),
        )  # fmt: skip


def teacher_forced(
    model: Model, prompts: tuple[tuple[int, ...], ...], answers: tuple[tuple[int, ...], ...], rows: int = 16
) -> None:
    """One plain pass over the same text in batches, without logits or hooks."""
    for start in range(0, len(prompts), rows):
        packed = pack(model, prompts[start : start + rows], answers[start : start + rows])
        options = model.forward_options(packed.attention_mask, packed.position_ids)
        with measuring(model):
            model.decoder(input_ids=packed.input_ids, **options)


def read_weights(model: Model) -> float:
    """One streaming read of every FFN output weight."""
    total = 0.0
    for layer in model.hf_model.model.layers:
        total += float(layer.mlp.down_proj.weight.detach().sum())
    return total


def run(settings: Settings, size: str = "atlas", dtype: str = "float32") -> Part:
    """Time the atlas of a random-weights model; nothing of it is kept between repeats."""
    size = "tiny" if settings.quick else size
    settings.tell(f"building a random-weights model ({size}, {dtype})")
    model = random_llama(SIZES[size], getattr(torch, dtype), settings.device)
    text = generic_pass(model)

    def atlas() -> dict[str, object]:
        model.cache.clear()
        return {"table": predict_ceilings(model, probe=False)}

    contenders = [
        Local("atlas", "atlas", atlas, settle=settings.settle),
        Local("decode", "plain decoding of the text", lambda: decode(model, text.prompt_ids, GENERIC_TOKENS),
              settle=settings.settle),
        Local("teacher_forced", "plain teacher-forced pass over the text",
              lambda: teacher_forced(model, text.prompt_ids, text.token_ids), settle=settings.settle),
        Local("read", "read of the FFN output weights", lambda: {"sum": read_weights(model)}, settle=settings.settle),
    ]  # fmt: skip
    timings = take_turns(contenders, settings.repeats, settings.tell)
    mine, decoding, forced, read = timings.values()
    note = "the atlas decodes its text and then reads it"
    return Part(
        "atlas",
        f"atlas of {len(model.neurons)} neurons ({model.layers} layers, d {model.d_model}, {dtype})",
        [
            Line("atlas, against decoding the text plus one read of the weights", ratio(mine, decoding, read),
                 Aim("at most", 1.5), note),
            Line("atlas, against a teacher-forced pass plus one read of the weights", ratio(mine, forced, read)),
            Line("atlas, against both passes plus one read of the weights", ratio(mine, decoding, forced, read)),
        ],
        list(timings.values()),
        facts={"neurons": len(model.neurons), "prompts": len(text.prompts), "positions": text.positions},
    )  # fmt: skip
