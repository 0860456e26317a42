"""What is read of teacher-forced rows: likelihoods, how far a dose moved the next token, and how far it propagated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from controlwindow.instruments.sharing import Ints
from controlwindow.models import Model

_LOGITS = 1 << 25
"""Most logits held at once (128 MiB in float32)."""


class Reading:
    """Reads one batch of rows; the undosed rows of their texts, where there are any, follow them.

    Args:
        model: The model.
        tokens: The continuation of every row.
        text_of: The text of every row, by number, [rows]; undosed rows come in the order of these numbers.
        lane: Where each row is in the last stage's batch, [rows].
        asked: How many of the rows are asked for.
    """

    def __init__(self, model: Model, tokens: Sequence[Sequence[int]], text_of: Ints, lane: Ints, asked: int) -> None:
        self._model = model
        self._tokens = tokens
        self._lane = lane
        self._asked = asked
        self._rows_of: dict[int, list[int]] = {}
        for row in range(asked):
            self._rows_of.setdefault(int(text_of[row]), []).append(row)
        self._vocabulary = int(model.hf_model.get_output_embeddings().weight.shape[0])

    def likelihoods(self, hidden: torch.Tensor) -> list[float]:
        """Σ log p of every row's continuation, in nats.

        Args:
            hidden: Final-normed states, [lanes, positions, d_model].
        """
        width = hidden.shape[1]
        step = max(1, _LOGITS // (width * self._vocabulary))
        found: list[torch.Tensor] = []
        for start in range(0, self._asked, step):
            chosen = list(range(start, min(start + step, self._asked)))
            targets = torch.full((len(chosen), width), self._model.pad_id, dtype=torch.long)
            emitting = torch.zeros((len(chosen), width), dtype=torch.bool)
            for place, row in enumerate(chosen):
                tokens = self._tokens[row]
                targets[place, : len(tokens)] = torch.tensor(list(tokens))
                emitting[place, : len(tokens)] = True
            targets, emitting = targets.to(hidden.device), emitting.to(hidden.device)
            scores = self._model.readout(hidden[torch.as_tensor(self._lane[chosen])]).float().log_softmax(-1)
            given = scores.gather(-1, targets[..., None])[..., 0]
            found.append((given.double() * emitting).sum(-1))
        values: list[float] = torch.cat(found).tolist()
        return values

    def apart(self, hidden: torch.Tensor, every: int) -> tuple[list[float], list[float]]:
        """KL of every row from its text's undosed row, and the surprise of its first choices; means, in nats.

        The undosed distribution is read once for all rows of a text.

        Args:
            hidden: Final-normed states, [lanes, positions, d_model].
            every: Of a text every so many positions are read, each text from another one on.
        """
        divergence, surprise = [0.0] * self._asked, [0.0] * self._asked
        texts = len(self._rows_of)
        for text, rows in self._rows_of.items():
            length = len(self._tokens[rows[0]])
            # Texts begin at places that are spread evenly, for an answer's first tokens are unlike its others.
            first = text * every // texts
            places = list(range(first if first < length else 0, length, every))
            states = hidden[:, places]
            undosed = self._model.readout(states[int(self._lane[self._asked + text])]).float().log_softmax(-1)
            weights, best = undosed.exp(), undosed.amax(-1)
            step = max(1, _LOGITS // (len(places) * self._vocabulary))
            for start in range(0, len(rows), step):
                chosen = rows[start : start + step]
                dosed = self._model.readout(states[torch.as_tensor(self._lane[chosen])]).float().log_softmax(-1)
                moved = (weights * (undosed - dosed)).sum(-1).double().mean(-1).tolist()
                likely = undosed.expand_as(dosed).gather(-1, dosed.argmax(-1, keepdim=True))[..., 0]
                lost = (best - likely).double().mean(-1).tolist()
                for row, one, other in zip(chosen, moved, lost, strict=True):
                    divergence[row], surprise[row] = one, other
        return divergence, surprise

    def propagations(
        self, residual: torch.Tensor, directions: Sequence[torch.Tensor | None]
    ) -> tuple[list[float], list[int]]:
        """Σ 1 − cos²(Δr_last, v) over the positions of each row that moved, and how many did.

        Args:
            residual: Residuals behind the last block, [lanes, positions, d_model].
            directions: v of each row, [d_model]; None where it has none.
        """
        recomputed, moved = [0.0] * self._asked, [0] * self._asked
        for text, rows in self._rows_of.items():
            length = len(self._tokens[rows[0]])
            undosed = residual[int(self._lane[self._asked + text]), :length].float()
            for row in rows:
                direction = directions[row]
                if direction is None:
                    continue
                move = residual[int(self._lane[row]), :length].float() - undosed
                cosine = nn.functional.cosine_similarity(move, direction.to(move)[None], dim=-1)
                apart = move.norm(dim=-1) > 0
                recomputed[row] = float((1 - cosine.square()).clamp(0, 1)[apart].double().sum())
                moved[row] = int(apart.sum())
        return recomputed, moved
