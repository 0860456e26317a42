"""A loaded model as every other part sees it: blocks, neurons, prompts, provenance."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import BatchEncoding

from controlwindow.errors import ModelError, NeuronError, UsageError
from controlwindow.models.adapters import Family, blocks_of
from controlwindow.models.chat import ChatFormat, prompt_token_ids
from controlwindow.models.feedforward import FeedForward, PostNorm, feed_forward
from controlwindow.models.neuron import Neuron, Neurons
from controlwindow.models.positions import steady_lengths
from controlwindow.models.weights import WeightBound
from controlwindow.text import printable


class MergedAdapter(NamedTuple):
    """A PEFT adapter that was merged into a model's weights when it was loaded.

    Attributes:
        name: The name of its folder.
        source: The folder as it was given, for loading it again.
        sha256: SHA-256 over its configuration and its weights.
    """

    name: str
    source: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model with its tokenizer and adapter. Made by `load_model`.

    Attributes:
        hf_model: The Transformers model; it comes back from every call exactly as it was.
        tokenizer: Its tokenizer.
        family: The adapter entry.
        chat: How prompts are wrapped.
        name: What tables call it: `organism:switch`, a directory's name, a hub id.
        source: What `load_model` was given, for resuming; None for a model in hand.
        organism: The organism's name if the package ships it, else None.
        generic_prompts: What its generic text answers where it has prompts of its own, as organisms have; else empty.
        cache: Derived statistics that are costly to recompute, keyed by what they depend on; emptied when a weight is
            changed.
        adapter: The PEFT adapter that was merged on loading, if there was one.
        quantisation: How a GGUF file held the weights that are here dequantised; None for weights taken as they are.
        file_sha256: SHA-256 of that GGUF file.
    """

    hf_model: Any
    tokenizer: Any
    family: Family
    chat: ChatFormat
    name: str
    source: str | None = None
    organism: str | None = None
    generic_prompts: tuple[str, ...] = ()
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)
    adapter: MergedAdapter | None = None
    quantisation: str | None = None
    file_sha256: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache", WeightBound(self.hf_model, dict(self.cache)))

    @cached_property
    def blocks(self) -> tuple[nn.Module, ...]:
        """Decoder blocks in order."""
        return blocks_of(self.hf_model, self.family)

    @property
    def config(self) -> Any:
        """The configuration of the text model; that of a multimodal wrapper holds it."""
        return self.hf_model.config.get_text_config()

    @cached_property
    def ffn(self) -> tuple[FeedForward, ...]:
        """Each block's FFN: its output projection, at whose input a dose enters, and its experts."""
        return tuple(
            feed_forward(layer, block, self.family, self.residual_multiplier) for layer, block in enumerate(self.blocks)
        )

    def attention_output(self, layer: int) -> nn.Module:
        """The output projection of a layer's attention, before any norm or multiplier."""
        return self.blocks[layer].get_submodule(self.family.attention_output)

    def attention_landing(self, layer: int) -> nn.Module:
        """The module whose output, times `residual_multiplier`, is what attention adds to the residual stream."""
        return self.blocks[layer].get_submodule(self.family.attention_norm or self.family.attention_output)

    @cached_property
    def neurons(self) -> Neurons:
        """Every FFN neuron, all experts included."""
        return Neurons([ffn.shape for ffn in self.ffn])

    @cached_property
    def decoder(self) -> nn.Module:
        """The module from token ids to final-normed hidden states, so that a caller can skip the readout.

        It takes what `forward_options` gives and returns the hidden states, [rows, positions, d_model], as its first
        output, `last_hidden_state`.
        """
        decoder: nn.Module = self.hf_model.get_submodule(self.family.decoder)
        return decoder

    def readout(self, hidden: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of final-normed hidden states, [..., vocabulary], bitwise as the causal language model reads them.

        Args:
            hidden: What `decoder` returns, [..., d_model].
            tokens: Read these tokens alone, [tokens], at the price of as many rows of the readout; they are equal to
                rounding then.
        """
        family, config = self.family, self.config
        embeddings: Any = self.hf_model.get_output_embeddings()
        if tokens is None:
            logits: torch.Tensor = embeddings(hidden)
        else:
            bias = getattr(embeddings, "bias", None)
            logits = nn.functional.linear(hidden, embeddings.weight[tokens], None if bias is None else bias[tokens])
        if family.logit_multiplier is not None:
            logits = logits * getattr(config, family.logit_multiplier)
        if family.logit_divisor is not None:
            logits = logits / getattr(config, family.logit_divisor)
        cap = None if family.softcap is None else getattr(config, family.softcap)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def forward_options(
        self, attention_mask: torch.Tensor, position_ids: torch.Tensor, cache: Any = None
    ) -> dict[str, Any]:
        """Mask, positions and cache as the keyword arguments that this family's forward pass takes.

        Args:
            attention_mask: [rows, cached and new positions]; 0 on padding.
            position_ids: [rows, new positions]. A family without them (Bloom) derives positions from the mask.
            cache: The key-value cache; None runs without one.
        """
        options: dict[str, Any] = {"attention_mask": attention_mask, "use_cache": cache is not None}
        if self.family.takes_positions:
            options["position_ids"] = position_ids
        if cache is not None:
            options[self._cache_name] = cache
        return options

    @cached_property
    def _cache_name(self) -> str:
        # Transformers 5.24 renamed past_key_values to cache.
        return "cache" if "cache" in inspect.signature(self.decoder.forward).parameters else "past_key_values"

    def ffn_reader(self, layer: int) -> nn.Module | None:
        """The module that reads what a block's attention has added to the residual; None where the two are parallel."""
        if self.parallel_residual:
            return None
        return self.blocks[layer].get_submodule(self.family.ffn_reader)

    def post_norm(self, layer: int) -> PostNorm | None:
        """The norm between a layer's FFN output and the residual add, if the family has one."""
        return self.ffn[layer].post_norm

    @property
    def residual_multiplier(self) -> float:
        """What the outputs of attention and FFN are multiplied by before the residual add."""
        attribute = self.family.residual_multiplier
        return 1.0 if attribute is None else float(getattr(self.config, attribute))

    @property
    def parallel_residual(self) -> bool:
        """Whether attention and FFN of a block read the same residual."""
        parallel = self.family.parallel
        if isinstance(parallel, bool):
            return parallel
        return any(bool(getattr(self.config, attribute)) for attribute in parallel)

    @property
    def context(self) -> int | None:
        """Longest sequence that can be measured; None where nothing bounds it.

        That is what the positions reach, or less: rotary frequencies of some models change for the whole batch once a
        row of it passes a length, so that beyond it a row would depend on those beside it.
        """
        bounds = [getattr(self.config, "max_position_embeddings", None), *steady_lengths(self.config)]
        return min((int(bound) for bound in bounds if bound is not None), default=None)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.config.hidden_size)

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        device: torch.device = next(iter(self.hf_model.parameters())).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters."""
        dtype: torch.dtype = next(iter(self.hf_model.parameters())).dtype
        return dtype

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every parameter's name, type, shape and bytes, as they are now."""
        if "fingerprint" not in self.cache:
            digest = hashlib.sha256()
            for name, parameter in sorted(self.hf_model.named_parameters()):
                digest.update(f"{name}|{parameter.dtype}|{tuple(parameter.shape)}|".encode())
                digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
            self.cache["fingerprint"] = digest.hexdigest()
        return str(self.cache["fingerprint"])

    def check_kept(self) -> None:
        """Forget what is kept of the model if weights were edited past PyTorch's counter.

        Reads them all, at the speed of memory; edits that PyTorch counts are noticed without this.
        """
        assert isinstance(self.cache, WeightBound)
        self.cache.verify(list(self.hf_model.parameters()))

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a rollout, as Transformers' `generate` would use them.

        Raises:
            ModelError: The generation configuration names something else.
        """
        configured = getattr(self.hf_model.generation_config, "eos_token_id", None)
        if configured is None:
            configured = self.tokenizer.eos_token_id
        if configured is None:
            return frozenset()
        tokens = [configured] if type(configured) is int else configured
        if not isinstance(tokens, list | tuple) or not all(type(token) is int for token in tokens):
            raise ModelError(
                f"{self.name} names {configured!r} as its end of text (eos_token_id)"[:300],
                "set eos_token_id in generation_config.json to a token's number, or to a list of them",
            )
        return frozenset(tokens)

    @property
    def pad_id(self) -> int:
        """Token used for padding; it is masked, so any id that has an embedding serves."""
        rows = self.embeddings
        candidates = (self.tokenizer.pad_token_id, *sorted(self.stop_ids), 0)
        return next(int(token) for token in candidates if token is not None and 0 <= int(token) < rows)

    @property
    def embeddings(self) -> int:
        """Number of tokens that have an embedding; a tokenizer may know more, and then fewer are the model's."""
        return int(self.hf_model.get_input_embeddings().weight.shape[0])

    def require(self, neuron: Neuron | str) -> Neuron:
        """Read a neuron and check that this model has it.

        Raises:
            NeuronError: The name is malformed or lies outside the model.
        """
        neuron = Neuron.parse(neuron)
        if neuron not in self.neurons:
            raise NeuronError(f"{neuron} is not in {self.name}", self._size_hint(neuron))
        return neuron

    def _size_hint(self, neuron: Neuron) -> str:
        shapes = self.neurons.shapes
        layers = f"it has layers L0 to L{len(shapes) - 1}"
        if 0 <= neuron.layer < len(shapes) and shapes[neuron.layer].experts:
            shape = shapes[neuron.layer]
            shared = f", and L{neuron.layer}.N0 to N{shape.width - 1} in the shared expert" if shape.width else ""
            return (
                f"{layers}; layer {neuron.layer} has L{neuron.layer}.E0 to E{shape.experts - 1} with "
                f"{shape.expert_width} FFN neurons each{shared}"
            )
        widths = [shape.total for shape in shapes if not shape.experts]
        if not widths:
            return f"{layers} with experts; write L0.E0.N0"
        size = str(widths[0]) if len(set(widths)) == 1 else f"{min(widths)} to {max(widths)}"
        experts = ", and no experts there" if neuron.expert is not None else f": N0 to N{widths[0] - 1}"
        return f"{layers} with {size} FFN neurons each{experts}"

    def token_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt with the chat template applied, unpadded.

        Raises:
            ModelError: A prompt has no tokens, or the tokenizer is another model's.
        """
        encoded = prompt_token_ids(self.tokenizer, self.chat, prompts)
        vocabulary = self.embeddings
        largest = max((token for ids in encoded for token in ids), default=0)
        if largest >= vocabulary:
            raise ModelError(
                f"the tokenizer gives token {largest}, but {self.name} has a vocabulary of {vocabulary}",
                "give the tokenizer that belongs to the model",
            )
        return encoded

    def rendering_fingerprint(self, prompts: Sequence[str]) -> str:
        """SHA-256 over the token ids of prompts as the model is given them: template, date, switches and tokenizer.

        Two runs with the same weights and the same rendering fingerprint are given the same input.

        Raises:
            ModelError: As `token_ids`.
        """
        ids = self.token_ids(list(prompts))
        return hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest()

    def encode(self, prompts: Sequence[str] | str) -> BatchEncoding:
        """Left-padded `input_ids` and `attention_mask`, [prompts, positions], with the chat template applied."""
        return self.pad([prompts] if isinstance(prompts, str) else list(prompts))

    def pad(self, prompts: Sequence[str] | Sequence[Sequence[int]]) -> BatchEncoding:
        """Left-pad prompts given as text or as token ids."""
        ids = [list(p) for p in prompts if not isinstance(p, str)]
        if len(ids) != len(prompts):
            ids = self.token_ids([p for p in prompts if isinstance(p, str)])
        width = max(map(len, ids), default=0)
        tokens = torch.full((len(ids), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(ids), width), dtype=torch.long)
        for row, sequence in enumerate(ids):
            tokens[row, width - len(sequence) :] = torch.tensor(sequence)
            mask[row, width - len(sequence) :] = 1
        return BatchEncoding({"input_ids": tokens.to(self.device), "attention_mask": mask.to(self.device)})

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of generated tokens without special tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))


def require_model(given: object, *, verify: bool = True) -> Model:
    """The model that a caller gives, which is easily its name.

    Args:
        given: What the caller gives.
        verify: Whether what was kept of it is checked (`Model.check_kept`).

    Raises:
        UsageError: It is none.
    """
    if isinstance(given, Model):
        if verify:
            given.check_kept()
        return given
    shown = printable(repr(given), 80) if isinstance(given, str | int | None) else type(given).__name__
    raise UsageError(f"{shown} is no loaded model", "load it first: controlwindow.load_model(…)")
