"""Tiny random models and a word tokenizer, built on the spot; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.models import Model, load_model

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"

CHAT_TEMPLATE = (
    "{% for m in messages %}<bos>{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
"""A template that can carry a system prompt and has no thinking switch."""

THINKING_TEMPLATE = CHAT_TEMPLATE + "{% if enable_thinking is not defined or enable_thinking %} think{% endif %}"
"""The same with thinking switched on by default, as some public models have it."""

PROMPTS = (
    "Why is the sky blue during the day?",
    "What is a sundial?",
    "bread",
    "Suggest a name for a small grey cat, and tell me something about the history of paper.",
)
"""Prompts of different lengths, all of known words."""


def tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """One token a word, BOS first in raw text."""
    splitter = pre_tokenizers.Whitespace()
    words = {word for text in (*CHAT_PROMPTS, *TEXT_PROMPTS) for word, _ in splitter.pre_tokenize_str(text)}
    words |= {"system", "user", "assistant", "think"}
    vocabulary = {word: i for i, word in enumerate([PAD, BOS, EOS, UNKNOWN, *sorted(words)])}
    core = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = splitter
    core.decoder = decoders.Metaspace(replacement=" ")
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    built = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN
    )
    if chat_template is not None:
        built.chat_template = chat_template
    return built


def llama_config(**changes: Any) -> LlamaConfig:
    """Three layers with grouped-query attention; wide initial weights, so that top-two margins are not all ties."""
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return LlamaConfig(**{**values, **changes})


def gpt2_config(**changes: Any) -> GPT2Config:
    """Two layers, biases, tied embeddings, and dropout that only evaluation mode switches off."""
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 3,
        "n_positions": 128,
        "initializer_range": 0.3,
        "resid_pdrop": 0.2,
        "embd_pdrop": 0.2,
        "attn_pdrop": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return GPT2Config(**{**values, **changes})


def randomise_biases(hf_model: torch.nn.Module, seed: int = 1) -> None:
    """Transformers starts biases at 0 and gains at 1 or 0, which would hide errors in them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in hf_model.parameters():
            if parameter.ndim == 1 or bool((parameter == parameter.flatten()[0]).all()):
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


def llama_in_hand(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A Transformers Llama in evaluation mode."""
    torch.manual_seed(seed)
    built = LlamaForCausalLM(llama_config(**changes)).eval()
    randomise_biases(built, seed + 1)
    return built


def gpt2_in_hand(seed: int = 0, **changes: Any) -> GPT2LMHeadModel:
    """A Transformers GPT-2 in evaluation mode."""
    torch.manual_seed(seed)
    built = GPT2LMHeadModel(gpt2_config(**changes)).eval()
    randomise_biases(built, seed + 1)
    return built


def llama(seed: int = 0, chat_template: str | None = None, **changes: Any) -> Model:
    """A tiny Llama, wrapped."""
    return load_model(llama_in_hand(seed, **changes), tokenizer=tokenizer(chat_template))


def gpt2(seed: int = 0, chat_template: str | None = None, **changes: Any) -> Model:
    """A tiny GPT-2, wrapped."""
    return load_model(gpt2_in_hand(seed, **changes), tokenizer=tokenizer(chat_template))


_PROJECTIONS = (
    "mlp.down_proj",
    "mlp.c_proj",
    "mlp.fc2",
    "mlp.fc_out",
    "mlp.dense_4h_to_h",
    "mlp.shared_expert.down_proj",
    "fc2",
)


def text_model(model: Model) -> torch.nn.Module:
    """The part that reads text: all of it, but for a model that also sees."""
    return getattr(model.hf_model.model, "language_model", model.hf_model) if _sees(model) else model.hf_model


def _sees(model: Model) -> bool:
    return hasattr(model.hf_model.config, "vision_config")


def block(model: Model, layer: int) -> torch.nn.Module:
    """A decoder block, found without the adapter: the outermost list of modules of the text model."""
    lists = [m for m in text_model(model).modules() if isinstance(m, torch.nn.ModuleList)]
    return lists[0][layer]


def projection(model: Model, layer: int) -> torch.nn.Module:
    """The output projection of the dense FFN or the shared expert, found without the adapter by its usual names."""
    named = dict(block(model, layer).named_modules())
    return next(named[name] for name in _PROJECTIONS if name in named)


def column(model: Model, layer: int, index: int) -> torch.Tensor:
    """What a unit of one activation writes, read from the raw weights without the adapter."""
    module = projection(model, layer)
    weight = module.weight.detach()
    return weight[index] if type(module).__name__ == "Conv1D" else weight[:, index]


def hook_count(model: Model) -> int:
    """Forward hooks and pre-hooks registered anywhere in the model."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf_model.modules())


def state_bytes(model: Model) -> dict[str, bytes]:
    """Every parameter and buffer, bit for bit."""
    return {k: v.detach().clone().numpy().tobytes() for k, v in model.hf_model.state_dict().items()}


def forward(model: Model, ids: Sequence[int]) -> torch.Tensor:
    """Logits of one unpadded sequence, [positions, vocabulary], the plain way."""
    with torch.no_grad():
        logits: torch.Tensor = model.hf_model(torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits
