"""A loaded model as every other part sees it: blocks, neurons, prompts, provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import torch
from torch import nn
from transformers import BatchEncoding

from controlwindow.errors import ModelError, NeuronError
from controlwindow.models.adapters import Family, blocks_of, output_weight
from controlwindow.models.chat import ChatFormat, prompt_token_ids
from controlwindow.models.neuron import Neuron


class Neurons(Sequence[Neuron]):
    """Every FFN neuron of a model, layer by layer; nothing is materialised."""

    def __init__(self, widths: Sequence[int]) -> None:
        self.widths = tuple(widths)

    def __len__(self) -> int:
        return sum(self.widths)

    def __iter__(self) -> Iterator[Neuron]:
        return (Neuron(layer, index) for layer, width in enumerate(self.widths) for index in range(width))

    @overload
    def __getitem__(self, position: int) -> Neuron: ...
    @overload
    def __getitem__(self, position: slice) -> list[Neuron]: ...
    def __getitem__(self, position: int | slice) -> Neuron | list[Neuron]:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        rest = position + len(self) if position < 0 else position
        for layer, width in enumerate(self.widths):
            if 0 <= rest < width:
                return Neuron(layer, rest)
            rest -= width
        raise IndexError(position)

    def __contains__(self, neuron: object) -> bool:
        return (
            isinstance(neuron, Neuron)
            and neuron.expert is None
            and 0 <= neuron.layer < len(self.widths)
            and 0 <= neuron.index < self.widths[neuron.layer]
        )

    def flat_index(self, neuron: Neuron) -> int:
        """Position of a neuron in this sequence."""
        return sum(self.widths[: neuron.layer]) + neuron.index


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
        cache: Derived statistics that are costly to recompute, keyed by what they depend on.
    """

    hf_model: Any
    tokenizer: Any
    family: Family
    chat: ChatFormat
    name: str
    source: str | None = None
    organism: str | None = None
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def blocks(self) -> tuple[nn.Module, ...]:
        """Decoder blocks in order."""
        return blocks_of(self.hf_model, self.family)

    @cached_property
    def ffn_outputs(self) -> tuple[nn.Module, ...]:
        """Each block's FFN output projection; a dose enters at its input."""
        return tuple(block.get_submodule(self.family.ffn_output) for block in self.blocks)

    @cached_property
    def neurons(self) -> Neurons:
        """Every FFN neuron."""
        return Neurons([output_weight(p, self.family).shape[1] for p in self.ffn_outputs])

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(output_weight(self.ffn_outputs[0], self.family).shape[0])

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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every parameter's name, type, shape and bytes, as loaded."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.hf_model.named_parameters()):
            digest.update(f"{name}|{parameter.dtype}|{tuple(parameter.shape)}|".encode())
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a rollout, as Transformers' `generate` would use them."""
        configured = getattr(self.hf_model.generation_config, "eos_token_id", None)
        if configured is None:
            configured = self.tokenizer.eos_token_id
        if configured is None:
            return frozenset()
        return frozenset([configured] if isinstance(configured, int) else configured)

    @property
    def pad_id(self) -> int:
        """Token used for padding; it is masked, so any valid id serves."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else min(self.stop_ids, default=0)

    def require(self, neuron: Neuron | str) -> Neuron:
        """Read a neuron and check that this model has it.

        Raises:
            NeuronError: The name is malformed or lies outside the model.
        """
        neuron = Neuron.parse(neuron)
        if neuron not in self.neurons:
            widths = self.neurons.widths
            size = str(widths[0]) if len(set(widths)) == 1 else f"{min(widths)} to {max(widths)}"
            raise NeuronError(
                f"{neuron} is not in {self.name}",
                f"it has layers L0 to L{len(widths) - 1} with {size} FFN neurons each"
                + (", and no experts" if neuron.expert is not None else f": N0 to N{widths[0] - 1}"),
            )
        return neuron

    def token_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt with the chat template applied, unpadded.

        Raises:
            ModelError: A prompt has no tokens, or the tokenizer is another model's.
        """
        encoded = prompt_token_ids(self.tokenizer, self.chat, prompts)
        vocabulary = self.hf_model.get_input_embeddings().weight.shape[0]
        largest = max((token for ids in encoded for token in ids), default=0)
        if largest >= vocabulary:
            raise ModelError(
                f"the tokenizer gives token {largest}, but {self.name} has a vocabulary of {vocabulary}",
                "give the tokenizer that belongs to the model",
            )
        return encoded

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
