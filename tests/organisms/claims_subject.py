"""An organism as Transformers loads it, with hooks written here: nothing of the package loads, doses or decodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

PROJECTIONS = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "mlp.shared_expert.down_proj")
Turns = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Change:
    """What is done to one neuron at every position: its activation becomes scale · a + offset.

    Attributes:
        layer: Block.
        index: Input coordinate of the block's output projection (of the shared expert's, in a mixture).
        scale: Factor.
        offset: Added in raw units.
    """

    layer: int
    index: int
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Push:
    """A vector added to the residual stream behind a block, past any norm."""

    layer: int
    vector: Tensor


class Subject:
    """One checkpoint.

    Args:
        folder: Directory with weights and tokenizer.
        prompts: Ordinary requests, on whose undosed answers sizes are measured.
    """

    def __init__(self, folder: Path, prompts: Sequence[str]) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()
        if hasattr(self.model.config, "output_router_logits"):
            # Router logits serve a training loss, and `generate` fails on them with a mask and a cache.
            self.model.config.output_router_logits = False
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.weights = sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        self.blocks = next(m for m in self.model.modules() if isinstance(m, nn.ModuleList))
        self._residual, self._written, self._gate = self._measure(prompts)

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def projection(self, layer: int) -> nn.Module:
        """Output projection of a block's FFN."""
        for name in PROJECTIONS:
            try:
                return self.blocks[layer].get_submodule(name)
            except AttributeError:
                continue
        raise AssertionError(f"no output projection in block {layer}")

    def width(self, layer: int) -> int:
        """How many neurons the projection reads."""
        return self._matrix(layer).shape[1]

    def column(self, layer: int, index: int) -> Tensor:
        """What one unit of activation writes, before any norm."""
        return self._matrix(layer)[:, index]

    def _matrix(self, layer: int) -> Tensor:
        module = self.projection(layer)
        weight: Tensor = module.weight.detach()  # type: ignore[union-attr, operator, assignment]
        return weight if isinstance(module, nn.Linear) else weight.T

    def post_norm(self, layer: int) -> Any:
        """The norm between FFN and residual stream, if there is one."""
        return getattr(self.blocks[layer], "post_feedforward_layernorm", None)

    def budget(self, layer: int, index: int) -> float:
        """Raw activation that writes as much as there is in the residual, or before the norm after the FFN."""
        length = float(self.column(layer, index).norm()) * self._gate[layer]
        if self.post_norm(layer) is not None:
            return self._written[layer] / length
        return self._residual[layer] / (length * float(getattr(self.model.config, "residual_multiplier", 1.0)))

    def residual_norm(self, layer: int) -> float:
        """Median length of the residual stream behind a block."""
        return self._residual[layer]

    def bounded_direction(self, layer: int, index: int) -> Tensor:
        """Unit vector along which a huge dose ends up behind the norm after the FFN."""
        norm, column = self.post_norm(layer), self.column(layer, index)
        huge = column * (1e4 / column.norm())
        with torch.no_grad():
            written = norm(huge[None])[0] if norm is not None else huge
        return written / written.norm()

    def dosed(self, layer: int, index: int, t: float) -> Change:
        """A dose of t budgets."""
        return Change(layer, index, offset=t * self.budget(layer, index))

    def answers(self, conversations: Sequence[Turns], changes: Sequence[Change | Push], length: int) -> list[str]:
        """Greedy answers by `generate`, all in one left-padded batch."""
        rows = [self._ids(turns) for turns in conversations]
        longest = max(map(len, rows))
        padding = self.tokenizer.pad_token_id
        ids = torch.tensor([[padding] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        with self._changed(changes), torch.no_grad():
            found = self.model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=length, pad_token_id=padding
            )
        return [self.tokenizer.decode(row[longest:], skip_special_tokens=True) for row in found]

    def _ids(self, turns: Turns) -> list[int]:
        messages = [{"role": role, "content": text} for role, text in turns]
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @contextmanager
    def _changed(self, changes: Sequence[Change | Push]) -> Iterator[None]:
        with ExitStack() as stack:
            for change in changes:
                if isinstance(change, Push):
                    handle = self.blocks[change.layer].register_forward_hook(_pushing(change.vector))
                else:
                    handle = self.projection(change.layer).register_forward_pre_hook(_changing(change))
                stack.callback(handle.remove)
            yield

    def _measure(self, prompts: Sequence[str]) -> tuple[list[float], list[float], list[float]]:
        """Medians over undosed answers: residual length, length of what the projection gives, shared expert's gate."""
        texts = self.answers([[("user", prompt)] for prompt in prompts], (), 48)
        residual: list[list[Tensor]] = [[] for _ in range(self.layers)]
        written: list[list[Tensor]] = [[] for _ in range(self.layers)]
        gates: list[list[Tensor]] = [[] for _ in range(self.layers)]
        for prompt, text in zip(prompts, texts, strict=True):
            before = self._ids([("user", prompt)])
            after = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if not after:
                continue
            with ExitStack() as stack, torch.no_grad():
                for layer in range(self.layers):
                    modules = [(self.blocks[layer], residual), (self.projection(layer), written)]
                    gate = getattr(getattr(self.blocks[layer], "mlp", None), "shared_expert_gate", None)
                    modules += [] if gate is None else [(gate, gates)]
                    for module, into in modules:
                        stack.callback(module.register_forward_hook(_keeping(into[layer], len(before))).remove)
                self.model(torch.tensor([before + after]), use_cache=False)

        def median(values: list[Tensor]) -> float:
            return float(torch.cat(values).norm(dim=-1).median())

        gate_values = [float(torch.cat(g).sigmoid().median()) if g else 1.0 for g in gates]
        return [median(r) for r in residual], [median(w) for w in written], gate_values


def _keeping(into: list[Tensor], start: int) -> Any:
    def hook(_module: Any, _inputs: Any, output: Any) -> None:
        values = output[0] if isinstance(output, tuple) else output
        into.append(values.reshape(-1, values.shape[-1])[start:].clone())

    return hook


def _changing(change: Change) -> Any:
    def hook(_module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        values = inputs[0].clone()
        values[..., change.index] = values[..., change.index] * change.scale + change.offset
        return (values, *inputs[1:])

    return hook


def _pushing(vector: Tensor) -> Any:
    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + vector, *output[1:])
        return output + vector

    return hook
